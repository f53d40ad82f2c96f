"""What the built-in words need of the agent, and what they share."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, Mapping, Protocol, Tuple

from cockpit.agent import activate, prepare
from cockpit.agent.building import Builder
from cockpit.agent.fetch import Fetcher, FetchError
from cockpit.agent.follow import Stream
from cockpit.agent.health import Record
from cockpit.agent.install import InstallError, Releases
from cockpit.agent.keeper_client import KeeperError
from cockpit.agent.keeper_link import KeeperGone
from cockpit.agent.tasks import CommandError, Data, Progress, Word
from cockpit.agent.units import Book, Memory

WORKING = 2.0
"""Seconds between two words of a command that goes on."""


class Host(Protocol):
    """What the words need of the agent."""

    dir: str
    book: Book
    memory: Memory
    releases: Releases
    fetcher: Fetcher
    builder: Builder
    streams: Dict[str, Tuple[Stream, "asyncio.Task[None]"]]

    @property
    def names_told(self) -> int:
        """Names version that is applied here and was sent to every local watcher."""
        ...

    def own_address(self) -> str: ...

    def port_range(self) -> Tuple[int, int]: ...

    async def keeper(self, op: str, **args: Any) -> Dict[str, Any]: ...

    async def refresh(self, unit: str = "") -> None: ...

    def releases_changed(self) -> None: ...

    def unit_changed(self, unit: str) -> None: ...

    async def send_bulk(self, frame: Dict[str, Any]) -> None: ...

    async def end(self) -> None: ...


class Handlers(Protocol):
    """One subject's words."""

    def table(self) -> Dict[str, Word]: ...


def known(host: Host, unit: str) -> Record:
    record = host.book.records.get(unit)
    if record is None:
        raise CommandError("missing", f"{unit} is not on this host")
    return record


async def translated(handler: Word, args: Mapping[str, Any], progress: Progress) -> Data:
    try:
        return await handler(args, progress)
    except (KeeperError, FetchError, InstallError, prepare.PrepareError, activate.ActivateError) as e:
        raise CommandError(e.code, str(e)) from None
    except KeeperGone as e:
        raise CommandError("failed", str(e)) from None


async def thread(work: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)


async def patiently(progress: Progress, work: Callable[..., Any], *args: Any) -> Any:
    """In a thread, saying now and then that it goes on: gigabytes are not read within an action's deadline."""
    job = asyncio.ensure_future(thread(work, *args))
    while not (await asyncio.wait({job}, timeout=WORKING))[0]:
        progress({})
    return job.result()
