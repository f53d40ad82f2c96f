"""What is wrong with a topology file: every complaint with its place, all found in one pass."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cockpit.model.nodes import Node

Path = tuple[str, ...]
"""Keys from the top of the file: `("hosts", "sh-1", "region")`; list items by number."""

MOST = 200
"""So many problems are kept; a file with more is not a topology."""


class Problem(msgspec.Struct, frozen=True, order=True):
    """One complaint. Line and column count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    text: str
    hint: str = ""
    """The nearest right word, or empty."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        near = f' (did you mean "{self.hint}"?)' if self.hint else ""
        return f"{place}: {self.text}{near}"


class BadTopology(Exception):
    """The file is not a valid topology. `problems` is sorted by place and never empty."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = sorted(set(problems))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(p) for p in self.problems)


class Wrong(ValueError):
    """A value that cannot be taken, with the nearest right word when there is one."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def nearest(word: str, words: Iterable[str]) -> str:
    """The most similar of the words, or the empty string."""
    if len(word) > 64:
        return ""
    known = list(words)
    folded = {w.lower(): w for w in known}
    found = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else ""


class Report:
    """Collects problems while a file is read, and remembers where each path stands in it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._places: dict[Path, tuple[Node, Node]] = {}
        self._tainted: set[Path] = set()

    def place(self, path: Path, key: Node, value: Node) -> None:
        self._places[path] = (key, value)

    def problem(
        self, path: Path, text: str, hint: str = "", *, at: Node | None = None, name: bool = False
    ) -> None:
        """At `at`, or at the value of `path`; at its key with `name`, or when the value is a block."""
        if name and path in self._places:
            at = self._places[path][0]
        self.taint(path)
        if len(self.problems) < MOST:
            self.problems.append(self._make(path, text, hint, at))
        elif len(self.problems) == MOST:
            self.problems.append(self._make(path, "more problems follow; they are not listed", "", at))

    def warn(self, path: Path, text: str, hint: str = "", *, at: Node | None = None) -> None:
        self.warnings.append(self._make(path, text, hint, at))

    def taint(self, path: Path) -> None:
        self._tainted.update(path[:n] for n in range(len(path) + 1))

    def near(self, word: str, words: Iterable[str]) -> str:
        return nearest(word, words) if len(self.problems) < MOST else ""

    def tainted(self, *path: str) -> bool:
        """True when something at or below the path is already complained about."""
        return path in self._tainted

    def written(self, *path: str) -> bool:
        return path in self._places

    def _make(self, path: Path, text: str, hint: str, at: Node | None) -> Problem:
        node = at or self._find(path)
        line, column = (node.line, node.column) if node else (1, 1)
        return Problem(self.file, line, column, ".".join(path), text, hint)

    def _find(self, path: Path) -> Node | None:
        """The place of the path, or of what encloses it when it is not written in the file."""
        for n in range(len(path), 0, -1):
            if path[:n] in self._places:
                key, value = self._places[path[:n]]
                return key if n < len(path) or value.block else value
        return None
