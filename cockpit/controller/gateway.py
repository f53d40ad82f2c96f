"""The SSH gateway: the process that enters hosts without an agent, and opens the way for agents behind SSH.

It speaks the relay's side of the trunk over a socket that it inherits, one frame a line (docs/links.md), and a few
frames of its own: what it has to enter, what it has to ask a person, how each way in stands. It is started when
the topology first needs it and ends with the controller; what runs on the hosts runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.artifacts.packed import Damaged
from cockpit.link.channel import ChannelClosed
from cockpit.link.frames import MAX_FRAME
from cockpit.model.topology import Expected, Ssh
from cockpit.swarm import assemble
from cockpit.swarm.holdings import Holdings

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

NAME = "ssh"
"""Of its trunk. No relay is called so: relays' sids begin with their names, and hosts' names are the topology's."""
GROUP = "cockpit.gateway"
AGAIN = 1.0
"""Seconds before a gateway that ended is started again."""
END_LIMIT = 5.0
Doc = dict[str, Any]


def ways_in(expected: Expected, uuids: Callable[[str], str], hub: tuple[str, int], origin: tuple[str, int]) -> Doc:
    """The `hosts` frame: what the gateway has to enter. Pure.

    `uuids` gives the UUID of a host without an agent. `hub` and `origin` are where this controller listens.
    """
    hosts = {
        name: {
            "ssh": _plain(host.ssh), "address": host.address, "region": host.region,
            "port_range": list(host.port_range), "uuid": uuids(name),
        }
        for name, host in expected.hosts.items() if host.connection == "ssh"
    }  # fmt: skip
    entered: list[tuple[str, str, str, Ssh | None]]
    entered = [("host", n, h.address, h.ssh) for n, h in expected.hosts.items() if h.connection == "agent"]
    entered += [("relay", n, r.address, r.ssh) for n, r in expected.relays.items()]
    ends = {"target": list(_near(hub)), "origin": list(_near(origin))}
    downlinks = {
        name: {"kind": kind, "ssh": {"address": address} | _plain(ssh), **ends}
        for kind, name, address, ssh in entered if ssh is not None and ssh.listen
    }  # fmt: skip
    return {"t": "hosts", "hosts": hosts, "downlinks": downlinks}


def _plain(ssh: Any) -> Doc:
    found = msgspec.to_builtins(ssh) if ssh is not None else {}
    return {key: value for key, value in found.items() if value not in ("", [], 0)}


def _near(place: tuple[str, int]) -> tuple[str, int]:
    """As the gateway reaches it, which runs on this machine."""
    return ("127.0.0.1" if place[0] in ("", "0.0.0.0") else "::1" if place[0] == "::" else place[0]), place[1]


class GatewayChannel:
    """Lines on a socket as a channel; frames that are not the trunk's go to `other`."""

    kind = NAME

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.other: Callable[[Doc], None] = lambda frame: None
        self._reader = reader
        self._writer = writer

    @property
    def peercert(self) -> Doc:
        return {}

    async def send(self, text: str) -> None:
        self.put(text)
        try:
            await self._writer.drain()
        except OSError as e:
            raise ChannelClosed(f"the SSH gateway ended: {e}") from None

    def put(self, text: str) -> None:
        if not self._writer.is_closing():
            self._writer.write(text.encode() + b"\n")

    async def recv(self) -> str:
        while True:
            try:
                line = await self._reader.readline()
                frame = json.loads(line) if line else None
            except (OSError, ValueError) as e:
                raise ChannelClosed(f"the SSH gateway: {e}") from None
            if frame is None:
                raise ChannelClosed("the SSH gateway ended")
            if not isinstance(frame, dict):
                raise ChannelClosed("the SSH gateway sent what is not a frame")
            if frame.get("t") not in ("prompt", "ssh") and frame.get("what") != "release":
                return line.decode()
            self.other(frame)

    def abort(self) -> None:
        transport = self._writer.transport
        transport.abort()

    async def close(self) -> None:
        self.abort()


class Gateway:
    """Keeps the process while the topology has something to enter. `changed` is called when states or prompts did."""

    def __init__(self, controller: Controller, changed: Callable[[], None]) -> None:
        self.c = controller
        self.states: dict[str, Doc] = {}
        """Host or relay -> {state, text, since}: how the way in stands."""
        self.prompts: dict[str, Doc] = {}
        """What a person has to answer, by id: {host, text, secret}."""
        self._changed = changed
        self._channel: GatewayChannel | None = None
        self._told: Doc = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """The topology, or where we listen, may have changed."""
        self._wake.set()
        if self._channel is not None:
            self._tell(self._channel)

    def troubles(self) -> dict[str, tuple[str, ...]]:
        """What the operator of each host that is entered should know; empty where all is well."""
        asked = {p["host"] for p in self.prompts.values()}
        found: dict[str, tuple[str, ...]] = {}
        for name, state in self.states.items():
            text = str(state.get("text") or "")
            if name in asked:
                found[name] = ("SSH waits for an answer: cockpit ssh",)
            else:
                found[name] = (f"SSH: {text}",) if state.get("state") == "failed" and text else ()
        return found

    def answer(self, id: str, text: str) -> bool:
        """What a person answered; False when nobody asks that any more."""
        if self.prompts.pop(id, None) is None or self._channel is None:
            return False
        self._channel.put(json.dumps({"t": "answer", "prompt": id, "text": text}))
        self._changed()
        return True

    async def run(self) -> None:
        """For ever: nothing while there is nothing to enter."""
        while True:
            self._wake.clear()
            wanted = self._wanted()
            if not wanted["hosts"] and not wanted["downlinks"]:
                await self._wake.wait()
                continue
            try:
                await self._serve()
            except OSError as e:
                self._say(f"the SSH gateway does not start: {e}")
            await asyncio.sleep(AGAIN)

    def _wanted(self) -> Doc:
        c = self.c
        place = (c.address, c.hub.port)
        return ways_in(c.world.expected, c.joining.agentless, place, (c.address, c.origin.port))

    def _tell(self, channel: GatewayChannel) -> None:
        wanted = self._wanted()
        if wanted != self._told:
            self._told = wanted
            channel.put(json.dumps(wanted, separators=(",", ":")))
            entered = {**wanted["hosts"], **wanted["downlinks"]}
            self.states = {name: state for name, state in self.states.items() if name in entered}
            self._changed()

    async def _serve(self) -> None:
        """One life of the process. Raises OSError when it cannot be started."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv(theirs.fileno()), stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(),), cwd="/",
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_FRAME + 1)
        channel = GatewayChannel(reader, writer)
        channel.other = self._heard
        self._channel, self._told = channel, {}
        self._tell(channel)
        try:
            await self.c.hub.attach(NAME, channel, self._allows)
        finally:
            self._channel = None
            self.prompts.clear()
            channel.abort()
            self._say("the SSH gateway ended")
            await _end(process)

    def _argv(self, fd: int) -> list[str]:
        """Raises FileNotFoundError when no gateway is installed."""
        from importlib.metadata import entry_points

        found = {e.name: e for e in entry_points(group=GROUP)}
        if NAME not in found:
            raise FileNotFoundError(f"no backend {NAME!r} in {GROUP}")
        directory = self.c.state / "ssh"
        directory.mkdir(mode=0o700, exist_ok=True)
        return [*found[NAME].load()(str(directory)), "--fd", str(fd)]

    def _allows(self, host: str) -> bool:
        entry = self.c.world.expected.hosts.get(host)
        return entry is not None and entry.connection == "ssh"

    # what it tells

    def _heard(self, frame: Doc) -> None:
        kind = frame.get("t")
        if kind == "prompt":
            self.prompts[str(frame["id"])] = {
                "host": str(frame.get("host", "")), "text": str(frame.get("text", ""))[:1000],
                "secret": frame.get("secret") is not False,
            }
            self._changed()
        elif kind == "ssh":
            self.states.update({str(k): v for k, v in dict(frame.get("states") or {}).items() if isinstance(v, dict)})
            self._changed()
        else:
            self._spawn(self._release(frame))

    def _say(self, text: str) -> None:
        now = time.time()
        self.states = {name: {"state": "failed", "text": text, "since": now} for name in self.states}
        self._changed()

    async def _release(self, frame: Doc) -> None:
        """A release that it will carry to a host: unpacked on this machine."""
        body: Doc
        try:
            sha256 = str((frame.get("body") or {}).get("sha256"))
            body = await asyncio.to_thread(self._unpacked, sha256)
        except (LookupError, Damaged, assemble.AssembleError, OSError) as e:
            body = {"text": str(e)}
        if self._channel is not None:
            told = {"t": "told", "id": frame.get("id"), "ok": "text" not in body, "body": body}
            self._channel.put(json.dumps(told))

    def _unpacked(self, sha256: str) -> Doc:
        """{directory, manifest}. Raises LookupError, Damaged, AssembleError, OSError."""
        record = next((r for r in self.c.catalog.records.values() if r["sha256"] == sha256), None)
        if record is None:
            raise LookupError(f"the store has no artifact {sha256[:12]}")
        root, store = self.c.state / "ssh", self.c.artifacts
        name, version = str(record["name"]), str(record["version"])
        if assemble.installed(str(root), name, version) != sha256:
            with store.pack(sha256, str(record["layout"])) as pack:
                assemble.install(str(root), pack.manifest, Holdings(str(root), name), pack.chunk)
        files = store.files(sha256, str(record["layout"]))
        return {"directory": str(root / "releases" / name / version), "manifest": str(files.manifest)}

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self.c.watched)


async def _end(process: asyncio.subprocess.Process) -> None:
    """It ends when its socket closes."""
    try:
        async with asyncio.timeout(END_LIMIT):
            await process.wait()
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
