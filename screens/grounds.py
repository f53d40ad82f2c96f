"""Asking the terminal for the colour of its ground (OSC 11), so that no answer is ever taken for typed keys.

The question goes out with the first picture and nothing waits for it. The answer is taken out of the input before
Textual reads keys from it; what merely begins like one is handed on a moment later. Over a slow link it may come
late, or never: then the theme stays.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from textual.message import Message

from screens.escapes import KeyParser

QUESTION = "\x1b]11;?\x1b\\"
HOLD = 0.25
"""Seconds that the beginning of an answer waits for its end before it is keys after all."""
PATIENCE = 10.0
"""Seconds after the start in which half an answer is held back; a whole one is taken out later, too."""
_ANSWER = re.compile(r"\x1b\]1[01];([^\x07\x1b]{0,48})(?:\x07|\x1b\\)")
_BEGINS = re.compile(r"\x1b(?:\](?:1(?:[01](?:;[^\x07\x1b]{0,48}\x1b?)?)?)?)?\Z")


class Ground(Message):
    """The terminal's answer, as it came: `rgb:1e1e/1e1e/1e1e`."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        super().__init__()


class AnswerParser(KeyParser):
    """Textual's parser behind one that takes the answers out."""

    def __init__(self, debug: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(debug)
        self._clock = clock
        self._until = clock() + PATIENCE
        self._answered = False
        self._held = ""
        self._since = 0.0

    def feed(self, data: str) -> Iterable[Message]:
        if not data or self._answered:
            yield from self._release()
            yield from super().feed(data)
            return
        data, self._held = self._held + data, ""
        while (found := _ANSWER.search(data)) is not None:
            before, data = data[: found.start()], data[found.end():]
            if before:
                yield from super().feed(before)
            self._answered = True  # one question, one answer
            yield Ground(found[1])
        begun = _BEGINS.search(data)
        if begun is not None and not self._answered and self._clock() <= self._until:
            data, self._held = data[: begun.start()], begun[0]
            self._since = self._clock()
        if data:
            yield from super().feed(data)

    def tick(self) -> Iterable[Message]:
        if self._held and self._clock() - self._since >= HOLD:
            yield from self._release()
        yield from super().tick()

    def _release(self) -> Iterable[Message]:
        held, self._held = self._held, ""
        if held:
            yield from super().feed(held)
