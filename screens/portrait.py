"""Pictures of the screen as files that need nothing else: SVG and HTML with text that can be selected and read."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.app import App

FONTS = "'DejaVu Sans Mono','Liberation Mono',Menlo,Consolas,monospace"


def strips(app: App[Any]) -> list[list[Segment]]:
    """What the terminal would show, line by line."""
    return [list(strip) for strip in app.screen._compositor.render_strips()]


def screen_text(app: App[Any]) -> str:
    return "\n".join("".join(s.text for s in line).rstrip() for line in strips(app)).rstrip()


def svg(app: App[Any], title: str) -> str:
    """Without fonts from elsewhere, with its spaces kept by every viewer, named and described."""
    made = app.export_screenshot(title=escape(title))
    made = re.sub(r"<!--.*?-->", "", made, flags=re.DOTALL)
    made = re.sub(r"@font-face \{.*?\}", "", made, flags=re.DOTALL)
    made = made.replace("Fira Code", "DejaVu Sans Mono")
    lead = f'<title id="title">{escape(title)}</title>\n<desc id="desc">{escape(screen_text(app))}</desc>\n'
    begin = made.index(">", made.index("<svg ")) + 1
    made = made[:begin] + "\n" + lead + made[begin:]
    return made.replace(
        "<svg ", '<svg xml:space="preserve" role="img" aria-labelledby="title desc" ', 1
    )


def html(app: App[Any], title: str) -> str:
    """One page, no script, nothing fetched."""
    look: Any = getattr(app, "look", None)
    data = look.data if look is not None else {}
    ground, ink = ("#000000", "#d0d0d0") if data.get("ansi") or data.get("colourless") else (
        str(data.get("background", "#000000")), str(data.get("foreground", "#d0d0d0"))
    )
    body = "\n".join("".join(_span(s, ink, ground) for s in line) for line in strips(app))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<style>body{{background:{ground};color:{ink};margin:1em}}pre{{font:14px/1.25 {FONTS};margin:0}}</style>\n"
        f'</head>\n<body>\n<main aria-label="{escape(title, quote=True)}">\n<pre>{body}\n</pre>\n</main>\n</body>\n'
        "</html>\n"
    )


def _span(segment: Segment, ink: str, ground: str) -> str:
    text = escape(segment.text)
    css = _css(segment.style, ink, ground) if segment.style is not None else ""
    return f'<span style="{css}">{text}</span>' if css and segment.text else text


def _css(style: Style, ink: str, ground: str) -> str:
    front = style.color.get_truecolor().hex if style.color and not style.color.is_default else ink
    back = style.bgcolor.get_truecolor().hex if style.bgcolor and not style.bgcolor.is_default else ground
    if style.reverse:
        front, back = back, front
    rules = [f"color:{front}"] if front != ink else []
    rules += [f"background:{back}"] if back != ground else []
    rules += ["font-weight:bold"] if style.bold else []
    rules += ["text-decoration:underline"] if style.underline else []
    return ";".join(rules)
