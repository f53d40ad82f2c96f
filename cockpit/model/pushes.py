"""A push in numbers: sums, shares, who lags behind and why, and its pieces at any width.

Works on the rows of one push; screens and commands draw from the same figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import median

import msgspec

from cockpit.model.view import (
    ABSENT,
    BADNESS,
    CHANGING,
    DRIFT,
    FAILED,
    OK,
    PAUSED,
    UNKNOWN,
    PushRow,
)

HAS, HAD, PARTLY, MISSING = "#", "=", "+", "."
FINE = 256
"""Cells for pieces of which only the numbers are known, before they are drawn."""
SLOW = 0.5
"""Slower than this part of the median is a straggler."""
GRACE = 3.0
"""Seconds from its start in which nobody is called slow."""
MARKS = {
    "waiting": ABSENT, "running": CHANGING, "paused": PAUSED, "done": OK, "failed": FAILED, "unknown": UNKNOWN,
}
WORDS = {"manifest": "asks", "pieces": "receives", "install": "installs", "seed": "has it"}
"""What a running receiver does, by its phase."""
STATES = (FAILED, UNKNOWN, DRIFT, PAUSED, CHANGING, ABSENT, OK)
"""Marks of receivers, those that need somebody first."""


class Standing(msgspec.Struct, frozen=True):
    """How one receiver stands among the others."""

    mark: str
    word: str
    """`receives`, `slow`, `no answer`, `failed`, ..."""
    why: str = ""
    """Why it lags behind; empty when it does not."""

    @property
    def told(self) -> str:
        """`failed: no space`, `no answer for 9s`: the word, and why unless that says it already."""
        if self.why.startswith(self.word):
            return self.why
        return self.word + (f": {self.why}" if self.why else "")


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of several receivers of one push."""

    hosts: int = 0
    relays: int = 0
    size: int = 0
    """Bytes of the artifact."""
    new: int = 0
    """Bytes of the new pieces: what most of them have to move."""
    new_pieces: int = 0
    pieces: int = 0
    have: int = 0
    had: int = 0
    to_move: int = 0
    moved: int = 0
    source: float = 0.0
    """How often the new bytes left the source, for the region that asked it most."""
    wan: float = 0.0
    """How often the new bytes entered a region from another one, for the region where it was most."""
    peers: float | None = None
    """The part of what hosts received that came from other hosts; None before anything came."""
    rate: float = 0.0
    """Bytes per second that the hosts receive now, together."""
    eta: float | None = None
    """Seconds until the last of them has it; None when one cannot say."""
    bad: int = 0
    duplicates: int = 0
    fallbacks: int = 0
    states: dict[str, int] = {}
    """Number of hosts and relays by mark."""

    @property
    def mark(self) -> str:
        """The worst of them."""
        return max(self.states, key=lambda m: BADNESS[m], default=OK)

    @property
    def over(self) -> bool:
        """Nobody receives or waits any more."""
        return not any(self.states.get(m) for m in (CHANGING, DRIFT, ABSENT, PAUSED))


def standings(rows: Iterable[PushRow], now: float) -> dict[str, Standing]:
    """Every receiver's standing, by its name. The pace is the hosts', relays are not measured by it."""
    rows = list(rows)
    hosts = [row for row in rows if not row.relay]
    paces = [row.rate for row in hosts if row.state == "running" and row.phase == "pieces"]
    if len(paces) < 2:
        paces += [p for row in hosts if (p := average(row)) is not None]
    usual = median(paces) if len(paces) > 1 else 0.0
    return {row.host: standing(row, usual, now) for row in rows}


def average(row: PushRow) -> float | None:
    """Bytes per second of one that is done; None when it moved nothing."""
    took = (row.ended or 0.0) - row.started
    return row.moved / took if row.state == "done" and row.moved and took > 0 else None


def standing(row: PushRow, usual: float, now: float) -> Standing:
    """`usual` is the pace of the others in bytes per second, 0 when there is none."""
    mark = MARKS.get(row.state, UNKNOWN)
    match row.state:
        case "running":
            word = WORDS.get(row.phase, "begins")
            lags = row.phase == "pieces" and not row.relay and now - row.started >= GRACE
            if lags and row.rate < usual * SLOW:
                return Standing(DRIFT, "slow", row.note or f"{row.rate / usual:.0%} of the usual pace")
            return Standing(mark, word, row.note)
        case "failed":
            return Standing(mark, "failed", row.note or "no reason was given")
        case "unknown":
            return Standing(mark, "no answer", row.note)
        case "done":
            return Standing(mark, "done")
    return Standing(mark, row.state, row.note)


def totals(rows: Collection[PushRow], ranks: Mapping[str, Standing]) -> Totals:
    """Sums over receivers of one push; `ranks` as `standings` gives them."""
    hosts = [r for r in rows if not r.relay]
    counted = hosts or list(rows)
    states: dict[str, int] = {}
    for row in rows:
        mark = ranks[row.host].mark
        states[mark] = states.get(mark, 0) + 1
    usual = Counter((r.to_move, r.pieces - r.had) for r in counted if r.to_move and r.pieces)
    new, new_pieces = max(usual, key=lambda pair: (usual[pair], pair), default=(0, 0))
    moved = sum(r.from_source + r.from_relay + r.from_peers for r in hosts)
    lacking = (r for r in counted if r.state in ("running", "paused", "waiting") and not 0 < r.pieces <= r.have)
    etas = [r.eta for r in lacking]
    known = [e for e in etas if e is not None]
    return Totals(
        hosts=len(hosts), relays=len(rows) - len(hosts), size=max((r.size for r in rows), default=0),
        new=new, new_pieces=new_pieces,
        pieces=sum(r.pieces for r in counted), have=sum(r.have for r in counted), had=sum(r.had for r in counted),
        to_move=sum(r.to_move for r in counted), moved=sum(r.moved for r in counted),
        source=_times(rows, lambda r: r.from_source), wan=_times(rows, lambda r: r.wan),
        peers=sum(r.from_peers for r in hosts) / moved if moved else None,
        rate=sum(r.rate for r in counted if r.state == "running"),
        eta=max(known) if known and len(known) == len(etas) else None,
        bad=sum(r.bad for r in rows), duplicates=sum(r.duplicates for r in rows),
        fallbacks=sum(r.fallbacks for r in rows), states=states,
    )  # fmt: skip


def _times(rows: Iterable[PushRow], of: Callable[[PushRow], int]) -> float:
    """The sum per region in multiples of what its neediest host has to move; the highest of the regions.

    A relay's need counts only where no host is: it gets no more than its hosts lack.
    """
    sums: dict[str, int] = {}
    needs: dict[str, int] = {}
    own: dict[str, int] = {}
    for row in rows:
        sums[row.region] = sums.get(row.region, 0) + of(row)
        found = own if row.relay else needs
        found[row.region] = max(found.get(row.region, 0), row.to_move)
    needs = {region: needs.get(region) or own.get(region, 0) for region in sums}
    return max((sums[r] / needs[r] for r in sums if needs[r]), default=0.0)


def tail_of(rows: Iterable[PushRow]) -> float:
    """The part at the end of the pieces that every host had before: nothing happens there."""
    tails = [1 - len(r.cells.rstrip(HAD)) / len(r.cells) for r in rows if r.cells and not r.relay]
    return min(tails, default=0.0)


def drawn(of: PushRow | Totals, width: int, tail: float = 0.0) -> str:
    """The pieces in so many characters; the tail (see `tail_of`) in no more than a third of them."""
    cells = of.cells if isinstance(of, PushRow) else ""
    cells = cells or proportional(of.have, of.had, of.pieces, FINE)
    last = round(tail * len(cells))
    rest = width // 3
    if last * width <= rest * len(cells) or last == len(cells):
        return rescale(cells, width)
    return rescale(cells[:-last], width - rest) + rescale(cells[-last:], rest)


def rescale(cells: str, width: int) -> str:
    """The same pieces in so many characters. Where some are missing and none came, it is missing."""
    count = len(cells)
    if not count or width <= 0:
        return ""
    out = []
    for place in range(width):
        first = place * count // width
        part = cells[first: max(first + 1, (place + 1) * count // width)]
        kinds = set(part)
        if len(kinds) == 1:
            out.append(part[0])
        elif kinds <= {HAS, HAD}:
            out.append(HAS)
        else:
            out.append(PARTLY if kinds & {HAS, PARTLY} else MISSING)
    return "".join(out)


def proportional(have: int, had: int, pieces: int, width: int) -> str:
    """Pieces of which only the numbers are known: what came, what is missing, what was there before."""
    if pieces <= 0 or width <= 0:
        return ""
    came = max(0, have - had)
    new = came * width // pieces
    old = min(width - new, had * width // pieces)
    if have >= pieces:
        new = width - old
    rest = width - new - old
    return HAS * new + MISSING * rest + HAD * old


def percent(row: PushRow | Totals) -> str:
    """`37%` of what was missing came; 100 only when nothing is missing. Empty while nobody knows what is.

    Empty, too, for a relay that is done with a part: it got what its hosts lacked, and they lacked no more.
    """
    if not row.pieces or (isinstance(row, PushRow) and row.relay and row.state == "done" and row.have < row.pieces):
        return ""
    missing = row.pieces - row.had
    return f"{max(0, row.have - row.had) * 100 // missing}%" if missing > 0 else "100%"


def bands(rows: Mapping[str, PushRow]) -> dict[str, list[str]]:
    """Keys by region: regions by name, in each the relays first, then hosts by name."""
    order = sorted(rows, key=lambda k: (rows[k].region, not rows[k].relay, natural(rows[k].host)))
    out: dict[str, list[str]] = {}
    for key in order:
        out.setdefault(rows[key].region, []).append(key)
    return out


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key with numbers by value: `sh-2` before `sh-10`."""
    parts: list[tuple[int, str]] = []
    digits = ""
    for char in name + " ":
        if char.isascii() and char.isdigit():
            digits += char
            continue
        if digits:
            parts.append((int(digits), ""))
            digits = ""
        parts.append((-1, char))
    return parts


def worst_first(rows: Mapping[str, PushRow], ranks: Mapping[str, Standing]) -> list[str]:
    """Keys, those that need somebody first; among equals whoever has the least, then by name."""
    def rank(key: str) -> tuple[int, float, list[tuple[int, str]]]:
        row = rows[key]
        return STATES.index(ranks[row.host].mark), row.have / (row.pieces or 1), natural(row.host)

    return sorted(rows, key=rank)


def by_action(rows: Iterable[PushRow]) -> dict[str, list[PushRow]]:
    """The rows of each push, the oldest push first."""
    out: dict[str, list[PushRow]] = {}
    for row in sorted(rows, key=lambda r: r.started):
        out.setdefault(row.action, []).append(row)
    return out


def artifacts_of(rows: Iterable[PushRow]) -> Sequence[str]:
    """Names of everything that the rows push; a receiver of several has them in one row."""
    return list(dict.fromkeys(name for row in rows for name in row.artifact.split(", ")))
