"""From the key or the command of a verb to its plan, and why not."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from textual import events

from cockpit.act.table import VERBS
from cockpit.plan.steps import Bad, Plan, Refused
from screens.places import PLACES
from tests.screens.canned import CannedSession, plan_for
from tests.screens.drive import LARGE, driven, keyed, to, until


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
        await d.sees("Nothing has run yet: x runs this plan")
        assert d.name == "PlanScreen" and d.session.submitted == []
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
    ("deploy", "puzzle.sudoku", ["2", "enter"], ("puzzle.sudoku",), {"version": "1.2.0"}),
    ("signal", "puzzle.web/1", ["down", "enter"], ("puzzle.web/1",), {"signal": "HUP"}),
    ("signal", "puzzle.web", ["k", "i", "l", "l", "enter"], ("puzzle.web",), {"signal": "KILL"}),
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
                    await until(partial(getattr, ask.question, "options"))
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
        await d.sees("bj-2 is in service already")
        row = d.session.data.hosts["bj-2"]
        d.session.push(hosts={"bj-2": msgspec.structs.replace(row, presence="draining", mark="draining")})
        await d.sees("draining")
        await d.press(keyed("start"))
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


async def test_a_signal_is_chosen_or_typed_and_a_wrong_one_told_the_nearest() -> None:
    async with driven() as d:
        await to(d, "puzzle.web/0")
        await d.press(keyed("signal"))
        await d.at("AskScreen")
        await d.sees("read the configuration anew")
        await d.press("enter")
        await d.sees("Type or choose a signal, or Esc.")
        await d.type("hpu")
        await d.press("enter")
        await d.sees("did you mean HUP?")
        assert d.session.planned == []
        await d.press("escape")
        await d.at("OverviewScreen")
        await d.press("i")
        await d.at("InstancesScreen")
        await d.press("space", "down", "space")
        await d.type(":signal usr1")
        await d.press("enter")
        await d.at("PlanScreen")
        await until(lambda: d.session.planned)
        assert len(d.session.planned[0].targets) == 2 and d.session.planned[0].params == {"signal": "usr1"}


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
        for name in (n for n, p in PLACES.items() if p.where):
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
        assert (d.session.planned[0].targets, d.session.planned[0].params) == (
            ("puzzle.sudoku",),
            {"version": "1.1.0"},
        )
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
