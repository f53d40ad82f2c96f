"""Where only ASCII can be drawn, every screen draws only ASCII; and what has not come yet is waited for in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cockpit.ports import Session
from tests.screens.canned import CannedSession
from tests.screens.drive import LARGE, SMALL, driven, until
from tests.screens.test_pictures import WAYS, session

ELSEWHERE = {
    "regions": [*":regions", "enter"], "alerts": ["N"], "approvals": [*":approvals", "enter"],
    "messages": [";"], "choose": ["i", "C"], "copy": ["y"], "bookmarks": [chr(34)], "user": ["U"],
    "tour": [*":tour", "enter"],
    "relay graph": [*":graph relays", "enter"], "revision": [*":revision 42", "enter"], "past": ["T"],
}  # fmt: skip
"""Screens that have no picture of their own."""


NARROW = ("overview", "hosts", "push", "matrix", "graph", "artifact", "help", "logs", "tour")
"""Screens that draw something else where it is narrow."""


@pytest.mark.parametrize(
    ("name", "size"), [*((n, LARGE) for n in (*WAYS, *ELSEWHERE)), *((n, SMALL) for n in NARROW)],
)  # fmt: skip
async def test_in_ascii_every_cell_is_ascii(name: str, size: tuple[int, int]) -> None:
    keys, words = WAYS.get(name) or (ELSEWHERE[name], "")
    async with driven(size, session(name), ascii=True) as d:
        await d.press(*keys)
        if words and words.isascii():
            await d.sees(words)
        else:
            await d.settled()
        assert not sorted({c for c in d.text() if not c.isascii() and c != "\n"})


class Slow(CannedSession):
    """Every call of the session waits for `hold`."""

    def __init__(self, first: Any = None) -> None:
        super().__init__(first)
        self.gate = asyncio.Event()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in ("snapshot", "changes") or name not in OPS or not callable(found):
            return found
        gate = super().__getattribute__("gate")
        if name in ("logs", "stream"):

            async def items(*args: Any, **more: Any) -> AsyncIterator[Any]:
                await gate.wait()
                async for item in found(*args, **more):
                    yield item

            return items

        async def late(*args: Any, **more: Any) -> Any:
            await gate.wait()
            return await found(*args, **more)

        return late


OPS = {n for n in dir(Session) if not n.startswith("_") and n != "who"}
WAITS = (
    "host", "node", "revisions", "logs", "plan", "ask", "artifacts", "artifact", "explain", "life", "journal",
    "compare", "action", "naming",
)  # fmt: skip
BUSY = ("…", "asking", "waiting", "working", "looking", "reading", "comparing")


@pytest.mark.parametrize("name", WAITS)
async def test_what_is_not_known_yet_does_not_look_empty(name: str) -> None:
    keys, words = WAYS[name]
    made = session(name)
    slow = Slow(made.data)
    slow.answers, slow.stored = made.answers, made.stored
    async with driven(LARGE, slow) as d:
        await d.press(*keys)
        try:
            await until(lambda: any(w in d.text().partition("\n")[2] for w in BUSY) or words in d.text(), name)
        finally:
            slow.gate.set()
        await d.sees(words)
