"""A small controller for the agent's tests: real TLS, real frames, on loopback."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from cockpit.link.frames import SUBPROTOCOL
from cockpit.link.pki import Authority, JoinRefused, make_token, peer_identity, token_digest
from tests.helpers import PATIENCE, alive, until

Frame = dict[str, Any]
UUID = "6d8b2cb0-1111-4222-8333-444455556666"


class FakeController:
    """One host's other end. Keeps every frame; acknowledges events unless told not to."""

    def __init__(self, dir: Path, address: str) -> None:
        self.authority = Authority.create(dir / "ca", "puzzle")
        self.address = address
        self.port = 0
        self.frames: list[Frame] = []
        self.hellos: list[tuple[str, str, Frame]] = []
        self.welcome: Frame = {
            "t": "welcome", "address": address, "port_range": [20000, 20999],
            "cluster": "puzzle", "region": "bj",
        }
        self.acking = True
        self.tokens: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.break_after: int | None = None
        """Bytes after which the next artifact transfer is cut once."""
        self.ranges: list[str] = []
        self.ws: web.WebSocketResponse | None = None
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/link", self._link)
        app.router.add_post("/join", self._join)
        app.router.add_get("/artifacts/{sha256}", self._artifact)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self.address, port, ssl_context=self.authority.controller_context(), reuse_address=True
        )
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server)
        self.port = server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def cut(self) -> None:
        ws, self.ws = self.ws, None
        if ws is not None and ws._req is not None and ws._req.transport is not None:
            ws._req.transport.abort()

    async def send(self, frame: Frame) -> None:
        assert self.ws is not None
        await self.ws.send_str(json.dumps(frame))

    async def connected(self, after: int = 0) -> Frame:
        """The full set of a connection after frame number `after`."""
        found = await until(lambda: [f for f in self.frames[after:] if f["t"] == "full"])
        return found[0]

    async def command(
        self, word: str, *, task: str = "", uuid: str = UUID, timeout: float = PATIENCE, **args: Any
    ) -> Frame:
        """Send a command; its result frame."""
        task = task or f"t{next(self._numbers)}"
        after = len(self.frames)
        await self.send({"t": "cmd", "task": task, "uuid": uuid, "word": word, "args": args})
        return await self.result(task, after, timeout)

    async def result(self, task: str, after: int = 0, timeout: float = PATIENCE) -> Frame:
        def found() -> list[Frame]:
            return [f for f in self.frames[after:] if f["t"] == "result" and f["task"] == task]

        return (await until(found, timeout, f"result of {task}"))[0]

    async def ok(self, word: str, **args: Any) -> Frame:
        answer = await self.command(word, **args)
        assert answer["ok"], answer
        data: Frame = answer["data"]
        return data

    def unit(self, unit: str) -> Frame | None:
        """The last report of a unit, None when it is gone."""
        for frame in reversed(self.frames):
            if frame["t"] == "unit" and frame["unit"]["unit"] == unit:
                found: Frame = frame["unit"]
                return found
            if frame["t"] == "gone" and frame["unit"] == unit:
                return None
            if frame["t"] == "full":
                return next((u for u in frame["units"] if u["unit"] == unit), None)
        return None

    async def sees(self, unit: str, timeout: float = PATIENCE, **facts: Any) -> Frame:
        """Wait until the unit's report has these fields."""

        def found() -> Frame:
            report = self.unit(unit)
            return report if report and all(report[k] == v for k, v in facts.items()) else {}

        return await until(found, timeout, f"{unit} with {facts}")

    def of(self, kind: str) -> list[Frame]:
        return [f for f in self.frames if f["t"] == kind]

    def token(self, host: str = "", ttl: float = 60.0) -> str:
        text, record = make_token(self.authority, host, "", ttl)
        self.tokens[record["id"]] = record
        return text

    async def _link(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        host, uuid = peer_identity(request.transport.get_extra_info("peercert"))
        ws = web.WebSocketResponse(protocols=(SUBPROTOCOL,), compress=False)
        await ws.prepare(request)
        hello = json.loads(await ws.receive_str())
        self.hellos.append((host, uuid, hello))
        await ws.send_str(json.dumps(self.welcome))
        self.ws = ws
        async for message in ws:
            if message.type != WSMsgType.TEXT:
                break
            frame = json.loads(message.data)
            self.frames.append(frame)
            if frame["t"] == "event" and self.acking:
                await ws.send_str(json.dumps({"t": "ack", "seq": frame["seq"]}))
        return ws

    async def _join(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        id, digest = token_digest(body["token"])
        record = self.tokens.get(id)
        if record is None or record["digest"] != digest:
            return web.json_response({"error": "this token is not known here: it was used already"}, status=403)
        if record["expires"] < time.time():
            return web.json_response({"error": "this token has expired"}, status=403)
        try:
            cert = self.authority.issue_host(body["csr"], body["host"], body["uuid"])
        except JoinRefused as e:
            return web.json_response({"error": str(e)}, status=403)
        del self.tokens[id]
        return web.json_response(
            {"cert": cert, "ca": self.authority.ca_pem, "cluster": "puzzle", "host": body["host"]}
        )

    async def _artifact(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peer_identity(request.transport.get_extra_info("peercert"))
        data = self.blobs.get(request.match_info["sha256"])
        if data is None:
            return web.Response(status=404)
        wanted = request.headers.get("Range", "")
        self.ranges.append(wanted)
        begin = int(wanted[len("bytes=") :].split("-")[0]) if wanted else 0
        response = web.StreamResponse(status=206 if wanted else 200)
        if wanted:
            response.headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        response.content_length = len(data) - begin
        await response.prepare(request)
        limit, self.break_after = self.break_after, None
        await response.write(data[begin:] if limit is None else data[begin : begin + limit])
        if limit is not None:
            request.transport.abort()
        return response


class AgentProcess:
    """An agent of a host directory, started as users start it, and everything it started."""

    def __init__(self, dir: Path, controller: FakeController, *, boot_id: str = "boot-1") -> None:
        self.dir = dir
        self.controller = controller
        self.boot_id = boot_id

    def enroll(self) -> None:
        self.controller.authority.issue_local_host(
            self.dir, "bj-1", UUID, [self.controller.url], address=self.controller.address
        )

    async def start(self, *more: str) -> asyncio.subprocess.Process:
        self.dir.mkdir(mode=0o700, exist_ok=True)
        log = os.open(self.dir / "agent.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", "cockpit.agent", "run", "--dir", str(self.dir),
                "--boot-id", self.boot_id, *more, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)

    @property
    def pid(self) -> int:
        return int(self.controller.hellos[-1][2]["agent_pid"])

    async def keeper_pid(self) -> int | None:
        """Of whoever answers on the keeper's socket."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.dir / "keeper.sock"))
        except OSError:
            return None
        try:
            writer.write(b'{"id":1,"op":"hello"}\n')
            return int(json.loads(await reader.readline())["pid"])
        except (OSError, ValueError):
            return None
        finally:
            writer.close()

    async def end(self) -> None:
        """Everything of this directory stops."""
        pid = await self.keeper_pid()
        if pid is not None:
            reader, writer = await asyncio.open_unix_connection(str(self.dir / "keeper.sock"))
            writer.write(b'{"id":1,"op":"end"}\n')
            await reader.read()
            writer.close()
            await until(lambda: not alive(pid), what="the keeper ends")
        for _, _, hello in self.controller.hellos:
            if alive(hello["agent_pid"]):
                os.kill(hello["agent_pid"], signal.SIGKILL)


def unitspec(unit: str = "puzzle.web/2:5", **facts: Any) -> dict[str, Any]:
    """A small web server by default."""
    instance, _, gen = unit.rpartition(":")
    service, _, slot = instance.rpartition("/")
    argv = [sys.executable, "-m", "http.server", "{port}", "--bind", "{address}", "--directory", "{directory}"]
    return {
        "unit": unit, "instance": instance, "gen": int(gen), "service": service, "slot": int(slot),
        "cluster": "puzzle", "region": "bj", "host": "bj-1", "version": "1.0.0", "artifact": None,
        "processes": {"main": argv}, "env": {}, "secrets": {}, "directory": "", "user": "", "limits": {},
        "ports": {"http": 0}, "check": {"http": {"path": "/"}, "interval": 0.2, "timeout": 1.0},
        "probe": None, "restart": {}, "stop": {"signal": "TERM", "grace": 2.0}, "attributes": {},
        "config": "c1", **facts,
    }
