"""Where a log that was let go is taken up again: from a little before the last line, without what was there already.

Pure. Times of lines are late by a second at most and grow until they are on disk (docs/logs.md), hosts' clocks
differ a little, and lines of slow hosts come after those of quick ones: so the last seconds are asked for once more.
"""

from __future__ import annotations

from collections import Counter, deque

from cockpit.model.view import LogLine

OVERLAP = 8.0
"""Seconds that are asked for again."""
GROWS = 1.0
"""Seconds by which a line's time may be later when it is read again, at most."""
MOST = 10_000
"""Lines that are remembered; in a flood these are less than OVERLAP seconds."""

Key = tuple[str, int, str, str, str]


def _key(line: LogLine) -> Key:
    return line.instance, line.run, line.stream, line.process, line.text


class Seam:
    def __init__(self) -> None:
        self.newest = 0.0
        self.untimed = False
        """Were there lines without a time? What was between such lines and those after a gap cannot be known."""
        self._lines: deque[tuple[float, Key]] = deque(maxlen=MOST)
        self._again: Counter[Key] = Counter()
        self._until = 0.0

    def take(self, line: LogLine) -> bool:
        """A line came; false when it was there before the seam."""
        if line.stream == "cockpit":
            return True
        if self._again and line.time <= self._until and (key := _key(line)) in self._again:
            self._again[key] -= 1
            if not self._again[key]:
                del self._again[key]
            return False
        if not line.time:
            self.untimed = True
            return True
        self.newest = max(self.newest, line.time)
        self._lines.append((line.time, _key(line)))
        while self._lines and self._lines[0][0] < self.newest - OVERLAP - GROWS:
            self._lines.popleft()
        return True

    def begin_again(self) -> float:
        """From when on to ask; 0.0 when no line had a time."""
        since = self.newest - OVERLAP if self.newest else 0.0
        if len(self._lines) == MOST:  # what is older than these could not be told from what is new
            since = max(since, self._lines[0][0] + GROWS)
        self._again = Counter(key for when, key in self._lines if when >= since - GROWS)
        self._until = self.newest + GROWS
        return since
