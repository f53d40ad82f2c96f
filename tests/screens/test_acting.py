"""Rehearsing a plan, the line of what runs, actions of the operator's own: played as a person would."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.act.rehearsal import rehearse
from cockpit.model.rehearsal_rows import Fault
from cockpit.model.view import ActionDetail, ActionRow
from cockpit.plan.steps import Bad
from cockpit.useractions.config import UserAction
from screens.aim import HOST, INSTANCE, NODE, Aim
from screens.board import Board
from screens.look import Look
from screens.usermenu import jobs, selection, spelled
from screens.widgets.actionbar import left_text, line, slowest
from tests.act.test_rehearsal import DEPLOY
from tests.act.worlds import twin
from tests.screens.canned import NOW, CannedSession, snapshot
from tests.screens.drive import Driver, driven, keyed, to, until
from tests.screens.puzzle import ACTION, STEPS

# rehearsals


class Rehearsing(CannedSession):
    """Plans and rehearses on the small cluster of the twin's tests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []

    async def plan(self, intent: Any) -> Any:
        return twin().plan(DEPLOY)

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> Any:
        args = args or {}
        if op != "rehearse":
            raise Bad(op)
        self.asked.append(args)
        t = twin()
        plan = t.plan(DEPLOY)
        faults = tuple(msgspec.convert(f, Fault) for f in args["faults"])
        yield {"progress": [0, len(plan.steps), 0.0]}
        yield {"forecast": msgspec.to_builtins(rehearse(t, plan, faults))}


async def to_plan(d: Driver) -> None:
    await to(d, "puzzle.sudoku")
    await d.press(keyed("deploy"))
    await d.at("AskScreen")
    await d.type("1.1.0")
    await d.press("enter")
    await d.at("PlanScreen")
    await d.sees("Rehearsed: It would be done")


async def test_a_plan_is_rehearsed_before_it_runs() -> None:
    session = Rehearsing()
    async with driven((100, 40), session) as d:
        await to_plan(d)
        assert session.asked[0]["quick"] is True
        await d.press("h")
        await d.at("RehearsalScreen")
        await d.sees("TIMELINE")
        assert "nothing is touched" in d.text() and "h gets healthy" in d.text()
        await d.press("end", "enter")
        await d.sees("wait until web/2 on h2 is healthy")
        await d.press("f")
        await d.sees("It would fail after")
        await d.sees("WHAT GOES WRONG HERE")
        assert session.asked[-1]["faults"][0]["step"]
        assert "Automatic return" in d.text()
        await d.press("0")
        await d.sees("It would be done")
        await d.press("y")
        await d.sees("--rehearse")
        assert session.submitted == []
        await d.press("escape")
        await d.at("PlanScreen")


async def test_a_host_can_be_silenced() -> None:
    session = Rehearsing()
    async with driven((100, 40), session) as d:
        await to_plan(d)
        await d.press("h")
        await d.sees("TIMELINE")
        await d.press("end", "H")
        await d.sees("falls silent")
        await d.sees("no answer from")
        assert session.asked[-1]["faults"][0]["host"].startswith("h")


async def test_why_it_cannot_be_rehearsed_is_said() -> None:
    session = Rehearsing()
    async with driven((80, 24), session) as d:
        await to_plan(d)

        async def refuse(op: str, args: dict[str, Any] | None = None) -> Any:
            raise Bad("there is nothing to rehearse")
            yield

        session.stream = refuse  # type: ignore[method-assign]
        await d.press("h")
        await d.sees("It cannot be rehearsed: there is nothing to rehearse")


# the line of what runs


def board_with(*rows: ActionRow) -> Board:
    board = Board(lambda: NOW)
    board.load(msgspec.structs.replace(snapshot(), actions={r.id: r for r in rows}))
    return board


def act(id: str, **more: Any) -> ActionRow:
    facts = {"state": "running", "done": 3, "total": 10, "title": "deploy x"} | more
    return msgspec.structs.replace(ACTION, id=id, **facts)


def words(pieces: Any) -> str:
    return "".join(t for t, _ in pieces or [])


@pytest.mark.parametrize(("eta", "done", "text"), [
    (NOW + 92, 3, "about 1:32 left"), (NOW + 1, 9, "any moment"), (NOW - 3, 8, "any moment"),
    (NOW - 3, 3, "later than expected"),
    (NOW + 1, 3, "about 0:01 left"), (NOW - 20, 9, "0:20 longer than expected"), (None, 3, ""),
])  # fmt: skip
def test_how_long_still(eta: float | None, done: int, text: str) -> None:
    assert left_text(act("#1", eta=eta, done=done), NOW) == text


def test_the_line_shows_the_slowest_and_counts_the_others() -> None:
    look = Look()
    fast, slow, lost = act("#1", eta=NOW + 5), act("#2", eta=NOW + 50), act("#3", eta=None)
    assert slowest([fast, slow]) is slow and slowest([fast, slow, lost]) is lost
    assert slowest([lost, held := act("#4", state="paused", eta=None)]) is held
    said = words(line(board_with(fast, slow), look, 80, "#"))
    assert "#2 deploy x" in said and "3 of 10" in said and "about 0:50 left" in said and "and 1 other" in said
    assert len(said) <= 80
    assert words(line(board_with(fast, slow), look, 80, "#", "#2")).startswith(" ◐ #1"), "the screen shows #2 itself"
    ended = act("#5", state="done", ended=NOW - 10, started=NOW - 48)
    assert "done in 38 s" in words(line(board_with(ended), look, 80, "#"))
    assert line(board_with(act("#6", state="done", ended=NOW - 60)), look, 80, "#") is None
    assert line(board_with(fast), look, 20, "#") is not None


async def test_it_is_on_every_screen_and_leads_there() -> None:
    session = CannedSession()
    async with driven((80, 24), session) as d:
        await d.press("i")
        await d.at("InstancesScreen")
        assert "#118" in d.text().splitlines()[-2]
        await d.press("#")
        await d.at("ActionScreen")
        assert "#118" not in d.text().splitlines()[-2]
        await d.press("y")
        await d.sees("Copied: cockpit deploy")
        await d.press("escape")
        session.push(actions={"#118": msgspec.structs.replace(ACTION, state="done", ended=NOW - 1, mark="ok")})
        await d.sees("done in")


# actions of their own

TOML = f"""
[actions.hello]
about = "greets"
argv = [{sys.executable!r}, "-c", "import sys; print('hello', *sys.argv[1:])", "{{id}}", "{{what}}"]
class = "observe"
key = "h"
[[actions.hello.inputs]]
name = "what"
type = "choice"
choices = ["moon", "world"]

[actions.touch]
argv = [{sys.executable!r}, "-c", "print('touched')"]
class = "change"

[actions.wipe]
argv = [{sys.executable!r}, "-c", "print('wiped')"]
class = "destructive"

[actions.wrong]
argv = ["x", "{{hots}}"]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cockpit").mkdir()
    file = tmp_path / "cockpit" / "actions.toml"
    file.write_text(TOML)
    return file


async def to_menu(d: Driver) -> None:
    await d.press("i")
    await d.at("InstancesScreen")
    await d.press("U")
    await d.at("MenuScreen")


async def test_one_that_looks_runs_at_once(own: Path) -> None:
    async with driven((100, 30)) as d:
        await to_menu(d)
        menu: Any = d.app.screen
        assert 'did you mean "host"?' in menu.question.about[1], "what is wrong is told here"
        await d.press("h")
        await d.at("InputScreen")
        await d.press("down", "enter")
        await d.at("UserRunScreen")
        await d.sees("hello puzzle.")
        await d.sees("exit 0")
        assert "world" in d.text()
        await d.press("y")
        await d.sees("Copied: ")


async def test_a_key_of_its_own_begins_it_where_nothing_else_has_the_key(own: Path) -> None:
    from screens import userkeys

    userkeys.forget()
    own.write_text(TOML.replace('class = "change"', 'class = "change"\nkey = "f9"').replace('key = "h"', 'key = "i"'))
    async with driven((100, 30)) as d:
        await d.press("i")
        await d.at("InstancesScreen")
        await d.press("f9")
        await d.at("UserRunScreen")
        await d.sees("nothing has run yet")
    userkeys.forget()


async def test_one_that_changes_waits_for_a_key_and_is_journalled(own: Path) -> None:
    session = CannedSession()
    session.answers["user_action"] = {"id": "user-1"}
    async with driven((100, 30), session) as d:
        await to_menu(d)
        await d.type("touch")
        await d.press("enter")
        await d.at("UserRunScreen")
        await d.sees("nothing has run yet")
        assert session.called == []
        await d.press("x")
        await d.sees("touched")
        await until(lambda: [op for op, _ in session.called] == ["user_action"] * 2, "begin and end are noted")


async def test_a_destructive_one_asks_for_the_typed_name(own: Path) -> None:
    session = CannedSession()
    session.answers["user_action"] = {"id": "user-1"}
    async with driven((100, 30), session) as d:
        await to_menu(d)
        await d.type("wipe")
        await d.press("enter")
        await d.at("ConfirmScreen")
        await d.press("enter")
        assert session.called == [] and d.name == "ConfirmScreen"
        name = d.app.board.short(next(iter(sorted(d.app.board.instances))))
        await d.press("escape")
        await d.at("InstancesScreen")
        assert name


async def test_read_only_leaves_what_looks(own: Path) -> None:
    async with driven((100, 30), CannedSession(read_only="you asked for --read-only")) as d:
        await to_menu(d)
        assert "off: it is of class change" in d.text()
        await d.type("touch")
        await d.press("enter")
        await d.sees("touch is off")
        assert d.name == "MenuScreen"


async def test_without_a_file_it_says_where_one_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with driven((100, 30)) as d:
        await d.press("i", "U")
        await d.sees("No actions of your own yet")


def test_selections_are_turned_into_what_the_action_is_for() -> None:
    board = board_with()
    host = UserAction(name="df", argv=("df", "-h"), on=("host",), where="hosts")
    two = Aim(INSTANCE, ("puzzle.sudoku/0", "puzzle.sudoku/3"))
    things = selection(host, two, board)
    assert [t["id"] for t in things] == ["sh-2", "bj-2"]
    (job,) = jobs(host, things, {})
    assert job.hosts == ("sh-2", "bj-2"), "equal programs are one job for many hosts"
    assert spelled(job) == "cockpit exec --on sh-2 --on bj-2 -- df -h"
    each = UserAction(name="c", argv=("curl", "{address}:{port}"), on=("instance",))
    found = jobs(each, selection(each, Aim(NODE, ("puzzle.sudoku",)), board), {})
    assert len(found) == 4 and found[0].argv[1].endswith(":20012")
    assert selection(each, Aim(HOST, ("bj-2",)), board)
    assert selection(host, Aim("action", ("#118",)), board) == []


async def test_an_action_keeps_its_estimate_on_a_narrow_screen_and_says_what_holds_it() -> None:
    row = msgspec.structs.replace(ACTION, eta=NOW + 32, done=12345, total=26789)
    first = snapshot()
    sick = msgspec.structs.replace(first.instances["puzzle.sudoku/3"], reason="1.2.0 is STARTING: http 503")
    data = msgspec.structs.replace(
        first, actions={**first.actions, ACTION.id: row}, instances={**first.instances, sick.id: sick}
    )
    session = CannedSession(data)
    steps = tuple(msgspec.structs.replace(s, note="") for s in STEPS)

    async def action(id: str) -> ActionDetail:
        return ActionDetail(row=row, steps=steps)

    session.action = action  # type: ignore[method-assign]
    async with driven((80, 24), session) as d:
        await d.press(":")
        await d.type("action #118")
        await d.press("enter")
        await d.at("ActionScreen")
        await d.sees("about 0:32 left")
        await d.sees("12345 of 26789")
        await d.sees("STARTING: http 503")


async def test_a_plan_says_what_works_on_the_same() -> None:
    async with driven((100, 40), CannedSession()) as d:
        await to(d, "puzzle.sudoku")
        await d.press(keyed("deploy"))
        await d.at("AskScreen")
        await d.type("1.1.0")
        await d.press("enter")
        await d.at("PlanScreen")
        await d.sees("#118 deploy sudoku 1.2.0 (running) works on the same")
