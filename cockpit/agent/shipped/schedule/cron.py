"""Cron arithmetic: five fields, and the next moment that they mean. Pure.

Fields are matched against local wall-clock time. When the clocks change: a time that does not exist (it lies in the
hour that is left out) is run at the moment when the clocks change; a time that exists twice is run the first time
only. With `*` as the hour a schedule goes by elapsed time instead: every hour that passes counts, in both passes of a
repeated one.
"""

from __future__ import annotations

import re
from typing import Callable, FrozenSet, List, NamedTuple, Optional, Tuple

MACROS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: Tuple[Tuple[str, int, int, Tuple[str, ...], int], ...] = (
    ("minute", 0, 59, (), 0), ("hour", 0, 23, (), 0), ("day of month", 1, 31, (), 0),
    ("month", 1, 12, MONTHS, 1), ("day of week", 0, 7, DAYS, 0),
)  # fmt: skip
PART = re.compile(r"(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]+))?")
MAX_TEXT = 200
HORIZON = 9 * 366 * 86400
"""Seconds in which a schedule must have a moment: a leap day may be eight years away."""
MINUTE, STEP, DAY = 60, 900, 1440


class BadCron(ValueError):
    """Says which field and what is wanted."""


class Wall(NamedTuple):
    """Local time of a moment. `weekday` is 0 on Sunday; `offset` is seconds east of UTC."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    weekday: int
    offset: int


Local = Callable[[int], Wall]
"""Unix time -> local time there."""


class Cron(NamedTuple):
    minutes: FrozenSet[int]
    hours: FrozenSet[int]
    days: FrozenSet[int]
    months: FrozenSet[int]
    weekdays: FrozenSet[int]
    either: bool
    """Day of month and day of week are both given: one of them is enough."""
    elapsed: bool
    """The hour is `*`."""


def parse(text: str) -> Cron:
    """Raises BadCron."""
    if len(text) > MAX_TEXT:
        raise BadCron(f"more than {MAX_TEXT} characters")
    words = MACROS.get(text.strip().lower(), text).lower().split()
    if len(words) != len(FIELDS):
        known = ", ".join(MACROS)
        raise BadCron(f"{text!r}: five fields (minute hour day month weekday) or one of {known} are wanted")
    sets = [_field(word, *field) for word, field in zip(words, FIELDS)]  # noqa: B905
    weekdays = frozenset(d % 7 for d in sets[4])
    cron = Cron(
        sets[0], sets[1], sets[2], sets[3], weekdays,
        either=not words[2].startswith("*") and not words[4].startswith("*"), elapsed=words[1] == "*",
    )
    if not cron.either and not _exists(cron):
        raise BadCron(f"{text!r}: there is never such a day")
    return cron


def _exists(cron: Cron) -> bool:
    longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
    return any(min(cron.days) <= longest.get(month, 31) for month in cron.months)


def _field(text: str, name: str, low: int, high: int, names: Tuple[str, ...], first: int) -> FrozenSet[int]:
    found: List[int] = []
    for part in text.split(","):
        match = PART.fullmatch(part)
        if match is None:
            raise BadCron(f"{name}: {part!r} is no number, range (1-5) or step (*/2)")
        begin, end, step = match[1], match[2], int(match[3] or 1)
        if step < 1:
            raise BadCron(f"{name}: a step of 0")
        if begin == "*":
            if end:
                raise BadCron(f"{name}: {part!r} is no range")
            numbers = range(low, (6 if names is DAYS else high) + 1, step)
        else:
            at = _number(begin, name, low, high, names, first)
            to = _number(end, name, low, high, names, first) if end else high if match[3] else at
            if names is DAYS and end and to == 0:
                to = 7
            if to < at:
                raise BadCron(f"{name}: {part!r} runs backwards")
            numbers = range(at, to + 1, step)
        found += numbers
    return frozenset(found)


def _number(text: str, name: str, low: int, high: int, names: Tuple[str, ...], first: int) -> int:
    if text[:3] in names and len(text) == 3:
        return names.index(text) + first
    if not text.isdigit() or not low <= int(text) <= high:
        words = f" or {names[0]} to {names[-1]}" if names else ""
        raise BadCron(f"{name}: {text!r} is not {low} to {high}{words}")
    return int(text)


def day_matches(cron: Cron, month: int, day: int, weekday: int) -> bool:
    if month not in cron.months:
        return False
    by_day, by_weekday = day in cron.days, weekday in cron.weekdays
    return by_day or by_weekday if cron.either else by_day and by_weekday


def matches(cron: Cron, wall: Wall) -> bool:
    return (
        wall.minute in cron.minutes and wall.hour in cron.hours
        and day_matches(cron, wall.month, wall.day, wall.weekday)
    )  # fmt: skip


def next_after(cron: Cron, moment: float, local: Local) -> Optional[int]:
    """The first moment (Unix time, a whole minute) after `moment`; None when there is none for years."""
    t = (int(moment) // MINUTE + 1) * MINUTE
    last = t - MINUTE
    before = local(last)
    limit = t + HORIZON
    while t <= limit:
        wall = local(t)
        if wall.offset > before.offset:
            if t - last > MINUTE:  # find the very minute
                t = last + MINUTE
                wall = local(t)
            if wall.offset > before.offset and _in_gap(cron, before, wall.offset - before.offset, local, t):
                return t
        if matches(cron, wall) and (cron.elapsed or not _was_before(t, wall, local)):
            return t
        before, last = wall, t
        t = last + _skip(cron, wall, t)
    return None


def _skip(cron: Cron, wall: Wall, t: int) -> int:
    """Seconds to the next moment worth a look. Never beyond a change of the clocks that matters."""
    if not day_matches(cron, wall.month, wall.day, wall.weekday):
        left = DAY - wall.hour * 60 - wall.minute - 120
        if left > 15:
            return left * MINUTE
    elif wall.hour in cron.hours:
        return MINUTE
    return STEP - t % STEP


def _in_gap(cron: Cron, before: Wall, gap: int, local: Local, t: int) -> bool:
    """Is one of the minutes meant that are left out between `before` and `t`?"""
    if cron.elapsed and gap >= 3600:
        return False
    for n in range(gap // MINUTE):
        # the wall clock as it would have gone on
        if matches(cron, _shifted(local, t + n * MINUTE, before.offset)):
            return True
    return False


def _shifted(local: Local, t: int, offset: int) -> Wall:
    """Wall time of a moment by another offset than the one that counts then."""
    days, seconds = divmod(t + offset, 86400)
    year, month, day = _civil(days)
    return Wall(year, month, day, seconds // 3600, seconds // 60 % 60, (days + 4) % 7, offset)


def _civil(days: int) -> Tuple[int, int, int]:
    """Date of a day counted from 1970-01-01."""
    days += 719468
    era, of_era = divmod(days, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month += 3 if month < 10 else -9
    return year + era * 400 + (month <= 2), month, day


def _was_before(t: int, wall: Wall, local: Local) -> bool:
    """Has the wall clock shown this time already, before it was set back?"""
    for back in (3 * 3600, 26 * 3600):
        earlier = local(t - back)
        shift = earlier.offset - wall.offset
        if shift > 0 and local(t - shift)[:5] == wall[:5]:
            return True
    return False


