"""The first line (which cluster, who am I, how is it) and the last (the keys that work here, now)."""

from __future__ import annotations

from collections.abc import Sequence

from textual.strip import Strip

from cockpit.model.view import BADNESS, Who
from screens.board import Board
from screens.format import age, cells, clock, cut, plural, wrap, zone
from screens.look import PLAIN, Look, Piece
from screens.widgets.field import Field
from screens.widgets.lines import Lines

Part = tuple[int, tuple[Piece, ...]]
"""How soon it leaves when it gets narrow (0 never), and what it shows."""


def top_parts(board: Board, who: Who, read_only: str, look: Look) -> tuple[list[Part], list[Part]]:
    """Left and right half of the top line."""
    left: list[Part] = [(9, ((" cockpit ", "top"), (look.sign("bar"), "top")))]
    head = board.head
    if head is None:
        name = "no answer yet" if board.lost is None else f"no controller: {look.text(board.lost_why)}"
        return [*left, (0, ((f" {name}", "topstrong"),))], []
    left.append((0, ((f" {look.text(head.cluster)}", "topstrong"),)))
    left.append((2, ((f"  rev {head.revision}", "top"),)))
    if board.lost is None:
        left.append((0, (("  LIVE", "top"),)))
    else:
        old = age(board.stale_for)
        left.append(
            (0, (("  ", "top"), (f" NO ANSWER since {clock(board.lost)}, shown as it was {old} ago ", "alarm")))
        )
    author, _, place = look.text(who.author).partition("@")
    role = "read-only" if read_only else who.role
    right: list[Part] = [
        (1, ((f"  {author}", "top"),)), (7, ((f"@{place}" if place else "", "top"),)),
        (3 if not read_only else 0, ((f" {role}", "topstrong" if read_only else "top"),)),
        (1, ((f" {look.sign('bar')} ", "top"),)),
        (6, ((f"{plural(len(board.hosts), 'host')}  ", "top"),)),
        (5, ((f"{plural(len(board.instances), 'instance')}  ", "top"),)),
    ]
    counts = board.counts()
    for mark in sorted(counts, key=lambda m: -BADNESS.get(m, 0)):
        weight = 0 if BADNESS.get(mark, 0) >= BADNESS["unknown"] else 4
        right.append((weight, ((f"{look.glyph(mark)} {counts[mark]} {mark}", f"top_{mark}"), ("  ", "top"))))
    right.append((0, ((clock(board.now), "top"),)))
    right.append((8, ((f" {zone(board.now)}", "top"),)))
    return left, right


def join_parts(left: Sequence[Part], right: Sequence[Part], width: int) -> list[Piece]:
    """Both halves on one line; parts leave, the highest first, until they fit."""

    def length(parts: Sequence[Part]) -> int:
        return sum(cells(t) for _, pieces in parts for t, _ in pieces)

    left, right = list(left), list(right)
    while length(left) + length(right) + 2 > width:
        most = max((p[0] for p in (*left, *right)), default=0)
        if most == 0:
            break
        left = [p for p in left if p[0] != most]
        right = [p for p in right if p[0] != most]
    gap = " " * max(1, width - length(left) - length(right) - 1)
    out = [piece for _, pieces in left for piece in pieces]
    out.append((gap, "top"))
    out += [piece for _, pieces in right for piece in pieces]
    return [*out, (" ", "top")]


class Bar(Lines):
    """One or a few fixed lines made of pieces."""

    DEFAULT_CSS = "Bar { height: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[tuple[Piece, ...]] = [()]

    def count(self) -> int:
        return len(self._lines)

    def can_rest(self, index: int) -> bool:
        return False

    def version(self, index: int) -> tuple[Piece, ...]:
        return self._lines[index]

    def draw(self, index: int, width: int) -> Sequence[Piece]:
        return self._lines[index]

    def show(self, lines: Sequence[Sequence[Piece]]) -> None:
        """Only lines that differ from what is shown are painted."""
        new = [tuple(pieces) for pieces in lines] or [()]
        old, self._lines = self._lines, new
        if len(new) != len(old):
            self.styles.height = len(new)
            self.refresh()
            return
        for index, (was, now) in enumerate(zip(old, new, strict=True)):
            if was != now:
                self.refresh(self._region(index))

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


def remark_lines(text: str, mark: str, width: int, look: Look) -> list[list[Piece]]:
    """A sentence for the operator, on up to four lines."""
    out: list[list[Piece]] = []
    for number, part in enumerate(wrap(look.text(text), max(20, width - 4), 4, look.sign("more"))):
        out.append([(f" {look.glyph(mark)} " if number == 0 else "   ", mark), (part, "strong")])
    return out


def field_line(label: str, field: Field, width: int, note: str = "") -> list[Piece]:
    """A line being typed, with a remark at its right."""
    tail = cut(note, max(0, width - cells(label) - cells(field.text) - 4))
    body = field.pieces(max(8, width - cells(label) - cells(tail) - 3))
    used = cells(label) + 1 + sum(cells(t) for t, _ in body)
    pad = " " * max(1, width - used - cells(tail) - 1)
    return [(" " + label, "key"), *body, (pad, "text"), (tail, "muted")]
