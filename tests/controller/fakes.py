"""A controller in this process, and agents that carry out every word at once without any process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from cockpit.controller.core import Controller
from cockpit.controller.serving import Options, controller
from cockpit.link.pki import Authority
from cockpit.model.load import load_text
from cockpit.model.topology import Expected
from tests.helpers import PATIENCE

T = TypeVar("T")

TOPOLOGY = """\
# two hosts that dial in, three services
cockpit: 1
name: still
regions: {sh: , bj: }
hosts:
  a-1: {region: sh, address: 127.0.9.1}
  b-1: {region: bj, address: 127.0.9.2}   # the far one
tree:
  shop:
    cluster: true
    children:
      web: {version: 1.0.0, command: [serve, "{port}"], ports: [http], instances: 2, depends: [db],
            update: {healthy_for: 50ms}, attributes: {weight: "3"}}
      db: {version: 1.0.0, command: [serve], instances: {hosts: [a-1]}}
  batch: {version: "1", command: ["true"], instances: 0}
"""


def topology(text: str = TOPOLOGY) -> Expected:
    return load_text(text.encode()).expected


def identity(authority: Authority, directory: Path, host: str, id: str = "") -> str:
    """Write DIRECTORY/identity of a host; returns its UUID."""
    id = id or str(uuid.uuid4())
    directory.mkdir(parents=True, exist_ok=True)
    authority.issue_local_host(directory, host, id, [])
    return id


def client_context(directory: Path, *, certificate: bool = True) -> ssl.SSLContext:
    own = directory / "identity"
    context = ssl.create_default_context(cafile=str(own / "ca.pem"))
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(own / "cert.pem", own / "key.pem")
    return context


async def dial(directory: Path, port: int, **options: Any) -> ClientConnection:
    """A link with the identity in DIRECTORY; nothing is sent yet."""
    return await connect(
        f"wss://127.0.0.1:{port}/link", ssl=client_context(directory), compression=None, ping_interval=None,
        subprotocols=[Subprotocol("cockpit.1")], max_size=None, close_timeout=1, **options,
    )


class FakeAgent:
    """Speaks the link as an agent does. Every command succeeds, but those in `fails`."""

    def __init__(self, host: str, directory: Path, id: str, port: int) -> None:
        self.host, self.directory, self.id, self.port = host, directory, id, port
        self.units: dict[str, dict[str, Any]] = {}
        self.fails: dict[str, tuple[str, str]] = {}
        """Word -> code and text of its answer."""
        self.words: list[str] = []
        self.silent = False
        """It answers no command."""
        self.logs: list[str] = ["first", "second"]
        self.ws: ClientConnection | None = None
        self.reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.ws = await dial(self.directory, self.port)
        await self.send(t="hello", host=self.host, uuid=self.id, boot_id="b", agent_pid=11, keeper_pid=10)
        welcome = json.loads(await self.ws.recv())
        assert welcome["t"] == "welcome", welcome
        await self.send(t="full", units=list(self.units.values()), releases=[], names=0, head=None)
        self.reader = asyncio.create_task(self._read(self.ws))

    async def stop(self) -> None:
        if self.reader is not None:
            self.reader.cancel()
            await asyncio.gather(self.reader, return_exceptions=True)
        if self.ws is not None:
            self.ws.transport.abort()
            await self.ws.wait_closed()

    async def send(self, **frame: Any) -> None:
        assert self.ws is not None
        await self.ws.send(json.dumps(frame))

    async def _read(self, ws: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in ws:
                frame = json.loads(text)
                match frame["t"]:
                    case "cmd":
                        await self._command(frame["task"], frame["word"], frame["args"])
                    case "names":
                        await self.send(t="names", version=frame["version"])
                    case "ping":
                        await self.send(t="pong", at=frame["at"])

    async def _command(self, task: str, word: str, args: dict[str, Any]) -> None:
        self.words.append(word)
        if self.silent:
            return
        if word in self.fails:
            code, text = self.fails[word]
            await self.send(t="result", task=task, ok=False, code=code, text=text)
            return
        data: dict[str, Any] = {}
        match word:
            case "prepare":
                spec = args["spec"]
                ports = {n: p or 20000 + len(self.units) for n, p in spec["ports"].items()}
                await self._unit(
                    spec["unit"], instance=spec["instance"], gen=spec["gen"], version=spec["version"],
                    config=spec.get("config", ""), state=384, ports=ports,
                )
            case "start":
                await self._unit(args["unit"], state=512, run=1, pid=4000 + len(self.units), wanted=True, started=1.0)
            case "stop":
                exit = {"run": 1, "code": 0, "started": 1.0, "ended": 2.0}
                await self._unit(args["unit"], state=640, pid=None, wanted=False, exit=exit)
            case "remove":
                self.units.pop(args["unit"], None)
                await self.send(t="gone", unit=args["unit"])
            case "drain":
                data = {"remaining": 0}
            case "tail":
                data = {"lines": self.logs}
        await self.send(t="result", task=task, ok=True, data=data)
        if word == "logs":
            lines = [[1, "stdout", "main", line] for line in self.logs]
            end = None if args["follow"] else ""
            await self.send(t="log", stream=args["stream"], lines=lines, dropped=0, end=end)

    async def _unit(self, unit: str, **facts: Any) -> None:
        now = asyncio.get_running_loop().time()
        self.units[unit] = {**self.units.get(unit, {}), "unit": unit, **facts, "observed": now}
        await self.send(t="unit", unit=self.units[unit])


async def agent(c: Controller, root: Path, host: str) -> FakeAgent:
    """A connected agent of this host."""
    id = identity(c.authority, root / host, host)
    await c.joining.admit(host, id)
    made = FakeAgent(host, root / host, id, c.hub.port)
    await made.start()
    return made


@contextlib.asynccontextmanager
async def engine(root: Path, expected: Expected | None = None) -> AsyncIterator[Controller]:
    """A controller with its sockets under ROOT/s, and no action under way."""
    async with controller(Options(state=root / "s"), expected if expected is not None else topology()) as c:
        async with asyncio.timeout(PATIENCE):
            while any(not t.done() for t in c.runner._tasks) or c.runner.running:
                await asyncio.sleep(0.01)
        yield c


class Background:
    """The same in a thread with a loop of its own, for tests of commands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "s"
        self.agents: dict[str, FakeAgent] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready: Future[Controller] = Future()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        self.c = self._ready.result(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        finally:
            self._loop.close()

    async def _live(self) -> None:
        try:
            async with engine(self.root) as c:
                self._ready.set_result(c)
                await self._stop.wait()
                for each in self.agents.values():
                    await each.stop()
        except BaseException as e:
            if not self._ready.done():
                self._ready.set_exception(e)
            raise

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the engine's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def look(self, question: Callable[[], T]) -> T:
        async def ask() -> T:
            return question()

        return self.do(ask())

    def connect(self, *hosts: str) -> None:
        """For the first time, or again with the units they had."""
        for host in hosts:
            if host in self.agents:
                self.do(self.agents[host].start())
            else:
                self.agents[host] = self.do(agent(self.c, self.root, host))

    def disconnect(self, *hosts: str) -> None:
        for host in hosts:
            self.do(self.agents[host].stop())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def background(root: Path) -> Iterator[Background]:
    made = Background(root)
    try:
        yield made
    finally:
        made.stop()
