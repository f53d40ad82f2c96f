"""Processes: who one is, how to signal exactly that one, and what /proc tells of it.

A process is named by (boot id, pid, start time); the boot id is compared once, when a keeper
starts. Signals go through a pidfd, so they cannot hit a later process with the same pid.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PR_SET_CHILD_SUBREAPER = 36
PIDFD_INFO_EXIT = 1 << 3
PIDFD_INFO = struct.Struct("=QQ11Ii")  # the first published layout of struct pidfd_info
PIDFD_GET_INFO = (3 << 30) | (PIDFD_INFO.size << 16) | (0xFF << 8) | 11  # _IOWR(0xFF, 11, struct)
NO_PIDFD = (errno.ENOSYS, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINVAL)


class Stat:
    """What is used of /proc/PID/stat."""

    __slots__ = ("dead", "ppid", "session", "start", "status")

    def __init__(self, data: bytes) -> None:
        fields = data[data.rfind(b")") + 2 :].split()
        self.dead = fields[0] in (b"Z", b"X")
        self.ppid = int(fields[1])
        self.session = int(fields[3])
        self.start = int(fields[19])
        """Clock ticks after boot."""
        self.status = int(fields[49])
        """Wait status of a zombie; 0 where the kernel does not let us look."""


def read(path: str, limit: int = 65536) -> bytes:
    """The beginning of a small file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, limit)
        while len(data) < limit and (more := os.read(fd, limit - len(data))):
            data += more
        return data
    finally:
        os.close(fd)


def stat(pid: int) -> Stat | None:
    """None when there is no such process."""
    try:
        return Stat(read(f"/proc/{pid}/stat", 4096))
    except (OSError, ValueError, IndexError):
        return None


def boot_id() -> str:
    return read("/proc/sys/kernel/random/boot_id", 64).decode().strip()


def become_subreaper() -> bool:
    """Orphans below this process become its children. False where that is not possible."""
    try:
        import _cockpit  # the one-file agent has no ctypes

        _cockpit.prctl(PR_SET_CHILD_SUBREAPER, 1)
        return True
    except ImportError:
        pass
    except OSError:
        return False
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


class Handle:
    """One particular process."""

    __slots__ = ("fd", "pid", "start")

    def __init__(self, pid: int, start: int, fd: int | None) -> None:
        self.pid = pid
        self.start = start
        self.fd = fd
        """A pidfd, or None where the kernel has none to give."""

    @classmethod
    def open(cls, pid: int, start: int | None = None) -> Handle | None:
        """The living process with this pid, and this start time when given; else None.

        A child that is not reaped yet counts as living.
        """
        fd: int | None = None
        try:
            fd = os.pidfd_open(pid)
        except OSError as e:
            if e.errno not in NO_PIDFD:
                return None
        seen = stat(pid)  # after opening: if the pidfd is of this process, so is the stat
        if seen is None or (start is not None and (seen.start != start or seen.dead)):
            if fd is not None:
                os.close(fd)
            return None
        return cls(pid, seen.start, fd)

    def alive(self) -> bool:
        """Still the same process, and no zombie."""
        seen = stat(self.pid)
        return seen is not None and seen.start == self.start and not seen.dead

    def send(self, number: int) -> None:
        """Signals exactly this process; nothing happens when it is gone."""
        try:
            if self.fd is not None:
                signal.pidfd_send_signal(self.fd, number)
            elif self.alive():
                os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def ended(self) -> bool:
        """Has it ended, reaped or not?"""
        if self.fd is None:
            return not self.alive()
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def status(self) -> int | None:
        """Wait status of an ended process that is not our child, or None: nobody knows (yet)."""
        if self.fd is not None:
            try:
                info = bytearray(PIDFD_INFO.pack(PIDFD_INFO_EXIT, *(0,) * 13))
                fcntl.ioctl(self.fd, PIDFD_GET_INFO, info)
                fields = PIDFD_INFO.unpack(info)
                if fields[0] & PIDFD_INFO_EXIT:
                    return int(fields[-1])
            except OSError:
                pass
        return zombie_status(self.pid, self.start)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def zombie_status(pid: int, start: int) -> int | None:
    """Wait status of somebody else's zombie, while its parent has not looked."""
    seen = stat(pid)
    if seen is None or seen.start != start or not seen.dead:
        return None
    try:
        read(f"/proc/{pid}/io", 1)  # same permission as the status: without it a 0 means nothing
    except OSError:
        return None
    return seen.status


def peak_rss(pid: int) -> int:
    """Highest resident size so far in KiB; 0 when it cannot be told."""
    try:
        for line in read(f"/proc/{pid}/status", 8192).split(b"\n"):
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return 0


class Mark:
    """What the environment of a process says about where it belongs."""

    __slots__ = ("process", "run", "unit")

    def __init__(self, unit: str, run: int, process: str) -> None:
        self.unit = unit
        self.run = run
        self.process = process


def environment(unit: str, run: int, process: str, keeper: str) -> dict[str, str]:
    """The variables by which the processes of a run are found again."""
    return {
        "COCKPIT_RUN_MARK": unit,
        "COCKPIT_RUN": str(run),
        "COCKPIT_PROCESS": process,
        "COCKPIT_KEEPER": keeper,
    }


def mark_of(pid: int, keeper: str) -> Mark | None:
    """The mark of a process that belongs to a unit of this keeper, None for any other."""
    try:
        data = read(f"/proc/{pid}/environ", 1 << 20)
    except OSError:
        return None
    if b"COCKPIT_KEEPER=" + keeper.encode() not in data:
        return None
    found = {}
    for entry in data.split(b"\0"):
        key, _, value = entry.partition(b"=")
        if key.startswith(b"COCKPIT_"):
            found[key] = os.fsdecode(value)
    try:
        if found[b"COCKPIT_KEEPER"] != keeper:
            return None
        unit, run = found[b"COCKPIT_RUN_MARK"], int(found[b"COCKPIT_RUN"])
        return Mark(unit, run, found.get(b"COCKPIT_PROCESS", ""))
    except (KeyError, ValueError):
        return None


def table() -> dict[int, Stat]:
    """Every living process on the host (8 µs each)."""
    found = {}
    for entry in os.listdir("/proc"):
        if "0" <= entry[0] <= "9":
            seen = stat(int(entry))
            if seen is not None and not seen.dead:
                found[int(entry)] = seen
    return found


def below(roots: Iterable[int], processes: dict[int, Stat]) -> set[int]:
    """Every descendant of `roots`, without themselves."""
    children: dict[int, list[int]] = {}
    for pid, seen in processes.items():
        children.setdefault(seen.ppid, []).append(pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found
