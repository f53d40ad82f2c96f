"""The filter behind the theme without colours."""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter


@lru_cache(1024)
def _without_colour(style: Style) -> Style:
    return Style(
        bold=style.bold, dim=style.dim, italic=style.italic, underline=style.underline, reverse=style.reverse
    )


class NoColours(LineFilter):
    """Takes every colour code out, the default ones too."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(t, None if s is None else _without_colour(s), c) for t, s, c in segments]
