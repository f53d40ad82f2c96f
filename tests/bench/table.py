"""The table of budgets, and how a measurement enters it.

A bench module holds functions marked with `@measures(KEY, needs=(modules, ...))`. Each returns a
`Figure`; it raises Lacking, or returns None, when the machine lacks something (a peer is optional: leave it None).
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple


class Budget(NamedTuple):
    what: str
    limit: float
    unit: str
    least: bool = False
    """The limit is the least that is allowed."""

    def keeps(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit


class Lacking(Exception):
    """It cannot be measured here; the message says what it needs."""


class Figure(NamedTuple):
    value: float
    """In the unit of the budget."""
    peer: float | None = None
    """The same measured on the peer, in this run."""
    peer_name: str = ""
    note: str = ""


BUDGETS: dict[str, Budget] = {
    "paint": Budget("first paint of the TUI, relative to a Textual hello-world", 1.5, "x"),
    "open": Budget("a table of 100k rows opens", 250, "ms"),
    "filter": Budget("filter keystroke at 100k rows", 40, "ms"),
    "update": Budget("one visible update at 100k rows", 5, "ms"),
    "cursor": Budget("cursor move at 100k rows", 10, "ms"),
    "page": Budget("page down at 100k rows", 20, "ms"),
    "sort": Budget("longest piece of work while 100k rows are sorted", 50, "ms"),
    "back": Budget("longest piece of coming back to the overview of 100k instances", 50, "ms"),
    "live": Budget("key to its first bytes at 100k rows, 1,000 changes a second", 50, "ms"),
    "screen-memory": Budget("RSS of the screen at 100k rows", 256, "MiB"),
    "tmux-cursor": Budget("through tmux: cursor key to last byte at 100k rows", 50, "ms"),
    "tmux-page": Budget("through tmux: page key to last byte at 100k rows", 100, "ms"),
    "tmux-live": Budget("through tmux: cursor key to its bytes at 100k rows, 1,000 changes a second", 50, "ms"),
    "open-10k": Budget("a table of 10k rows opens", 250, "ms"),
    "filter-10k": Budget("filter keystroke at 10k rows", 40, "ms"),
    "update-10k": Budget("one visible update at 10k rows", 5, "ms"),
    "cursor-10k": Budget("cursor move at 10k rows", 10, "ms"),
    "page-10k": Budget("page down at 10k rows", 20, "ms"),
    "live-10k": Budget("key to its first bytes at 10k rows, 1,000 changes a second", 50, "ms"),
    "screen-memory-10k": Budget("RSS of the screen at 10k rows", 256, "MiB"),
    "tmux-cursor-10k": Budget("through tmux: cursor key to last byte at 10k rows", 50, "ms"),
    "tmux-page-10k": Budget("through tmux: page key to last byte at 10k rows", 100, "ms"),
    "tmux-live-10k": Budget("through tmux: cursor key to its bytes at 10k rows, 1,000 changes a second", 50, "ms"),
    "open-1k": Budget("a table of 1k rows opens", 250, "ms"),
    "filter-1k": Budget("filter keystroke at 1k rows", 40, "ms"),
    "update-1k": Budget("one visible update at 1k rows", 5, "ms"),
    "cursor-1k": Budget("cursor move at 1k rows", 10, "ms"),
    "page-1k": Budget("page down at 1k rows", 20, "ms"),
    "live-1k": Budget("key to its first bytes at 1k rows, 1,000 changes a second", 50, "ms"),
    "screen-memory-1k": Budget("RSS of the screen at 1k rows", 256, "MiB"),
    "tmux-cursor-1k": Budget("through tmux: cursor key to last byte at 1k rows", 50, "ms"),
    "tmux-page-1k": Budget("through tmux: page key to last byte at 1k rows", 100, "ms"),
    "tmux-live-1k": Budget("through tmux: cursor key to its bytes at 1k rows, 1,000 changes a second", 50, "ms"),
    "matrix": Budget("the host matrix of 1,000 hosts and 200 services, 100,000 instances, opens", 500, "ms"),
    "matrix-cursor": Budget("cursor move on that matrix", 10, "ms"),
    "quiet-direct": Budget("controller CPU, 1,000 quiet hosts direct", 5, "% of a core"),
    "quiet-relays": Budget("controller CPU, 1,000 quiet hosts behind 10 relays", 3, "% of a core"),
    "cursor-bytes": Budget("bytes per cursor move at 120x40", 1.5, "kB"),
    "repaint-bytes": Budget("bytes per full repaint at 120x40", 13, "kB"),
    "drift-full": Budget("full drift of 100k instances", 150, "ms"),
    "drift-one": Budget("drift after one change", 1, "ms"),
    "keeper-memory": Budget("keeper RSS", 12, "MiB"),
    "agent-memory": Budget("agent RSS", 32, "MiB"),
    "crash": Budget("crash to new pid answering, median", 10, "ms"),
    "crash-screen": Budget("crash to the operator's screen model, p99", 100, "ms"),
    "crash-screen-1": Budget("the same behind a relay, p99", 100, "ms"),
    "crash-screen-2": Budget("the same behind two relays in a row, p99", 100, "ms"),
    "told": Budget("crash to a webhook, p99 of 50", 500, "ms"),
    "flood": Budget("key to its last byte while 3 instances print 50 MB/s each, p99", 150, "ms"),
    "ping": Budget("ping 50 agents, p50", 50, "ms"),
    "true": Budget("`true` on 50 agents, p50", 250, "ms"),
    "hub-memory": Budget("memory of the hub per connected agent, whatever the transport", 80, "kB"),
    "endpoints": Budget("endpoint change to 200 subscribers, p99", 100, "ms"),
    "lost": Budget("requests lost in deploy, migrate, drain, failover-with-drain", 0, "requests"),
    "push-1": Budget("artifact push to one receiver, relative to rsync", 1.10, "x"),
    "push-8": Budget("artifact push to 8 receivers, ratio to the lower bound", 1.30, "x"),
    "push-16": Budget("artifact push to 16 receivers, ratio to the lower bound", 1.40, "x"),
    "wan": Budget("WAN bytes for a region of any size", 1.02, "x"),
    "wan-again": Budget("WAN bytes of a second push of the same", 0.01, "x"),
    "serving": Budget("a source or relay serves over mutual TLS", 150, "MB/s of a core", least=True),
    "delta": Budget("next version of a bundle, 2 of 12 packages changed, of its size", 0.02, "x"),
    "peer-memory": Budget("RSS of the peer at most, 512 MiB received and passed on", 64, "MiB"),
    "late": Budget("longest callback of the controller's loop, 100k instances on 10k hosts, every op once", 50, "ms"),
    "twin": Budget("twin: a rolling deploy over 1,000 hosts x 100 instances", 5, "s"),
    "score": Budget("time of a deploy against its rehearsal, median error of 50", 15, "%"),
    "graph": Budget("graph layout of 200 nodes", 50, "ms"),
    "past": Budget("state at a moment 30 minutes ago, 100k instances", 0.6, "s"),
}

WAITS: dict[str, str] = {}
"""What rows wait for that cannot be measured yet."""

Measure = Callable[[], "Figure | None"]
_measures: dict[str, tuple[Measure, tuple[str, ...]]] = {}


def measures(key: str, needs: Sequence[str] = ()) -> Callable[[Measure], Measure]:
    """Enter a function for a row; `needs` names the modules it measures. KeyError: no such row."""
    BUDGETS[key]

    def enter(function: Measure) -> Measure:
        _measures[key] = (function, tuple(needs))
        return function

    return enter


def exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it
        return False


def ready(key: str) -> Measure | None:
    """How to measure this row; None while nobody wrote that or what it measures is not there."""
    function, needs = _measures.get(key, (None, ()))
    return function if all(map(exists, needs)) else None


def timed(function: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each run."""
    runs = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        runs.append((time.perf_counter() - start) * 1e3)
    return runs


def median(runs: Sequence[float]) -> float:
    return statistics.median(runs)


def number(value: float) -> str:
    """Three significant digits, and no exponent: 0.0123, 4.56, 1016."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    digits = 2 if abs(value) >= 1 else 4
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


HEADER = ("what", "budget", "measured", "", "peer", "ratio", "note")
RIGHT = (1, 2, 5)
"""Columns whose text stands to the right."""


def row(key: str, figure: Figure | None, note: str, why: str = "") -> tuple[str, ...]:
    """`note` stands for a figure that is not there, `why` beside it."""
    budget = BUDGETS[key]
    limit = f"{('>= ' if budget.least else '<= ') if budget.limit else ''}{number(budget.limit)} {budget.unit}"
    if figure is None:
        why = why or (WAITS.get(key, "") if ready(key) is None else "")
        return (budget.what, limit, note, "", "", "", why)
    peer = f"{figure.peer_name} {number(figure.peer)}" if figure.peer is not None else ""
    ratio = f"{number(figure.value / figure.peer)} x" if figure.peer else ""
    mark = "ok" if budget.keeps(figure.value) else "UNDER" if budget.least else "OVER"
    return (budget.what, limit, number(figure.value), mark, peer, ratio, figure.note)


def lines(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """The table as text; numbers to the right."""
    table = [HEADER, *rows]
    widths = [max(len(r[i]) for r in table) for i in range(len(HEADER))]
    for i, cells in enumerate(table):
        columns = enumerate(zip(cells, widths, strict=True))
        yield "  ".join(c.rjust(w) if n in RIGHT else c.ljust(w) for n, (c, w) in columns).rstrip()
        if i == 0:
            yield "-" * (sum(widths) + 2 * (len(widths) - 1))
