"""What runs, on one calm line above the keys of every screen: how far, how long still, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cockpit.model.units import seconds_text
from cockpit.model.view import ActionRow
from screens.board import Board
from screens.format import bar, cells, cut, plural, span
from screens.look import Look, Piece
from screens.rows import action_mark

if TYPE_CHECKING:
    from screens.base import ClusterScreen

LINGER = 30.0
"""Seconds that an end stays on the line."""
SHOWS_ALL = ("overview", "actions")
"""Screens that list what runs anyway."""
GAUGE = 10
NEARLY = 0.8
"""Share of the steps after which an end is near."""


def left_text(row: ActionRow, now: float) -> str:
    """`about 0:32 left`, `any moment`, `0:20 longer than expected`; empty when nothing is known.

    Its time is over and much is still to do: that is `later than expected`, and no moment now.
    """
    if row.eta is None or row.state != "running":
        return ""
    left = row.eta - now
    if left >= 1.5:
        return f"about {span(left)} left"
    if left <= -5:
        return f"{span(-left)} longer than expected"
    if row.done >= NEARLY * row.total:
        return "any moment"
    return f"about {span(1.0)} left" if left > 0 else "later than expected"


def slowest(rows: list[ActionRow]) -> ActionRow:
    """The one that will end last; one that waits for somebody comes before all, then what nobody can foretell."""
    return max(rows, key=lambda a: (a.state in ("paused", "interrupted"), a.eta is None, a.eta or 0.0, -a.started))


def chosen(board: Board, hidden: str = "") -> tuple[ActionRow | None, list[ActionRow]]:
    """The action that the line shows, and all that it stands for. `hidden` is on the screen already."""
    rows = [a for a in board.running() if a.id != hidden]
    if rows:
        return slowest(rows), rows
    ended = [a for a in board.ended() if a.ended is not None and 0 <= board.now - a.ended < LINGER and a.id != hidden]
    return (ended[0], ended) if ended else (None, [])


def line(board: Board, look: Look, width: int, key: str, hidden: str = "") -> list[Piece] | None:
    """None: nothing runs, and nothing has ended lately."""
    row, rows = chosen(board, hidden)
    if row is None or board.head is None:
        return None
    now, mark = board.now, action_mark(row)
    count = len(rows)
    title = f"{row.id} {board.shorten(look.text(row.title or row.verb))}"
    tail: list[Piece] = []
    if row.ended is not None:
        tail.append((f"  {row.state} in {seconds_text(row.ended - row.started)}", mark))
    else:
        if row.total:
            gauge = bar(row.done, row.total, GAUGE, look.sign("full"), look.sign("empty"))
            tail.append((f"  {gauge} {row.done} of {row.total}", mark if row.state != "running" else "muted"))
        how = left_text(row, now) or (row.state if row.state != "running" else span(now - row.started))
        tail.append((f"  {how}", mark if row.state != "running" else "text"))
    more = f"  and {plural(count - 1, 'other')}" if count > 1 else ""
    hint = f"{key} shows {'it' if count == 1 or row.ended is not None else 'the slowest'}"
    room = width - 4 - sum(cells(t) for t, _ in tail) - cells(more)
    pieces: list[Piece] = [(f" {look.glyph(mark)} ", mark), (cut(title, max(8, room), look.sign("more")), "text")]
    pieces += [*tail, (more, "muted")]
    rest = width - sum(cells(t) for t, _ in pieces) - cells(hint) - 1
    if rest >= 2:
        pieces += [(" " * rest, "text"), (hint, "dull")]
    return pieces


def for_screen(screen: ClusterScreen, width: int) -> list[Piece] | None:
    """The line of a screen; none where the same is shown anyway."""
    address = screen.address()
    if screen.NAME in SHOWS_ALL:
        return None
    hidden = address[1] if screen.NAME == "action" and len(address) > 1 else ""
    return line(screen.board, screen.look, width, "#", hidden)


async def begin(screen: ClusterScreen) -> None:
    """Go to the action on the line."""
    address = screen.address()
    row, _ = chosen(screen.board, address[1] if screen.NAME == "action" and len(address) > 1 else "")
    if row is None:
        screen.say(
            "Nothing else runs, and nothing has ended in the last half minute; <go.actions> lists all actions.",
            "paused",
        )
    else:
        await screen.cockpit.goto(("action", row.id))
