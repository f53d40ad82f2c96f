"""One process of a plug-in: started, talked to, watched, ended with everything it has started."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections import deque
from typing import Any, Awaitable, Callable, Deque, Dict, List, Mapping, Optional

from cockpit.agent.plugins.describe import Description
from cockpit.agent.plugins.ending import MARK, kill_marked, kill_session
from cockpit.agent.plugins.logfile import LogFile
from cockpit.agent.prepare import DEFAULT_PATH
from cockpit.agent.tasks import CommandError, Data
from cockpit.agent.waiting import seen, within

INSIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside.py")
MAX_LINE = 1024 * 1024
START_TIME = 15.0
OBEY = 3.0
"""Seconds that a cancelled command has to end; then its process goes."""
END_GRACE = 3.0
WATCH = 2.0
PING = 10.0
DEAF = 30.0
"""Seconds without an answer to a ping after which it hangs."""
CPU_SPAN = 30.0
MAX_CALLS = 200
MAX_PROGRESS = 8
"""Progress messages of one command that wait here; the plug-in's window is smaller."""
LAST_WORDS = 10
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

Doc = Dict[str, Any]
Progress = Callable[[Data], Awaitable[None]]


class PluginGone(Exception):
    """Its process has ended; the text says how."""


class _Call:
    def __init__(self, progress: Optional[Progress]) -> None:
        self.answer: "asyncio.Future[Doc]" = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(seen)
        self.progress = progress
        self.waiting: "asyncio.Queue[Optional[Data]]" = asyncio.Queue(MAX_PROGRESS)


class Process:
    """`tell` gets what the plug-in says by itself. Made by `start`."""

    def __init__(
        self, description: Description, child: "asyncio.subprocess.Process", sock: socket.socket, mark: str,
        log: LogFile, tell: Callable[[Data], None],
    ) -> None:
        self.description = description
        self.pid = child.pid
        self.gone = asyncio.Event()
        self.why = ""
        """How it ended; set before `gone`."""
        self.last: Deque[str] = deque(maxlen=LAST_WORDS)
        self.used = time.monotonic()
        self.started = time.monotonic()
        self._child = child
        self._sock = sock
        self._mark = mark
        self._log = log
        self._tell = tell
        self._calls: Dict[int, _Call] = {}
        self._inputs: Dict[str, int] = {}
        """Task -> the call that takes its input."""
        self._ids = 0
        self._ready: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(seen)
        self._heard = time.monotonic()
        self._reader: Optional[asyncio.StreamReader] = None
        self._writer: Optional[asyncio.StreamWriter] = None
        self._tasks: "List[asyncio.Task[None]]" = []

    @classmethod
    async def start(
        cls, description: Description, directory: str, begin: Doc, *, mark: str, log: LogFile,
        tell: Callable[[Data], None],
    ) -> "Process":
        """Returns once it is ready for commands. Raises PluginGone."""
        ours, theirs = socket.socketpair()
        env = {"PATH": os.environ.get("PATH", DEFAULT_PATH), "LANG": os.environ.get("LANG", "C.UTF-8"),
               "HOME": os.environ.get("HOME", "/"), MARK: mark}  # fmt: skip
        if "TZ" in os.environ:
            env["TZ"] = os.environ["TZ"]
        try:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-B", INSIDE, directory, stdin=theirs.fileno(),
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=env, cwd="/",
                start_new_session=True,
            )
        except OSError as e:
            ours.close()
            raise PluginGone(f"it cannot be started: {e.strerror or e}") from None
        finally:
            theirs.close()
        self = cls(description, child, ours, mark, log, tell)
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
        limits = description.limits
        own = None if limits.children else {"memory": limits.memory, "open_files": limits.open_files}
        words = list(description.words)
        self.send({**begin, "limits": own, "main": description.main, "words": words})
        for work in (self._read(), self._hear(), self._watch(), self._reap()):
            self._tasks.append(asyncio.ensure_future(work))
        try:
            await within(asyncio.shield(self._ready), START_TIME)
        except asyncio.TimeoutError:
            await self.kill(f"it was not ready within {START_TIME:g} s")
            raise PluginGone(self.why) from None
        except asyncio.CancelledError:
            kill_session(self.pid)  # nobody else knows it
            raise
        return self

    @property
    def busy(self) -> int:
        """Commands under way."""
        return len(self._calls)

    def send(self, doc: Doc) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(doc, separators=(",", ":")).encode() + b"\n")

    def input(self, task: str, data: Data) -> bool:
        """For a command under way; False when it is none of ours."""
        id = self._inputs.get(task)
        if id is None:
            return False
        self.send({"op": "input", "id": id, "data": data})
        return True

    @property
    def listening(self) -> bool:
        """Does a command run that takes input?"""
        return bool(self._inputs)

    async def call(
        self, word: str, args: Mapping[str, Any], progress: Optional[Progress], timeout: float, task: str = ""
    ) -> Data:
        """`task`: its input comes under this name. Raises CommandError (`timeout`: its time was over), PluginGone."""
        if self.gone.is_set():
            raise PluginGone(self.why)
        if len(self._calls) >= MAX_CALLS:
            raise CommandError("busy", f"{MAX_CALLS} commands of {self.description.name} are running on this host")
        self._ids += 1
        id = self._ids
        call = self._calls[id] = _Call(progress)
        self.used = time.monotonic()
        pump = asyncio.ensure_future(self._pump(id, call))
        if task:
            self._inputs[task] = id
        try:
            self.send({"op": "call", "id": id, "word": word, "args": dict(args)})
            try:
                doc = await within(asyncio.shield(call.answer), timeout)
            except asyncio.TimeoutError:
                doc = await self._overdue(id, call, word, timeout)
            await pump
        except asyncio.CancelledError:
            self.send({"op": "cancel", "id": id})
            raise
        finally:
            pump.cancel()
            self._calls.pop(id, None)
            self._inputs.pop(task, None)
            self.used = time.monotonic()
        if not doc.get("ok"):
            raise CommandError(str(doc.get("code") or "failed"), str(doc.get("text") or "no reason given"))
        data = doc.get("data")
        return data if isinstance(data, dict) else {}

    async def _overdue(self, id: int, call: _Call, word: str, timeout: float) -> Doc:
        """First the command is told to end, then its process goes."""
        self.send({"op": "cancel", "id": id})
        try:
            await within(asyncio.shield(call.answer), OBEY)
            how = "it was ended"
        except asyncio.TimeoutError:
            await self.kill(f"{word} did not end {OBEY:g} s after its {timeout:g} s were over")
            how = "its process was killed"
        except PluginGone:
            how = "its process ended"
        raise CommandError("timeout", f"{word} took longer than {timeout:g} s: {how}")

    async def _pump(self, id: int, call: _Call) -> None:
        """Progress in the order it came; the plug-in may say more when some of it is out."""
        while True:
            data = await call.waiting.get()
            if data is None:
                return
            if call.progress is not None:
                await call.progress(data)
            self.send({"op": "more", "id": id})

    def finish(self) -> None:
        """It ends what runs, begins nothing, and goes by itself."""
        self.send({"op": "finish"})

    async def end(self) -> None:
        """Politely, then not."""
        self.send({"op": "end"})
        try:
            await within(self.gone.wait(), END_GRACE)
        except asyncio.TimeoutError:
            await self.kill("it did not end when it was told to")

    async def kill(self, why: str) -> None:
        self.why = self.why or why
        kill_session(self.pid)
        await self.gone.wait()

    # what comes

    async def _read(self) -> None:
        assert self._reader is not None
        try:
            while True:
                line = await self._reader.readline()
                if not line:
                    return
                self._take(json.loads(line))
        except (ValueError, KeyError, TypeError, asyncio.LimitOverrunError, asyncio.QueueFull) as e:
            self.why = self.why or f"it said what is not understood: {e!s:.200}"
            kill_session(self.pid)
        except OSError:
            pass

    def _take(self, doc: Doc) -> None:
        self._heard = time.monotonic()
        op = doc["op"]
        if op == "ready":
            if not self._ready.done():
                self._ready.set_result(None)
        elif op == "tell":
            self._tell(dict(doc["data"]))
        elif op in ("progress", "answer"):
            call = self._calls.get(int(doc["id"]))
            if call is None:
                return
            if op == "progress":
                call.waiting.put_nowait(dict(doc["data"]))
            elif not call.answer.done():
                call.answer.set_result(doc)
                call.waiting.put_nowait(None)

    async def _hear(self) -> None:
        """Its standard error, into its log; slowly enough for any flood."""
        stream = self._child.stderr
        assert stream is not None
        rest = b""
        while True:
            data = await stream.read(16 * 1024)
            if not data:
                break
            await self._log.write(data)
            lines = (rest + data).split(b"\n")
            rest = lines.pop()[-4000:]
            for line in lines:
                if line.strip():
                    self.last.append(line[:500].decode("utf-8", "replace"))
        if rest.strip():
            self.last.append(rest[:500].decode("utf-8", "replace"))

    async def _watch(self) -> None:
        """Memory, processor, and whether it still listens."""
        limits, spans = self.description.limits, deque([(time.monotonic(), 0.0)])
        pinged = time.monotonic()
        while True:
            await asyncio.sleep(WATCH)
            now = time.monotonic()
            seen = usage(self.pid)
            if seen is None:
                continue
            rss, cpu = seen
            spans.append((now, cpu))
            while len(spans) > 2 and now - spans[1][0] >= CPU_SPAN:
                spans.popleft()
            began, before = spans[0]
            if rss > limits.memory:
                await self.kill(f"it took {rss >> 20} MiB of memory, more than its {limits.memory >> 20}")
            elif now - began >= CPU_SPAN and (cpu - before) / (now - began) > limits.cpu_share:
                share = 100 * (cpu - before) / (now - began)
                most = 100 * limits.cpu_share
                await self.kill(f"it took {share:.0f} % of a core for {CPU_SPAN:g} s, more than its {most:g}")
            elif now - self._heard > DEAF:
                await self.kill(f"it has not answered for {DEAF:g} s")
            elif now - max(pinged, self._heard) >= PING:
                pinged = now
                self.send({"op": "ping"})

    async def _reap(self) -> None:
        code = await self._child.wait()
        hear = self._tasks[1]
        await asyncio.wait({hear, self._tasks[0]}, timeout=1.0)
        if not self.why:
            self.why = "it ended" if code == 0 else f"exit {code}" if code > 0 else f"signal {_signal_name(-code)}"
        await asyncio.get_running_loop().run_in_executor(None, kill_marked, self._mark)
        self.gone.set()
        gone = PluginGone(self.why)
        if not self._ready.done():
            self._ready.set_exception(gone)
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(gone)
        if self._writer is not None:
            self._writer.close()
        for task in self._tasks[:3]:
            task.cancel()


def usage(pid: int) -> Any:
    """(bytes resident, seconds of processor time so far); None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read(4096).rpartition(b")")[2].split()
        return int(fields[21]) * PAGE, (int(fields[11]) + int(fields[12])) / TICK
    except (OSError, ValueError, IndexError):
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name[3:]
    except ValueError:
        return str(number)
