"""Advice on the screen: risks first, doors, what verbs and edits act on, when it is asked again."""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.model.advice_rows import ADVICE, CLUSTER, HOST, RISK, SERVICE, AdviceRow
from cockpit.plan.steps import Bad
from screens.aim import NOTHING
from tests.screens.canned import NOW, CannedSession
from tests.screens.drive import LARGE, driven, until


def row(rule: str, name: str, weight: str = RISK, kind: str = SERVICE, door: tuple[str, ...] = ()) -> AdviceRow:
    return AdviceRow(
        key=f"{rule} {name}".strip(), rule=rule, weight=weight, kind=kind, name=name, text=f"what {rule} says",
        do=f"what cures {rule}", door=door,
    )  # fmt: skip


ROWS = [
    row("no-check", "puzzle.web", door=("instances", "puzzle.web")),
    row("nobody-told", "", kind=CLUSTER),
    row("canary", "puzzle.sudoku", ADVICE, door=("instances", "puzzle.sudoku")),
    row("out", "bj-2", ADVICE, HOST, ("host", "bj-2")),
]


def session(rows: list[AdviceRow]) -> CannedSession:
    made = CannedSession()
    made.answers["advice"] = lambda args: msgspec.to_builtins(
        [r for r in rows if not args["name"] or r.name == args["name"]]
    )
    return made


async def test_risks_stand_out_and_every_row_is_a_door() -> None:
    async with driven(LARGE, session(list(ROWS)), address="advice") as d:
        await d.at("AdviceScreen")
        await d.sees("2 risks")
        await d.sees("what no-check says")
        lines = [line for line in d.text().splitlines() if "what cures" in line]
        assert [line.split()[0] for line in lines] == ["▲", "▲", "◌", "◌"]
        await d.press("enter")
        await d.at("InstancesScreen")
        await d.press("escape", "down", "enter")
        await d.sees("what nobody-told says. Would help: what cures nobody-told.")
        await d.press("down", "down", "enter")
        await d.at("HostScreen")


async def test_verbs_and_the_editor_aim_at_the_services() -> None:
    async with driven(LARGE, session(list(ROWS)), address="advice") as d:
        await d.sees("what no-check says")
        screen: Any = d.app.screen
        assert (screen.aim().kind, screen.aim().ids) == ("node", ("puzzle.web",))
        await d.press("down")
        assert screen.aim() == NOTHING
        await d.press("down", "down")
        assert (screen.aim().kind, screen.aim().ids) == ("host", ("bj-2",))
        await d.press("/")
        await d.type("weight=risk")
        await d.press("enter")
        await d.sees("2 of 4")


async def test_it_is_asked_again_by_its_key_and_by_a_new_revision() -> None:
    rows = list(ROWS)
    async with driven(LARGE, session(rows), address="advice") as d:
        await d.sees("what no-check says")
        rows.pop(0)
        await d.press("f")
        await d.sees("1 risk ")
        await until(lambda: "no-check" not in d.text())
        rows.append(row("full", "bj-1", ADVICE, HOST))
        data = d.session.data
        head = msgspec.structs.replace(data.head, revision=data.head.revision + 1)
        d.session.data = msgspec.structs.replace(data, head=head)
        d.session.push(now=NOW)
        await d.sees("what full says")


async def test_one_name_and_one_that_nobody_knows() -> None:
    def unknown(args: dict[str, Any]) -> Any:
        raise Bad("no service, group, host or region 'nowhere'; did you mean web?")

    async with driven(LARGE, session(list(ROWS)), address="advice web") as d:
        await d.sees("ADVICE on web")
        await d.sees("what no-check says")
        assert "what canary says" not in d.text()
        d.session.answers["advice"] = unknown
        await d.press("f")
        await d.sees("did you mean web?")


async def test_nothing_found_is_said() -> None:
    async with driven(session=session([]), address="advice") as d:
        await d.sees("● no rule found anything")


async def test_it_fits_a_small_terminal() -> None:
    async with driven(session=session(list(ROWS)), address="advice") as d:
        await d.sees("what no-check says")
        assert max(map(len, d.text().splitlines())) <= 80
