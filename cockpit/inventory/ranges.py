"""Host patterns of Ansible inventories: `web[01:10:2].example`, `db-[a:f]`, several in one name."""

from __future__ import annotations

import re
import string

MOST = 20_000
"""Names that one pattern may stand for."""


class BadRange(ValueError):
    """The pattern stands for no names; the sentence says why."""


def expand(pattern: str) -> list[str]:
    """All names in order. Raises BadRange."""
    names = [""]
    rest = pattern
    while rest:
        head, bracket, tail = rest.partition("[")
        inner, closed, after = tail.partition("]")
        values = [head]
        if bracket:
            if not closed:
                raise BadRange(f'"{pattern[:80]}": a range begins and does not end')
            values = [head + v for v in _values(inner, pattern)]
        if len(names) * len(values) > MOST:
            raise BadRange(f'"{pattern[:80]}" stands for more than {MOST} names')
        names = [n + v for n in names for v in values]
        rest = after if bracket else ""
    return names


def split_port(pattern: str) -> tuple[str, int | None]:
    """`web[1:3]:2222` -> (`web[1:3]`, 2222). The colons of ranges and IPv6 addresses are none."""
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?", pattern)
    if bracketed and (bracketed[1].count(":") > 2 or "::" in bracketed[1]):
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    plain = re.sub(r"\[[^\]]*\]", lambda m: "x" * len(m[0]), pattern)
    name, colon, port = plain.rpartition(":")
    if colon and ":" not in name and re.fullmatch(r"\d{1,5}", port):
        return pattern[: len(name)], int(port)
    return pattern, None


def _values(inner: str, pattern: str) -> list[str]:
    parts = inner.split(":")
    shown = f'"{pattern[:80]}": [{inner[:40]}]'
    if len(parts) not in (2, 3) or not parts[1]:
        raise BadRange(f"{shown} is no range; write [FIRST:LAST] or [FIRST:LAST:STEP]")
    first, last = parts[0] or "0", parts[1]
    step = _number(parts[2] if len(parts) == 3 else "1", shown)
    if step < 1:
        raise BadRange(f"{shown} has no step forward")
    width = len(first) if first[0] == "0" and len(first) > 1 else 0
    if width and width != len(last):
        raise BadRange(f"{shown}: with leading zeros both ends need the same length")
    letters = string.ascii_letters
    if len(first) == len(last) == 1 and first in letters and last in letters:
        low, high = letters.index(first), letters.index(last)
        if low > high:
            raise BadRange(f"{shown} ends before it begins")
        return list(letters[low : high + 1 : step])
    low, high = _number(first, shown), _number(last, shown)
    if (high - low) // step >= MOST:
        raise BadRange(f'"{pattern[:80]}" stands for more than {MOST} names')
    return [str(n).zfill(width) for n in range(low, high + 1, step)]


def _number(text: str, shown: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise BadRange(f'{shown}: "{text[:20]}" is not a number')
    return int(text)
