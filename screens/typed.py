"""Typed values of rows: how a field is read, and how it is compared with what an operator types. Pure.

A table says its fields in one `Schema`; kinds give the comparison. Raises `Wrong` with a whole sentence.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any

from cockpit.model.problems import Wrong
from screens.format import cut

Test = Callable[[Any], bool]
"""Row -> does it pass?"""
Ready = Callable[[float], Test]
"""Now, in seconds since 1970 -> the test at that moment."""

TEXT, PATH, MANY, NUMBER, NUMBERS, VERSION = "text", "path", "many", "number", "numbers", "version"
MOMENT, SPAN, SIZE, FLAG, AUTO = "moment", "span", "size", "flag", "auto"
ORDERED = (NUMBER, NUMBERS, VERSION, MOMENT, SPAN, SIZE, AUTO)
"""Kinds that know larger and smaller."""

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_BYTES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([a-z]*)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_PRE = re.compile(r"(\d+)(a|alpha|b|beta|rc|dev|pre)(\d*)", re.IGNORECASE)
YES, NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


@dataclass(frozen=True)
class Field:
    name: str
    get: Callable[[Any], Any]
    """Row -> value by the kind: str; Iterable of str (many) or numbers (numbers); number; seconds since 1970
    (moment); seconds (span); bytes (size); bool (flag). None: there is no value."""
    kind: str = TEXT
    about: str = ""
    unit: float = 1.0
    """Seconds that a bare number means, for spans."""


@dataclass(frozen=True)
class Schema:
    """What can be asked of the rows of one table."""

    fields: tuple[Field, ...] = ()
    name: Callable[[Any], str] | None = None
    """What `~fuzzy` looks at; None: the whole text of the row."""
    mark: Callable[[Any], str] | None = None
    labels: Callable[[Any], Mapping[str, str]] | None = None
    now: Callable[[], float] = lambda: 0.0
    path: Callable[[str], Field] | None = None
    """The field behind a path into the rows (screens/paths.py); raises Wrong."""

    def field(self, name: str) -> Field | None:
        return next((f for f in self.fields if f.name == name), None)

    def names(self) -> list[str]:
        return [f.name for f in self.fields]


def short(text: str) -> str:
    return cut(text, 40, "...")


@lru_cache(8192)
def version_key(text: str) -> tuple[Any, ...]:
    """Versions in their order: 1.4 = 1.4.0 < 1.4.1 < 1.10; 2.0-rc1 and 2.0rc1 come before 2.0."""
    main, dash, pre = text.strip().lower().removeprefix("v").partition("+")[0].partition("-")
    parts = [p for p in re.split(r"[._]", main) if p]
    if parts and (found := _PRE.fullmatch(parts[-1])):
        parts[-1], dash = found[1], "-"
        pre = f"{found[2]}{found[3]}" + (f".{pre}" if pre else "")
    numbers = [_part(p) for p in parts]
    while numbers and numbers[-1] == (1, 0, ""):
        numbers.pop()
    bits = [b for p in re.split(r"[.\-_]", pre) for b in re.findall(r"\d+|\D+", p)]
    return (tuple(numbers), 0 if dash else 1, tuple(_part(p) for p in bits))


def _part(text: str) -> tuple[int, int, str]:
    return (1, int(text[:18]), "") if text.isdecimal() and text.isascii() else (0, 0, text)


@lru_cache(8192)
def natural_key(text: str) -> tuple[Any, ...]:
    """Text in the order people expect: sh-2 before sh-10."""
    return tuple(_part(p) for p in re.findall(r"[0-9]+|[^0-9]+", text.lower()))


def sort_key(field: Field) -> Callable[[Any], Any]:
    """Row -> key by the field's type; rows without a value come first."""
    get, kind = field.get, field.kind

    def plain(row: Any) -> Any:
        value = get(row)
        return (False, 0) if value is None else (True, value)

    def several(row: Any) -> Any:
        return tuple(get(row) or ())

    def moment(row: Any) -> Any:
        value = get(row)
        return (False, 0.0) if value is None else (True, -value)  # by age

    def worded(row: Any) -> Any:
        value = get(row)
        return version_key(value or "") if kind == VERSION else natural_key(value or "")

    if kind in (VERSION, TEXT, PATH, AUTO):
        return worded
    if kind in (MANY, NUMBERS):
        return several
    return moment if kind == MOMENT else plain


def parse_span(text: str, unit: float = 1.0) -> tuple[float, float]:
    """`1h30m`, `90s`, `2d`, or a bare number of `unit`: seconds, and the smallest unit that was written."""
    total, grain, at = 0.0, 0.0, 0
    for found in _SPAN.finditer(text):
        length = (_SECONDS.get(found[2]) if found[2] else unit) if found.start() == at else None
        if length is None:
            break
        total, grain, at = total + float(found[1]) * length, length, found.end()
    if not text or at != len(text) or len(text) > 40:
        raise Wrong(f'"{short(text)}" is not a length of time; write 500ms, 30s, 5m, 2h or 7d')
    return total, grain


def parse_size(text: str) -> float:
    """Bytes: `512K`, `1.5G`, `3MiB` (1024-based), or a bare number."""
    found = _SIZE.fullmatch(text) if len(text) <= 40 else None
    if found is None:
        raise Wrong(f'"{short(text)}" is not a size; write 512K, 10M, 1.5G or a number of bytes')
    return float(found[1]) * _BYTES[found[2].lower()]


def parse_number(text: str) -> float:
    try:
        if len(text) > 40 or not text.isascii():
            raise ValueError
        value = float(text)
    except ValueError:
        raise Wrong(f'"{short(text)}" is not a number') from None
    if value != value:
        raise Wrong(f'"{short(text)}" is not a number')
    return value


def fuzzy(part: str) -> Callable[[str], bool]:
    """Do the letters stand in a text in this order? The pattern cannot backtrack."""
    pattern = "".join(f"[^{re.escape(c)}]*{re.escape(c)}" for c in part)
    found = re.compile(pattern, re.DOTALL).match
    return lambda text: found(text) is not None


def _same(want: str) -> Callable[[str], bool]:
    """Equality of text without regard to case; `*` and `?` stand for anything."""
    want = want.lower()
    if "*" in want or "?" in want:
        if want.count("*") > 4:
            raise Wrong(f'"{short(want)}" has too many *; four are enough')
        matches = re.compile(translate(want)).match
        return lambda text: matches(text.lower()) is not None
    return lambda text: text.lower() == want


def _along(want: str) -> Callable[[str], bool]:
    """Does a path hold these names side by side? `web`, `shop.web` and `web/2` are in `shop.web/2`."""
    if "*" in want or "?" in want:
        return _same(want)
    part = f".{want.lower().replace('/', '.')}."
    return lambda text: part in f".{text.lower().replace('/', '.')}."


def condition(field: Field, op: str, want: str, quoted: bool, match: Callable[[str], Callable[[str], bool]]) -> Ready:
    """The test for `field op want`; `op` is one of = != > >= < <= ~ !~, and `match` compiles what stands after ~.

    A row without a value passes no comparison; != and !~ are the complements of = and ~. Raises Wrong.
    """
    if op in ("!=", "!~"):
        ready = condition(field, op[1:], want, quoted, match)

        def complement(now: float) -> Test:
            test = ready(now)
            return lambda row: not test(row)

        return complement
    test = _moment(field, op, want, quoted) if field.kind == MOMENT else None
    if test is not None:
        return test
    fixed = _test(field, op, want, quoted, match)
    return lambda now: fixed


def _test(field: Field, op: str, want: str, quoted: bool, match: Callable[[str], Callable[[str], bool]]) -> Test:
    get, kind = field.get, field.kind
    if want == "" and not quoted:
        raise Wrong(f"{field.name}{op} waits for {_example(field)}")
    if op == "~":
        passes = match(want)
        return lambda row: any(passes(text.lower()) for text in _texts(get(row), field))
    if op != "=" and kind not in ORDERED:
        raise Wrong(f"{field.name} knows no larger and smaller; use = != or ~")
    if want == "":
        if op != "=":
            raise Wrong(f"{field.name}{op} waits for {_example(field)}")
        return lambda row: not any(_texts(get(row), field))
    compare = _COMPARE[op]
    if kind == FLAG:
        if want.lower() not in (*YES, *NO):
            raise Wrong(f"{field.name} is yes or no")
        yes = want.lower() in YES
        return lambda row: bool(get(row)) is yes
    if kind in (TEXT, PATH, MANY) or ("*" in want and op == "=" and kind in (VERSION, AUTO)):
        same = _along(want) if kind == PATH else _same(want)
        return lambda row: any(same(text) for text in _texts(get(row), field))
    if kind == VERSION:
        key = version_key(want)
        return lambda row: bool(v := get(row)) and compare(version_key(v), key)
    if kind == NUMBERS:
        number = parse_number(want)
        return lambda row: any(compare(v, number) for v in get(row) or ())
    if kind == SPAN:
        length, grain = parse_span(want.lower(), field.unit)
        if op == "=":
            return lambda row: (v := get(row)) is not None and length <= v < length + grain
        return lambda row: (v := get(row)) is not None and compare(v, length)
    if kind == AUTO:
        return _auto(field, op, want)
    number = parse_size(want) if kind == SIZE else parse_number(want)
    return lambda row: (v := get(row)) is not None and compare(v, number)


def _moment(field: Field, op: str, want: str, quoted: bool) -> Ready | None:
    """Moments are compared by their age; None where that is not what was asked."""
    if want == "" or op == "~":
        return None
    get = field.get
    length, grain = parse_span(want.lower())
    compare = _COMPARE[op]

    def ready(now: float) -> Test:
        if op == "=":
            return lambda row: (v := get(row)) is not None and length <= now - v < length + grain
        return lambda row: (v := get(row)) is not None and compare(now - v, length)

    return ready


def _auto(field: Field, op: str, want: str) -> Test:
    """A column nobody declared: as numbers where both sides are, else as text by the natural order."""
    get, compare, same = field.get, _COMPARE[op], _same(want)
    try:
        number: float | None = parse_number(want)
    except Wrong:
        number = None
    key = natural_key(want)

    def test(row: Any) -> bool:
        text = (get(row) or "").strip()
        if number is not None:
            try:
                return compare(float(text), number)
            except ValueError:
                pass
        return same(text) if op == "=" else bool(text) and compare(natural_key(text), key)

    return test


def _texts(value: Any, field: Field) -> Iterable[str]:
    if value is None:
        return ()
    if field.kind in (MANY, NUMBERS):
        return [str(v) for v in value]
    return (value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value),)


def _example(field: Field) -> str:
    return {
        NUMBER: "a number", NUMBERS: "a number", VERSION: "a version, for example 1.4",
        MOMENT: "an age, for example 2h", SPAN: "a length of time, for example 20ms",
        SIZE: "a size, for example 10M", FLAG: "yes or no",
    }.get(field.kind, 'a word; "" means empty')  # fmt: skip
