"""What the tests of upgrades share: a controller with `Candidates`, and releases of the agent."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

import cockpit
from cockpit.link import candidates, messages
from cockpit.link.frames import PROTOCOL, SUBPROTOCOL
from cockpit.link.pki import peer_identity
from tests.agent.fake import UUID, FakeController, Frame
from tests.helpers import PATIENCE, until

ROOT = Path(cockpit.__file__).resolve().parent.parent
SHA = "ab" * 32

MAIN = """#!{python} -I
import sys
sys.path[:0] = [{root!r}, {packages!r}]
import cockpit
cockpit.__version__ = {version!r}
{before}
from cockpit.agent.__main__ import main
sys.exit(main())
"""


class Beside:
    """One connection of the test's hub."""

    def __init__(self, hub: UpgradeHub, ws: web.WebSocketResponse, hello: messages.Hello) -> None:
        self.host = hello.host
        self.hub = hub
        self.ws = ws
        self.hello = hello
        self.sent: list[Frame] = []
        self.frames: list[Frame] = []

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)
        self.hub.spawn(self.ws.send_str(json.dumps(frame)))

    def cut(self, why: str = "") -> None:
        if self.ws._req is not None and self.ws._req.transport is not None:
            self.ws._req.transport.abort()


class UpgradeHub(FakeController):
    """As the hub does: the serving link in `ws`, the others beside it, `Candidates` deciding."""

    def __init__(self, dir: Path, address: str) -> None:
        super().__init__(dir, address)
        self.candidates = candidates.Candidates(self)
        self.main: Beside | None = None
        self.links: list[Beside] = []
        self.words: list[str] = []
        self.repeats = 0
        self.refuse: set[str] = set()
        """Versions whose protocol is refused, as by a hub that does not speak it."""
        self.silent_retire = False
        """The word `retire` is lost on its way."""
        self.commands: dict[str, Frame] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Any) -> None:
        async def quiet() -> None:
            try:
                await work
            except (ConnectionError, RuntimeError):
                pass

        task = asyncio.create_task(quiet())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # candidates.Hub

    def serving(self, host: str) -> Beside | None:
        return self.main

    def move(self, host: str, link: Any, hello: Any) -> None:
        self.main, self.ws = link, link.ws

    def repeat(self, host: str) -> None:
        self.repeats += 1
        answered = {f["task"] for f in self.of("result")}
        for task, frame in self.commands.items():
            if task not in answered and self.main is not None:
                self.main.send(frame)

    def told(self, host: str, upgrading: str) -> None:
        self.words.append(upgrading)

    # the link

    async def send(self, frame: Frame) -> None:
        if frame["t"] == "cmd":
            self.commands[frame["task"]] = frame
        await super().send(frame)

    def agents(self, role: str) -> list[Beside]:
        return [link for link in self.links if link.hello.role == role]

    async def _link(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        host, uuid = peer_identity(request.transport.get_extra_info("peercert"))
        ws = web.WebSocketResponse(protocols=(SUBPROTOCOL,), compress=False)
        await ws.prepare(request)
        raw = json.loads(await ws.receive_str())
        self.hellos.append((host, uuid, raw))
        hello = messages.decode(json.dumps(raw))
        assert isinstance(hello, messages.Hello)
        if hello.version in self.refuse or hello.protocol != PROTOCOL:
            await ws.close(message=b"another protocol")
            return ws
        link = Beside(self, ws, hello)
        role = self.candidates.admit(link, hello)
        if role == candidates.MAIN:
            old = self.main
            if old is not None:
                old.cut()
            self.main, self.ws = link, ws
        self.links.append(link)
        await ws.send_str(json.dumps({**self.welcome, **({"candidate": True} if role == "candidate" else {})}))
        self.candidates.opened(link)
        try:
            await self._frames(link)
        finally:
            self.candidates.closed(link)
            if self.main is link:
                self.main = None
        return ws

    async def _frames(self, link: Beside) -> None:
        async for message in link.ws:
            if message.type != WSMsgType.TEXT:
                break
            frame = json.loads(message.data)
            link.frames.append(frame)
            if frame["t"] == "pong":
                continue
            if not self.candidates.frame(link, messages.decode(message.data)):
                continue
            self.frames.append(frame)
            if frame["t"] == "event" and self.acking and self.main is not None:
                self.main.send({"t": "ack", "seq": frame["seq"]})

    async def upgrade(self, version: str, task: str = "up", limit: float = 60.0, **more: Any) -> Frame:
        """Order it, and wait for its answer. `limit` is the candidate's time."""
        await self.order(version, task, timeout=limit, **more)
        return await self.result(task, timeout=limit + PATIENCE)

    async def order(self, version: str, task: str = "up", **more: Any) -> None:
        args = {"name": "cockpit-agent", "version": version, "sha256": SHA, **more}
        await self.send({"t": "cmd", "task": task, "uuid": UUID, "word": "upgrade", "args": args})

    async def served_by(self, version: str, timeout: float = PATIENCE) -> Beside:
        """The serving link, once it is of an agent of this version and has told its full set."""

        def there() -> list[Beside]:
            link = self.main
            if link is None or link.hello.version != version or not any(f["t"] == "full" for f in link.frames):
                return []
            return [link]

        return (await until(there, timeout, f"{version} serves"))[0]


def release(host_dir: Path, version: str, before: str = "", **facts: Any) -> Path:
    """An installed release of this agent, as another version; `before` is run ahead of it."""
    from cockpit.swarm.records import identity

    root = host_dir / "releases" / "cockpit-agent" / version
    root.mkdir(parents=True)
    packages = str(Path(sys.executable).parent.parent / "lib" / f"python3.{sys.version_info[1]}" / "site-packages")
    program = root / "main.py"
    program.write_text(
        MAIN.format(python=sys.executable, root=str(ROOT), packages=packages, version=version, before=before)
    )
    program.chmod(0o755)
    (root / "agent.json").write_text(
        json.dumps({"argv": ["{python}", "-I", "{release}/main.py"], "protocol": 1, "version": version, **facts})
    )
    (root / "agent.json").chmod(0o644)
    import hashlib

    files = {
        p.name: [hashlib.sha256(p.read_bytes()).hexdigest(), *identity(str(p))]
        for p in (program, root / "agent.json")
    }
    manifest = {"name": "cockpit-agent", "version": version, "sha256": SHA, "files": files}
    record = root.parent / f".{version}.json"
    record.write_text(json.dumps(manifest))
    os.chmod(record, stat.S_IRUSR | stat.S_IWUSR)
    return root
