"""What could hurt though nothing is wrong now: every service, host and region that a rule found, risks first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.model.advice_rows import CLUSTER, HOST, RISK, SERVICE, AdviceRow, advice
from cockpit.model.view import ABSENT, DRIFT
from cockpit.plan.steps import Bad, Refused
from screens.aim import HOST as HOSTS
from screens.aim import NODE, NOTHING, Aim
from screens.board import Board, Changed
from screens.format import plural
from screens.keys import key
from screens.look import Look, Piece
from screens.table import TableScreen
from screens.widgets.columns import Column
from screens.widgets.grid import Grid


def shown_mark(row: AdviceRow) -> str:
    """A risk stands out, advice is calm."""
    return DRIFT if row.weight == RISK else ABSENT


def advice_columns(board: Board, look: Look) -> list[Column]:
    def name(row: AdviceRow) -> Piece:
        return board.short(row.name) if row.name else "the cluster", "text" if row.kind != CLUSTER else "strong"

    def says(row: AdviceRow) -> Piece:
        return look.text(row.text), "text" if row.weight == RISK else "muted"

    return [
        Column("name", "WHAT", name, most=40),
        Column("weight", "WEIGHT", lambda r: (r.weight, shown_mark(r)), leave=2),
        Column("rule", "RULE", lambda r: (r.rule, "muted"), leave=3),
        Column("says", "SAYS", says, grow=True, least=52, most=160),
        Column("do", "WOULD HELP", lambda r: (look.text(r.do), "muted"), leave=4, most=60),
    ]


class AdviceScreen(TableScreen):
    NAME = "advice"
    KIND = NODE
    HINTS: ClassVar[tuple[str, ...]] = ("open", "edit", "filter", "advice.again", "sort", "command")
    BINDINGS: ClassVar[list[BindingType]] = [
        key("f", "again", "ask again", "Ask every rule again; they look only when asked.", "advice.again"),
    ]

    def __init__(self, scope: str = "") -> None:
        super().__init__()
        self.scope = scope
        self.found: dict[str, AdviceRow] | None = None
        self._asking = False
        self._revision = -1

    def make_grid(self) -> Grid[Any]:
        look = self.look

        def lead(row: AdviceRow) -> tuple[Piece, ...]:
            return ((look.glyph(shown_mark(row)) + " ", shown_mark(row)),)

        return Grid(
            advice_columns(self.board, look), haystack=lambda r: f"{r.name} {r.rule} {r.weight} {r.text} {r.do}",
            lead=lead, id="grid",
        )  # fmt: skip

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.scope) if self.scope else (self.NAME,)

    def rows(self) -> Mapping[str, Any]:
        return self.found or {}

    def sync(self, changed: Changed) -> None:
        head = self.board.head
        if head is not None and head.revision != self._revision:  # what is expected changed
            self._revision = head.revision
            self._ask()
        self.show_title()

    def _ask(self, anew: bool = False) -> None:
        """`anew`: the operator asked, so rows may go from under the cursor."""
        if not self._asking:
            self._asking = True
            self.run_worker(self._answered(anew), name="advice")

    async def _answered(self, anew: bool) -> None:
        try:
            with self.waiting("asking every rule"):
                rows = await advice(self.session, self.scope)
        except (Bad, Refused) as error:
            self.say(str(error), "failed")
            return
        except ConnectionError:
            self._revision = -1  # again when the controller is back
            return
        finally:
            self._asking = False
        new = {row.key: row for row in rows}
        gone: dict[str, Any] = {k: None for k in self.grid.rows if k not in new}
        if self.found is None or anew:
            self.grid.load(new)
        else:
            self.grid.update(gone | {k: r for k, r in new.items() if self.grid.rows.get(k) != r})
        self.found = new
        self.show_title()

    def heading(self) -> list[Piece]:
        title: Piece = (f"ADVICE{' on ' + self.board.short(self.scope) if self.scope else ''}", "strong")
        if self.found is None:
            return [title, (f"   asking{self.look.sign('more')}", "changing")]
        risks = sum(r.weight == RISK for r in self.found.values())
        if not self.found:
            return [title, (f"   {self.look.glyph('ok')} no rule found anything", "ok")]
        return [title, (f"   {plural(risks, 'risk')}", DRIFT if risks else "muted"),
                (f"   {len(self.found) - risks} more", "muted")]

    def aim(self) -> Aim:
        rows = [self.grid.rows[k] for k in self.grid.order if k in self.grid.marked] or [self.grid.current]
        for kind, aimed in ((SERVICE, NODE), (HOST, HOSTS)):
            names = [r.name for r in rows if r is not None and r.kind == kind]
            if names and len(names) == len(rows):
                return Aim(aimed, tuple(dict.fromkeys(names)))
        return NOTHING

    def door(self) -> Sequence[str]:
        row = self.grid.current
        return row.door if row is not None else ()

    async def action_open(self) -> None:
        row = self.grid.current
        if row is not None and not row.door:
            self.say(f"{row.text}. Would help: {row.do}.", "paused")
        else:
            await super().action_open()

    def action_again(self) -> None:
        self._ask(anew=True)
