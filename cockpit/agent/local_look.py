"""Reading, on this host, what the pure parts of cockpit.agent.runtimes judge: records, pid files, /proc, programs."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence

from cockpit.agent.files import flat
from cockpit.agent.runtimes import pidfile, supervisord
from cockpit.agent.runtimes.judge import ForeignFile, Look, Own, UnitFiles
from cockpit.agent.waiting import within

HERTZ = int(os.sysconf("SC_CLK_TCK"))
MAX_FILE = 1024 * 1024
MAX_OUT = 8 * 1024 * 1024
RPC = 10.0


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    def said(self) -> str:
        """Its last lines, as the end of a sentence."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return "; ".join(lines[-3:])[:600] or f"exit {self.code}"


def small(path: str, most: int = MAX_FILE) -> str:
    """The beginning of a file; empty when it cannot be read."""
    try:
        with open(path, "rb") as f:
            return f.read(most).decode(errors="replace")
    except OSError:
        return ""


def ticks_of(pid: Optional[int]) -> Optional[int]:
    """Start time of what runs under this pid; None: nothing does."""
    return None if pid is None else pidfile.ticks_of(small(f"/proc/{pid}/stat", 4096))


def records(host_dir: str) -> Dict[str, Dict[str, Any]]:
    """Unit -> its record, of all that is whole below DIR/units."""
    found: Dict[str, Dict[str, Any]] = {}
    for name in _names(os.path.join(host_dir, "units")):
        try:
            record = json.loads(small(os.path.join(host_dir, "units", name, "spec.json")))
            unit = str(record["spec"]["unit"])
            if flat(unit) == name and isinstance(record["spec"]["processes"], dict):
                found[unit] = record
        except (ValueError, KeyError, TypeError):
            pass  # half a record, or somebody else's: nothing that was prepared
    return found


def look(host_dir: str, files: Iterable[str], paths: Iterable[str]) -> Look:
    """One look, without what systemd and supervisord say. `files`: pid files of programs; `paths`: may be links."""
    made = Look(now=time.time(), boot=small("/proc/sys/kernel/random/boot_id", 64).strip())
    made.uptime = float((small("/proc/uptime", 64).split() or ["0"])[0])
    for name in _names(os.path.join(host_dir, "units")):
        dir = os.path.join(host_dir, "units", name)
        if not os.path.isfile(os.path.join(dir, "spec.json")):
            continue
        run = small(os.path.join(dir, "run"), 32).strip()
        wanted = os.path.exists(os.path.join(dir, "wanted"))
        unit = made.units[name] = UnitFiles(wanted, int(run) if run.isdigit() else 0)
        for file in _names(dir):
            if file.endswith(".pid"):
                process = pidfile.parse_own(small(os.path.join(dir, file), 256))
                unit.pids[file[:-4]] = Own(process, ticks_of(process.pid if process else None))
    for name in _names(os.path.join(host_dir, "instances")):
        own = os.path.join(host_dir, "instances", name)
        current = small(os.path.join(own, "current"), 512).strip()
        if current:
            made.current[name] = current
        target = _link(os.path.join(own, "release"))
        if target is not None:
            made.links[name] = target
    for path in files:
        try:
            written = os.stat(path).st_mtime
        except OSError:
            continue
        pid = pidfile.parse(small(path, 64))
        made.files[path] = ForeignFile(pid, written, ticks_of(pid))
    for path in paths:
        target = _link(path)
        if target is not None:
            made.paths[path] = target
    return made


def _link(path: str) -> Optional[str]:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _names(dir: str) -> List[str]:
    try:
        return sorted(os.listdir(dir))
    except OSError:
        return []


def group_alive(record: UnitFiles) -> List[int]:
    """Pids of a unit's processes that are still the ones that were started."""
    boot = small("/proc/sys/kernel/random/boot_id", 64).strip()
    return [
        own.process.pid for own in record.pids.values()
        if own.process is not None and own.process.boot == boot and ticks_of(own.process.pid) == own.process.ticks
    ]


async def run(argv: Sequence[str], timeout: float = 60.0, cwd: str = "/") -> Ran:
    """A program to its end. One that is not there has the code 127, one that does not end -1."""
    env = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=cwd, env={**env, "LC_ALL": "C"},
        )
    except OSError as e:
        return Ran(127, "", f"{argv[0]}: {e.strerror}")
    try:
        out, err = await within(process.communicate(), timeout)
    except asyncio.TimeoutError:
        return Ran(-1, "", f"{' '.join(argv[:3])} did not end in {timeout:g} s")
    finally:
        if process.returncode is None:
            try:
                process.kill()
            except ProcessLookupError:
                pass
            await process.wait()
    return Ran(process.returncode or 0, out[:MAX_OUT].decode(errors="replace"), err[:65536].decode(errors="replace"))


def supervisor_config() -> str:
    """The configuration of the supervisord that runs here: where it usually is, or as its command line says."""
    for path in supervisord.CONFIGS:
        if os.path.isfile(path):
            return path
    for pid in _names("/proc"):
        words = small(f"/proc/{pid}/cmdline", 4096).split("\0") if pid.isdigit() else []
        if any(os.path.basename(word) == "supervisord" for word in words[:2]):
            for option, value in zip(words, words[1:]):  # noqa: B905 - Python 3.9
                if option in ("-c", "--configuration") and os.path.isabs(value) and os.path.isfile(value):
                    return value
    return ""


def supervisor(config: str) -> supervisord.Control:
    """Where that supervisord listens."""
    text = small(config, supervisord.MAX_CONFIG) if config else ""
    return supervisord.control_of(text, os.path.dirname(config)) if text else supervisord.Control()


async def ask_supervisor(control: supervisord.Control) -> Dict[str, Any]:
    """Name -> Seen of all its programs. Raises OSError, ValueError."""
    loop = asyncio.get_running_loop()
    try:
        data = await within(loop.run_in_executor(None, _rpc, control), RPC + 1.0)
    except asyncio.TimeoutError:
        raise OSError("supervisord does not answer") from None
    return dict(supervisord.parse_info(data))


def _rpc(control: supervisord.Control) -> bytes:
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(RPC)
        s.connect(control.socket)
        s.sendall(supervisord.info_request(control))
        data = b""
        while True:
            block = s.recv(65536)
            if not block:
                return data
            data += block
            if len(data) > supervisord.MAX_ANSWER:
                raise ValueError("supervisord's answer is too long")

