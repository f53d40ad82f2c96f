"""Log lines as people type and read them: what is looked for, moments and windows, text made harmless. Pure."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import Generic, NamedTuple, TypeVar

from cockpit.model.problems import Wrong as Wrong

T = TypeVar("T")
LONG = 4096
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|[\]PX^_][^\x07\x1b]{0,4000}(?:\x07|\x1b\\)"  # OSC, DCS and their kin, with their end
    r"|[ -/]*[0-OQ-WYZ\\`-~])"
)
_WINDOW = re.compile(r"(?:last\s+)?(\d+(?:\.\d+)?)\s*([smhd])")
_CLOCK = re.compile(r"(?:(\d{4})-(\d\d?)-(\d\d?)[ T])?(\d\d?):(\d\d)(?::(\d\d))?")
_DATE = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Sought(NamedTuple):
    """`text`, `!text` (lines without it), `/regex/`, `!/regex/`; a backslash before such a sign takes its meaning."""

    text: str = ""
    regex: bool = False
    inverse: bool = False


def sought(typed: str) -> Sought:
    """Raises Wrong for an expression that is none."""
    inverse = typed.startswith("!")
    text = typed[1:] if inverse else typed
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        body = text[1:-1]
        if not body:
            return Sought()
        try:
            re.compile(body)
        except (re.error, RecursionError, OverflowError) as e:
            raise Wrong(f"no regular expression: {e}") from None
        return Sought(body, True, inverse)
    if text.startswith("\\") and text[1:2] in ("!", "/", "\\"):
        text = text[1:]
    return Sought(text, False, inverse) if text else Sought()


def pattern(what: Sought) -> re.Pattern[str]:
    """The expression that finds it (its inverse is not considered). Small letters stand for both cases."""
    body = what.text if what.regex else re.escape(what.text)
    plain = re.sub(r"\\.", "", what.text) if what.regex else what.text
    return re.compile(body, re.IGNORECASE if plain == plain.lower() else 0)


def moment(typed: str, now: float) -> float:
    """Unix time of `15m`, `last 2h`, `14:03`, `14:03:22`, `2026-11-12 14:03`, `2026-11-12`. Raises Wrong.

    A time of day is of today, or of yesterday when it has not come yet.
    """
    text = typed.strip().lower()
    if match := _WINDOW.fullmatch(text):
        return now - float(match[1]) * _UNITS[match[2]]
    if match := _CLOCK.fullmatch(text):
        local = time.localtime(now)
        dated = match[1] is not None
        year, month, day = (int(match[n]) for n in (1, 2, 3)) if dated else local[:3]
        found = _of(year, month, day, int(match[4]), int(match[5]), int(match[6] or 0), typed)
        if not dated and found > now:
            found = _of(year, month, day - 1, int(match[4]), int(match[5]), int(match[6] or 0), typed)
        return found
    if match := _DATE.fullmatch(text):
        return _of(int(match[1]), int(match[2]), int(match[3]), 0, 0, 0, typed)
    raise Wrong(f"no time: {typed!r}; 15m, 2h, 14:03, 14:03:22 or 2026-11-12 14:03 are")


def _of(year: int, month: int, day: int, hour: int, minute: int, second: int, typed: str) -> float:
    if not (1970 <= year <= 9999 and 1 <= month <= 12 and 0 <= day <= 31) or hour > 23 or minute > 59 or second > 60:
        raise Wrong(f"no such time: {typed!r}")
    return time.mktime((year, month, day, hour, minute, second, 0, 0, -1))


def window(typed: str, now: float) -> tuple[float, float]:
    """(since, until) of `15m`, `14:00`, `14:00 - 14:10`, `14:00..`, `..14:10`; 0.0 is no limit. Raises Wrong."""
    text = typed.strip()
    if text in ("", "all"):
        return 0.0, 0.0
    for sign in ("..", " - ", " to "):
        first, found, last = text.partition(sign)
        if found:
            since = moment(first, now) if first.strip() else 0.0
            until = moment(last, now) if last.strip() and last.strip() != "now" else 0.0
            if until and since > until:
                raise Wrong(f"{typed!r} ends before it begins")
            return since, until
    return moment(text, now), 0.0


def harmless(text: str, limit: int = LONG) -> str:
    """One line that moves no cursor and colours nothing. Escape sequences are taken out, other control characters,
    and those that turn the direction of writing, are shown as `\\x07`, `\\u202e`. A cut line says how long it was."""
    full = len(text)
    text = text[:limit]
    if not (text.isascii() and text.isprintable()):
        text = _ESCAPES.sub("", text).expandtabs(8)
        if not text.isprintable():
            text = "".join(c if c.isprintable() or c == "\u3000" else _spelled(c) for c in text)
    return text if full <= limit else f"{text} [cut: {full} characters in all]"


def _spelled(char: str) -> str:
    code = ord(char)
    if char == "\u00a0":
        return " "
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Around(Generic[T]):
    """Items around those that fit: as `grep -B -A`, one after the other. The same lines that hosts pick."""

    def __init__(self, before: int, after: int) -> None:
        self._held: deque[tuple[int, T]] = deque(maxlen=before)
        self._after = after
        self._open = 0
        self._number = 0
        self._last = 0

    def feed(self, item: T, fits: bool) -> list[tuple[T, str]]:
        """(item, mark) of what is to be shown now: `c` context, `g` context or a hit behind a gap, else nothing."""
        self._number += 1
        if fits:
            found = [*self._held, (self._number, item)]
            self._held.clear()
            self._open = self._after
            gap = (self._held.maxlen or self._after) and self._last and found[0][0] > self._last + 1
            self._last = self._number
            marks = ["c"] * (len(found) - 1) + [""]
            if gap:
                marks[0] = "g"
            return [(each, mark) for (_, each), mark in zip(found, marks, strict=True)]
        if self._open:
            self._open -= 1
            self._last = self._number
            return [(item, "c")]
        self._held.append((self._number, item))
        return []
