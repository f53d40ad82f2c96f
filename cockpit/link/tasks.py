"""Commands that wait for an answer, by task id."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from cockpit.link import messages
from cockpit.link.links import Link


class Answer(msgspec.Struct, frozen=True):
    """The end of a command on an agent."""

    task: str
    ok: bool
    data: dict[str, Any]
    code: str = ""
    text: str = ""


class Tasks:
    """Each waits on one link: when that breaks, it fails, and may be asked again by the same id."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[Link, asyncio.Future[Answer]]] = {}

    def begin(self, task: str, link: Link) -> asyncio.Future[Answer]:
        """One future per task, however often it is asked."""
        known = self.waiting.get(task)
        future = known[1] if known is not None else asyncio.get_running_loop().create_future()
        self.waiting[task] = (link, future)
        return future

    def unsent(self, task: str, why: str) -> asyncio.Future[Answer]:
        """The task cannot be asked: it fails, also for who waits for it already."""
        known = self.waiting.pop(task, None)
        future = known[1] if known is not None else asyncio.get_running_loop().create_future()
        _fail(future, why)
        return future

    def forget(self, task: str) -> None:
        self.waiting.pop(task, None)

    def answer(self, host: str, frame: messages.Result) -> None:
        """Only the host that was asked can answer."""
        known = self.waiting.get(frame.task)
        if known is None or known[0].host != host:
            return
        del self.waiting[frame.task]
        if not known[1].done():
            known[1].set_result(Answer(frame.task, frame.ok, frame.data, frame.code, frame.text))

    def fail(self, link: Link, why: str) -> None:
        """The link is gone."""
        for task in [t for t, (asked, _) in self.waiting.items() if asked is link]:
            _, future = self.waiting.pop(task)
            _fail(future, f"{link.host}: {why}")


def _fail(future: asyncio.Future[Answer], why: str) -> None:
    if not future.done():
        future.set_exception(ConnectionError(why))
        future.exception()  # seen: nobody may be waiting any more
