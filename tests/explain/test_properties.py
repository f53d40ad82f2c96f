"""Whatever the rows say: no ring holds the engine up, nothing unwell is left out, the order is the same."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.explain.asked import explain, needs_you
from cockpit.explain.facts import Facts
from cockpit.explain.wrong import BAD, Wrong
from cockpit.model.view import ActionRow, DriftRow, HostRow, InstanceRow, NodeRow, RelayRow
from tests.explain.world import NOW

SERVICES = ("s.a", "s.b", "s.c", "t.d")
HOSTS = ("h-1", "h-2", "h-3", "")
RELAYS = ("r-1", "r-2")
MARKS = ("ok", "changing", "drift", "failed", "unknown", "absent", "paused", "draining")
times = st.one_of(st.none(), st.integers(0, 900).map(lambda n: NOW - n))
instances = st.builds(
    lambda service, slot, host, mark, word, reason, since, version: InstanceRow(
        id=f"{service}/{slot}", service=service, slot=slot, host=host, version_expected="1", version_actual=version,
        state="RUNNING", desired="RUNNING", mark=mark, word=word, reason=reason, since=since, address="10.0.0.1",
        ports={"main": 20000 + slot},
    ),
    st.sampled_from(SERVICES), st.integers(0, 2), st.sampled_from(HOSTS), st.sampled_from(MARKS),
    st.sampled_from(["", "unhealthy", "missing", "wrong version", "rejected"]),
    st.sampled_from(["", "exit 1", "exit 2", "connect 10.0.0.1:20001 refused", "s.b does not answer"]), times,
    st.sampled_from(["1", "2"]),
)  # fmt: skip
hosts = st.builds(
    lambda name, presence, mark, path, trouble, since, seen: HostRow(
        name=name, region="sh", presence=presence, address="", mark=mark, path=path, trouble=trouble, since=since,
        seen=seen,
    ),
    st.sampled_from(HOSTS[:3]), st.sampled_from(["up", "suspect", "unknown", "down", "draining"]),
    st.sampled_from(MARKS), st.lists(st.sampled_from(RELAYS), max_size=2, unique=True).map(tuple),
    st.sampled_from([(), ("the disk is full",)]), times, times,
)  # fmt: skip
relays = st.builds(
    lambda name, mark, upstream, path: RelayRow(
        name=name, region="sh", address="", links=True, presence="unknown", mark=mark, upstream=upstream, path=path
    ),
    st.sampled_from(RELAYS), st.sampled_from(MARKS), st.sampled_from(["", *RELAYS]),
    st.lists(st.sampled_from(RELAYS), max_size=2).map(tuple),
)  # fmt: skip
nodes = st.builds(
    lambda path, want, have, mark, depends: NodeRow(
        path=path, kind="service", want=want, have=have, mark=mark, depends=depends
    ),
    st.sampled_from(SERVICES), st.integers(0, 3), st.integers(0, 3), st.sampled_from(MARKS),
    st.lists(st.sampled_from(SERVICES), max_size=3, unique=True).map(tuple),
)  # fmt: skip
actions = st.builds(
    lambda number, state, target, started: ActionRow(
        id=f"#{number}", verb="deploy", state=state, author="li", targets=(target,), started=started, revision=number
    ),
    st.integers(1, 3), st.sampled_from(["running", "paused", "interrupted", "done", "failed"]),
    st.sampled_from([*SERVICES, "s", "s.a/0", "h-1"]), st.integers(0, 900).map(lambda n: NOW - n),
)  # fmt: skip
drifts = st.builds(
    lambda kind, target: DriftRow(kind=kind, target=target, expected="a", actual="b", action=""),
    st.sampled_from(["unknown", "undeclared dependency"]), st.sampled_from([*SERVICES, "h-1", "h-9", "s.a/0"]),
)  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> Facts:
    rows = {i.id: i for i in draw(st.lists(instances, max_size=12))}
    places = {h.name: h for h in draw(st.lists(hosts, max_size=4))}
    differences = {f"{d.kind}|{d.target}": d for d in draw(st.lists(drifts, max_size=3))}
    return Facts(
        now=NOW, wrong=Wrong.of(rows, places, differences), instances=rows, hosts=places,
        relays={r.name: r for r in draw(st.lists(relays, max_size=3))},
        nodes={n.path: n for n in draw(st.lists(nodes, max_size=5))}, drift=differences,
        actions={a.id: a for a in draw(st.lists(actions, max_size=3))},
    )  # fmt: skip


def asked(facts: Facts) -> list[tuple[str, str]]:
    return [
        ("cluster", ""), *(("instance", i) for i in facts.instances), *(("host", h) for h in facts.hosts),
        *(("relay", r) for r in facts.relays), *(("service", n) for n in facts.nodes), ("group", "s"),
        *(("action", a) for a in facts.actions),
    ]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_what_is_unwell_has_a_finding_and_no_root_has_a_cause(facts: Facts) -> None:
    for kind, name in asked(facts):
        answer = explain(facts, kind, name)
        assert answer == explain(facts, kind, name)
        keys = {f.key for f in answer.findings}
        assert len(keys) == len(answer.findings)
        assert bool(answer.findings) != bool(answer.calm)
        told: set[str] = set()
        for found in answer.findings:
            assert found.root == (not found.causes)
            # a cause is said before what it brings about, unless the answer is of roots only
            assert kind == "cluster" or {c.finding for c in found.causes} <= told
            told.add(found.key)
            assert all(e.text and e.mark in MARKS for e in found.evidence)
        if answer.findings:
            assert answer.findings[0].root
    for id, row in facts.instances.items():
        if row.mark in BAD:
            assert explain(facts, "instance", id).findings, id
    for name, host in facts.hosts.items():
        if host.mark in BAD:
            assert explain(facts, "host", name).findings, name
    for name, relay in facts.relays.items():
        if relay.mark in BAD:
            assert explain(facts, "relay", name).findings, name


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_the_short_list_is_the_roots_of_the_long_one(facts: Facts) -> None:
    (short, left), answer = needs_you(facts), explain(facts, "cluster", "")
    assert {f.key for f in short} == {f.key for f in answer.findings}
    assert all(f.root for f in short) and not left
    if any(r.mark in BAD for r in facts.instances.values()):
        assert short


@settings(max_examples=150, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_decides_nothing(facts: Facts, chance: object) -> None:
    def mixed(table: dict[str, object]) -> dict[str, object]:
        keys = list(table)
        chance.shuffle(keys)  # type: ignore[attr-defined]
        return {k: table[k] for k in keys}

    tables = {t: mixed(getattr(facts, t)) for t in ("instances", "hosts", "relays", "nodes", "drift", "actions")}
    other = Facts(
        now=NOW, wrong=Wrong.of(tables["instances"], tables["hosts"], tables["drift"]), **tables  # type: ignore[arg-type]
    )
    for kind, name in asked(facts):
        assert explain(facts, kind, name) == explain(other, kind, name)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(instances, hosts), max_size=40), st.data())
def test_kept_row_by_row_it_is_what_it_would_be_from_scratch(
    rows: list[InstanceRow | HostRow], data: st.DataObject
) -> None:
    kept = Wrong()
    now: dict[str, dict[str, object]] = {"instances": {}, "hosts": {}}
    for row in rows:
        table, key = ("instances", row.id) if isinstance(row, InstanceRow) else ("hosts", row.name)
        if key in now[table] and data.draw(st.booleans()):
            del now[table][key]
            kept.change(table, key, None)
        else:
            now[table][key] = row
            kept.change(table, key, row)
        for group in kept.groups.values():
            assert group.first == min(group.ids)
    fresh = Wrong.of(now["instances"], now["hosts"], {})  # type: ignore[arg-type]
    assert (kept.silent, kept.silent_of, kept.hosts, kept.sorts) == (
        fresh.silent, fresh.silent_of, fresh.hosts, fresh.sorts,
    )  # fmt: skip
    assert {s: (g.ids, g.first, g.since, g.mark) for s, g in kept.groups.items()} == {
        s: (g.ids, g.first, g.since, g.mark) for s, g in fresh.groups.items()
    }


def test_rows_are_plain_data() -> None:
    """They go over the session's socket and come back the same."""
    from cockpit.model.why_rows import Findings
    from tests.explain.test_causes import on_lost_relay

    answer = explain(on_lost_relay(), "instance", "s.web/0")
    assert msgspec.json.decode(msgspec.json.encode(answer), type=Findings) == answer
