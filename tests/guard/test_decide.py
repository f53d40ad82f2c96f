"""The decision by tables: which guard holds, what it says, and that nothing else does."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.guard import windows
from cockpit.guard.decide import Subject, decide
from cockpit.guard.scope import implied, touched
from cockpit.guard.weaken import weakened
from cockpit.model.actual import Actual, HostActual, Unit
from cockpit.model.guard_rows import ALLOW, APPROVE, CONFIRM, DENY, RANK, Verdict
from cockpit.model.patch import diff
from cockpit.model.states import State
from cockpit.model.topology import Expected, Guard, Host, Instances, Region, Service, Window, to_doc
from cockpit.model.view import Change
from cockpit.plan.direct import direct_plan, name_of
from cockpit.plan.steps import Intent, Plan, Step

LI = Subject(author="li@jump-1", groups=("ops", "web"))
NOW = datetime(2026, 11, 20, 15, 0, tzinfo=ZoneInfo("UTC")).timestamp()  # a Friday, 23:00 in Shanghai


def world(*guards: Guard) -> Expected:
    """web on a-1 (sh), a-2 (sh), b-1 (bj); db on b-1; batch on a-1."""
    run = {"main": ("run",)}
    return Expected(
        name="w", guards=guards, regions={"sh": Region(), "bj": Region()},
        hosts={
            "a-1": Host(region="sh", address="127.0.0.1", labels={"disk": "ssd"}),
            "a-2": Host(region="sh", address="127.0.0.2"), "b-1": Host(region="bj", address="127.0.0.3"),
        },
        services={
            "shop.web": Service(processes=run, version="1", instances=Instances(count=3)),
            "shop.db": Service(processes=run, version="1"), "batch": Service(processes=run, version="1"),
        },
        placement={
            "shop.web/0": "a-1", "shop.web/1": "a-2", "shop.web/2": "b-1", "shop.db/0": "b-1", "batch/0": "a-1",
        },
    )


def plan(verb: str = "restart", *instances: str, risk: str = "change", changes: tuple[Change, ...] = ()) -> Plan:
    at = world().placement
    steps = tuple(Step(id=f"s{n}", kind="stop", host=at.get(i, ""), instance=i) for n, i in enumerate(instances))
    return Plan(intent=Intent(verb=verb, targets=instances), base=1, steps=steps, risk=risk, changes=changes)


def said(made: Plan, *guards: Guard, subject: Subject = LI, now: float = NOW, **more: Any) -> Verdict:
    actual = Actual(hosts={}, units={}, where={})
    return decide(made, subject, world(*guards), actual, now, **more)


def no(name: str = "no", **facts: Any) -> Guard:
    facts.setdefault("effect", DENY)
    return Guard(name=name, reason="because", **facts)


WEB = plan("restart", "shop.web/0", "shop.web/1")
SHANGHAI = "Asia/Shanghai"


@pytest.mark.parametrize(("holds", "facts"), [
    (True, {}),
    (True, {"verbs": ("restart",)}), (False, {"verbs": ("deploy", "stop")}),
    (True, {"targets": ("shop.web",)}), (True, {"targets": ("shop",)}), (True, {"targets": ("shop.*",)}),
    (True, {"targets": ("shop.web/1",)}), (False, {"targets": ("shop.web/2",)}), (False, {"targets": ("sho",)}),
    (False, {"targets": ("shop.db", "batch")}), (True, {"targets": ("a-2",)}), (False, {"targets": ("b-1",)}),
    (True, {"regions": ("sh",)}), (False, {"regions": ("bj",)}),
    (True, {"hosts": ("disk=ssd",)}), (False, {"hosts": ("disk=ssd", "host=a-2")}),
    (False, {"targets": ("shop.web/1",), "hosts": ("disk=ssd",)}),  # one thing must meet both
    (True, {"risk": ("change",)}), (False, {"risk": ("destructive",)}),
    (True, {"authors": ("li",)}), (True, {"authors": ("*@jump-1",)}), (False, {"authors": ("wu", "li@jump-2")}),
    (True, {"groups": ("ops",)}), (False, {"groups": ("dba",)}),
    (True, {"over_instances": 1}), (False, {"over_instances": 2}),
    (True, {"over_hosts": 1}), (False, {"over_hosts": 2}),
    (True, {"over_instances": 9, "over_hosts": 1}),
    (True, {"inside": Window(days=("fri",), zone=SHANGHAI)}),
    (False, {"inside": Window(days=("sat",), zone=SHANGHAI)}),
    (True, {"outside": Window(days=("mon-fri",), start="09:00", end="18:00", zone=SHANGHAI)}),
    (False, {"outside": Window(days=("mon-fri",), start="09:00", end="18:00", zone="UTC")}),
])  # fmt: skip
def test_one_guard(holds: bool, facts: dict[str, Any]) -> None:
    verdict = said(WEB, no(**facts))
    assert (verdict.effect, verdict.rule) == ((DENY, "no") if holds else (ALLOW, ""))
    assert not holds or (verdict.place == "guard 1 of 1" and "because" in verdict.words())


def test_the_first_that_holds_decides() -> None:
    exempt, never = no("exempt", authors=("li",), effect=ALLOW), no("never")
    assert said(WEB, exempt, never).rule == "exempt"
    assert said(WEB, exempt, never, subject=Subject(author="wu@jump-1")).effect == DENY
    assert said(WEB, never, exempt).effect == DENY
    assert said(WEB, no("other", verbs=("stop",)), exempt, never).place == "guard 2 of 3"


def test_what_touches_more_things_is_decided_by_the_strictest() -> None:
    """An exemption for one service is none for another that the same action touches."""
    batch, rest = no("batch", targets=("batch",), effect=ALLOW), no("rest", effect=APPROVE)
    assert said(plan("restart", "batch/0"), batch, rest).effect == ALLOW
    assert said(plan("restart", "batch/0", "shop.web/0"), batch, rest).rule == "rest"
    both = (no("a", targets=("batch",), effect=CONFIRM), no("b", targets=("shop.web",)))
    assert said(plan("restart", "batch/0", "shop.web/0"), *both).rule == "b"


def test_a_maximum_denies_more_and_lets_less_pass() -> None:
    few = no("few", effect=ALLOW, max=1)
    assert said(plan("restart", "shop.web/0"), few).effect == ALLOW
    verdict = said(WEB, few)
    assert verdict.effect == DENY and "2 instances, at most 1 at once" in verdict.words()
    assert said(WEB, no("only web/0", effect=ALLOW, max=1, targets=("shop.web/0",))).effect == ALLOW
    hosts = tuple(Step(id=h, kind="upgrade", host=h) for h in ("a-1", "a-2"))
    upgrade = Plan(intent=Intent(verb="upgrade"), base=1, steps=hosts)
    assert "2 hosts, at most 1" in said(upgrade, few).words()


def test_what_an_edit_does_by_the_back_door() -> None:
    """A new version in a file is a deploy, whoever typed it where."""
    head = world()
    web = head.services["shop.web"]
    after = replace(head, services={**head.services, "shop.web": replace(web, version="2")})
    edit = Plan(intent=Intent(verb="apply"), base=1, changes=diff(to_doc(head), to_doc(after)))
    assert implied(edit, head) == {"apply", "deploy"}
    assert said(edit, no(verbs=("deploy",), targets=("shop.web",))).effect == DENY
    assert said(edit, no(verbs=("deploy",), targets=("shop.db",))).effect == ALLOW
    assert said(edit, no(verbs=("stop", "scale", "drain"))).effect == ALLOW
    back = replace(edit, intent=Intent(verb="rollback"))
    assert said(back, no(verbs=("deploy",))).effect == ALLOW, "a way back is barred only by its name"
    gone = replace(head, services={p: s for p, s in head.services.items() if p != "batch"})
    assert {"stop", "scale"} <= implied(replace(edit, changes=diff(to_doc(head), to_doc(gone))), head)


def test_holding_and_ending_is_barred_only_by_name() -> None:
    for verb in ("pause", "resume", "abort"):
        assert said(WEB, no("all"), verb=verb).effect == ALLOW
        assert said(WEB, no("all", verbs=(verb,), targets=("shop.web",)), verb=verb).effect == DENY
        assert said(WEB, no("all", verbs=(verb,), targets=("batch",)), verb=verb).effect == ALLOW


def test_the_floor() -> None:
    """Two of three are ready; stopping both leaves none, stopping one leaves one."""
    unit = {f"shop.web/{n}": Unit(unit=f"shop.web/{n}:1", instance=f"shop.web/{n}", gen=1, version="1",
                                  state=State.RUNNING, health="ok") for n in (0, 1)}
    where = {u.unit: world().placement[i] for i, u in unit.items()}
    hosts = {h: HostActual(name=h, presence="up") for h in world().hosts}
    actual = Actual(hosts=hosts, units={i: (u,) for i, u in unit.items()}, where=where)

    def stopping(*instances: str, **facts: Any) -> Verdict:
        steps = tuple(Step(id=i, kind="stop", host="a-1", instance=i, unit=unit[i].unit) for i in instances)
        made = Plan(intent=Intent(verb="stop"), base=1, steps=steps)
        return decide(made, LI, world(no(**facts)), actual, NOW)

    one, both = ("shop.web/0",), ("shop.web/0", "shop.web/1")
    assert stopping(*one, below="1").effect == ALLOW
    verdict = stopping(*both, below="1")
    assert verdict.effect == DENY and "shop.web would fall to 0 ready of 2, below 1" in verdict.words()
    assert stopping(*one, below="50%").effect == DENY and stopping(*one, below="30%").effect == ALLOW
    assert stopping(*both, below="1", targets=("batch",)).effect == ALLOW


def test_the_glass_breaks_only_where_a_guard_says_so() -> None:
    soft, hard = no("soft", break_glass=True), no("hard", targets=("batch",))
    verdict = said(WEB, soft, glass="the site is down")
    assert (verdict.effect, verdict.broken, verdict.rule) == (ALLOW, "the site is down", "soft")
    assert "the site is down" in verdict.words() and said(WEB, soft).break_glass
    assert said(WEB, no("hard"), glass="please").effect == DENY
    both = plan("restart", "shop.web/0", "batch/0")
    assert said(both, hard, soft, glass="please").rule == "hard", "breaking one leaves the other"
    asks = no("asks", effect=APPROVE, break_glass=True)
    assert said(WEB, asks, glass="nobody else is awake").effect == ALLOW


def patched(before: tuple[Guard, ...], after: tuple[Guard, ...]) -> Plan:
    head = world(*before)
    changes = diff(to_doc(head), to_doc(replace(head, guards=after)))
    return Plan(intent=Intent(verb="apply"), base=1, changes=changes)


DENIES = no("denies", verbs=("stop",), targets=("shop.db",))
ASKS = no("asks", verbs=("stop",), effect=APPROVE)
TYPED = no("typed", verbs=("stop",), effect=CONFIRM)
OPEN = no("open", verbs=("stop",), effect=ALLOW)


@pytest.mark.parametrize(("before", "after", "effect"), [
    ((DENIES,), (), APPROVE), ((ASKS,), (), APPROVE), ((TYPED,), (), CONFIRM), ((OPEN,), (), ALLOW),
    ((DENIES,), (DENIES, OPEN), ALLOW), ((DENIES,), (OPEN, DENIES), APPROVE), ((DENIES,), (no("x"), DENIES), ALLOW),
    ((ASKS,), (TYPED, ASKS), APPROVE), ((TYPED,), (ASKS, TYPED), ALLOW), ((OPEN, DENIES), (DENIES, OPEN), ALLOW),
    ((DENIES, OPEN), (OPEN, DENIES), APPROVE), ((DENIES,), (replace(DENIES, targets=("batch",)),), APPROVE),
    ((no("m", effect=ALLOW, max=3),), (no("m", effect=ALLOW, max=9),), APPROVE),
    ((DENIES,), (replace(DENIES, break_glass=True),), APPROVE),
    ((DENIES,), (no("glass", verbs=("stop",), break_glass=True), DENIES), APPROVE),
    ((TYPED,), (no("glass", verbs=("stop",), break_glass=True), TYPED), ALLOW), ((DENIES, TYPED), (DENIES,), CONFIRM),
    ((DENIES,), (DENIES,), ALLOW),
])  # fmt: skip
def test_guards_guard_themselves(before: tuple[Guard, ...], after: tuple[Guard, ...], effect: str) -> None:
    assert said(patched(before, after), *before).effect == effect


def test_guards_can_be_named_as_a_target() -> None:
    own = no("own", verbs=("apply",), targets=("guards",), effect=DENY)
    assert said(patched((own,), (own, DENIES)), own).effect == DENY


def test_an_unknown_zone_denies() -> None:
    verdict = said(WEB, no(inside=Window(zone="Mars/Olympus"), effect=ALLOW))
    assert verdict.effect == DENY and "time zone is not known" in verdict.words()


@pytest.mark.parametrize(("window", "moment", "inside"), [
    (Window(days=("mon-fri",), start="09:00", end="18:00"), (2026, 11, 20, 9, 0), True),
    (Window(days=("mon-fri",), start="09:00", end="18:00"), (2026, 11, 20, 18, 0), False),
    (Window(days=("mon-fri",), start="09:00", end="18:00"), (2026, 11, 21, 12, 0), False),
    (Window(days=("fri",), start="22:00", end="06:00"), (2026, 11, 21, 5, 59), True),  # Friday's night
    (Window(days=("fri",), start="22:00", end="06:00"), (2026, 11, 20, 5, 59), False),  # Thursday's
    (Window(days=("fri",), start="22:00", end="06:00"), (2026, 11, 20, 22, 0), True),
    (Window(days=("sat-mon",)), (2026, 11, 22, 0, 0), True), (Window(days=("sat-mon",)), (2026, 11, 24, 0, 0), False),
    (Window(), (2026, 11, 24, 3, 0), True),
])  # fmt: skip
def test_windows(window: Window, moment: tuple[int, int, int, int, int], inside: bool) -> None:
    zone = "Asia/Shanghai"
    at = datetime(*moment, tzinfo=ZoneInfo(zone)).timestamp()
    assert windows.holds(replace(window, zone=zone), at) is inside


# properties

NAMES = st.sampled_from(["shop", "shop.web", "shop.*", "batch", "*", "shop.web/0", "b-1"])
TIMES = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 30]))
GUARDS = st.builds(
    Guard, name=st.sampled_from("abcdef"), reason=st.just("r"),
    verbs=st.lists(st.sampled_from(["restart", "stop", "deploy"]), max_size=2).map(tuple),
    targets=st.lists(NAMES, max_size=2).map(tuple),
    regions=st.lists(st.sampled_from(["sh", "bj"]), max_size=1).map(tuple),
    over_instances=st.none() | st.integers(0, 4), over_hosts=st.none() | st.integers(0, 3),
    inside=st.none() | st.builds(Window, start=TIMES, end=TIMES, zone=st.just("UTC")),
    effect=st.sampled_from([ALLOW, CONFIRM, APPROVE, DENY]), max=st.none() | st.integers(1, 4),
    break_glass=st.booleans(),
)  # fmt: skip
RULES = st.lists(GUARDS, max_size=5).map(tuple)
INSTANCES = st.lists(st.sampled_from(sorted(world().placement)), min_size=1, unique=True)
MOMENTS = st.integers(int(NOW), int(NOW) + 7 * 86400)


@given(RULES, INSTANCES, MOMENTS)
def test_a_wall_in_front_is_final(rules: tuple[Guard, ...], names: list[str], now: int) -> None:
    assert said(plan("restart", *names), no(), *rules, now=now).effect == DENY


@given(RULES, INSTANCES, MOMENTS)
def test_more_touched_is_never_milder(rules: tuple[Guard, ...], names: list[str], now: int) -> None:
    """Where guards do not count, adding to an action never makes what it may do more."""
    plain = tuple(replace(g, over_instances=None, over_hosts=None, max=None) for g in rules)
    whole = RANK[said(plan("restart", *names), *plain, now=now).effect]
    assert whole == max(RANK[said(plan("restart", n), *plain, now=now).effect] for n in names)


@given(RULES, INSTANCES, MOMENTS)
def test_one_thing_is_decided_by_the_first_that_holds(rules: tuple[Guard, ...], names: list[str], now: int) -> None:
    one = plan("restart", names[0])
    alone = [v for g in rules if (v := said(one, g, now=now)).rule]
    verdict = said(one, *rules, now=now)
    assert (verdict.effect, verdict.rule) == ((alone[0].effect, alone[0].rule) if alone else (ALLOW, ""))


@given(RULES, INSTANCES)
def test_the_glass_never_makes_it_stricter(rules: tuple[Guard, ...], names: list[str]) -> None:
    made = plan("restart", *names)
    assert RANK[said(made, *rules, glass="x").effect] <= RANK[said(made, *rules).effect]


@given(RULES, RULES)
def test_stricter_guards_in_front_ask_for_nothing(rules: tuple[Guard, ...], more: tuple[Guard, ...]) -> None:
    walls = tuple(replace(g, effect=DENY, break_glass=False, max=None, name=f"new-{n}") for n, g in enumerate(more))
    assert weakened(rules, patched(rules, (*walls, *rules)).changes) == []


def test_what_is_touched() -> None:
    head = world()
    found = touched(plan("restart", "shop.web/0"), head)
    assert ("shop.web/0", "a-1", True) in found and len(found) == 1
    mode = Plan(intent=Intent(verb="drain", targets=("b-1",)), base=1,
                changes=(Change(path=("modes", "b-1"), new="draining"),))
    assert touched(mode, head) == (("b-1", "b-1", True),)
    label = Plan(intent=Intent(verb="apply"), base=1, changes=(Change(path=("regions", "sh", "proxy"), new="x"),))
    assert {t.name for t in touched(label, head)} == {"sh", "a-1", "a-2"}
    assert not any(t.acted for t in touched(label, head))


def direct(verb: str, *hosts: str, **params: Any) -> Plan:
    more: dict[str, dict[str, Any]] = {
        "exec": {"argv": ["df"], "user": "", "timeout": 60.0}, "shell": {"argv": []},
        "copy": {"path": "/etc/x", "put": True, "overwrite": False, "size": 3, "sha256": "ab" * 32},
    }  # fmt: skip
    return direct_plan(Intent(verb=verb, targets=hosts, params={**more.get(verb, {}), **params}), 1)


BUILD = direct("artifact-build", "a-1", artifact="web/1", argv=["make"], sha256="0" * 64, timeout=9.0, rest="x")


@pytest.mark.parametrize(("made", "guard", "holds"), [
    (direct("exec", "a-1"), {}, False),
    (direct("exec", "a-1"), {"verbs": ("exec",)}, True),
    (direct("exec", "a-1"), {"verbs": ("shell",)}, False),
    (direct("exec", "a-1"), {"verbs": ("exec",), "targets": ("batch",)}, True),
    (direct("exec", "a-2"), {"verbs": ("exec",), "targets": ("batch",)}, False),
    (direct("exec", "a-1", "b-1"), {"verbs": ("exec",), "targets": ("b-1",)}, True),
    (direct("exec", "a-1", "b-1"), {"verbs": ("exec",), "over_hosts": 1}, True),
    (direct("exec", "a-1"), {"verbs": ("exec",), "over_hosts": 1}, False),
    (direct("exec", "a-1"), {"verbs": ("exec",), "hosts": ("disk=ssd",)}, True),
    (direct("exec", "a-2"), {"verbs": ("exec",), "hosts": ("disk=ssd",)}, False),
    (direct("shell", "b-1"), {"verbs": ("shell",), "targets": ("shop.db",)}, True),
    (direct("shell", "b-1", instance="shop.web/2"), {"verbs": ("shell",), "targets": ("shop.db",)}, False),
    (direct("shell", "b-1", instance="shop.web/2"), {"verbs": ("shell",), "targets": ("shop",)}, True),
    (direct("shell", "b-1", instance="shop.web/2"), {"verbs": ("shell",), "targets": ("b-1",)}, True),
    (direct("copy", "b-1"), {}, False),
    (direct("copy", "b-1"), {"verbs": ("copy",)}, True),
    (direct("copy", "b-1"), {"verbs": ("shell",)}, True),
    (direct("copy", "b-1"), {"verbs": ("exec",)}, False),
    (direct("shell", "b-1"), {"verbs": ("copy",)}, False),
    (direct("copy", "b-1", instance="shop.web/2"), {"verbs": ("copy",), "targets": ("shop.db",)}, False),
    (direct("copy", "b-1", instance="shop.web/2"), {"verbs": ("shell",), "targets": ("shop",)}, True),
    (direct("plugin-push", "a-1", plugin="backup/1.2", sha256="0" * 64),
     {"verbs": ("plugin-push",), "targets": ("backup/*",)}, True),
    (direct("plugin-remove", "a-1", plugin="backup"), {"verbs": ("plugin-push",)}, False),
    (BUILD, {}, False),
    (BUILD, {"verbs": ("artifact-build",)}, True),
    (BUILD, {"verbs": ("artifact-build",), "targets": ("web/*",)}, True),
    (BUILD, {"verbs": ("artifact-build",), "targets": ("batch",)}, True),
    (BUILD, {"verbs": ("exec",)}, False),
])  # fmt: skip
def test_what_runs_at_once(made: Plan, guard: dict[str, Any], holds: bool) -> None:
    assert (said(made, no(**guard)).effect == DENY) is holds


def scheduled(old: Any, new: Any, *more: str) -> Plan:
    change = Change(path=("schedules", "tick", *more), old=old, new=new)
    return Plan(intent=Intent(verb="apply"), base=1, changes=(change,))


ON_SSD = {"cron": "@daily", "argv": ["df"], "hosts": ["disk=ssd"]}


@pytest.mark.parametrize(("made", "guard", "holds"), [
    (scheduled(None, ON_SSD), {"verbs": ("apply",), "targets": ("schedules/*",)}, True),
    (scheduled(None, ON_SSD), {"verbs": ("apply",), "hosts": ("host=a-1",)}, True),
    (scheduled(None, ON_SSD), {"verbs": ("exec",)}, True),
    (scheduled(None, ON_SSD), {"verbs": ("exec",), "targets": ("batch",)}, True),
    (scheduled(None, ON_SSD), {"verbs": ("exec",), "hosts": ("host=a-2",)}, False),
    (scheduled(["df"], ["rm"], "argv"), {"verbs": ("exec",), "targets": ("shop.db",)}, True),
    (scheduled(ON_SSD, None), {"verbs": ("exec",)}, False),
    (scheduled(ON_SSD, None), {"verbs": ("apply",), "targets": ("schedules/tick",)}, True),
])  # fmt: skip
def test_what_runs_by_the_clock(made: Plan, guard: dict[str, Any], holds: bool) -> None:
    assert (said(made, no(**guard)).effect == DENY) is holds


def test_what_runs_on_a_host_beside_its_place() -> None:
    """An instance that has not left yet counts where it still runs."""
    actual = Actual(hosts={}, units={}, where={"shop.db/0:3": "a-2"})
    guard = no(verbs=("exec",), targets=("shop.db",))
    assert decide(direct("exec", "a-2"), LI, world(guard), actual, NOW).effect == DENY
    assert said(direct("exec", "a-2"), guard).effect == ALLOW


def test_the_digest_is_of_what_will_be_run_and_where() -> None:
    first = direct("exec", "a-1", "b-1")
    assert first.digest == direct("exec", "b-1", "a-1").digest
    assert len({first.digest, direct("exec", "a-1").digest, direct("exec", "a-1", "b-1", argv=["rm"]).digest,
                direct("exec", "a-1", "b-1", user="root").digest}) == 4
    assert name_of(first.intent) == "2-hosts" and name_of(direct("exec", "a-1").intent) == "a-1"
    assert name_of(direct("shell", "b-1", instance="shop.web/2").intent) == "web/2"
    copy = direct("copy", "b-1")
    assert len({copy.digest, direct("copy", "b-1", path="/etc/y").digest, direct("copy", "b-1", put=False).digest,
                direct("copy", "b-1", sha256="cd" * 32).digest, direct("copy", "b-1", overwrite=True).digest}) == 5
    assert copy.touches[0] == "writes /etc/x: a file of 3 bytes (sha256 abababababab), if nothing is there yet"
    assert "reads /etc/x" in direct("copy", "b-1", put=False).touches[0] and copy.undo == "nothing undoes it"
    many = direct("exec", *(f"h-{n}" for n in range(100)))
    assert many.touches[-1].startswith("on 100 hosts: h-0, ") and many.touches[-1].endswith(" and 40 more")


@pytest.mark.parametrize(("name", "also"), [
    ("HUP", set()), ("USR2", set()), ("CONT", set()), ("TERM", {"restart"}), ("KILL", {"restart"}),
    ("INT", {"restart"}),
    ("STOP", {"stop"}), ("nonsense", set()),
])  # fmt: skip
def test_a_signal_that_ends_or_freezes_is_a_restart_or_a_stop_by_the_back_door(name: str, also: set[str]) -> None:
    made = Plan(intent=Intent(verb="signal", params={"signal": name}), base=1)
    assert implied(made, world()) == {"signal", *also}
