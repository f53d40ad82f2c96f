"""The first line (which cluster, who am I, how is it) and the last (the keys that work here, now)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from textual import events
from textual.strip import Strip

from cockpit.model.view import BADNESS, FAILED, PAUSED, Who
from screens.board import Board
from screens.format import age, cells, clock, cut, plural, when, wrap, zone
from screens.look import PLAIN, Look, Piece
from screens.widgets.field import Field
from screens.widgets.lines import Lines


class Part(NamedTuple):
    """A part of the top line."""

    leave: int
    """How soon it leaves when it gets narrow; 0 never."""
    pieces: tuple[Piece, ...]
    door: str = ""
    """Where a click leads: `go:ADDRESS`."""


def top_parts(board: Board, who: Who, read_only: str, look: Look) -> tuple[list[Part], list[Part]]:
    """Left and right half of the top line."""
    left = [Part(9, ((" cockpit ", "top"), (look.sign("bar"), "top")), "go:overview")]
    head = board.head
    if head is None:
        name = "no answer yet" if board.lost is None else f"no controller: {look.text(board.lost_why)}"
        return [*left, Part(0, ((f" {name}", "topstrong"),))], []
    left.append(Part(0, ((f" {look.text(head.cluster)}", "topstrong"),), "go:overview"))
    left.append(Part(2, ((f"  rev {head.revision}", "top"),), "go:revisions"))
    if board.lost is None:
        left.append(Part(0, (("  LIVE", "top"),)))
    else:
        old = age(board.stale_for)
        words = f" NO ANSWER since {when(board.lost, board.now)}, shown as it was {old} ago "
        left.append(Part(0, (("  ", "top"), (words, "alarm")), "go:messages"))
    author, _, place = look.text(who.author).partition("@")
    role = "read-only" if read_only else who.role
    right = [
        Part(1, ((f"  {author}", "top"),)), Part(7, ((f"@{place}" if place else "", "top"),)),
        Part(3 if not read_only else 0, ((f" {role}", "topstrong" if read_only else "top"),)),
        Part(1, ((f" {look.sign('bar')} ", "top"),)),
        Part(6, ((f"{plural(len(board.hosts), 'host')}  ", "top"),), "go:hosts"),
        Part(5, ((f"{plural(len(board.instances), 'instance')}  ", "top"),), "go:instances"),
    ]
    counts = board.counts()
    for mark in sorted(counts, key=lambda m: -BADNESS.get(m, 0)):
        weight = 0 if BADNESS.get(mark, 0) >= BADNESS["unknown"] else 4
        words = f"{look.glyph(mark)} {counts[mark]} {mark}"
        table = "instances" if board.marked.get(mark) else "hosts"
        right.append(Part(weight, ((words, f"top_{mark}"), ("  ", "top")), f"go:{table} {mark}"))
    firing = sum(row.state == "firing" for row in board.alerts.values())
    if firing:
        words = f"{look.glyph(FAILED)} {plural(firing, 'alert')}"
        right.append(Part(3, ((words, f"top_{FAILED}"), ("  ", "top")), "go:alerts"))
    if board.lost is None:  # a clock that stands still is none; the words at the left say since when
        right.append(Part(0, ((clock(board.now), "top"),), "go:messages"))
        right.append(Part(8, ((f" {zone(board.now)}", "top"),)))
    return _told(left, look), _told(right, look)


def _told(parts: list[Part], look: Look) -> list[Part]:
    """In the operator's language, before anybody measures them."""
    if not look.words.on:
        return parts
    return [p._replace(pieces=tuple(look.words.pieces(p.pieces))) for p in parts]


def lay(left: Sequence[Part], right: Sequence[Part], width: int) -> tuple[list[Piece], dict[int, str]]:
    """Both halves on one line, and where each piece leads; parts leave, the highest first, until they fit."""

    def length(parts: Sequence[Part]) -> int:
        return sum(cells(t) for _, pieces, _ in parts for t, _ in pieces)

    left, right = list(left), list(right)
    while length(left) + length(right) + 2 > width:
        most = max((p.leave for p in (*left, *right)), default=0)
        if most == 0:
            break
        left = [p for p in left if p.leave != most]
        right = [p for p in right if p.leave != most]
    gap = " " * max(1, width - length(left) - length(right) - 1)
    out: list[Piece] = []
    doors: dict[int, str] = {}
    for part in (*left, Part(0, ((gap, "top"),)), *right, Part(0, ((" ", "top"),))):
        if part.door:
            doors |= dict.fromkeys(range(len(out), len(out) + len(part.pieces)), part.door)
        out += part.pieces
    return out, doors


def piece_at(pieces: Sequence[Piece], x: int) -> int:
    """Which piece a cell of the line belongs to; -1 behind the last."""
    for number, (words, _) in enumerate(pieces):
        x -= cells(words)
        if x < 0:
            return number
    return -1


class Bar(Lines):
    """One or a few fixed lines made of pieces."""

    DEFAULT_CSS = "Bar { height: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[tuple[Piece, ...]] = [()]
        self._doors: Mapping[tuple[int, int], str] = {}

    def count(self) -> int:
        return len(self._lines)

    def can_rest(self, index: int) -> bool:
        return False

    def version(self, index: int) -> tuple[Piece, ...]:
        return self._lines[index]

    def draw(self, index: int, width: int) -> Sequence[Piece]:
        return self.look.words.pieces(self._lines[index])

    def show(
        self, lines: Sequence[Sequence[Piece]], doors: Mapping[tuple[int, int], str] | None = None
    ) -> None:
        """Only lines that differ from what is shown are painted. `doors`: line and piece -> what a click does."""
        self._doors = doors or {}
        new = [tuple(pieces) for pieces in lines] or [()]
        old, self._lines = self._lines, new
        if len(new) != len(old):
            self.styles.height = len(new)
            self.refresh()
            return
        for index, (was, now) in enumerate(zip(old, new, strict=True)):
            if was != now:
                self.refresh(self._region(index))

    def on_click(self, event: events.Click) -> None:
        event.stop()
        if 0 <= event.y < len(self._lines):
            door = self._doors.get((event.y, piece_at(self._lines[event.y], event.x)))
            if door is not None:
                # in its turn behind the keys that were pressed before
                self.app.call_later(cast(Any, self.screen).open_door, door)

    def render_line(self, y: int) -> Strip:
        if y >= len(self._lines):
            return self.strip((), self.size.width, PLAIN)
        return super().render_line(y)


class TopLine(Bar):
    DEFAULT_CSS = "TopLine { height: 1; dock: top; }"


class Bottom(Bar):
    """Keys; above them the last remark, what we wait for, or the line being typed."""

    DEFAULT_CSS = "Bottom { height: 1; dock: bottom; }"


Hint = tuple[str, str, bool]
"""Key, what it does, does it work here now."""


def key_line(hints: Sequence[Hint], last: Sequence[Hint], width: int, look: Look) -> list[Piece]:
    """As many keys as fit, the most important first; `last` always stand at the end."""

    def length(hint: Hint) -> int:
        return cells(hint[0]) + cells(hint[1]) + 4

    room = width - 1 - sum(length(h) for h in last)
    shown: list[Hint] = []
    for hint in hints:
        if length(hint) > room:
            break
        shown.append(hint)
        room -= length(hint)
    out: list[Piece] = [(" ", "text")]
    for key, label, works in (*shown, *last):
        out += [(key, "key" if works else "dull"), (f" {label}   ", "muted" if works else "dull")]
    return out


def said_glyph(mark: str, look: Look) -> str:
    """A remark that is no trouble has a sign of its own: nothing is paused."""
    return look.sign("head") if mark == PAUSED else look.glyph(mark)


def remark_lines(text: str, mark: str, width: int, look: Look) -> list[list[Piece]]:
    """A sentence for the operator, on up to four lines."""
    out: list[list[Piece]] = []
    for number, part in enumerate(wrap(look.text(text), max(20, width - 4), 4, look.sign("more"))):
        out.append([(f" {said_glyph(mark, look)} " if number == 0 else "   ", mark), (part, "strong")])
    return out


def field_line(label: str, field: Field, width: int, note: str = "") -> list[Piece]:
    """A line being typed, with a remark at its right."""
    tail = cut(note, max(0, width - cells(label) - cells(field.text) - 4))
    body = field.pieces(max(8, width - cells(label) - cells(tail) - 3))
    used = cells(label) + 1 + sum(cells(t) for t, _ in body)
    pad = " " * max(1, width - used - cells(tail) - 1)
    return [(" " + label, "key"), *body, (pad, "text"), (tail, "muted")]
