"""The real processes of the swarm, with identities of one authority, on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cockpit.link.pki import Authority
from tests.helpers import PATIENCE
from tests.swarm.bundle import Bundle


class Process:
    """`python -I -m MODULE ...`; what it prints is kept, and waited for by `until`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log
        self.ended = False
        self.docs: list[dict[str, Any]] = []
        self._came = asyncio.Condition()
        self._numbers = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, module: str, *args: str, log: Path) -> Process:
        with log.open("ab") as err:
            return cls(await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", module, *args, stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=err, limit=4 * 1024 * 1024,
            ), log)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._came:
                self.docs.append(json.loads(line))
                self._came.notify_all()
        async with self._came:
            self.ended = True
            self._came.notify_all()

    async def until(self, found: Any) -> dict[str, Any]:
        """The first line for which `found(doc)` is true."""

        def first() -> Any:
            return next((doc for doc in self.docs if found(doc)), None)

        async with self._came:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._came.wait_for(lambda: first() is not None or self.ended)
            except TimeoutError:
                pass
        assert first() is not None, f"{self.docs[-3:]}\n{self.log.read_text()[-3000:]}"
        return first()  # type: ignore[no-any-return]

    def say(self, doc: dict[str, Any]) -> int:
        self._numbers += 1
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": self._numbers, **doc}).encode() + b"\n")
        return self._numbers

    async def answer(self, id: int) -> dict[str, Any]:
        return await self.until(lambda doc: doc.get("id") == id and "ok" in doc)

    async def ask(self, doc: dict[str, Any]) -> dict[str, Any]:
        return await self.answer(self.say(doc))

    def progress(self, id: int) -> list[dict[str, Any]]:
        return [doc["progress"] for doc in self.docs if doc.get("id") == id and "progress" in doc]

    async def port(self) -> int:
        return int((await self.until(lambda doc: "ready" in doc))["ready"]["port"])

    async def end(self, number: int = signal.SIGTERM) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
        await self._reader
        return code


class House:
    """One cluster: an authority, and everything that was started below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authority = Authority.create(root / "ca", "shop")
        self.running: list[Process] = []
        self.ports: dict[str, int] = {}

    async def origin(self) -> Process:
        identity = self.authority.issue_origin(self.root / "origin")
        process = await Process.start(
            "cockpit.swarm.node", "origin", "--dir", str(self.root / "origin"), "--identity", str(identity),
            "--port", str(self.ports.get("", 0)), log=self.root / "origin.err",
        )
        return await self._up("", process)

    async def relay(
        self, name: str, upstream: str = "", *, cache: int = 1 << 30, rate: int = 0, region: str = "sh"
    ) -> Process:
        """At the same port as the last time."""
        if not (self.root / name).exists():
            self.authority.issue_local_relay(self.root / name, name, str(uuid.uuid4()), [])
        above = f"{upstream}@" if upstream else ""
        process = await Process.start(
            "cockpit.relay", "--dir", str(self.root / name), "--address", "127.0.0.1",
            "--region", region,
            "--upstream", f"{above}127.0.0.1:{self.ports[upstream]}", "--cache", str(cache), "--rate", str(rate),
            log=self.root / f"{name}.err",
        )
        return await self._up(name, process)

    async def peer(self, name: str) -> Process:
        if not (self.root / name).exists():
            self.authority.issue_local_host(self.root / name, name, str(uuid.uuid4()), [])
        process = await Process.start(
            "cockpit.swarm.peer", "--dir", str(self.root / name), log=self.root / f"{name}.err"
        )
        self.running.append(process)
        return process

    async def _up(self, name: str, process: Process) -> Process:
        self.running.append(process)
        self.ports[name] = await process.port()
        return process

    def fetch(self, bundle: Bundle, *trackers: str, **more: Any) -> dict[str, Any]:
        """The line that tells a peer to fetch."""
        return {
            "op": "fetch", "address": "127.0.0.1", "port": 0, "region": "sh", "name": "web",
            "version": bundle.version, "kind": "release", "sha256": bundle.sha256, "layout": bundle.layout,
            "size": len(bundle.content), "push": "A1", "rates": {}, "require": [], "signers": {}, "signatures": [],
            "patch": None,
            "trackers": [{"name": t, "address": "127.0.0.1", "port": self.ports[t]} for t in trackers],
            **more,
        }

    def installed(self, host: str, bundle: Bundle) -> bool:
        path = self.root / host / "releases" / "web" / bundle.version / "data.bin"
        return path.exists() and path.read_bytes() == bundle.content


@contextlib.asynccontextmanager
async def house(root: Path) -> AsyncIterator[House]:
    made = House(root)
    try:
        yield made
    finally:
        for process in made.running:
            if process.process.returncode is None:
                process.process.kill()
            await process.process.wait()
            await process._reader
