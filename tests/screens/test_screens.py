"""Where keys lead, and what is on the screens there."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
import pytest
from textual import events

from cockpit.act.table import VERBS
from cockpit.model.view import ActionRow, InstanceRow
from screens.help import typed
from screens.places import PLACES
from tests.screens.canned import NOW, CannedSession, instance, snapshot
from tests.screens.drive import LARGE, SMALL, Driver, driven, keyed, to, until

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE])


KEYS = {
    "g": "GraphScreen", "i": "InstancesScreen", "h": "HostsScreen", "n": "NamingScreen", "v": "RevisionsScreen",
    "a": "ActionsScreen", "?": "HelpScreen", "l": "LogsScreen", "b": "ArtifactsScreen", "B": "PushScreen",
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
    arguments = {"node": " sudoku/3", "action": " #118", "logs": " web", "host": " bj-1", "artifact": " sudoku/1.2.0"}
    arguments |= {"compare": " 41", "then": " sudoku/3 41", "revision": " 41"}
    async with driven() as d:
        for name, cls in ((n, p.where.partition(":")[2]) for n, p in PLACES.items() if p.where):
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


# more


async def test_an_address_that_is_no_screen_is_said_and_a_verb_in_it_does_not_run() -> None:
    async with driven(address="frobnicate") as d:
        await d.sees("no screen and no verb 'frobnicate'")
    async with driven(address="restart web") as d:
        await d.sees("is a verb, not a screen")
        assert d.session.planned == []


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
        await d.sees("sudoku version 1.1.0 → 1.2.0")
        await d.press("down", "enter")
        await d.sees("REVISION 41")
        await d.press(keyed("rollback"))
        await until(lambda: d.session.planned)
        assert (d.session.planned[0].targets, d.session.planned[0].params) == ((), {"action": "#117"})


async def test_help_is_made_of_the_live_bindings_and_the_table() -> None:
    async with driven((100, 180)) as d:
        await d.press("?")
        text = d.text()
        for verb in VERBS.values():
            assert verb.target == "topology" or typed(verb.example) in text
        for mark in ("as expected", "neither dead nor healthy"):
            assert mark in text


async def test_an_interrupted_action_needs_a_decision() -> None:
    first = snapshot()
    row = msgspec.structs.replace(first.actions["#118"], state="interrupted", note="the controller ended at step 5")
    first = msgspec.structs.replace(first, actions={**first.actions, "#118": row})
    async with driven(LARGE, session=CannedSession(first)) as d:
        await d.sees("interrupted")
        await d.sees("R resume   X abort")
        lines = d.text().splitlines()
        order = [next(n for n, line in enumerate(lines) if w in line) for w in ("NEEDS YOU", "‖ #118", "▲ sudoku/3")]
        assert order == sorted(order), "the decision comes first"
        await d.press(*":action #118", "enter")
        await d.sees("? wait until sudoku/3 is healthy")


async def test_needs_you_stays_in_sight_when_things_happen() -> None:
    first = snapshot()
    calm = {i: msgspec.structs.replace(r, mark="ok") for i, r in first.instances.items()}
    ended = {i: r for i, r in first.actions.items() if r.ended is not None}
    session = CannedSession(msgspec.structs.replace(first, instances=calm, drift={}, actions=ended))
    async with driven(SMALL, session=session) as d:
        await d.sees("NEEDS YOU")
        for n, (name, host) in enumerate(first.hosts.items()):
            away = msgspec.structs.replace(host, presence="suspect", since=NOW + n, mark="changing")
            session.push(hosts={name: away})
        await until(lambda: len(d.app.board.events) == len(first.hosts))
        await d.settled()
        await d.sees("bj-3 suspect")
        assert "NEEDS YOU" in d.text(), "the list is not in use: its head stays"
        await d.press("tab", "end")
        await d.sees("#115")


async def test_notices_stand_above_the_tree_unless_needs_you_tells_them() -> None:
    first = msgspec.structs.replace(snapshot(), notices=("the clock of sh-1 is 40 s late", "#118 was interrupted"))
    async with driven(LARGE, session=CannedSession(first)) as d:
        await d.sees("the clock of sh-1 is 40 s late")
        assert "#118 was interrupted" not in d.text()


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


def ascii_is(d: Driver, ascii: bool) -> bool:
    return ("! sudoku/3" in d.text()) == ascii


def returned(d: Driver) -> bool:
    return d.app.return_value is not None


async def test_a_terminal_that_draws_glyphs_two_cells_wide_gets_ascii() -> None:
    for column, ascii in ((2, False), (4, True)):
        async with driven(ascii=None) as d:
            d.app.look.ascii = False  # whatever the locale of the tests is
            d.app.post_message(events.CursorPosition(column, 0))
            await d.settled()
            await until(partial(ascii_is, d, ascii))
            assert ("▲ sudoku/3" in d.text()) != ascii


async def test_quit_leaves_with_zero() -> None:
    for key in ("q", "ctrl+c", "ctrl+q"):
        async with driven() as d:
            d.app.post_message(events.Key(key, None))
            await until(partial(returned, d))
            assert d.app.return_value == 0


async def test_an_unknown_theme_is_refused_with_the_ones_there_are() -> None:
    from tests.screens.drive import make_app

    with pytest.raises(ValueError, match="no theme 'pink'.*there are dark, light, "):
        make_app(theme="pink")


async def test_a_finished_action_reports_itself_in_the_open_screen() -> None:
    async with driven() as d:
        await d.press("a", "enter")
        await d.at("ActionScreen")
        await d.sees("running")
        done: ActionRow = msgspec.structs.replace(
            d.app.board.actions["#118"], state="done", ended=NOW, note="", done=26, mark="ok"
        )
        d.session.data = msgspec.structs.replace(d.session.data, actions={**d.session.data.actions, "#118": done})
        d.session.push(actions={"#118": done}, now=NOW)
        await d.sees("26 of 26")
        await asyncio.sleep(0)
        await d.press(keyed("pause"))
        await d.sees("#118 has ended (done)")
