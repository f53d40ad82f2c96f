"""What the terminal shows already is not sent again.

Textual draws a screen that opens two to four times: while it is mounted, laid out and told its data. Of each picture
only what differs from the one before goes to the terminal, down to runs of one style in a line: on a slow link that
is most of the time until a screen stands. Lines that moved up or down together are moved by the terminal itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

from screens.format import cells

if TYPE_CHECKING:
    from screens.base import ClusterScreen

ENOUGH = 5
"""Lines that must be saved for a block to be moved."""
SHIFTS = (1, -1, 2, -2, 3, -3)
"""Lines down to what comes here: the steps of a cursor, of a held key and of the wheel."""

Piece = tuple[int, int, Strip]
"""Line, column of its first cell, what stands there."""


class Sent:
    """What is known to stand on the terminal: line -> column -> strip. Nothing is known of what is not in it."""

    def __init__(self) -> None:
        self.width = 0
        """Columns of the terminal; 0: not known, nothing is moved."""
        self._lines: dict[int, dict[int, Strip]] = {}

    def forget(self) -> None:
        """Something else wrote to the terminal, or it has another size."""
        self._lines.clear()

    def fresh(self, pieces: Iterable[Piece], console: Console) -> str:
        """What must be written so that these stand there; from now on they do."""
        pieces = list(pieces)
        out = [self._moved(pieces)]
        for y, x, strip in pieces:
            line = self._lines.setdefault(y, {})
            before = line.get(x)
            if before is not None and before.cell_length == strip.cell_length:
                skip, rest = differing(before, strip)
                line[x] = strip
                if rest is not None:
                    out.append(f"\x1b[{y + 1};{x + skip + 1}H{rest.render(console)}")
                continue
            end = x + strip.cell_length
            for at in [at for at, old in line.items() if at < end and at + old.cell_length > x]:
                del line[at]
            line[x] = strip
            out.append(f"\x1b[{y + 1};{x + 1}H{strip.render(console)}")
        return "".join(out)

    def _moved(self, pieces: list[Piece]) -> str:
        """Scroll a block of whole lines when most of them stand a few lines away already; what to write for it."""
        whole = {y: strip for y, x, strip in pieces if x == 0 and strip.cell_length == self.width}
        first, last = min(whole, default=0), max(whole, default=0)
        if not self.width or len(whole) != last - first + 1 or len(whole) < 2 * ENOUGH:
            return ""
        before = [self._whole(y) for y in range(first, last + 1)]
        after = [whole[y] for y in range(first, last + 1)]

        def saved(by: int) -> int:
            """Lines that need not be written when what stands `by` lines below (above, if negative) moves here."""
            return sum(
                new == before[at + by] != before[at] for at, new in enumerate(after) if 0 <= at + by < len(after)
            )

        by = max(SHIFTS, key=saved)
        if saved(by) < ENOUGH:
            return ""
        kept = [self._lines.get(y, {}) for y in range(first, last + 1)]
        for at in range(len(kept)):
            self._lines[first + at] = kept[at + by] if 0 <= at + by < len(kept) else {}
        return f"\x1b[{first + 1};{last + 1}r\x1b[{abs(by)}{'S' if by > 0 else 'T'}\x1b[r"

    def _whole(self, y: int) -> Strip | None:
        """What fills this line, if one strip does."""
        line = self._lines.get(y, {})
        strip = line.get(0)
        return strip if strip is not None and len(line) == 1 and strip.cell_length == self.width else None


def differing(before: Strip, strip: Strip) -> tuple[int, Strip | None]:
    """Cells of `strip` that are as before, and what comes after them up to the last that is not; None: nothing.

    Both are of one length. Whole segments are compared: a run of one style.
    """
    old, new = list(before), list(strip)
    if old == new:
        return 0, None
    first = _alike(old, new)
    last = min(_alike(old[::-1], new[::-1]), len(new) - first, len(old) - first)
    rest = new[first : len(new) - last]
    skip = sum(cells(segment.text) for segment in new[:first])
    return skip, Strip(rest) if first or last else strip


def _alike(old: list[Segment], new: list[Segment]) -> int:
    """Segments that are the same at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def pieces_of(update: LayoutUpdate | ChopsUpdate) -> Iterator[Piece]:
    """What Textual would write, strip by strip."""
    if isinstance(update, LayoutUpdate):
        for y, line in enumerate(update.strips, update.region.y):
            x = update.region.x
            for strip in line:
                yield y, x, strip
                x += strip.cell_length
        return
    for y, left, right in update.spans:
        for end, (x, chop) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if chop is None or x > right or end <= left:
                continue
            yield y, x, chop if end <= right else chop.crop(0, right - x)


class Difference(CompositorUpdate):
    """An update that is compared when it is written, not before: Textual may leave it out."""

    def __init__(self, sent: Sent, update: LayoutUpdate | ChopsUpdate) -> None:
        self.sent = sent
        self.update = update

    def render_segments(self, console: Console) -> str:
        return self.sent.fresh(pieces_of(self.update), console)


def only_new(sent: Sent, renderable: Any, width: int) -> Any:
    """The same picture with only what differs, on so many columns; what is no picture makes the terminal unknown."""
    if isinstance(renderable, (LayoutUpdate, ChopsUpdate)):
        sent.width = width
        return Difference(sent, renderable)
    if renderable is not None:
        sent.forget()
    return renderable


async def begin(screen: ClusterScreen) -> None:
    """Draw everything anew."""
    screen.cockpit.sent.forget()
    screen.refresh()
