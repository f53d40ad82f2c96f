"""The language of `/`: words, fuzzy, regular expressions, labels and typed conditions, each with `!` before it.

`parse` makes a Query for one table, or raises `Bad` with a sentence and the place. Pure; docs/finding.md is
its manual.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cockpit.model.problems import Wrong, nearest
from cockpit.model.regexes import checked
from cockpit.model.view import DRIFT, FAILED, MARKS, UNKNOWN
from screens.typed import TEXT, Field, Ready, Schema, condition, fuzzy, short

LIMIT = 400
"""Characters of a filter."""
READ = 400
"""Characters of a row that a regular expression is shown."""
NEEDY = (UNKNOWN, DRIFT, FAILED)
"""Marks of what needs attention."""

_CONDITION = re.compile(
    r"((?:(?:[A-Za-z]\w*\.)*(?:labels?|attributes)\.[\w./-]*\w)|[A-Za-z_](?:[\w.-]*\w)?)(!=|!~|>=|<=|==|=|>|<|~)"
)
_LABEL = re.compile(r"label\.([\w./-]*\w)")


class Bad(ValueError):
    """A filter that cannot be used: what is wrong, at which character (from 0), and where that word begins."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = self.begin = at


class Part:
    """Plain text, or `!text` for lines without it: the filter of lists that have no fields."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.inverse = text.startswith("!")
        self.part = text[1:].lower() if self.inverse else text.lower()

    def __call__(self, haystack: str) -> bool:
        return (self.part in haystack) != self.inverse if self.part else True


@dataclass(frozen=True)
class Term:
    """One condition. `kind` and `word` tell what narrows what; rows are tested by their text or their fields."""

    kind: str
    """part, fuzzy, regex, field, mark or label."""
    word: str
    inverse: bool = False
    on_text: Callable[[str], bool] | None = field(default=None, compare=False)
    """Tests the text of a row in small letters."""
    ready: Ready | None = field(default=None, compare=False)
    """Tests the row itself."""
    timed: bool = field(default=False, compare=False)
    """What it says of a row changes with the clock."""

    def implies(self, other: Term) -> bool:
        """Does whatever passes this one pass the other too?"""
        if self.timed or other.timed or self.inverse != other.inverse or self.kind != other.kind:
            return False
        more, less = (other, self) if self.inverse else (self, other)
        if self.kind == "part":
            return less.word in more.word
        if self.kind == "fuzzy":
            return within(less.word, more.word)
        return self == other

    @property
    def heavy(self) -> bool:
        return self.kind in ("fuzzy", "regex", "field", "label")


def within(part: str, text: str) -> bool:
    """Are the letters of one in the other, in their order?"""
    rest = iter(text)
    return all(c in rest for c in part)


class Query:
    """All of its terms. Rows are given with their text in small letters."""

    def __init__(self, text: str = "", terms: Sequence[Term] = (), now: Callable[[], float] = lambda: 0.0) -> None:
        self.text = text
        self.terms = tuple(terms)
        self.now = now

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def reads(self) -> bool:
        """Does it look at the text of rows?"""
        return any(t.kind == "part" or t.on_text is not None for t in self.terms)

    @property
    def heavy(self) -> bool:
        return any(t.heavy for t in self.terms)

    @property
    def only_excludes(self) -> bool:
        return bool(self.terms) and all(t.inverse for t in self.terms)

    def also(self, other: Query) -> Query:
        """Both together; the text stays this one's."""
        return Query(self.text, (*self.terms, *(t for t in other.terms if t not in self.terms)), self.now)

    def narrows(self, other: Query) -> bool:
        """Does every row that passes this one surely pass the other too?"""
        return all(any(mine.implies(theirs) for mine in self.terms) for theirs in other.terms)

    def passing(self, keys: Iterable[str], rows: Mapping[str, Any], hay: Mapping[str, str]) -> list[str]:
        """The keys that pass, in their order. `hay` is needed where `reads`. One pass for each term."""
        out = list(keys)
        now = self.now()
        for term in self.terms:
            if not out:
                break
            part, inverse, read = term.word, term.inverse, term.on_text
            if term.kind == "part":
                out = [k for k in out if part not in hay[k]] if inverse else [k for k in out if part in hay[k]]
            elif read is not None:
                out = [k for k in out if read(hay[k]) is not inverse]
            else:
                assert term.ready is not None
                test = term.ready(now)
                out = [k for k in out if test(rows[k]) is not inverse]
        return out

    def test(self, row: Any, text: str) -> bool:
        """Does one row pass?"""
        return bool(self.passing(("",), {"": row}, {"": text}))


NOTHING = Query()
"""What everything passes."""


def needy(schema: Schema) -> Query:
    """Only what needs attention; nothing where rows have no mark."""
    mark = schema.mark
    if mark is None:
        return NOTHING
    return Query("", (Term("mark", "needy", ready=lambda now: lambda row: mark(row) in NEEDY),), schema.now)


def parse(text: str, schema: Schema) -> Query:
    """The query of a filter's text. Raises Bad."""
    if len(text) > LIMIT:
        raise Bad(f"a filter has at most {LIMIT} characters", LIMIT)
    terms: list[Term] = []
    at, end = 0, len(text)
    while True:
        while at < end and text[at].isspace():
            at += 1
        if at >= end:
            return Query(text, terms, schema.now)
        inverse, begin = False, at
        while at < end and text[at] == "!":
            inverse, at = not inverse, at + 1
        try:
            try:
                term, after = _term(text, at, schema, inverse)
            except Wrong as error:
                hint = f'; did you mean "{error.hint}"?' if error.hint else ""
                raise Bad(f"{error}{hint}", at) from None
        except Bad as bad:
            bad.begin = begin
            raise
        if term is not None and term not in terms:
            terms.append(term)
        at = after


def _term(text: str, at: int, schema: Schema, inverse: bool) -> tuple[Term | None, int]:
    """The term that begins here and where the next may begin; None where nothing was written yet."""
    first = text[at: at + 1]
    if first in ('"', "'"):
        part, after = _quoted(text, at)
        return (Term("part", part.lower(), inverse) if part else None), after
    if first == "/" or text.startswith("re:", at):
        pattern, start, after = _pattern(text, at)
        if not pattern:
            return None, after
        search = regex(pattern, start)
        return Term("regex", pattern, inverse, on_text=lambda hay: search(hay[:READ]) is not None), after
    if first == "~":
        part, _, after = _value(text, at + 1)
        return (_fuzzy(part.lower(), schema, inverse) if part else None), after
    found = _CONDITION.match(text, at)
    if found:
        value, quoted, after = _value(text, found.end(), pattern=found[2].endswith("~"))
        op = "=" if found[2] == "==" else found[2]
        of = field_of(found[1], schema, '. Text with = in it goes in "..."')
        ready = condition(of, op, value, quoted, lambda want: _match(want, found.end()))
        word = f"{of.name}{op}{value!r}"
        return Term("field", word, inverse, ready=ready, timed=of.kind == "moment"), after
    word, _, after = _value(text, at)
    if not word:
        return None, after
    low = word.lower()
    if low in MARKS and schema.mark is not None:
        mark = schema.mark
        return Term("mark", low, inverse, ready=lambda now: lambda row: mark(row) == low), after
    label = _LABEL.fullmatch(word)
    if label and schema.labels is not None:
        labels, name = schema.labels, label[1]
        return Term("label", name, inverse, ready=lambda now: lambda row: name in labels(row)), after
    return Term("part", low, inverse), after


def _fuzzy(part: str, schema: Schema, inverse: bool) -> Term:
    passes, name = fuzzy(part), schema.name
    if name is None:
        return Term("fuzzy", part, inverse, on_text=passes)
    return Term("fuzzy", part, inverse, ready=lambda now: lambda row: passes(name(row).lower()))


def field_of(name: str, schema: Schema, quote: str = "") -> Field:
    """A field by its name, a label, or a path into the rows. Raises Wrong with the nearest right name."""
    head, dot, key = name.partition(".")
    if dot and (head == "label" or (head == "labels" and schema.labels is not None)):
        labels = schema.labels
        if labels is None:
            raise Wrong("rows of this table have no labels")
        return Field(name, lambda row: labels(row).get(key), TEXT)
    low = name.lower()
    if low == "mark" and schema.mark is not None:
        return Field("mark", schema.mark, TEXT)
    found = schema.field(low)
    if found is not None:
        return found
    names = schema.names()
    hint = next((n for n in names if n.startswith(low)), "") or nearest(low, names)
    if schema.path is not None:
        try:
            return schema.path(name)
        except Wrong as error:
            if dot:
                raise
            hint = hint or error.hint
    if hint:
        raise Wrong(f'no field "{short(name)}" here', hint)
    known = " ".join(names[:12]) or "none"
    raise Wrong(f'no field "{short(name)}" here; there are {known}{quote}')


def _match(want: str, at: int) -> Callable[[str], bool]:
    """What stands after a field's ~: `/regex/`, or letters in their order."""
    if want.startswith("/"):
        if len(want) < 2 or not want.endswith("/"):
            raise Wrong("the regular expression waits for its closing /")
        search = regex(want[1:-1], at + 1)
        return lambda text: search(text[:READ]) is not None
    return fuzzy(want.lower())


def _quoted(text: str, at: int) -> tuple[str, int]:
    """Quoted text; one that is not closed yet goes to the end."""
    close = text.find(text[at], at + 1)
    return (text[at + 1:], len(text)) if close < 0 else (text[at + 1: close], close + 1)


def _value(text: str, at: int, pattern: bool = False) -> tuple[str, bool, int]:
    """A value, whether it was quoted, and where it ends."""
    if text[at: at + 1] in ('"', "'") and at < len(text):
        part, after = _quoted(text, at)
        return part, True, after
    if pattern and text.startswith("/", at):
        _, _, after = _pattern(text, at)
        return text[at:after], False, after
    end = at
    while end < len(text) and not text[end].isspace():
        end += 1
    return text[at:end], False, end


def _pattern(text: str, at: int) -> tuple[str, int, int]:
    """The regular expression that begins here, where its text begins, and where it ends. Raises Wrong."""
    if text.startswith("re:", at):
        start = at + 3
        pattern, quoted, after = _value(text, start)
        return pattern, start + quoted, after
    end = at + 1
    while end < len(text):
        if text[end] == "\\":
            end += 1
        elif text[end] == "/" and (end + 1 >= len(text) or text[end + 1].isspace()):
            return text[at + 1: end], at + 1, end + 1
        end += 1
    raise Wrong("the regular expression waits for its closing /")


def regex(pattern: str, at: int = 0) -> Callable[[str], object]:
    """Its search function, without regard to case. Raises Bad with the place, also for one that may take minutes."""
    try:
        return checked(pattern, re.IGNORECASE).search
    except re.error as error:
        place = at + (error.pos or 0)
        raise Bad(f"regular expression: {error.msg} at character {place + 1}", place) from None
    except Wrong as error:
        raise Bad(f"regular expression: {error}", at) from None


def equals(field: str, value: str) -> str:
    """The condition that a field is just this; what would be read otherwise is quoted."""
    plain = value and not any(c.isspace() or c in "\"'" for c in value)
    return f"{field}={value}" if plain else f'{field}="{value}"'


def describe(schema: Schema) -> str:
    """What can be asked here, for the line below an empty filter."""
    parts = list(schema.names())
    if schema.labels is not None:
        parts.append("label.NAME")
    return f"text  ~fuzzy  !not  /regex/  field>value: {' '.join(parts)}"
