"""From conditions to alerts and notices."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.alerts.detect import Condition
from cockpit.alerts.grouping import QUIET, REPORTS, Grouping, matches, under
from cockpit.alerts.settings import Rule, Settings, Target
from cockpit.plan.steps import Bad

T = 1000.0


def crash(name: str = "p.web/0", at: float = T, **facts: Any) -> Condition:
    group = name.rpartition("/")[0]
    return Condition(**{
        "kind": "crash", "key": f"crash|{name}", "name": name, "group": group, "service": group, "host": "h1",
        "region": "sh", "since": at, "text": "exit 1", **facts,
    })  # fmt: skip


def grouping(**facts: Any) -> Grouping:
    rule = Rule(when="crash", to=("ops",), repeat=600.0)
    return Grouping(Settings({"ops": Target(syslog="user")}, (rule,), **facts), "prod")


def whats(notices: list[Any]) -> list[tuple[str, tuple[str, ...]]]:
    return [(n.what, n.alert.members) for n in notices]


def test_what_begins_together_is_told_once_and_its_end_too() -> None:
    g = grouping()
    assert g.step([crash()], T) == []
    both = [crash(), crash("p.web/1", T + 0.1)]
    assert g.step(both, T + 0.1) == []
    told = g.step(both, T + 0.15)
    assert whats(told) == [("firing", ("p.web/0", "p.web/1"))] and told[0].cluster == "prod"
    assert told[0].alert.text == "p.web/0: exit 1; and 1 more"
    assert g.step(both, T + 100) == []
    assert g.step([], T + 101) == [] and g.step(both, T + 103) == [], "what flaps is one alert"
    assert g.step([], T + 103 + QUIET - 1) == []
    (end,) = g.step([], T + 103 + QUIET)
    assert (end.what, end.alert.state, end.alert.ended) == ("ended", "ended", T + 103)
    assert g.step([], T + 200) == [] and [r.state for r in g.rows()] == ["ended"]


def test_more_members_are_told_later_and_what_stays_is_repeated() -> None:
    g = grouping(collect=0.0, again=60.0)
    assert whats(g.step([crash()], T)) == [("firing", ("p.web/0",))]
    more = [crash(), crash("p.web/1")]
    assert g.step(more, T + 10) == []
    assert whats(g.step(more, T + 60)) == [("more", ("p.web/0", "p.web/1"))]
    assert g.step(more, T + 659) == []
    assert [n.what for n in g.step(more, T + 660)] == ["again"]


def test_services_are_alerts_of_their_own() -> None:
    g = grouping(collect=0.0)
    told = g.step([crash("p.web/0"), crash("p.db/0")], T)
    assert {n.alert.group for n in told} == {"p.web", "p.db"} and len({n.alert.id for n in told}) == 2


def test_who_acknowledges_ends_the_repeating_and_hears_the_end() -> None:
    g = grouping(collect=0.0)
    (first,) = g.step([crash()], T)
    with pytest.raises(Bad, match=f"open: {first.alert.id}"):
        g.acknowledge("a99", "li")
    assert g.acknowledge(first.alert.id, "li", "on it").state == "acknowledged"
    assert g.step([crash(), crash("p.web/1")], T + 5000) == []
    (row,) = g.rows()
    assert (row.by, row.note, row.members) == ("li", "on it", ("p.web/0", "p.web/1"))
    assert [n.what for n in g.step([], T + 5000 + QUIET)] == ["ended"]


@pytest.mark.parametrize("match", ["p.web", "p", "p.*", "p.web/0", "crash"])
def test_what_is_silenced_is_seen_and_not_told(match: str) -> None:
    g = grouping(collect=0.0)
    s = g.silence(match, 3600, "li", "the move", T)
    assert g.step([crash()], T) == []
    (row,) = g.rows()
    assert row.state == "silenced" and row.note == "silenced by li: the move"
    g.unsilence(s.id)
    assert [n.what for n in g.step([crash()], T + 1)] == ["firing"], "what still holds is told then"


def test_a_silence_ends_by_itself_and_does_not_reach_others() -> None:
    g = grouping(collect=0.0)
    g.silence("p.web", 60, "li", "", T)
    assert [n.alert.group for n in g.step([crash(), crash("p.db/0")], T)] == ["p.db"]
    told = g.step([crash(), crash("p.db/0")], T + 60)
    assert [n.alert.group for n in told] == ["p.web"]
    with pytest.raises(Bad, match="at most 30 days"):
        g.silence("p.web", 1e9, "li", "", T)


def test_a_restart_forgets_nothing_and_tells_nothing_twice() -> None:
    g = grouping(collect=0.0)
    (first,) = g.step([crash()], T)
    g.silence("p.db", 3600, "li", "", T)
    again = grouping(collect=0.0)
    again.load(g.dump(), T + 10)
    assert again.step([], T + 10) == [] and again.step([crash()], T + 12) == []
    assert again.rows()[0].id == first.alert.id and list(again.silences) == list(g.silences)
    assert again.step([crash("p.db/0")], T + 13) == []
    late = grouping()
    late.load(g.dump(), T + 10)
    assert [n.what for n in late.step([], T + 10 + REPORTS + QUIET)] == ["ended"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(when="crash"), True), (Rule(when="drift"), False), (Rule(when="crash", services=("p",)), True),
        (Rule(when="crash", services=("p.w*",)), True), (Rule(when="crash", services=("p.we",)), False),
        (Rule(when="crash", hosts=("h2",)), False), (Rule(when="crash", regions=("sh",)), True),
        (Rule(when="crash", lasting=5.0), False), (Rule(when="crash", lasting=1.0), True),
    ],
)
def test_rules(rule: Rule, said: bool) -> None:
    assert matches(rule, crash(at=T - 2), T) is said


def test_a_loop_is_so_many_within_the_time() -> None:
    rule = Rule(when="crash-loop", restarts=3, within=60.0)
    loop = crash(kind="crash-loop", times=(T - 61, T - 10, T))
    assert not matches(rule, loop, T)
    assert matches(rule, crash(kind="crash-loop", times=(T - 59, T - 10, T)), T)


def test_under() -> None:
    assert under("p.web", "p") and under("p.web", "p.web") and not under("p.web2", "p.web") and not under("", "*")


@given(st.lists(st.tuples(st.floats(0.01, 30.0), st.sets(st.integers(0, 5))), max_size=30))
def test_every_alert_that_was_told_ends_once(moments: list[tuple[float, set[int]]]) -> None:
    g, now = grouping(), T
    begun: dict[str, int] = {}
    ended: dict[str, int] = {}
    for pause, which in [*moments, (100.0, set()), (100.0, set())]:
        now += pause
        for notice in g.step([crash(f"p.s{n}/0", now) for n in which], now):
            book = ended if notice.what == "ended" else begun
            if notice.what in ("ended", "firing"):
                book[notice.alert.id] = book.get(notice.alert.id, 0) + 1
    assert begun == ended and set(begun.values()) <= {1}
    assert g.next_due([], now) > now
