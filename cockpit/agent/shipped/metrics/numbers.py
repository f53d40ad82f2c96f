"""One sample of a host from /proc, with few system calls: files are kept open and read from their beginning."""

from __future__ import annotations

# ruff: noqa: B905 (zip has no `strict` before Python 3.10)
import os
import time
from typing import Any, Dict, List, Optional, Tuple

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
MOUNTS_EVERY = 60.0
MAX_MOUNTS, MAX_INTERFACES, MAX_PIDS = 50, 50, 500
SECTOR = 512

Numbers = Dict[str, Any]


class Sampler:
    """Rates are against the sample before; the first one has none."""

    def __init__(self) -> None:
        self._fds: Dict[str, int] = {}
        self._before = 0.0
        self._cpu: List[int] = []
        self._io: Dict[str, Tuple[int, int, int]] = {}
        self._net: Dict[str, Tuple[int, ...]] = {}
        self._pids: Dict[int, Tuple[int, int]] = {}
        """Pid -> (start time, ticks used)."""
        self._mounts: List[Tuple[str, str]] = []
        self._mounts_at = 0.0

    def sample(self, units: Dict[str, Any]) -> Numbers:
        """{"at","cpu","load","memory","swap","disks","net","pressure","units"}: bytes, bytes a second, shares."""
        now = time.monotonic()
        span = now - self._before if self._before else 0.0
        self._before = now
        return {
            "at": round(time.time(), 3), "cpu": self._processors(), "load": self._load(), **self._memory(),
            "disks": self._disks(now, span), "net": self._networks(span), "pressure": self._pressure(),
            "units": self._units(units, span),
        }

    def _read(self, path: str) -> str:
        """Empty when there is no such file."""
        fd = self._fds.get(path)
        try:
            if fd is None:
                fd = self._fds[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(fd, 65536, 0).decode("utf-8", "replace")
        except OSError:
            return ""

    def _processors(self) -> Numbers:
        numbers = [int(n) for n in self._read("/proc/stat").partition("\n")[0].split()[1:9]]
        before, self._cpu = self._cpu, numbers
        if not before or len(numbers) != len(STATES):
            return {}
        spent = [max(0, b - a) for a, b in zip(before, numbers)]
        total = sum(spent) or 1
        return {state: round(n / total, 4) for state, n in zip(STATES, spent)}

    def _load(self) -> List[float]:
        return [float(n) for n in self._read("/proc/loadavg").split()[:3]]

    def _memory(self) -> Numbers:
        found = {}
        for line in self._read("/proc/meminfo").splitlines():
            key, _, rest = line.partition(":")
            if key in ("MemTotal", "MemAvailable", "Cached", "Dirty", "SwapTotal", "SwapFree"):
                found[key] = int(rest.split()[0]) * 1024
        total, swap = found.get("MemTotal", 0), found.get("SwapTotal", 0)
        return {
            "memory": {
                "total": total, "available": found.get("MemAvailable", 0), "cached": found.get("Cached", 0),
                "dirty": found.get("Dirty", 0),
            },
            "swap": {"total": swap, "used": swap - found.get("SwapFree", 0)},
        }  # fmt: skip

    def _disks(self, now: float, span: float) -> List[Numbers]:
        if not self._mounts_at or now - self._mounts_at >= MOUNTS_EVERY:
            self._mounts, self._mounts_at = mounts(self._read("/proc/self/mountinfo")), now
        fresh = {}
        for line in self._read("/proc/diskstats").splitlines():
            part = line.split()
            if len(part) >= 13:
                fresh[f"{part[0]}:{part[1]}"] = (int(part[5]) * SECTOR, int(part[9]) * SECTOR, int(part[12]))
        before, self._io = self._io, fresh
        found = []
        for device, path in self._mounts:
            try:
                space = os.statvfs(path)
            except OSError:
                continue
            disk: Numbers = {
                "mount": path, "size": space.f_blocks * space.f_frsize, "free": space.f_bavail * space.f_frsize,
                "inodes": space.f_files, "inodes_free": space.f_favail,
            }
            if span and device in fresh and device in before:
                read, written, busy = (max(0, b - a) for a, b in zip(before[device], fresh[device]))
                disk.update(
                    read=int(read / span), written=int(written / span), busy=round(min(1.0, busy / 1000 / span), 4)
                )
            found.append(disk)
        return found

    def _networks(self, span: float) -> Dict[str, Numbers]:
        fresh: Dict[str, Tuple[int, ...]] = {}
        for line in self._read("/proc/self/net/dev").splitlines()[2:]:
            name, _, rest = line.partition(":")
            part = rest.split()
            if len(part) >= 12 and len(fresh) < MAX_INTERFACES:
                fresh[name.strip()] = tuple(int(part[n]) for n in (0, 8, 2, 3, 10, 11))
        before, self._net = self._net, fresh
        found = {}
        for name, numbers in fresh.items():
            if span and name in before:
                moved = [max(0, b - a) for a, b in zip(before[name], numbers)]
                found[name] = {
                    "received": int(moved[0] / span), "sent": int(moved[1] / span), "errors": moved[2] + moved[4],
                    "dropped": moved[3] + moved[5],
                }
        return found

    def _pressure(self) -> Dict[str, Numbers]:
        """Share of time in which some (all) tasks waited, over 10 s. Empty where the kernel does not tell."""
        found: Dict[str, Numbers] = {}
        for what in ("cpu", "memory", "io"):
            for line in self._read(f"/proc/pressure/{what}").splitlines():
                part = line.split()
                if len(part) >= 2 and part[1].startswith("avg10="):
                    found.setdefault(what, {})[part[0]] = round(float(part[1][6:]) / 100, 4)
        return found

    def _units(self, units: Dict[str, Any], span: float) -> Dict[str, Numbers]:
        fresh: Dict[int, Tuple[int, int]] = {}
        found: Dict[str, Numbers] = {}
        for unit, facts in units.items():
            for name, pid in facts.get("pids", {}).items():
                if len(fresh) >= MAX_PIDS:
                    break
                seen = process(int(pid))
                if seen is None:
                    continue
                began, ticks, numbers = seen
                fresh[pid] = (began, ticks)
                before = self._pids.get(pid)
                if span and before is not None and before[0] == began:
                    numbers["cpu"] = round((ticks - before[1]) / TICK / span, 4)
                found.setdefault(unit, {})[name] = numbers
        self._pids = fresh
        return found


def process(pid: int) -> Optional[Tuple[int, int, Numbers]]:
    """(start time, ticks used, {"pid","rss","threads","fds"}); None when it is gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            part = os.read(fd, 4096).rpartition(b")")[2].split()
        finally:
            os.close(fd)
        numbers: Numbers = {"pid": pid, "rss": int(part[21]) * PAGE, "threads": int(part[17])}
        began, ticks = int(part[19]), int(part[11]) + int(part[12])
    except (OSError, IndexError, ValueError):
        return None
    try:
        directory = f"/proc/{pid}/fd"
        numbers["fds"] = os.stat(directory).st_size or len(os.listdir(directory))  # Linux 6.2 counts them itself
    except OSError:
        pass
    return began, ticks, numbers


def mounts(text: str) -> List[Tuple[str, str]]:
    """(major:minor, mount point) of file systems on block devices: asking others (NFS) may hang. Each device once."""
    found: Dict[str, str] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        part, source = left.split(), right.split()
        if len(part) >= 5 and len(source) >= 2 and source[1].startswith("/dev/") and part[2] not in found:
            found[part[2]] = part[4].encode().decode("unicode_escape", "replace")
    return list(found.items())[:MAX_MOUNTS]
