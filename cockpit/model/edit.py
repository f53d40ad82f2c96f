"""Edits of a YAML text at the places of its nodes, so that everything else stays as it is."""

from __future__ import annotations

import re
from typing import Any

from cockpit.model.kinds import Kind, ListOf, MapOf, Object
from cockpit.model.nodes import LIST, MAP, SCALAR, Node
from cockpit.model.render import after_colon, entry, inline, scalar

Pairs = dict[str, tuple[Node, Node]]
_ABSENT = object()


class Stuck(Exception):
    """This node cannot be edited in place; the one around it is written anew."""


class Edits:
    """Replacements in a text, kept apart from it until all are known."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.done: list[tuple[int, int, str]] = []

    def replace(self, start: int, end: int, new: str) -> None:
        self.done.append((start, end, new))

    def insert(self, at: int, new: str) -> None:
        """Of several at one place the first stays first: inner nodes are edited before outer ones."""
        self.done.append((at, at, new))

    def result(self) -> str:
        """Raises Stuck when two edits overlap."""
        newline = "\r\n" if "\r\n" in self.text else "\n"
        parts, position = [], 0
        for start, end, new in sorted(self.done, key=lambda edit: (edit[0], edit[1] > edit[0])):
            if start < position:
                raise Stuck
            parts += [self.text[position:start], new.replace("\n", newline)]
            position = end
        return "".join([*parts, self.text[position:]])

    # places in the text

    def line_end(self, offset: int) -> int:
        """Offset of the line break that ends the line, or of the end of the text."""
        at = self.text.find("\n", offset)
        at = len(self.text) if at < 0 else at
        return at - 1 if at > offset and self.text[at - 1] == "\r" else at

    def line_start(self, offset: int) -> int:
        return self.text.rfind("\n", 0, offset) + 1

    def last(self, node: Node) -> int:
        """Where the content of a node ends, without the line break of a literal."""
        end = node.end
        while end > node.start and self.text[end - 1].isspace():
            end -= 1
        return end

    def colon(self, key: Node) -> int:
        """Offset after the colon of a key."""
        found = re.compile(r"[ \t]*:").match(self.text, key.end)
        if found is None:
            raise Stuck
        return found.end()

    # what can be done to a mapping

    def set_value(self, parent: Node, key: Node, value: Node, plain: Any) -> None:
        inside = parent.flow
        colon = self.colon(key)
        used = key.column + key.end - key.start
        new = " " + inline(plain) if inside else after_colon(plain, key.column - 1, used)
        end = max(self.last(value), colon)
        end = self.line_end(end) if value.block else end  # a comment behind its last line goes with it
        simple = value.flow and not value.literal and value.start > colon
        if "\n" not in new:
            if simple:
                longer = len(new) - 1 - (end - value.start)
                self.replace(value.start, *self._with_comment(end, longer, new[1:]))
            elif value.start > self.line_end(colon):  # a block below; what is behind the key stays
                self.insert(colon, new)
                self.replace(self.line_end(colon), end, "")
            else:
                self.replace(colon, end, new)
        elif value.start > self.line_end(colon):
            self.replace(self.line_end(colon), end, new)
        elif self.text[end : self.line_end(end)].lstrip().startswith("#"):
            self.replace(colon, end, "")
            self.insert(self.line_end(end), new)
        else:
            self.replace(colon, end, new)

    def _with_comment(self, end: int, longer: int, new: str) -> tuple[int, str]:
        """Leaves a comment behind the value in its column when the gap before it allows."""
        found = re.compile(r" {2,}(?=#)").match(self.text, end)
        if found is None:
            return end, new
        return found.end(), new + " " * max(2, len(found[0]) - longer)

    def remove(self, parent: Node, pairs: Pairs, gone: set[str]) -> None:
        names = list(pairs)
        for n, name in enumerate(names):
            if name not in gone:
                continue
            key, value = pairs[name]
            if not parent.flow:
                self._remove_lines(key, value)
            elif any(other not in gone for other in names[:n]):
                previous = pairs[names[n - 1]]
                self.replace(max(node.end for node in previous), max(value.end, key.end), "")
            else:
                self.replace(key.start, pairs[names[n + 1]][0].start, "")

    def _remove_lines(self, key: Node, value: Node) -> None:
        first = self.line_start(key.start)
        if self.text[first : key.start].strip() or first == 0:
            raise Stuck
        end = self.line_end(max(self.last(value), key.end))
        after = self.text.find("\n", end) + 1
        following = self.text[after : self.line_end(after)].strip() if after else ""
        start = first
        if not following or following.startswith("#"):  # comments right above are about this entry alone
            while (above := self.line_start(start - 1)) < start and start > 0:
                if not self.text[above:start].startswith(" " * (key.column - 1) + "#"):
                    break
                start = above
        before = self.line_start(start - 1)
        if not following and start > 0 and not self.text[before:start].strip():
            start = before  # one of the two blank lines goes too
        if start == 0:
            raise Stuck
        cut = start - 1
        self.replace(cut - 1 if self.text[cut - 1] == "\r" else cut, end, "")

    def add(
        self, parent: Node, pairs: Pairs, gone: set[str], new: dict[str, Any], order: list[str]
    ) -> None:
        """Each new entry goes behind the ones that precede it in the order, or to the end."""
        stay = [name for name in pairs if name not in gone]
        for name, plain in new.items():
            before = order[: order.index(name)] if name in order else []
            behind = max((n for n, s in enumerate(stay) if s in before), default=len(stay) - 1)
            self._add_behind(parent, pairs, stay[: behind + 1], name, plain)

    def _add_behind(self, parent: Node, pairs: Pairs, stay: list[str], name: str, plain: Any) -> None:
        key, value = pairs[stay[-1]]
        if parent.flow:
            at = max(value.end, key.end)
            self.insert(at, f", {scalar(name)}: {inline(plain)}")
            return
        indent = key.column - 1
        gap = "\n"
        if len(stay) > 1 and "\n\n" in self.text[pairs[stay[-2]][1].end : key.start].replace("\r", ""):
            gap = "\n\n"
        at = self.line_end(max(self.last(value), key.end))
        self.insert(at, gap + entry(name, plain, indent))


def own_pairs(node: Node) -> Pairs:
    """The entries written in the mapping itself, without merged ones."""
    if node.kind != MAP or node.alias:
        raise Stuck
    return {k.text: (k, v) for k, v in node.pairs if k.kind == SCALAR and k.type != "merge"}


def edit_node(edits: Edits, node: Node, kind: Kind, now: Any, want: Any) -> None:
    """Edits below a node so that it reads as `want`. Raises Stuck when it must be written anew."""
    kind = kind.kind_of(want) if type(now) is type(want) else kind
    if isinstance(kind, Object):
        _edit_object(edits, node, kind, now, want)
    elif isinstance(kind, MapOf):
        pairs = own_pairs(node)
        changed = {
            k: (kind.value, now.get(k, _ABSENT), v) for k, v in want.items() if now.get(k, _ABSENT) != v
        }
        _edit_mapping(edits, node, pairs, changed, now.keys() - want.keys(), [])
    elif isinstance(kind, ListOf) and node.kind == LIST and not node.alias and len(now) == len(want):
        for item, old, new in zip(node.items, now, want, strict=True):
            if old != new:
                if item.kind == MAP and not item.alias:
                    edit_node(edits, item, kind.item, old, new)
                    continue
                if not item.flow or item.literal:
                    raise Stuck
                edits.replace(item.start, item.end, inline(kind.item.write(new)))
    else:
        raise Stuck


def _edit_object(edits: Edits, node: Node, kind: Object, now: Any, want: Any) -> None:
    pairs = own_pairs(node)
    needed = kind.entries(want)
    gone, changed = set(), {}
    for field in kind.fields:
        old, new = getattr(now, field.name), getattr(want, field.name)
        if old == new:
            continue
        if field.key in needed:
            changed[field.key] = (field.kind, old if field.kind.fits(old) else _ABSENT, new)
        elif field.key in pairs or field.kind.fits(old):
            gone.add(field.key)
    _edit_mapping(edits, node, pairs, changed, gone, list(kind.table))


def _edit_mapping(
    edits: Edits, node: Node, pairs: Pairs, changed: dict[str, tuple[Kind, Any, Any]], gone: set[str],
    order: list[str],
) -> None:  # fmt: skip
    merges = len(pairs) < len(node.pairs)
    if not gone <= pairs.keys() or (gone and merges) or gone >= pairs.keys():
        raise Stuck  # what is merged in cannot be taken out here
    added = {}
    for name, (kind, old, new) in changed.items():
        if name not in pairs:
            added[name] = kind.write(new)
            continue
        mark = len(edits.done)
        key, value = pairs[name]
        try:
            if old is _ABSENT:
                raise Stuck
            edit_node(edits, value, kind, old, new)
        except Stuck:
            del edits.done[mark:]
            edits.set_value(node, key, value, kind.write(new))
    edits.remove(node, pairs, gone)
    if added:
        edits.add(node, pairs, gone, added, order)


def rewrite_sections(edits: Edits, root: Node, kind: Object, want: Any) -> None:
    """Every section of the file anew, below the comments that stand above it."""
    pairs = own_pairs(root)
    plain = kind.write(want)
    for name, (key, value) in pairs.items():
        if name in plain:
            edits.set_value(root, key, value, plain.pop(name))
    gone = pairs.keys() - kind.entries(want).keys()
    edits.remove(root, pairs, gone)
    if plain:
        edits.add(root, pairs, gone, plain, list(kind.table))
