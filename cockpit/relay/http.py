"""What a relay passes on beside links: joining, and the files of builds."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from cockpit.link.decoding import guarded
from cockpit.link.hub import HOST_HEADER
from cockpit.link.listen import Who, who
from cockpit.relay.switch import NO_CONTROLLER, Switch

JOIN_TIME = 20.0
BUILD_TIME = 3600.0
BLOCK = 64 * 1024
PASSED = ("Content-Length", "Content-Type", "Content-Encoding", "Digest", "ETag")


class Passing:
    """Routes for the listener's app. `upstream` says where the relay is connected now (a URL, or empty)."""

    def __init__(self, switch: Switch, context: Callable[[], ssl.SSLContext], upstream: Callable[[], str]) -> None:
        self._switch, self._context, self._upstream = switch, context, upstream

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_post("/join", self._join)
        app.router.add_get("/build/{build}", self._build, allow_head=False)
        app.router.add_put("/build/{build}", self._build)
        return app

    async def _join(self, request: web.Request) -> web.StreamResponse:
        try:
            body = _body(await request.read()) | {"address": request.remote or ""}
        except msgspec.DecodeError as e:
            return web.json_response({"error": f"bad request: {e}"}, status=400)
        answered: asyncio.Future[tuple[bool, dict[str, Any]]] = asyncio.get_running_loop().create_future()

        def answer(ok: bool, told: dict[str, Any]) -> None:
            if not answered.done():
                answered.set_result((ok, told))

        self._switch.ask("join", body, answer)
        try:
            async with asyncio.timeout(JOIN_TIME):
                ok, told = await answered
        except TimeoutError:
            ok, told = False, {"error": "the controller did not answer in time"}
        return web.json_response(told, status=200 if ok else 503 if told.get("error") == NO_CONTROLLER else 403)

    async def _build(self, request: web.Request) -> web.StreamResponse:
        """Streamed through, in the name of the host that asks."""
        host = self._asks(request)
        if not host:
            return web.Response(status=403, text="the certificate of a host that is connected is needed here\n")
        upstream = self._upstream()
        if not upstream:
            return web.Response(status=503, text=f"{NO_CONTROLLER}\n")
        headers = {name: request.headers[name] for name in PASSED if name in request.headers} | {HOST_HEADER: host}
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(BUILD_TIME, sock_connect=10), auto_decompress=False,
                ) as http,
                http.request(
                    request.method, upstream + request.path, ssl=self._context(), headers=headers,
                    data=_blocks(request) if request.method == "PUT" else None, allow_redirects=False,
                ) as answer,
            ):
                return await self._answer(request, answer)
        except (OSError, aiohttp.ClientError, TimeoutError) as e:
            return web.Response(status=502, text=f"{self._switch.name} cannot pass it on: {e}\n")

    async def _answer(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        kept = {name: answer.headers[name] for name in PASSED if name in answer.headers}
        passed = web.StreamResponse(status=answer.status, headers=kept)
        await passed.prepare(request)
        async for block in answer.content.iter_chunked(BLOCK):
            await passed.write(block)
        with contextlib.suppress(ConnectionError):
            await passed.write_eof()
        return passed

    def _asks(self, request: web.Request) -> str:
        """For which host the request is; empty when it is nobody's to ask for."""
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        try:
            found: Who = who(certificate or {})
        except ValueError:
            return ""
        if found.kind == "host":
            here = ((a.host, a.uuid) for a in self._switch.agents.values())
            return found.name if (found.name, found.uuid) in here else ""
        named = request.headers.get(HOST_HEADER, "")
        return named if found.kind == "relay" and self._switch.below.carries(found.name, named) else ""


_body = guarded(msgspec.json.Decoder(dict[str, Any]).decode)


async def _blocks(request: web.Request) -> AsyncIterator[bytes]:
    async for block in request.content.iter_any():
        yield block
