"""A cluster for measurements: the real origin, relays and peers, driven over their JSON lines.

What several programs share lies below one directory:

    ca/, origin/, NAME/        the authority, and a directory for each node
    state/                     the store; artifact.json says what is pushed
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from cockpit.artifacts.opening import open_store
from cockpit.artifacts.store import Record, Store
from cockpit.link.pki import Authority

PORT = 7411
RELAY = "px"
FILE = "file"
"""The one file of an artifact that is made from a file."""
LIMIT = 300.0
TICK = os.sysconf("SC_CLK_TCK")

Doc = dict[str, Any]


class Stuck(Exception):
    """It takes too long, or a process failed; the message has its last words."""


class Cost(NamedTuple):
    cpu: float
    """Seconds."""
    peak: float
    """MiB of memory at most."""

    def since(self, before: Cost) -> Cost:
        return Cost(self.cpu - before.cpu, self.peak)


def issue(root: Path, hosts: Iterable[str], relays: Iterable[str] = ()) -> None:
    """An authority, and identities of the origin, relays and hosts."""
    authority = Authority.create(root / "ca", "bench")
    authority.issue_origin(root / "origin")
    for name in relays:
        authority.issue_local_relay(root / name, name, str(uuid.uuid4()), [])
    for name in hosts:
        authority.issue_local_host(root / name, name, str(uuid.uuid4()), [])


def store_of(root: Path) -> Store:
    return open_store(root / "state")


def add(root: Path, content: Path, version: str = "1", kind: str = "release") -> Record:
    """An artifact `bench` of a directory, or of one file."""
    if content.is_dir():
        return store_of(root).add(content, "bench", version, kind=kind)
    tree = root / f"tree-{version}"
    tree.mkdir()
    try:
        os.link(content, tree / FILE)
    except OSError:  # on another file system
        (tree / FILE).symlink_to(content)
    return store_of(root).add(tree, "bench", version, kind=kind)


def origin_argv(root: Path, address: str) -> list[str]:
    directory = root / "origin"
    return _python(
        "cockpit.swarm.node", "origin", "--dir", str(directory), "--identity", str(directory / "identity"),
        "--address", address, "--port", str(PORT),
    )  # fmt: skip


def relay_argv(root: Path, address: str, upstream: str, name: str = RELAY) -> list[str]:
    return _python(
        "cockpit.relay", "--dir", str(root / name), "--address", address, "--port", str(PORT),
        "--region", "b", "--upstream", f"{upstream}:{PORT}",
    )  # fmt: skip


def peer_argv(root: Path, name: str) -> list[str]:
    return _python("cockpit.swarm.peer", "--dir", str(root / name))


def _python(module: str, *args: str) -> list[str]:
    return [sys.executable, "-I", "-m", module, *args]


def publish_doc(root: Path, record: Doc) -> Doc:
    files = store_of(root).files(record["sha256"], record["layout"])
    return {
        "op": "publish", "sha256": record["sha256"], "layout": record["layout"], "manifest": str(files.manifest),
        "layout_file": str(files.layout), "pack": str(files.pack), "table": str(files.table),
    }  # fmt: skip


def fetch_doc(record: Doc, address: str, tracker: tuple[str, str], **more: Any) -> Doc:
    """`tracker`: (name, address); the origin's name is empty."""
    facts = {key: record[key] for key in ("name", "version", "kind", "sha256", "layout", "size")}
    return {
        "op": "fetch", **facts, "address": address, "port": PORT, "region": "b", "push": "bench", "rates": {},
        "trackers": [{"name": tracker[0], "address": tracker[1], "port": PORT}],
        "require": [], "signers": {}, "signatures": [], "patch": None, **more,
    }  # fmt: skip


def installed(root: Path, name: str, record: Doc) -> Path:
    """Where a host has a version."""
    return root / name / "releases" / str(record["name"]) / str(record["version"])


class Process:
    """One of the real processes; a thread notes what it says, and when."""

    def __init__(self, argv: list[str], log: Path) -> None:
        with log.open("ab") as err:
            self._popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err)
        self.pid = self._popen.pid
        self.log = log
        self.ready: Doc = {}
        self.answers: dict[int, tuple[float, Doc]] = {}
        """Number -> (when by time.monotonic(), answer)."""
        self.facts: dict[int, Doc] = {}
        """Number -> what the last progress said of the swarm."""
        self.sent: dict[str, dict[str, int]] = {}
        """Of the origin: swarm -> receiver -> bytes."""
        self._number = 0
        self._gone = False
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            doc, now = json.loads(line), time.monotonic()
            with self._came:
                if "ok" in doc:
                    self.answers[doc["id"]] = now, doc
                elif "progress" in doc:
                    self.facts[doc["id"]] = doc["progress"]["swarm"]
                elif "stats" in doc:
                    self.sent = {swarm: stats["sent"] for swarm, stats in doc["stats"].items()}
                elif "ready" in doc:
                    self.ready = doc["ready"]
                self._came.notify_all()
        with self._came:
            self._gone = True
            self._came.notify_all()

    def say(self, doc: Doc) -> int:
        """The number of the line, for `answer`."""
        assert self._popen.stdin is not None
        self._number += 1
        self._popen.stdin.write(json.dumps({"id": self._number, **doc}).encode() + b"\n")
        self._popen.stdin.flush()
        return self._number

    def until(self, true: Callable[[], object], limit: float = LIMIT) -> None:
        """Until something it says makes this true. Raises Stuck."""
        with self._came:
            self._came.wait_for(lambda: true() or self._gone, limit)
            if not true():
                words = self.log.read_text(errors="replace")[-2000:]
                raise Stuck(f"{'it ended' if self._gone else 'it takes too long'}: {self.log.name}: {words}")

    def answer(self, number: int, limit: float = LIMIT) -> tuple[float, Doc]:
        """(when, the answer). Raises Stuck, also when it is no."""
        self.until(lambda: number in self.answers, limit)
        when, doc = self.answers[number]
        if not doc["ok"]:
            raise Stuck(f"{self.log.name}: {doc['code']}: {doc['text']}")
        return when, doc

    def ask(self, doc: Doc) -> tuple[float, Doc]:
        return self.answer(self.say(doc))

    def cost(self) -> Cost:
        """So far; nothing of one that has ended."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return Cost(0.0, 0.0)
        peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
        return Cost((int(fields[11]) + int(fields[12])) / TICK, peak / 1024)

    def end(self, number: int = signal.SIGTERM) -> Cost:
        """Ended by a signal: what it had cost."""
        cost = self.cost()
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(number)
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._reader.join(10)
        for pipe in (self._popen.stdin, self._popen.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return cost

    def keep(self) -> None:
        """For a program that is there for this process alone: until it ends, or SIGTERM comes (see `obedient`)."""
        try:
            self._reader.join()
        finally:
            self.end()


def obedient() -> None:
    """SIGTERM ends this program in order, so that what it started is ended and counted."""

    def stop(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
