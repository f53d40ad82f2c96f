"""Situations, and what the engine must say first about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cockpit.explain.asked import explain, needs_you, worst_instances
from cockpit.explain.facts import Facts, More
from cockpit.model.view import Change, DriftRow, RevisionRow, RunRow
from cockpit.model.why_rows import BECAUSE, PERHAPS, Finding, Moment
from tests.explain.world import NOW, action, facts, host, instance, relay


def on_lost_relay(**more: Any) -> Facts:
    """web calls db; db is on hosts behind a relay that is gone; web is unhealthy since."""
    rows = [instance(f"s.db/{n}", f"h-{n + 1}", "unknown") for n in range(3)]
    rows += [instance("s.web/0", "h-9", "failed", reason="http 500", since=NOW - 90), instance("s.web/1", "h-9")]
    lost = [host(f"h-{n + 1}", "unknown", path=("r-1",)) for n in range(3)]
    return facts(rows, lost, [relay("r-1", "unknown")], depends={"s.web": ("s.db",)}, **more)


def gone(n: int = 3) -> Facts:
    return facts([instance(f"s.db/{i}", "h-1", "unknown") for i in range(40)], [host("h-1", "unknown")])


SITUATIONS: dict[str, tuple[Callable[[], Facts], tuple[str, str], list[str]]] = {
    "nothing": (lambda: facts([instance("s.web/0")]), ("cluster", ""), []),
    "calm instance": (lambda: facts([instance("s.web/0")]), ("instance", "s.web/0"), []),
    "forty on a dead host": (gone, ("cluster", ""), ["host h-1 does not answer"]),
    "one of forty": (gone, ("instance", "s.db/7"), ["host h-1 does not answer"]),
    "relay first": (on_lost_relay, ("cluster", ""), ["relay r-1 does not answer"]),
    "relay, host, instance": (
        on_lost_relay, ("instance", "s.db/0"), ["relay r-1 does not answer", "host h-1 does not answer"],
    ),
    "relay, hosts, caller": (
        on_lost_relay, ("instance", "s.web/0"),
        ["relay r-1 does not answer", "3 hosts do not answer", "s.web/0 is unhealthy"],
    ),
    "relay behind relay": (
        lambda: facts([], [], [relay("up", "unknown"), relay("low", "unknown", path=("low", "up"))]),
        ("relay", "low"), ["relay up does not answer", "relay low does not answer"],
    ),
    "one that said good-bye": (
        lambda: facts([instance("s.web/0", "h-1", "unknown")], [host("h-1", "down", path=("r-1",))],
                      [relay("r-1", "unknown")]),
        ("instance", "s.web/0"), ["host h-1 is down"],
    ),
    "a dark region": (
        lambda: facts([], [host("h-1", "unknown"), host("h-2", "unknown"), host("x-1", region="bj")]),
        ("cluster", ""), ["no host of region sh answers: perhaps the network there"],
    ),
    "not all of the region": (
        lambda: facts([], [host("h-1", "unknown"), host("h-2", "unknown"), host("h-3")]),
        ("cluster", ""), ["host h-1 does not answer", "host h-2 does not answer"],
    ),
    "three with the same": (
        lambda: facts([
            instance(f"s.web/{n}", mark="failed", reason=f"tcp 10.0.0.1:2000{n} refused") for n in range(3)
        ]),
        ("cluster", ""), ["3 instances of s.web are unhealthy"],
    ),
    "two with different": (
        lambda: facts([instance("s.web/0", mark="failed", reason="exit 1"),
                       instance("s.web/1", mark="failed", reason="refused")]),
        ("cluster", ""), ["s.web/0 is unhealthy", "s.web/1 is unhealthy"],
    ),
    "an interrupted deploy": (
        lambda: facts([instance("s.web/0", mark="drift")], actions=[action("#5", "deploy", "interrupted", "s.web")]),
        ("instance", "s.web/0"), ["#5 deploy it was interrupted", "s.web/0 is wrong version"],
    ),
    "a difference of a service": (
        lambda: facts([instance("s.web/0")], drift=[DriftRow(
            kind="undeclared dependency", target="s.web", expected="", actual="10.1.0.9:6379", action="")]),
        ("cluster", ""), ["s.web: undeclared dependency"],
    ),
    "many hosts of a region": (
        lambda: facts([], [*(host(f"h-{n}", "unknown") for n in range(6)), host("h-9")]), ("cluster", ""),
        ["6 hosts of region sh do not answer"],
    ),
    "trouble of a host that is heard": (
        lambda: facts([], [host("h-1", trouble=("the disk is full",))]), ("host", "h-1"), ["host h-1 has trouble"],
    ),
    "an ended action that failed": (
        lambda: facts(actions=[action("#5", "deploy", "failed", "s.web", note="no host")]),
        ("action", "#5"), ["#5 deploy it is failed"],
    ),
    "nobody says why": (
        lambda: facts([instance("s.web/0", mark="failed", reason="")]), ("instance", "s.web/0"),
        ["s.web/0 is unhealthy"],
    ),
    "a group": (
        lambda: facts([instance("s.web/0", mark="failed", reason="exit 1"), instance("t.x/0", mark="failed")]),
        ("group", "s"), ["s.web/0 is unhealthy"],
    ),
    "a host that never came": (
        lambda: facts([], [host("h-1", "unknown", seen=None, reason="never heard")], [relay("r-1", "unknown")]),
        ("host", "h-1"), ["relay r-1 does not answer", "host h-1 does not answer"],
    ),
    "what nobody knows": (lambda: facts(), ("instance", "s.no/0"), []),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(name: str) -> None:
    make, (kind, about), said = SITUATIONS[name]
    answer = explain(make(), kind, about)
    assert [f.what for f in answer.findings] == said
    assert bool(answer.calm) == (not said)


def finding(given: Facts, kind: str, name: str, at: int = 0) -> Finding:
    return explain(given, kind, name).findings[at]


def test_a_relay_is_said_with_what_hangs_on_it() -> None:
    first = finding(on_lost_relay(), "cluster", "")
    assert (first.hosts, first.silent, first.perhaps, first.root) == (3, 3, 1, True)
    assert [f.kind for f in needs_you(on_lost_relay())[0]] == ["relay"]


def test_the_chain_says_how_sure_each_step_is() -> None:
    answer = explain(on_lost_relay(), "instance", "s.web/0")
    web, hosts = answer.findings[-1], answer.findings[1]
    assert [(c.how, c.text) for c in hosts.causes] == [(BECAUSE, "relay r-1 does not answer")]
    assert (hosts.count, hosts.silent, hosts.objects) == (3, 3, ("h-1", "h-2", "h-3"))
    assert {c.how for c in web.causes} == {PERHAPS} and not web.root
    assert {c.finding for c in web.causes} <= {f.key for f in answer.findings}


def test_a_check_that_names_an_address_makes_it_sure_even_when_only_one_of_two_is_unwell() -> None:
    rows = [instance("s.db/0", "h-3", "failed", reason="exit 1"), instance("s.db/1", "h-4"),
            instance("s.web/0", "h-2", "failed", reason="cannot reach 10.0.0.3:20000", since=NOW - 99)]
    given = facts(rows, depends={"s.web": ("s.db",)})
    assert [c.how for c in finding(given, "instance", "s.web/0", 1).causes] == [BECAUSE]
    other = [*rows[:2], msgspec.structs.replace(rows[2], reason="cannot reach 10.0.0.3:200001")]
    assert finding(facts(other, depends={"s.web": ("s.db",)}), "instance", "s.web/0").causes == ()
    logged = {"s.web/0": More(lines=("connect to 10.0.0.3:20000 refused",))}
    given = facts(other, depends={"s.web": ("s.db",)}, more=logged)
    assert [c.how for c in finding(given, "instance", "s.web/0", 1).causes] == [BECAUSE]


def test_a_dependency_that_was_only_seen_counts_as_one_that_is_declared() -> None:
    rows = [instance("s.db/0", mark="failed"), instance("s.web/0", "h-2", "failed")]
    assert len(explain(facts(rows), "instance", "s.web/0").findings) == 1
    given = facts(rows, calls={"s.web": ("s.db",)})
    assert [f.name for f in explain(given, "instance", "s.web/0").findings] == ["s.db/0", "s.web/0"]
    (cause,) = finding(given, "instance", "s.web/0", 1).causes
    assert (cause.how, cause.observed) == (PERHAPS, True)
    assert cause.text == "calls s.db (not declared): s.db/0 is unhealthy"


def test_what_is_declared_is_told_before_what_was_only_seen() -> None:
    rows = [instance("s.a/0", mark="failed"), instance("s.db/0", mark="failed"), instance("s.web/0", "h-2", "failed")]
    given = facts(rows, depends={"s.web": ("s.db",)}, calls={"s.web": ("s.a", "s.db")})
    causes = finding(given, "instance", "s.web/0", 2).causes
    assert [(c.finding.split()[1], c.observed) for c in causes] == [("s.db", False), ("s.a", True)]
    assert causes[0].text == "s.db/0 is unhealthy"


@pytest.mark.parametrize(
    ("word", "reason"), [("rejected", "exec: ENOENT"), ("altered", "digest"), ("wrong version", "has 1")]
)
def test_what_no_other_service_can_bring_about_is_its_own_cause(word: str, reason: str) -> None:
    rows = [instance("s.db/0", mark="failed"), instance("s.web/0", "h-2", "failed", word, reason=reason)]
    assert finding(facts(rows, depends={"s.web": ("s.db",)}), "instance", "s.web/0").root


def test_what_came_later_is_not_the_cause() -> None:
    rows = [instance("s.db/0", mark="failed", since=NOW - 50), instance("s.web/0", "h-2", "failed", since=NOW - 100)]
    assert [f.name for f in explain(facts(rows, depends={"s.web": ("s.db",)}), "cluster", "").findings] == [
        "s.web/0", "s.db/0",
    ]  # fmt: skip


def test_services_that_call_each_other_are_one_finding_that_says_so() -> None:
    rows = [instance("s.a/0", mark="failed"), instance("s.b/0", "h-2", "failed")]
    answer = explain(facts(rows, depends={"s.a": ("s.b",), "s.b": ("s.a",)}), "cluster", "")
    assert [f.what for f in answer.findings] == [
        "s.a and s.b call each other and are unwell: which was first is not known"
    ]
    assert answer.findings[0].objects == ("s.a/0", "s.b/0")


def test_changes_shortly_before_are_suspects_with_the_time_between() -> None:
    row = instance("s.web/0", mark="failed", since=NOW - 100)
    acts = [action("#5", "deploy", "done", "s.web"), action("#4", "restart", "done", "t.x"),
            action("#3", "deploy", "done", "s.web", started=NOW - 5000, ended=NOW - 4000)]
    revisions = [
        RevisionRow(number=n, mark="", author="li", time=at, action="", changes=(Change(path=path, old=1, new=2),))
        for n, at, path in (
            (7, NOW - 160, ("services", "s.web", "version")), (8, NOW - 105, ("services", "s.web", "env", "A")),
            (9, NOW - 50, ("services", "s.web", "env", "B")), (10, NOW - 103, ("services", "t.x", "version")),
        )
    ]  # fmt: skip
    moments = [
        Moment(at=NOW - 130, kind="boot", kinds=("host", "h-1"), text="h-1 was booted"),
        Moment(at=NOW - 130, kind="boot", kinds=("host", "h-2"), text="h-2 was booted"),
        Moment(at=NOW - 120, kind="clock", kinds=("cluster", ""), text="the clock jumped by 40 s"),
    ]  # fmt: skip
    found = finding(facts([row], actions=acts, revisions=revisions, moments=moments), "instance", "s.web/0").suspects
    assert [s.text for s in found] == [
        "rev 8 by li changed s.web env A, 5 s before", "the clock jumped by 40 s, 20 s before",
        "h-1 was booted, 30 s before",
    ]  # fmt: skip
    found = finding(facts([row], actions=acts, revisions=revisions), "instance", "s.web/0").suspects
    assert [s.text for s in found][1:] == ["deploy it (#5, rev 7) by li@jump ended 34 s before"]
    assert found[1].door == ("action", "#5")


def test_no_moment_no_suspicion() -> None:
    row = instance("s.web/0", mark="failed", since=None)
    given = facts([row], actions=[action("#5", "deploy", "done", "s.web")])
    assert finding(given, "instance", "s.web/0").suspects == ()


def test_evidence_has_the_check_the_ends_the_log_the_host_and_doors() -> None:
    run = RunRow(unit="s.web/0:1", host="h-1", run=3, state="FAILED", version="1", exit="exit 1")
    row = instance("s.web/0", mark="failed", reason="tcp refused", runs=(run,), restarts=3, pinned="uid 0 stop")
    more = {"s.web/0": More(lines=("a", "Address already in use"), probe="role master")}
    given = facts([row], [host("h-1", trouble=("the disk is full",))], more=more)
    found = finding(given, "instance", "s.web/0").evidence
    kinds = {e.kind: e for e in found}
    assert [e.text for e in found if e.kind == "log"] == ["a", "Address already in use"]
    assert kinds["check"].text.endswith("role master") and kinds["pin"].mark == "paused"
    assert any(e.text == "run 3 (1) on h-1 ended: exit 1" for e in found)
    assert any(e.text == "restarted 3 times" for e in found)
    assert any(e.text == "h-1: the disk is full" for e in found)
    assert {e.door[0] for e in found} == {"node", "logs", "host"}


def test_a_silent_host_gives_no_log_and_that_is_said() -> None:
    row = instance("s.web/0", mark="failed", reason="x")
    more = {"s.web/0": More(no_lines="h-1 did not answer within 2 s")}
    found = finding(facts([row], more=more), "instance", "s.web/0").evidence
    assert [(e.kind, e.mark) for e in found if "did not answer" in e.text] == [("unknown", "unknown")]


def test_a_version_that_fails_everywhere_is_named() -> None:
    rows = [instance("s.web/0", mark="failed", version_actual="2"), instance("s.web/1"), instance("s.web/2")]
    found = finding(facts(rows), "instance", "s.web/0").evidence
    assert any(e.text == "no instance with 2 is healthy, all others are: 2 with 1" for e in found)


def test_remedies_are_verbs_with_their_keys_and_an_undo_of_what_is_suspected() -> None:
    row = instance("s.web/0", mark="failed", since=NOW - 100)
    found = finding(facts([row], actions=[action("#5", "deploy", "done", "s.web")]), "instance", "s.web/0").remedies
    assert [(r.verb, r.key, r.targets) for r in found if r.verb] == [
        ("rollback", "u", ("#5",)), ("restart", "r", ("s.web/0",)), ("migrate", "m", ("s.web/0",)),
    ]  # fmt: skip
    back = [
        action("#5", "deploy", "returned", "s.web", ended=NOW - 140),
        action("#6", "rollback", "done", "s.web", cause="#5"),
    ]
    told = finding(facts([row], actions=back), "instance", "s.web/0")
    assert "rollback" not in [r.verb for r in told.remedies], "the inverse of a return brings back what was bad"
    assert any("was taken back" in s.text for s in told.suspects)
    done = [action("#5", "deploy", "done", "s.web"), action("#6", "rollback", "done", "#5")]
    assert "rollback" not in [r.verb for r in finding(facts([row], actions=done), "instance", "s.web/0").remedies]
    refused = instance("s.web/0", mark="failed", word="rejected", since=NOW - 100)
    verbs = [r.verb for r in finding(facts([refused]), "instance", "s.web/0").remedies]
    assert verbs[:2] == ["migrate", "restart"], "it never ran here: elsewhere first"
    stuck = facts(actions=[action("#5", "deploy", "interrupted", "s.web")])
    assert [r.verb for r in finding(stuck, "cluster", "").remedies] == ["resume", "abort", ""]


def test_the_log_that_says_most_is_of_one_instance_of_each_trouble() -> None:
    given = on_lost_relay()
    assert worst_instances(given, "instance", "s.web/1", 4) == ["s.web/1"]
    assert worst_instances(given, "cluster", "", 4) == ["s.web/0"]


def test_a_thousand_troubles_are_cut_and_counted() -> None:
    rows = [instance(f"s.w{n}/0", mark="failed", reason="exit 1") for n in range(100)]
    answer = explain(facts(rows), "cluster", "")
    assert (len(answer.findings), answer.left_out) == (40, 60)
