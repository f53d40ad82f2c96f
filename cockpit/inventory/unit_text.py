"""systemd's own formats: `systemctl show`, `systemctl cat`, command lines, time spans."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from cockpit.inventory.found import Place

_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "m": 60.0, "min": 60.0,
    "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0,
    "day": 86400.0, "days": 86400.0, "w": 604800.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\",
            '"': '"', "'": "'", "s": " "}  # fmt: skip


class Setting(msgspec.Struct, frozen=True):
    value: str
    place: Place


Unit = dict[str, list[Setting]]
"""`Section.Key` -> its values in order; an empty one takes back what stands before it."""


def read_show(text: str) -> list[dict[str, str]]:
    """The blocks of `systemctl show UNIT...`."""
    blocks: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not line.strip():
            blocks.append({})
        elif equals and re.fullmatch(r"[A-Za-z0-9]+", key):
            blocks[-1][key] = value
    return [b for b in blocks if b]


def read_cat(text: str) -> Unit:
    """`systemctl cat UNIT`: the unit's file and its drop-ins, each under a comment with its path."""
    unit: Unit = {}
    file, number, section = "", 0, ""
    pending, start = "", 0
    for raw in text.splitlines():
        number += 1
        if re.match(r"^# /\S.*", raw) and not pending:
            file, number, section = raw[2:].strip(), 0, ""
            continue
        line = raw.strip()
        if pending and line[:1] in ("#", ";"):
            continue
        if not pending and (not line or line[0] in "#;"):
            continue
        start = start if pending else number
        line = (pending + " " + line) if pending else line
        if line.endswith("\\"):
            pending = line[:-1].rstrip()
            continue
        pending = ""
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            settings = unit.setdefault(f"{section}.{key.strip()}", [])
            value = value.strip()
            if not value:
                settings.clear()
            else:
                settings.append(Setting(value, Place(file, start)))
    return unit


def split_words(text: str) -> list[str]:
    """Words by systemd's rules: quotes, C escapes. Raises ValueError when a quote does not end."""
    words: list[str] = []
    word, quote, begun = "", "", False
    n = 0
    while n < len(text):
        c = text[n]
        if c == "\\" and n + 1 < len(text):
            n += 1
            code = text[n]
            digits = {"x": 2, "u": 4, "U": 8}.get(code, 0)
            if digits and re.fullmatch(rf"[0-9A-Fa-f]{{{digits}}}", text[n + 1 : n + 1 + digits]):
                word += chr(int(text[n + 1 : n + 1 + digits], 16))
                n += digits
            else:
                word += _ESCAPES.get(code, "\\" + code)
            begun = True
        elif quote:
            if c == quote:
                quote = ""
            else:
                word += c
        elif c in "\"'":
            quote, begun = c, True
        elif c.isspace():
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + c, True
        n += 1
    if quote:
        raise ValueError("a quote does not end")
    return [*words, word] if begun else words


def environment(settings: list[Setting]) -> dict[str, str]:
    """The variables of `Environment=` lines; a later one wins."""
    out: dict[str, str] = {}
    for setting in settings:
        for word in split_words(setting.value):
            name, equals, value = word.partition("=")
            if equals and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                out[name] = value
    return out


def seconds(text: str) -> float | None:
    """`1min 30s`, `90`, `5s`; None for `infinity` and what is none."""
    total = 0.0
    rest = text.strip()
    if not rest:
        return None
    while rest:
        found = re.match(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", rest)
        if not found or (found[2] and found[2] not in _UNITS):
            return None
        total += float(found[1]) * _UNITS[found[2] or "s"]
        rest = rest[found.end() :]
    return total


def specifiers(text: str, values: Mapping[str, str]) -> tuple[str, list[str]]:
    """`%i` and the like filled from `values`; (text, those that are not known)."""
    unknown: list[str] = []

    def one(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        if match[1] in values:
            return values[match[1]]
        unknown.append(match[0])
        return match[0]

    return re.sub(r"%(.)", one, text), unknown


def variables(words: list[str], env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """`$VAR` and `${VAR}` as systemd fills them; (words, names that are not known)."""
    unknown: list[str] = []
    out: list[str] = []

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[1] in env:
            return env[match[1]]
        unknown.append(match[1])
        return match[0]

    for word in words:
        alone = re.fullmatch(r"\$([A-Za-z_][A-Za-z0-9_]*)", word)
        if alone and alone[1] in env:
            out += env[alone[1]].split()
        elif alone:
            unknown.append(alone[1])
            out.append(word)
        else:
            out.append(re.sub(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}", one, word))
    return out, unknown


def unescape(name: str) -> str:
    """`dev-sda\\x2d1` -> `dev/sda-1`."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), name.replace("-", "/"))
