"""The first screen: where (the tree), what needs me, what runs, what just happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from cockpit.model.view import InstanceRow, NodeRow
from screens.aim import INSTANCE, NODE, NOTHING, Aim
from screens.base import ClusterScreen
from screens.board import Board, Changed
from screens.item import Item, heading, indented, text
from screens.keys import verb_keys
from screens.look import Look
from screens.rows import instance_word, tree_columns
from screens.sentences import key_for
from screens.slices import MANY
from screens.summary import Kept, Need, lately_items, need_items, running_items
from screens.widgets.bars import Bar
from screens.widgets.lines import Lines
from screens.widgets.sheet import Sheet
from screens.widgets.tree import Shape, Tree, shaped

SIDE_BY_SIDE = 112
"""Columns from which tree and panel stand beside each other."""
VERB_NAMES = (
    "deploy",
    "restart",
    "migrate",
    "push",
    "scale",
    "rollback",
    "converge",
    "stop",
    "start",
    "adopt",
    "drain",
    "signal",
)


def tree_key(row: NodeRow | InstanceRow) -> str:
    return row.id if isinstance(row, InstanceRow) else row.path


def tree_text(board: Board, row: NodeRow | InstanceRow) -> str:
    if isinstance(row, InstanceRow):
        return f"{row.id} {row.host} {row.version_actual} {instance_word(row)} {row.reason}"
    return f"{row.path} {row.version} {row.mark}"


def tree_shape(board: Board) -> Shape:
    return board.once("tree", lambda: shaped(tree_children(board)))


def tree_children(board: Board) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {"": board.children("")}
    for path in board.nodes:
        out[path] = board.children(path) + board.slots(path)
    return out


def panel_items(
    board: Board, look: Look, width: int, read_only: str = "", lately: int = 12, found: list[Need] | None = None,
    keys: Callable[[str], str | None] = lambda id: key_for(id, {}),
) -> list[Item]:
    """The right side: NEEDS YOU, RUNNING, LATELY. `keys`: id of a binding -> the key it has now."""
    if board.head is None:
        return [text(" asking the controller" + look.sign("more"), "changing")]
    needs = need_items(board, look, width, read_only, found=found, keys=keys)
    running = running_items(board, look, width)
    ended = lately_items(board, look, width, lately)
    out = [heading("NEEDS YOU")]
    out += needs or [text("  nothing", "muted")]
    if running:
        out += [heading("RUNNING"), *running]
    if ended:
        out += [heading("LATELY"), *ended]
    return out


class OverviewScreen(ClusterScreen):
    NAME = "overview"
    VERB_NAMES = VERB_NAMES
    BINDINGS: ClassVar[list[BindingType]] = verb_keys(*VERB_NAMES)
    HINTS = (
        "filter", "command", "open", "logs", "verb.deploy", "verb.restart", "verb.migrate", "verb.scale",
        "verb.converge", "pane.next", "verb.push", "verb.rollback", "go.instances", "go.hosts", "go.graph",
        "go.actions", "verb.stop",
    )
    DEFAULT_CSS = """
    OverviewScreen #both { layout: horizontal; }
    OverviewScreen #both.narrow { layout: vertical; }
    OverviewScreen #tree { width: 1fr; height: 1fr; }
    OverviewScreen #side { width: 1fr; height: 1fr; }
    OverviewScreen #gap { width: 3; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._tree_cells = 0
        self._planted = -1
        """Version of the board that the tree shows."""
        self._kept = Kept()

    def body(self) -> ComposeResult:
        board, look = self.board, self.look
        self.tree_list = Tree(
            tree_columns(board, look), haystack=lambda r: tree_text(board, r), title="SERVICE TREE",
            key_of=tree_key, mark_of=lambda r: r.mark, id="tree",
        )
        self.gap = Gap(id="gap")
        self.side = Sheet(id="side")
        self.panes = [self.tree_list, self.side]
        self.notices = Bar(id="notices")
        self.notices.display = False
        yield self.notices
        yield Container(self.tree_list, self.gap, self.side, id="both")

    # layout

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.settle_layout(event.size.width, event.size.height)

    def settle_layout(self, width: int, height: int) -> None:
        if not width:
            return
        beside = width >= SIDE_BY_SIDE
        self.query_one("#both").set_class(not beside, "narrow")
        self.gap.display = beside
        if beside:
            self.side.styles.height = "1fr"
            self._tree_cells = self.tree_width()
            self.tree_list.styles.width = self._tree_cells
        else:
            self.tree_list.styles.width = "1fr"
            lines = max(4, (height - 2) * 45 // 100)
            # the panel takes what it needs; in use it may take more than half
            most = (height - 2) * 65 // 100 if self.side.in_use else lines
            lines = max(3, min(len(self.side.items), most))
            if lines < len(self.side.items) and self.side.items[lines - 1].heading:
                lines -= 1  # a heading with nothing below it says nothing
            self.side.styles.height = lines

    def tree_width(self) -> int:
        """What the tree needs, within bounds, when the panel stands beside it."""
        return max(50, min(self.tree_list.natural + 1, self.size.width * 54 // 100))

    def panel_width(self) -> int:
        width = self.size.width
        if width >= SIDE_BY_SIDE:
            return width - self.tree_width() - 4
        return max(20, width - 2)

    def use_pane(self, pane: Lines) -> None:
        super().use_pane(pane)
        self.settle_layout(self.size.width, self.size.height)

    # data

    def sync(self, changed: Changed) -> None:
        board = self.board
        if changed.whole:
            self._kept = Kept()
            if self._planted != board.version and not self._caught_up():
                self.tree_list.plant(self._rows(), tree_shape(board))
            self._planted = board.version
        elif changed.nodes or changed.instances:
            rows: dict[str, Any] = {k: board.nodes.get(k) for k in changed.nodes}
            rows |= {k: board.instances.get(k) for k in changed.instances}
            known = self.tree_list.rows
            shape = any((row is None) or (key not in known) for key, row in rows.items())
            self.tree_list.graft(rows, tree_shape(board) if shape else None)
        if not changed.whole and self._planted == board.version - 1:  # else some came while this was covered
            self._planted = board.version
        self._fill()

    def _caught_up(self) -> bool:
        """Of many rows only those that changed meanwhile are taken over; false when some came or went."""
        board, known = self.board, self.tree_list.rows
        missed = board.since(self._planted)
        if missed.whole or len(known) < MANY:
            return False
        rows: dict[str, Any] = {k: board.nodes.get(k) for k in missed.nodes}
        rows |= {k: board.instances.get(k) for k in missed.instances}
        if any(row is None or key not in known for key, row in rows.items()):
            return False
        self.tree_list.update(rows, quiet=True)
        self.tree_list.settle()
        return True

    def _rows(self) -> dict[str, Any]:
        return {**self.board.nodes, **self.board.instances}

    def _fill(self) -> None:
        if not self.size.width:
            return
        before = len(self.side.items)
        beside = self.size.width >= SIDE_BY_SIDE
        items = panel_items(
            self.board, self.look, self.panel_width(), self.cockpit.read_only, found=self._kept.of(self.board),
            keys=lambda id: key_for(id, self.cockpit.own_keys, self.keys_of),
        )
        self.side.fill(items if beside else indented(items))
        if self._tree_cells != self.tree_width() if beside else len(self.side.items) != before:
            self.settle_layout(self.size.width, self.size.height)
        told = self.board.actions  # NEEDS YOU tells them with their keys
        lines = [
            [(f" {self.look.glyph('drift')} ", "drift"), (self.look.text(n), "strong")]
            for n in self.board.notices[:3] if n.partition(" ")[0] not in told
        ]
        self.notices.display = bool(lines)
        if lines:
            self.notices.show(lines)

    def tick(self) -> None:
        self._fill()
        super().tick()

    # what keys mean here

    def aim(self) -> Aim:
        if self.pane is self.side:
            item = self.side.current
            return item.aim if item else NOTHING
        tree = self.tree_list
        if tree.marked:
            ids = tree.picked()
            return Aim(INSTANCE if ids and "/" in ids[0] else NODE, ids)
        row = tree.current
        if row is None:
            return NOTHING
        return Aim(INSTANCE if isinstance(row, InstanceRow) else NODE, (tree_key(row),))

    def door(self) -> Sequence[str]:
        if self.pane is self.side:
            item = self.side.current
            return item.door if item else ()
        row = self.tree_list.current
        if row is None:
            return ()
        return ("node", row.id) if isinstance(row, InstanceRow) else ("instances", row.path)

    def action_mark(self) -> None:
        tree = self.tree_list
        key = tree.key
        if self.pane is tree and key and tree.marked:
            kind = "/" in key
            if any(("/" in k) != kind for k in tree.marked):
                self.say("Marks are of one kind: instances, or services and groups. <back> takes the marks away.")
                return
        super().action_mark()

    def action_side(self, way: int) -> None:
        if self.pane is self.tree_list:
            self.tree_list.fold(way < 0)

    def hint_label(self, id: str, label: str) -> str:
        if id == "pane.next":
            return "needs you" if self.pane is self.tree_list else "tree"
        return label


class Gap(Lines):
    """The line between tree and panel."""

    def count(self) -> int:
        return self.size.height

    def version(self, index: int) -> int:
        return 0

    def can_rest(self, index: int) -> bool:
        return False

    def draw(self, index: int, width: int) -> Sequence[tuple[str, str]]:
        return [(f" {self.look.sign('bar')} ", "faint")]

