"""The files of a keeper: DIR/keeper/{lock,id,journal,agent.json,ended} and two per unit."""

from __future__ import annotations

import fcntl
import os

from .journal import read_doc, sync_directory, write_doc, write_file
from .notify import new_name
from .spec import check_spec, file_name, flat
from .unit import Unit
from .wire import Reject


class Busy(Exception):
    """Another keeper holds the directory."""


class Store:
    """Raises OSError where the directory cannot be used, Busy when another keeper holds it."""

    def __init__(self, directory: str, lock: int = -1) -> None:
        """`lock`: a descriptor that holds the directory already."""
        self.directory = os.path.abspath(directory)
        self.keeper = os.path.join(self.directory, "keeper")
        self.journal = os.path.join(self.keeper, "journal")
        self.agent = os.path.join(self.keeper, "agent.json")
        self.units = os.path.join(self.keeper, "units")
        for path in (self.directory, self.keeper, self.units):
            os.makedirs(path, 0o700, exist_ok=True)
            os.chmod(path, 0o700)
        path = os.path.join(self.keeper, "lock")
        self.lock = lock if lock >= 0 else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self.lock, 20, 0).decode(errors="replace").strip()
            raise Busy(f"another keeper (pid {holder or 'unknown'}) holds {self.directory}") from None
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, str(os.getpid()).encode(), 0)
        self.id = self._identity()
        self._ended = os.path.join(self.keeper, "ended")
        try:
            os.unlink(self._ended)
        except FileNotFoundError:
            pass

    def mark_ended(self) -> None:
        """Agents that wait for their turn must see that this host was told to end, whenever they look."""
        try:
            write_file(self._ended, b"")
        except OSError:
            pass  # a full disk must not keep it alive

    def _identity(self) -> str:
        """A random name of this directory, in the environment of everything it starts: two hosts on
        one machine may have units of the same name."""
        path = os.path.join(self.keeper, "id")
        try:
            with open(path) as f:
                found = f.read().strip()
        except OSError:
            found = ""
        if not found:
            found = os.urandom(8).hex()
            write_file(path, found.encode() + b"\n")
        return found

    def load(self) -> tuple[dict[str, Unit], list[str]]:
        """The units, without what the journal knows of them, and what could not be read."""
        units: dict[str, Unit] = {}
        bad = []
        for name in sorted(os.listdir(self.units)):
            if not name.endswith(".spec"):
                continue
            doc = read_doc(os.path.join(self.units, name)) or {}
            try:
                unit = Unit(check_spec(doc.get("spec")), str(doc.get("notify") or new_name()))
            except Reject as e:
                bad.append(f"{name}: {e.text}")
                continue
            wanted = read_doc(self._path(unit.unit, "wanted")) or {}
            unit.wanted = wanted.get("wanted") is True
            unit.pinned = str(wanted.get("pinned") or "")
            unit.by = str(wanted.get("by") or "")
            units[unit.unit] = unit
        return units, bad

    def _path(self, unit: str, kind: str) -> str:
        return os.path.join(self.units, f"{file_name(unit)}.{kind}")

    def save_spec(self, unit: Unit) -> None:
        write_doc(self._path(unit.unit, "spec"), {"spec": unit.spec, "notify": unit.notify_name})

    def save_wanted(self, unit: Unit) -> None:
        doc = {"wanted": unit.wanted, "pinned": unit.pinned, "by": unit.by}
        write_doc(self._path(unit.unit, "wanted"), doc)

    def forget(self, unit: Unit) -> None:
        for kind in ("wanted", "spec"):
            try:
                os.unlink(self._path(unit.unit, kind))
            except FileNotFoundError:
                pass
        sync_directory(self.units)

    def log_dir(self, unit: Unit) -> str:
        return unit.spec["log_dir"] or os.path.join(self.directory, "logs", flat(unit.unit))

    def core_dir(self, unit: Unit) -> str:
        return unit.spec["core_dir"] or os.path.join(self.directory, "cores")
