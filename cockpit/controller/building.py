"""Builds on hosts: inputs out, lines and outputs back, and the result into the store.

A build lives as long as somebody reads its stream: when that is closed, the host is told to end it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from cockpit.artifacts.building import MAX_INPUT_BYTES, digest
from cockpit.artifacts.packed import Damaged
from cockpit.artifacts.store import Exists, check_word
from cockpit.artifacts.untar import is_tar
from cockpit.controller.direct import Word
from cockpit.link.hub import Answer, Hub
from cockpit.model.problems import nearest
from cockpit.model.view import Who
from cockpit.plan.direct import direct_plan
from cockpit.plan.steps import Bad, Intent, Plan, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

MAX_BUILDS = 8
MAX_OUTPUT = 4 * 1024 * 1024 * 1024
"""Bytes of packed outputs."""
MAX_WAITING = 2000
"""Batches of lines that may wait for a reader; what comes then is counted and left out."""
LAST_LINES = 5.0
"""Seconds to wait for lines that were sent before the answer."""
BLOCK = 1024 * 1024

Add = Callable[[Path, "Request", dict[str, Any]], Awaitable[dict[str, Any]]]
"""Puts an archive into the store with its build record; returns the artifact's record."""


class Request(Word, frozen=True, kw_only=True):
    """What a command asks for. `inputs` is a gzipped tar on this machine with its digest and size."""

    name: str
    version: str
    host: str
    argv: tuple[str, ...]
    outputs: tuple[str, ...]
    inputs: str
    sha256: str
    size: int
    timeout: float
    env: dict[str, str] = msgspec.field(default_factory=dict)
    platform: str = "any"


class Builds:
    """`known` are the hosts of the topology. Files lie in `spool` while a build runs."""

    def __init__(self, hub: Hub, spool: Path, known: Callable[[], Collection[str]], add: Add) -> None:
        self._hub = hub
        self._spool = spool
        self._known = known
        self._add = add
        self._jobs: dict[str, _Job] = {}

    def clean(self) -> None:
        """What an earlier controller left."""
        shutil.rmtree(self._spool, ignore_errors=True)

    async def run(self, request: Request, author: str) -> AsyncIterator[dict[str, Any]]:
        """Items: `{"lines":[[out|err, text]...]}`, `{"dropped":n}`, and at the end `{"record"}` or
        `{"failed": sentence, "code": agent's error code, "exit", "signal"}`.

        Raises Bad, Refused, and ConnectionError when the host gives no answer.
        """
        self.check(request)
        task = f"build-{uuid.uuid4().hex}"
        job = _Job(task, request.host, self._spool / task)
        self._jobs[task] = job
        answer: Answer | None = None
        try:
            await asyncio.to_thread(_take_inputs, request, job)
            args = {
                "build": task, "argv": request.argv, "env": request.env, "outputs": request.outputs,
                "timeout": request.timeout, "limit": MAX_OUTPUT,
                "inputs": {"sha256": request.sha256, "size": request.size},
            }
            future = self._hub.begin(task, request.host, "build", args)
            async for item in job.items(future):
                yield item
            answer = future.result()
            yield await self._ended(request, job, answer, author)
        finally:
            del self._jobs[task]
            self._hub.forget(task)
            if answer is None and request.host in self._hub.links:
                told = self._hub.begin(f"{task}-end", request.host, "unbuild", {"build": task})
                told.add_done_callback(_seen)
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, job.directory, True))

    def progress(self, task: str, data: dict[str, Any]) -> bool:
        """Lines of a build; False when the task is none of ours."""
        job = self._jobs.get(task)
        if job is not None:
            job.take(data)
        return job is not None or task.startswith("build-")

    async def serve(self, request: web.Request, host: str) -> web.StreamResponse:
        """`GET` and `PUT /build/ID`, for the host that has the build."""
        job = self._jobs.get(request.match_info["build"])
        if job is None or job.host != host:
            return web.Response(status=404, text="no such build of this host\n")
        if request.method == "GET":
            return web.FileResponse(job.inputs)
        size = request.content_length
        if size is None:
            return web.Response(status=411, text="Content-Length is wanted\n")
        if size > MAX_OUTPUT:
            return web.Response(status=413, text=f"at most {MAX_OUTPUT} bytes\n")
        if job.lock.locked():
            return web.Response(status=409, text="the outputs are on their way already\n")
        async with job.lock:
            return await self._receive(request, job, size)

    async def _receive(self, request: web.Request, job: _Job, size: int) -> web.Response:
        with await asyncio.to_thread(_open_new, job.outputs) as out:
            have = 0
            waiting: list[bytes] = []
            async for block in request.content.iter_any():
                have += len(block)
                if have > size or job.task not in self._jobs:
                    return web.Response(status=410, text="nobody waits for it any more\n")
                waiting.append(block)
                if sum(map(len, waiting)) >= BLOCK:
                    await asyncio.to_thread(out.write, b"".join(waiting))
                    waiting.clear()
            await asyncio.to_thread(out.write, b"".join(waiting))
        return web.Response(status=200 if have == size else 400)

    def check(self, request: Request) -> None:
        """Raises Bad, Refused, ConnectionError."""
        try:
            for what in ("name", "version", "platform"):
                check_word(what, getattr(request, what))
        except ValueError as e:
            raise Bad(str(e)) from None
        known = sorted(self._known())
        if request.host not in known:
            near = nearest(request.host, known)
            hint = f' (did you mean "{near}"?)' if near else f"; known are {', '.join(known[:8])}" if known else ""
            raise Bad(f"unknown build host {request.host!r}{hint}")
        if request.host not in self._hub.links:
            raise ConnectionError(f"no answer from {request.host}: nothing can be built there")
        if len(self._jobs) >= MAX_BUILDS:
            raise Refused(f"{MAX_BUILDS} builds are running already")

    async def _ended(self, request: Request, job: _Job, answer: Answer, author: str) -> dict[str, Any]:
        data = answer.data
        if not answer.ok:
            return _failed(f"{request.host}: {answer.text or answer.code}", answer.code)
        if data.get("why") == "timeout":
            return _failed(f"ended after {request.timeout:g} s: it did not finish in time", "timeout", data)
        if data.get("code") != 0:
            number = data.get("signal")
            how = f"exit {data.get('code')}" if number is None else f"killed by signal {number}"
            return _failed(f"the build failed: {how}", "failed", data)
        outputs = data.get("outputs") or {}
        try:
            found = await asyncio.to_thread(job.digest)
        except OSError:
            found = ""
        if not found or found != outputs.get("sha256"):
            return _failed(f"{request.host}: the outputs that came are not those that were announced", "digest")
        if not await asyncio.to_thread(is_tar, job.outputs):
            return _failed(f"{request.host}: the outputs that came are no archive that can be read", "bad")
        build = {
            "host": request.host, "argv": list(request.argv), "inputs": request.sha256,
            "outputs": list(request.outputs), "started": data.get("started"), "ended": data.get("ended"),
            "exit": 0, "agent": data.get("version"), "by": author,
        }
        try:
            return {"record": await self._add(job.outputs, request, build)}
        except (Exists, Damaged, ValueError) as e:
            return _failed(f"the outputs were not taken: {e}", "refused")
        except OSError as e:
            return _failed(f"the outputs could not be kept: {e.filename or ''} {e.strerror or e}", "failed")


class _Job:
    """One build that somebody waits for."""

    def __init__(self, task: str, host: str, directory: Path) -> None:
        self.task = task
        self.host = host
        self.directory = directory
        self.inputs = directory / "inputs"
        self.outputs = directory / "outputs"
        self.lock = asyncio.Lock()
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._wake = asyncio.Event()
        self._came = 0
        self._dropped = 0

    def take(self, data: dict[str, Any]) -> None:
        lines = data.get("lines")
        if not isinstance(lines, list):
            return
        self._came += len(lines)
        if len(self._waiting) >= MAX_WAITING:
            self._dropped += len(lines)
            return
        if self._dropped:
            self._waiting.append({"dropped": self._dropped})
            self._dropped = 0
        self._waiting.append({"lines": lines})
        self._wake.set()

    async def items(self, answer: asyncio.Future[Answer]) -> AsyncIterator[dict[str, Any]]:
        """What the build says, until it ended and all of it is here."""
        answer.add_done_callback(lambda _: self._wake.set())
        last: float | None = None
        """When lines that were sent before the answer are waited for no longer."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if answer.done():
                last = last or time.monotonic() + LAST_LINES
                everything = answer.exception() or self._came >= int(answer.result().data.get("lines") or 0)
                if everything or time.monotonic() >= last:
                    break
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if last is None else last - time.monotonic()):
                    await self._wake.wait()
        if self._dropped:
            yield {"dropped": self._dropped}

    def digest(self) -> str:
        with self.outputs.open("rb") as f:
            return digest(f)


def builds_of(c: Controller) -> Builds:
    """The builds of a controller, and the way to them through its hub."""

    async def add(archive: Path, request: Request, build: dict[str, Any]) -> dict[str, Any]:
        record = await asyncio.to_thread(
            c.artifacts.add, archive, request.name, request.version, platform=request.platform, build=build
        )
        await c.catalog.refresh()
        return record

    builds = Builds(c.hub, c.state / "builds", lambda: c.world.expected.hosts, add)
    builds.clean()
    c.hub.build = builds.serve
    return builds


def build_plan(c: Controller, request: Request, author: str) -> Plan:
    """What it would do, where. Raises Bad, Refused, ConnectionError."""
    c.builds.check(request)
    rest = [sorted(request.env.items()), request.outputs, request.platform]  # the values are for nobody to see
    params = {
        "artifact": f"{request.name}/{request.version}", "argv": list(request.argv), "sha256": request.sha256,
        "timeout": request.timeout, "rest": hashlib.sha256(msgspec.json.encode(rest)).hexdigest(),
    }
    intent = Intent(verb="artifact-build", targets=(request.host,), params=params, author=author)
    return direct_plan(intent, c.world.revision)


async def build(c: Controller, request: Request, who: Who) -> AsyncIterator[dict[str, Any]]:
    """`Builds.run` where the guards let it. Raises Bad, Refused, ConnectionError."""
    plan = build_plan(c, request, who.author)
    facts = {"id": f"build-{uuid.uuid4().hex}", "artifact": plan.intent.params["artifact"], "host": request.host}
    guarded = await c.direct.admit(plan, who, request, facts["id"])
    c.ledger.note({
        "kind": "build", **facts, "argv": list(request.argv), "inputs": request.sha256, "author": who.author,
        **guarded,
    })  # fmt: skip
    ended = False
    failed = ""
    try:
        async with contextlib.aclosing(c.builds.run(request, who.author)) as items:  # type: ignore[type-var]
            async for item in items:
                ended = ended or "record" in item or "failed" in item
                failed = str(item.get("failed") or "")
                yield item
    finally:
        c.ledger.note({"kind": "build-end", **facts, "stopped": not ended, "failed": failed})


def _take_inputs(request: Request, job: _Job) -> None:
    """Copies the inputs, so that whoever packed them may go. Raises Bad."""
    job.directory.mkdir(mode=0o700, parents=True)
    if not 0 < request.size <= MAX_INPUT_BYTES:
        raise Bad(f"inputs of {request.size} bytes: at most {MAX_INPUT_BYTES} can be sent")
    try:
        fd = os.open(request.inputs, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as source, _open_new(job.inputs) as out:
            if not stat.S_ISREG(os.fstat(fd).st_mode) or os.fstat(fd).st_size != request.size:
                raise Bad(f"{request.inputs}: it is not the file of {request.size} bytes that was announced")
            shutil.copyfileobj(source, out, BLOCK)
    except OSError as e:
        raise Bad(f"{e.filename or request.inputs}: {e.strerror or e}") from None
    with job.inputs.open("rb") as f:
        if digest(f) != request.sha256:
            raise Bad(f"{request.inputs}: it has another digest than announced")


def _open_new(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def _failed(text: str, code: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    data = data or {}
    return {"failed": text, "code": code, "exit": data.get("code"), "signal": data.get("signal")}


def _seen(future: asyncio.Future[Answer]) -> None:
    if not future.cancelled():
        with contextlib.suppress(Exception):
            future.exception()
