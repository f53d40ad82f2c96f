"""The origin: the process that serves the store's artifacts to relays and hosts, kept alive by the controller.

JSON lines on its stdin and stdout (docs/artifacts.md). It ends with the controller; pushes go on when both are back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cockpit.children import ended

MAX_LINE = 4 * 1024 * 1024
START_LIMIT = 15.0
AGAIN = 0.5
"""Seconds before an origin that ended is started again."""

Doc = dict[str, Any]


class OriginError(Exception):
    """The origin refused, or is not there now. `code` as in the answers to `fetch`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Origin:
    """Start it once; it is started again whenever it ends, and told again what it has to know."""

    def __init__(
        self, directory: Path, identity: Path, *, stats: Callable[[Doc], None], want: Callable[[Doc], None]
    ) -> None:
        self.port = 0
        self._directory = directory
        self._identity = identity
        self._on_stats = stats
        self._on_want = want
        self._process: asyncio.subprocess.Process | None = None
        self._ids = 0
        self._waiting: dict[int, tuple[asyncio.Future[Doc], Callable[[Doc], None] | None]] = {}
        self._ready = asyncio.Event()
        self._standing: dict[str, Doc] = {}
        """What a new process must be told: publications by swarm, and rates."""
        self._keeping: asyncio.Task[None] | None = None

    async def start(self, address: str, port: int) -> int:
        """Its port. Raises OSError when it does not come up (the port is taken, say)."""
        await self._launch(address, port)
        self._keeping = asyncio.create_task(self._keep(address))
        return self.port

    async def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(5.0):
                await ended(process)
        except TimeoutError:
            process.kill()
            await ended(process)

    async def publish(self, swarm: str, doc: Doc) -> None:
        """Serve an artifact: {sha256, layout, manifest, layout_file, pack, table}. Raises OriginError."""
        self._standing[swarm] = {"op": "publish", **doc}
        await self.ask("publish", **doc)

    def published(self, swarm: str) -> bool:
        return swarm in self._standing

    async def withdraw(self, swarm: str) -> None:
        self._standing.pop(swarm, None)
        await self.ask("withdraw", swarm=swarm)

    async def rates(self, regions: dict[str, int]) -> None:
        """Bytes per second into each region; regions that are not named are unlimited."""
        self._standing["rates"] = {"op": "rates", "regions": regions}
        await self.ask("rates", regions=regions)

    async def revoked(self, uuids: list[str]) -> None:
        """Refuse these hosts and relays; what they have open is cut. The whole list."""
        self._standing["revoked"] = {"op": "revoked", "uuids": uuids}
        await self.ask("revoked", uuids=uuids)

    async def ask(
        self, op: str, progress: Callable[[Doc], None] | None = None, *, timeout: float | None = 10.0, **args: Any
    ) -> Doc:
        """The `data` of its answer. Raises OriginError."""
        try:
            async with asyncio.timeout(timeout):
                await self._ready.wait()
                self._ids += 1
                id = self._ids
                future: asyncio.Future[Doc] = asyncio.get_running_loop().create_future()
                self._waiting[id] = (future, progress)
                try:
                    self._write({"id": id, "op": op, **args})
                    reply = await future
                finally:
                    self._waiting.pop(id, None)
        except TimeoutError:
            raise OriginError("unreachable", f"the origin did not answer {op}") from None
        if not reply.get("ok"):
            raise OriginError(str(reply.get("code") or "failed"), str(reply.get("text") or "no reason given"))
        data = reply.get("data")
        return data if isinstance(data, dict) else {}

    def unknown(self, doc: Doc) -> None:
        """Answer to `want`: the store does not have it."""
        self._write({"op": "unknown", "sha256": doc.get("sha256"), "layout": doc.get("layout")})

    def _write(self, doc: Doc) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(json.dumps(doc, separators=(",", ":")).encode() + b"\n")

    async def _launch(self, address: str, port: int) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.open(self._directory / "origin.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", "cockpit.swarm.node", "origin", "--dir", str(self._directory),
                "--identity", str(self._identity), "--address", address, "--port", str(port),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, limit=MAX_LINE,
                cwd="/", start_new_session=True,
            )
        finally:
            os.close(log)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_LIMIT):
                first = await process.stdout.readline()
        except TimeoutError:
            first = b""
        try:
            self.port = int(json.loads(first)["ready"]["port"])
        except (ValueError, KeyError, TypeError):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await ended(process)
            said = (self._directory / "origin.out").read_text(errors="replace").strip().rpartition("\n")[2]
            raise OSError(f"the origin of artifacts did not start: {said or 'no reason given'}") from None
        for doc in self._standing.values():
            self._ids += 1
            self._write({"id": self._ids, **doc})
        self._ready.set()

    async def _keep(self, address: str) -> None:
        while True:
            assert self._process is not None
            await self._read(self._process)
            self._ready.clear()
            for future, _ in self._waiting.values():
                if not future.done():
                    future.set_result({"ok": False, "code": "unreachable", "text": "the origin ended"})
            await asyncio.sleep(AGAIN)
            with contextlib.suppress(OSError):
                await self._launch(address, self.port)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Until it ends."""
        assert process.stdout is not None
        with contextlib.suppress(ValueError):
            while line := await process.stdout.readline():
                self._line(json.loads(line))
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await ended(process)

    def _line(self, doc: Doc) -> None:
        if "stats" in doc:
            self._on_stats(doc["stats"])
        elif "want" in doc:
            self._on_want(doc["want"])
        elif (found := self._waiting.get(int(doc.get("id", 0)))) is not None:
            future, progress = found
            if "progress" in doc:
                if progress is not None:
                    progress(doc["progress"])
            elif not future.done():
                future.set_result(doc)
