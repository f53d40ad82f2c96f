"""All instances, or those of a part of the tree or of a host, as a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.model.view import OK, InstanceRow
from screens import loading
from screens.aim import HOST, INSTANCE, NODE, NOTHING, Aim
from screens.format import plural
from screens.keys import verb_keys
from screens.look import Piece
from screens.overview import VERB_NAMES
from screens.rows import instance_columns, instance_word, lead
from screens.table import TableScreen
from screens.widgets.grid import Grid


class InstancesScreen(TableScreen):
    """`scope` is a path of the tree or a host; everything when it is empty."""

    NAME = "instances"
    KIND = INSTANCE
    TABLE = "instances"
    VERB_NAMES = VERB_NAMES
    BINDINGS: ClassVar[list[BindingType]] = verb_keys(*VERB_NAMES)
    HINTS = (
        "filter", "mark", "open", "verb.restart", "verb.migrate", "verb.deploy", "logs", "sort", "verb.converge",
        "verb.stop", "verb.start", "verb.scale", "wide", "go.hosts", "command",
    )

    def __init__(self, scope: str = "") -> None:
        super().__init__()
        self.scope = scope

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.scope) if self.scope else (self.NAME,)

    def on_screen_resume(self) -> None:
        loading.follow(self, "instance")

    def on_screen_suspend(self) -> None:
        loading.rest(self)

    def tick(self) -> None:
        super().tick()
        loading.look(self, "instance")

    def make_grid(self) -> Grid[Any]:
        board, look = self.board, self.look

        def haystack(row: InstanceRow) -> str:
            return f"{row.id} {row.host} {instance_word(row)} {row.version_actual} {row.mark} {row.reason}"

        return Grid(instance_columns(board, look), haystack=haystack, lead=lead(look, lambda r: r.mark), id="grid")

    def rows(self) -> Mapping[str, Any]:
        board = self.board
        if not self.scope:
            return board.in_order()
        if self.scope in board.hosts:
            keys = [k for k, row in board.instances.items() if row.host == self.scope]
        elif self.scope in board.instances:  # typed as the name of one: it alone, not a list of none
            keys = [self.scope]
        else:
            keys = board.under(self.scope)
        return {k: board.instances[k] for k in keys}

    def wanted(self, key: str, row: InstanceRow) -> bool:
        scope = self.scope
        here = (key, row.host, row.service)
        return not scope or scope in here or row.service.startswith(scope + ".")

    def heading(self) -> list[Piece]:
        board = self.board
        node = board.nodes.get(self.scope)
        if node is None:
            if self.scope in board.instances:
                return [(f"INSTANCE {board.short(self.scope)}", "strong")]
            return [(f"INSTANCES on {self.scope}" if self.scope else "INSTANCES", "strong")]
        out: list[Piece] = [(f"{node.kind.upper()} {board.short(node.path)}", "strong")]
        out.append((f"   want {node.want}  have {node.have}", "muted" if node.mark == OK else node.mark))
        if node.mark != OK:
            differ = f" {plural(node.drift, 'difference')}" if node.drift else ""
            out.append((f"   {self.look.glyph(node.mark)}{differ or ' ' + node.mark}", node.mark))
        if node.version:
            out.append((f"   version {node.version}", "muted"))
        if node.depends:
            out.append((f"   calls {', '.join(board.short(d) for d in node.depends)}", "muted"))
        users = board.users(node.path)
        if users:
            out.append((f"   called by {', '.join(board.short(u) for u in users)}", "muted"))
        return out

    def subject(self) -> Aim:
        if self.scope in self.board.hosts and self.scope not in self.board.nodes:
            return Aim(HOST, (self.scope,))
        return Aim(NODE, (self.scope,)) if self.scope in self.board.nodes else NOTHING

    def door(self) -> Sequence[str]:
        return ("node", self.grid.key) if self.grid.key else ()
