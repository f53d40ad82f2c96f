"""A layered drawing of a directed graph on character cells. Pure and deterministic.

After Sugiyama: cycles are broken by turning back edges of a depth-first search around, ranks are
the longest way from a source, long edges get a bend in every rank they cross (one per source, so
that they run together), crossings are reduced by sweeps of barycentres, and rows are given out
top-down. Edges are drawn with a four-bit mask per cell, so that lines that meet become junctions; the cells of a
line are worked out where they are looked at, since a large drawing has hundreds of thousands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

LEFT, DOWN, RIGHT, UP = 1, 2, 4, 8
SWEEPS = 6
GAP = 1
"""Empty cells between a node and the channel beside it."""

Cell = tuple[int, int]
"""Row and column."""
WINDOW = 32
"""Rows whose wires are looked for together."""


class Wire(NamedTuple):
    """One hop: right from `begin` to the track at `turn`, up or down in it, right to `end`."""

    top: int
    """The row it begins in; it may end above."""
    bottom: int
    begin: int
    turn: int
    end: int

    def across(self, row: int) -> list[tuple[int, int, int]]:
        """What of it is in a row: first and last column, and the directions in which the line leaves each cell."""
        top, bottom, begin, turn, end = self
        if top == bottom:
            return [(begin, end, LEFT | RIGHT)] if row == top else []
        onward, back = (DOWN, UP) if bottom > top else (UP, DOWN)
        if row == top:
            return [(begin, turn - 1, LEFT | RIGHT), (turn, turn, LEFT | onward)]
        if row == bottom:
            return [(turn, turn, back | RIGHT), (turn + 1, end, LEFT | RIGHT)]
        return [(turn, turn, UP | DOWN)] if min(top, bottom) < row < max(top, bottom) else []

    def cells(self) -> dict[Cell, int]:
        """Cell -> directions in which the line leaves it."""
        rows = range(min(self.top, self.bottom), max(self.top, self.bottom) + 1)
        return {(r, c): bits for r in rows for first, last, bits in self.across(r) for c in range(first, last + 1)}


@dataclass
class Drawing:
    """Where nodes stand and which cells edges run through."""

    width: int = 0
    height: int = 0
    nodes: dict[str, Cell] = field(default_factory=dict)
    """Node -> row and first column of its label."""
    layers: list[list[str]] = field(default_factory=list)
    heads: dict[Cell, str] = field(default_factory=dict)
    """Cells with an arrow head -> the node it points to."""
    paths: dict[tuple[str, str], tuple[Wire, ...]] = field(default_factory=dict)
    """Edge -> its wires, one for each layer it crosses; edges that run together share them."""
    turned: set[tuple[str, str]] = field(default_factory=set)
    """Edges that go against the direction: they close a cycle."""

    _near: dict[int, list[Wire]] = field(default_factory=dict, compare=False, repr=False)
    """Window of rows -> wires in it."""

    def path(self, edge: tuple[str, str]) -> dict[Cell, int]:
        """All cells of an edge. Raises KeyError."""
        return _together(self.paths[edge])

    @property
    def mask(self) -> dict[Cell, int]:
        """Every cell that lines run through -> directions in which they leave it."""
        return _together({wire for wires in self.paths.values() for wire in wires})

    def at(self, row: int) -> list[Wire]:
        """Wires with a cell in this row."""
        window = row // WINDOW
        near = self._near.get(window)
        if near is None:
            first, last = window * WINDOW, (window + 1) * WINDOW - 1
            every = {wire for wires in self.paths.values() for wire in wires}
            near = [w for w in every if min(w.top, w.bottom) <= last and max(w.top, w.bottom) >= first]
            self._near[window] = near
        return [w for w in near if w.top <= row <= w.bottom or w.bottom <= row <= w.top]


def _together(wires: Collection[Wire]) -> dict[Cell, int]:
    found: dict[Cell, int] = {}
    for wire in wires:
        for cell, bits in wire.cells().items():
            found[cell] = found.get(cell, 0) | bits
    return found


def lay_out(
    labels: Mapping[str, int], edges: Sequence[tuple[str, str]], previous: Sequence[str] = (),
    weak: Collection[tuple[str, str]] = (),
) -> Drawing:
    """Place nodes (name -> label width in cells) and route edges, left to right.

    `previous` is the order nodes had in the last drawing: equal situations keep their order. `weak` edges do not
    decide which way the others go: where they close a cycle, they are the ones that are turned.
    """
    order = {name: n for n, name in enumerate([*(p for p in previous if p in labels), *sorted(labels)][::-1])}
    order = {name: len(order) - n for name, n in order.items()}
    known = sorted({(a, b) for a, b in edges if a in labels and b in labels and a != b})
    drawing = Drawing()
    strong = [e for e in known if e not in weak]
    forward = _break_cycles(sorted(labels, key=lambda n: order[n]), strong, drawing.turned)
    rank = _ranks(labels, forward)
    if len(strong) < len(known):
        place = {n: (rank[n], order[n]) for n in labels}
        drawing.turned.update(e for e in known if e in weak and place[e[0]] > place[e[1]])
        forward = sorted({(b, a) if (a, b) in drawing.turned else (a, b) for a, b in known})
        rank = _ranks(labels, forward)
    layers, links, chains = _with_bends(labels, forward, rank, order)
    _reduce_crossings(layers, links)
    rows = _rows(layers, links)
    routes = _draw(drawing, labels, layers, rows, chains)
    drawing.paths = {(a, b): routes[(b, a) if (a, b) in drawing.turned else (a, b)] for a, b in known}
    return drawing


def _break_cycles(
    names: Sequence[str], edges: Sequence[tuple[str, str]], turned: set[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Edges without cycles: those that lead back to a node on the way are turned around."""
    after: dict[str, list[str]] = {n: [] for n in names}
    for a, b in edges:
        after[a].append(b)
    state: dict[str, int] = {}
    for start in names:
        if start in state:
            continue
        state[start] = 1
        stack = [(start, iter(after[start]))]
        while stack:
            node, rest = stack[-1]
            for other in rest:
                seen = state.get(other)
                if seen == 1:
                    turned.add((node, other))
                elif seen is None:
                    state[other] = 1
                    stack.append((other, iter(after[other])))
                    break
            else:
                state[node] = 2
                stack.pop()
    return sorted({(b, a) if (a, b) in turned else (a, b) for a, b in edges})


def _ranks(names: Mapping[str, int], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Longest way from a source; sources then move next to what they call."""
    after: dict[str, list[str]] = {n: [] for n in names}
    missing = dict.fromkeys(names, 0)
    for a, b in edges:
        after[a].append(b)
        missing[b] += 1
    rank = dict.fromkeys(names, 0)
    ready = [n for n in names if not missing[n]]
    done: list[str] = []
    while ready:
        node = ready.pop()
        done.append(node)
        for other in after[node]:
            rank[other] = max(rank[other], rank[node] + 1)
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    before = {b for _, b in edges}
    for node in reversed(done):
        if node not in before and after[node]:
            rank[node] = min(rank[o] for o in after[node]) - 1
    return rank


Links = list[dict[str, list[str]]]
"""Per rank: node -> nodes of the next rank it is linked to."""


def _with_bends(
    names: Mapping[str, int], edges: Sequence[tuple[str, str]], rank: Mapping[str, int], order: Mapping[str, int]
) -> tuple[list[list[str]], Links, dict[tuple[str, str], list[str]]]:
    height = max(rank.values(), default=-1) + 1
    layers: list[list[str]] = [[] for _ in range(height)]
    for name in sorted(names, key=lambda n: order[n]):
        layers[rank[name]].append(name)
    links: Links = [{} for _ in range(height)]
    chains: dict[tuple[str, str], list[str]] = {}
    seen: set[str] = set()
    for a, b in edges:
        chain = [a]
        for level in range(rank[a] + 1, rank[b]):
            bend = f"\0{a}\0{level}"
            if bend not in seen:
                seen.add(bend)
                layers[level].append(bend)
            chain.append(bend)
        chain.append(b)
        for level, (x, y) in enumerate(zip(chain, chain[1:], strict=False), rank[a]):
            targets = links[level].setdefault(x, [])
            if y not in targets:
                targets.append(y)
        chains[(a, b)] = chain
    return layers, links, chains


def _reduce_crossings(layers: list[list[str]], links: Links) -> None:
    """Order every layer by the mean place of its neighbours, forth and back."""
    back: Links = [{} for _ in layers]
    for level, table in enumerate(links):
        for x, targets in table.items():
            for y in targets:
                back[level + 1].setdefault(y, []).append(x)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        levels = range(1, len(layers)) if down else range(len(layers) - 2, -1, -1)
        for level in levels:
            near = (back if down else links)[level]
            place = {n: i for i, n in enumerate(layers[level - 1 if down else level + 1])}

            weights: dict[str, float] = {}
            for index, name in enumerate(layers[level]):
                at = [place[o] for o in near.get(name, ())]
                weights[name] = sum(at) / len(at) if at else index
            layers[level].sort(key=weights.__getitem__)


def _rows(layers: list[list[str]], links: Links) -> dict[str, int]:
    """A row for every node: as near to the median of its callers as the order allows."""
    before: dict[str, list[str]] = {}
    for table in links:
        for x, targets in table.items():
            for y in targets:
                before.setdefault(y, []).append(x)
    rows: dict[str, int] = {}
    for layer in layers:
        free = 0
        for name in layer:
            at = sorted(rows[o] for o in before.get(name, ()))
            rows[name] = max(free, at[(len(at) - 1) // 2] if at else free)
            free = rows[name] + 1
    return rows


def _draw(
    drawing: Drawing, labels: Mapping[str, int], layers: list[list[str]], rows: Mapping[str, int],
    chains: Mapping[tuple[str, str], list[str]],
) -> dict[tuple[str, str], tuple[Wire, ...]]:
    """Fills in where things are; returns the wires of every forward edge."""
    hops: list[dict[str, set[str]]] = [{} for _ in layers]
    level_of = {name: level for level, layer in enumerate(layers) for name in layer}
    for chain in chains.values():
        for x, y in zip(chain, chain[1:], strict=False):
            hops[level_of[x]].setdefault(x, set()).add(y)
    start, starts, tracks = 0, [], []
    widths = [max((labels.get(n, 0) for n in layer), default=0) for layer in layers]
    for level, layer in enumerate(layers):
        starts.append(start)
        widest = widths[level]
        tracks.append(_tracks(hops[level], rows))
        channel = max(tracks[-1].values(), default=-1) + 1
        start += widest + (GAP * 2 + channel + 3 if level < len(layers) - 1 else 0)
        for name in layer:
            if name in labels:
                drawing.nodes[name] = (rows[name], starts[level])
    drawing.layers = [[n for n in layer if n in labels] for layer in layers]
    drawing.width = start
    drawing.height = max(rows.values(), default=-1) + 1
    wires: dict[tuple[str, str], Wire] = {}
    routes: dict[tuple[str, str], tuple[Wire, ...]] = {}
    for edge, chain in chains.items():
        for x, y in zip(chain, chain[1:], strict=False):
            if (x, y) in wires:
                continue
            level = level_of[x]
            widest = widths[level]
            begin = starts[level] + (labels[x] + GAP if x in labels else 0)
            turn = starts[level] + widest + GAP + 1 + tracks[level][x]
            end = starts[level + 1] - (2 if y in labels else 1)
            wires[(x, y)] = Wire(rows[x], rows[y], begin, turn, end)
            if y in labels:
                drawing.heads[(rows[y], end)] = y
        routes[edge] = tuple(wires[hop] for hop in zip(chain, chain[1:], strict=False))
    return routes


def _tracks(hops: Mapping[str, set[str]], rows: Mapping[str, int]) -> dict[str, int]:
    """A column of the channel for each source, such that vertical pieces do not lie on one another."""
    taken: list[list[tuple[int, int]]] = []
    out: dict[str, int] = {}
    for name in sorted(hops, key=lambda n: (rows[n], n)):
        ends = [rows[name], *(rows[o] for o in hops[name])]
        low, high = min(ends), max(ends)
        for track, spans in enumerate(taken):
            if all(high < a or low > b for a, b in spans):
                spans.append((low, high))
                out[name] = track
                break
        else:
            out[name] = len(taken)
            taken.append([(low, high)])
    return out
