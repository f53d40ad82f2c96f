"""A series as one line of block characters, with what it says in words. A gap is a blank, never a low value. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cockpit.model.metrics_rows import BYTES, CORES, FIELDS, NO_DATA, RATE, SHARE, TASKS, Numbers, amount
from screens.format import cells, fit, lasting
from screens.item import Item, line
from screens.look import Look, Piece

GAP = " "
Values = Sequence[float | None]


def fewer(values: Values, width: int) -> list[float | None]:
    """At most `width` values: the mean of neighbours. Of a group only those that were measured count."""
    if width <= 0:
        return []
    if len(values) <= width:
        return list(values)
    out: list[float | None] = []
    for n in range(width):
        group = [v for v in values[n * len(values) // width:(n + 1) * len(values) // width] if v is not None]
        out.append(sum(group) / len(group) if group else None)
    return out


def spark(values: Values, width: int, signs: str, top: float | None = None) -> str:
    """One character for each value. The lowest is zero or the smallest; the highest is `top`, or the largest."""
    shown = fewer(values, width)
    known = [v for v in shown if v is not None]
    if not known:
        return GAP * len(shown)
    low = min(0.0, *known)
    high = max(top if top is not None else 0.0, *known)
    span = high - low
    last = len(signs) - 1
    return "".join(
        GAP if v is None else signs[min(last, int((v - low) / span * last + 0.5)) if span > 0 else 0] for v in shown
    )


def words(values: Values, unit: str, now: float | None, limit: float | None) -> str:
    """`now 3 %  min 1 %  max 12 %`; of what, where that is known."""
    known = [v for v in values if v is not None]
    if not known and now is None:
        return NO_DATA
    parts = [f"now {amount(unit, now)}" if now is not None else f"now {NO_DATA}"]
    if limit is not None and unit in (BYTES, CORES):
        parts[0] += f" of {amount(unit, limit) if unit == BYTES else f'{limit:.0f}'}"
    if known:
        parts += [f"min {amount(unit, min(known))}", f"max {amount(unit, max(known))}"]
    return "  ".join(parts)


LABEL = 16
FLOORS = {CORES: 0.1, RATE: 1024.0, TASKS: 1.0}
"""The line is at least so high: next to nothing must not look like much."""


def spark_items(numbers: Numbers, look: Look, width: int) -> list[Item]:
    """A heading and a line for each series."""
    head = f" {NO_DATA}: {numbers.note}" if numbers.at is None else ""
    trail = next(iter(numbers.trails.values()), None)
    over = f"   the last {lasting(trail.step * len(trail.values))}" if trail is not None else ""
    note = numbers.note if numbers.at is not None else head.strip()
    out = [line((" METRICS", "head"), (over, "muted"), (f"   {look.text(note)}" if note else "", "muted"))]
    if numbers.at is None:
        return out
    room = max(8, min(36, width - LABEL - 58))
    for field, (unit, about) in FIELDS[numbers.kind].items():
        found = numbers.trails.get(field)
        values: Values = found.values if found is not None else ()
        limit = numbers.limits.get(field)
        top = limit if unit == SHARE or (field == "memory" and numbers.kind == "host") else FLOORS.get(unit)
        drawn = spark(values, room, look.sign("spark"), top)
        said = words(values, unit, numbers.latest.get(field), limit)
        pieces: list[Piece] = [("   " + fit(about, LABEL), "muted")]
        if found is not None:
            pieces.append((fit(drawn, room) + "  ", "text" if numbers.latest else "muted"))
        pieces.append((said, "text" if field in numbers.latest else "muted"))
        out.append(Item(tuple(pieces), f"metric {field}", True))
    return out


def process_items(processes: Mapping[str, Mapping[str, float]], look: Look) -> list[Item]:
    """The processes of an instance; units once, in the heading."""
    if not processes:
        return []
    fields = (("pid", "PID"), ("cpu", "CPU cores"), ("rss", "MEMORY"), ("threads", "THREADS"), ("fds", "FILES"))
    rows = [
        [name, *(_cell(field, facts.get(field)) for field, _ in fields)] for name, facts in sorted(processes.items())
    ]
    table = [["PROCESS", *(title for _, title in fields)], *rows]
    widths = [max(cells(row[n]) for row in table) for n in range(len(table[0]))]
    out = []
    for number, row in enumerate(table):
        text = "  ".join(fit(look.text(c), w, right=n > 0) for n, (c, w) in enumerate(zip(row, widths, strict=True)))
        out.append(line(("   " + text, "muted" if number else "head")))
    return out


def _cell(field: str, value: float | None) -> str:
    if value is None:
        return "-"
    if field == "cpu":
        return f"{value:.2f}"
    return amount(BYTES, value) if field == "rss" else f"{value:.0f}"


def number(kind: str, field: str, numbers: Mapping[str, float] | None) -> str:
    """For a column whose header has the unit; empty when nothing is known."""
    value = (numbers or {}).get(field)
    if value is None:
        return ""
    unit = FIELDS[kind][field][0]
    if unit == SHARE:
        return f"{value * 100:.0f}"
    if unit == BYTES:
        return f"{value / (1 << 20):.0f}"
    return f"{value / 1024:.0f}" if unit == RATE else f"{value:.2f}"
