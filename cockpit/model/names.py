"""Short names: the shortest suffix, cut at dots, that means one path only."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from itertools import islice

from cockpit.plan.steps import Bad


def _suffixes(path: str) -> Iterable[str]:
    """Shortest first: `c`, `b.c`, `a.b.c`."""
    parts = path.split(".")
    for n in range(len(parts) - 1, -1, -1):
        yield ".".join(parts[n:])


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> short name. Instances (`a.web/0`) are named after their service (`web/0`).

    A path that is itself the suffix of another keeps its name; the other one takes a longer one.
    """
    every = list(paths)
    bases = {p.partition("/")[0] for p in every}
    uses: dict[str, int] = {}
    for base in bases:
        for suffix in _suffixes(base):
            uses[suffix] = uses.get(suffix, 0) + 1
    short = {base: next(s for s in _suffixes(base) if s == base or (uses[s] == 1)) for base in bases}
    result: dict[str, str] = {}
    for path in every:
        base, slash, slot = path.partition("/")
        result[path] = short[base] + slash + slot
    return result


def resolve(name: str, paths: Collection[str], what: str = "name") -> str:
    """The one path that `name` means: itself, or the only one that ends in `.name`.

    Raises Bad with the candidates when there are several, with near words when there is none.
    """
    if name in paths:
        return name
    found = sorted(p for p in paths if p.endswith("." + name))
    if len(found) == 1:
        return found[0]
    if found:
        raise Bad(f"{what} {name!r} is ambiguous: {', '.join(found[:8])}")
    raise Bad(f"no {what} {name!r}" + near(name, paths))


MANY = 1000
"""Words that are compared letter by letter; of more than that only those that have a part of the name in them."""


def near(name: str, words: Iterable[str]) -> str:
    """`; did you mean a or b?`, or what there is when the list is short, or nothing."""
    every = words if isinstance(words, Collection) else list(words)
    by_word: dict[str, str] = {}
    for word in every if len(every) <= MANY else _likely(name, every):
        by_word.setdefault(word, word)
        by_word.setdefault(word.rpartition(".")[2], word)
    close = difflib.get_close_matches(name, by_word, n=3, cutoff=0.6)
    hits = list(dict.fromkeys(by_word[w] for w in close))
    if hits:
        return f"; did you mean {' or '.join(hits)}?"
    if 0 < len(every) <= 6:
        return f"; there is {', '.join(sorted(every))}"
    return ""


def _likely(name: str, every: Iterable[str]) -> list[str]:
    """At most MANY of very many words: those that have most of the name's beginning, or of its end."""
    for share in (4, 2):
        length = max(1, len(name) - len(name) // share)
        for stem in (name[:length], name[-length:]):
            found = list(islice((w for w in every if stem in w), MANY))
            if found:
                return found
    return list(islice(every, MANY))
