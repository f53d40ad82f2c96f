"""Patches on the JSON document of a revision.

A patch is a tuple of `Change`s with distinct paths, none a prefix of another, so their order does
not matter. `diff` descends into objects; lists and scalars are leaves; None means absent. The
document's top-level objects (`services`, `placement`, ...) always count as present, so that two
people who each add a first entry do not conflict. Documents are canonical (`topology.to_doc`): they
hold no empty top-level object and no null.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from cockpit.model.topology import Doc
from cockpit.model.view import Change

Path = tuple[str, ...]


class Conflict(Exception):
    """A patch does not fit: at these paths the document holds something else."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths: tuple[Path, ...] = tuple(paths)
        super().__init__("changed meanwhile: " + ", ".join(dotted(p) for p in self.paths))


class Clash(msgspec.Struct, frozen=True, kw_only=True):
    """One path that both sides changed, differently. None means absent."""

    path: Path
    base: Any = None
    head: Any = None
    theirs: Any = None


def dotted(path: Path) -> str:
    """A path for people: `services > puzzle.web > version`."""
    return " > ".join(path)


def diff(old: Doc, new: Doc) -> tuple[Change, ...]:
    """The patch that turns `old` into `new`, sorted by path."""
    changes: list[Change] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and after is None:
            after = {}
        elif isinstance(after, dict) and before is None:
            before = {}
        _diff((key,), before, after, changes)
    return tuple(changes)


def _diff(path: Path, old: Any, new: Any, into: list[Change]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            _diff((*path, key), old.get(key), new.get(key), into)
    elif old != new or isinstance(old, bool) is not isinstance(new, bool):
        into.append(Change(path=path, old=old, new=new))


def apply(doc: Doc, changes: Iterable[Change]) -> Doc:
    """The patched document; the given one is left as it is.

    Raises Conflict with every path whose present value is not the patch's `old`.
    """
    result = dict(doc)
    own: set[int] = {id(result)}  # the objects that were copied and may be written to
    bad: list[Path] = []
    touched: set[str] = set()
    for change in changes:
        *parents, last = change.path
        node = result
        for depth, key in enumerate(parents):
            child = node.get(key)
            if child is None and depth == 0:
                child = {}
                touched.add(key)
            if not isinstance(child, dict):
                bad.append(change.path)
                break
            if id(child) not in own:
                child = dict(child)
                own.add(id(child))
            node[key] = child
            node = child
        else:
            touched.update(parents[:1])
            if node.get(last) != change.old:
                bad.append(change.path)
            elif change.new is None:
                node.pop(last, None)
            else:
                node[last] = change.new
    if bad:
        raise Conflict(bad)
    for key in touched:
        if result.get(key) == {}:
            del result[key]
    return result


def inverse(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(Change(path=c.path, old=c.new, new=c.old) for c in changes)


def overlaps(a: Path, b: Path) -> bool:
    """Equal, or one lies inside the other."""
    n = min(len(a), len(b))
    return a[:n] == b[:n]


class _Paths:
    """A set of paths that answers overlap in O(depth)."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.whole: dict[Path, Change] = {}
        self.above: dict[Path, Change] = {}
        for change in changes:
            self.whole[change.path] = change
            for n in range(len(change.path)):
                self.above.setdefault(change.path[:n], change)

    def hit(self, path: Path) -> Change | None:
        for n in range(len(path), -1, -1):
            found = self.whole.get(path[:n])
            if found is not None:
                return found
        return self.above.get(path)


def conflicts(changes: Iterable[Change], later: Iterable[Change]) -> tuple[Path, ...]:
    """The paths of `changes` that `later` touched too (equal, or one a prefix of the other)."""
    seen = _Paths(later)
    return tuple(c.path for c in changes if seen.hit(c.path) is not None)


def value_at(doc: Any, path: Path) -> Any:
    """None when absent."""
    for key in path:
        if not isinstance(doc, dict):
            return None
        doc = doc.get(key)
    return doc


def three_way(base: Doc, head: Doc, theirs: Doc) -> tuple[tuple[Change, ...], tuple[Clash, ...]]:
    """What `theirs` changed since `base`, as a patch on `head`, and where both changed differently.

    A change that both made alike is neither. The patch holds only what does not clash.
    """
    ours = _Paths(diff(base, head))
    take: list[Change] = []
    clashes: list[Clash] = []
    for change in diff(base, theirs):
        other = ours.hit(change.path)
        if other is None:
            take.append(change)
        elif value_at(head, change.path) != change.new:
            now = value_at(head, change.path)
            clashes.append(Clash(path=change.path, base=change.old, head=now, theirs=change.new))
    return tuple(take), tuple(clashes)
