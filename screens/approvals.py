"""What waits for a second person: the list, and one request with its plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.act.table import DIRECT
from cockpit.model import guard_rows
from cockpit.model.guard_rows import APPROVED, WAITING, RequestRow
from cockpit.plan.steps import Bad, Intent, Refused
from screens.ask import AskScreen, Question
from screens.board import Board, Changed
from screens.format import age, since, when
from screens.keys import key
from screens.look import Look, Piece
from screens.plan import PlanScreen
from screens.rows import lead
from screens.table import TableScreen
from screens.widgets.bars import Hint
from screens.widgets.columns import Column
from screens.widgets.grid import Grid

REQUEST = "request"
"""Kind of aim of a row; no verb is for it."""
MARKS = {WAITING: "paused", APPROVED: "ok"}
"""State -> look; the others are absent: nothing comes of them."""


def request_mark(row: RequestRow) -> str:
    return MARKS.get(row.state, "absent")


def outcome(row: RequestRow, now: float) -> str:
    """What became of it, in words."""
    by = f" by {row.by}" if row.by else ""
    if row.state == WAITING:
        return row.reason
    if row.state == APPROVED and row.verb in DIRECT:
        return f"approved{by}: " + (f"it ran as {row.action[:11]}" if row.action else
                                    f"{row.author} may run it once, until {when(row.expires, now)}")
    if row.state == APPROVED:
        return f"approved{by}: it is {row.action}"
    return f"{row.note or row.state}{by}"


def request_columns(board: Board, look: Look) -> list[Column]:
    def left(row: RequestRow) -> Piece:
        if row.state != WAITING:
            return "", "muted"
        seconds = max(0.0, row.expires - board.now)
        hours, minutes = divmod(math.ceil(seconds / 60), 60)  # of two hours, one is not gone after a second
        words = f"{hours}h" + (f" {minutes}m" if minutes else "") if hours else age(seconds)
        return words, "paused"

    return [
        Column("id", "REQUEST", lambda r: (r.id, "strong")),
        Column("state", "STATE", lambda r: (r.state, request_mark(r))),
        Column("what", "WHAT", lambda r: (board.shorten(look.text(r.title)), "text"), most=48),
        Column("author", "BY", lambda r: (r.author, "muted"), leave=2, most=24),
        Column("left", "LEFT", left, leave=3, right=True, sort=lambda r: r.expires),
        Column("age", "AGE", lambda r: (since(r.asked, board.now), "muted"), leave=5, right=True,
               sort=lambda r: -r.asked),
        Column("rule", "GUARD", lambda r: (look.text(r.rule), "muted"), leave=4, most=24),
        Column("why", "WHY", lambda r: (look.text(outcome(r, board.now)), "muted"), leave=1, grow=True, least=24,
               most=120),
    ]  # fmt: skip


class ApprovalsScreen(TableScreen):
    NAME = "approvals"
    KIND = REQUEST
    TABLE = "requests"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("d", "refuse", "refuse", "Refuse the request, or withdraw your own.", "approvals.refuse"),
    ]
    HINTS: ClassVar[tuple[str, ...]] = ("open", "approvals.refuse", "filter", "sort", "wide", "go.actions", "command")

    def __init__(self, id: str = "") -> None:
        super().__init__()
        self.wish = id
        self._told: set[str] = set()

    def make_grid(self) -> Grid[Any]:
        def haystack(row: RequestRow) -> str:
            return f"{row.id} {row.state} {row.title} {row.author} {row.rule} {row.reason} {row.by}"

        look = self.look
        return Grid(request_columns(self.board, look), haystack=haystack, lead=lead(look, request_mark), id="grid")

    def rows(self) -> Mapping[str, Any]:
        rows = self.board.requests.items()
        return dict(sorted(rows, key=lambda item: (item[1].state != WAITING, -item[1].asked)))

    def sync(self, changed: Changed) -> None:
        super().sync(changed)
        if self.wish and self.grid.seek(self.wish):
            self.watched, self.wish = self.wish, ""
        row = self.board.requests.get(getattr(self, "watched", ""))
        if row is not None and row.state != WAITING and row.id not in self._told:
            self._told.add(row.id)
            self.say(f"{row.id} {row.title}: {outcome(row, self.board.now)}", request_mark(row))

    def heading(self) -> list[Piece]:
        waiting = sum(1 for r in self.board.requests.values() if r.state == WAITING)
        words = f"   {waiting} {'waits' if waiting == 1 else 'wait'} for a second person"
        return [("APPROVALS", "strong"), (words, "paused" if waiting else "muted")]

    async def action_open(self) -> None:
        row: RequestRow | None = self.grid.current
        if row is None:
            return
        if row.state == WAITING:
            await self.app.push_screen(RequestScreen(row))
        elif row.action and row.verb not in DIRECT:
            await self.cockpit.goto(("action", row.action))
        else:
            self.say(f"{row.id} {row.title}: {outcome(row, self.board.now)}", request_mark(row))

    async def action_refuse(self) -> None:
        row: RequestRow | None = self.grid.current
        if row is None or row.state != WAITING:
            self.say("There is no waiting request under the cursor.", "paused")
        elif self.cockpit.read_only:
            self.say(f"refuse is off: {self.cockpit.read_only}")
        else:
            await ask_refuse(self, row)


async def ask_refuse(screen: Any, row: RequestRow) -> None:
    """Ask why, then refuse."""
    async def refused(reason: str) -> None:
        made = await screen.ask(f"refusing {row.id}", guard_rows.refuse(screen.session, row.id, reason))
        if made is not None:
            screen.say(f"{row.id} {row.title}: {made.note}", "ok")

    asked = f"{row.author} asked at {when(row.asked, screen.board.now)}"
    question = Question(
        title=f"refuse {row.id} {row.title}", label="why:", about=(asked,),
        check=lambda value: "" if value.strip() else "A word why, or Esc.",
    )
    await screen.app.push_screen(AskScreen(question, refused))


class RequestScreen(PlanScreen):
    """The plan that somebody asked for; `x` approves it, `d` refuses it."""

    NAME = "request"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("d", "refuse", "refuse", "Refuse the request, or withdraw your own.", "approvals.refuse"),
    ]
    HINTS: ClassVar[tuple[str, ...]] = ("plan.run", "approvals.refuse", "open", "plan.copy", "command")
    NOT_YET = "Nothing has run yet: <plan.run> approves it, <approvals.refuse> refuses it, <back> leaves it waiting."

    def __init__(self, row: RequestRow) -> None:
        super().__init__(Intent(verb=row.verb, targets=row.targets))
        self.row = row

    def hint_label(self, id: str, label: str) -> str:
        return "approve" if id == "plan.run" else label

    def hints(self) -> list[Hint]:
        run, *more = super().hints()
        return [(run[0], run[1], run[2] and not self.own()), *more]

    def own(self) -> bool:
        """Asked by the person at this screen, under whatever name."""
        return self.session.who.uid == self.row.uid

    async def action_run_plan(self) -> None:
        if self.own():
            self.say(f"You asked for {self.row.id} yourself (uid {self.row.uid}): somebody else must approve it.")
        else:
            await super().action_run_plan()

    async def _ask_plan(self) -> None:
        row = self.row
        try:
            with self.waiting(f"asking for {row.id}"):
                found = await guard_rows.approval(self.session, row.id)
        except (Bad, Refused, ConnectionError) as error:
            self._leave(f"{row.id}: {error}", "failed")
            return
        if found.plan is None or not found.same:
            why = found.trouble or "the plan would be another one now"
            self._leave(f"{row.id} {row.title} cannot be approved any more: {why}; ask for it anew.", "drift")
            return
        self.intent, self.plan = found.intent, found.plan
        self.fill()
        self.show_bottom()
        self.say(f"{row.author} asks, {when(row.asked, self.board.now)}. {row.rule}: {row.reason}", "paused")

    async def action_refuse(self) -> None:
        if self.cockpit.read_only:
            self.say(f"refuse is off: {self.cockpit.read_only}")
        else:
            await ask_refuse(self, self.row)

    async def _send(self, typed: str) -> None:
        assert self.plan is not None
        row = self.row
        try:
            with self.waiting(f"approving {row.id}"):
                made = await guard_rows.approve(self.session, row.id, self.plan.digest)
        except (Bad, Refused) as error:
            self.say(f"Refused: {error}", "failed")
        except ConnectionError as error:
            self.say(f"No answer: {error or 'the controller is away'}. :approvals shows whether it was.", "unknown")
        else:
            if made.verb in DIRECT:
                self._leave_for_list(made)
            elif self.app.screen is self:
                from screens.action import ActionScreen

                self.app.switch_screen(ActionScreen(made.action))
        finally:
            self._sent = False

    def _leave_for_list(self, made: RequestRow) -> None:
        """Whoever asked runs it."""
        words = f"{made.id} {made.title}: {outcome(made, self.board.now)}"
        if self.app.screen is self:
            self.app.pop_screen()
            self.cockpit.tell(words, "ok")
