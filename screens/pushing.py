"""How a push reads: its receivers and regions as lines, its figures as pieces. Pure; for the screen and for text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from cockpit.model.pushes import (
    HAD,
    HAS,
    PARTLY,
    Standing,
    Totals,
    bands,
    drawn,
    percent,
    standings,
    totals,
    worst_first,
)
from cockpit.model.view import ABSENT, CHANGING, DRIFT, FAILED, OK, PAUSED, UNKNOWN, PushRow
from screens.format import age, cells, cut, plural, size, wrap
from screens.look import Look, Piece
from screens.widgets.columns import Column

WIDE = 110
"""Columns from which reasons of some length have room."""
BAR = 64
"""Cells a bar takes at most: receivers report their pieces no finer."""
UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
SIGNS = {HAS: ("has", "text"), HAD: ("had", "muted"), PARTLY: ("partly", "changing")}
"""What a cell is drawn as, and in which style; the rest is missing."""
SUMS = {FAILED: "failed", UNKNOWN: "no answer", DRIFT: "slow", PAUSED: "paused", CHANGING: "at work",
        ABSENT: "waiting", OK: "done"}  # fmt: skip
"""What so many of them are, by mark."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver, or the sums of a region."""

    key: str
    name: str
    standing: Standing
    row: PushRow | None = None
    sums: Totals | None = None


def line_mark(line: Line) -> str:
    return line.standing.mark


def unit_of(count: int) -> tuple[str, int]:
    """The unit in which so many bytes read well, and its bytes."""
    return next(((name, each) for name, each in UNITS if count >= each), UNITS[-1])


def amount(count: float, unit: int) -> str:
    """`3.1`, `41.0`, `0.40`: in a unit that the header names."""
    value = count / unit
    return f"{value:.2f}" if 0 < value < 1 else f"{value:.1f}"


def times(value: float) -> str:
    return f"{value:.2f}x"


def bar_pieces(drawn: str, look: Look) -> list[Piece]:
    """Cells of the contract as glyphs, equal neighbours together."""
    out: list[Piece] = []
    for char in drawn:
        sign, word = SIGNS.get(char, ("missing", "faint"))
        glyph = look.sign(sign)
        if out and out[-1][1] == word and out[-1][0][-1] == glyph:
            out[-1] = (out[-1][0] + glyph, word)
        else:
            out.append((glyph, word))
    return out


def push_columns(look: Look, unit: tuple[str, int], tail: float = 0.0, width: int = 0) -> list[Column]:
    """How receivers and regions read; bytes in one unit that the titles name. `tail`: see `tail_of`.

    Where the screen is `width` enough, bars and reasons get room before figures that are seldom asked for.
    """
    name, each = unit

    def of(line: Line) -> PushRow | Totals:
        found = line.row if line.row is not None else line.sums
        assert found is not None
        return found

    def words(line: Line) -> str:
        return look.text(line.standing.why) if line.standing.mark not in (OK, CHANGING) else ""

    def bar(line: Line, room: int) -> list[Piece]:
        why = words(line)
        width = min(BAR, room)
        if why and room - width < cells(why) + 2:
            # a reason is worth more than a bar, DONE says how much it is; who is slow has a rate for a reason.
            # A shorter bar among the others would be misread
            width, why = (width, "") if line.standing.mark == DRIFT else (0, why)
        text = drawn(of(line), width, tail)
        out = bar_pieces(text, look)
        if why:
            blank = "  " if text else ""
            out.append((blank + cut(why, room - len(text) - len(blank), look.sign("more")), line.standing.mark))
        return out

    def state(line: Line) -> Piece:
        mark = line.standing.mark
        word = line.standing.word
        if line.row is None and mark not in (OK, CHANGING):
            word = f"{look.glyph(mark)} {word}"  # in front of a region stands the sign of the fold
        return word, "muted" if mark in (OK, ABSENT, CHANGING) else mark

    def moving(line: Line) -> bool:
        if line.sums is not None:
            return not line.sums.over
        return line.standing.mark in (CHANGING, DRIFT)

    def rate(line: Line) -> Piece:
        value = of(line).rate
        slow = line.row is not None and line.standing.mark == DRIFT
        return (amount(value, each) if slow or value and moving(line) else ""), DRIFT if slow else "text"

    def eta(line: Line) -> Piece:
        value = of(line).eta
        return (age(value + 0.999) if value and moving(line) else ""), "text"

    def moved(line: Line) -> Piece:
        row = of(line)
        return (f"{amount(row.moved, each)}/{amount(row.to_move, each)}" if row.to_move else ""), "muted"

    def peers(line: Line) -> Piece:
        return (str(line.row.peers or "") if line.row is not None else ""), "muted"

    def odd(of_it: Callable[[PushRow | Totals], int], style: str) -> Callable[[Line], Piece]:
        return lambda line: (str(of_it(of(line)) or ""), style)

    return [
        Column("name", "RECEIVER", lambda r: (r.name, "strong" if r.row is None else "text"), most=32),
        Column("state", "STATE", state, most=14),
        Column("done", "DONE", lambda r: (percent(of(r)), "text"), right=True),
        Column("pieces", "PIECES", lambda r: ("." * BAR + "  " + words(r), "text"), grow=True,
               least=20 if width < WIDE else 48,
               most=BAR + 80, paint=bar),
        Column("rate", f"{name}/s", rate, leave=2, right=True),
        Column("eta", "ETA", eta, leave=1, right=True),
        Column("moved", f"MOVED {name}", moved, leave=3, right=True),
        Column("peers", "PEERS", peers, leave=4, right=True),
        Column("bad", "BAD", odd(lambda r: r.bad, DRIFT), leave=5, right=True),
        Column("fallbacks", "FALLBACKS", odd(lambda r: r.fallbacks, "text"), leave=6, right=True),
        Column("duplicates", "DUPLICATES", odd(lambda r: r.duplicates, "muted"), leave=7, right=True),
    ]


def region_standing(sums: Totals) -> Standing:
    """What a region is: the worst of its receivers, and how many are."""
    mark = sums.mark
    count = sums.states.get(mark, 0)
    if mark == OK:
        return Standing(OK, "done")
    return Standing(mark, f"{count} {SUMS[mark]}")


def lines_of(rows: Mapping[str, PushRow], now: float, flat: bool) -> tuple[dict[str, Line], dict[str, list[str]]]:
    """Lines by key and the tree they stand in: by region, or flat with those that lag behind first."""
    ranks = standings(rows.values(), now)
    each = {k: Line(key=k, name=r.host, standing=ranks[r.host], row=r) for k, r in rows.items()}
    if flat:
        return each, {"": worst_first(rows, ranks)}
    lines: dict[str, Line] = {}
    children: dict[str, list[str]] = {"": []}
    for region, keys in bands(rows).items():
        sums = totals([rows[k] for k in keys], ranks)
        top = f"region|{region}"
        name = f"{region or 'no region'}, {plural(sums.hosts, 'host')}"
        lines[top] = Line(key=top, name=name, standing=region_standing(sums), sums=sums)
        children[""].append(top)
        children[top] = keys
    return {**lines, **each}, children


def facts(sums: Totals) -> list[Piece]:
    """The figures of the whole push, the most important first."""
    out: list[Piece] = []
    new = "nothing new" if not sums.new else f"{size(sums.new)} new in {plural(sums.new_pieces, 'piece')}"
    out.append((f"{size(sums.size)}, {new}", "text"))
    out.append((f"{size(sums.rate)}/s", "text"))
    if sums.eta is not None and not sums.over:
        out.append((f"ETA {age(sums.eta + 0.999)}", "text"))
    out.append((f"source {times(sums.source)}", "muted"))
    out.append((f"WAN {times(sums.wan)}", "muted"))
    out.append((f"peers {'-' if sums.peers is None else f'{sums.peers:.0%}'}", "muted"))
    out.append((f"{sums.bad} bad", DRIFT if sums.bad else "muted"))
    out.append((plural(sums.fallbacks, "fallback"), "text" if sums.fallbacks else "muted"))
    out.append((plural(sums.duplicates, "duplicate"), "muted"))
    return out


def packed(parts: Sequence[Piece], width: int, lead: str = "   ") -> list[list[Piece]]:
    """Parts beside each other, on as many lines as they need."""
    out: list[list[Piece]] = []
    room = 0
    for words, style in parts:
        if not out or cells(words) + 3 > room:
            out.append([(lead, "text")])
            room = width - cells(lead) + 3
        else:
            out[-1].append(("   ", "text"))
        out[-1].append((words, style))
        room -= cells(words) + 3
    return out


def counts(sums: Totals, look: Look) -> list[Piece]:
    """How many receivers are what, the worst first."""
    out: list[Piece] = [
        (f"{look.glyph(mark)} {sums.states[mark]} {word}", "muted" if mark in (OK, ABSENT) else mark)
        for mark, word in SUMS.items() if sums.states.get(mark)
    ]
    count = plural(sums.hosts, "host") + (f" and {plural(sums.relays, 'relay')}" if sums.relays else "")
    return [*out, (f"of {count}", "muted")]


def about(line: Line, look: Look, width: int) -> list[list[Piece]]:
    """Two or three lines on the row under the cursor: where its bytes came from, and why it lags behind."""
    row, standing = line.row, line.standing
    if row is None:
        assert line.sums is not None
        return [*packed(facts(line.sums)[1:], width, f" {line.name}   ")[:1],
                *packed(counts(line.sums, look), width)[:1]]
    name, each = unit_of(max(row.to_move, row.sent))
    parts: list[Piece] = [
        (f"{amount(row.moved, each)} of {amount(row.to_move, each)} {name}", "text"),
        (f"source {amount(row.from_source, each)}  relay {amount(row.from_relay, each)}  "
         f"peers {amount(row.from_peers, each)}", "muted"),
        (f"gave {amount(row.sent, each)}", "muted"), (plural(row.peers, "peer"), "muted"),
    ]
    parts += [(f"{n} {w}", DRIFT if w == "bad" else "text") for n, w in
              ((row.bad, "bad"), (row.fallbacks, "fallbacks"), (row.duplicates, "duplicates")) if n]
    first = [(f" {line.name} ", "strong"), *packed(parts, width - cells(line.name) - 2, "  ")[0]]
    mark = standing.mark
    style = "text" if mark in (OK, CHANGING) else mark
    told = wrap(look.text(standing.told), max(20, width - 6), 2, look.sign("more"))
    leads = [f"   {look.glyph(mark)} ", "     "]
    return [first, *([(lead, mark), (part, style)] for lead, part in zip(leads, told, strict=False))]


def legend(look: Look) -> list[Piece]:
    named = (("has", "has", "text"), ("had", "had before", "muted"), ("partly", "partly", "changing"),
             ("missing", "missing", "faint"))  # fmt: skip
    out: list[Piece] = [("   ", "text")]
    for sign, words, style in named:
        out += [(look.sign(sign), style), (f" {words}   ", "muted")]
    return out
