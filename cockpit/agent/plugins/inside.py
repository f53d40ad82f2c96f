"""What runs inside a plug-in's process: the library that it is given, and the loop around it.

    python -I -S -B .../inside.py DIR        stdin is a socket to the agent

Standard library only, and little of it: this is in memory once for each plug-in. The plug-in's `main.py` has
`def start(host)`, which names its words (`host.word`), timers (`host.every`) and what it wants to hear of. Each
command runs in a thread of its own; timers and notices run one after the other in the main thread and must be quick.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
import threading
import time
import traceback
import types
from typing import Any, Callable, Dict, List, NoReturn, Optional

MAX_LINE = 1024 * 1024
BLOCK = 65536
WINDOW = 4
"""Progress messages of one command that may be on their way."""
FINISH_POLL = 0.2
ALONE_POLL = 0.1
PACKAGE = "plugin"
PR_SET_PDEATHSIG, SIGKILL = 1, 9

Doc = Dict[str, Any]


class PluginError(Exception):
    """What a word raises to answer with an error."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Call:
    """One command under way."""

    def __init__(self, host: "Host", id: int, args: Doc) -> None:
        self.id = id
        self.args = args
        self.cancelled = threading.Event()
        """Set when nobody waits for the answer any more, or its time is over: end soon."""
        self._host = host
        self._room = threading.Semaphore(WINDOW)
        self._ending: Optional[Callable[[], None]] = None
        self._taking: Optional[Callable[[Doc], None]] = None
        self._early: List[Doc] = []
        """Input that came before anybody took it."""
        self._lock = threading.Lock()

    def progress(self, data: Doc) -> None:
        """Waits while what was said before is still on its way; says nothing once the command is cancelled."""
        while not self._room.acquire(timeout=0.5):
            if self.cancelled.is_set():
                return
        if not self.cancelled.is_set():
            self._host._send({"op": "progress", "id": self.id, "data": data})

    def on_cancel(self, ending: Callable[[], None]) -> None:
        """Called (in the main thread) when the command is to end; at once when it is already."""
        self._ending = ending
        if self.cancelled.is_set():
            ending()

    def on_input(self, taking: Callable[[Doc], None]) -> None:
        """Called (in the main thread, so it must be quick) with each message that the controller sends to this
        command, in order. For words with `input` in plugin.json."""
        with self._lock:
            for data in self._early:
                taking(data)
            self._early.clear()
            self._taking = taking

    def _input(self, data: Doc) -> None:
        with self._lock:
            if self._taking is not None:
                self._taking(data)
            else:
                self._early.append(data)

    def _cancel(self) -> None:
        self.cancelled.set()
        if self._ending is not None:
            self._ending()


class Host:
    """The agent, as a plug-in sees it."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.name = ""
        self.version = ""
        self.host = ""
        """Name of this host."""
        self.host_dir = ""
        self.data = ""
        """A directory that is this plug-in's own, and stays from version to version."""
        self.settings: Doc = {}
        self.units: Doc = {}
        """Unit -> {"instance","service","run","pids","logs"}, when plugin.json wants `units`."""
        self._words: Dict[str, Callable[[Call], Any]] = {}
        self._timers: List[List[Any]] = []
        self._hooks: Dict[str, List[Callable[[], None]]] = {}
        self._busy: List[Callable[[], bool]] = []
        self.finishing = False
        """Another version serves from now on: end what runs, begin nothing."""
        self._calls: Dict[int, Call] = {}
        self._lock = threading.Lock()
        self._commands: Any = None
        self._alone = -1
        self._fd = -1
        self._wake, self._woken = -1, -1

    def word(self, word: str, function: Callable[[Call], Any]) -> None:
        """`function(call)` runs in a thread; it returns the answer's data (a dict) or raises `host.error(...)`."""
        self._words[word] = function

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        """Again and again, from `seconds` after now on."""
        self._timers.append([time.monotonic() + seconds, seconds, function])

    def at(self, seconds: float, function: Callable[[], None]) -> None:
        """Once, after so many seconds."""
        with self._lock:
            self._timers.append([time.monotonic() + seconds, 0.0, function])
        os.write(self._woken, b".")

    def on(self, what: str, function: Callable[[], None]) -> None:
        """`settings`, `units`, `connected`, `disconnected` (the controller), `finish` (replaced) or `end`."""
        self._hooks.setdefault(what, []).append(function)

    def busy_while(self, function: Callable[[], bool]) -> None:
        """While it answers true, a version that was replaced goes on; timers run on, new commands do not come."""
        self._busy.append(function)

    def soon(self, function: Callable[[], None]) -> None:
        """In the main thread, from any other."""
        self.at(0.0, function)

    def alone(self, function: Callable[[], None]) -> None:
        """Call it once no other process of this plug-in (an earlier version, another agent's during an upgrade) is at
        work on `data`; until `leave` or our end, none will be."""
        import fcntl

        if self._alone < 0:
            path = os.path.join(self.data, "lock")
            self._alone = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not self.finishing:
                self.at(ALONE_POLL, lambda: self.alone(function))
            return
        function()

    def leave(self) -> None:
        """Another one may be at work on `data` from now on."""
        if self._alone >= 0:
            os.close(self._alone)
            self._alone = -1

    def tell(self, data: Doc) -> None:
        """Something for the controller that nobody asked for. Left out while there is no controller: tell what
        matters again when it is `connected`."""
        self._send({"op": "tell", "data": data})

    def commands(self) -> Any:
        """For starting programs: `Commands` of commands.py, which lies beside this file."""
        if self._commands is None:
            from importlib.util import module_from_spec, spec_from_file_location

            spec = spec_from_file_location("plugin_commands", os.path.join(os.path.dirname(__file__), "commands.py"))
            assert spec is not None and spec.loader is not None
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            self._commands = module.Commands(self)
        return self._commands

    def log(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def error(self, code: str, text: str) -> PluginError:
        return PluginError(code, text)

    # the loop

    def _send(self, doc: Doc) -> None:
        line = json.dumps(doc, separators=(",", ":")).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise PluginError("bad", f"{len(line)} bytes are too much for one message")
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[os.write(self._fd, view) :]

    def _fire(self, what: str) -> None:
        for hook in self._hooks.get(what, ()):
            hook()

    def _serve(self) -> None:
        """Until the agent says `end` or is gone."""
        rest = b""
        while True:
            now = time.monotonic()
            due = [t for t in list(self._timers) if t[0] <= now]
            for timer in due:
                if timer[1]:
                    timer[0] = max(timer[0] + timer[1], now)
                else:
                    with self._lock:
                        self._timers.remove(timer)
                timer[2]()
            if due:
                continue
            if self.finishing and not self._calls and not any(busy() for busy in self._busy):
                return
            wait = min((t[0] for t in list(self._timers)), default=None)
            pause = None if wait is None else max(0.0, wait - time.monotonic())
            if self.finishing:
                pause = FINISH_POLL if pause is None else min(pause, FINISH_POLL)
            ready = select.select([self._fd, self._wake], [], [], pause)[0]
            if self._wake in ready:
                os.read(self._wake, 4096)
            if self._fd in ready:
                data = os.read(self._fd, BLOCK)
                if not data:
                    return
                lines = (rest + data).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    if not self._take(json.loads(line)):
                        return

    def _take(self, doc: Doc) -> bool:
        op = doc["op"]
        if op == "call":
            self._begin(int(doc["id"]), str(doc["word"]), doc["args"])
        elif op == "cancel":
            call = self._calls.get(int(doc["id"]))
            if call is not None:
                call._cancel()
        elif op == "more":
            call = self._calls.get(int(doc["id"]))
            if call is not None:
                call._room.release()
        elif op == "input":
            call = self._calls.get(int(doc["id"]))
            if call is not None:
                call._input(doc["data"])
        elif op == "ping":
            self._send({"op": "pong"})
        elif op in ("settings", "units"):
            setattr(self, op, doc[op])
            self._fire(op)
        elif op in ("connected", "disconnected"):
            self._fire(op)
        elif op == "finish":
            self.finishing = True
            self._fire("finish")
        return bool(op != "end")

    def _begin(self, id: int, word: str, args: Doc) -> None:
        call = self._calls[id] = Call(self, id, args)
        threading.Thread(target=self._run, args=(call, self._words[word]), daemon=True).start()

    def _run(self, call: Call, function: Callable[[Call], Any]) -> None:
        answer: Doc = {"op": "answer", "id": call.id}
        try:
            answer.update(ok=True, data=function(call) or {})
            self._send(answer)
        except PluginError as e:
            self._send({"op": "answer", "id": call.id, "ok": False, "code": e.code, "text": str(e)})
        except Exception as e:
            traceback.print_exc()
            text = f"{type(e).__name__}: {e}"
            self._send({"op": "answer", "id": call.id, "ok": False, "code": "failed", "text": text[:2000]})
        finally:
            self._calls.pop(call.id, None)


def main(directory: str) -> NoReturn:
    host = Host(directory)
    host._fd = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)  # what is printed goes to the log, not between the messages
    host._wake, host._woken = os.pipe()
    _die_with_parent()
    threading.stack_size(512 * 1024)
    begin, rest = _first_line(host._fd)
    assert not rest
    for key in ("name", "version", "host", "host_dir", "data", "settings", "units"):
        setattr(host, key, begin[key])
    if begin["limits"]:
        _limit(**begin["limits"])
    package = types.ModuleType(PACKAGE)
    package.__path__ = [directory]
    sys.modules[PACKAGE] = package
    module = importlib.import_module(f"{PACKAGE}.{begin['main'][: -len('.py')]}")
    module.start(host)
    missing = set(begin["words"]) - set(host._words)
    if missing:
        raise SystemExit(f"plugin.json names {', '.join(sorted(missing))}, which start() did not register")
    try:
        host._send({"op": "ready"})
        host._serve()
        for call in list(host._calls.values()):
            call._cancel()
        host._fire("end")
    except (BrokenPipeError, ConnectionResetError):
        host._fire("end")  # the agent is gone
    sys.stderr.flush()
    os._exit(0)  # threads that still run are not waited for


def _first_line(fd: int) -> Any:
    data = b""
    while b"\n" not in data:
        more = os.read(fd, BLOCK)
        if not more:
            os._exit(0)
        data += more
    line, _, rest = data.partition(b"\n")
    return json.loads(line), rest


def _limit(memory: int, open_files: int) -> None:
    """Soft limits: the agent watches what is resident; this stops what grows faster than it looks."""
    import resource

    for which, value in ((resource.RLIMIT_AS, 2 * memory + 512 * 1024 * 1024), (resource.RLIMIT_NOFILE, open_files)):
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(which, (value, hard))
    os.nice(5)


def _die_with_parent() -> None:
    """Also one that hangs must not outlive the agent."""
    parent = os.getppid()
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
