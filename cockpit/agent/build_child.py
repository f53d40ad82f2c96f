"""Holds one build: starts it in a process group of its own and leaves nothing of it behind.

    python -I -S .../build_child.py STATUS_FD

The first line of stdin is `{"argv","env","cwd","timeout","limits"}`. When stdin ends (the build was stopped,
or the agent is gone), or the time is over, everything the build has started is ended, what made itself
a session of its own too: this process is the one that orphans come to. The build writes to our stdout and
stderr. One JSON line goes to STATUS_FD: `{"code","signal","why","seconds"}`; `why` is "" (it ended by
itself), `timeout`, `stopped` or `exec: ENOENT ./x`.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any, Dict, NoReturn, Optional, Tuple

MAX_LINE = 1024 * 1024
GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
GIVE_UP = 10.0
"""Seconds after which what still cannot be killed (it hangs in the kernel) is left."""
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIMITS = {
    "core": resource.RLIMIT_CORE, "cpu": resource.RLIMIT_CPU, "file": resource.RLIMIT_FSIZE,
    "nofile": resource.RLIMIT_NOFILE,
}  # fmt: skip


def main(status_fd: int) -> None:
    spec = json.loads(_first_line())
    os.set_inheritable(status_fd, False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake, woken = os.pipe()
    for fd in (wake, woken):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    began = time.monotonic()
    pid, trouble = _start(spec)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # else these pipes would not end before we do
    os.dup2(null, 2)
    ended: Dict[int, int] = {}
    why = trouble
    if not trouble:
        why = _watch(pid, wake, began + float(spec["timeout"]), ended)
        _end_everything(GRACE if why else 0.0, ended)
    else:
        os.waitpid(pid, 0)
    code = _status(ended.get(pid))
    doc = {"code": code[0], "signal": code[1], "why": why, "seconds": round(time.monotonic() - began, 3)}
    os.write(status_fd, json.dumps(doc).encode() + b"\n")


def _first_line() -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = os.read(0, 65536)
        if not more or len(data) > MAX_LINE:
            sys.exit(2)
        data += more
    return data


def _start(spec: Dict[str, Any]) -> Tuple[int, str]:
    """(pid, trouble). The trouble is empty once the program runs."""
    read, write = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        _child(spec, write)
    os.close(write)
    data = b""
    while more := os.read(read, 4096):
        data += more
    os.close(read)
    return pid, data.decode(errors="replace")


def _child(spec: Dict[str, Any], write: int) -> NoReturn:
    stage = "setup"
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.umask(0o022)
        stage = "limits"
        for name, value in spec["limits"].items():
            _limit(LIMITS[name], int(value))
        stage = f"directory {spec['cwd']}"
        os.chdir(spec["cwd"])
        stage = f"exec {spec['argv'][0]}"
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as e:
        os.write(write, f"{stage}: {errno.errorcode.get(e.errno or 0, str(e.errno))}".encode(errors="replace"))
    except BaseException as e:
        os.write(write, f"{stage}: {e!r:.500}".encode(errors="replace"))
    os._exit(127)


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _watch(pid: int, wake: int, deadline: float, ended: Dict[int, int]) -> str:
    """Until the program itself ends, or must: `timeout` or `stopped`."""
    while True:
        _reap(ended)
        if pid in ended:
            return ""
        left = deadline - time.monotonic()
        if left <= 0:
            return "timeout"
        ready = select.select([0, wake], [], [], left)[0]
        if wake in ready:
            _drain(wake)
        if 0 in ready and not os.read(0, 65536):
            return "stopped"


def _end_everything(grace: float, ended: Dict[int, int]) -> None:
    """Every process below this one. Killed anew until none is left, as they may still be forking."""
    began = time.monotonic()
    if grace:
        _signal_all(signal.SIGTERM)
        while time.monotonic() < began + grace and _reap(ended):
            time.sleep(0.02)
    while _reap(ended) and time.monotonic() < began + grace + GIVE_UP:
        _signal_all(signal.SIGKILL)
        time.sleep(0.005)


def _reap(ended: Dict[int, int]) -> bool:
    """Takes the dead away; False when there is no child any more."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        ended[pid] = status


def _signal_all(number: int) -> None:
    parents: Dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as f:
                    parents[int(name)] = int(f.read(4096).rpartition(b")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    mine = {os.getpid()}
    more = True
    while more:
        below = {pid for pid, parent in parents.items() if parent in mine} - mine
        mine |= below
        more = bool(below)
    for pid in mine - {os.getpid()}:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass


def _status(status: Optional[int]) -> Tuple[Optional[int], Optional[int]]:
    """(exit code, signal)."""
    if status is None:
        return None, None
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), None


def _prctl(option: int, value: int) -> None:
    try:
        import _cockpit  # the one-file agent has no ctypes

        _cockpit.prctl(option, value)
        return
    except ImportError:
        pass
    except OSError:
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # without it: what the build starts in a session of its own is not found


if __name__ == "__main__":
    main(int(sys.argv[1]))
