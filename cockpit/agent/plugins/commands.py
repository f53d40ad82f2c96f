"""Programs that a plug-in starts: in a session of their own, with a deadline that really ends them.

Part of what runs inside a plug-in (`host.commands()`). A program and everything it has started, also in sessions of
its own, carries a mark in its environment; what is left of it when it ends, or must end, is killed.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import errno
import grp
import os
import pwd
import select
import signal
import subprocess
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

MARK = "COCKPIT_COMMAND_MARK"
GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
LAST_WORDS = 0.5
"""Seconds for the output of a program that has ended."""
MAX_LINE = 4000
MAX_BYTES = 16 * 1024 * 1024
"""Of output; what comes then is counted and left out."""
BATCH = 0.05
BLOCK = 65536
MAX_LINES = 1000
MAX_TEXT = 100_000
SWEEP = 5.0
PR_SET_CHILD_SUBREAPER = 36

Lines = List[List[str]]
Told = Callable[[Lines], None]


class CommandTrouble(Exception):
    """It never ran. `code`: exec, bad."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Running:
    """One program. `stop` may be called from any thread."""

    def __init__(self, commands: "Commands", mark: str) -> None:
        self.why = ""
        """timeout or stopped, once it must end."""
        self.pid = 0
        self.first = signal.SIGTERM
        """What it gets first when it must end."""
        self._commands = commands
        self._mark = mark
        self._over = threading.Event()

    def stop(self, why: str = "stopped") -> None:
        """SIGTERM (or what is `first`) for its group now, SIGKILL for all of it after a grace."""
        if self.why or self._over.is_set():
            return
        self.why = why
        self._signal()
        self._commands.host.at(GRACE, self._kill)

    def _signal(self) -> None:
        if self.pid:
            try:
                os.killpg(self.pid, self.first)
            except (ProcessLookupError, PermissionError):
                pass

    def _kill(self) -> None:
        if not self._over.is_set():
            end_marked(self._mark, self.pid)


class Commands:
    def __init__(self, host: Any) -> None:
        self.host = host
        self._lock = threading.Lock()
        self._pids: Dict[int, Running] = {}
        self._numbers = 0
        try:
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans come to us
        except (OSError, AttributeError):
            pass
        host.every(SWEEP, self._reap)
        host.on("end", self.end_all)

    def run(
        self, argv: Sequence[str], *, timeout: float, user: str = "", told: Optional[Told] = None,
        started: Optional[Callable[[Running], None]] = None, cwd: str = "/",
    ) -> Dict[str, Any]:
        """{"code","signal","why","seconds","lines","dropped"}; waits for its end. `told` gets lines as they come and
        may wait. Raises CommandTrouble."""
        began = time.monotonic()
        with self._lock:
            mark = self._mark()
            running = Running(self, mark)
            child = _start(argv, user, mark, cwd)
            running.pid = child.pid
            self._pids[child.pid] = running
        try:
            self.host.at(timeout, lambda: running.stop("timeout"))
            if started is not None:
                started(running)
            if running.why:
                running._signal()
            lines, dropped = _Output(child).read(told)
            code = child.wait()
        finally:
            running._over.set()
            with self._lock:
                del self._pids[child.pid]
            if self._children():
                end_marked(mark, child.pid)
            for stream in (child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        return {
            "code": code if code >= 0 else None, "signal": -code if code < 0 else None, "why": running.why,
            "seconds": round(time.monotonic() - began, 3), "lines": lines, "dropped": dropped,
        }

    @contextlib.contextmanager
    def held(
        self, argv: Sequence[str], *, env: Dict[str, str], stdio: Sequence[int], pass_fds: Sequence[int] = ()
    ) -> "Iterator[Tuple[Running, subprocess.Popen[bytes]]]":
        """A program whose input and output are the caller's: `stdio` are three descriptors. When the block is left,
        all of it has ended. Its environment is `env` and our marks. Raises OSError."""
        with self._lock:
            mark = self._mark()
            marks = {k: v for k, v in os.environ.items() if k.endswith("_MARK")}
            child = subprocess.Popen(
                list(argv), stdin=stdio[0], stdout=stdio[1], stderr=stdio[2], env={**env, **marks, MARK: mark},
                cwd="/", start_new_session=True, pass_fds=tuple(pass_fds),
            )
            running = Running(self, mark)
            running.pid = child.pid
            self._pids[child.pid] = running
        try:
            yield running, child
        finally:
            running._over.set()
            end_marked(mark, child.pid)
            child.wait()
            with self._lock:
                del self._pids[child.pid]

    def _mark(self) -> str:
        self._numbers += 1
        return f"{os.getpid()}.{self._numbers}.{time.time_ns()};"

    def end_all(self) -> None:
        """The process ends: so does all that it has started."""
        for pid, running in list(self._pids.items()):
            end_marked(running._mark, pid)

    @staticmethod
    def _children() -> bool:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _reap(self) -> None:
        """Orphans that came to us and have ended."""
        with self._lock:
            known = set(self._pids)
            for task in os.listdir("/proc/self/task"):
                try:
                    with open(f"/proc/self/task/{task}/children") as f:
                        pids = {int(p) for p in f.read().split()}
                except OSError:
                    continue
                for pid in pids - known:
                    try:
                        os.waitpid(pid, os.WNOHANG)
                    except ChildProcessError:
                        pass


def _start(argv: Sequence[str], user: str, mark: str, cwd: str) -> "subprocess.Popen[bytes]":
    if not argv or not all(isinstance(a, str) and "\0" not in a for a in argv) or not argv[0]:
        raise CommandTrouble("bad", "argv: a list of words is wanted")
    env = {k: v for k, v in os.environ.items()}
    env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    env[MARK] = mark
    more: Dict[str, Any] = {}
    if user:
        more, home = _user(user)
        env.update(HOME=home, USER=user, LOGNAME=user)
    try:
        return subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd,
            start_new_session=True, bufsize=0, **more,
        )
    except OSError as e:
        where = e.filename if isinstance(e.filename, str) else argv[0]
        raise CommandTrouble("exec", f"exec: {errno.errorcode.get(e.errno or 0, str(e.errno))} {where}") from None


def _user(name: str) -> Any:
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise CommandTrouble("bad", f"there is no user {name!r} on this host") from None
    if entry.pw_uid == os.geteuid():
        return {}, entry.pw_dir
    if os.geteuid() != 0:
        raise CommandTrouble("bad", f"only an agent that runs as root can start programs as {name}")
    groups = sorted({g.gr_gid for g in grp.getgrall() if entry.pw_name in g.gr_mem} | {entry.pw_gid})
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}, entry.pw_dir


class _Output:
    """Both streams of a program, cut into lines."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        assert child.stdout is not None and child.stderr is not None
        self._open = {child.stdout.fileno(): "out", child.stderr.fileno(): "err"}
        self._decoders = {fd: codecs.getincrementaldecoder("utf-8")("replace") for fd in self._open}
        self._rest = dict.fromkeys(self._open, "")
        self._bytes = self.lines = self.dropped = 0
        self._waiting: Lines = []

    def read(self, told: Optional[Told]) -> Any:
        """(lines told, lines left out), once the program has ended and said its last words."""
        ended: Optional[float] = None
        flush = 0.0
        poll = select.poll()
        for fd in self._open:
            poll.register(fd, select.POLLIN)
        pidfd = _pidfd(self._child.pid)
        if pidfd is not None:
            poll.register(pidfd, select.POLLIN)
        try:
            while self._open and (ended is None or time.monotonic() < ended + LAST_WORDS):
                pause = 20 if pidfd is None or ended is not None else 1000
                if self._waiting:
                    pause = min(pause, max(0, int(1000 * (flush - time.monotonic()))))
                for fd, _ in poll.poll(pause):
                    if fd == pidfd:
                        poll.unregister(fd)
                    elif not self._take(fd):
                        poll.unregister(fd)
                        del self._open[fd]
                    elif self._waiting and not flush:
                        flush = time.monotonic() + BATCH
                if ended is None and self._child.poll() is not None:
                    ended = time.monotonic()
                if self._waiting and (time.monotonic() >= flush or len(self._waiting) > MAX_LINES):
                    self._tell(told)
                    flush = 0.0
        finally:
            if pidfd is not None:
                os.close(pidfd)
        for fd, rest in self._rest.items():
            if rest:
                self._put(self._name(fd), [rest])
        self._tell(told)
        return self.lines, self.dropped

    def _name(self, fd: int) -> str:
        assert self._child.stdout is not None
        return "out" if fd == self._child.stdout.fileno() else "err"

    def _take(self, fd: int) -> bool:
        data = os.read(fd, BLOCK)
        if not data:
            return False
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            self.dropped += data.count(b"\n")
            return True
        lines = (self._rest[fd] + self._decoders[fd].decode(data)).split("\n")
        self._rest[fd] = lines.pop()
        while len(self._rest[fd]) > MAX_LINE:
            lines.append(self._rest[fd][:MAX_LINE])
            self._rest[fd] = self._rest[fd][MAX_LINE:]
        self._put(self._open[fd], lines)
        return True

    def _put(self, name: str, lines: List[str]) -> None:
        for line in lines:
            line = line.rstrip("\r")
            for at in range(0, max(1, len(line)), MAX_LINE):
                self._waiting.append([name, line[at : at + MAX_LINE]])

    def _tell(self, told: Optional[Told]) -> None:
        while self._waiting:
            count = length = 0
            while count < min(len(self._waiting), MAX_LINES) and length < MAX_TEXT:
                length += len(self._waiting[count][1])
                count += 1
            lines, self._waiting = self._waiting[:count], self._waiting[count:]
            self.lines += len(lines)
            if told is not None:
                told(lines)


def _pidfd(pid: int) -> Optional[int]:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


def end_marked(mark: str, session: int) -> None:
    """SIGKILL for the session and all that carry the mark, again until none is left."""
    wanted = f"\0{MARK}={mark}".encode()
    for _ in range(20):
        found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_of(pid, wanted, session)]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        time.sleep(0.005)


def _is_of(pid: int, wanted: bytes, session: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read(4096).rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return False
        if int(fields[3]) == session:
            return True
        with open(f"/proc/{pid}/environ", "rb") as f:
            return wanted in b"\0" + f.read(256 * 1024)
    except (OSError, IndexError, ValueError):
        return False
