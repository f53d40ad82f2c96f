"""The drawn graph, as lines: nodes with glyph and counts, the edges of the chosen one stand out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from screens.format import cells
from screens.look import Piece
from screens.widgets.layout import Drawing, lay_out
from screens.widgets.lines import Lines

Label = tuple[str, str, str]
"""Glyph, mark, text after the glyph."""


class Graph(Lines):
    """Arrow keys go from node to node; the drawing is scrolled so that the chosen one is seen."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.labels: dict[str, Label] = {}
        self.edges: list[tuple[str, str]] = []
        self.drawing = Drawing()
        self.chosen = ""
        self._lit: dict[tuple[int, int], str] = {}
        self._version = 0
        self._by_row: dict[int, list[tuple[int, str]]] = {}

    def load(self, labels: Mapping[str, Label], edges: Sequence[tuple[str, str]]) -> None:
        """Show this graph. When only glyphs and counts changed, nothing moves."""
        same = edges == self.edges and labels.keys() == self.labels.keys() and all(
            _width(labels[n]) == _width(self.labels[n]) for n in labels
        )
        changed = [n for n in labels if labels[n] != self.labels.get(n)]
        self.labels = dict(labels)
        if same:
            self._version += bool(changed)
            for name in changed:
                self.touch(self.drawing.nodes[name][0])
            return
        self.edges = list(edges)
        before = [n for layer in self.drawing.layers for n in layer]
        self.drawing = lay_out({n: _width(v) for n, v in labels.items()}, self.edges, before)
        self._by_row = {}
        for name, (row, column) in self.drawing.nodes.items():
            self._by_row.setdefault(row, []).append((column, name))
        for row_nodes in self._by_row.values():
            row_nodes.sort()
        if self.chosen not in labels:
            self.chosen = next((n for layer in self.drawing.layers for n in layer), "")
        self.choose(self.chosen)
        self._version += 1
        self.touch_all()

    def choose(self, name: str) -> None:
        self.chosen = name
        self._version += 1
        self._lit = {}
        for (a, b), path in self.drawing.paths.items():
            if name in (a, b):
                self._lit.update(dict.fromkeys(path, "picked"))
        if name in self.drawing.nodes:
            row, column = self.drawing.nodes[name]
            self.cursor = row
            self._show(row)
            width = _width(self.labels[name])
            left = self.left
            if column < left:
                left = max(0, column - 4)
            elif column + width > left + self.size.width > 0:
                left = column + width - self.size.width + 4
            self.left = left
        self.refresh()
        self.moved()

    def move(self, how: str) -> None:
        layers = self.drawing.layers
        level = next((i for i, layer in enumerate(layers) if self.chosen in layer), -1)
        if level < 0:
            return
        layer = sorted(layers[level], key=lambda n: self.drawing.nodes[n][0])
        at = layer.index(self.chosen)
        jump = {"up": -1, "down": 1, "pageup": -self.page, "pagedown": self.page, "home": -at, "end": len(layer)}[how]
        target = layer[max(0, min(len(layer) - 1, at + jump))]
        if target != self.chosen:
            self.choose(target)

    def step(self, way: int) -> None:
        """To the nearest node of the next layer (the one before); linked ones first."""
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
        nodes = {column: name for column, name in self._by_row.get(index, ())}
        column = 0
        end = self.left + width
        mask, heads, lit = self.drawing.mask, self.drawing.heads, self._lit
        while column < self.drawing.width and column < end:
            name = nodes.get(column)
            if name is not None:
                glyph, mark, words = self.labels[name]
                here = name == self.chosen
                out += [(f"{glyph} ", mark), (words, "caret" if here else "text")]
                column += _width(self.labels[name])
                continue
            cell = (index, column)
            bits = mask.get(cell, 0)
            char = head if cell in heads and bits else box[bits]
            word = lit.get(cell, "faint")
            if out and out[-1][1] == word and column - 1 not in nodes:
                out[-1] = (out[-1][0] + char, word)
            else:
                out.append((char, word))
            column += 1
        return _from(out, self.left)


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
