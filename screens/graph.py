"""Who calls whom as a drawn graph: folded when there is too much to read, narrowed, heated, searched, exported."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType

from cockpit.model.graph import (
    GROUP,
    LARGEST,
    REGION,
    RELAY,
    UNDECLARED,
    Fold,
    Graph,
    GraphEdge,
    GraphNode,
    homes,
    relay_graph,
    service_graph,
)
from cockpit.model.metrics_rows import Traffic, traffic
from cockpit.plan.steps import Bad, Refused
from screens import heat
from screens.aim import NODE, NOTHING, Aim
from screens.base import ClusterScreen
from screens.board import Changed
from screens.format import plural
from screens.graph_list import edge_grid
from screens.keys import key, verb_keys
from screens.look import Piece
from screens.overview import VERB_NAMES
from screens.widgets import graph as drawing
from screens.widgets.bars import Bar
from screens.widgets.grid import Grid

RELAYS = "relays"
AGAIN = 5.0
"""Seconds between two looks at what is seen of calls and loads."""
MOST_HOPS = 9


class GraphScreen(ClusterScreen):
    """`what`: nothing, a service or group to begin around, or `relays`."""

    NAME = "graph"
    DEFAULT_CSS = "GraphScreen #title { height: 1; } GraphScreen #near { height: 1; dock: bottom; }"
    VERB_NAMES = tuple(n for n in VERB_NAMES if n != "stop")
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_keys(*(n for n in VERB_NAMES if n != "stop")),
        key("z", "near", "near only", "Only what is a step away from the chosen node; again: all.", "graph.near"),
        key("plus", "hops(1)", "wider", "One step more around the node.", "graph.wider"),
        key("minus", "hops(-1)", "nearer", "One step less; from one step back to all.", "graph.nearer"),
        key("f", "fold", "fold", "Open a group, or fold a service into its group.", "graph.fold"),
        key("full_stop", "edge(1)", "next edge", "The next edge of the node; left and right go to its ends.",
            "graph.edge"),
        key("comma", "edge(-1)", "edge before", "The edge before.", "graph.edge.back"),
        key("H", "heat", "heat", "Heat by drift, latency, load; then none.", "graph.heat"),
        key("x", "export", "export", "As Mermaid, DOT, JSON or text, to a file or the clipboard.", "graph.export"),
    ]  # fmt: skip
    HINTS = (
        "open", "graph.fold", "graph.near", "graph.heat", "filter", "pane.next", "graph.edge", "graph.export",
        "graph.wider", "verb.deploy", "verb.restart", "verb.scale", "verb.converge", "logs", "command",
    )  # fmt: skip

    def __init__(self, what: str = "") -> None:
        super().__init__()
        self.relays = what == RELAYS
        self.around = "" if self.relays else what
        self.hops = 1 if self.around else 0
        self.folded = Fold()
        self.heat_by = heat.NONE
        self.sought = ""
        self.known = Traffic()
        self.heard = False
        self.model = Graph(title="", nodes=(), edges=())
        self.by_id: dict[str, GraphNode] = {}
        self._asked = 0.0
        self._seek = self.around

    def address(self) -> tuple[str, ...]:
        return (self.NAME, RELAYS) if self.relays else (self.NAME,)

    def body(self) -> ComposeResult:
        self.title_bar = Bar(id="title")
        self.near_bar = Bar(id="links")
        self.graph = drawing.Graph(id="graph")
        self.list: Grid[GraphEdge] = edge_grid(self)
        self.list.display = False
        self.panes = [self.graph, self.list]
        yield self.title_bar
        yield self.graph
        yield self.list
        yield self.near_bar

    # data

    def make(self) -> Graph:
        board = self.board
        if self.relays:
            cluster = board.head.cluster if board.head else ""
            return relay_graph(cluster, board.hosts.values(), board.relays)
        return service_graph(
            board.nodes, self.known.calls, fold=self.folded, around=self.around, hops=self.hops, short=board.short
        )

    def sync(self, changed: Changed) -> None:
        touched = changed.whole or changed.nodes or changed.relays or (self.relays and changed.hosts)
        if not (touched or not self.model.nodes):
            return
        if self.around and self.around not in self.board.nodes:
            self.around, self.hops = "", 0
        self.refill()
        if changed.whole:
            self.look_at_traffic()

    def refill(self) -> None:
        model = self.make()
        look = self.look
        self.model, self.by_id = model, {n.id: n for n in model.nodes}
        heats: dict[str, heat.Heat] = {}
        if self.heat_by and not self.relays:
            drift = {p: r.drift for p, r in self.board.nodes.items()}
            heats = {n.id: heat.heat_of(self.heat_by, n, self.known.services, drift) for n in model.nodes}
        labels: dict[str, drawing.Label] = {}
        for node in model.nodes if len(model.nodes) <= LARGEST else ():
            words = self.words(node)
            if node.id in heats:
                hot = heats[node.id]
                text = f"{words} {hot.text[:heat.WIDEST]}".ljust(len(words) + 1 + heat.WIDEST)
                labels[node.id] = (heat.glyph(hot, look), heat.STYLES[hot.level], text)
            else:
                labels[node.id] = (look.glyph(node.mark), node.mark, words)
        odd = frozenset((e.source, e.target) for e in model.edges if e.kind == UNDECLARED)
        self.graph.load(labels, model.pairs if labels else [], odd)
        self.list.load({f"{e.source}>{e.target}": e for e in model.edges})
        if self._seek in labels:
            self.graph.choose(self._seek)
            self._seek = ""
        self.find()
        lines = [self.heading(model, bool(labels))]
        if heats:
            lines.append(heat.legend(self.heat_by, model, heats, look))
        self.title_bar.show(lines)
        self.show_links()

    def words(self, node: GraphNode) -> str:
        if node.kind == GROUP:
            parts = plural(node.parts, "service")
            return f"{self.look.sign('closed')}{node.label} {node.have}/{node.want} of {parts}"
        if node.kind == "service":
            return f"{node.label} {node.have}/{node.want}"
        return self.look.text(f"{node.label}  {node.note}".rstrip())

    def heading(self, model: Graph, fits: bool) -> list[Piece]:
        if self.relays:
            hosts = sum(n.parts for n in model.nodes if n.kind == REGION)
            relays = sum(1 for n in model.nodes if n.kind == RELAY)
            return [(" RELAYS", "strong"), (f"   {plural(relays, 'relay')}   {plural(hosts, 'host')}", "muted")]
        groups = sum(1 for n in model.nodes if n.kind == GROUP)
        out: list[Piece] = [(" GRAPH", "strong"), (f"   {plural(model.services, 'service')}", "muted")]
        if groups:
            out.append((f" in {plural(len(model.nodes), 'node')}, {plural(groups, 'group')} folded", "changing"))
        edges = f"   {len(model.edges)} {'dependency' if len(model.edges) == 1 else 'dependencies'}"
        out.append((edges, "muted"))
        odd = sum(1 for e in model.edges if e.kind == UNDECLARED)
        if odd:
            out.append((f"   {self.look.glyph('drift')} {odd} undeclared", "drift"))
        if self.around:
            out.append((f"   within {plural(self.hops, 'step')} of {self.board.short(self.around)}", "changing"))
        if not fits:
            out.append((f"   more than {LARGEST} nodes are not drawn: f folds, - goes nearer, Tab lists", "drift"))
        if self.graph.drawing.turned:
            out.append((f"   {plural(len(self.graph.drawing.turned), 'edge')} closing a cycle", "drift"))
        if self.sought:
            out.append((f"   /{self.sought} {len(self.graph.found)} found", "strong"))
        return out

    def tick(self) -> None:
        super().tick()
        self.list.tick()
        if time.monotonic() - self._asked > AGAIN:
            self.look_at_traffic()

    def look_at_traffic(self) -> None:
        if self.relays:
            return
        self._asked = time.monotonic()
        self.run_worker(self._fetch(), name="traffic", exclusive=True)

    async def _fetch(self) -> None:
        try:
            found = await traffic(self.session)
        except (Bad, Refused, ConnectionError):
            return  # nothing is known of calls then, and the drawing says so
        if self.is_attached and (found != self.known or not self.heard):
            self.known, self.heard = found, True
            self.refill()

    # the line below

    def show_bottom(self, width: int = 0) -> None:
        super().show_bottom(width)
        if self.near_bar.is_mounted:
            self.show_links()

    def show_links(self) -> None:
        """The chosen node or edge in words: where lines join, the eye cannot follow them."""
        edge = self.list.current if self.pane is self.list else self._edge(self.graph.edge)
        if edge is not None:
            self.near_bar.show([self._about_edge(edge)])
            return
        name, board = self.graph.chosen, self.board
        node = self.by_id.get(name)
        if node is None:
            self.near_bar.show([[]])
            return

        def list_of(ids: list[str]) -> str:
            return ", ".join(self.by_id[i].label for i in ids if i in self.by_id)

        calls, users = [b for a, b in self.graph.edges if a == name], [a for a, b in self.graph.edges if b == name]
        verb, back = ("leads to", "reached through") if self.relays else ("calls", "called by")
        pieces: list[Piece] = [
            (f" {node.label}", "strong"), (f"  {verb} ", "muted"), (list_of(calls) or "nothing", "text"),
            (f"   {back} ", "muted"), (list_of(users) or "nobody", "text"),
        ]
        away = self.known.outside.get(name)
        if away:
            pieces.append((f"   and {plural(away, 'address')} outside".replace("addresss", "addresses"), "muted"))
        if not board.nodes and not self.relays:
            pieces = [(" no services are declared", "muted")]
        self.near_bar.show([pieces])

    def _edge(self, pair: tuple[str, str] | None) -> GraphEdge | None:
        return next((e for e in self.model.edges if (e.source, e.target) == pair), None) if pair else None

    def _about_edge(self, edge: GraphEdge) -> list[Piece]:
        a, b = (self.by_id[i].label if i in self.by_id else i for i in (edge.source, edge.target))
        to = self.look.sign("to")
        seen = "no connections seen" if edge.connections is None else plural(edge.connections, "connection") + " seen"
        if edge.kind == UNDECLARED:
            words = f"   {self.look.glyph('drift')} undeclared: {seen}, and {a} does not say that it uses {b}"
        else:
            words = f"   {edge.kind}   {seen if edge.kind != 'link' else ''}"
        return [(f" {a} {to} {b}", "strong"), (words, "drift" if edge.kind == UNDECLARED else "muted")]

    # what the operator does

    def aim(self) -> Aim:
        name = self.graph.edge[1] if self.graph.edge else self.graph.chosen
        if self.pane is self.list:
            name = self.list.current.target if self.list.current is not None else ""
        return Aim(NODE, (name,)) if name in self.board.nodes else NOTHING

    def door(self) -> Sequence[str]:
        if self.relays:
            node = self.by_id.get(self.graph.chosen)
            if node is None:
                return ()
            if node.kind == REGION:
                return ("hosts", node.id.removeprefix("region ").partition("|")[0])
            return ("relays", node.label) if node.kind == RELAY else ("overview",)
        aim = self.aim()
        return ("instances", aim.ids[0]) if aim else ()

    async def action_explain(self) -> None:
        if self.pane is self.graph and self.graph.edge is not None:
            edge = self._edge(self.graph.edge)
            if edge is not None:
                self.say("".join(t for t, _ in self._about_edge(edge)).strip(), "paused")
            return
        if self.relays:
            await self.action_open()
            return
        await super().action_explain()

    def action_side(self, way: int) -> None:
        if self.pane is self.graph:
            self.graph.step(way)
        else:
            super().action_side(way)

    def action_edge(self, way: int) -> None:
        if self.pane is self.list:
            self.say("The list has one edge a line.", "paused")
        elif not self.graph.step_edge(way):
            self.say("This node has no edges.", "paused")

    def action_pane(self, way: int) -> None:
        """The drawing, or the same edges as a list; each keeps its place."""
        here = self.pane is self.graph
        self.graph.display, self.list.display = not here, here
        if here:
            edge = self.graph.edge or next(iter(self.graph.own_edges()), None)
            if edge is not None:
                self.list.seek(f"{edge[0]}>{edge[1]}")
        elif self.list.current is not None:
            edge = (self.list.current.source, self.list.current.target)
            if edge[0] in self.graph.labels:
                self.graph.choose(edge[0], edge)
        self.use_pane(self.list if here else self.graph)
        self.show_links()

    def action_near(self) -> None:
        if self.around:
            self.around, self.hops = "", 0
        elif self.graph.chosen and not self.relays:
            self.around, self.hops = self.graph.chosen, 1
        self.refill()
        self.show_bottom()

    def action_hops(self, way: int) -> None:
        if self.relays:
            self.say("Relays are shown whole.", "paused")
        elif (not self.around and way > 0) or (self.around and self.hops + way < 1):
            self.action_near()
        elif self.around:
            self.hops = min(MOST_HOPS, self.hops + way)
            self.refill()
        self.show_bottom()

    def action_fold(self) -> None:
        name = self.graph.chosen
        node = self.by_id.get(name)
        if node is None or self.relays or self.around:
            back = "; z goes back to it" if self.around else ""
            self.say(f"fold works on the whole graph of services{back}", "paused")
            return
        if node.kind == GROUP:
            fold = self.folded.open(name)
            services = [p for p, r in self.board.nodes.items() if r.kind == "service"]
            count = len(set(homes(services, fold).values()))
            if count > LARGEST:
                self.say(f"{node.label} stays folded: of {count} nodes only {LARGEST} would be drawn; try z")
                return
            self.folded = fold
            self._seek = next((p for p in sorted(homes(services, fold).values()) if p.startswith(name + ".")), "")
        else:
            parent = name.rpartition(".")[0]
            if not parent:
                self.say(f"{node.label} is in no group.", "paused")
                return
            self.folded, self._seek = self.folded.close(parent), parent
        self.refill()

    def action_heat(self) -> None:
        if self.relays:
            self.say("Relays and regions have no heat; their pings stand beside them.", "paused")
            return
        self.heat_by = heat.KINDS[(heat.KINDS.index(self.heat_by) + 1) % len(heat.KINDS)]
        self.refill()

    async def action_export(self) -> None:
        from screens.graph_save import ask_where

        await ask_where(self, self.model)

    # search

    def action_filter(self) -> None:
        if self.pane is self.list:
            super().action_filter()
            return
        self.graph.searching = True
        self.begin_field("filter", self.sought)

    def set_filter(self, text: str) -> None:
        if self.pane is self.list:
            super().set_filter(text)
            return
        self.sought = text
        self.refill()

    def filter_text(self) -> str:
        return super().filter_text() if self.pane is self.list else self.sought

    def field_note(self) -> str:
        if self._field_kind == "filter" and self.pane is self.graph:
            return f"{len(self.graph.found)} found   up and down go through them   Enter keep   Esc all"
        return super().field_note()

    async def end_field(self, keep: bool) -> None:
        self.graph.searching = False
        await super().end_field(keep)

    def find(self) -> None:
        """Nodes whose name has what is sought; a folded group when one of its services has."""
        part = self.sought.lower()
        names: set[str] = set()
        if part and self.relays:
            names = {n.id for n in self.model.nodes if part in n.label.lower()}
        elif part:
            for path in self.board.nodes:
                if part in path.lower():
                    names |= {n for n in self.by_id if path == n or path.startswith(n + ".")}
        if names or self.graph.found:
            self.graph.find(frozenset(names))

    def action_move(self, how: str) -> None:
        super().action_move(how)
        self.show_links()

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self.refill)
