"""Pictures of a terminal as one SVG that plays by itself: no script in it, nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Protocol

from rich.cells import cell_len
from rich.color import Color
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

WIDTH, HEIGHT = 8.4, 18
"""Pixels of a cell, at a font of 14."""
GROUND, INK = "#121212", "#c6c6c6"
CAPTION = 40
THEME = TerminalTheme((18, 18, 18), (198, 198, 198), [(0, 0, 0)] * 8)


class Shown(Protocol):
    """A picture with its colours as escape sequences, its seconds, and the words under it."""

    @property
    def screen(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def said(self) -> str: ...


def animated(frames: Sequence[Shown], size: tuple[int, int]) -> str:
    """The SVG. `size` is (columns, lines). A line that several pictures share is in it once."""
    wide, high = size[0] * WIDTH, size[1] * HEIGHT
    known: dict[str, str] = {}
    groups = []
    total = sum(frame.seconds for frame in frames)
    at = 0.0
    for frame in frames:
        lines = [
            f'<use href="#{known.setdefault(drawn, f"l{len(known)}")}" y="{y * HEIGHT}"/>'
            for y, text in enumerate(frame.screen.split("\n")[: size[1]])
            if (drawn := line_of(text))
        ]
        caption = f'<text class="c" x="12" y="{high + 26}">{html.escape(frame.said)}</text>' if frame.said else ""
        first, last = at / total, (at + frame.seconds) / total
        at += frame.seconds
        times, values = f"0;{first:.4f};{last:.4f};1", "hidden;visible;hidden;hidden"
        if first == 0:
            times, values = f"0;{last:.4f};1", "visible;hidden;hidden"
        move = (
            f'<animate attributeName="visibility" calcMode="discrete" dur="{total:g}s" repeatCount="indefinite" '
            f'keyTimes="{times}" values="{values}"/>'
        )
        state = "visible" if first == 0 else "hidden"
        groups.append(f'<g visibility="{state}">{move}{"".join(lines)}{caption}</g>')
    kept = "".join(f'<g id="{name}">{drawn}</g>' for drawn, name in known.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high + CAPTION}" '
        f'xml:space="preserve"><style>text{{font:14px "DejaVu Sans Mono",Menlo,Consolas,monospace;fill:{INK};'
        f'white-space:pre}}.c{{fill:#ffffff;font-weight:bold}}.b{{font-weight:bold}}</style>'
        f'<rect width="100%" height="100%" rx="6" fill="{GROUND}"/><defs>{kept}</defs>{"".join(groups)}</svg>\n'
    )


def line_of(text: str) -> str:
    """One line with its colours as SVG; empty when nothing is on it."""
    line = Text.from_ansi(text)
    grounds, words = [], []
    x = 0
    for segment in line.render(_Plain()):  # type: ignore[arg-type]
        style = segment.style or Style()
        if not segment.text or segment.text == "\n":
            continue
        cells = cell_len(segment.text)
        ink, ground = _hex(style.color), _hex(style.bgcolor)
        if style.reverse:
            ink, ground = ground or GROUND, ink or INK
        if ground and ground != GROUND:
            grounds.append(
                f'<rect x="{x * WIDTH:g}" width="{cells * WIDTH:g}" height="{HEIGHT}" fill="{ground}"/>'
            )
        if segment.text.strip():
            bold = ' class="b"' if style.bold else ""
            fill = f' style="fill:{ink}"' if ink and ink != INK else ""
            words.append(
                f'<text x="{x * WIDTH:g}" y="14" textLength="{cells * WIDTH:g}"{bold}{fill}>'
                f"{html.escape(segment.text)}</text>"
            )
        x += cells
    return "".join((*grounds, *words))


class _Plain:
    """As much of a console as Text.render asks for."""

    def get_style(self, style: Style | str, *, default: Style | str | None = None) -> Style:
        return style if isinstance(style, Style) else Style()


def _hex(colour: Color | None) -> str:
    return colour.get_truecolor(THEME).hex if colour is not None and not colour.is_default else ""
