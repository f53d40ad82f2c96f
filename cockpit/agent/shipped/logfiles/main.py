"""Copies declared log files into the logs of their unit, DIR/logs/UNIT/RUN.NAME.log: streams and rotation see it."""

from __future__ import annotations

import ctypes
import json
import os
import time
from typing import TYPE_CHECKING, Any, Dict, Tuple

from .source import Source

if TYPE_CHECKING:
    from cockpit.agent.plugins.inside import Host

BUSY, QUIET = 0.2, 1.0
"""Seconds between two looks while something moves, and while nothing does."""
SAVE = 2.0
MAX_FILES = 500
KEEP_SIZE, PUNCH_HOLE = 0x01, 0x02


class Target:
    """One declared file: its source, and the unit that its lines belong to now."""

    def __init__(self, name: str, source: Source, dest: str) -> None:
        self.name = name
        self.source = source
        self.dest = dest

    def write(self, data: bytes) -> None:
        """Raises OSError: then the source is read again from where it was."""
        os.makedirs(os.path.dirname(self.dest), 0o700, exist_ok=True)
        fd = os.open(self.dest, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)

    def size(self) -> int:
        try:
            return os.path.getsize(self.dest)
        except OSError:
            return 0

    def state(self) -> Dict[str, Any]:
        return {**self.source.state(), "dest": self.dest, "size": self.size()}


class LogFiles:
    def __init__(self, host: "Host") -> None:
        self._host = host
        self._targets: Dict[str, Target] = {}
        self._path = os.path.join(host.data, "files.json")
        self._kept: Dict[str, Any] = {}
        self._serving = False
        self._saved = 0.0
        self._dirty = False
        self._said = ""

    def begin(self) -> None:
        """Nobody else copies: no line comes twice."""
        self._kept, self._serving = _read(self._path), True
        self.units()
        self.look()

    def units(self) -> None:
        """Which files are followed now, and for whom: the newest unit that lives has the file."""
        if not self._serving:
            return
        wanted: Dict[str, Tuple[int, str, str]] = {}
        wrong = []
        for unit, facts in self._host.units.items():
            gen = int(unit.rpartition(":")[2])
            wrong += [f"{unit}: {text}" for text in facts.get("wrong", {}).values()]
            if not facts["pids"] and not facts["run"]:
                continue
            for name, path in facts["logs"].items():
                rank = gen + (1_000_000_000 if facts["pids"] else 0)
                dest = os.path.join(facts["log_dir"], f"{facts['run']}.{name}.log")
                if path not in wanted or wanted[path][0] < rank:
                    wanted[path] = (rank, name, dest)
        for path in [p for p in self._targets if p not in wanted]:
            target = self._targets.pop(path)
            self._round(target)
            self._kept[path] = target.state()
            target.source.close()
        for path, (_, name, dest) in list(wanted.items())[:MAX_FILES]:
            known = self._targets.get(path)
            if known is None:
                self._targets[path] = self._begin(path, name, dest)
            elif known.dest != dest:  # a new run: what came before belongs to the one before
                self._round(known)
                known.dest, known.name = dest, name
                self._dirty = True
        self._tell(wrong)
        self._save(force=True)

    def _begin(self, path: str, name: str, dest: str) -> Target:
        state = self._kept.get(path) or {}
        target = Target(name, Source(path, state, _punch), str(state.get("dest") or dest))
        if state:  # what was copied after the state was written need not be copied again
            target.source.advance(max(0, target.size() - int(state["size"])))
            target.dest = dest
        return target

    def look(self) -> None:
        if not self._serving:
            return
        moved = 0
        for target in list(self._targets.values()):
            moved += self._round(target)
        self._save()
        self._host.at(BUSY if moved else QUIET, self.look)

    def _round(self, target: Target) -> int:
        try:
            count = target.source.read(target.write)
        except OSError as e:
            self._host.log(f"{target.source.path}: {e.strerror or e}")
            return 0
        self._dirty = self._dirty or count > 0
        return count

    def _tell(self, wrong: "list[str]") -> None:
        text = "; ".join(wrong[:5])
        if text != self._said:
            self._said = text
            self._host.tell({"wrong": wrong[:50]})

    def _save(self, force: bool = False) -> None:
        now = time.monotonic()
        if not self._dirty or (not force and now - self._saved < SAVE):
            return
        self._saved, self._dirty = now, False
        self._kept = {p: s for p, s in list(self._kept.items())[-2 * MAX_FILES :] if p not in self._targets}
        doc = {**self._kept, **{path: t.state() for path, t in self._targets.items()}}
        new = f"{self._path}.new"
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
                json.dump(doc, f)
            os.replace(new, self._path)
        except OSError as e:
            self._host.log(f"{self._path}: {e.strerror}")

    def end(self) -> None:
        if not self._serving:
            return
        self._serving = False
        for target in self._targets.values():
            self._round(target)
        self._dirty = True
        self._save(force=True)


def _read(path: str) -> Dict[str, Any]:
    try:
        with open(path) as f:
            doc = json.load(f)
    except (OSError, ValueError):
        return {}
    return doc if isinstance(doc, dict) else {}


_libc: Any = None


def _punch(fd: int, end: int) -> None:
    """Free the blocks of [0, end). Raises OSError."""
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if _libc.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, end) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def start(host: "Host") -> None:
    work = LogFiles(host)
    host.on("units", work.units)
    host.on("settings", work.units)
    host.on("finish", work.end)
    host.on("end", work.end)
    host.at(0.0, lambda: host.alone(work.begin))
