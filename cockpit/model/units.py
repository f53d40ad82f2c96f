"""Durations, sizes, signals, addresses and port ranges: text to value and back.

Parsers raise `Wrong` (a ValueError) that says what is expected; `format_x(parse_x(text))` has the same
value, in the shortest unit that divides it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from cockpit.model.problems import Wrong, nearest

DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)?$"
SIZE = r"^[0-9]+(\.[0-9]+)?[KMGT]?$"
PORT_RANGE = r"^[0-9]{1,5}-[0-9]{1,5}$"
LONGEST = 366 * 86400.0
"""Seconds; a longer duration is a slip."""
LARGEST = 2**62

_SECONDS = {"h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}
_BYTES = {"T": 2**40, "G": 2**30, "M": 2**20, "K": 2**10, "": 1}

SIGNALS = (
    "TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "USR2", "ABRT", "ALRM", "PIPE", "CONT", "WINCH",
    "TRAP", "URG", "IO", "PROF", "VTALRM", "XCPU", "XFSZ", "PWR", "SYS",
)  # fmt: skip


def parse_duration(text: str) -> float:
    """Seconds: `500ms`, `2s`, `1.5m`, `1h`, or a bare number of seconds."""
    if len(text) > 40 or not re.fullmatch(DURATION, text):
        raise Wrong(f'"{_cut(text)}" is not a duration; write 500ms, 2s, 1m or 1h')
    number = text.rstrip("hms")
    value = float(Decimal(number) * _SECONDS[text[len(number) :] or "s"])
    if value > LONGEST:
        raise Wrong(f'"{text}" is longer than a year')
    return value


def format_duration(seconds: float) -> str:
    exact = Decimal(repr(float(seconds)))
    if exact:
        for unit, length in _SECONDS.items():
            count = exact / length
            if count == count.to_integral_value():
                return f"{int(count)}{unit}"
    return f"{exact.normalize():f}s"


def parse_size(text: str) -> int:
    """Bytes: `512M`, `1.5G` (1024-based), or a bare number."""
    if len(text) > 40 or not re.fullmatch(SIZE, text):
        raise Wrong(f'"{_cut(text)}" is not a size; write 512M, 1G or a number of bytes')
    number = text.rstrip("KMGT")
    value = Decimal(number) * _BYTES[text[len(number) :]]
    if value != value.to_integral_value() or value > LARGEST:
        raise Wrong(f'"{text}" is not a whole number of bytes below 4 EiB')
    return int(value)


def format_size(size: int) -> str:
    for unit, length in _BYTES.items():
        if size and size % length == 0:
            return f"{size // length}{unit}"
    return str(size)


def parse_signal(text: str) -> str:
    """The name without SIG: `TERM`."""
    name = text.upper().removeprefix("SIG")
    if name not in SIGNALS:
        raise Wrong(f'unknown signal "{_cut(text)}"', nearest(name, SIGNALS))
    return name


def parse_address(text: str) -> str:
    """An IPv4 or IPv6 address that a host can have, in its canonical form."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Wrong(f'"{_cut(text)}" is not an IP address') from None
    if address.is_unspecified or address.is_multicast or "%" in text:
        raise Wrong(f'"{_cut(text)}" is not the address of a host')
    return str(address)


def parse_port_range(text: str) -> tuple[int, int]:
    """First and last port, inclusive: `20000-20999`."""
    if not re.fullmatch(PORT_RANGE, text):
        raise Wrong(f'"{_cut(text)}" is not a range of ports; write 20000-20999')
    first, last = (int(n) for n in text.split("-"))
    if not 1 <= first <= last <= 65535:
        raise Wrong(f'"{text}" is not a range of ports between 1 and 65535, smaller one first')
    return first, last


def format_port_range(ports: tuple[int, int]) -> str:
    return f"{ports[0]}-{ports[1]}"


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def size_text(count: float) -> str:
    """Bytes for people: `512 B`, `3.1 MiB`."""
    if count < 1024:
        return f"{int(count)} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024 or unit == "GiB":
            break
    return f"{count:.1f} {unit}"


def tally(counts: Mapping[str, int]) -> str:
    """`1.2.0 (3), 1.3.0 (1)`."""
    return ", ".join(f"{what} ({n})" for what, n in sorted(counts.items()))


def shorten(text: str, short: Callable[[str], str]) -> str:
    """A title with full paths replaced by short names, word by word."""
    return " ".join(short(word) if "." in word else word for word in text.split(" "))


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def age(seconds: float | None) -> str:
    """`14s`, `3m`, `2h`, `5d`; empty when there is no moment to count from."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 48 * 3600:
        return f"{whole // 3600}h"
    return f"{whole // 86400}d"


def seconds_text(seconds: float) -> str:
    """`3.2 s`, `47 s`, `2 min 5 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min" + (f" {rest} s" if rest else "")
