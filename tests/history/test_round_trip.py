"""The state at a moment, read back from disk, is the state there was then."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.history.changes import VOLATILE
from cockpit.history.folding import folded
from cockpit.history.reading import History
from cockpit.history.writing import Limits, Writer
from cockpit.model.history_rows import TABLES
from cockpit.model.view import Delta, DriftRow, HostRow, InstanceRow, RunRow
from tests.screens.puzzle import NOW, snapshot

KEYS = ("p.web/0", "p.web/1", "p.db/0")

instances = st.builds(
    lambda slot, version, state, pid, seen, ports, runs: InstanceRow(
        id=KEYS[slot], service=KEYS[slot][:-2], slot=slot, host="a", version_expected="1", version_actual=version,
        state=state, desired="RUNNING", pid=pid, observed=seen, ports=ports, runs=runs,
    ),
    st.integers(0, 2), st.sampled_from(["1", "2"]), st.sampled_from(["RUNNING", "FAILED"]),
    st.one_of(st.none(), st.integers(1, 3)), st.floats(1, 9), st.dictionaries(st.just("main"), st.integers(1, 2)),
    st.lists(st.builds(lambda n: RunRow(unit="u", host="a", run=n, state="RUNNING", version="1"), st.integers(1, 2)),
             max_size=2).map(tuple),
)  # fmt: skip
hosts = st.builds(
    lambda name, presence, seen, names, labels, missing: HostRow(
        name=name, region="r", presence=presence, address="", seen=seen, names_applied=names, labels=labels,
        missing=missing,
    ),
    st.sampled_from("ab"), st.sampled_from(["up", "unknown"]), st.floats(1, 9), st.integers(0, 3),
    st.dictionaries(st.just("disk"), st.sampled_from(["ssd", "hdd"])), st.lists(st.just("x"), max_size=1).map(tuple),
)  # fmt: skip
drifts = st.builds(
    lambda t, a: DriftRow(kind="missing", target=t, expected="x", actual=a, action=""),
    st.sampled_from(KEYS), st.sampled_from(["1", "2"]),
)  # fmt: skip
one = st.one_of(
    instances.map(lambda r: ("instances", r.id, r)), hosts.map(lambda r: ("hosts", r.name, r)),
    drifts.map(lambda r: ("drift", f"missing|{r.target}", r)),
    st.tuples(st.just("instances"), st.sampled_from(KEYS), st.none()),
    st.tuples(st.just("hosts"), st.sampled_from("ab"), st.none()),
    st.tuples(st.just("revision"), st.integers(1, 3), st.none()),
    st.tuples(st.just("notice"), st.booleans(), st.none()),
    st.just(("rotate", "", None)), st.just(("stop", "", None)),
)  # fmt: skip


class Past:
    """Writes deltas one second apart, and remembers every state."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory / "history"
        self.options = options
        self.at = NOW
        self.head = msgspec.structs.replace(snapshot().head, now=NOW)
        self.notices: tuple[str, ...] = ()
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
        self.states: list[tuple[float, Any]] = []
        self.begin("first")

    def begin(self, why: str) -> None:
        self.writer = Writer(self.directory, self.options.get("limits", Limits()), floor=0)
        self.writer.begin({t: dict(r) for t, r in self.tables.items()}, self.head, self.notices, why)
        self.note()

    def note(self) -> None:
        tables = {t: dict(r) for t, r in self.tables.items()}
        self.states.append((self.at, (self.head.revision, self.notices, tables)))

    def change(self, *changes: tuple[str, Any, Any]) -> None:
        self.at += 1.0
        delta: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
        restart = ""
        revision = self.head.revision
        for table, key, row in changes:
            match table:
                case "revision":
                    revision = key
                case "notice":
                    self.notices = ("mind",) if key else ()
                case "rotate" | "stop":
                    restart = table
                case _:
                    delta[table][key] = row
                    if row is None:
                        self.tables[table].pop(key, None)
                    else:
                        self.tables[table][key] = row
        self.head = msgspec.structs.replace(self.head, now=self.at, revision=revision)
        self.writer.write([Delta(head=self.head, notices=self.notices, **delta)], self.at)
        self.note()
        if restart == "rotate":
            self.writer.rotate(self.at)
        elif restart:
            self.writer.stop(self.at)
            self.at += 1.0
            self.head = msgspec.structs.replace(self.head, now=self.at)
            self.begin("again")


def steady(tables: Any) -> Any:
    """Without what is only written along with something else."""
    return {
        (table, key): {
            f: getattr(row, f) for f in row.__struct_fields__ if f not in VOLATILE.get(table, ())
        }
        for table, rows in tables.items() for key, row in rows.items()
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(one, min_size=1, max_size=4), min_size=1, max_size=12), st.data())
def test_every_moment_comes_back(batches: list[list[Any]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root:
        past = Past(Path(root))
        for batch in batches:
            past.change(*batch)
        history = History(past.directory)
        order = data.draw(st.permutations(past.states))
        for at, (revision, notices, tables) in order:
            head, told, rows = history.state(at)
            assert (head.revision, told, head.now) == (revision, notices, min(at, history.range()[1]))
            assert steady(rows) == steady(tables)
            name, then, packed = history.excerpt(at)
            fetched = folded(Path(name), packed, then)
            assert (fetched.head, fetched.notices) == (head, told)
            assert {t: getattr(fetched, t) for t in TABLES} == rows
        # from any moment to any other, as a difference
        for (a, one), (b, other) in zip(order, order[1:], strict=False):
            found = history.step(a, to=b)
            assert found.delta is not None and found.at == min(b, history.range()[1])
            mine = {t: dict(rows) for t, rows in one[2].items()}
            for table in TABLES:
                for key, row in getattr(found.delta, table).items():
                    if row is None:
                        mine[table].pop(key, None)
                    else:
                        mine[table][key] = row
            assert steady(mine) == steady(other[2])
            assert found.delta.head.revision == other[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(one, min_size=1, max_size=3), min_size=1, max_size=10))
def test_stops_are_where_something_changed_and_lead_there_and_back(batches: list[list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        past = Past(Path(root))
        for batch in batches:
            past.change(*batch)
        history = History(past.directory)
        start, end = past.states[0][0], past.at
        forth, at = [], start
        while (found := history.step(at, way=1)).at > at and found.at < end + 1:
            at = found.at
            forth.append(at)
        back, at = [], end + 1
        while (found := history.step(at, way=-1)).at < at:
            at = found.at
            back.append(at)
        newest = history.range()[1]
        assert [t for t in forth if t < newest] == [t for t in back[::-1] if start < t < newest]
        assert back[-1] == start
        stops = {*forth, start}
        for (a, one), (b, other) in zip(past.states, past.states[1:], strict=False):
            if steady(one[2]) != steady(other[2]) or one[0] != other[0]:
                assert any(a < s <= b for s in stops), (a, b, stops)
