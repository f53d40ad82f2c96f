"""Fixed words of the screens in another language: a catalogue in `themes/words/LANGUAGE.toml`, by the English phrase.

Applied where fixed words reach the screen: labels of keys, titles of columns, words of states, headings, sentences.
What has no entry stays as it is: names, ids, verbs, data, logs. In a key `{}` stands for anything, `{#}` for a
number, `{w}` for a word, `(s)` for an s that may be there; in its phrase `{}` or `{0}` put it in again.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import themes
from cockpit.model.view import MARKS
from screens.format import cells

LANGUAGES = {"en": "English", "zh": "简体中文"}
SECTIONS = ("labels", "titles", "states", "phrases")
STATE_COLUMNS = frozenset({
    "state", "presence", "health", "desired", "worst", "kind", "reach", "caller_mark", "called_mark",
    "seen",
})  # fmt: skip
"""Columns that show a word of a state; every other cell is data, unless it is a whole sentence that is known."""
KEPT = 8192
ENDS = ("…", "...", "~", ":", ".", "")
"""What may stand behind a phrase."""
_HOLE = re.compile(r"(\{[#w]?\}|\(s\))")
_APART = re.compile(r"(\s{2,}|; )")
_COUNTED = re.compile(r"(\S )?(\d+) (\w+)")

Piece = tuple[str, str]


@cache
def catalogue(language: str) -> Mapping[str, Mapping[str, str]]:
    """Section -> English phrase -> phrase. Empty for English."""
    if language == "en":
        return {name: {} for name in SECTIONS}
    data = tomllib.loads(Path(themes.__path__[0], "words", f"{language}.toml").read_text("utf-8"))
    return {name: data.get(name, {}) for name in SECTIONS}


def choose(environ: Mapping[str, str], remembered: str = "") -> str:
    """COCKPIT_LANG, then what was chosen last time, then LC_ALL, LC_MESSAGES, LANG. Raises ValueError."""
    asked = environ.get("COCKPIT_LANG", "")
    if asked:
        return named(asked)
    if remembered in LANGUAGES:
        return remembered
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environ.get(name, ""):
            return _of_locale(value) or "en"
    return "en"


def _of_locale(value: str) -> str:
    """`zh_CN.UTF-8` -> zh. Traditional characters are another language."""
    head = value.partition(".")[0].partition("@")[0].replace("-", "_").lower()
    if head in ("zh_tw", "zh_hk", "zh_mo") or "hant" in head:
        return "en"
    found = head.partition("_")[0]
    return found if found in LANGUAGES else "en" if found in ("en", "c", "posix") else ""


def named(word: str) -> str:
    """The language of a word that somebody typed. Raises ValueError."""
    for code, name in LANGUAGES.items():
        if word.lower() in (code, name.lower()):
            return code
    if found := _of_locale(word):
        return found
    there = ", ".join(f"{code} ({name})" for code, name in LANGUAGES.items())
    raise ValueError(f"no language {word!r}; there are {there}")


def pattern_of(key: str) -> re.Pattern[str]:
    """A key of the catalogue as the expression that finds it."""
    parts = [
        {"{}": "(.+?)", "{#}": r"(\d[\d.,]*)", "{w}": r"(\S+)", "(s)": "s?"}.get(part) or re.escape(part)
        for part in _HOLE.split(key) if part
    ]
    return re.compile("".join(parts), re.DOTALL)


class Words:
    """One language. Everything it says is kept, so that a line drawn again costs a look into a dictionary."""

    def __init__(self, language: str = "en") -> None:
        self.on = language != "en"
        data = catalogue(language)
        self._labels, self._titles, self._states = data["labels"], data["titles"], data["states"]
        self._phrases = {k: v for k, v in data["phrases"].items() if not _HOLE.search(k)}
        self._patterns: dict[str, list[tuple[re.Pattern[str], str]]] = {}
        for key, value in sorted(data["phrases"].items(), key=lambda i: (i[0].count("{"), -len(i[0]))):
            if _HOLE.search(key):
                begin = _HOLE.split(key)[0][:3]
                self._patterns.setdefault(begin, []).append((pattern_of(key), value))
        self._said: dict[str, str] = {}

    def label(self, text: str) -> str:
        """What a key does, in a word or two."""
        return self._labels.get(text) or self.say(text) if self.on else text

    def title(self, text: str) -> str:
        """The title of a column."""
        return self._titles.get(text, text) if self.on else text

    def state(self, text: str) -> str:
        return self._states.get(text, text) if self.on else text

    def say(self, text: str) -> str:
        """A sentence or a phrase; itself when the catalogue does not have it."""
        if not self.on or not text:
            return text
        found = self._said.get(text)
        if found is None:
            if len(self._said) >= KEPT:
                self._said.clear()
            found = self._said[text] = self._sentence(text)
        return found

    def _sentence(self, text: str) -> str:
        body = text.strip(" ")
        found = self._whole(body)
        if found is None:
            parts = _APART.split(body)
            if len(parts) > 1:
                made = [part if n % 2 else self._whole(part) or part for n, part in enumerate(parts)]
                if made != parts:
                    found = "".join("；" if part == "; " else part for part in made)
        if found is None:
            return text
        lead = text[: len(text) - len(text.lstrip(" "))]
        tail = len(text) - len(text.rstrip(" "))
        if tail > 0:  # it may stand in a column: what follows stays where it is
            return lead + found + " " * max(1, tail + cells(body) - cells(found))
        return lead + found

    def _whole(self, body: str) -> str | None:
        if len(body) > 400:
            return None
        ends = [end for end in ENDS if body.endswith(end)]
        for look_up in (self._phrases.get, self._filled):
            for end in ends:
                found = look_up(body.removesuffix(end))
                if found is not None:
                    return found + ("。" if end == "." else end)
        counted = _COUNTED.fullmatch(body)
        if counted is not None and counted[3] in self._states:
            return f"{counted[1] or ''}{counted[2]} {self._states[counted[3]]}"
        return None

    def _filled(self, body: str) -> str | None:
        for begin in (body[:3], body[:2], body[:1], ""):
            for pattern, phrase in self._patterns.get(begin, ()):
                found = pattern.fullmatch(body)
                if found is not None:
                    return phrase.format(*(self._inner(group) for group in found.groups()))
        return None

    def _inner(self, text: str) -> str:
        return self.say(text) if " " in text else self._states.get(text, text)

    def piece(self, piece: Piece) -> Piece:
        """A piece of a ready-made line. A single word only where its style says that it is no data."""
        text, style = piece
        if not self.on or not text or text.isspace():
            return piece
        body = text.strip(" ")
        if " " not in body:
            if style in MARKS or style.removeprefix("top_") in MARKS:
                found = self._states.get(body)
            elif style == "head" or body.isupper():
                found = self._phrases.get(body) or self._titles.get(body)
            elif style == "strong" and text.endswith("  "):  # the name of a line, as it is where nothing is wrong
                found = self._labels.get(body)
            else:
                found = self._labels.get(body) if text != body and style == "muted" else None
            if found is None:
                return piece
            lead = text[: len(text) - len(text.lstrip(" "))]
            tail = len(text) - len(text.rstrip(" "))
            return lead + found + " " * (max(1, tail + cells(body) - cells(found)) if tail else 0), style
        return self.say(text), style

    def pieces(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        return [self.piece(p) for p in pieces] if self.on else pieces

    def cell(self, column: str, piece: Piece) -> Piece:
        """A cell of a table, by the id of its column."""
        text, style = piece
        if not self.on or not text:
            return piece
        if column in STATE_COLUMNS:
            return self._states.get(text) or self.say(text), style
        return (self.say(text), style) if " " in text else piece


def phrases(language: str) -> list[tuple[str, str, Any]]:
    """Section, key, phrase: for the checks."""
    return [(s, k, v) for s, found in catalogue(language).items() for k, v in found.items()]
