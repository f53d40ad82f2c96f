"""What keys do: messages and behaviour on the canned session."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from textual import events

from cockpit.act.table import VERBS
from cockpit.model.view import ActionRow, InstanceRow
from cockpit.plan.steps import Bad, Plan, Refused
from screens.app import MADE
from tests.screens.canned import NOW, CannedSession, instance, plan_for, rows, snapshot
from tests.screens.drive import LARGE, SMALL, Driver, driven, until

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE])


def keyed(verb: str) -> str:
    return VERBS[verb].key


async def to(d: Driver, key: str) -> None:
    """Put the tree's cursor on a row."""
    assert d.app.screen.tree_list.seek(key)  # type: ignore[attr-defined]
    await d.settled()


# where keys lead


KEYS = {
    "g": "GraphScreen", "i": "InstancesScreen", "h": "HostsScreen", "n": "NamingScreen", "v": "RevisionsScreen",
    "a": "ActionsScreen", "?": "HelpScreen", "l": "LogsScreen",
}


@SIZES
async def test_a_key_opens_its_screen_and_escape_comes_back(size: tuple[int, int]) -> None:
    async with driven(size) as d:
        for key, screen in KEYS.items():
            await to(d, "puzzle.sudoku/3")
            tree = d.app.screen.tree_list  # type: ignore[attr-defined]
            top = tree.top
            await d.press(key)
            await d.at(screen)
            await d.press("escape")
            await d.at("OverviewScreen")
            assert (tree.key, tree.top) == ("puzzle.sudoku/3", top)


async def test_every_screen_of_the_table_can_be_opened_by_command() -> None:
    arguments = {"node": " sudoku/3", "action": " #118", "logs": " web"}
    async with driven() as d:
        for name, (_, cls) in MADE.items():
            if name == "revision":
                continue  # opened from the list of revisions, with its row
            await d.type(":" + name + arguments.get(name, ""))
            await d.press("enter")
            await d.at(cls)


async def test_enter_on_an_instance_explains_it_and_on_a_service_lists_it() -> None:
    async with driven(LARGE) as d:
        await to(d, "puzzle.sudoku/3")
        await d.press("enter")
        await d.at("NodeScreen")
        await d.sees("2 differences")
        await d.sees("refused for 14s")
        await d.press("escape")
        await to(d, "puzzle.sudoku")
        await d.press("enter")
        await d.at("InstancesScreen")
        await d.sees("SERVICE sudoku")
        assert "batch/0" not in d.text()
        await d.press("down", "down", "enter")
        await d.at("NodeScreen")
        await d.press("escape")
        assert d.app.screen.grid.key == "puzzle.sudoku/2"  # type: ignore[attr-defined]


@SIZES
async def test_the_overview_says_what_needs_me_what_runs_and_what_was(size: tuple[int, int]) -> None:
    async with driven(size) as d:
        for words in ("NEEDS YOU", "sudoku/3  unhealthy 14s", "#118 deploy sudoku 1.2.0", "gives up at 22:23:51"):
            await d.sees(words)
        await d.press("tab", "end")
        await d.sees("#115 deploy sudoku 1.2.0")
        await d.sees("Returned to 1.1.0.")
        await d.press("home", "down", "enter")
        await d.at("ActionScreen")
        await d.sees("wait until sudoku/3 is healthy")


async def test_a_running_action_opens_live_and_can_be_paused_resumed_aborted() -> None:
    async with driven() as d:
        await d.press("a", "enter")
        await d.at("ActionScreen")
        await d.sees("started again at once")
        await d.press(keyed("pause"))
        await until(lambda: d.session.submitted)
        assert d.session.submitted[0][0].verb == "pause" and d.session.submitted[0][0].targets == ("#118",)
        await d.press(keyed("resume"))
        await d.sees("#118 is running")
        assert len(d.session.submitted) == 1
        await d.press(keyed("abort"))
        await d.at("AskScreen")
        await d.press("down", "enter")
        await d.at("PlanScreen")
        await until(lambda: d.session.planned)
        assert d.session.planned[0].params == {"undo": True}
        await until(lambda: d.app.screen.plan)  # type: ignore[attr-defined]
        await d.press("x")
        await d.at("ConfirmScreen")
        await d.type("118")
        await d.press("enter")
        await until(lambda: len(d.session.submitted) == 2)
        intent, _, confirm = d.session.submitted[1]
        assert (intent.verb, intent.targets, confirm) == ("abort", ("#118",), "118")


# from a verb to its plan


async def test_deploy_asks_the_version_shows_the_plan_and_submits_what_was_seen() -> None:
    async with driven() as d:
        await to(d, "puzzle.sudoku/3")
        await d.press(keyed("deploy"))
        await d.at("AskScreen")
        await d.sees("1.1.0")
        await d.press("down", "down", "enter")
        await d.at("PlanScreen")
        await d.sees("from rev 42, would write rev 43")
        assert d.session.submitted == []
        await d.press("enter")
        await d.sees("fetch sudoku/3 on bj-2")
        await d.press("down", "enter")
        await d.sees("may start at once")
        await d.press("x")
        await d.at("ActionScreen")
        intent, digest, confirm = d.session.submitted[0]
        assert (intent.verb, intent.targets, intent.params) == ("deploy", ("puzzle.sudoku",), {"version": "1.1.0"})
        assert (digest, confirm, intent.author) == ("d1", "", "li@jump-1")
        await d.press("escape")
        await d.at("OverviewScreen")


REACHED: list[tuple[str, str, list[str], tuple[str, ...], dict[str, Any]]] = [
    ("restart", "puzzle.sudoku/3", [], ("puzzle.sudoku/3",), {}),
    ("restart", "puzzle.web", [], ("puzzle.web",), {}),
    ("converge", "puzzle", [], ("puzzle",), {}),
    ("adopt", "puzzle.web/0", [], ("puzzle.web/0",), {}),
    ("rollback", "puzzle.sudoku", [], ("puzzle.sudoku",), {}),
    ("stop", "puzzle.batch", [], ("puzzle.batch",), {}),
    ("scale", "puzzle.web/1", ["6", "enter"], ("puzzle.web",), {"count": 6}),
    ("migrate", "puzzle.web/1", ["enter"], ("puzzle.web/1",), {}),
    ("migrate", "puzzle.web/1", ["s", "h", "-", "2", "enter"], ("puzzle.web/1",), {"host": "sh-2"}),
    ("push", "puzzle.sudoku", ["down", "down", "enter"], ("sudoku/1.1.0",), {}),
    ("deploy", "puzzle.web", ["9", "enter"], ("puzzle.web",), {"version": "9"}),
]


async def test_every_verb_reaches_the_plan_with_its_targets() -> None:
    async with driven() as d:
        for verb, where, keys, targets, params in REACHED:
            d.session.planned.clear()
            await to(d, where)
            await d.press(keyed(verb))
            if keys:
                await d.at("AskScreen")
                ask: Any = d.app.screen
                if ask.question.load:
                    await until(lambda ask=ask: ask.question.options)
                await d.press(*keys)
            await until(lambda: d.session.planned, verb)
            assert d.session.planned[0].verb == verb
            assert (d.session.planned[0].targets, d.session.planned[0].params) == (targets, params)
            await d.press("escape")
            await d.at("OverviewScreen")
        assert d.session.submitted == []


async def test_drain_and_start_work_on_a_host() -> None:
    async with driven() as d:
        await d.press("h", "down", keyed("drain"))
        await d.at("PlanScreen")
        await until(lambda: d.session.planned)
        assert d.session.planned[0].targets == ("bj-2",)
        await d.press("escape", keyed("start"))
        await until(lambda: len(d.session.planned) == 2)
        assert (d.session.planned[1].verb, d.session.planned[1].targets) == ("start", ("bj-2",))


async def test_destructive_needs_the_typed_name_and_enter_alone_does_nothing() -> None:
    async with driven() as d:
        await to(d, "puzzle.batch")
        await d.press(keyed("stop"))
        await d.sees("asks for the typed name")
        await d.press("x")
        await d.at("ConfirmScreen")
        await d.press("enter")
        await d.sees("That is not batch. Nothing was done.")
        await d.type("batc")
        await d.press("enter")
        assert d.name == "ConfirmScreen" and d.session.submitted == []
        await d.press("escape")
        await d.at("PlanScreen")
        await d.press("x")
        await d.type("batch")
        await d.press("enter")
        await until(lambda: d.session.submitted)
        assert d.session.submitted[0][2] == "batch"


async def test_escape_in_a_plan_does_nothing() -> None:
    async with driven() as d:
        await to(d, "puzzle.web/0")
        await d.press(keyed("restart"), "escape")
        await d.at("OverviewScreen")
        assert d.session.submitted == []


async def test_a_bad_intent_comes_back_to_where_it_was_asked() -> None:
    session = CannedSession()
    session.fail = Bad("no version 9; there are 1.0.0, 1.1.0")
    async with driven(session=session) as d:
        await to(d, "puzzle.web/0")
        await d.press(keyed("restart"))
        await d.sees("no version 9; there are 1.0.0, 1.1.0")
        await d.at("OverviewScreen")
        assert d.app.screen.tree_list.key == "puzzle.web/0"  # type: ignore[attr-defined]


async def test_no_answer_to_a_plan_is_said_calmly() -> None:
    session = CannedSession()
    session.fail = ConnectionError("control.sock: no such file")
    async with driven(session=session) as d:
        await d.press(keyed("converge"))
        await d.sees("Nothing was done.")
        await d.at("OverviewScreen")


async def test_a_refused_plan_is_shown_anew_and_can_be_run_then() -> None:
    async with driven() as d:
        await to(d, "puzzle.web/0")
        await d.press(keyed("restart"))
        await until(lambda: len(d.session.planned) == 1)
        d.session.fail = Refused("the situation has changed")
        await until(lambda: d.app.screen.plan)  # type: ignore[attr-defined]
        await d.press("x")
        await until(lambda: len(d.session.planned) == 2)
        await d.sees("the situation has changed")
        d.session.fail = None
        await d.press("x")
        await d.at("ActionScreen")
        assert len(d.session.submitted) == 2


async def test_an_empty_plan_runs_nothing() -> None:
    session = CannedSession()

    async def empty(intent: Any) -> Plan:
        return msgspec.structs.replace(plan_for(intent), steps=(), changes=())

    session.plan = empty  # type: ignore[method-assign]
    async with driven(session=session) as d:
        await d.press(keyed("converge"))
        await d.sees("Nothing to do")
        await d.press("x")
        await d.sees("There is nothing to do.")
        assert session.submitted == []


async def test_waiting_longer_than_a_moment_is_said() -> None:
    session = CannedSession()
    session.hold.clear()
    async with driven(session=session) as d:
        await d.press(keyed("converge"))
        await d.sees("working out the plan of converge")
        await d.press("x")
        await d.sees("The plan is not there yet.")
        session.hold.set()
        await d.sees("STEPS")
        assert "working out" not in d.text()


async def test_y_copies_the_command_that_does_the_same() -> None:
    async with driven() as d:
        await to(d, "puzzle.batch")
        await d.press(keyed("stop"))
        await d.sees("STEPS")
        await d.press("y")
        await d.sees("Copied: cockpit stop puzzle.batch --confirm batch")
        assert d.app.clipboard == "cockpit stop puzzle.batch --confirm batch"


# read-only, wrong rows


async def test_read_only_says_why_for_every_verb_by_key_and_by_command() -> None:
    async with driven(session=CannedSession(read_only="this is the view socket")) as d:
        for verb in VERBS.values():
            if not verb.key:
                continue
            if verb.target in ("host", "action"):
                await d.press(verb.target[0])
            await d.press(verb.key)
            await d.sees(f"{verb.name} is off: this is the view socket")
            await d.press("up")
            assert "is off" not in d.text()
            await d.type(f":{verb.name} sudoku/3")
            await d.press("enter")
            await d.sees(f"{verb.name} is off: this is the view socket")
            await d.press("escape")
        assert d.session.planned == [] and d.session.submitted == []


async def test_read_only_can_come_from_the_caller_and_stands_on_the_top_line() -> None:
    async with driven(read_only_reason="started with --read-only") as d:
        await d.sees("read-only")
        await d.press(keyed("restart"))
        await d.sees("restart is off: started with --read-only")


async def test_a_verb_on_the_wrong_row_says_what_it_works_on() -> None:
    async with driven(LARGE) as d:
        await d.press(keyed("migrate"))
        await d.sees("moves one instance")
        await d.press(keyed("deploy"))
        await d.sees("puzzle is a cluster")
        await d.press(keyed("drain"))
        await d.sees("drain works on a host")
        await to(d, "puzzle.web/0")
        await d.press(keyed("start"))
        await d.sees("web/0 is not stopped")


# filter, marks, sort


async def test_filter_as_typed_kept_by_enter_and_taken_away_by_escape() -> None:
    async with driven() as d:
        await d.press("i", "/")
        await d.type("sudoku")
        await d.sees("4 of 12")
        await until(lambda: "batch/0" not in d.text())
        await d.press("enter")
        assert d.app.screen.grid.sieve.text == "sudoku"  # type: ignore[attr-defined]
        await d.press("/", "ctrl+u")
        await d.type("!sudoku")
        await d.sees("8 of 12")
        await d.press("escape")
        assert len(d.app.screen.grid.order) == 12  # type: ignore[attr-defined]
        await d.press("escape")
        await d.at("OverviewScreen")


async def test_what_is_typed_into_a_filter_never_reaches_a_verb() -> None:
    async with driven() as d:
        await d.type("/drxcAuq?:")
        assert d.name == "OverviewScreen" and d.session.planned == []
        assert d.app.screen.field.text == "drxcAuq?:"  # type: ignore[attr-defined]


async def test_marked_rows_are_the_targets_and_escape_takes_marks_away() -> None:
    async with driven() as d:
        await d.press("i", "space", "down", "space")
        await d.sees("2 marked")
        await d.press(keyed("restart"))
        await until(lambda: d.session.planned)
        assert d.session.planned[0].targets == ("puzzle.batch/0", "puzzle.batch/2")
        await d.press("escape")
        await d.at("InstancesScreen")
        await d.press(keyed("migrate"))
        await d.sees("one instance at a time")
        await d.press("escape")
        assert not d.app.screen.grid.marked and d.name == "InstancesScreen"  # type: ignore[attr-defined]


async def test_marks_on_the_tree_are_of_one_kind() -> None:
    async with driven() as d:
        await to(d, "puzzle.web/0")
        await d.press("space")
        await to(d, "puzzle.web")
        await d.press("space")
        await d.sees("Marks are of one kind")


async def test_sort_goes_through_the_columns_and_turns() -> None:
    async with driven(LARGE) as d:
        await d.press("i", "o", "o")
        grid = d.app.screen.grid  # type: ignore[attr-defined]
        assert grid.sort_by == "state"
        words = [grid.rows[k].word for k in grid.order]
        assert words == sorted(words)
        await d.press("O")
        assert [grid.rows[k].word for k in grid.order] == sorted(words, reverse=True)


async def test_a_verb_typed_right_after_a_movement_acts_on_the_row_moved_to() -> None:
    async with driven() as d:
        await to(d, "puzzle")
        await d.press("down", "down", "down", keyed("restart"))
        await until(lambda: d.session.planned)
        assert d.session.planned[0].targets == ("puzzle.batch/1",)


# typing is safe


async def test_paste_runs_nothing() -> None:
    async with driven() as d:
        for key in ("", "i", "g", "h"):
            await d.press(*key)
            before = d.name
            d.app.post_message(events.Paste("r\nx\ndq:stop batch\n"))
            await d.sees("Pasted text runs nothing here")
            assert d.name == before and d.session.planned == [] and d.session.submitted == []
            await d.press("up")


async def test_paste_into_a_line_takes_its_first_line_and_sends_nothing() -> None:
    async with driven() as d:
        await d.press(":")
        d.app.post_message(events.Paste("restart web\nstop batch\n"))
        await d.sees(":restart web")
        assert d.session.planned == []
        await d.press("enter")
        await until(lambda: d.session.planned)
        assert d.session.planned[0].targets == ("puzzle.web",)


async def test_every_binding_has_an_id_and_a_tooltip_and_no_key_is_bound_twice() -> None:
    async with driven() as d:
        for name in MADE:
            if name == "revision":
                continue
            await d.app.goto((name, *{"node": ("puzzle.web/0",), "action": ("#118",)}.get(name, ())))
            screen: Any = d.app.screen
            keys = [key for key, _ in screen._bindings]
            assert len(keys) == len(set(keys))
            for key, binding in screen._bindings:
                assert binding.id and binding.tooltip and binding.priority, (name, key)
            assert set(screen.HINTS) | set(screen.LAST) <= {b.id for _, b in screen._bindings}


async def test_the_key_line_shows_keys_that_work_here() -> None:
    async with driven(LARGE) as d:
        await to(d, "puzzle")
        last = d.text().splitlines()[-1]
        assert "d deploy" not in last and "r restart" in last
        await to(d, "puzzle.web")
        assert "d deploy" in d.text().splitlines()[-1]


async def test_keys_can_be_given_another_letter() -> None:
    async with driven(LARGE) as d:
        d.app.set_keymap({"verb.restart": "f5"})
        await to(d, "puzzle.web")
        await d.press("f5")
        await until(lambda: d.session.planned)
        await d.press("escape")
        await d.sees("f5 restart")


# the command line


async def test_commands_complete_recall_and_explain_what_is_wrong() -> None:
    async with driven(LARGE) as d:
        await d.type(":dep")
        await d.press("tab")
        await d.type("su")
        await d.press("tab")
        await d.sees(":deploy sudoku")
        await d.type(" 1.1.0")
        await d.press("enter")
        await until(lambda: d.session.planned)
        assert (d.session.planned[0].targets, d.session.planned[0].params) == (("puzzle.sudoku",), {"version": "1.1.0"})
        await d.press("escape", ":", "up")
        await d.sees(":deploy sudoku 1.1.0")
        await d.press("escape", ":")
        await d.type("instnces")
        await d.press("enter")
        await d.sees("no screen and no verb 'instnces'")
        await d.type(":scale web many")
        await d.press("enter")
        await d.sees("count is a number, not 'many'")
        await d.type(":instances web")
        await d.press("enter")
        await d.sees("SERVICE web")


async def test_the_address_given_at_the_start_is_opened() -> None:
    async with driven(address="instances puzzle.web") as d:
        await d.at("InstancesScreen")
        await d.press("escape")
        await d.at("OverviewScreen")


# live data


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
        on_it = [msgspec.structs.replace(r, mark="unknown", word="unknown", state="UNKNOWN") for r in rows().values() if r.host == "bj-3"]
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
        await d.type("/address")
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


# more


async def test_the_graph_moves_from_node_to_node_and_opens_what_is_chosen() -> None:
    async with driven() as d:
        await d.press("g")
        await d.sees("batch  calls sudoku, web")
        await d.press("right")
        await d.sees("web  calls sudoku   called by batch")
        await d.press("z")
        await d.sees("within 1 step of web")
        await d.press("enter")
        await d.sees("SERVICE web")
        await d.press("escape", "z", "z", keyed("restart"))
        await until(lambda: d.session.planned)
        assert d.session.planned[0].targets == ("puzzle.web",)


async def test_a_revision_opens_its_changes_and_its_action_can_be_undone() -> None:
    async with driven() as d:
        await d.press("v")
        await d.sees("services sudoku version")
        await d.press("enter")
        await d.sees("REVISION 42")
        await d.press(keyed("rollback"))
        await until(lambda: d.session.planned)
        assert (d.session.planned[0].targets, d.session.planned[0].params) == ((), {"action": "#118"})


async def test_help_is_made_of_the_live_bindings_and_the_table() -> None:
    async with driven((100, 120)) as d:
        await d.press("?")
        text = d.text()
        for verb in VERBS.values():
            assert verb.target == "topology" or verb.example.removeprefix("cockpit ") in text
        for mark in ("as expected", "neither dead nor healthy"):
            assert mark in text


async def test_an_interrupted_action_needs_a_decision() -> None:
    first = snapshot()
    row = msgspec.structs.replace(first.actions["#118"], state="interrupted", note="the controller ended at step 5")
    first = msgspec.structs.replace(first, actions={**first.actions, "#118": row})
    async with driven(LARGE, session=CannedSession(first)) as d:
        await d.sees("interrupted")
        await d.sees("R resume   X abort")


async def test_ten_thousand_instances_are_shown_and_filtered() -> None:
    many: dict[str, InstanceRow] = {}
    for n in range(10_000):
        row = instance("puzzle.web", n, f"host-{n % 100}", "1.0.0")
        many[row.id] = row
    async with driven(session=CannedSession(msgspec.structs.replace(snapshot(), instances=many))) as d:
        await d.press("i")
        await d.type("/web/9999")
        await d.sees("1 of 10000")
        await d.press("enter", "enter")
        await d.at("NodeScreen")


async def test_quit_leaves_with_zero() -> None:
    for key in ("q", "ctrl+c", "ctrl+q"):
        async with driven() as d:
            d.app.post_message(events.Key(key, None))
            await until(lambda d=d: d.app.return_value is not None)
            assert d.app.return_value == 0


async def test_an_unknown_theme_is_refused_with_the_ones_there_are() -> None:
    from tests.screens.drive import make_app

    with pytest.raises(ValueError, match="dark, light, ansi16, mono"):
        make_app(theme="pink")


async def test_a_finished_action_reports_itself_in_the_open_screen() -> None:
    async with driven() as d:
        await d.press("a", "enter")
        await d.at("ActionScreen")
        await d.sees("running")
        done: ActionRow = msgspec.structs.replace(d.app.board.actions["#118"], state="done", ended=NOW, note="", done=26, mark="ok")
        d.session.data = msgspec.structs.replace(d.session.data, actions={**d.session.data.actions, "#118": done})
        d.session.push(actions={"#118": done}, now=NOW)
        await d.sees("26 of 26")
        await asyncio.sleep(0)
        await d.press(keyed("pause"))
        await d.sees("#118 has ended (done)")
