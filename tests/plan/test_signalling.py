"""A signal as a plan: its name, to whom it goes, what is said of it, and what it cannot reach."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from cockpit.model.problems import Wrong
from cockpit.model.signals import SIGNALS, signal_of
from cockpit.model.states import State
from cockpit.model.topology import Check, Expected, Host, Restart, Runtime
from cockpit.plan.steps import SIGNAL, Bad, Plan, Refused
from cockpit.plan.verbs import plan
from tests.plan.world import actual, context, expected, intent, service, unit

GOOD = {
    "HUP": "HUP", "hup": "HUP", "SigHup": "HUP", "SIGKILL": "KILL", "-TERM": "TERM", " usr1 ": "USR1",
    "winch": "WINCH",
    "Stop": "STOP", "sigcont": "CONT", "INT": "INT", "QUIT": "QUIT", "USR2": "USR2",
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_a_name_with_or_without_sig_in_any_case(text: str) -> None:
    assert signal_of(text).name == GOOD[text]


@pytest.mark.parametrize(("text", "said", "near"), [
    ("HUPP", 'unknown signal "HUPP"', "HUP"), ("TREM", "unknown signal", "TERM"),
    ("SIGUSR", "unknown signal", "USR2"),
    ("9", "signals go by name: 9 is KILL", "KILL"), ("-15", "15 is TERM", "TERM"), ("77", "go by name, not 77", ""),
    ("", "unknown signal", ""), ("x" * 900, "...", ""), ("SIG", "known are HUP, USR1", ""), ("²", "unknown", ""),
])  # fmt: skip
def test_a_wrong_one_is_told_the_nearest(text: str, said: str, near: str) -> None:
    with pytest.raises(Wrong) as wrong:
        signal_of(text)
    assert said in str(wrong.value) and len(str(wrong.value)) < 200
    assert wrong.value.hint == near or near == "USR2" and wrong.value.hint.startswith("USR")


def test_numbers_are_those_of_linux() -> None:
    import signal

    assert {s.name: s.number for s in SIGNALS.values()} == {
        n: int(getattr(signal, f"SIG{n}")) for n in SIGNALS
    }


def world(**more: Any) -> Expected:
    return expected({"shop.web": service(count=3, check=Check(tcp="", interval=2.0, timeout=1.0, fall=2), **more)})


def units(e: Expected, **facts: Any) -> list[tuple[Any, str]]:
    return [
        (unit(i, 2, pid=4000 + n, pids={"main": 4000 + n}, run=n + 1, **facts), host)
        for n, (i, host) in enumerate(e.placement.items())
    ]


def asked(e: Expected, *targets: str, have: Any = None, **params: Any) -> Plan:
    return plan(intent("signal", *(targets or ("web/0",)), **params), context(e, have or actual(units(e), e.hosts)))


def test_one_step_for_each_process_says_who_gets_it_and_which_run_is_meant() -> None:
    e = world()
    made = asked(e, "web/1", signal="sighup")
    (step,) = made.steps
    assert (step.kind, step.instance, step.unit) == (SIGNAL, "shop.web/1", "shop.web/1:2")
    assert step.args == {"signal": "HUP", "process": "", "all": False, "run": 2}
    assert step.text == f"send HUP to web/1 on {step.host}: pid 4001"
    assert made.intent.params == {"signal": "HUP"} and made.title == "signal HUP web/1"
    assert made.touches == (f"web/1 on {step.host}: pid 4001", "a program that does not handle HUP ends of it")
    assert (made.risk, made.confirm, made.changes, made.locks) == ("change", "", (), ())
    assert made.undo == "nothing undoes a signal" and made.ready == {} and made.warnings == ()
    every = asked(e, "web", signal="USR1")
    assert [s.instance for s in every.steps] == ["shop.web/0", "shop.web/1", "shop.web/2"]
    assert all(not s.needs for s in every.steps) and every.on_failure == "continue"


@pytest.mark.parametrize("name", SIGNALS)
def test_what_ends_or_freezes_asks_for_the_typed_name_and_counts_as_not_ready(name: str) -> None:
    made = asked(world(), "web/0", "web/2", signal=name)
    takes = name in ("TERM", "INT", "QUIT", "KILL", "STOP")
    assert (made.risk == "destructive", made.confirm) == (takes, "web/0,web/2" if takes else "")
    assert made.ready == ({"shop.web": (1, 3)} if takes else {})
    assert bool(made.warnings) == takes


@pytest.mark.parametrize(("name", "more", "said"), [
    ("KILL", {}, "web (1 instance): ends at once without a drain, and its connections are cut (`restart` drains "
                 "first); the keeper starts it again (restart: always); it counts as a restart"),
    ("TERM", {"restart": Restart(mode="on-failure")}, "starts it again unless it ends with 0 (restart: on-failure)"),
    ("KILL", {"restart": Restart(mode="on-failure")}, "the keeper starts it again (restart: on-failure)"),
    ("TERM", {"restart": Restart(mode="never")}, "nothing starts it again but `restart` (restart: never)"),
    ("TERM", {"runtime": Runtime(systemd="w.service")}, "systemd may start it again"),
    ("TERM", {"runtime": Runtime(pidfile="/run/w.pid")}, "nothing starts it again"),
    ("STOP", {}, "freezes: its health fails within about 6s; CONT lets it go on"),
])  # fmt: skip
def test_what_follows_is_said_before(name: str, more: Any, said: str) -> None:
    (warning,) = asked(world(**more), signal=name).warnings
    assert said in warning


def test_without_a_check_a_frozen_one_still_gets_traffic_and_without_a_keeper_nobody_starts_it_again() -> None:
    e = replace(world(), services={"shop.web": service(count=3)})
    assert "no health check tells: traffic still goes there" in asked(e, signal="STOP").warnings[0]
    hosts = {n: Host(region=h.region, address=h.address, connection="ssh") for n, h in e.hosts.items()}
    assert "nothing starts it again but `restart`" in asked(replace(e, hosts=hosts), signal="KILL").warnings[0]


def test_a_group_gets_it_at_main_unless_another_or_all_are_asked_for() -> None:
    e = world()
    have = actual(units(e), e.hosts)
    group = {i: tuple(replace(u, pids={"side": 9000, "main": u.pid}) for u in us) for i, us in have.units.items()}
    have = replace(have, units=group)
    main = asked(e, have=have, signal="HUP").steps[0]
    assert main.args["process"] == "main" and main.text.endswith(": pid 4000 (main)")
    side = asked(e, have=have, signal="HUP", process="side").steps[0]
    assert side.args["process"] == "side" and side.text.endswith(": pid 9000 (side)")
    every = asked(e, have=have, signal="HUP", all=True)
    assert every.steps[0].args["all"] and every.steps[0].args["process"] == ""
    assert every.steps[0].text.endswith(": every process (pid 9000, 4000 and what they started)")
    assert every.intent.params == {"signal": "HUP", "all": True}
    with pytest.raises(Bad, match=r"no process 'sied'.*side"):
        asked(e, have=have, signal="HUP", process="sied")
    with pytest.raises(Bad, match="give one of them"):
        asked(e, have=have, signal="HUP", process="side", all=True)


def test_who_does_not_run_or_does_not_answer_is_left_out_and_named() -> None:
    e = world()
    have = actual(units(e), e.hosts)
    first, second, third = e.placement
    mute = e.placement[second]
    have = replace(have, units={
        **have.units, first: (replace(have.units[first][0], state=State.FAILED, pid=None, pids={}),),
    }, hosts={**have.hosts, mute: replace(have.hosts[mute], presence="down")})  # fmt: skip
    made = asked(e, "web", have=have, signal="HUP")
    assert [s.instance for s in made.steps] == [third] and made.skipped == (first, second)
    assert made.warnings == (
        "web/0 does not run: nothing is sent to it",
        f"web/1 is on {mute}, which gives no answer: nothing is sent to it",
    )
    with pytest.raises(Refused, match="web/0 does not run"):
        asked(e, "web/0", have=have, signal="HUP")
    with pytest.raises(Bad, match="no target 'wbe/0'"):
        asked(e, "wbe/0", have=have, signal="HUP")
    with pytest.raises(Bad, match=r'unknown signal "HPU".*did you mean HUP'):
        asked(e, have=have, signal="HPU")


def test_others_that_know_one_process_are_not_asked_for_all() -> None:
    with pytest.raises(Refused, match="run by supervisord, which knows its main process only"):
        asked(world(runtime=Runtime(supervisord="w")), signal="HUP", all=True)
    assert asked(world(runtime=Runtime(systemd="w")), signal="HUP", all=True).steps[0].args["all"]


def test_a_new_run_makes_the_plan_that_was_looked_at_void() -> None:
    e = world()
    before = asked(e, signal="KILL")
    again = actual([(replace(u, run=u.run + 1, pid=1, pids={"main": 1}), h) for u, h in units(e)], e.hosts)
    assert asked(e, signal="KILL").digest == before.digest
    assert asked(e, have=again, signal="KILL").digest != before.digest
