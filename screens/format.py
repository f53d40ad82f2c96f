"""Text for rows: widths in cells, ages, numbers, names. Pure; shared by screens and plain output."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from unicodedata import normalize

from rich.cells import get_character_cell_size

from cockpit.model.units import age as age
from cockpit.model.units import plural as plural
from cockpit.model.units import size_text
from cockpit.times import clock as clock
from cockpit.times import date as date
from cockpit.times import when as when

size = size_text

_WIDTHS: dict[str, int] = {}
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_LONG = 4096


def cells(text: str) -> int:
    """Cells a terminal needs for it. A character is measured once and then remembered."""
    if text.isascii():
        return len(text)
    total = 0
    for char in text:
        width = _WIDTHS.get(char)
        if width is None:
            width = _WIDTHS[char] = get_character_cell_size(char)
        total += width
    return total


def clean(text: str, limit: int = _LONG) -> str:
    """One printable line: escape sequences, control and invisible characters are taken out.

    What a service logs must not be able to move the operator's cursor, and a very long line is
    cut before anybody measures it.
    """
    text = text[:limit]
    if text.isascii() and text.isprintable():
        return text
    text = normalize("NFC", _ESCAPES.sub("", text).expandtabs(4).replace("\n", " "))
    return "".join(c for c in text if c.isprintable() and cells(c))


def cut(text: str, width: int, more: str = "") -> str:
    """At most `width` cells of it; `more` is put at the end when something was left out."""
    if width <= 0:
        return ""
    if len(text) <= width and (text.isascii() or cells(text) <= width):
        return text
    room = width - cells(more)
    if room < 0:
        return cut(more, width)
    if text[: room + 1].isascii():
        return text[:room] + more
    used = 0
    for index, char in enumerate(text):
        used += cells(char)
        if used > room:
            return text[:index] + more
    return text


def drop(text: str, width: int) -> str:
    """The text without its first `width` cells; half of a wide character that is left is a blank."""
    if text[:width].isascii():
        return text[width:]
    used = 0
    for index, char in enumerate(text):
        if used >= width and (used > width or cells(char)):
            return " " * (used - width) + text[index:]
        used += cells(char)
    return " " * (used - width) if used > width else ""


def cut_words(text: str, width: int, more: str = "") -> str:
    """At most `width` cells of a sentence, cut between words where that leaves at least half of it."""
    short = cut(text, width, more)
    if short == text or not short.endswith(more):
        return short
    body = short.removesuffix(more)
    if text[len(body):].startswith(" "):
        return body.rstrip() + more
    at = body.rstrip().rfind(" ")
    return body[:at].rstrip(" ,;:") + more if at >= len(body) // 2 else short


def fit(text: str, width: int, more: str = "", right: bool = False) -> str:
    """Exactly `width` cells."""
    text = cut(text, width, more)
    pad = " " * (width - cells(text))
    return pad + text if right else text + pad


def _pieces(text: str) -> list[tuple[str, str]]:
    """Words with the blank that stands before each; text without blanks can break around each wide character."""
    out: list[tuple[str, str]] = []
    for word in text.split():
        before = " " if out else ""
        if word.isascii():
            out.append((before, word))
            continue
        run = ""
        for char in word:
            wide = not char.isascii() and cells(char) == 2
            if run and (wide or _wide_end(run)) and char not in CLOSING and run[-1] not in OPENING:
                out.append((before, run))
                before, run = "", ""
            run += char
        out.append((before, run))
    return out


OPENING, CLOSING = "（《“「『【", "，。；：？！、）》”」』】…"
"""No line ends with the ones, and none begins with the others."""


def _wide_end(text: str) -> bool:
    return not text[-1].isascii() and cells(text[-1]) == 2


def wrap(text: str, width: int, lines: int, more: str = "") -> list[str]:
    """Words on at most `lines` lines; a word longer than a line is broken, never dropped."""
    out: list[str] = []
    line = ""
    for before, word in _pieces(text):
        while cells(word) > width:
            if line:
                out.append(line)
                line = ""
            head = cut(word, width)
            out.append(head)
            word = word[len(head):] if head else ""
        joined = f"{line}{before}{word}" if line else word
        if cells(joined) > width:
            out.append(line)
            line = word
        else:
            line = joined
    if line:
        out.append(line)
    if len(out) > lines:
        out = out[:lines]
        out[-1] = cut(out[-1] + " " * width, width, more) if cells(out[-1]) >= width else out[-1] + more
    return out


def since(moment: float | None, now: float) -> str:
    return "" if moment is None else age(now - moment)


def span(seconds: float) -> str:
    """A running clock: `0:48`, `12:03`, `1:02:03`."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def lasting(seconds: float) -> str:
    """A length of time inside a sentence: `20 s`, `2 min 30 s`, `1 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes, secs = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min" + (f" {secs} s" if secs else "")


def zone(moment: float) -> str:
    return time.strftime("%Z", time.localtime(moment)) or "local"




def latency(seconds: float | None) -> str:
    """Milliseconds, without the unit (the header has it)."""
    if seconds is None:
        return ""
    value = seconds * 1000
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def bar(done: int, total: int, width: int, full: str, empty: str) -> str:
    filled = 0 if total <= 0 else min(width, done * width // total)
    return full * filled + empty * (width - filled)


def pairs(items: dict[str, str]) -> str:
    return " ".join(f"{k}={v}" for k, v in sorted(items.items()))


def ports(numbers: dict[str, int]) -> str:
    """`20011`, or `http:20011 admin:20012` when there are several."""
    if len(numbers) <= 1:
        return "".join(str(n) for n in numbers.values())
    return " ".join(f"{name}:{n}" for name, n in sorted(numbers.items()))


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Every dotted path -> its shortest suffix that no other path has."""
    all_paths = list(paths)
    owners: dict[str, int] = {}
    for path in all_paths:
        parts = path.split(".")
        for n in range(len(parts)):
            suffix = ".".join(parts[n:])
            owners[suffix] = owners.get(suffix, 0) + 1
    out: dict[str, str] = {}
    for path in all_paths:
        parts = path.split(".")
        out[path] = next(
            (s for n in range(len(parts) - 1, -1, -1) if owners[s := ".".join(parts[n:])] == 1), path
        )
    return out
