"""A real cluster for end-to-end tests: a controller process, keepers, agents, services."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cockpit.cli.show import status_object
from cockpit.controller.relays import lock_holder
from cockpit.plan.steps import Intent
from cockpit.session.client import RemoteSession
from tests import leftovers
from tests.helpers import DEAR, PATIENCE, alive, wait_for

T = TypeVar("T")
COCKPIT = [sys.executable, "-I", "-m", "cockpit.cli.main"]
LOOK = 0.05
"""Seconds between two looks at a cluster."""
CALM = 8
"""Looks in a row at which a calm cluster is calm."""


class Cluster:
    """`cockpit serve` on a topology (or the demo) in a directory of its own: `@ROOT@` in the topology."""

    def __init__(self, root: Path, topology: str | None) -> None:
        self.root = root
        self.state = root / "s"
        self.hosts = root / "s.hosts"
        self.file = root / "topology.yaml"
        self.topology = topology
        if topology is not None:
            self.file.write_text(topology.replace("@ROOT@", str(root)))
        self.process: subprocess.Popen[bytes] | None = None
        self.log = root / "controller.log"
        self._waits = 0

    def start(self, *, from_file: bool = True) -> None:
        """Start the controller and wait until it answers. Without its file: by the state alone."""
        serve = ["serve", str(self.file)] if self.topology is not None else ["demo", "--serve"]
        if not from_file:
            serve = ["serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COCKPIT, *serve, "--state", str(self.state)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )
        wait_for(self.answers, 60, f"controller answers; its log:\n{self.log.read_text()}")

    def answers(self) -> bool:
        """The controller does, and it knows of its hosts: its sockets are there a moment before its first tables."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the controller ended: {self.log.read_text()}")
        with socket.socket(socket.AF_UNIX) as s, contextlib.suppress(OSError):
            s.connect(str(self.state / "control.sock"))
            with contextlib.suppress(AssertionError):
                return bool(self.ask(RemoteSession.snapshot).hosts) or not self._declared()
        return False

    def _declared(self) -> bool:
        """Has the topology hosts at all?"""
        return self.topology is None or "hosts:" in self.topology

    def kill(self) -> None:
        """kill -9 of the controller."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End the controller (SIGTERM), then every host of this cluster."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        deadline = time.monotonic() + PATIENCE
        while True:  # an agent that is just starting has no keeper yet that could be told to end
            for host in self.hosts.glob("*"):
                end_host(host)
                end_relay(host)
            if not leftovers.find("-", [self.hosts]) or time.monotonic() > deadline:
                return
            time.sleep(0.2)

    def cli(self, *words: str, code: int | None = 0, timeout: float = 120) -> str:
        """Run a command on this cluster without a terminal; returns stdout. Checks the exit code."""
        done = self.run(*words, timeout=timeout)
        if code is not None and done.returncode != code:
            raise AssertionError(f"cockpit {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def run(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COCKPIT, *words], env={**os.environ, "COCKPIT_STATE": str(self.state)}, cwd=self.root,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )

    def status(self) -> dict[str, Any]:
        """What `status --json` prints; in a wait without that command: one that starts for each look takes the
        processor from what is waited for. AssertionError when nobody answers."""
        if not self._waits:
            answer = json.loads(self.cli("status", "--json"))
            assert isinstance(answer, dict)
            return answer
        answer: dict[str, Any] = json.loads(msgspec.json.encode(status_object(self.ask(RemoteSession.snapshot))))
        return answer

    def ask(self, what: Callable[[RemoteSession], Awaitable[T]]) -> T:
        """An answer of the controller's, from this process. AssertionError when there is none."""

        async def answer() -> T:
            session = RemoteSession(self.state / "control.sock")
            async with asyncio.timeout(120):
                await session.connect()
                try:
                    return await what(session)
                finally:
                    await session.close()

        with ThreadPoolExecutor(1) as beside:  # a test may have a loop of its own
            try:
                return beside.submit(asyncio.run, answer()).result()
            except (ConnectionError, TimeoutError) as e:
                raise AssertionError(f"no answer: {e!r}\n{self.log.read_text()[-3000:]}") from e

    def submit(self, verb: str, *targets: str, **params: Any) -> str:
        """Begin an action at once; its id. A command takes its time to start, and what is to be met half done by the
        next one may be over by then."""
        return str(self.ask(lambda session: session.submit(Intent(verb=verb, targets=targets, params=params))).id)

    def instances(self) -> dict[str, dict[str, Any]]:
        return {i["id"]: i for i in self.status()["instances"]}

    def pids(self) -> dict[str, int]:
        return {k: int(i["pid"]) for k, i in self.instances().items() if i["pid"]}

    def up(self) -> bool:
        """Every host is. A controller that has just begun may know of none."""
        hosts = self.status()["hosts"]
        return bool(hosts) and all(h["presence"] == "up" for h in hosts)

    def calm(self) -> bool:
        """Every host up, every instance as it should be."""
        s = self.status()
        return (
            bool(s["hosts"]) and not s["drift"] and all(h["presence"] == "up" for h in s["hosts"])
            and not any(a["state"] == "running" for a in s["actions"])
            and all(i["state"] == i["desired"] for i in s["instances"])
        )

    def wait(self, condition: Callable[[], Any], timeout: float = PATIENCE, what: str = "") -> Any:
        self._waits += 1
        try:
            return wait_for(condition, timeout, what, pause=LOOK)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.cli('status', code=None)}\n{self.log.read_text()[-3000:]}") from None
        finally:
            self._waits -= 1

    def wait_calm(self, timeout: float = 60) -> None:
        """At several looks one after another: of what the test did just now, the first may tell nothing yet."""
        looks = 0

        def calm() -> bool:
            nonlocal looks
            looks = looks + 1 if self.calm() else 0
            return looks > CALM

        self.wait(calm, timeout, "everything is as expected")

    def crashes(self) -> dict[str, str]:
        """What controller, agents and keepers did not expect: log file -> its end."""
        logs = [self.log, self.state / "controller.log"]
        for name in ("agent.out", "keeper.out", "logs/agent.log"):
            logs += self.hosts.glob(f"*/{name}")
        texts = {str(p): p.read_text(errors="replace") for p in logs if p.exists()}
        return {p: t[-3000:] for p, t in texts.items() if "Traceback" in t or "never retrieved" in t}

    def wait_gone(self, timeout: float = PATIENCE) -> None:
        """No process of this cluster is left."""
        gone = "every process of the cluster is gone"
        wait_for(lambda: not leftovers.find("-", [self.root]), timeout, gone, pause=DEAR)

    def host(self, name: str) -> Path:
        return self.hosts / name

    def presence(self, name: str) -> dict[str, Any]:
        """The host's row of `status`."""
        row: dict[str, Any] = next(h for h in self.status()["hosts"] if h["name"] == name)
        return row

    def action(self, id: str) -> dict[str, Any]:
        """The action's row of `status`."""
        row: dict[str, Any] = next(a for a in self.status()["actions"] if a["id"] == id)
        return row

    def newest(self, verb: str) -> str:
        """Id of the last action with this verb."""
        return str([a for a in self.status()["actions"] if a["verb"] == verb][-1]["id"])


def end_host(directory: Path) -> None:
    """Ask the keeper of a host directory to end everything and go; wait until it is gone."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        try:
            s.connect(str(directory / "keeper.sock"))
        except OSError:
            return
        with contextlib.suppress(OSError):
            s.sendall(b'{"id":1,"op":"end"}\n')
            while s.recv(65536):
                pass


def end_relay(directory: Path) -> None:
    """Tell the relay that runs on this directory, if any, to end."""
    pid = lock_holder(directory)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill_host(directory: Path) -> None:
    """kill -9 of every process of one host: as if its power was cut."""
    mine = list(leftovers.find("-", [directory]))
    for pid in mine:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(alive(p) for p in mine))


_alone: list[bool] = []


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Demos have the addresses of the sample: two at once, of two workers, would choose each other's ports.
    A worker that has one may start another."""
    if _alone:
        yield
        return
    with (Path(tempfile.gettempdir()) / f"cockpit-demo-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _alone.append(True)
        try:
            yield
        finally:
            _alone.clear()


@contextlib.contextmanager
def cluster(topology: str | None, *, start: bool = True) -> Iterator[Cluster]:
    with alone() if topology is None else contextlib.nullcontext():
        with _cluster(topology, start=start) as c:
            yield c


@contextlib.contextmanager
def _cluster(topology: str | None, *, start: bool) -> Iterator[Cluster]:
    root = Path(tempfile.mkdtemp(prefix="ck-"))
    c = Cluster(root, topology)
    try:
        if start:
            c.start()
        yield c
        c.stop()
        assert not c.crashes(), c.crashes()
    finally:
        c.stop()
        shutil.rmtree(root, ignore_errors=True)


def processes(pattern: Sequence[str]) -> list[int]:
    """Pids whose command line holds all of these words."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if all(p in line for p in pattern):
                    found.append(int(entry.name))
    return found
