"""A graph as text, Mermaid, DOT or JSON. Names are data: none of them can end a string or begin a statement."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cockpit.model.graph import GROUP, UNDECLARED, Graph, GraphNode
from cockpit.model.view import OK

LONGEST = 200
"""Characters of a label."""
DOT_SHAPES = {"service": "box", "group": "folder", "controller": "hexagon", "relay": "diamond", "region": "box3d"}
MERMAID_SHAPES = {
    "service": ("[", "]"), "group": ("[[", "]]"), "controller": ("{{", "}}"), "relay": ("([", "])"),
    "region": ("[(", ")]"),
}  # fmt: skip
DOT_COLOURS = {
    OK: "gray40", "changing": "deepskyblue3", "drift": "darkorange", "failed": "red3", "unknown": "purple",
    "absent": "gray70", "paused": "gold3", "draining": "cadetblue",
}  # fmt: skip


def label(node: GraphNode) -> str:
    """`web 2 of 2`, `shop (12 services) 30 of 31 failed`: what a node says besides its look."""
    words = [node.label]
    if node.kind == GROUP:
        words.append(f"({node.parts} services)")
    if node.kind in ("service", GROUP):
        words.append(f"{node.have} of {node.want}")
    if node.note:
        words.append(node.note)
    if node.mark != OK:
        words.append(node.mark)
    return _line(" ".join(words))


def _line(text: str) -> str:
    """One printable line of bounded length."""
    return "".join(c if c.isprintable() else " " for c in text)[:LONGEST]


def as_text(graph: Graph) -> str:
    """A line for each node, and below it what it calls."""
    names = {n.id: n for n in graph.nodes}
    calls: dict[str, list[str]] = {}
    for edge in graph.edges:
        if edge.source in names and edge.target in names:
            told = [edge.kind] if edge.kind == UNDECLARED else []
            told += [f"{edge.connections} connections"] if edge.connections is not None else []
            note = f"  ({', '.join(told)})" if told else ""
            calls.setdefault(edge.source, []).append(f"  -> {_line(names[edge.target].label)}{note}")
    lines = []
    for node in graph.nodes:
        lines.append(label(node))
        lines += calls.get(node.id, ())
    return "\n".join(lines) + "\n" if lines else ""


def as_dot(graph: Graph) -> str:
    """For graphviz. Ids are `n0`, `n1`, ... in the order of the nodes; paths are in `tooltip`."""
    ids = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = [f"digraph {_quoted(graph.title)} {{", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for node in graph.nodes:
        lines.append(
            f"  {ids[node.id]} [label={_quoted(label(node))}, tooltip={_quoted(_line(node.id))}, "
            f"shape={DOT_SHAPES.get(node.kind, 'box')}, color={DOT_COLOURS.get(node.mark, 'black')}];"
        )
    for edge in graph.edges:
        if edge.source in ids and edge.target in ids:
            style = ' [style=dashed, color=darkorange, label="undeclared"]' if edge.kind == UNDECLARED else ""
            lines.append(f"  {ids[edge.source]} -> {ids[edge.target]}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    """A double-quoted DOT string: what a backslash begins there (`\\N`, `\\l`) is written out."""
    return '"' + _line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def as_mermaid(graph: Graph) -> str:
    ids = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        left, right = MERMAID_SHAPES.get(node.kind, ("[", "]"))
        lines.append(f"  {ids[node.id]}{left}\"{_entities(label(node))}\"{right}")
    for edge in graph.edges:
        if edge.source in ids and edge.target in ids:
            arrow = '-. "undeclared" .->' if edge.kind == UNDECLARED else "-->"
            lines.append(f"  {ids[edge.source]} {arrow} {ids[edge.target]}")
    marks = sorted({n.mark for n in graph.nodes if n.mark != OK})
    colours = {"failed": "#c00", "drift": "#c60", "unknown": "#808", "changing": "#06c"}
    for mark in marks:
        members = ",".join(ids[n.id] for n in graph.nodes if n.mark == mark)
        lines.append(f"  classDef {mark} stroke:{colours.get(mark, '#888')},stroke-width:3px")
        lines.append(f"  class {members} {mark}")
    return "\n".join(lines) + "\n"


def _entities(text: str) -> str:
    """Inside Mermaid's quotes: all but plain words as `#NUMBER;`, so that no quote, tag or directive is left."""
    plain = " .,-_/:()+"
    return "".join(c if (c.isalnum() and c.isascii()) or c in plain else f"#{ord(c)};" for c in text)


def as_json(graph: Graph) -> str:
    return msgspec.json.format(msgspec.json.encode(graph), indent=2).decode() + "\n"


FORMATS: dict[str, Callable[[Graph], str]] = {"text": as_text, "mermaid": as_mermaid, "dot": as_dot, "json": as_json}
ENDINGS = {".txt": "text", ".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".json": "json"}
"""End of a file's name -> format."""


def export(graph: Graph, form: str) -> str:
    """Raises KeyError for an unknown format."""
    return FORMATS[form](graph)
