"""How things look: glyph sets and colour themes from `themes/`, and the styles made of them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from rich.style import Style

from screens.format import clean

Piece = tuple[str, str]
"""A run of text and the word of its style."""

THEMES = ("dark", "light", "ansi16", "mono")

PLAIN, CURSOR, CURSOR_OFF = 0, 1, 2
"""How the row under a piece is drawn: as it is, under the cursor, under the cursor of a list not in use."""

_NOTHING = Style()


@cache
def _data(name: str) -> dict[str, Any]:
    return tomllib.loads(files("themes").joinpath(f"{name}.toml").read_text("utf-8"))


@dataclass
class Look:
    """One theme with one glyph set. `generation` grows whenever every line must be drawn anew."""

    theme: str = "dark"
    ascii: bool = False
    stale: bool = False
    generation: int = 0
    _styles: dict[tuple[str, int], Style] = field(default_factory=dict)

    @property
    def data(self) -> Mapping[str, Any]:
        return _data(self.theme)

    @property
    def colourless(self) -> bool:
        return bool(self.data.get("colourless"))

    @property
    def _glyphs(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = _data("glyphs")["ascii" if self.ascii else "unicode"]
        return found

    def glyph(self, mark: str) -> str:
        return self._glyphs["marks"].get(mark, "?")

    def sign(self, name: str) -> str:
        return self._glyphs["signs"][name]

    def text(self, text: str, limit: int = 4096) -> str:
        """A sentence from outside, made safe and drawable."""
        text = clean(text, limit)
        if self.ascii and not text.isascii():
            for char, spelled in _data("glyphs")["spelling"].items():
                text = text.replace(char, spelled)
        return text

    def style(self, word: str, row: int = PLAIN) -> Style:
        key = (word, row)
        style = self._styles.get(key)
        if style is None:
            style = self._styles[key] = self._make(word, row)
        return style

    def _make(self, word: str, row: int) -> Style:
        styles = self.data["styles"]
        if word.startswith("top_"):
            # a mark on the top line: its colour on the line's own ground
            return (
                self._make("top", PLAIN) + Style.parse(styles[word.removeprefix("top_")] or "none") + Style(bold=True)
            )
        faded = self.stale and word not in ("top", "topstrong", "alarm", "key", "strong")
        style = Style.parse(styles["muted" if faded else word] or "none")
        if not self.data["ansi"] and style.bgcolor is None:
            style = Style.parse(f"on {self.data['background']}") + style
        if row == PLAIN:
            return style
        if row == CURSOR and self.data["ansi"]:
            # reversed colours would be patches of ground; glyph and word still tell
            return Style(bold=style.bold or word == "text", reverse=True)
        over = Style.parse(self.data["cursor" if row == CURSOR else "cursor_off"])
        return style + over + (Style(bold=True) if row == CURSOR and word in ("text", "strong") else _NOTHING)

    def fade(self, stale: bool) -> bool:
        """Draw everything as old news, or no longer; true when that is a change (then: a new generation)."""
        if stale == self.stale:
            return False
        self.stale = stale
        self._styles.clear()
        return True


def choose_theme(asked: str | None, environ: Mapping[str, str] | None = None) -> str:
    """The theme for this terminal. `NO_COLOR` wins over everything; raises ValueError for an unknown name."""
    env = os.environ if environ is None else environ
    if env.get("NO_COLOR"):
        return "mono"
    name = asked or env.get("COCKPIT_THEME")
    if name:
        if name not in THEMES:
            raise ValueError(f"no theme {name!r}; there are {', '.join(THEMES)}")
        return name
    term = env.get("TERM", "")
    if not env.get("COLORTERM") and "256color" not in term and not term.endswith("-direct"):
        return "ansi16"
    background = env.get("COLORFGBG", "").rpartition(";")[2]
    return "light" if background in ("7", "15") else "dark"


def choose_ascii(asked: bool | None, encoding: str) -> bool:
    """True when the box-drawing and status glyphs cannot be written."""
    if asked is not None:
        return asked
    return encoding.lower().replace("-", "").replace("_", "") not in ("utf8", "utf8sig")
