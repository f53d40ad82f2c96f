"""YAML text to nodes that know their place, within limits that hold before aliases are expanded.

Composed from the parser's events rather than by `yaml.compose`, because that loses the place of an
alias and has no limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml
from yaml.resolver import Resolver

from cockpit.model.problems import BadTopology, Path, Problem, Report

MOST_BYTES = 4 * 1024 * 1024
MOST_NODES = 200_000
"""After the expansion of aliases."""
MOST_DEPTH = 50

SCALAR, LIST, MAP = "scalar", "list", "map"
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_RESOLVER: Any = Resolver()
_TAG = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Node:
    """One scalar, list or mapping. `start` and `end` are offsets of characters in the text."""

    kind: str
    line: int
    column: int
    start: int
    end: int
    text: str = ""
    type: str = "str"
    """Of a scalar as YAML reads it: str, int, float, bool, null, timestamp, merge, value."""
    flow: bool = True
    """Written inline: scalars, `[...]`, `{...}`, aliases."""
    literal: bool = False
    """A `|` or `>` scalar."""
    alias: bool = False
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    size: int = 1

    @property
    def block(self) -> bool:
        return self.kind != SCALAR and not self.flow

    def words(self) -> str:
        """What it is, for messages: `the number 5`, `a list`."""
        if self.kind == LIST:
            return "a list"
        if self.kind == MAP:
            return "a mapping"
        if self.type == "null":
            return "nothing"
        short = self.text if len(self.text) <= 40 else self.text[:37] + "..."
        names = {"int": "the number", "float": "the number", "bool": "the truth value"}
        return f"{names[self.type]} {short}" if self.type in names else f'the text "{short}"'


def text_of(data: bytes, file: str) -> str:
    """UTF-8 only, at most 4 MiB, printable. Raises BadTopology with the place of the first fault."""
    if len(data) > MOST_BYTES:
        raise BadTopology([Problem(file, 0, 0, "", f"larger than {MOST_BYTES // 1024 // 1024} MiB")])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        before = data[: e.start].decode("utf-8")
        raise _bad(file, before, f"not UTF-8: byte 0x{data[e.start]:02x}") from None
    body = text.removeprefix("\ufeff")
    found = _UNPRINTABLE.search(body)
    if found:
        raise _bad(file, body[: found.start()], f"character U+{ord(found[0]):04X} is not allowed")
    return text


def compose(text: str, file: str) -> Node:
    """The one document of a YAML text. Raises BadTopology: syntax, limits, tags, several documents."""
    body = text.removeprefix("\ufeff")
    try:
        return _Composer(yaml.parse(body, Loader=_LOADER), file, len(text) - len(body)).document()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = ", ".join(part for part in (e.context, e.problem) if part)
        raise BadTopology([Problem(file, line, column, "", f"not valid YAML: {said}")]) from None
    except yaml.YAMLError as e:
        raise BadTopology([Problem(file, 1, 1, "", f"not valid YAML: {e}")]) from None


class _Composer:
    def __init__(self, events: Iterator[Any], file: str, shift: int) -> None:
        self.events = events
        self.file = file
        self.shift = shift
        self.anchors: dict[str, Node | None] = {}
        self.total = 0

    def document(self) -> Node:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self.fail(event, "a second document starts here; a topology file holds one")
                root = self.node(next(self.events), 1)
        if root is None or (root.kind == SCALAR and root.type == "null"):
            raise BadTopology([Problem(self.file, 1, 1, "", "the file is empty")])
        return root

    def node(self, event: Any, depth: int) -> Node:
        if depth > MOST_DEPTH:
            self.fail(event, f"nested more than {MOST_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self.aliased(event)
        self.count(event, 1)
        if event.tag is not None:
            self.fail(event, f'the tag "{_tag(event.tag)}" is not allowed; plain values only')
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        node = self.begin(event)
        if isinstance(event, yaml.SequenceStartEvent):
            while not isinstance(inner := next(self.events), yaml.SequenceEndEvent):
                node.items.append(self.node(inner, depth + 1))
            node.size += sum(n.size for n in node.items)
            self.finish(node, inner, node.items[-1:])
        elif isinstance(event, yaml.MappingStartEvent):
            while not isinstance(inner := next(self.events), yaml.MappingEndEvent):
                key = self.node(inner, depth + 1)
                value = self.node(next(self.events), depth + 1)
                if value.start == value.end:  # nothing is written: the parsers do not agree on its place
                    value.line, value.column = key.line, key.column
                node.pairs.append((key, value))
            node.size += sum(k.size + v.size for k, v in node.pairs)
            self.finish(node, inner, [n for pair in node.pairs[-1:] for n in pair])
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def begin(self, event: Any) -> Node:
        mark, end = event.start_mark, event.end_mark.index + self.shift
        kind = SCALAR if isinstance(event, yaml.ScalarEvent) else MAP
        if isinstance(event, yaml.SequenceStartEvent):
            kind = LIST
        node = Node(kind, mark.line + 1, mark.column + 1, mark.index + self.shift, end)
        if isinstance(event, yaml.ScalarEvent):
            node.text = event.value
            node.literal = event.style in ("|", ">")
            if not event.style:
                node.type = plain_type(event.value)
        else:
            node.flow = bool(event.flow_style)
        return node

    def finish(self, node: Node, event: Any, last: list[Node]) -> None:
        """A block ends where its last content does; the parser's mark is after the blank lines."""
        node.end = event.end_mark.index + self.shift if node.flow else max(n.end for n in last)

    def aliased(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            self.fail(event, f"the alias *{event.anchor} has no anchor before it")
        target = self.anchors[event.anchor]
        if target is None:
            self.fail(event, f"the alias *{event.anchor} refers to what it stands in")
        self.count(event, target.size)
        mark, end = event.start_mark, event.end_mark.index + self.shift
        return Node(
            target.kind, mark.line + 1, mark.column + 1, mark.index + self.shift, end, target.text,
            target.type, alias=True, items=target.items, pairs=target.pairs, size=target.size,
        )  # fmt: skip

    def count(self, event: Any, nodes: int) -> None:
        self.total += nodes
        if self.total > MOST_NODES:
            self.fail(event, f"more than {MOST_NODES} values once aliases are expanded")

    def fail(self, event: Any, text: str) -> NoReturn:
        mark = event.start_mark
        raise BadTopology([Problem(self.file, mark.line + 1, mark.column + 1, "", text)])


def entries(node: Node, path: Path, to: Report) -> dict[str, tuple[Node, Node]]:
    """Key -> (key node, value node) of a mapping. Reports duplicate keys; `<<` merges are filled in."""
    own: dict[str, tuple[Node, Node]] = {}
    merged: dict[str, tuple[Node, Node]] = {}
    for key, value in node.pairs:
        if key.kind != SCALAR:
            to.problem(path, f"{key.words()} cannot be a key", at=key)
        elif key.type == "merge":
            for source in value.items if value.kind == LIST else [value]:
                if source.kind != MAP:
                    to.problem(path, f"<< merges mappings, found {source.words()}", at=source)
                else:
                    merged = entries(source, path, to) | merged
        elif key.text in own:
            first = own[key.text][0].line
            to.problem((*path, key.text), f'"{key.text}" is here twice, first in line {first}', at=key)
        else:
            own[key.text] = (key, value)
    return own | {k: v for k, v in merged.items() if k not in own}


def plain_type(written: str) -> str:
    """What YAML takes an unquoted scalar for."""
    tag: str = _RESOLVER.resolve(yaml.ScalarNode, written, (True, False))
    return tag.removeprefix(_TAG)


def from_plain(value: Any) -> Node:
    """Nodes for plain JSON-like data, all at the same place. Raises TypeError for anything else."""
    node = Node(SCALAR, 1, 1, 0, 0)
    if isinstance(value, dict):
        node.kind = MAP
        node.pairs = [(from_plain(str(k)), from_plain(v)) for k, v in value.items()]
    elif isinstance(value, (list, tuple)):
        node.kind, node.items = LIST, [from_plain(v) for v in value]
    elif value is None:
        node.type = "null"
    elif isinstance(value, bool):
        node.text, node.type = str(value).lower(), "bool"
    elif isinstance(value, (int, float)):
        node.text, node.type = str(value), type(value).__name__
    elif isinstance(value, str):
        node.text = value
    else:
        raise TypeError(f"not plain data: {type(value).__name__}")
    return node


def _tag(tag: str) -> str:
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


def _bad(file: str, before: str, text: str) -> BadTopology:
    line = before.count("\n") + 1
    return BadTopology([Problem(file, line, len(before) - before.rfind("\n"), "", text)])
