"""The configuration of supervisord: files, sections, expansions. Pure but for the reader it is given."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping
from posixpath import basename, dirname, join

import msgspec

from cockpit.inventory.found import BadSource, Place

_SECTION = re.compile(r"^\[([^\]]+)\]")
_EXPANSION = re.compile(r"%(?:%|\((\w+)\)(0?\d{0,3})([sd])|(.?))")
_MOST_FILES = 500
MOST_PROCESSES = 2000


class Unknown(ValueError):
    """An expansion that cannot be made; the text is its name."""


class Conf(msgspec.Struct):
    """All sections by name, in the order of the files."""

    sections: dict[str, dict[str, str]] = {}
    places: dict[str, Place] = {}
    here: str = "/"


Read = Callable[[str], Awaitable[str]]
Glob = Callable[[str], Awaitable[list[str]]]


async def load(path: str, read: Read, glob: Glob, facts: Mapping[str, str]) -> Conf:
    """The file with all that it includes. `facts`: expansions (`host_node_name`, `ENV_X`). Raises BadSource."""
    conf = Conf(here=dirname(path))
    _add(conf, await read(path), path)
    count = 0
    given = {**facts, "here": conf.here}
    for pattern in conf.sections.get("include", {}).get("files", "").split():
        try:
            full = expand(pattern, given)
        except Unknown as e:
            raise BadSource(f"{path}: [include] asks for %({e})s, which is not known") from None
        for file in sorted(await glob(join(conf.here, full))):
            count += 1
            if count > _MOST_FILES:
                raise BadSource(f"{path}: [include] names more than {_MOST_FILES} files")
            _add(conf, await read(file), file)
    return conf


def _add(conf: Conf, text: str, file: str) -> None:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    try:
        parser.read_string(text, file)
    except configparser.Error as e:
        line = getattr(e, "lineno", 0) or next((n for n, _ in getattr(e, "errors", [])), 0)
        raise BadSource(f"{Place(file, line)}: not a configuration of supervisord: {type(e).__name__}") from None
    lines = {m[1]: n for n, line in enumerate(text.splitlines(), 1) if (m := _SECTION.match(line.strip()))}
    for name in parser.sections():
        conf.sections.setdefault(name, {}).update(parser.items(name))
        conf.places[name] = Place(file, lines.get(name, 0))


def expand(text: str, values: Mapping[str, str | int]) -> str:
    """`%(NAME)s`, `%(NAME)02d`, `%%`. Raises Unknown."""

    def one(match: re.Match[str]) -> str:
        name, width, kind, other = match.groups()
        if other is not None:
            if match[0] == "%":
                raise Unknown("a lone %")
            raise Unknown(f"%{other}")
        if name is None:
            return "%"
        if name not in values:
            raise Unknown(name)
        value = values[name]
        if kind == "d":
            if not str(value).lstrip("-").isdigit():
                raise Unknown(name)
            return str(int(value)).rjust(int(width or 0), "0" if width.startswith("0") else " ")
        return str(value).rjust(int(width or 0))

    return _EXPANSION.sub(one, text)


def key_values(text: str) -> dict[str, str]:
    """`KEY="value",KEY2=value2`. Raises ValueError."""
    lexer = shlex.shlex(text, posix=False)
    lexer.wordchars += "/.+-():%@&{}!?*^~[]|<>$"
    lexer.commenters = ""
    words = list(lexer)
    out = {}
    for n in range(0, len(words), 4):
        part = words[n : n + 3]
        if len(part) != 3 or part[1] != "=":
            raise ValueError("KEY=VALUE pairs with commas between were expected")
        value = part[2]
        out[part[0]] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return out


def config_of(command: list[str]) -> str:
    """The configuration file in a supervisord's command line, or empty."""
    for n, word in enumerate(command):
        if basename(word).startswith("supervisord"):
            rest = command[n + 1 :]
            for k, option in enumerate(rest):
                if option in ("-c", "--configuration") and k + 1 < len(rest):
                    return rest[k + 1]
                if option.startswith("--configuration="):
                    return option.partition("=")[2]
                if option.startswith("-c") and len(option) > 2:
                    return option[2:]
    return ""


def statuses(text: str) -> dict[str, str]:
    """`supervisorctl status` -> `GROUP:NAME` or `NAME` -> state word."""
    out = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isupper():
            out[words[0]] = words[1]
    return out
