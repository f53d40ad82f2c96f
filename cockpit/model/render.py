"""Plain data to readable YAML: short things inline, the rest one entry a line, quotes where needed."""

from __future__ import annotations

import re
from typing import Any

from cockpit.model.kinds import Block
from cockpit.model.nodes import plain_type

WIDTH = 100
_PLAIN = re.compile(r"^[\w/.](?:[\w/.@%+=~-]*[\w/.@%+=~])?(?: [\w/.(][\w/.@%+=~()-]*)*$")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_OTHER_READERS = re.compile(r"0o[0-7]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|y|Y|n|N")
"""Plain texts that other YAML readers take for numbers or truth values."""


def scalar(value: Any) -> str:
    """One scalar. A text is quoted unless every YAML reader takes the plain form for the same text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and not _OTHER_READERS.fullmatch(text) and plain_type(text) == "str":
        return text
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _escaped(c: str) -> str:
    if c in _ESCAPES:
        return _ESCAPES[c]
    if c.isprintable():
        return c
    code = ord(c)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def inline(value: Any) -> str:
    """Everything on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(k)}: {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(inline(v) for v in value) + "]"
    return scalar(value)


def entry(key: str, value: Any, indent: int) -> str:
    """`key: value` at an indentation, without the last line break; the first line is indented too."""
    pad = " " * indent
    return f"{pad}{scalar(key)}:{after_colon(value, indent, indent + len(scalar(key)) + 1)}"


def after_colon(value: Any, indent: int, used: int) -> str:
    """What follows `key:`: ` inline` or lines below. `indent` is the key's, `used` where the colon ends."""
    short = " " + inline(value)
    if not _tall(value) and (used + len(short) <= WIDTH or not isinstance(value, (dict, list, tuple))):
        return short
    return below(value, indent)


def below(value: Any, indent: int) -> str:
    if isinstance(value, dict) and value:
        return "".join("\n" + entry(k, v, indent + 2) for k, v in value.items())
    if isinstance(value, (list, tuple)) and value:
        return "".join(f"\n{' ' * (indent + 2)}- {_item(v, indent + 4)}" for v in value)
    return " " + inline(value)


def _item(value: Any, indent: int) -> str:
    """What follows `- `; a mapping that is written one entry a line stands below its first key."""
    if isinstance(value, Block) and value:
        return "\n".join(entry(k, v, indent) for k, v in value.items()).lstrip()
    return inline(value)


def document(value: dict[str, Any]) -> str:
    """A whole file, its sections apart from each other."""
    parts = [entry(k, v, 0) for k, v in value.items()]
    lines: list[str] = []
    for part in parts:
        if "\n" in part and lines:
            lines.append("")
        lines.append(part)
    return "\n".join(lines) + "\n"


def _tall(value: Any) -> bool:
    """Whether it holds something that is always written one entry a line."""
    if isinstance(value, dict):
        return (isinstance(value, Block) and bool(value)) or any(_tall(v) for v in value.values())
    return isinstance(value, (list, tuple)) and any(_tall(v) for v in value)
