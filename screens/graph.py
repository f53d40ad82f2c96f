"""Who calls whom: services as a drawn graph, groups when there are too many to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from cockpit.model.view import BADNESS, NodeRow
from screens.aim import NODE, NOTHING, Aim
from screens.base import ClusterScreen
from screens.board import Board, Changed
from screens.format import plural
from screens.keys import key, verb_keys
from screens.look import Look, Piece
from screens.overview import VERB_NAMES
from screens.widgets.bars import Bar
from screens.widgets.graph import Graph, Label

READABLE = 80
"""More nodes than this nobody reads: then groups stand for their services."""


def graph_of(
    board: Board, look: Look, around: str = "", hops: int = 0
) -> tuple[dict[str, Label], list[tuple[str, str]], bool]:
    """Labels and edges; and whether services were folded into their groups.

    With `around`, only what can be reached from it in `hops` steps either way.
    """
    services = {row.path: row for row in board.services()}
    folded = len(services) > READABLE and not around
    home = {p: (p.rpartition(".")[0] or p) if folded else p for p in services}
    edges = sorted({
        (home[p], home[d]) for p, row in services.items() for d in row.depends if d in services and home[p] != home[d]
    })
    shown = set(home.values())
    if around:
        near = {around}
        for _ in range(hops):
            near |= {b for a, b in edges if a in near} | {a for a, b in edges if b in near}
        shown &= near
    labels: dict[str, Label] = {}
    for name in sorted(shown):
        row = board.nodes.get(name)
        want, have, mark = _counts(row, [r for p, r in services.items() if home[p] == name])
        labels[name] = (look.glyph(mark), mark, f"{board.short(name)} {have}/{want}")
    return labels, [(a, b) for a, b in edges if a in shown and b in shown], folded


def _counts(row: NodeRow | None, parts: list[NodeRow]) -> tuple[int, int, str]:
    if row is not None:
        return row.want, row.have, row.mark
    worst = max((r.mark for r in parts), key=lambda m: BADNESS.get(m, 0), default="ok")
    return sum(r.want for r in parts), sum(r.have for r in parts), worst


class GraphScreen(ClusterScreen):
    NAME = "graph"
    DEFAULT_CSS = "GraphScreen #title { height: 1; } GraphScreen #near { height: 1; dock: bottom; }"
    VERB_NAMES = VERB_NAMES
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_keys(*VERB_NAMES),
        key(
            "z",
            "near",
            "near only",
            "Only what is one or two steps away from the chosen node; again: all.",
            "graph.near",
        ),
    ]
    HINTS = ("open", "graph.near", "verb.deploy", "verb.restart", "verb.scale", "verb.converge", "logs", "command")

    def __init__(self) -> None:
        super().__init__()
        self.around = ""
        self.hops = 0

    def body(self) -> ComposeResult:
        self.title_bar = Bar(id="title")
        self.near_bar = Bar(id="links")
        self.graph = Graph(id="graph")
        self.panes = [self.graph]
        yield self.title_bar
        yield self.graph
        yield self.near_bar

    def sync(self, changed: Changed) -> None:
        if self.around and self.around not in self.board.nodes:
            self.around = ""
        labels, edges, folded = graph_of(self.board, self.look, self.around, self.hops)
        self.graph.load(labels, edges)
        title: list[Piece] = [
            (" GRAPH", "strong"),
            (f"   {plural(len(labels), 'group' if folded else 'service')}", "muted"),
            (f"   {plural(len(edges), 'dependency').replace('dependencys', 'dependencies')}", "muted"),
        ]
        if folded:
            title.append(
                (f"   more than {READABLE} services: groups stand for them; z shows one's neighbours", "changing")
            )
        if self.around:
            title.append((f"   within {plural(self.hops, 'step')} of {self.board.short(self.around)}", "changing"))
        if self.graph.drawing.turned:
            title.append((f"   {plural(len(self.graph.drawing.turned), 'edge')} closing a cycle", "drift"))
        self.title_bar.show([title])
        self.show_links()

    def show_bottom(self, width: int = 0) -> None:
        super().show_bottom(width)
        if self.near_bar.is_mounted:
            self.show_links()

    def show_links(self) -> None:
        """The chosen node in words: where lines join, the eye cannot follow them."""
        name, board = self.graph.chosen, self.board
        calls = ", ".join(board.short(b) for a, b in self.graph.edges if a == name)
        users = ", ".join(board.short(a) for a, b in self.graph.edges if b == name)
        self.near_bar.show([[
            (f" {board.short(name)}", "strong"), ("  calls ", "muted"), (calls or "nothing", "text"),
            ("   called by ", "muted"), (users or "nobody", "text"),
        ]] if name else [[]])

    def aim(self) -> Aim:
        return Aim(NODE, (self.graph.chosen,)) if self.graph.chosen in self.board.nodes else NOTHING

    def door(self) -> Sequence[str]:
        return ("instances", self.graph.chosen) if self.graph.chosen else ()

    def action_side(self, way: int) -> None:
        self.graph.step(way)

    def action_near(self) -> None:
        if not self.around:
            self.around, self.hops = self.graph.chosen, 1
        elif self.hops == 1:
            self.hops = 2
        else:
            self.around = ""
        self.sync(Changed(whole=True))
        self.show_bottom()
