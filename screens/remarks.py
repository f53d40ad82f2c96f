"""What was said to the operator: kept for an hour; an error counts as unread until it was looked at. No terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

KEPT = 3600.0
"""Seconds a remark can be reopened."""
MOST = 500
READ_AFTER = 1.0
"""Seconds that an error must have stood there before the next key means: seen."""
ERRORS = frozenset({"failed", "unknown"})


@dataclass
class Message:
    text: str
    mark: str
    at: float
    """The board's time, for people."""
    where: str
    """Address of the view it was said on."""
    begun: float = 0.0
    """Our monotonic time."""
    times: int = 1
    read: bool = True


class Messages:
    """`say` adds, `seen` is called by the next key, `all` is the list; `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._kept: deque[Message] = deque(maxlen=MOST)

    def say(self, text: str, mark: str, at: float, where: str) -> Message:
        last = self._kept[-1] if self._kept else None
        now = self.clock()
        if last is not None and (last.text, last.mark, last.where) == (text, mark, where):
            last.times += 1
            last.at, last.begun = at, now
            last.read = mark not in ERRORS
            return last
        made = Message(text, mark, at, where, now, 1, mark not in ERRORS)
        self._kept.append(made)
        return made

    def seen(self, message: Message) -> None:
        """A key was pressed while it stood on the screen."""
        if self.clock() - message.begun >= READ_AFTER:
            message.read = True

    def read_all(self) -> None:
        for each in self._kept:
            each.read = True

    def all(self) -> list[Message]:
        """Latest first; what is older than an hour is gone."""
        end = self.clock() - KEPT
        while self._kept and self._kept[0].begun < end:
            self._kept.popleft()
        return list(reversed(self._kept))

    @property
    def unread(self) -> int:
        return sum(not each.read for each in self._kept)
