"""Argument lists over a selection. Pure; a value is never more than one argument, and no shell sees it.

`{host}` is replaced inside a word. A word that is `{host*}` alone becomes one argument for each selected thing,
and the action runs once for all of them; otherwise it runs once for each. `{{` and `}}` are braces.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from cockpit.model.problems import nearest

FIELDS = ("id", "host", "service", "slot", "version", "address", "port", "pid", "region", "cluster", "state")
"""What a selected thing has; `{port:NAME}` is one of several ports."""

_PART = re.compile(r"\{\{|\}\}|\{([a-z][a-z0-9_]*)(?::([A-Za-z0-9_-]+))?(\*)?\}|[{}]")

Fields = Mapping[str, str]


class Unfilled(ValueError):
    """A field has no value for some selected thing."""


def problem_of(word: str, fields: Collection[str]) -> tuple[str, str] | None:
    """(what is wrong with a word of a template, the nearest right word), or None."""
    if "\0" in word:
        return "an argument holds no null character", ""
    for match in _PART.finditer(word):
        name, part, star = match.groups()
        if match[0] in ("{{", "}}"):
            continue
        if name is None:
            return f"a single {match[0]!r} in {word!r}; write {match[0] * 2!r} for a brace", ""
        if name not in fields:
            return f"no field {{{name}}} in {word!r}", nearest(name, fields)
        if part and name != "port":
            return f"{{{name}:{part}}}: only port has parts", ""
        if star and match[0] != word:
            return f"{match[0]} stands alone in its word, not in {word!r}", ""
    return None


def spreads(argv: Sequence[str]) -> bool:
    """Does it run once for the whole selection?"""
    return any(m[3] for word in argv if (m := _PART.fullmatch(word)))


def fill(
    argv: Sequence[str], things: Sequence[Fields], inputs: Fields
) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Argument lists, each with the numbers of the selected things it is for. Raises Unfilled."""
    if not things:
        return []
    if spreads(argv):
        words: list[str] = []
        for word in argv:
            match = _PART.fullmatch(word)
            if match is not None and match[3]:
                words += dict.fromkeys(_value(match[1], match[2], thing, inputs) for thing in things)
            elif _varies(word, things):
                raise Unfilled(f"{word} differs between the selected; write it as a word of its own, {{{{name*}}}}")
            else:
                words.append(_word(word, things[0], inputs))
        return [(tuple(words), tuple(range(len(things))))]
    return [(tuple(_word(w, thing, inputs) for w in argv), (n,)) for n, thing in enumerate(things)]


def _varies(word: str, things: Sequence[Fields]) -> bool:
    names = {m[1] + (f":{m[2]}" if m[2] else "") for m in _PART.finditer(word) if m[1]}
    return any(len({t.get(n, "") for t in things}) > 1 for n in names)


def _word(word: str, thing: Fields, inputs: Fields) -> str:
    def put(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        return _value(match[1], match[2], thing, inputs)

    return _PART.sub(put, word)


def _value(name: str, part: str | None, thing: Fields, inputs: Fields) -> str:
    if name in inputs:
        return inputs[name]
    value = thing.get(f"{name}:{part}" if part else name, "")
    if not value:
        raise Unfilled(f"{thing.get('id', 'it')} has no {part + ' ' if part else ''}{name}")
    if "\0" in value:
        raise Unfilled(f"{thing.get('id', 'it')}: its {name} cannot be an argument")
    return value
