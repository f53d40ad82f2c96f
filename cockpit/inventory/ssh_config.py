"""Machines from an OpenSSH client configuration: `Host` blocks with plain names."""

from __future__ import annotations

import fnmatch
import re
import shlex
from pathlib import Path

import msgspec

from cockpit.inventory.ansible import jump_of_command
from cockpit.inventory.ansible_read import read_text
from cockpit.inventory.found import MOST_MACHINES, BadSource, Found, Machine, Place
from cockpit.inventory.places import files_like

_DEEPEST = 16
_TAKEN = ("hostname", "port", "user", "proxyjump", "proxycommand")


class Block(msgspec.Struct):
    """One `Host` line and what is below it. The part before the first has the pattern `*`."""

    patterns: list[str]
    place: Place
    options: list[tuple[str, str, Place]] = []


def read(path: Path, home: Path) -> Found:
    """Raises BadSource when the file cannot be read. `home` is where `~` and relative Includes begin."""
    found = Found(title=f"SSH configuration {path}")
    blocks: list[Block] = []
    _file(path, home, blocks, found, [["*"]], 0)
    names: dict[str, Place] = {}
    for block in blocks:
        for name in block.patterns:
            if not set(name) & set("*?!"):
                names.setdefault(name, block.place)
    if len(names) > MOST_MACHINES:
        raise BadSource(f"{path}: more than {MOST_MACHINES} hosts")
    for name, place in names.items():
        found.machines.append(_machine(name, place, blocks, found))
    return found


def _file(path: Path, home: Path, blocks: list[Block], found: Found, within: list[list[str]], depth: int) -> None:
    """`within`: the patterns that must match around an included file."""
    current: Block | None = Block(list(within[-1]), Place(str(path)))
    assert current is not None
    blocks.append(current)
    skipping = False
    for number, raw in enumerate(read_text(path).splitlines(), 1):
        line, place = raw.strip(), Place(str(path), number)
        if not line or line.startswith("#"):
            continue
        key, value = _split(line)
        word = key.lower()
        if word == "host":
            try:
                patterns = shlex.split(value)
            except ValueError:
                patterns = value.split()
            current, skipping = Block(patterns, place), False
            blocks.append(current)
        elif word == "match":
            skipping = value.lower() != "all"
            if skipping:
                found.remark(place, f"Match {value[:60]} is not understood: its block was left out")
            else:
                current = Block(["*"], place)
                blocks.append(current)
        elif skipping:
            continue
        elif word == "include":
            if depth >= _DEEPEST:
                raise BadSource(f"{place}: Include goes deeper than {_DEEPEST}")
            for file in _included(value, home, found, place):
                _file(file, home, blocks, found, [*within, current.patterns], depth + 1)
            again = Block(current.patterns, place)
            blocks.append(again)
            current = again
        elif word in _TAKEN:
            current.options.append((word, value, place))


def _split(line: str) -> tuple[str, str]:
    found = re.match(r"([A-Za-z0-9]+)\s*[=\s]\s*(.*)$", line)
    if not found:
        return line, ""
    value = re.sub(r"\s+#.*$", "", found[2]).strip()
    if found[1].lower() not in ("host", "include", "proxycommand") and value[:1] == '"' == value[-1:]:
        value = value[1:-1]
    return found[1], value


def _included(value: str, home: Path, found: Found, place: Place) -> list[Path]:
    out: list[Path] = []
    try:
        words = shlex.split(value)
    except ValueError:
        words = value.split()
    for word in words:
        text = str(home) + word[1:] if word.startswith("~/") else word
        base = text if text.startswith("/") else str(home / ".ssh" / text)
        matches = [Path(p) for p in files_like(base)]
        if not matches and not set(word) & set("*?["):
            found.remark(place, f"Include {word}: no such file")
        out += matches
    return out


def matches(patterns: list[str], name: str) -> bool:
    """As ssh does: one must match, and none with `!`."""
    hit = False
    for pattern in patterns:
        plain = pattern.removeprefix("!")
        if fnmatch.fnmatchcase(name.lower(), plain.lower().replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            hit = True
    return hit


def _machine(name: str, place: Place, blocks: list[Block], found: Found) -> Machine:
    first: dict[str, tuple[str, Place]] = {}
    for block in blocks:
        if matches(block.patterns, name):
            for key, value, at in block.options:
                if key in ("proxyjump", "proxycommand") and {"proxyjump", "proxycommand"} & first.keys():
                    continue
                first.setdefault(key, (value, at))
    none = ("", place)
    notes: list[str] = []
    port, at = first.get("port", ("22", place))
    number = int(port) if re.fullmatch(r"\d{1,5}", port) else 0
    if not 1 <= number <= 65535:
        found.remark(at, f"Port {port[:20]} is no port: 22 is taken")
        number = 22
    way, at = first.get("proxyjump", none)
    way = "" if way.lower() == "none" else way
    jump = tuple(j.strip().removeprefix("ssh://") for j in way.split(",") if j.strip())
    command, at = first.get("proxycommand", none)
    if command and command.lower() != "none":
        hop = jump_of_command(command)
        jump = (hop,) if hop else ()
        if not hop:
            notes.append("ProxyCommand is not taken here; ssh_config is still read when it is entered")
    address = first.get("hostname", (name, place))[0].replace("%h", name).replace("%%", "%")
    return Machine(
        name=name, place=place, address=address, target=name, port=number, user=first.get("user", none)[0],
        jump=jump, notes=tuple(notes),
    )  # fmt: skip
