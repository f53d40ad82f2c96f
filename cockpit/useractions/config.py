"""`actions.toml`: what operators define. Every complaint with its line, all found in one pass."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from cockpit.act.table import CHANGE, DESTRUCTIVE, OBSERVE
from cockpit.homes import config_home
from cockpit.model.problems import Problem, nearest
from cockpit.useractions.template import FIELDS, problem_of

MAX_SIZE = 256 * 1024
MAX_ACTIONS = 200
KINDS = ("instance", "service", "host")
TYPES = ("string", "number", "choice", "bool")
CLASSES = (OBSERVE, CHANGE, DESTRUCTIVE)
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
INPUT = re.compile(r"[a-z][a-z0-9_]{0,29}")


class Input(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    type: str = "string"
    label: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()

    def wrong(self, value: str) -> str:
        """Why a value does not do; empty when it does."""
        if "\0" in value or len(value) > 4096:
            return "That is no text for an argument."
        if self.type == "number":
            try:
                float(value)
            except ValueError:
                return "A number, for example 10 or 0.5."
        if self.type == "choice" and value not in self.choices:
            return f"One of {', '.join(self.choices)}."
        if self.type == "bool" and value not in ("yes", "no"):
            return "yes or no."
        return "" if value or self.type == "string" else "Type a value, or Esc."


class UserAction(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    argv: tuple[str, ...]
    about: str = ""
    on: tuple[str, ...] = ("instance",)
    """What it may be used on: instance, service, host."""
    where: str = "here"
    """here (this machine) or hosts (through their agents)."""
    risk: str = CHANGE
    key: str = ""
    timeout: float = 60.0
    user: str = ""
    """On hosts: as whom."""
    parallel: int = 8
    env: dict[str, str] = {}
    inputs: tuple[Input, ...] = ()
    file: str = ""
    line: int = 0


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    actions: tuple[UserAction, ...] = ()
    problems: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    """Where they were looked for."""


_KNOWN = ("argv", "about", "on", "where", "class", "key", "timeout", "user", "parallel", "env", "inputs")
_INPUT_KNOWN = ("name", "type", "label", "default", "choices")


def files_for(cluster: str, environ: Any = None) -> tuple[Path, ...]:
    """For everything, then for this cluster; of two actions of one name the later counts."""
    base = config_home(environ)
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", cluster)
    return (base / "actions.toml", *([base / cluster / "actions.toml"] if plain else []))


def load(cluster: str, environ: Any = None) -> Loaded:
    """Whatever the files hold that is sound; what is not is told and left out."""
    actions: dict[str, UserAction] = {}
    problems: list[Problem] = []
    files = files_for(cluster, environ)
    for path in files:
        text, problem = read_own(path)
        if problem:
            problems.append(Problem(str(path), 0, 0, "", problem))
        elif text is not None:
            found, wrong = parse(text, str(path))
            actions |= {a.name: a for a in found}
            problems += wrong
    return Loaded(actions=tuple(actions.values()), problems=tuple(problems), files=tuple(map(str, files)))


def read_own(path: Path) -> tuple[str | None, str]:
    """(text, problem): both empty without a file. What others may write to is not run."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid not in (0, os.getuid()):
                return None, f"is not read: it belongs to uid {facts.st_uid}"
            if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None, "is not read: others may write to it (chmod go-w)"
            raw = file.read(MAX_SIZE + 1)
        if len(raw) > MAX_SIZE:
            return None, f"is not read: more than {MAX_SIZE >> 10} KiB"
        return raw.decode(), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, UnicodeDecodeError) as e:
        return None, f"cannot be read: {getattr(e, 'strerror', None) or 'it is not UTF-8'}"


def parse(text: str, file: str) -> tuple[list[UserAction], list[Problem]]:
    """The sound actions of one file, and what is wrong with the others."""
    try:
        doc = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        at = re.search(r"line (\d+), column (\d+)", str(e))
        line, column = (int(at[1]), int(at[2])) if at else (0, 0)
        return [], [Problem(file, line, column, "", str(e).partition(" (at")[0])]
    reader = _Reader(text, file)
    for key in doc:
        if key != "actions":
            reader.wrong((key,), f"unknown key {key!r}", nearest(key, ["actions"]))
    tables = doc.get("actions", {})
    if not isinstance(tables, dict):
        reader.wrong(("actions",), "actions is a table: [actions.NAME]")
        tables = {}
    if len(tables) > MAX_ACTIONS:
        reader.wrong(("actions",), f"at most {MAX_ACTIONS} actions")
    found = [a for name, table in list(tables.items())[:MAX_ACTIONS] if (a := reader.action(name, table)) is not None]
    taken: dict[str, str] = {}
    for action in found:
        if action.key and taken.setdefault(action.key, action.name) != action.name:
            reader.wrong(("actions", action.name, "key"), f"key {action.key!r} is taken by {taken[action.key]}")
    return found, reader.problems


def _quoted(name: str) -> str:
    return rf"['\"]?{re.escape(name)}['\"]?"


def _key(name: str) -> str:
    """A line that gives this key, or opens its table."""
    return rf"\s*(\[+\s*)?{_quoted(name)}\s*[=\].]"


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self.lines = text.splitlines()
        self.file = file
        self.problems: list[Problem] = []

    def wrong(self, path: tuple[str, ...], text: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, self.line_of(path), 1, ".".join(path), text, hint))

    def line_of(self, path: tuple[str, ...]) -> int:
        """The line of a key, or of the table it should stand in; inputs count: `(actions, a, inputs, 1, type)`."""
        if path[:1] != ("actions",) or len(path) < 2:
            return self._find(_key(path[0]), 0) or 1
        table = rf"\s*\[+\s*actions\s*\.\s*{_quoted(path[1])}\s*"
        head = self._find(table + r"[\].]", 0)
        if not head or len(path) == 2:
            return head or 1
        if path[2] == "inputs" and len(path) > 3:
            at = head - 1
            for _ in range(int(path[3]) + 1):
                at = self._find(table + r"\.\s*inputs\s*\]", at)
                if not at:
                    return self._find(_key("inputs"), head, table) or head
            return (self._find(_key(path[4]), at, r"\s*\[") if len(path) > 4 else 0) or at
        return self._find(_key(path[-1]), head, table) or head

    def _find(self, pattern: str, after: int, only: str = "") -> int:
        """The number of the next line like this, 0 without one; a table that is not like `only` ends the search."""
        for n, line in enumerate(self.lines[after:], after + 1):
            if re.match(pattern, line):
                return n
            if only and re.match(r"\s*\[", line) and (only == r"\s*\[" or not re.match(only, line)):
                return 0
        return 0

    def action(self, name: str, table: Any) -> UserAction | None:
        before, at = len(self.problems), ("actions", name)
        if not NAME.fullmatch(name):
            self.wrong(at, f"an action's name is of a-z, 0-9, - and _, at most 40: {name!r}")
        if not isinstance(table, dict):
            self.wrong(at, f"{name} is a table: [actions.{name}]")
            return None
        for key in table:
            if key not in _KNOWN:
                self.wrong((*at, key), f"unknown key {key!r}", nearest(key, _KNOWN))
        inputs = self.inputs(at, table.get("inputs", []))
        argv = table.get("argv")
        if not (isinstance(argv, list) and argv and all(isinstance(a, str) for a in argv) and argv[0]):
            self.wrong((*at, "argv"), "argv is a list of words: the program and its arguments; no shell reads it")
            argv = []
        fields = {*FIELDS, *(i.name for i in inputs)}
        for word in argv:
            if problem := problem_of(word, fields):
                self.wrong((*at, "argv"), *problem)
        on = table.get("on", ["instance"])
        on = [on] if isinstance(on, str) else on
        for kind in on if isinstance(on, list) and on else [""]:
            self.one_of((*at, "on"), kind, KINDS)
        self.one_of((*at, "where"), table.get("where", "here"), ("here", "hosts"))
        self.one_of((*at, "class"), table.get("class", CHANGE), CLASSES)
        timeout = self.number((*at, "timeout"), table.get("timeout", 60), 86400)
        parallel = self.number((*at, "parallel"), table.get("parallel", 8), 100)
        env = table.get("env", {})
        if not (isinstance(env, dict) and all(isinstance(v, str) for v in env.values())):
            self.wrong((*at, "env"), "env is a table of words")
            env = {}
        for key in ("about", "key", "user"):
            if not isinstance(table.get(key, ""), str):
                self.wrong((*at, key), f"{key} is a word")
        if len(self.problems) > before:
            return None
        return UserAction(
            name=name, argv=tuple(argv), about=table.get("about", ""), on=tuple(on),
            where=table.get("where", "here"), risk=table.get("class", CHANGE), key=table.get("key", ""),
            timeout=timeout, user=table.get("user", ""), parallel=int(parallel), env=env, inputs=tuple(inputs),
            file=self.file, line=self.line_of(at),
        )

    def one_of(self, path: tuple[str, ...], value: Any, words: tuple[str, ...]) -> None:
        if value not in words:
            hint = nearest(value, words) if isinstance(value, str) else ""
            self.wrong(path, f"{path[-1]} is one of {', '.join(words)}, not {value!r}", hint)

    def number(self, path: tuple[str, ...], value: Any, most: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            self.wrong(path, f"{path[-1]} is a number, more than 0 and at most {most:g}")
            return 1.0
        return float(value)

    def inputs(self, at: tuple[str, ...], tables: Any) -> list[Input]:
        path = (*at, "inputs")
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            self.wrong(path, "inputs are tables: [[actions.NAME.inputs]]")
            return []
        found: list[Input] = []
        for number, table in enumerate(tables[:20]):
            path = (*at, "inputs", str(number))
            name = table.get("name")
            if not isinstance(name, str) or not INPUT.fullmatch(name) or name in FIELDS:
                self.wrong(path, f"an input's name is of a-z, 0-9 and _, and no field like {{host}}: {name!r}")
                continue
            for key in table:
                if key not in _INPUT_KNOWN:
                    self.wrong((*path, key), f"unknown key {key!r}", nearest(key, _INPUT_KNOWN))
            self.one_of((*path, "type"), table.get("type", "string"), TYPES)
            choices = table.get("choices", [])
            if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
                self.wrong((*path, "choices"), "choices is a list of words")
                choices = []
            if table.get("type") == "choice" and not choices:
                self.wrong(path, f"input {name}: a choice needs choices")
            default = table.get("default", "")
            default = ("yes" if default else "no") if isinstance(default, bool) else str(default)
            found.append(Input(
                name=name, type=str(table.get("type", "string")), label=str(table.get("label", "")), default=default,
                choices=tuple(choices),
            ))  # fmt: skip
        return found
