"""The keeper replaced in place: another version is tried first, then takes this process over by exec.

The pid stays, so children stay children, and the kernel keeps the exit of each until it is asked for. What is
on disk already is read again; what only memory had goes along in a memfd, open descriptors by number.
"""

from __future__ import annotations

import json
import os
import signal
import time

from .launch import Child, Host, Image, open_log, spawn
from .run import LAUNCHING, Run
from .wire import Reject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .service import Keeper

    Doc = dict[str, Any]

FORMAT = 1
"""Of the document. A version that cannot read it says so when it is checked."""
CHECK_TIME = 15.0
"""Seconds in which another version has to show that it starts."""
MAX_SAID = 400
SUBREAPER = "--subreaper"
HELD = (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP)
"""Kept back while nobody handles them: they come when the next version is ready."""


class Change:
    """At most one wish at a time to become another version."""

    def __init__(self, directory: str, host: Host) -> None:
        self._logs = os.path.join(directory, "logs")
        self._host = host
        self._child: Child | None = None
        self._reply: Callable[[Doc], None] | None = None
        self._until = 0.0
        self.argv: list[str] = []
        self.cleared = False
        """It has shown that it starts."""

    def ask(self, argv: list[str], reply: Callable[[Doc], None]) -> None:
        """Runs `argv --check`; `reply` is called when it failed, or right before the exec. Raises Reject, OSError."""
        if self._reply is not None:
            raise Reject("busy", "another version is being tried already")
        log = open_log(self._logs, "keeper-check.log")
        try:
            os.ftruncate(log, 0)
            child = spawn(Image([*argv, "--check", str(FORMAT)], dict(os.environ), "/"), log, log, self._host)
        finally:
            os.close(log)
        self.argv, self._reply, self._child = argv, reply, child
        self._until = time.monotonic() + CHECK_TIME
        child.go()

    def reaped(self, pid: int, status: int) -> bool:
        """A child of ours has ended; was it the version that is tried?"""
        child = self._child
        if child is None or child.handle.pid != pid:
            return False
        child.look()
        error = child.error
        self._child = None
        child.handle.close()
        child.close()
        if not error and os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            self.cleared = True
            return True
        how = f"exit {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"
        self._refuse(error or f"{how}: {self._said()}".rstrip(": "))
        return True

    def _said(self) -> str:
        try:
            with open(os.path.join(self._logs, "keeper-check.log"), "rb") as f:
                lines = f.read(65536).decode(errors="replace").split("\n")
        except OSError:
            return ""
        return " | ".join(line.strip() for line in lines if line.strip())[-MAX_SAID:]

    def _refuse(self, why: str) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            reply({"ok": False, "code": "exec", "text": f"{' '.join(self.argv)[:200]}: {why}"})

    def tick(self, now: float) -> None:
        if self._child is not None and now >= self._until:
            self._child.handle.send(signal.SIGKILL)
            self._until = now + CHECK_TIME

    def next_deadline(self) -> float | None:
        return self._until if self._child is not None else None

    def accepted(self) -> None:
        """The last word of this version."""
        self.cleared = False
        reply, self._reply = self._reply, None
        if reply is not None:
            reply({})


def settled(keeper: Keeper) -> bool:
    """No child is between its fork and its program: only we could hear of its failure."""
    return not any(u.live is not None and u.live.phase == LAUNCHING for u in keeper.lives.units.values())


def replace(keeper: Keeper, argv: list[str]) -> None:
    """Becomes `argv`. Returns only when that was not possible, and then everything is as before."""
    doc = _pack(keeper)
    kept = fds(doc)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    memory = -1
    try:
        memory = os.memfd_create("cockpit-keeper", 0)
        _write(memory, doc)
        for fd in kept:
            os.set_inheritable(fd, True)
        directory = keeper.store.directory
        os.execv(argv[0], [*argv, directory, "--boot-id", keeper.boot, "--handover", str(memory), SUBREAPER])
    except OSError as e:
        os.write(2, f"keeper: {argv[0]}: {e.strerror}; this version goes on\n".encode(errors="replace"))
    for fd in kept:
        os.set_inheritable(fd, False)
    if memory >= 0:
        os.close(memory)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _write(fd: int, doc: Doc) -> None:
    data = json.dumps(doc, separators=(",", ":")).encode()
    os.ftruncate(fd, 0)
    view = memoryview(data)
    at = 0
    while at < len(data):
        at += os.pwrite(fd, view[at:], at)


def fds(doc: Doc) -> list[int]:
    """Descriptors that go along."""
    return [doc["lock"], doc["listening"], *doc["notify"].values()]


def read(fd: int) -> Doc:
    """What an earlier version left. Raises ValueError, OSError."""
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    doc = json.loads(data)
    if not isinstance(doc, dict) or doc.get("format") != FORMAT:
        raise ValueError("the handover of another format")
    return doc


def give_back(memory: int, directory: str, boot: str, doc: Doc, why: str) -> None:
    """This version cannot go on: the one before takes over again. Returns when that is not possible."""
    back = doc.get("back")
    if not back or doc.get("returned"):
        return
    doc["returned"] = why[:MAX_SAID]
    _write(memory, doc)
    for fd in (*fds(doc), memory):
        os.set_inheritable(fd, True)
    os.execv(back[0], [*back, directory, "--boot-id", boot, "--handover", str(memory), SUBREAPER])


def _pack(keeper: Keeper) -> Doc:
    units = keeper.lives.units.values()
    return {
        "format": FORMAT,
        "back": keeper.argv,
        "boot": keeper.boot,
        "nofile": list(keeper.host.nofile),
        "lock": keeper.store.lock,
        "listening": keeper.listening.fileno(),
        "notify": {u.unit: u.notify.fd for u in units if u.notify is not None},
        "units": {u.unit: {"status": u.status, "watchdog": u.watchdog, "cause": u.cause} for u in units},
        "runs": {u.unit: _run(u.live) for u in units if u.live is not None},
    }


PLAIN = (
    "number", "by", "policy", "phase", "cause", "error", "failed", "searched", "deadline", "kill_at", "killed",
    "grace", "number_sent", "pause",
)
"""Facts of a run that are JSON as they are. Monotonic times stay true: it is the same boot."""


def _run(run: Run) -> Doc:
    doc = {name: getattr(run, name) for name in PLAIN}
    doc["reported"] = sorted(run.reported)
    doc["told"] = sorted(run.told)
    doc["procs"] = [
        {
            "name": p.name, "pid": p.pid, "start": p.handle.start, "floor": p.floor, "native": p.native,
            "peak": p.peak, "rusage": p.rusage, "status": p.status, "ended": p.ended, "wait_until": p.wait_until,
        }
        for p in run.procs.values()
    ]
    return doc
