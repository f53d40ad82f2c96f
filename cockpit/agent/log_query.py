"""What is asked of log lines, checked: how many, from when to when, which streams and runs, and which text."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Deque, FrozenSet, List, Mapping, Optional, Tuple

MAX_LINES = 20_000
MAX_CONTEXT = 100
MAX_PATTERN = 400
SCAN_BYTES = 64 * 1024 * 1024
SCAN_SECONDS = 10.0
MOST_SCAN_BYTES = 1024 * 1024 * 1024
MOST_SCAN_SECONDS = 60.0

CONTEXT, GAP = "c", "g"
"""Marks of a line: it is only context; it is context, and lines before it are left out."""


class BadQuery(ValueError):
    """A sentence that says what is wrong."""


@dataclass(frozen=True)
class Pattern:
    """A line fits when the text is (is not, when inverse) in it. Small letters stand for both cases."""

    text: str = ""
    regex: bool = False
    inverse: bool = False

    def plain(self) -> Callable[[str], bool]:
        """For text that is no regular expression; those are tried by a process of their own (log_match)."""
        part, wanted = self.text, not self.inverse
        if part != part.lower():
            return lambda line: (part in line) is wanted
        return lambda line: (part in line.lower()) is wanted

    def compiled(self) -> "re.Pattern[str]":
        bare = re.sub(r"\\.", "", self.text)  # the letter of \S or \W says nothing about case
        return re.compile(self.text, re.IGNORECASE if bare == bare.lower() else 0)


@dataclass(frozen=True)
class Query:
    lines: int = 200
    follow: bool = False
    since: float = 0.0
    until: float = 0.0
    """Unix times; 0: no limit."""
    streams: FrozenSet[str] = frozenset()
    """stdout, stderr, names of declared log files; empty: all."""
    previous: int = 0
    """0: all runs; 1: only the one before the newest, 2 the one before that."""
    grep: Optional[Pattern] = None
    before: int = 0
    after: int = 0
    """Lines of context around each that fits."""
    scan_bytes: int = SCAN_BYTES
    scan_seconds: float = SCAN_SECONDS
    times: bool = False
    """The asker understands lines with times, and `caught`, `left`, `note` of frames."""

    @property
    def searches(self) -> bool:
        return self.grep is not None or self.since > 0 or self.until > 0


def query_of(args: Mapping[str, Any]) -> Query:
    """Of a command's arguments. Raises BadQuery."""
    grep = args.get("grep")
    pattern = None
    if grep:
        if not isinstance(grep, Mapping) or not isinstance(grep.get("text"), str) or not grep["text"]:
            raise BadQuery("grep wants a text")
        pattern = Pattern(grep["text"], bool(grep.get("regex")), bool(grep.get("inverse")))
        if len(pattern.text) > MAX_PATTERN:
            raise BadQuery(f"the text to look for has {len(pattern.text)} characters; {MAX_PATTERN} is the most")
        if pattern.regex:
            try:
                pattern.compiled()
            except (re.error, RecursionError, OverflowError) as e:
                raise BadQuery(f"no regular expression: {pattern.text!r}: {e}") from None
    streams = args.get("streams") or []
    if not isinstance(streams, (list, tuple)) or len(streams) > 100:
        raise BadQuery("streams: a list of names is wanted")
    since, until = _number(args, "since", 0.0), _number(args, "until", 0.0)
    if since and until and until < since:
        raise BadQuery("the time window ends before it begins")
    return Query(
        lines=int(min(_number(args, "lines", 200), MAX_LINES)),
        follow=bool(args.get("follow")) and not until and not args.get("previous"),
        since=since, until=until, streams=frozenset(str(s) for s in streams),
        previous=int(min(_number(args, "previous", 0), 10_000)), grep=pattern,
        before=int(min(_number(args, "before", 0), MAX_CONTEXT)),
        after=int(min(_number(args, "after", 0), MAX_CONTEXT)),
        scan_bytes=int(min(_number(args, "scan_bytes", SCAN_BYTES), MOST_SCAN_BYTES)),
        scan_seconds=min(_number(args, "scan_seconds", SCAN_SECONDS), MOST_SCAN_SECONDS),
        times=bool(args.get("times")),
    )


def _number(args: Mapping[str, Any], name: str, default: float) -> float:
    value = args.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise BadQuery(f"{name}: a number is wanted")
    return max(0.0, value)


class Context:
    """Lines around those that fit, of one stream: as `grep -B -A`, line after line."""

    def __init__(self, before: int, after: int) -> None:
        self._held: Deque[Tuple[int, Any]] = deque(maxlen=before) if before else deque(maxlen=0)
        self._after = after
        self._open = 0
        self._number = 0
        self._last = 0
        """Number of the last line given out."""
        self._marks = before > 0 or after > 0

    def feed(self, item: Any, fits: bool) -> List[Tuple[Any, str]]:
        """(item, mark) of what is to be shown now, in order."""
        self._number += 1
        if fits:
            found = [*self._held, (self._number, item)]
            self._held.clear()
            self._open = self._after
            first = found[0][0]
            gap = self._marks and self._last and first > self._last + 1
            self._last = self._number
            marks = [CONTEXT] * (len(found) - 1) + [""]
            if gap:
                marks[0] = GAP
            return [(each, mark) for (_, each), mark in zip(found, marks)]  # noqa: B905
        if self._open:
            self._open -= 1
            self._last = self._number
            return [(item, CONTEXT)]
        self._held.append((self._number, item))
        return []
