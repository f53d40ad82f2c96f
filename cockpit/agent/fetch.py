"""Bringing artifacts to this host: a process of its own does it, so that a push never delays a command.

The peer (`cockpit.swarm.peer`) is started when the first artifact is wanted and ended when it has nothing left to
do. One that dies in between is started anew and goes on with the pieces that are on disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any, Callable, Dict, Mapping, Optional
from urllib.parse import urlsplit

from cockpit.agent import own
from cockpit.agent.files import make_dir
from cockpit.agent.identity import Identity, origin
from cockpit.agent.waiting import within

TRIES = 4
MAX_LINE = 1024 * 1024
SEED_FOR = 600.0
"""Seconds a peer goes on serving others when nobody says that the push is over."""
IDLE = 20.0
ANSWER = 10.0
NICE = 5
PASSED = (
    "name", "version", "sha256", "layout", "kind", "size", "push", "rates", "require", "signers",
    "signatures", "patch",
)
"""Arguments that go to the peer as they are; it checks them."""

Data = Dict[str, Any]
Progress = Callable[[Data], None]


class FetchError(Exception):
    """`code`: bad, digest, unsigned, space, unreachable, stopped, exists, altered, failed."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class PeerGone(Exception):
    """The peer process has ended."""


class Fetcher:
    """The peer of this host; at most one process at a time."""

    def __init__(self, host_dir: str, identity: Identity, facts: Callable[[], Data]) -> None:
        """`facts` tells `address` and `region` of this host."""
        self._dir = host_dir
        self._identity = identity
        self._facts = facts
        self._peer: Optional[Peer] = None
        self._starting = asyncio.Lock()
        self._seeds: Dict[str, float] = {}
        """Digest -> until when it is served to others."""
        self._running = 0
        self._watch: "Optional[asyncio.Task[None]]" = None

    async def fetch(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """The release is installed when it returns. Raises FetchError."""
        wanted = {key: args[key] for key in PASSED if key in args}
        sha256 = str(wanted.get("sha256"))
        why = ""
        self._running += 1
        try:
            for n in range(TRIES):
                await asyncio.sleep(0.2 * (2**n - 1))
                try:
                    peer = await self._ready()
                    facts = {**self._facts(), "trackers": self._trackers(args)}
                    data = await peer.ask("fetch", None, progress, **wanted, **facts)
                    self._seeds[sha256] = time.monotonic() + SEED_FOR
                    return data
                except PeerGone as e:
                    why = str(e)
            raise FetchError("failed", f"the process that fetches artifacts ended {TRIES} times: {why}")
        finally:
            self._running -= 1

    async def tell(self, op: str, **args: Any) -> None:
        """hold, stop or pushed; nothing to do without a peer. Raises FetchError."""
        if op == "pushed":
            self._seeds.pop(str(args.get("sha256")), None)
        peer = self._peer
        if peer is not None:
            try:
                await peer.ask(op, ANSWER, None, **args)
            except PeerGone:
                pass

    async def close(self) -> None:
        """End the process; what it has of unfinished artifacts stays on disk."""
        if self._watch is not None:
            self._watch.cancel()
        peer, self._peer = self._peer, None
        if peer is not None:
            await peer.close()

    def _trackers(self, args: Mapping[str, Any]) -> Any:
        """The origin is reached where the controller is: only the host knows under which address."""
        here = urlsplit(origin(self._identity.controllers[0])).hostname or ""
        trackers = args.get("trackers")
        if not isinstance(trackers, list):
            raise FetchError("bad", "trackers: a list is wanted")
        return [{**t, "address": t.get("address") or here} for t in trackers if isinstance(t, dict)]

    async def _ready(self) -> "Peer":
        async with self._starting:
            if self._peer is None or self._peer.gone:
                self._peer = await Peer.start(self._dir)
            if self._watch is None or self._watch.done():
                self._watch = asyncio.ensure_future(self._end_when_idle())
            return self._peer

    async def _end_when_idle(self) -> None:
        while self._peer is not None:
            await asyncio.sleep(IDLE)
            now = time.monotonic()
            self._seeds = {sha: until for sha, until in self._seeds.items() if until > now}
            async with self._starting:
                if not self._running and not self._seeds and self._peer is not None:
                    peer, self._peer = self._peer, None
                    await peer.close()


class Peer:
    """One running peer process: JSON lines on its stdin and stdout (docs/artifacts.md)."""

    def __init__(self, process: "asyncio.subprocess.Process") -> None:
        self.gone = False
        self._process = process
        self._ids = 0
        self._waiting: "Dict[int, asyncio.Future[Data]]" = {}
        self._progress: Dict[int, Progress] = {}
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, host_dir: str) -> "Peer":
        """Raises PeerGone when it cannot be started."""
        work = os.path.join(host_dir, "swarm")
        make_dir(work)
        log = os.open(os.path.join(work, "peer.out"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *own.argv_of("cockpit.swarm.peer", "--dir", host_dir), stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=log, limit=MAX_LINE, cwd="/", start_new_session=True,
            )
        except OSError as e:
            raise PeerGone(e.strerror or str(e)) from None
        finally:
            os.close(log)
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        except OSError:
            pass  # it has ended already, which its reader notices
        return cls(process)

    async def ask(self, op: str, timeout: Optional[float], progress: Optional[Progress], **args: Any) -> Data:
        """Raises PeerGone, FetchError."""
        if self.gone or self._process.stdin is None:
            raise PeerGone("it has ended")
        self._ids += 1
        id = self._ids
        answer: "asyncio.Future[Data]" = asyncio.get_running_loop().create_future()
        self._waiting[id] = answer
        if progress is not None:
            self._progress[id] = progress
        try:
            line = json.dumps({"id": id, "op": op, **args}, separators=(",", ":")) + "\n"
            self._process.stdin.write(line.encode())
            reply = await within(answer, timeout)
        except asyncio.TimeoutError:
            raise FetchError("failed", f"the process that fetches artifacts did not answer {op}") from None
        except ConnectionError as e:
            raise PeerGone(str(e)) from None
        finally:
            self._waiting.pop(id, None)
            self._progress.pop(id, None)
        if not reply.get("ok"):
            raise FetchError(str(reply.get("code") or "failed"), str(reply.get("text") or "no reason given"))
        data = reply.get("data")
        return data if isinstance(data, dict) else {}

    async def close(self) -> None:
        """It ends with its stdin; one that does not is killed."""
        self.gone = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await within(self._process.wait(), 5.0)
        except asyncio.TimeoutError:
            self._process.kill()
            await self._process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        why = "it has ended"
        try:
            assert self._process.stdout is not None
            while True:
                line = await self._process.stdout.readline()
                if not line:
                    break
                self._line(json.loads(line))
        except (ValueError, KeyError, TypeError) as e:
            why = f"it said what is not understood: {e}"
            self._process.kill()
        finally:
            self.gone = True
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(PeerGone(why))
                    answer.exception()
            self._waiting.clear()

    def _line(self, doc: Data) -> None:
        id = int(doc["id"])
        if "progress" in doc:
            tell = self._progress.get(id)
            if tell is not None:
                tell(dict(doc["progress"]))
            return
        answer = self._waiting.pop(id, None)
        if answer is not None and not answer.done():
            answer.set_result(doc)
