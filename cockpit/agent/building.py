"""The word `build`: a program in a private directory, its files brought and its outputs taken away.

A build belongs to the connection it was asked over: when that breaks, or the controller says `unbuild`, it is
ended with everything it has started (`build_child`), and nothing of it stays on the host.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import http.client
import json
import os
import re
import shutil
import threading
import time
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional
from urllib.parse import urlsplit

import cockpit
from cockpit.agent import own
from cockpit.agent.build_files import collect, extract, forget
from cockpit.agent.files import make_dir
from cockpit.agent.identity import Identity, WrongController, check_controller, origin
from cockpit.agent.prepare import DEFAULT_PATH
from cockpit.agent.tasks import CommandError, Data
from cockpit.agent.waiting import within
from cockpit.link.frames import Frame

MAX_BUILDS = 2
MAX_INPUT = 1024 * 1024 * 1024
MAX_OUTPUT = 4 * 1024 * 1024 * 1024
MAX_TIMEOUT = 24 * 3600.0
MAX_FILE = 8 * 1024 * 1024 * 1024
OPEN_FILES = 65536
CHUNK = 256 * 1024
TIMEOUT = 30.0
TRIES = 3
BATCH = 0.1
"""Seconds for which output is collected before it is sent."""
MAX_LINE = 4000
MAX_FRAME_LINES = 2000
MAX_FRAME_TEXT = 100_000
"""Characters of one frame's lines; a control character takes six bytes in JSON."""
MAX_WAITING = 5000
"""Lines that may wait; then the build waits."""
LAST_WORDS = 5.0
BREAK = re.compile("\r?\n|\r(?=[^\n])")
"""A lone carriage return also ends a line: so do programs redraw theirs."""
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")

Send = Callable[[Frame], Awaitable[None]]
"""Waits while too much is on its way already."""


class Builder:
    """The builds of this host, in DIR/builds."""

    def __init__(self, host_dir: str, identity: Identity, address: Callable[[], str], send: Send) -> None:
        self.dir = os.path.join(host_dir, "builds")
        self._identity = identity
        self._address = address
        self._send = send
        self._jobs: Dict[str, _Job] = {}

    async def build(self, args: Mapping[str, Any]) -> Data:
        """{"code","signal","why","seconds","started","ended","lines","version"}, and `outputs` {sha256, size} when it
        ended with 0. Raises CommandError: bad, busy, space, unreachable, digest, stopped, exec, missing, limit."""
        order = _Order(args)
        if order.id in self._jobs:
            raise CommandError("busy", f"build {order.id} runs already")
        if len(self._jobs) >= MAX_BUILDS:
            raise CommandError("busy", f"{MAX_BUILDS} builds are running on this host")
        job = self._jobs[order.id] = _Job(order, os.path.join(self.dir, order.id))
        try:
            return await self._whole(job)
        except OSError as e:
            job.check()
            raise CommandError("failed", f"{e.filename or 'build'}: {e.strerror or e}") from None
        finally:
            job.stop()  # threads too
            try:
                await _thread(forget, job.dir)
            finally:
                del self._jobs[order.id]

    def unbuild(self, id: str) -> None:
        """Ends a build; nothing happens when there is none."""
        job = self._jobs.get(id)
        if job is not None:
            job.stop()

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    def end_all(self) -> None:
        for job in self._jobs.values():
            job.stop()

    def clean(self) -> None:
        """Before the first build: what an agent left that was killed."""
        forget(self.dir)

    async def _whole(self, job: _Job) -> Data:
        order = job.order
        await _thread(self._fetch, job)
        done = await self._run(job)
        job.check()
        done["version"] = cockpit.__version__
        if done["why"] or done["code"] != 0:
            return done
        archive = os.path.join(job.dir, "outputs.tar.gz")
        await _thread(lambda: collect(job.work, order.outputs, archive, job.check, most=order.limit))
        done["outputs"] = await _thread(self._deliver, job, archive)
        return done

    # files

    def _fetch(self, job: _Job) -> None:
        make_dir(self.dir)
        os.mkdir(job.dir, 0o700)
        for name in ("work", "home", "tmp"):
            os.mkdir(os.path.join(job.dir, name), 0o700)
        size = job.order.input_size
        if shutil.disk_usage(job.dir).free < 4 * size + 64 * 1024 * 1024:
            raise CommandError("space", f"not enough room on this host to build from {size} bytes of inputs")
        archive = os.path.join(job.dir, "inputs.tar.gz")
        self._try(job, lambda link: self._get(job, link, archive))
        extract(archive, job.work, job.check)
        os.unlink(archive)

    def _get(self, job: _Job, link: http.client.HTTPSConnection, archive: str) -> None:
        link.request("GET", f"/build/{job.order.id}")
        reply = link.getresponse()
        _accepted(reply)
        sha = hashlib.sha256()
        have = 0
        with open(os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            while block := reply.read(CHUNK):
                job.check()
                have += len(block)
                if have > job.order.input_size:
                    break
                sha.update(block)
                out.write(block)
        if have < job.order.input_size:
            raise OSError("the connection ended early")
        if sha.hexdigest() != job.order.input_sha256:
            raise CommandError("digest", "what came are not the inputs that were announced")

    def _deliver(self, job: _Job, archive: str) -> Data:
        sha = hashlib.sha256()
        with open(archive, "rb") as f:
            while block := f.read(CHUNK):
                job.check()
                sha.update(block)
        size = os.path.getsize(archive)
        self._try(job, lambda link: self._put(job, link, archive, size))
        return {"sha256": sha.hexdigest(), "size": size}

    def _put(self, job: _Job, link: http.client.HTTPSConnection, archive: str, size: int) -> None:
        with open(archive, "rb") as f:
            def blocks() -> Any:
                while block := f.read(CHUNK):
                    job.check()
                    yield block

            link.request("PUT", f"/build/{job.order.id}", body=blocks(), headers={"Content-Length": str(size)})
            reply = link.getresponse()
            reply.read(CHUNK)
            _accepted(reply)

    def _try(self, job: _Job, work: Callable[[http.client.HTTPSConnection], None]) -> None:
        """One request; again, and to the next controller, while the network is to blame."""
        why = "no controller is known"
        for n in range(TRIES * len(self._identity.controllers)):
            if n and job.stopped.wait(0.3 * n):
                break
            base = self._identity.controllers[n % len(self._identity.controllers)]
            link = self._dial(base)
            try:
                link.connect()
                check_controller(link.sock.getpeercert(), self._identity.cluster)
                work(link)
                return
            except WrongController as e:
                raise CommandError("unreachable", str(e)) from None
            except (OSError, http.client.HTTPException) as e:
                why = f"{origin(base)}: {getattr(e, 'strerror', None) or e or type(e).__name__}"
            finally:
                link.close()
        job.check()
        raise CommandError("unreachable", f"files of the build could not be moved: {why}")

    def _dial(self, base: str) -> http.client.HTTPSConnection:
        where = urlsplit(origin(base))
        address = self._address()
        return http.client.HTTPSConnection(
            where.hostname or "", where.port, timeout=TIMEOUT, context=self._identity.context(),
            source_address=(address, 0) if address else None,
        )

    # the run

    async def _run(self, job: _Job) -> Data:
        job.check()
        read, write = os.pipe()
        started = time.time()
        try:
            child = await asyncio.create_subprocess_exec(
                *own.script_argv("build_child.py", str(write)), stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, pass_fds=(write,), cwd="/",
                env={"PATH": os.environ.get("PATH", DEFAULT_PATH)}, start_new_session=True,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        said = _Said(job.order.id, self._send)
        streams = (("out", child.stdout), ("err", child.stderr))
        readers = [asyncio.ensure_future(said.listen(name, stream)) for name, stream in streams]
        teller = asyncio.ensure_future(said.tell())
        try:
            job.ending = child.stdin.close
            child.stdin.write(json.dumps(job.spec()).encode() + b"\n")
            job.look()
            await child.wait()
            # what hangs in the kernel may hold the pipes for ever
            await asyncio.wait(readers, timeout=LAST_WORDS)
            ended = time.time()
            status = json.loads(os.read(read, 65536) or b"{}")
        finally:
            child.stdin.close()
            os.close(read)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            said.over.set()
            said.wake.set()
            await _finished(teller)
        if not status:
            raise CommandError("failed", "the process that held the build was killed")
        if status["why"] not in ("", "timeout", "stopped"):
            raise CommandError("exec", str(status["why"]))
        if status["why"] == "stopped":
            raise CommandError("stopped", "the build was stopped")
        return {**status, "started": started, "ended": ended, "lines": said.count}


class _Order:
    """The arguments of the word, checked. Raises CommandError."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        inputs = args.get("inputs")
        if not isinstance(inputs, dict):
            raise CommandError("bad", "`inputs` of a build wants sha256 and size")
        self.id = str(args.get("build"))
        self.argv = _words(args.get("argv"), "argv")
        self.outputs = _words(args.get("outputs"), "outputs")
        env = args.get("env") or {}
        if not isinstance(env, dict) or not all(isinstance(v, str) for v in env.values()):
            raise CommandError("bad", "`env` of a build maps names to texts")
        self.env: Dict[str, str] = {str(k): v for k, v in env.items()}
        self.timeout = float(args.get("timeout") or 0.0)
        self.limit = min(int(args.get("limit") or MAX_OUTPUT), MAX_OUTPUT)
        self.input_sha256 = str(inputs.get("sha256"))
        self.input_size = int(inputs.get("size") or 0)
        if not ID.fullmatch(self.id) or not SHA256.fullmatch(self.input_sha256):
            raise CommandError("bad", "`build` (an id) and the inputs' sha256 are wanted")
        if not 0 < self.timeout <= MAX_TIMEOUT or not 0 < self.input_size <= MAX_INPUT or self.limit <= 0:
            raise CommandError("bad", "`timeout`, the inputs' size or `limit` is out of range")
        if any("\0" in text for text in (*self.argv, *self.env, *self.env.values())) or "=" in "".join(self.env):
            raise CommandError("bad", "argv or env of a build holds what no process can be given")


class _Job:
    """One build that is under way."""

    def __init__(self, order: _Order, dir: str) -> None:
        self.order = order
        self.dir = dir
        self.work = os.path.join(dir, "work")
        self.stopped = threading.Event()
        self.ending: Optional[Callable[[], None]] = None
        """Ends the running program."""

    def stop(self) -> None:
        self.stopped.set()
        self.look()

    def look(self) -> None:
        if self.stopped.is_set() and self.ending is not None:
            self.ending()

    def check(self) -> None:
        """Raises CommandError once it was stopped."""
        if self.stopped.is_set():
            raise CommandError("stopped", "the build was stopped")

    def spec(self) -> Dict[str, Any]:
        order = self.order
        env = {
            "PATH": os.environ.get("PATH", DEFAULT_PATH), "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": os.path.join(self.dir, "home"), "TMPDIR": os.path.join(self.dir, "tmp"), **order.env,
        }  # fmt: skip
        limits = {"core": 0, "cpu": int(order.timeout) + 60, "file": MAX_FILE, "nofile": OPEN_FILES}
        return {"argv": order.argv, "env": env, "cwd": self.work, "timeout": order.timeout, "limits": limits}


class _Said:
    """Lines of a build on their way to the controller: collected, and the build waits when nobody reads."""

    def __init__(self, id: str, send: Send) -> None:
        self.count = 0
        self.over = asyncio.Event()
        self.wake = asyncio.Event()
        self._room = asyncio.Event()
        self._lines: List[List[str]] = []
        self._id = id
        self._send = send

    async def listen(self, name: str, stream: asyncio.StreamReader) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        rest = ""
        try:
            while block := await stream.read(CHUNK):
                lines = BREAK.split(rest + decoder.decode(block))
                rest = lines.pop()
                while len(rest) > MAX_LINE:
                    lines.append(rest[:MAX_LINE])
                    rest = rest[MAX_LINE:]
                self._put(name, lines)
                while len(self._lines) > MAX_WAITING:
                    self._room.clear()
                    await self._room.wait()
        finally:
            rest = (rest + decoder.decode(b"", True)).rstrip("\r")
            self._put(name, [rest] if rest else [])

    def _put(self, name: str, lines: List[str]) -> None:
        for line in lines:
            for at in range(0, max(1, len(line)), MAX_LINE):
                self._lines.append([name, line[at : at + MAX_LINE]])
        if lines:
            self.wake.set()

    def _batch(self) -> List[List[str]]:
        count = length = 0
        while count < min(len(self._lines), MAX_FRAME_LINES) and length < MAX_FRAME_TEXT:
            length += len(self._lines[count][1])
            count += 1
        lines, self._lines = self._lines[:count], self._lines[count:]
        return lines

    async def tell(self) -> None:
        """Until `over` is set and everything is told."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            if not self.over.is_set():
                await asyncio.sleep(BATCH)
            while self._lines:
                lines = self._batch()
                self._room.set()
                self.count += len(lines)
                await self._send({"t": "progress", "task": self._id, "data": {"lines": lines}})
            if self.over.is_set():
                return


def _accepted(reply: http.client.HTTPResponse) -> None:
    """Raises CommandError for an answer that will not change, OSError for one that may."""
    if reply.status == 200:
        return
    text = reply.read(500).decode(errors="replace").strip()
    if reply.status in (403, 404, 410):
        raise CommandError("unreachable", f"the controller knows no such build: HTTP {reply.status} {text}")
    if reply.status in (400, 411, 413):
        raise CommandError("limit", f"the controller does not take the outputs: HTTP {reply.status} {text}")
    raise OSError(f"HTTP {reply.status} {reply.reason}")


def _words(value: Any, what: str) -> List[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value) or not value or not value[0]:
        raise CommandError("bad", f"`{what}` of a build is a list of words")
    return list(value)


async def _finished(task: "asyncio.Task[None]") -> None:
    try:
        await within(task, LAST_WORDS)
    except asyncio.TimeoutError:
        task.cancel()


async def _thread(work: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)
