"""The agent's side of the keeper's socket, and how a keeper is started."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from cockpit.agent.keeper_client import KeeperError, Near
from cockpit.agent.own import keeper_argv
from cockpit.agent.waiting import within

MAX_REPLY = 64 * 1024 * 1024
"""A list of many units may be longer than the keeper lets us write."""
START_TIME = 10.0
# forks twice, so that the keeper is nobody's child and outlives whoever started it
DETACH = "import os,sys;os.setsid();os.fork() and os._exit(0);os.execv(sys.argv[1],sys.argv[1:])"

Doc = Dict[str, Any]


class KeeperGone(ConnectionError):
    """No keeper answers now."""


class KeeperLink:
    """One connection. `on_event` gets pushed events; `lost` is set when the connection ends."""

    def __init__(self, on_event: Callable[[Doc], None]) -> None:
        self.lost = asyncio.Event()
        self.hello: Doc = {}
        self._on_event = on_event
        self._waiting: Dict[int, "asyncio.Future[Doc]"] = {}
        self._next = 0
        self._reader: Optional[asyncio.StreamReader] = None
        self._writer: Optional[asyncio.StreamWriter] = None
        self._task: Optional["asyncio.Task[None]"] = None

    @classmethod
    async def open(cls, host_dir: str, on_event: Callable[[Doc], None]) -> "KeeperLink":
        """Connect, say hello, subscribe. Raises KeeperGone."""
        link = cls(on_event)
        try:
            with Near(host_dir) as path:
                link._reader, link._writer = await asyncio.open_unix_connection(path, limit=MAX_REPLY)
        except OSError as e:
            raise KeeperGone(f"no keeper answers: {e.strerror or e}") from None
        link._task = asyncio.ensure_future(link._read())
        try:
            link.hello = await link.request("hello")
            await link.request("subscribe")
        except BaseException:
            await link.close()
            raise
        return link

    async def request(self, op: str, timeout: Optional[float] = 30.0, **args: Any) -> Doc:
        """The reply. Raises KeeperError, KeeperGone (also when it does not answer in time)."""
        if self._writer is None or self.lost.is_set():
            raise KeeperGone("no keeper answers")
        self._next += 1
        id = self._next
        future: "asyncio.Future[Doc]" = asyncio.get_running_loop().create_future()
        self._waiting[id] = future
        line = json.dumps({"id": id, "op": op, **args}, separators=(",", ":")).encode() + b"\n"
        try:
            self._writer.write(line)
            await self._writer.drain()
            reply = await within(future, timeout)
        except asyncio.TimeoutError:
            raise KeeperGone(f"the keeper did not answer `{op}` in {timeout:g} s") from None
        except OSError as e:
            raise KeeperGone(f"the keeper is gone: {e}") from None
        finally:
            self._waiting.pop(id, None)
        if not reply.get("ok"):
            raise KeeperError(str(reply.get("code", "bad")), str(reply.get("text", "refused")))
        return reply

    async def everything(self) -> Tuple[List[Doc], List[Doc], bool]:
        """(all records, unacknowledged events, whether there are more events than these)."""
        reply = await self.request("list")
        records, events, more = list(reply["units"]), list(reply["events"]), bool(reply.get("more"))
        while reply.get("next"):
            reply = await self.request("list", after=reply["next"])
            records += reply["units"]
        return records, events, more

    async def unit(self, unit: str) -> Doc:
        """One record. Raises KeeperError `missing`."""
        # `after` leaves the events out
        reply = await self.request("list", unit=unit, after="-")
        record: Doc = reply["units"][0]
        return record

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._end()

    async def _read(self) -> None:
        assert self._reader is not None
        try:
            while True:
                line = await self._reader.readline()
                if not line:
                    break
                doc = json.loads(line)
                if "id" in doc:
                    future = self._waiting.get(doc["id"])
                    if future is not None and not future.done():
                        future.set_result(doc)
                elif "event" in doc:
                    self._on_event(doc)
        except (OSError, ValueError):
            pass  # a keeper that talks nonsense is as good as none
        finally:
            self._end()

    def _end(self) -> None:
        self.lost.set()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(KeeperGone("the keeper is gone"))
        if self._writer is not None:
            self._writer.close()


def start_keeper(host_dir: str, boot_id: str = "") -> None:
    """Start a keeper in a session of its own. Two at once are its own business: one of them ends."""
    argv = keeper_argv(host_dir, boot_id)
    log = os.open(os.path.join(host_dir, "keeper.out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", DETACH, *argv], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, cwd="/", check=True, timeout=START_TIME,
        )
    finally:
        os.close(log)


async def ensure_keeper(host_dir: str, boot_id: str, on_event: Callable[[Doc], None]) -> KeeperLink:
    """A connection to this directory's keeper, which is started when none answers. Raises KeeperGone."""
    deadline = time.monotonic() + START_TIME
    started = False
    pause = 0.005
    while True:
        try:
            return await KeeperLink.open(host_dir, on_event)
        except KeeperGone as e:
            if not started:
                started = True
                await asyncio.get_running_loop().run_in_executor(None, start_keeper, host_dir, boot_id)
            elif time.monotonic() > deadline:
                raise KeeperGone(f"{e}; {host_dir}/keeper.out may say why") from None
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.2)
