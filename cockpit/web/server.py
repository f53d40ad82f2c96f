"""The HTTP side: the page, and a WebSocket for each screen. Every request passes the gate first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from cockpit.web.child import Child
from cockpit.web.gate import Gate

FILES = {"/app.js": "text/javascript", "/app.css": "text/css"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip
MOST_MESSAGE = 256 * 1024
HEARTBEAT = 20.0
SEND_LIMIT = 30.0
"""Seconds a browser may take for one piece of screen; then it is gone."""
FULL, ENDED = 4001, 4000
"""Codes of a WebSocket's end that the page knows."""


class WebServer:
    """`argv` starts one screen; `say` prints for the operator; `link` gets a new token when one was used."""

    def __init__(
        self, gate: Gate, argv: Sequence[str], *, role: str, sessions: int, say: Callable[[str], None],
        link: Callable[[str], None], secure: bool = False,
    ) -> None:
        self.gate = gate
        self.argv = list(argv)
        self.role = role
        self.sessions = sessions
        self.say = say
        self.link = link
        self.secure = secure
        self.children: set[Child] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self._starting = 0
        self._page = {name: (Path(__file__).parent / "page" / name).read_bytes()
                      for name in ("index.html", "app.js", "app.css")}  # fmt: skip
        self._home = tempfile.TemporaryDirectory(prefix="cockpit-web-")  # 0700

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded], client_max_size=1024)
        app.router.add_get("/", self._index)
        for path in FILES:
            app.router.add_get(path, self._file)
        app.router.add_get("/ws", self._screen)
        app.on_shutdown.append(self._shut)
        return app

    async def _shut(self, app: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=ENDED, message=b"the server ends")
        await asyncio.gather(*(child.end() for child in list(self.children)))
        self._home.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Host, then login or cookie; headers on every answer. What is refused gets no word about why."""
        now = time.monotonic()
        if not self.gate.host_is_ours(request.headers.get("Host", "")):
            answer: web.StreamResponse = _refused(421, "This server does not answer to that name.")
        elif request.path == "/" and "token" in request.query:
            answer = self._login(request, now)
        elif self.gate.knows(request.cookies.get(self.gate.cookie, ""), now):
            try:
                answer = await handler(request)
            except web.HTTPException as e:
                answer = _refused(e.status, e.reason)
        else:
            answer = _refused(403, "Open the link that cockpit web printed; each link works once.")
        if not answer.prepared:
            answer.headers.update(HEADERS)
        return answer

    def _login(self, request: web.Request, now: float) -> web.StreamResponse:
        if self.gate.blocked(now):
            return _refused(429, "Too many wrong links; wait a moment.")
        cookie = self.gate.enter(request.query["token"], now)
        if cookie is None:
            return _refused(403, "This link was used, or never given out. Open the newest one.")
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(self.gate.cookie, cookie, httponly=True, samesite="Strict", path="/", secure=self.secure)
        self.say(f"somebody came in from {request.remote}")
        self.link(self.gate.new_link())
        return answer

    async def _index(self, request: web.Request) -> web.Response:
        return web.Response(body=self._page["index.html"], content_type="text/html", charset="utf-8")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.path
        return web.Response(body=self._page[name[1:]], content_type=FILES[name], charset="utf-8")

    async def _screen(self, request: web.Request) -> web.StreamResponse:
        if not self.gate.origin_is_ours(request.headers.get("Origin", "")):
            return _refused(403, "A page from elsewhere may not open a screen.")
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=MOST_MESSAGE, compress=False)
        socket.headers.update(HEADERS)
        await socket.prepare(request)
        if len(self.children) + self._starting >= self.sessions:
            words = f"{self.sessions} screens are open, and no more are allowed"
            await socket.close(code=FULL, message=words.encode())
            return socket
        self._sockets.add(socket)
        self._starting += 1
        child: Child | None = None
        words = "the screen has ended"
        try:
            try:
                size = (_number(request.query.get("width")), _number(request.query.get("height")))
                child = await Child.start(self.argv, os.environ, size, self._home.name, self.role)
            finally:
                self._starting -= 1
            self.children.add(child)
            await self._between(socket, child)
        except (OSError, TimeoutError) as e:
            words = str(e) or "the screen did not start in time"
            self.say(words)
        finally:
            if child is not None:
                await asyncio.shield(self._ended(child))
            self._sockets.discard(socket)
        with contextlib.suppress(ConnectionError, RuntimeError):
            await socket.close(code=ENDED, message=words.encode()[:120])
        return socket

    async def _ended(self, child: Child) -> None:
        await child.end()
        self.children.discard(child)

    async def _between(self, socket: web.WebSocketResponse, child: Child) -> None:
        """Both ways, until either ends."""

        async def show() -> None:
            async for piece in child.output():
                async with asyncio.timeout(SEND_LIMIT):
                    await socket.send_bytes(piece)

        async def listen() -> None:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await _heard(child, message)

        tasks = [asyncio.create_task(show()), asyncio.create_task(listen())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _heard(child: Child, message: Any) -> None:
    """`["stdin", TEXT]` or `["resize", {width, height}]`; anything else is nothing."""
    try:
        match message.json():
            case ["stdin", str(text)]:
                await child.type(text)
            case ["resize", {"width": int(width), "height": int(height)}]:
                await child.resize(width, height)
    except (ValueError, RecursionError):
        pass


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else 80


def _refused(status: int, words: str) -> web.Response:
    return web.Response(status=status, text=words + "\n")
