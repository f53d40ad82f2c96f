"""How things look: glyph sets and colour themes from `themes/`, and the styles made of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from rich.style import Style

from screens import themes
from screens.format import clean
from screens.words import Words

THEMES = themes.SHIPPED
Piece = tuple[str, str]
"""A run of text and the word of its style."""

PLAIN, CURSOR, CURSOR_OFF = 0, 1, 2
"""How the row under a piece is drawn: as it is, under the cursor, under the cursor of a list not in use."""

_NOTHING = Style()


@cache
def _glyph_sets() -> dict[str, Any]:
    return tomllib.loads((themes.PLACE / "glyphs.toml").read_text("utf-8"))


@cache
def _named(name: str) -> themes.Theme:
    return themes.read(name)


@dataclass
class Look:
    """One theme with one glyph set in one language. `generation` grows whenever every line must be drawn anew.

    Raises `themes.Wrong` for a theme that cannot be used.
    """

    theme: str = "dark"
    ascii: bool = False
    stale: bool = False
    generation: int = 0
    words: Words = field(default_factory=Words)
    _styles: dict[tuple[str, int], Style] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.made_of = _named(self.theme)

    @property
    def data(self) -> Mapping[str, Any]:
        return self.made_of.data

    def use(self, theme: themes.Theme) -> None:
        """Another theme from now on; the caller lets everything be drawn anew."""
        self.theme, self.made_of = theme.name, theme
        self._styles.clear()

    @property
    def colourless(self) -> bool:
        return bool(self.data.get("colourless"))

    @property
    def _glyphs(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = _glyph_sets()["ascii" if self.ascii else "unicode"]
        return found

    def glyph(self, mark: str) -> str:
        return self._glyphs["marks"].get(mark, "?")

    def sign(self, name: str) -> str:
        return self._glyphs["signs"][name]

    def text(self, text: str, limit: int = 4096) -> str:
        """A sentence from outside, made safe and drawable; in the operator's language where it is known."""
        text = clean(text, limit)
        if self.words.on and " " in text:
            text = self.words.say(text)
        if self.ascii and not text.isascii():
            for char, spelled in _glyph_sets()["spelling"].items():
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


def choose_ascii(asked: bool | None, encoding: str) -> bool:
    """True when the box-drawing and status glyphs cannot be written."""
    if asked is not None:
        return asked
    return encoding.lower().replace("-", "").replace("_", "") not in ("utf8", "utf8sig")
