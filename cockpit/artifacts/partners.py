"""Which parts of an old version the files of a new one are compared with, for a patch. Pure decisions.

Positions are those of the two long texts of cockpit/swarm/patching.py: all content of the old version, and that of
the files that the patch makes.
"""

from __future__ import annotations

import difflib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cockpit.swarm.manifest import Chunks, Entry, Manifest
from cockpit.swarm.patching import covered

LARGEST = 32 * 1024 * 1024
"""Bytes that are compared at once, on either side; bsdiff takes 17 times as much memory."""
SMALL = 1024 * 1024
"""Files up to this size are compared in groups."""
GROUP = 4 * 1024 * 1024
ALIKE = 0.6
"""Names that are less alike than this have nothing to do with each other."""
CANDIDATES = 200

Range = tuple[int, int]
"""Start and end in the old text."""


class Task(NamedTuple):
    """Make [start, end) of the new text: a copy of the single old range when `same`, else by comparing with them."""

    start: int
    end: int
    old: tuple[Range, ...]
    same: bool = False


class Placed(NamedTuple):
    """A file, and where its content is in the text."""

    entry: Entry
    start: int
    end: int


class Text:
    """The long text of some files: the chunk at each place."""

    def __init__(self, entries: Sequence[Entry], chunks: Chunks) -> None:
        self.chunks = chunks
        self.files: list[Placed] = []
        self.starts = array("Q")
        self.order = array("I")
        """Index of the chunk that starts there."""
        at = 0
        for entry in entries:
            start = at
            for extent in entry.extents:
                if extent >= 0:
                    self.starts.append(at)
                    self.order.append(extent)
                    at += chunks.lengths[extent]
            self.files.append(Placed(entry, start, at))
        self.size = at


def old_text(manifest: Manifest) -> Text:
    return Text([e for e in manifest.entries if e.kind == "f" and e.extents], manifest.chunks)


def new_text(old: Manifest, new: Manifest) -> Text:
    return Text(covered(old, new), new.chunks)


def partners(old: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """For each new path the old one to compare with, if any: the same, else one whose name is alike."""
    have = set(old)
    plain = {_plain(path): path for path in reversed(old)}
    base: dict[str, str] = {}
    for path in reversed(old):
        base[_plain(path.rpartition("/")[2])] = path
    kept = set(new)
    gone = [path for path in old if path not in kept]
    found = {}
    for path in new:
        near = path if path in have else plain.get(_plain(path)) or base.get(_plain(path.rpartition("/")[2]))
        near = near or _alike(path, gone)
        if near:
            found[path] = near
    return found


def _plain(path: str) -> str:
    """A path without its version numbers."""
    return re.sub(r"\d+", "#", path)


def _alike(path: str, gone: Sequence[str]) -> str:
    suffix = path.rpartition("/")[2].rpartition(".")[2]
    same_kind = [p for p in gone if p.rpartition("/")[2].rpartition(".")[2] == suffix][:CANDIDATES]
    return next(iter(difflib.get_close_matches(path, same_kind, 1, ALIKE)), "")


def tasks(old: Text, new: Text, *, largest: int = LARGEST) -> Iterator[Task]:
    """What to do for each part of the new text, in order."""
    found = partners([f.entry.path for f in old.files], [f.entry.path for f in new.files])
    where = {f.entry.path: f for f in old.files}
    group: list[Placed] = []
    bases: dict[int, int] = {}
    for file in new.files:
        partner = where.get(found.get(file.entry.path, ""))
        size = file.end - file.start
        against = partner.end - partner.start if partner else 0
        if max(size, against) <= min(SMALL, largest):
            if group and file.end - group[0].start > min(GROUP, largest):
                yield _grouped(group, bases)
                group, bases = [], {}
            group.append(file)
            if partner:
                bases[partner.start] = partner.end
            continue
        if group:
            yield _grouped(group, bases)
            group, bases = [], {}
        if partner and max(size, against) <= largest:
            yield Task(file.start, file.end, ((partner.start, partner.end),))
        else:
            yield from _by_chunks(old, new, file, partner, largest // 4)
    if group:
        yield _grouped(group, bases)


def _grouped(group: Sequence[Placed], bases: dict[int, int]) -> Task:
    return Task(group[0].start, group[-1].end, tuple(sorted(bases.items())))


def _by_chunks(old: Text, new: Text, file: Placed, partner: Placed | None, window: int) -> Iterator[Task]:
    """A file too large to be compared: chunks that are in the old version are copied, what is between two of them is
    compared with what was between them there."""
    places: dict[bytes, int] = {}
    for start, chunk in zip(old.starts, old.order, strict=True):
        places.setdefault(old.chunks.digest(chunk), start)
    pending = file.start  # the new text up to here is done
    copy = Task(file.start, file.start, ((partner.start if partner else 0,) * 2,), True)
    limit = partner.end if partner else old.size
    for index in range(bisect_left(new.starts, file.start), bisect_left(new.starts, file.end)):
        start, length = new.starts[index], new.chunks.lengths[new.order[index]]
        place = places.get(new.chunks.digest(new.order[index]))
        if place is None:
            continue
        if copy.end == start and copy.old[0][1] == place:
            copy = Task(copy.start, start + length, ((copy.old[0][0], place + length),), True)
            pending = copy.end
            continue
        if copy.end > copy.start:
            yield copy
        yield from _between(pending, start, copy.old[0][1], place if place >= copy.old[0][1] else limit, window)
        copy = Task(start, start + length, ((place, place + length),), True)
        pending = copy.end
    if copy.end > copy.start:
        yield copy
    yield from _between(pending, file.end, copy.old[0][1], limit, window)


def _between(start: int, end: int, low: int, high: int, window: int) -> Iterator[Task]:
    """Parts of at most `window` bytes, each against the old text at the same distance from `low`."""
    first = start
    while start < end:
        stop = min(end, start + window)
        a = max(low, min(low + (start - first) - window // 2, high))
        b = max(a, min(low + (stop - first) + window // 2, high))
        yield Task(start, stop, ((a, b),) if b > a else ())
        start = stop
