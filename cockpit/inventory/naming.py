"""Names that a topology can have, made from names that other tools have.

A name that fits stays. Any other is written in small letters with `-` for what cannot be; where two
would become one, those that were changed get the first letters of the SHA-256 of their own name behind
them. So a name depends on the set of names alone, not on their order.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

H = TypeVar("H", bound=Hashable)

HOST, TREE, LABEL = "host", "tree", "label"
_OTHER = {HOST: r"[^a-z0-9_.-]+", TREE: r"[^a-z0-9_-]+", LABEL: r"[^A-Za-z0-9_.-]+"}
_LONGEST = {HOST: 253, TREE: 63, LABEL: 63}
_EMPTY = {HOST: "host", TREE: "node", LABEL: "label"}


def fit(name: str, kind: str) -> str:
    """The nearest name that a topology takes; two names may become one."""
    text = name if kind == LABEL else name.lower()
    text = re.sub(_OTHER[kind], "-", text)
    text = text.lstrip("-_.") if kind != HOST else text.strip("-_.")
    text = text[: _LONGEST[kind]]
    return (text.rstrip("-_.") if kind == HOST else text.rstrip("-")) or _EMPTY[kind]


def make_names(names: Iterable[str], kind: str, taken: Iterable[str] = ()) -> dict[str, str]:
    """Name -> made name, all different and none of `taken`."""
    return make_keyed({n: n for n in names}, kind, taken)


def make_keyed(names: dict[H, str], kind: str, taken: Iterable[str] = ()) -> dict[H, str]:
    """Key -> made name for key -> name. Of several keys with one fitting name the smallest keeps it."""
    order = sorted(names, key=lambda k: (fit(names[k], kind) != names[k], repr(k)))
    used = set(taken)
    wanted = Counter(fit(n, kind) for n in names.values())
    out: dict[H, str] = {}
    for key in order:
        name = made = fit(names[key], kind)
        fits = made == names[key] or wanted[made] == 1
        length = 6
        while made in used or not fits:
            mark = hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).hexdigest()[:length]
            made = name[: _LONGEST[kind] - length - 1].rstrip("-_.") + "-" + mark
            fits, length = True, length + 2
        used.add(made)
        out[key] = made
    return out


def make_paths(paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Path -> made path of the tree. What would be a service and a group at once gets two names."""
    leaves = set(paths)
    nodes = {p[:n] for p in leaves for n in range(1, len(p))}
    made: dict[tuple[tuple[str, ...], bool], tuple[str, ...]] = {}
    below: dict[tuple[str, ...], dict[tuple[str, bool], str]] = {}
    for path, leaf in [*((p, True) for p in leaves), *((p, False) for p in nodes)]:
        below.setdefault(path[:-1], {})[(path[-1], leaf)] = path[-1]
    for above in sorted(below, key=len):
        names = make_keyed(below[above], TREE)
        start = made[(above, False)] if above else ()
        for (name, leaf), short in names.items():
            made[((*above, name), leaf)] = (*start, short)
    return {p: made[(p, True)] for p in leaves}
