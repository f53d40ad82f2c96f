"""A screen as linear text and as typed data: every row, not only those that fit, states as words. Draws nothing.

For screen readers and tickets. Lists are read from the widgets themselves, so that filter, order and columns are
the screen's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cockpit.model.view import MARKS
from screens.base import ClusterScreen
from screens.format import clean
from screens.look import Look, Piece
from screens.widgets.bars import Bar, Bottom
from screens.widgets.graph import Graph
from screens.widgets.grid import Grid
from screens.widgets.lines import Lines
from screens.widgets.log import Log
from screens.widgets.matrix import Matrix
from screens.widgets.tree import Tree

LONGEST = 2000
"""Characters of one line."""
DEEP = 12
"""Levels of rows inside rows that are written as data."""
_BLANKS = re.compile(r"(?<=\S) {2,}")
_KEPT_SIGNS = {"to": "->", "more": "...", "dot": " ", "enter": "Enter", "bar": "|", "changed": ""}
_SAME_LENGTH = ("box", "heat", "spark", "full", "empty", "has", "had", "partly", "missing", "here")


class Spoken(Look):
    """A look whose glyphs are words in brackets, and whose ornaments are nothing."""

    def glyph(self, mark: str) -> str:
        return f"[{mark}]"

    def sign(self, name: str) -> str:
        if name in _SAME_LENGTH:
            return " " * len(super().sign(name))
        return _KEPT_SIGNS.get(name, "")


def joined(pieces: Iterable[Piece]) -> str:
    """One line of pieces; runs of blanks, which only align, become two."""
    text = clean("".join(text for text, _ in pieces), LONGEST).rstrip()
    return _BLANKS.sub("  ", text)


def lists_of(screen: ClusterScreen) -> list[Lines]:
    """What is on the screen, from top to bottom and left to right; the line of keys left out."""
    found = [w for w in screen.query(Lines) if w.display and not isinstance(w, Bottom) and w.region.area]
    return sorted(found, key=lambda w: (w.region.y, w.region.x))


def text_of(screen: ClusterScreen) -> list[str]:
    """The whole screen, line by line. Needs the `Spoken` look for its states to be words."""
    out: list[str] = []
    for widget in lists_of(screen):
        lines = lines_of(widget)
        if not any(line.strip(" |") for line in lines):
            continue  # a rule between two lists
        while lines and not lines[-1]:
            lines.pop()
        if lines and out and not isinstance(widget, Bar):
            out.append("")
        out += lines
    return out


def lines_of(widget: Lines) -> list[str]:
    """Every line of one list."""
    if isinstance(widget, Log):
        return [clean(line, LONGEST) for line in widget.text_lines()]
    if isinstance(widget, Grid):
        return _grid(widget)
    if isinstance(widget, Matrix):
        return _matrix(widget)
    if isinstance(widget, Graph):
        return _graph(widget)
    return [joined(widget.draw(n, 10_000)) for n in range(widget.count())]


def _grid(grid: Grid[Any]) -> list[str]:
    shown = len(grid.order)
    whole = f"{shown} rows" if shown == len(grid.rows) else f"{shown} of {len(grid.rows)} rows"
    out = [f"{(grid.title or grid.columns[0].title).strip() or 'LIST'}: {whole if shown != 1 else '1 row'}"]
    if grid.sieve.text:
        out[0] += f", filter {clean(grid.sieve.text)}"
    for key in grid.order:
        row = grid.rows[key]
        name, *rest = grid.texts(key)
        # what is painted is a picture of what other columns say
        titles = ["" if c.paint is not None else c.title.strip().lower() for c in grid.columns[1:]]
        rest = [("", w) if c.paint is not None else (t, w) for c, (t, w) in zip(grid.columns[1:], rest, strict=True)]
        pad = "  " * grid.depth.get(key, 0) if isinstance(grid, Tree) else ""
        lead = joined(grid.lead(key)).strip()
        state = mark_of(row)
        state = "" if not state or f"[{state}]" in lead or f"[{state}]" in name[0] else f"[{state}]"
        words = " ".join(w for w in (state, lead, clean(name[0], LONGEST).strip()) if w)
        cells = [_cell(t, clean(text, LONGEST).strip()) for t, (text, _) in zip(titles, rest, strict=True)]
        told = ", ".join(c for c in cells if c)
        out.append(f"{pad}{words}: {told}" if told else pad + words)
    return out


def _cell(title: str, text: str) -> str:
    if not text:
        return ""
    return f"{title} {text}" if title else text


def _matrix(matrix: Matrix) -> list[str]:
    out = []
    for row in matrix.rows:
        head, cells = matrix.words(row.key)
        name = joined(head).strip()
        told = ", ".join(f"{column} {clean(text).strip()}" for column, text in cells if text.strip(". "))
        out.append(f"{name}: {told}" if told else name)
    return out


def _graph(graph: Graph) -> list[str]:
    calls: dict[str, list[str]] = {}
    name = {id: clean(label[2], LONGEST).strip() for id, label in graph.labels.items()}
    for source, target in graph.edges:
        note = " (not declared)" if (source, target) in graph.odd else ""
        calls.setdefault(source, []).append(f"  -> {name.get(target, target)}{note}")
    out = []
    for layer in graph.drawing.layers:
        for id in layer:
            if id in graph.labels:
                out += [f"[{graph.labels[id][1]}] {name[id]}", *calls.get(id, ())]
    return out


def mark_of(row: Any) -> str:
    """The state word of a row, where it has one."""
    mark = getattr(row, "mark", "")
    return mark if isinstance(mark, str) and mark in MARKS else ""


# as data


def data_of(screen: ClusterScreen) -> dict[str, Any]:
    """`{lists: [{id, kind, total, rows|lines}], rows: {name: data}}`: typed rows; what is only text, as lines."""
    lists = []
    for widget in lists_of(screen):
        if isinstance(widget, Bar):
            continue
        item: dict[str, Any] = {"id": widget.id or type(widget).__name__.lower()}
        if isinstance(widget, Grid):
            item |= {"kind": "rows", "total": len(widget.rows), "rows": [_row(widget, k) for k in widget.order]}
        elif isinstance(widget, Log):
            item |= {"kind": "log", "rows": [plain(e) for e in dict.fromkeys(s.entry for s in widget.shown)]}
        elif isinstance(widget, Graph):
            item |= {
                "kind": "graph",
                "nodes": [{"id": n, "mark": v[1], "label": v[2].strip()} for n, v in widget.labels.items()],
                "edges": [{"from": a, "to": b, "declared": (a, b) not in widget.odd} for a, b in widget.edges],
            }
        else:
            item |= {"kind": "lines", "lines": lines_of(widget)}
        lists.append(item)
    return {"lists": lists, "rows": _rows(screen)}


def _row(grid: Grid[Any], key: str) -> dict[str, Any]:
    row = grid.rows[key]
    cells = {c.id: clean(text, LONGEST).strip() for c, (text, _) in zip(grid.columns, grid.texts(key), strict=True)}
    return {"key": key, "cells": cells, "row": plain(row)}


def _rows(screen: ClusterScreen) -> dict[str, Any]:
    """The rows of the model that the screen was given, by the name it keeps them under."""
    out: dict[str, Any] = {}
    for name, value in vars(screen).items():
        some = _sample(value)
        if isinstance(some, msgspec.Struct) and type(some).__module__.startswith("cockpit.model."):
            out[name.lstrip("_")] = plain(value)
    return out


def _sample(value: Any) -> Any:
    if isinstance(value, Mapping):
        return next(iter(value.values()), None)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return value[0] if len(value) else None
    return value


def plain(value: Any, deep: int = DEEP) -> Any:
    """As JSON can write it; what it cannot is written as text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if deep <= 0:
        return str(value)
    if isinstance(value, msgspec.Struct):
        return {f: plain(getattr(value, f), deep - 1) for f in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(k): plain(v, deep - 1) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {k: plain(v, deep - 1) for k, v in value._asdict().items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [plain(v, deep - 1) for v in items]
    return str(value)
