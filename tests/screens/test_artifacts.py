"""Versions in the store, and one version: what is shown, and where the keys lead."""

from __future__ import annotations

from typing import Any

import pytest

from cockpit.plan.steps import FETCH, Intent, Plan, Step
from screens.aim import ARTIFACT, Aim
from screens.command import Do, Go, parse
from screens.plan import argument, bytes_to_move
from tests.screens.canned import CannedSession
from tests.screens.drive import LARGE, SMALL, Driver, driven, keyed, until

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE])


def screen(d: Driver) -> Any:
    return d.app.screen


def line(d: Driver, words: str) -> str:
    return next(text for text in d.text().splitlines() if words in text)


async def listed(d: Driver) -> Any:
    await d.press("b")
    await d.at("ArtifactsScreen")
    await d.sees("sudoku/1.2.0")
    return d.app.screen


@SIZES
async def test_versions_with_their_signatures_and_where_they_are(size: tuple[int, int]) -> None:
    async with driven(size) as d:
        view = await listed(d)
        assert view.grid.order == ["sudoku/1.2.0", "sudoku/1.1.0", "sudoku/1.0.0", "web/1.1.0", "words/7"]
        assert "▲ 1 wanted without a signature" in d.text()
        row = line(d, "sudoku/1.2.0")
        assert row.startswith(" ▲") and all(words in row for words in ("41.0 MiB", "wanted", "build", "qa", "1h"))
        assert line(d, "sudoku/1.0.0").startswith(" ●")  # nobody wants it: that qa is missing is no trouble
        assert "data" in line(d, "words/7")


async def test_filter_sort_and_what_comes_and_goes() -> None:
    async with driven(SMALL) as d:
        view = await listed(d)
        await d.press("/")
        await d.type("missing qa")
        await until(lambda: view.grid.order == ["sudoku/1.2.0", "sudoku/1.0.0"])
        await d.press("escape", "o", "o", "o")
        assert view.grid.sort_by == "size" and view.grid.order[-1] == "words/7"
        d.session.stored = [r for r in d.session.stored if r.name != "web"]
        d.session.push(actions={"#118": d.app.board.ended()[0]})
        await until(lambda: "web/1.1.0" in view.grid.gone or "web/1.1.0" not in view.grid.rows)


async def test_the_push_key_pushes_the_version_under_the_cursor() -> None:
    async with driven(SMALL) as d:
        view = await listed(d)
        assert view.grid.seek("sudoku/1.1.0")
        await d.press(keyed("push"))
        await d.at("PlanScreen")
        await until(lambda: d.session.planned)
        intent = d.session.planned[0]
        assert (intent.verb, intent.targets) == ("push", ("sudoku/1.1.0",))
        await d.press("escape", "space", "space", keyed("push"))
        await d.sees("push takes one version at a time; 2 are marked")


async def test_read_only_pushes_nothing() -> None:
    async with driven(SMALL, CannedSession(read_only="this is the view socket")) as d:
        await listed(d)
        await d.press(keyed("push"))
        await d.sees("push is off: this is the view socket")
        assert not d.session.planned


@SIZES
async def test_one_version_in_full(size: tuple[int, int]) -> None:
    async with driven(size) as d:
        await listed(d)
        await d.press("enter")
        await d.at("ArtifactScreen")
        await d.sees("cockpit artifact approve sudoku/1.2.0 --role qa --key FILE")
        for words in ("1 signature missing", "5d41402abc4b2a76b9719d911017c592", "SIGNATURES", "valid"):
            await d.sees(words)
        await d.press("end")
        for words in ("made for sudoku/1.1.0", "3.1 MiB to move in 25 pieces", "as a patch 400.4 KiB"):
            seen = d.text()
            if words not in seen:  # a small screen shows it on the way
                await d.press("pageup", "pageup")
            await d.sees(words)
        await d.press("end")
        await d.sees("make release")


async def test_files_unfold_hosts_open_and_push_is_of_this_version() -> None:
    async with driven(LARGE) as d:
        await listed(d)
        await d.press("enter")
        await d.sees("4 more")
        assert "lib/grid/8.py" not in d.text()
        view = screen(d)
        keys = [item.key for item in view.sheet.items]
        view.sheet.go(keys.index("diff changed"))
        await d.press("enter")
        await d.sees("lib/grid/8.py")
        view.sheet.go([item.key for item in view.sheet.items].index("host bj-2"))
        await d.press("enter")
        await d.at("HostsScreen")
        await d.press("escape", keyed("push"))
        await d.at("PlanScreen")
        await until(lambda: d.session.planned)
        assert d.session.planned[0].targets == ("sudoku/1.2.0",)


async def test_compared_with_one_version_after_the_other() -> None:
    async with driven(LARGE) as d:
        await d.type(":artifact sudoku/1.2.0")
        await d.press("enter")
        await d.sees("compared with 1.1.0")
        await d.press("c")
        await d.sees("compared with 1.0.0")
        assert d.session.compared[-1] == "1.0.0"
        await d.press("c")
        await d.sees("compared with 1.1.0")
        await d.type(":artifact sudoku/1.2.0 sudoku/1.0.0")
        await d.press("enter")
        await until(lambda: d.session.compared[-1] == "1.0.0")


async def test_a_version_alone_and_one_that_is_not_there() -> None:
    async with driven(LARGE) as d:
        await d.type(":artifact words/7")
        await d.press("enter")
        await d.sees("no other version of it is in the store")
        await d.sees("there is no build record")
        await d.press("c")
        await d.sees("words has no other version in the store.")
        await d.type(":artifact nothing/9")
        await d.press("enter")
        await d.sees("did you mean sudoku/1.2.0?")


async def test_words_of_the_command_line_are_artifacts_not_services() -> None:
    async with driven() as d:
        board = d.app.board
        assert parse("artifact sudoku/1.2.0", board, Aim()) == Go(("artifact", "sudoku/1.2.0"))
        found = parse("push sudoku/1.2.0", board, Aim())
        assert isinstance(found, Do) and found.aim == Aim(ARTIFACT, ("sudoku/1.2.0",))


# what a plan moves


def plan(*moves: int | None) -> Plan:
    args: list[dict[str, Any]] = [{} if m is None else {"to_move": m, "size": 41 << 20} for m in moves]
    steps = tuple(Step(id=f"s{n}", kind=FETCH, host=f"sh-{n}", args=a) for n, a in enumerate(args))
    return Plan(intent=Intent(verb="push"), base=1, steps=steps)


@pytest.mark.parametrize(
    ("moves", "words"),
    [
        ((), ""), ((None, None), ""), ((1 << 20,), "Moves 1.0 MiB of 41.0 MiB to 1 host."),
        ((1 << 20, 3 << 20), "Moves 4.0 MiB of 82.0 MiB to 2 hosts, 3.0 MiB at most to one."),
        ((1 << 20, None), "Moves 1.0 MiB of 41.0 MiB to 1 host; what 1 of 2 pushes move is not known."),
    ],
)
def test_a_plan_tells_what_it_moves(moves: tuple[int | None, ...], words: str) -> None:
    assert bytes_to_move(plan(*moves)) == words


def test_arguments_of_steps_are_for_people() -> None:
    assert (argument("to_move", 3 << 20), argument("version", "1.2.0"), argument("timeout", 30)) == (
        "3.0 MiB", "1.2.0", "30",
    )  # fmt: skip
