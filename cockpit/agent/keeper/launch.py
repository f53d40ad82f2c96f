"""Starting a program: fork, a word from the keeper, exec, and the reason when it fails.

The child prepares itself and then waits for the keeper's word. The keeper writes down who the child
is first, so whatever dies in between, no program runs that is not on record: a child that is
not given the word ends. A failed step comes back as `stage: ERRNO what`, success as end of file.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket

from . import proc
from .wire import Reject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .loop import Loop

MAX_SECRET = 64 * 1024
RLIMITS = {
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "as": resource.RLIMIT_AS,  # last: little works after a small one
}
TRANSIENT = ("EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "ENOSPC", "EDQUOT", "ETXTBSY", "EIO", "ETIMEDOUT")
"""Failures that another try may not meet."""


class Host:
    """What the keeper changed about itself and a child must get back."""

    def __init__(self) -> None:
        self.signals = [n for n in range(1, signal.NSIG) if _changed(n)]
        self.nofile = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.oom = False
        """The keeper's oom_score_adj was lowered."""
        self.private: list[int] = []
        """Descriptors that a child closes first: while it has them, a dead keeper's directory looks held."""
        self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def refresh(self) -> None:
        """To be called after signal handlers were set."""
        self.signals = [n for n in range(1, signal.NSIG) if _changed(n)]


def _changed(number: int) -> bool:
    try:
        return signal.getsignal(number) not in (signal.SIG_DFL, None)
    except ValueError:
        return False


class Image:
    """What a child becomes. Everything that can fail for other reasons than the system's is done
    here, before the fork. Raises Reject(bad) for text that cannot be passed on."""

    def __init__(
        self, argv: list[str], env: dict[str, str], cwd: str, *, uid: int | None = None,
        gid: int | None = None, groups: list[int] | None = None, limits: dict[str, int] | None = None,
    ) -> None:
        try:
            self.argv = [os.fsencode(a) for a in argv]
            self.env = {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
            self.cwd = os.fsencode(cwd)
        except UnicodeEncodeError as e:
            raise Reject("bad", f"text that cannot be passed to a program: {e}") from None
        if b"/" in self.argv[0]:
            self.programs = [self.argv[0]]
        else:
            path = self.env.get(b"PATH", os.defpath.encode())
            self.programs = [(d or b".") + b"/" + self.argv[0] for d in path.split(b":")]
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.limits = {k: limits[k] for k in RLIMITS if limits and k in limits}


class Child:
    """A forked process on its way to its program."""

    def __init__(self, handle: proc.Handle, sock: socket.socket) -> None:
        self.handle = handle
        self.sock: socket.socket | None = sock
        self.error = ""
        self._data = b""

    @property
    def fd(self) -> int:
        return self.sock.fileno() if self.sock is not None else -1

    def go(self) -> None:
        if self.sock is not None:
            try:
                self.sock.send(b"g", socket.MSG_NOSIGNAL)
            except OSError:
                pass  # it failed before it waited; its message is there to be read

    def look(self) -> bool:
        """True when it is decided: `error` is empty when the program runs."""
        while self.sock is not None:
            try:
                data = self.sock.recv(4096)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            self._data += data
            if not data:
                self.error = self._data.decode(errors="replace")
                self.close()
        return True

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def close_on(self, loop: Loop) -> None:
        """Closes, and forgets it in the loop."""
        if self.sock is not None:
            loop.drop(self.fd)
            self.close()


def spawn(image: Image, out: int, err: int, host: Host) -> Child:
    """Forks. The child waits for `go`. Raises OSError when there is no process to be had."""
    ours, theirs = socket.socketpair()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _child(image, out, err, host, ours, theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
    handle = proc.Handle.open(pid)
    if handle is None:  # it is not reaped, so what is missing is a descriptor to look at it
        ours.close()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    ours.setblocking(False)
    return Child(handle, ours)


def _child(
    image: Image, out: int, err: int, host: Host, ours: socket.socket, sock: socket.socket
) -> NoReturn:
    stage, what = "setup", ""
    try:
        ours.close()  # else the end of the keeper would not be the end of this connection
        for fd in host.private:
            os.close(fd)
        os.setsid()
        for number in host.signals:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if host.oom:
            _reset_oom()
        os.umask(0o022)
        os.dup2(host.null, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        if sock.recv(1) != b"g":
            os._exit(0)  # the keeper is gone
        if image.groups is not None:
            stage, what = "groups", str(image.groups)
            os.setgroups(image.groups)
        if image.gid is not None:
            stage, what = "gid", str(image.gid)
            os.setgid(image.gid)
        stage, what = "limits", "nofile"
        resource.setrlimit(resource.RLIMIT_NOFILE, host.nofile)
        for name, value in image.limits.items():
            what = name
            _limit(RLIMITS[name], value)
        if image.uid is not None:
            stage, what = "uid", str(image.uid)
            os.setuid(image.uid)
        stage, what = "chdir", os.fsdecode(image.cwd)
        os.chdir(image.cwd)
        stage, what = "exec", os.fsdecode(image.argv[0])
        _exec(image)
    except OSError as e:
        _tell(sock, f"{stage}: {errno.errorcode.get(e.errno or 0, str(e.errno))} {what}")
    except BaseException as e:
        name = "ENOMEM" if isinstance(e, MemoryError) else "EPERM" if stage == "limits" else repr(e)
        _tell(sock, f"{stage}: {name} {what}")
    os._exit(127)


def _reset_oom() -> None:
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(fd, b"0")
        os.close(fd)
    except OSError:
        pass


def _limit(which: int, value: int) -> None:
    number = resource.RLIM_INFINITY if value < 0 else value
    resource.setrlimit(which, (number, number))


def _exec(image: Image) -> NoReturn:
    first: OSError | None = None
    for program in image.programs:
        try:
            os.execve(program, image.argv, image.env)
        except OSError as e:
            # as execvp does: a file that was found but cannot be run says more than a missing one
            if first is None or first.errno in (errno.ENOENT, errno.ENOTDIR):
                first = e
    assert first is not None
    raise first


def _tell(sock: socket.socket, text: str) -> None:
    try:
        sock.send(text.encode(errors="replace")[:4000], socket.MSG_NOSIGNAL)
    except OSError:
        pass


def open_log(directory: str, name: str) -> int:
    """A new or existing file for one stream of one start. Raises OSError."""
    os.makedirs(directory, 0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(os.path.join(directory, name), flags, 0o600)


def read_secrets(secrets: dict[str, str]) -> dict[str, str]:
    """Variable -> content of its file. Raises Reject(exec) that names the file, never its content."""
    out = {}
    for name, path in secrets.items():
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hold us
            try:
                data = b""
                while len(data) <= MAX_SECRET and (more := os.read(fd, MAX_SECRET + 1 - len(data))):
                    data += more
            finally:
                os.close(fd)
        except OSError as e:
            raise Reject("exec", f"secret: {errname(e)} {path} (for {name})") from None
        if len(data) > MAX_SECRET:
            raise Reject("exec", f"secret: {path} (for {name}) is over {MAX_SECRET} bytes")
        if b"\0" in data:
            raise Reject("exec", f"secret: {path} (for {name}) contains a NUL byte")
        out[name] = os.fsdecode(data[:-1] if data.endswith(b"\n") else data)
    return out


def errname(e: OSError) -> str:
    """`ENOENT` and the like."""
    return errno.errorcode.get(e.errno or 0, str(e.errno))


def transient(text: str) -> bool:
    """Is `stage: ERRNO what` a failure that may pass by itself?"""
    return any(word in TRANSIENT for word in text.split()[:2])
