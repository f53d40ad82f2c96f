"""Time travel: into the past, along it, and back to exactly where one was."""

from __future__ import annotations

import gc
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.history.questions import QUESTIONS
from cockpit.history.reading import History as Recorded
from cockpit.history.writing import Limits, Writer
from cockpit.model.history_rows import TABLES, Between, Difference, Gap, LifeEvent, Moment, Moments, Step
from cockpit.model.view import Delta, Snapshot
from cockpit.plan.steps import Bad
from screens.base import ClusterScreen
from screens.between import halves
from tests.screens.canned import NOW, CannedSession
from tests.screens.drive import LARGE, SMALL, Driver, driven, to, until
from tests.screens.puzzle import snapshot

STOPS = [NOW - 900.0, NOW - 600.0, NOW - 300.0, NOW - 48.0]
GAP = Gap(start=NOW - 800, end=NOW - 610, why="the controller was stopped")


def then(at: float) -> Snapshot:
    """Versions grow by one with every stop."""
    now = snapshot()
    number = sum(1 for s in STOPS if s <= at)
    web = {
        k: msgspec.structs.replace(r, version_actual=f"0.{number}.0", version_expected=f"0.{number}.0")
        for k, r in now.instances.items() if r.service == "puzzle.web"
    }
    instances = {**now.instances, **web}
    if number < 3:
        instances.pop("puzzle.sudoku/3")
    head = msgspec.structs.replace(now.head, now=at, revision=38 + number)
    actions = {k: r for k, r in now.actions.items() if r.started <= at}
    return msgspec.structs.replace(now, head=head, instances=instances, actions=actions)


class History:
    """The ops over these states."""

    def step(self, args: dict[str, Any]) -> Any:
        at, to, way = args["at"], args["to"], args["way"]
        if way:
            fits = [s for s in STOPS if (s > at if way > 0 else s < at)]
            to = (min(fits) if way > 0 else max(fits)) if fits else (STOPS[0] if way < 0 else NOW)
        to = min(max(at if to is None else to, STOPS[0]), NOW)
        before, after = then(at), then(to)
        instances = {k: r for k, r in after.instances.items() if before.instances.get(k) != r}
        gone = {k: None for k in before.instances.keys() - after.instances.keys()}
        actions = {k: None for k in before.actions.keys() - after.actions.keys()} | {
            k: r for k, r in after.actions.items() if k not in before.actions
        }
        near = ()
        if to in STOPS:
            number = STOPS.index(to)
            near = (LifeEvent(at=to, table="instances", key="puzzle.web/0", name="puzzle.web/0", how="changed",
                              before=f"0.{number}.0", after=f"0.{number + 1}.0"),)
        delta = Delta(head=after.head, instances={**instances, **gone}, actions=actions)
        gap = GAP if GAP.start < to < GAP.end else None
        return msgspec.to_builtins(Step(at=to, delta=delta, near=near, oldest=STOPS[0], newest=NOW, gap=gap))

    def past(self, at: float) -> list[Any]:
        """The answer of a real history that knows this moment."""
        found = then(at)
        with tempfile.TemporaryDirectory() as made:
            writer = Writer(Path(made), Limits(), floor=0)
            writer.begin({name: dict(getattr(found, name)) for name in TABLES}, found.head, (), "")
            writer.stop(at)
            return list(QUESTIONS["past"](Recorded(Path(made)), {"at": at}))

    def moments(self, args: dict[str, Any]) -> Any:
        start, size = args["start"], args["resolution"]
        cells = tuple(
            Moment(at=start + int((s - start) / size) * size, end=0.0, kinds={"instances": 1})
            for s in STOPS if start <= s <= args["end"]
        )
        return msgspec.to_builtins(Moments(
            start=start, end=args["end"], resolution=size, oldest=STOPS[0], newest=NOW, moments=cells, gaps=(GAP,)
        ))


def traveller(**options: Any) -> CannedSession:
    session = CannedSession(**options)
    history = History()
    session.answers = {"past_step": history.step, "moments": history.moments}
    plain: Callable[..., Any] = session.stream

    async def stream(op: str, args: dict[str, Any] | None = None) -> Any:
        for item in history.past((args or {})["at"]) if op == "past" else []:
            yield item

    assert plain is not None
    session.stream = stream  # type: ignore[method-assign]
    return session


def at(driver: Driver) -> float:
    assert driver.app.travel is not None
    return driver.app.travel.session.at


async def test_back_and_forth_and_home_again() -> None:
    async with driven(LARGE, traveller()) as d:
        await d.press("i")
        await d.at("InstancesScreen")
        grid: Any = d.app.screen.grid  # type: ignore[attr-defined]
        assert grid.seek("puzzle.sudoku/3")
        await d.press("space")
        await d.press("k")
        place = (grid.key, grid.top, set(grid.marked))
        await d.press("T")
        await d.sees("THE PAST")
        assert at(d) == NOW - 48 and "0.4.0" in d.text() and "LIVE" not in d.text()
        for stop, version in ((NOW - 300, "0.3.0"), (NOW - 600, "0.2.0")):
            await d.press("H")
            await until(lambda v=version: re.search(rf"running    sh-1  20011 .{v}", d.text()), version)
            assert at(d) == stop
        await until(lambda: "sudoku/3" not in d.text(), "who was not there then is not shown")
        assert "web/0 0.1.0 → 0.2.0" in d.text()
        await d.press("H", "H")
        await d.sees("This is the first that is kept.")
        await d.press("L")
        await until(lambda: at(d) == NOW - 600)
        # a step of the line of changes: somewhere between two changes
        await d.press("l")
        await until(lambda: NOW - 600 < at(d) < NOW - 300)
        await d.sees("nothing changed at exactly this moment")
        # in the past, too, Esc goes back one screen, and only then to live
        await d.press("h")
        await d.press("n")
        await d.at("NamingScreen")
        await d.press("escape")
        await d.at("InstancesScreen")
        assert d.app.travel is not None
        await d.press("escape")
        await d.sees("LIVE")
        assert (grid.key, grid.top, set(grid.marked)) == place
        assert "THE PAST" not in d.text() and "sudoku/3" in d.text() and "╔" not in d.text()
        d.session.push(instances={"puzzle.web/0": None})
        await until(lambda: "puzzle.web/0" not in d.app.board.instances, "live changes are shown again")


async def test_a_stay_leaves_no_state_behind() -> None:
    """Not even until Python's collector runs next."""
    gc.collect()
    gc.disable()
    try:
        async with driven(LARGE, traveller()) as d:
            await d.press("T")
            await d.sees("THE PAST")
            travel: Any = d.app.travel
            then = [await travel.session.snapshot()]
            await d.press("escape")
            await d.sees("LIVE")
            await until(lambda: sys.getrefcount(then[0]) == 2, "nothing but this test knows the state of then")
            assert travel.saved == {}, "nor what was live before"
    finally:
        gc.enable()


async def test_a_step_shows_rows_in_their_order_whatever_was_there_before() -> None:
    async with driven(LARGE, traveller()) as d:
        await d.press("i")
        await d.at("InstancesScreen")
        grid: Any = d.app.screen.grid  # type: ignore[attr-defined]
        order = list(grid.order)
        await d.press("T")
        await d.sees("THE PAST")
        await d.press("H", "H", "H")
        await until(lambda: at(d) == STOPS[0] and "puzzle.sudoku/3" not in grid.order)
        await d.press("L", "L", "L")
        await until(lambda: at(d) == NOW - 48 and "puzzle.sudoku/3" in grid.order)
        assert grid.order == order


async def test_nothing_can_be_changed_there() -> None:
    session = traveller()
    async with driven(LARGE, session) as d:
        await to(d, "puzzle.sudoku")
        await d.press("T")
        await d.sees("THE PAST")
        await d.press("r")
        await d.sees("this is the past")
        await d.press(":")
        await d.type("deploy sudoku 1.1.0")
        await d.press("enter")
        await d.sees("this is the past")
        assert not session.planned and not session.submitted
        assert not [op for op, _ in session.called if op not in ("past_step", "moments", "past")]


async def test_a_moment_is_typed() -> None:
    async with driven(SMALL, traveller()) as d:
        await d.press(":")
        await d.type("past -6m")
        await d.press("enter")
        await d.sees("THE PAST")
        assert at(d) == NOW - 360
        await d.press("T")
        await d.sees(":past")
        await d.type("#117")
        await d.press("enter")
        await until(lambda: at(d) == NOW - 700)
        await d.sees("nothing was recorded")
        await d.press("T")
        await d.type("tea")
        await d.press("enter")
        await d.sees("is no moment; write")
        await d.press("T")
        await d.type("-2d")
        await d.press("enter")
        await d.sees("Kept is")
        assert at(d) == STOPS[0]


@pytest.mark.parametrize("options", [{"theme": "mono"}, {"ascii": True}, {"theme": "ansi16"}, {"theme": "light"}])
@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_the_frame_cannot_be_overlooked(size: tuple[int, int], options: dict[str, Any]) -> None:
    async with driven(size, traveller(), **options) as d:
        await d.press("T")
        await d.sees("THE PAST")
        lines = d.text().splitlines()
        corner, side = ("+", "|") if options.get("ascii") else ("╔", "║")
        assert lines[0].startswith(corner) and len(lines[0]) == size[0]
        assert all(line.startswith(side) and line.endswith(side) for line in lines[1:-1])
        assert "Esc live" in lines[1] and "ago" in lines[1] and "H L change" in lines[1]
        assert (d.text().isascii()) == bool(options.get("ascii"))
        await d.press("g")
        await until(lambda: len(d.app.screen_stack) == 2)
        await until(lambda: d.text().splitlines()[0].startswith(corner), "a screen opened there has the frame too")


async def test_the_clock_may_tick_while_a_screen_goes() -> None:
    async with driven(SMALL, traveller()) as d:
        await d.press("T")
        await d.sees("THE PAST")
        screen = d.app.screen
        assert isinstance(screen, ClusterScreen)
        await screen.top_line.remove()
        screen.tick()


async def test_why_there_is_no_past() -> None:
    session = CannedSession()

    def none(args: dict[str, Any]) -> Any:
        raise Bad("no state history is recorded here (yet): it begins when the controller runs")

    session.answers["past_step"] = none
    async with driven(LARGE, session) as d:
        await d.press("T")
        await d.sees("no state history is recorded here")
        assert d.app.travel is None and "LIVE" in d.text()


async def test_a_step_that_gets_no_answer_is_said() -> None:
    session = traveller()
    async with driven(LARGE, session) as d:
        await d.press("T")
        await d.sees("THE PAST")

        def away(args: dict[str, Any]) -> Any:
            raise ConnectionError("the controller went away")

        session.answers["past_step"] = away
        await d.press("H")
        await d.sees("the controller went away")
        assert at(d) == NOW - 48
        await d.press("escape")
        await d.sees("LIVE")


async def test_what_changed_between_two_moments() -> None:
    session = traveller()
    rows = (
        Difference(table="instances", key="puzzle.web/0", name="puzzle.web/0", how="changed", before="1.0.0",
                   after="1.1.0"),
        Difference(table="hosts", key="sh-3", name="sh-3", how="changed", before="up", after="unknown",
                   mark="unknown"),
    )  # fmt: skip
    asked: list[dict[str, Any]] = []

    def between(args: dict[str, Any]) -> Any:
        asked.append(args)
        found = Between(start=args["start"], end=args["end"], rows=rows, gaps=(GAP,), revisions=(41, 42))
        return msgspec.to_builtins(found)

    session.answers["between"] = between
    async with driven((120, 30), session) as d:
        await d.press(":")
        await d.type("between -15m -5m")
        await d.press("enter")
        await d.sees("rev 41 → 42")
        assert (asked[0]["start"], asked[0]["end"]) == (NOW - 900, NOW - 300)
        text = d.text()
        assert "1.0.0" in text and "1.1.0" in text and "1 gap in the record" in text and "unknown" in text
        await d.press("/")
        await d.type("sh-3")
        await d.press("enter")
        assert "web/0" not in d.text()
        await d.press("escape", "home", "enter")
        await d.at("NodeScreen")
        await d.press("escape")
        await d.press(":")
        await d.type("between tea")
        await d.press("enter")
        await d.sees("is no moment")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-1h",), ("-1h", "")), (("-1h", "-5m"), ("-1h", "-5m")),
        (("2026-11-20", "03:00"), ("2026-11-20 03:00", "")),
        (("2026-11-20", "03:00", "04:00"), ("2026-11-20 03:00", "04:00")), (("#117", "now"), ("#117", "now")),
        (("2025-11-20", "03:00", "2025-11-21", "04:00"), ("2025-11-20 03:00", "2025-11-21 04:00")),
        (("tea",), ("tea", "")),
    ],
)  # fmt: skip
def test_two_moments_in_a_row_of_words(words: tuple[str, ...], expected: tuple[str, str]) -> None:
    assert halves(words) == expected
