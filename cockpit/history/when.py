"""Moments as a person types them. Pure: the present comes in as an argument; times are local."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

EXAMPLES = "14:02, -15m, 2026-11-20 03:00, #118"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BACK = re.compile(r"-?((?:\d+[smhdw])+)")
BACKWARDS = re.compile(r"-\d+[smhdw].*")
"""What looks like an option and is none."""
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_DATE = re.compile(r"(?:(\d{4})-)?(\d{1,2})-(\d{1,2})")


def moment(text: str, now: float, action: Callable[[str], float | None] = lambda id: None) -> float:
    """Unix time of what is typed: `14:02`, `14:02:33` (the last such), `-15m`, `1h30m` (ago), `2026-11-20 03:00`,
    `11-20`, `yesterday 14:02`, `#118`, `now`.

    `action` gives the beginning of an action. Raises ValueError, with a sentence.
    """
    words = text.strip().replace("T", " ").split()
    if not words or len(text) > 40:
        raise ValueError(f"a moment is wanted: {EXAMPLES}")
    if words == ["now"]:
        return now
    if len(words) == 1 and words[0].startswith("#"):
        found = action(words[0])
        if found is None:
            raise ValueError(f"there is no action {words[0]}; a moment is {EXAMPLES}")
        return found
    if len(words) == 1 and (back := _BACK.fullmatch(words[0])):
        return now - sum(int(n) * _SECONDS[u] for n, u in re.findall(r"(\d+)([smhdw])", back[1]))
    today = time.localtime(now)
    day: tuple[int, int, int] | None = None
    if words[0] in ("yesterday", "today"):
        there = time.localtime(time.mktime((*today[:3], 12, 0, 0, 0, 0, -1)) - 86400 * (words[0] == "yesterday"))
        day = (there.tm_year, there.tm_mon, there.tm_mday)
    elif dated := _DATE.fullmatch(words[0]):
        day = (int(dated[1] or today.tm_year), int(dated[2]), int(dated[3]))
    rest = words[1:] if day else words
    clock = _CLOCK.fullmatch(rest[0]) if len(rest) == 1 else None
    if (rest and clock is None) or (day is None and clock is None):
        raise ValueError(f"{text.strip()!r} is no moment; write {EXAMPLES}")
    hour, minute, second = (int(clock[1]), int(clock[2]), int(clock[3] or 0)) if clock else (0, 0, 0)
    year, month, number = day or (today.tm_year, today.tm_mon, today.tm_mday)
    if not (1 <= month <= 12 and 1 <= number <= 31 and hour < 24 and minute < 60 and second < 60):
        raise ValueError(f"{text.strip()!r} is no moment: there is no such day or time of day")
    at = time.mktime((year, month, number, hour, minute, second, 0, 0, -1))
    if time.localtime(at)[1:3] != (month, number):
        raise ValueError(f"{text.strip()!r} is no moment: that month has no such day")
    if at > now and day is None:  # the last one
        at = time.mktime((year, month, number - 1, hour, minute, second, 0, 0, -1))
    if at > now:
        raise ValueError(f"{text.strip()!r} is still to come: the past is wanted")
    return at
