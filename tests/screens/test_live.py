"""What happens while nobody presses a key: deltas, a lost connection, logs."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.screens.canned import NOW, CannedSession, rows
from tests.screens.drive import LARGE, driven, keyed, to, until


async def test_a_delta_changes_what_is_seen() -> None:
    async with driven(LARGE) as d:
        row = msgspec.structs.replace(
            rows()["puzzle.sudoku/3"], mark="ok", word="running", health="ok", reason="", since=NOW, started=NOW - 5
        )
        d.session.push(instances={row.id: row}, drift={"unhealthy|puzzle.sudoku/3": None}, now=NOW)
        await until(lambda: "unhealthy" not in d.text(), "the trouble to go")
        await d.sees("nothing")


async def test_deltas_reach_a_screen_that_was_covered() -> None:
    async with driven(LARGE) as d:
        await d.press("i", "enter")
        await d.at("NodeScreen")
        d.session.push(instances={"puzzle.batch/5": None}, now=NOW)
        await until(lambda: "puzzle.batch/5" not in d.app.board.instances)
        await d.press("escape")
        await until(lambda: "puzzle.batch/5" not in d.app.screen.grid.order)  # type: ignore[attr-defined]


async def test_a_host_that_comes_back_is_told_lately() -> None:
    async with driven(LARGE) as d:
        host = d.app.board.hosts["bj-3"]
        lost = msgspec.structs.replace(host, presence="unknown", mark="unknown", since=NOW - 41, reason="no answer")
        on_it = [
            msgspec.structs.replace(r, mark="unknown", word="unknown", state="UNKNOWN")
            for r in rows().values()
            if r.host == "bj-3"
        ]
        d.session.push(hosts={"bj-3": lost}, instances={r.id: r for r in on_it}, now=NOW)
        await d.sees("host bj-3  unknown 41s")
        assert d.text().count("batch/5") == 1, "its instances are told by its own line"
        d.session.push(hosts={"bj-3": msgspec.structs.replace(host, since=NOW)}, instances=dict(rows()), now=NOW)
        await d.sees("host bj-3 back after 41s")


async def test_no_answer_is_said_with_its_age_and_the_screen_comes_back_by_itself() -> None:
    times = [NOW]
    async with driven(clock=lambda: times[0]) as d:
        d.session.broken = ConnectionError("control.sock is gone")
        times[0] += 34
        d.session.deltas.put_nowait(ConnectionError("reset"))
        await d.sees("NO ANSWER since 22:23:56, shown as it was 34s ago")
        assert "LIVE" not in d.text() and "sudoku/3" in d.text()
        assert d.text().splitlines()[0].count(":") == 2, "no clock that stands still"
        await d.press(keyed("restart"))
        await d.sees("needs the controller, and it does not answer")
        await d.press("i")
        await d.at("InstancesScreen")
        await d.sees("sudoku/3")
        d.session.broken = None
        await d.sees("LIVE")


async def test_a_controller_that_is_not_there_at_the_start_is_waited_for() -> None:
    session = CannedSession()
    session.broken = ConnectionError("no controller in /var/lib/x")
    async with driven(session=session) as d:
        await d.sees("no controller: no controller in /var/lib/x")
        session.broken = None
        await d.sees("puzzle-prod")


async def test_node_action_and_logs_survive_a_lost_connection() -> None:
    async with driven() as d:

        async def gone(*args: Any, **kwargs: Any) -> Any:
            raise ConnectionError("away")

        d.session.instance = d.session.action = d.session.revisions = gone  # type: ignore[method-assign]
        await d.press("i", "enter")
        await d.at("NodeScreen")
        await d.press("escape", "escape", "a", "enter")
        await d.at("ActionScreen")
        await d.press("escape", "escape", "v")
        await d.sees("No answer")


# logs


async def test_logs_follow_stand_still_and_filter() -> None:
    async with driven() as d:
        await to(d, "puzzle.sudoku/3")
        await d.press("l")
        await d.sees("Address already in use")
        for n in range(60):
            d.session.log_feed.put_nowait(msgspec.structs.replace(d.session.lines[0], text=f"line {n}"))
        await d.sees("line 59")
        await d.press("up", "up")
        await d.sees("standing still")
        d.session.log_feed.put_nowait(msgspec.structs.replace(d.session.lines[0], text="late"))
        await d.sees("1 new below")
        assert "late" not in d.text()
        await d.press("f")
        await d.sees("late")
        await d.type("&address")
        await d.press("enter")
        await d.sees("1 of 64")
        assert "line 5" not in d.text()
        await d.press("escape")
        await d.sees("late")
        await d.press("escape")
        await d.at("OverviewScreen")


async def test_a_log_cannot_draw_on_the_screen() -> None:
    session = CannedSession()
    session.lines = [msgspec.structs.replace(session.lines[0], text="\x1b[2J\x1b]0;x\x07evil\x1b[31m red\x9b2K")]
    async with driven(session=session) as d:
        await to(d, "puzzle.sudoku/3")
        await d.press("l")
        await d.sees("evil red")


async def test_a_log_that_breaks_off_is_taken_up_again() -> None:
    async with driven() as d:
        await to(d, "puzzle.sudoku/3")
        await d.press("l")
        await d.sees("run 3 ended")
        d.session.log_feed.put_nowait(ConnectionError("reset"))
        await d.sees("lines of the meantime may be missing here")
        d.session.log_feed.put_nowait(msgspec.structs.replace(d.session.lines[0], text="again"))
        await d.sees("again")
