"""The drawn graph, as lines: nodes with glyph and counts; what the chosen one reaches stands out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from cockpit.model.graph import reach
from screens.format import cells
from screens.look import Piece
from screens.widgets.layout import Drawing, Wire, lay_out
from screens.widgets.lines import Lines

Label = tuple[str, str, str]
"""Glyph, mark, text after the glyph."""

Edge = tuple[str, str]


class Graph(Lines):
    """Arrow keys go from node to node; the drawing is scrolled so that the chosen one is seen.

    An edge can be chosen too: then only it stands out, and left and right go to its ends.
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.labels: dict[str, Label] = {}
        self.edges: list[Edge] = []
        self.odd: frozenset[Edge] = frozenset()
        """Edges that nobody expects."""
        self.drawing = Drawing()
        self.chosen = ""
        self.edge: Edge | None = None
        self.found: frozenset[str] = frozenset()
        """Nodes that a search found."""
        self.searching = False
        """Up and down go from one found node to the next."""
        self.related: frozenset[str] = frozenset()
        """Everything the chosen node calls or is called by, over any number of steps, and itself."""
        self._lit: dict[Wire, str] = {}
        """Wires of edges that stand out -> their style."""
        self._version = 0
        self._by_row: dict[int, list[tuple[int, str]]] = {}
        self._strange: set[Wire] = set()

    def load(self, labels: Mapping[str, Label], edges: Sequence[Edge], odd: frozenset[Edge] = frozenset()) -> None:
        """Show this graph. When only glyphs and counts changed, nothing moves."""
        same = edges == self.edges and labels.keys() == self.labels.keys() and all(
            _width(labels[n]) == _width(self.labels[n]) for n in labels
        )
        changed = [n for n in labels if labels[n] != self.labels.get(n)]
        self.labels = dict(labels)
        strange, self.odd = odd != self.odd, odd
        if same:
            self._version += bool(changed) or strange
            for name in changed:
                self.touch(self.drawing.nodes[name][0])
            if strange:
                self._light()
                self.touch_all()
            return
        self.edges = list(edges)
        before = [n for layer in self.drawing.layers for n in layer]
        self.drawing = lay_out({n: _width(v) for n, v in labels.items()}, self.edges, before, odd)
        self._by_row = {}
        for name, (row, column) in self.drawing.nodes.items():
            self._by_row.setdefault(row, []).append((column, name))
        for row_nodes in self._by_row.values():
            row_nodes.sort()
        if self.edge not in self.drawing.paths:
            self.edge = None
        if self.chosen not in labels:
            self.chosen = next((n for layer in self.drawing.layers for n in layer), "")
        self.choose(self.chosen, self.edge)
        self._version += 1
        self.touch_all()

    def choose(self, name: str, edge: Edge | None = None) -> None:
        self.chosen, self.edge = name, edge
        self._version += 1
        self._light()
        if name in self.drawing.nodes:
            row, column = self.drawing.nodes[name]
            self.cursor = row
            self._show(row)
            width = _width(self.labels[name])
            left = self.left
            if column < left:
                left = max(0, column - 4)
            elif column + width > left + self.size.width > 0:
                left = min(column, column + width - self.size.width + 4)
            self.left = left
        self.refresh()
        self.moved()

    def _light(self) -> None:
        """Which wires stand out: those of the chosen edge, else of the node's own ones and, weaker, of all that lead
        on. Edges that run together share theirs; the strongest has it."""
        paths = self.drawing.paths
        lit: dict[Wire, str] = {}
        down = reach(self.edges, self.chosen) | {self.chosen}
        up = reach(self.edges, self.chosen, back=True) | {self.chosen}
        self.related = frozenset(down | up)
        if self.edge is not None and self.edge in paths:
            self.related = frozenset(self.edge)
            lit.update(dict.fromkeys(paths[self.edge], "picked"))
        else:
            for (a, b), wires in paths.items():
                if (a in down and b in down) or (a in up and b in up):
                    lit.update(dict.fromkeys(wires, "text"))
            for edge, wires in paths.items():
                if self.chosen in edge:
                    lit.update(dict.fromkeys(wires, "picked"))
        self._lit = lit
        self._strange = {wire for edge in self.odd for wire in paths.get(edge, ())}

    # moving

    def move(self, how: str) -> None:
        if self.searching and self.found:
            self._next_found(-1 if how in ("up", "pageup") else 1)
            return
        layers = self.drawing.layers
        level = next((i for i, layer in enumerate(layers) if self.chosen in layer), -1)
        if level < 0:
            return
        layer = sorted(layers[level], key=lambda n: self.drawing.nodes[n][0])
        at = layer.index(self.chosen)
        jump = {"up": -1, "down": 1, "pageup": -self.page, "pagedown": self.page, "home": -at, "end": len(layer)}[how]
        target = layer[max(0, min(len(layer) - 1, at + jump))]
        if target != self.chosen or self.edge:
            self.choose(target)

    def _next_found(self, way: int) -> None:
        order = sorted(self.found, key=lambda n: self.drawing.nodes[n][::-1])
        if self.chosen in order:
            self.choose(order[(order.index(self.chosen) + way) % len(order)])
        else:
            self.choose(order[0])

    def step(self, way: int) -> None:
        """To the nearest node of the next layer (the one before), linked ones first; with an edge: to its end."""
        if self.edge is not None:
            self.choose(self.edge[way > 0])
            return
        layers = self.drawing.layers
        level = next((i for i, layer in enumerate(layers) if self.chosen in layer), -1)
        other = level + way
        if level < 0:
            return
        row = self.drawing.nodes[self.chosen][0]
        linked = {b if a == self.chosen else a for a, b in self.edges if self.chosen in (a, b)}
        while 0 <= other < len(layers):
            if layers[other]:
                self.choose(
                    min(layers[other], key=lambda n: (n not in linked, abs(self.drawing.nodes[n][0] - row), n))
                )
                return
            other += way

    def own_edges(self) -> list[Edge]:
        """Edges of the chosen node: those it calls by, then those it is called by, from the top down."""
        rows = self.drawing.nodes
        out = sorted((e for e in self.drawing.paths if e[0] == self.chosen), key=lambda e: rows[e[1]])
        return out + sorted((e for e in self.drawing.paths if e[1] == self.chosen), key=lambda e: rows[e[0]])

    def step_edge(self, way: int) -> bool:
        """Choose the next edge of the node; after the last one none. False: it has none."""
        ring: list[Edge | None] = [None, *self.own_edges()]
        if len(ring) == 1:
            return False
        at = ring.index(self.edge) if self.edge in ring else 0
        self.choose(self.chosen, ring[(at + way) % len(ring)])
        return True

    def find(self, names: frozenset[str]) -> None:
        """Mark what a search found; the cursor goes to the first when it stands on none of them."""
        self.found = names & self.labels.keys()
        self._version += 1
        if self.found and self.chosen not in self.found:
            self._next_found(1)
        self.refresh()

    # lines

    def count(self) -> int:
        return self.drawing.height

    def can_rest(self, index: int) -> bool:
        return False

    def version(self, index: int) -> Hashable:
        return (index, self._version)

    def draw(self, index: int, width: int) -> Sequence[Piece]:
        box, head = self.look.sign("box"), self.look.sign("head")
        out: list[Piece] = []
        nodes = dict(self._by_row.get(index, ()))
        column, end = 0, min(self.drawing.width, self.left + width)
        heads, lines = self.drawing.heads, self._lines(index, end)
        while column < end:
            name = nodes.get(column)
            if name is not None:
                out += self._node(name)
                column += _width(self.labels[name])
                continue
            bits, word = lines.get(column, (0, "faint"))
            char = head if bits and (index, column) in heads else box[bits]
            if out and out[-1][1] == word and column - 1 not in nodes:
                out[-1] = (out[-1][0] + char, word)
            else:
                out.append((char, word))
            column += 1
        return _from(out, self.left)

    def _lines(self, index: int, end: int) -> dict[int, tuple[int, str]]:
        """Columns of a row before `end` -> directions of the lines there and their style; where some stand out, of
        those only."""
        mask: dict[int, int] = {}
        lit: dict[int, tuple[int, str]] = {}
        odd: set[int] = set()
        for wire in self.drawing.at(index):
            style, strange = self._lit.get(wire), wire in self._strange
            for first, last, bits in wire.across(index):
                for column in range(first, min(last + 1, end)):
                    mask[column] = mask.get(column, 0) | bits
                    if style is not None:
                        known, other = lit.get(column, (0, style))
                        lit[column] = (known | bits, other if other == "picked" else style)
                    if strange:
                        odd.add(column)
        out = {column: (bits, "faint") for column, bits in mask.items()} | lit
        return out | {column: (out[column][0], "drift") for column in odd}

    def _node(self, name: str) -> list[Piece]:
        glyph, mark, words = self.labels[name]
        if name == self.chosen:
            style = "caret"
        elif name in self.found:
            style = "found"
        elif name in self.related:
            style = "strong"
        else:
            style = "muted" if self.related - {self.chosen} else "text"
        said = words.rstrip()
        return [(f"{glyph} ", mark), (said, style), (words[len(said):], "text")]


def _width(label: Label) -> int:
    return cells(label[0]) + 1 + cells(label[2])


def _from(pieces: Sequence[Piece], left: int) -> list[Piece]:
    """Pieces without their first `left` cells."""
    out: list[Piece] = []
    for text, word in pieces:
        length = cells(text)
        if left >= length:
            left -= length
            continue
        out.append((text[left:], word))
        left = 0
    return out
