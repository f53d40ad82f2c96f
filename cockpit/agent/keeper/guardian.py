"""Keeps one agent process alive."""

from __future__ import annotations

import os
import time

from . import proc
from .journal import read_doc, write_doc
from .launch import Child, Host, Image, open_log, spawn
from .loop import IN, Loop
from .policy import backoff
from .wire import Reject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DELAY = 0.1
MAX_DELAY = 5.0
RESET = 10.0
"""Seconds of life that end a row of quick deaths."""
GRACE = 5.0
KILL = 9
TERM = 15
LOOK = 0.5
"""Seconds between looks where the kernel has no pidfds."""


class Guardian:
    """Its argv is on disk, so that the agent comes back after everything died."""

    def __init__(self, path: str, directory: str, boot: str, loop: Loop, host: Host) -> None:
        self._path = path
        self._directory = directory
        self._boot = boot
        self._loop = loop
        self._host = host
        self.argv: list[str] = []
        self._env: dict[str, str] | None = None
        self._cwd = "/"
        self._handle: proc.Handle | None = None
        self._child: Child | None = None
        self._native = False
        self._tries = 0
        self._since = 0.0
        self._due: float | None = None
        self._stopping = False
        self.note = ""
        """Why the agent of now is not the one that was asked for last."""
        self._before: dict[str, Any] | None = None
        """How the agent before this one was started, while this one is on trial."""
        self._trial_ends = 0.0
        """Unix time."""

    @property
    def pid(self) -> int | None:
        return self._handle.pid if self._handle is not None else None

    def load(self) -> None:
        """Adopts the agent of an earlier keeper when it lives, else starts one."""
        doc = read_doc(self._path)
        if doc is None or not doc.get("argv"):
            return
        self.argv, self._env, self._cwd = doc["argv"], doc.get("env"), doc.get("cwd") or "/"
        if isinstance(doc.get("before"), dict):
            self._before, self._trial_ends = doc["before"], float(doc.get("trial_ends") or 0.0)
        self.note = str(doc.get("note") or "")
        pid, start = doc.get("pid"), doc.get("start")
        if pid and start and doc.get("boot") == self._boot:
            self._adopt(proc.Handle.open(pid, start))
        if self._handle is None:
            self._start()

    def keep(
        self, argv: list[str], pid: int | None, env: dict[str, str] | None, cwd: str, leave: int | None = None,
        trial: float = 0.0,
    ) -> None:
        """Keeps this agent; `pid` is one that already runs. Raises Reject when there is no such process.

        `leave`: this one goes by itself and is not told to. `trial`: when the new one ends within so many
        seconds, the one before it is started again.
        """
        if pid is not None and pid != self.pid:
            handle = proc.Handle.open(pid)
            if handle is None or not handle.alive():
                raise Reject("missing", f"pid {pid}: no such process")
            if self._handle is not None and self._handle.pid != leave:
                self._handle.send(TERM)  # only one can serve; what we had waits in vain for its turn
            self._forget()
            self._adopt(handle)
        self.note = ""
        if argv != self.argv:
            self._before = {"argv": self.argv, "env": self._env, "cwd": self._cwd} if trial and self.argv else None
            self._trial_ends = time.time() + trial
        self.argv, self._env, self._cwd = argv, env, cwd
        if self._handle is None:
            self._start()
        else:
            self._save()

    def release(self) -> None:
        """Keeps no agent any more; the one that runs is left alone."""
        self._forget()
        self.argv, self._env, self._before, self._due, self.note = [], None, None, None, ""
        self._save()

    def _adopt(self, handle: proc.Handle | None) -> None:
        if handle is None:
            return
        seen = proc.stat(handle.pid)
        self._handle, self._child = handle, None
        self._native = seen is not None and seen.ppid == os.getpid()
        self._since = time.monotonic()
        self._due = None
        if handle.fd is not None and not self._native:
            self._loop.add(handle.fd, lambda events: self._look(), IN)

    def _forget(self) -> None:
        if self._handle is not None:
            if self._handle.fd is not None:
                self._loop.drop(self._handle.fd)
            self._handle.close()
            self._handle = None
        if self._child is not None:
            self._child.close()
            self._child = None

    def _save(self) -> None:
        doc: dict[str, Any] = {"argv": self.argv, "env": self._env, "cwd": self._cwd, "boot": self._boot}
        if self._handle is not None:
            doc["pid"], doc["start"] = self._handle.pid, self._handle.start
        if self._before is not None:
            doc["before"], doc["trial_ends"] = self._before, self._trial_ends
        if self.note:
            doc["note"] = self.note
        try:
            write_doc(self._path, doc)
        except OSError:
            pass  # a full disk must not take the agent away

    def _start(self) -> None:
        self._due = None
        env = dict(os.environ) if self._env is None else self._env
        try:
            log = open_log(os.path.join(self._directory, "logs"), "agent.log")
            try:
                child = spawn(Image(self.argv, env, self._cwd), log, log, self._host)
            finally:
                os.close(log)
        except (OSError, Reject):
            self._again()
            return
        self._handle, self._child, self._native = child.handle, child, True
        self._since = time.monotonic()
        self._save()  # who it is, before it may run
        child.go()

    def _again(self) -> None:
        now = time.monotonic()
        if now - self._since >= RESET:
            self._tries = 0
        self._due = now + backoff(self._tries, DELAY, MAX_DELAY)
        self._tries += 1

    def reaped(self, pid: int) -> bool:
        """A child of ours has ended; was it the agent?"""
        if self._handle is None or self._handle.pid != pid:
            return False
        self._gone()
        return True

    def _look(self) -> None:
        if self._handle is not None and self._handle.ended():
            self._gone()

    def _gone(self) -> None:
        self._forget()
        before, self._before = self._before, None
        if before is not None and not self._stopping and time.time() < self._trial_ends:
            self.note = f"the agent {' '.join(self.argv)[:200]} ended within its first minute: the one before is back"
            self.argv, self._env, self._cwd = before["argv"], before["env"], before["cwd"]
            self._save()
        if not self._stopping:
            self._again()

    def tick(self, now: float) -> None:
        if self._handle is not None and self._handle.fd is None and not self._native:
            self._look()
        if self._stopping and self._handle is not None and self._due is not None and now >= self._due:
            self._handle.send(KILL)
            self._due = now + GRACE
        elif self._handle is None and self._due is not None and now >= self._due:
            self._start()

    def next_deadline(self) -> float | None:
        if self._handle is not None and self._handle.fd is None and not self._native:
            return time.monotonic() + LOOK
        return self._due

    def stop(self) -> bool:
        """Ends the agent for good. True when it is gone."""
        if self._handle is None:
            self._stopping, self._due = True, None
            return True
        if not self._stopping:
            self._stopping = True
            self._due = time.monotonic() + GRACE
            self._handle.send(TERM)
        return False
