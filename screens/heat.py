"""How hot a node of the graph is: by drift, latency or load. Words and glyphs beside the colour. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cockpit.model.graph import Graph, GraphNode
from cockpit.model.metrics_rows import NO_DATA, ServiceLoad
from cockpit.model.view import BADNESS, OK
from screens.format import latency
from screens.look import Look, Piece

NONE, DRIFT, LATENCY, LOAD = "", "drift", "latency", "load"
KINDS = (NONE, DRIFT, LATENCY, LOAD)
COOL, WARM, HOT, UNKNOWN = "cool", "warm", "hot", NO_DATA
STYLES = {COOL: "ok", WARM: "paused", HOT: "failed", UNKNOWN: "muted"}
LEVELS = (COOL, WARM, HOT)
SIGNS = {COOL: 0, WARM: 1, HOT: 2}
EDGES = {LATENCY: (0.05, 0.5), LOAD: (0.5, 0.8)}
"""From here warm, from here hot: seconds, cores of the busiest instance."""
ABOUT = {
    DRIFT: "cool: as expected, warm: it changes, hot: it differs, failed or unknown",
    LATENCY: "slowest instance by its probe, ms: warm from 50, hot from 500",
    LOAD: "processor of the busiest instance: warm from 50 % of a core, hot from 80 %",
}


class Heat(NamedTuple):
    level: str
    words: str
    """What it is: `3 ms`, `no data`."""

    @property
    def text(self) -> str:
        return self.words if self.level == UNKNOWN else f"{self.level} {self.words}"


def level_of(kind: str, value: float | None) -> str:
    if value is None:
        return UNKNOWN
    warm, hot = EDGES[kind]
    return HOT if value >= hot else WARM if value >= warm else COOL


def heat_of(kind: str, node: GraphNode, known: Mapping[str, ServiceLoad], drift: Mapping[str, int]) -> Heat:
    """Of a service, or of a folded group: that of its hottest part."""
    if kind == DRIFT:
        count = drift.get(node.id, 0)
        if node.mark == OK:
            return Heat(COOL, "as expected")
        level = HOT if BADNESS.get(node.mark, 0) >= BADNESS["unknown"] else WARM
        return Heat(level, f"{count} {node.mark}" if count else node.mark)
    mine = [load for path, load in known.items() if path == node.id or path.startswith(node.id + ".")]
    if kind == LATENCY:
        slow = max((m.latency for m in mine if m.latency is not None), default=None)
        return Heat(level_of(kind, slow), NO_DATA if slow is None else f"{latency(slow)} ms")
    busy = max((m.cpu for m in mine if m.cpu is not None), default=None)
    clients = [m.connections for m in mine if m.connections is not None]
    words = NO_DATA if busy is None else f"{busy * 100:.0f} %"
    if clients:
        words += f", {sum(clients)} conn"
    return Heat(level_of(kind, busy), words)


WIDEST = 22
"""Cells that the words of a heat get, so that new numbers do not move the drawing."""


def glyph(heat: Heat, look: Look) -> str:
    return look.sign("heat")[SIGNS[heat.level]] if heat.level in SIGNS else look.glyph("unknown")


def legend(kind: str, graph: Graph, heats: Mapping[str, Heat], look: Look) -> list[Piece]:
    """What the glyphs mean, with how many nodes have each."""
    out: list[Piece] = [(f" heat by {kind}: ", "strong")]
    for level in (*LEVELS, UNKNOWN):
        count = sum(1 for h in heats.values() if h.level == level)
        out.append((f"{glyph(Heat(level, ''), look)} {level} {count}   ", STYLES[level] if count else "muted"))
    out.append((ABOUT[kind], "muted"))
    return out
