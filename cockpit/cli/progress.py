"""A push as text: a few lines drawn over and over on a terminal, a line now and then anywhere else.

Pieces are drawn as in docs/artifacts.md: `#` has, `=` had before, `+` partly, `.` missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TextIO
from unicodedata import east_asian_width

from cockpit.model.pushes import (
    Standing,
    Totals,
    artifacts_of,
    bands,
    drawn,
    percent,
    standings,
    tail_of,
    totals,
    worst_first,
)
from cockpit.model.units import plural, size_text
from cockpit.model.view import ABSENT, CHANGING, DRIFT, FAILED, OK, PAUSED, UNKNOWN, PushRow

REDRAW = 0.25
"""Seconds between two pictures on a terminal."""
APPEND = 3.0
"""Seconds between two lines where nothing can be drawn over."""
EACH = 12
"""Up to so many receivers have a line of their own while it runs; of more, each region has one."""
BAR = 24
LEGEND = "  # has   = had before   + partly   . missing"
LAGGING = 3
"""Stragglers that are named below the regions."""
COUNTED = ((FAILED, "failed"), (UNKNOWN, "no answer"), (DRIFT, "slow"), (PAUSED, "paused"), (CHANGING, "at work"),
           (ABSENT, "waiting"), (OK, "done"))  # fmt: skip


def clean(text: str) -> str:
    """What hosts say cannot move the cursor."""
    return "".join(c if c.isprintable() else " " for c in text)


def clip(text: str, width: int) -> str:
    """At most so many cells, so that a line stays one line."""
    if text.isascii():
        return text[:width]
    for index, char in enumerate(text):
        width -= 2 if east_asian_width(char) in "WF" else 1
        if width < 0:
            return text[:index]
    return text


def seconds(value: float) -> str:
    whole = int(value + 0.999)
    return f"{whole}s" if whole < 120 else f"{whole // 60}m{whole % 60:02}s"


def title(id: str, rows: Sequence[PushRow]) -> str:
    return f"push {', '.join(artifacts_of(rows))} ({id})"


def what(sums: Totals) -> str:
    """`41.0 MiB, 3.1 MiB new in 25 pieces`."""
    new = f"{size_text(sums.new)} new in {plural(sums.new_pieces, 'piece')}" if sums.new else "nothing new"
    return f"{size_text(sums.size)}, {new}"


def shares(sums: Totals) -> str:
    """`source 1.00x, WAN 1.00x, peers 83%, 0 bad`."""
    parts = [f"source {sums.source:.2f}x", f"WAN {sums.wan:.2f}x"]
    if sums.peers is not None:
        parts.append(f"peers {sums.peers:.0%}")
    parts.append(f"{sums.bad} bad")
    parts += [plural(n, word) for n, word in ((sums.fallbacks, "fallback"), (sums.duplicates, "duplicate")) if n]
    return ", ".join(parts)


def counted(sums: Totals, calm: bool = True) -> str:
    """`1 failed, 2 slow, 3 done`; without those that are well when not `calm`."""
    well = () if calm else (CHANGING, ABSENT, OK)
    return ", ".join(f"{sums.states[m]} {word}" for m, word in COUNTED if sums.states.get(m) and m not in well)


def pace(rate: float, eta: float | None) -> str:
    return f"{size_text(rate) + '/s' if rate else '':>11} {seconds(eta) if eta else '':>6}"


def receiver_line(row: PushRow, standing: Standing, name: int, bar: int, tail: float) -> str:
    moving = row.state == "running" and row.phase in ("", "pieces")
    # who has no pace to show has more to say
    rate = pace(row.rate, row.eta) + "  " if moving else " "
    return f"  {row.host:<{name}} [{drawn(row, bar, tail):<{bar}}] {percent(row):>4} {rate}{clean(standing.told)}"


def region_line(region: str, sums: Totals, name: int, bar: int, tail: float) -> str:
    rate = pace(sums.rate, None if sums.over else sums.eta)
    hosts = f"{plural(sums.hosts, 'host')}: {counted(sums)}"
    return f"  {region:<{name}} [{drawn(sums, bar, tail):<{bar}}] {percent(sums):>4} {rate}  {hosts}"


def picture(id: str, rows: Sequence[PushRow], now: float, width: int, height: int, each: int = EACH) -> list[str]:
    """The lines of one push, at most `height` of them, none wider than `width`."""
    if not rows:
        return []
    table = {row.host: row for row in rows}
    ranks = standings(rows, now)
    tail = tail_of(rows)
    bar = max(8, min(BAR, width - 56))
    order = bands(table)
    whole = totals(rows, ranks)
    lines = [f"{title(id, rows)}: {what(whole)}", f"  {shares(whole)}"]
    if len(rows) <= min(each, height - len(lines)):
        name = max(len(row.host) for row in rows)
        lines += [receiver_line(table[k], ranks[k], name, bar, tail) for keys in order.values() for k in keys]
    else:
        name = max(len(region) for region in order)
        sums = {region: totals([table[k] for k in keys], ranks) for region, keys in order.items()}
        shown = list(order)[: max(1, height - len(lines) - 1 - LAGGING)]
        lines += [region_line(region, sums[region], name, bar, tail) for region in shown]
        if len(shown) < len(order):
            lines.append(f"  and {len(order) - len(shown)} more regions")
        lines += lagging(table, ranks, LAGGING)
    return [clip(line, width).rstrip() for line in lines[:height]]


def lagging(rows: Mapping[str, PushRow], ranks: Mapping[str, Standing], most: int) -> list[str]:
    """A sentence on each of the worst receivers that lag behind."""
    bad = [k for k in worst_first(rows, ranks) if ranks[k].mark in (FAILED, UNKNOWN, DRIFT)]
    out = []
    for key in bad[:most]:
        out.append(f"  {rows[key].host} {clean(ranks[key].told)}")
    return out


def sentence(id: str, rows: Sequence[PushRow], now: float) -> str:
    """How far a push is, on one line for a log."""
    ranks = standings(rows, now)
    sums = totals(rows, ranks)
    table = {row.host: row for row in rows}
    eta = f", ETA {seconds(sums.eta)}" if sums.eta and not sums.over else ""
    rate = f", {size_text(sums.rate)}/s" if sums.rate else ""
    lags = "; ".join(line.strip() for line in lagging(table, ranks, 2))
    done = percent(sums) or "0%"
    lags = f"; {lags}" if lags else ""
    return f"{title(id, rows)}: {done} of {size_text(sums.to_move)}{rate}{eta}; {counted(sums)}{lags}"


def ending(id: str, rows: Sequence[PushRow], now: float) -> str:
    """What a push came to."""
    ranks = standings(rows, now)
    hosts = [row for row in rows if not row.relay]
    sums = totals(rows, ranks)
    done = sum(1 for row in hosts if row.state == "done")
    bad = counted(totals(hosts or rows, ranks), calm=False)
    bad = f", {bad}" if bad else ""
    have = f"{done} of {plural(len(hosts), 'host')} {'has' if done == 1 else 'have'} it"
    moved = f"{size_text(sums.moved)} moved; {have}"
    return f"{title(id, rows)}: {what(sums)}; {shares(sums)}; {moved}{bad}"


def table_text(id: str, rows: Sequence[PushRow], now: float, width: int) -> list[str]:
    """Every receiver of a push, whatever their number."""
    return picture(id, rows, now, width, len(rows) + 2, each=len(rows))


class Progress:
    """Follows the pushes of one action. Sentences are printed above what is drawn.

    `quiet` shows nothing. On a terminal the picture is drawn anew at most every `REDRAW` seconds;
    elsewhere a line is appended every `APPEND` seconds while something changes.
    """

    def __init__(self, action: str, out: TextIO, *, quiet: bool = False, terminal: bool | None = None) -> None:
        self.action = action
        self.out = out
        self.quiet = quiet
        capable = out.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        self.terminal = capable if terminal is None else terminal
        self.rows: dict[str, PushRow] = {}
        self.now = 0.0
        self._changed = False
        self._high = 0
        """Lines of the picture that stands there."""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Progress:
        if not self.quiet:
            self._task = asyncio.create_task(self._draw_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.quiet:
            return
        self._write([])
        if self.rows:
            self.say(ending(self.action, list(self.rows.values()), self.now))

    def change(self, pushes: Mapping[str, PushRow | None], now: float) -> None:
        """Rows of any push that changed; those of ours are taken."""
        self.now = now
        for key, row in pushes.items():
            if row is None:
                self._changed |= self.rows.pop(key, None) is not None
            elif row.action == self.action:
                self.rows[key] = row
                self._changed = True

    def say(self, text: str) -> None:
        """A sentence that stays."""
        if not self.quiet:
            high = self._high
            self._write([text])
            self._high = 0
            if high:
                self.draw()

    def draw(self) -> None:
        """Show how far it is now."""
        self._changed = False
        rows = list(self.rows.values())
        if not rows:
            return
        if not self.terminal:
            self._write([sentence(self.action, rows, self.now)])
            return
        columns, height = shutil.get_terminal_size((80, 24))
        # one column and one line less, so that no terminal wraps or scrolls it away
        lines = picture(self.action, rows, self.now, columns - 1, max(2, height - 2))
        self._write(lines)
        self._high = len(lines)

    def _write(self, lines: Iterable[str]) -> None:
        """These lines, in place of the picture that stands there."""
        up = f"\x1b[{self._high}A\r\x1b[J" if self._high else ""
        self._high = 0
        text = up + "".join(line + "\n" for line in lines)
        if text:
            self.out.write(text)
            self.out.flush()

    async def _draw_on(self) -> None:
        while True:
            await asyncio.sleep(REDRAW if self.terminal else APPEND)
            if self._changed:
                self.draw()
