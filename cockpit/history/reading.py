"""Answers questions about the past from a directory of segments. Synchronous: called in a thread, one at a time.

Times that were asked for are brought into what is kept; what lies in a gap has the state before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cockpit.history.frames import CHANGES, ROTATED, STOPPED, number_of, segments
from cockpit.history.loaded import Damaged, Index, Loaded, Tables, counts_of, index
from cockpit.history.words import mark_of, name_of, told
from cockpit.model.history_rows import TABLES, Between, Difference, Gap, LifeEvent, Moment, Moments, Step
from cockpit.model.view import BADNESS, Delta, Head
from cockpit.plan.steps import Bad

KEPT = 3
"""Segments that stay in memory while somebody looks at them."""
SLACK = 15.0
"""Seconds without a sign of life that are no gap yet."""
MOST_MOMENTS = 10_000
MOST_ROWS = 5000
"""Rows of a step; more are fetched as a whole state."""
NEAR = 20
ORDER = ("actions", "hosts", "relays", "nodes", "instances", "drift", "endpoints", "alerts", "pushes")
"""In what order kinds are told."""


class Span(NamedTuple):
    """A segment, and from when to when its word counts."""

    path: Path
    seen: Index
    start: float
    end: float
    gap: Gap | None
    """Before it."""


class History:
    """The state at any moment that is kept, and what happened between moments."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._indexes: dict[Path, Index] = {}
        self._loaded: OrderedDict[Path, Loaded] = OrderedDict()

    # segments

    def spans(self) -> list[Span]:
        """Every segment with a whole keyframe, oldest first. Raises Bad when there is none."""
        known: dict[Path, Index] = {}
        for path in segments(self.directory):
            try:
                size = path.stat().st_size
                old = self._indexes.get(path)
                known[path] = old if old is not None and old.size == size else index(path, old)
            except OSError:
                continue  # it was removed meanwhile
        self._indexes = known
        usable = [(p, i) for p, i in known.items() if i.whole]
        if not usable:
            raise Bad("no state history is recorded here (yet): it begins when the controller runs")
        shown: list[tuple[Path, Index, float]] = []
        end = float("inf")
        for path, found in reversed(usable):  # after a clock that went back, the later word counts
            if found.first < end:
                shown.append((path, found, end))
                end = found.first
        shown.reverse()
        out: list[Span] = []
        for n, (path, found, end) in enumerate(shown):
            before = shown[n - 1][1] if n else None
            gap = None
            if before is not None and (before.end != ROTATED or found.first - before.last > SLACK):
                gap = Gap(start=min(before.last, found.first), end=found.first, why=found.why or _why(before))
            out.append(Span(path, found, found.first, end, gap))
        return out

    def load(self, path: Path) -> Loaded:
        """Raises Bad when it cannot be read."""
        found = self._loaded.pop(path, None)
        try:
            if found is None:
                found = Loaded(path)
            else:
                found.refresh()
        except OSError as e:
            raise Damaged(path, e.strerror or e) from None
        self._loaded[path] = found
        while len(self._loaded) > KEPT:
            self._loaded.popitem(last=False)
        return found

    def _at(self, spans: list[Span], at: float) -> tuple[Span, float]:
        """The segment that knows a moment, and the moment brought into what is kept."""
        at = max(at, spans[0].start)
        found = spans[max(0, bisect_right([s.start for s in spans], at) - 1)]
        return found, at

    def range(self) -> tuple[float, float]:
        """Of times that are kept. Raises Bad."""
        spans = self.spans()
        return spans[0].start, spans[-1].seen.last

    # states

    def state(self, at: float) -> tuple[Head, tuple[str, ...], Tables]:
        """Head (its `now` is the moment), notices, rows by table and key. Raises Bad."""
        spans = self.spans()
        span, at = self._at(spans, min(at, spans[-1].seen.last))
        loaded = self.load(span.path)
        number = loaded.until(at)
        return loaded.head(number, at), loaded.notices(number), loaded.state(number)

    def excerpt(self, at: float) -> tuple[str, float, bytes]:
        """Name of the segment that knows a moment, the moment brought into what is kept, the bytes up to it."""
        spans = self.spans()
        span, at = self._at(spans, min(at, spans[-1].seen.last))
        last = next(f for f in reversed(span.seen.frames) if f.first <= at)
        try:
            with span.path.open("rb") as file:
                return span.path.name, at, file.read(last.offset + last.length)
        except OSError as e:
            raise Damaged(span.path, e.strerror or e) from None

    def step(self, at: float, *, to: float | None = None, way: int = 0) -> Step:
        spans = self.spans()
        oldest, newest = spans[0].start, spans[-1].seen.last
        if way:
            found = self._neighbour(spans, at, way)
            to = found if found is not None else (oldest if way < 0 else newest)
        target = min(max(at if to is None else to, oldest), newest)
        here, at = self._at(spans, min(at, newest))
        there, target = self._at(spans, target)
        loaded = self.load(there.path)
        number = loaded.until(target)
        touched = self._touched(spans, here, at, there, target)
        if touched is not None:
            rows = {k: loaded.row(*k, number) for k in touched}
        else:
            before = self.load(here.path)
            rows = _differing(before.state(before.until(at)), loaded.state(number))
        delta = None
        if len(rows) <= MOST_ROWS:
            tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
            for (table, key), row in rows.items():
                tables[table][key] = row
            delta = Delta(head=loaded.head(number, target), notices=loaded.notices(number), **tables)
        newest_of = there.seen.last
        inside = there.end if there.end != float("inf") and target > newest_of + SLACK else None
        return Step(
            at=target, delta=delta, near=tuple(self._near(loaded, target)), oldest=oldest, newest=newest,
            gap=next((s.gap for s in spans if inside is not None and s.start == inside), None),
        )

    def _touched(
        self, spans: list[Span], here: Span, at: float, there: Span, target: float
    ) -> dict[tuple[str, str], None] | None:
        """Table and key of every row that was touched between two moments; None: only whole states tell.

        A segment that follows another without a gap begins with the state that the other ended with.
        """
        if here.path == there.path:
            loaded = self.load(here.path)
            low, high = sorted((loaded.until(at), loaded.until(target)))
            return loaded.touched(low, high)
        (first, start), (second, end) = sorted(((here, at), (there, target)), key=lambda each: each[0].start)
        if number_of(second.path) != number_of(first.path) + 1 or first.seen.end != ROTATED or second.gap is not None:
            return None
        one, other = self.load(first.path), self.load(second.path)
        return one.touched(one.until(start), len(one.whole())) | other.touched(0, other.until(end))

    def _neighbour(self, spans: list[Span], at: float, way: int) -> float | None:
        order = spans if way > 0 else spans[::-1]
        for span in order:
            if (way > 0 and span.end <= at) or (way < 0 and span.start >= at):
                continue
            if way > 0 and span.gap is not None and span.start > at:
                return span.start
            if self._counted(span):
                found = self.load(span.path).stop(at, way)
                if found is not None and found < span.end:
                    return found
            if way < 0 and (span.gap is not None or span is spans[0]) and span.start < at:
                return span.start
        return None

    @staticmethod
    def _counted(span: Span) -> bool:
        return any(f.kind == CHANGES and any(f.counts) for f in span.seen.frames)

    def _near(self, loaded: Loaded, at: float) -> Iterator[LifeEvent]:
        """What changed at exactly this moment, what matters most first."""
        end = loaded.until(at)
        start = end
        while start and loaded.times[start - 1] == at:
            start -= 1
        keys = sorted(loaded.touched(start, end), key=lambda k: ORDER.index(k[0]))
        given = 0
        for table, key in keys:
            event = event_of(loaded, table, key, start, end, at)
            if event is not None:
                yield event
                given += 1
                if given == NEAR:
                    return

    # lists

    def moments(self, start: float, end: float, resolution: float) -> Moments:
        spans = self.spans()
        oldest, newest = spans[0].start, spans[-1].seen.last
        start, end = min(start, end), max(start, end)
        resolution = max(resolution, 0.05, (end - start) / MOST_MOMENTS)
        cells: dict[int, dict[str, int]] = {}
        for span in spans:
            if span.end < start or span.start > end:
                continue
            for frame in span.seen.frames:
                if frame.kind == CHANGES and start <= frame.first <= end and frame.first < span.end:
                    counts = counts_of(frame)
                    if counts:
                        cell = cells.setdefault(int((frame.first - start) / resolution), {})
                        for kind, n in counts.items():
                            cell[kind] = cell.get(kind, 0) + n
        return Moments(
            start=start, end=end, resolution=resolution, oldest=oldest, newest=newest, gaps=gaps(spans, start, end),
            moments=tuple(
                Moment(at=start + n * resolution, end=start + (n + 1) * resolution, kinds=kinds)
                for n, kinds in sorted(cells.items())
            ),
        )

    def between(self, start: float, end: float, limit: int) -> Between:
        start, end = min(start, end), max(start, end)
        spans = self.spans()
        newest = spans[-1].seen.last
        here, start = self._at(spans, min(start, newest))
        there, end = self._at(spans, min(end, newest))
        first, last = self.load(here.path), self.load(there.path)
        low, high = first.until(start), last.until(end)
        touched = self._touched(spans, here, start, there, end)
        if touched is not None:
            pairs = {k: (first.row(*k, low), last.row(*k, high)) for k in touched}
        else:
            before, after = first.state(low), last.state(high)
            pairs = {(t, k): (before[t].get(k), row) for (t, k), row in _differing(before, after).items()}
        found: list[Difference] = []
        for (table, key), (old, new) in pairs.items():
            words = told(table, old, new)
            if words is not None:
                row = new if new is not None else old
                found.append(Difference(
                    table=table, key=key, name=name_of(table, key, row), how=words[0], before=words[1],
                    after=words[2], mark=mark_of(table, row),
                ))
        found.sort(key=lambda d: (ORDER.index(d.table), -BADNESS.get(d.mark, 0), d.name))
        return Between(
            start=start, end=end, rows=tuple(found[:limit]), left_out=max(0, len(found) - limit),
            gaps=gaps(spans, start, end), revisions=(first.head(low, start).revision, last.head(high, end).revision),
        )


def event_of(loaded: Loaded, table: str, key: str, start: int, end: int, at: float) -> LifeEvent | None:
    """One row's change from after `start` to after `end` changes of a segment, in words."""
    old, new = loaded.row(table, key, start), loaded.row(table, key, end)
    words = told(table, old, new)
    if words is None:
        return None
    row = new if new is not None else old
    return LifeEvent(
        at=at, table=table, key=key, name=name_of(table, key, row), how=words[0], before=words[1], after=words[2],
        mark=mark_of(table, row),
    )


def gaps(spans: list[Span], start: float, end: float) -> tuple[Gap, ...]:
    return tuple(s.gap for s in spans if s.gap is not None and s.gap.end >= start and s.gap.start <= end)


def _why(before: Index) -> str:
    return "the controller was stopped" if before.end == STOPPED else (
        "nothing was recorded" if before.end == ROTATED else "the controller ended without a word"
    )


def _differing(before: Tables, after: Tables) -> dict[tuple[str, str], Any]:
    out: dict[tuple[str, str], Any] = {}
    for table, now in after.items():
        was = before[table]
        for key, row in now.items():
            old = was.get(key)
            if old is not row and old != row:
                out[table, key] = row
        for key in was.keys() - now.keys():
            out[table, key] = None
    return out


