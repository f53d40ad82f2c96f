"""The cluster that faults happen to: controller, relay, four hosts, each in a namespace of its own.

    ctl, relay, h1 h2 (direct), h3 h4 (behind the relay), all on one switch: who reaches whom is the firewall's
    business, so that a host can be cut off from its controller while its services are still asked.

h2's agent and the controller have a clock that can be moved, h4's directory and the controller's state disks that can
be filled.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from cockpit.agent.keeper_client import KeeperClient
from cockpit.controller.relays import lock_holder
from cockpit.session.client import RemoteSession
from tests import leftovers
from tests.e2e.cluster import COCKPIT, Cluster, end_host, end_relay
from tests.faults import programs
from tests.helpers import alive, wait_for
from tests.netlab import Lab

PORT, LINK = 7700, 7411
HOSTS = ("h1", "h2", "h3", "h4")
BEHIND = ("h3", "h4")
RELAY = "relay-1"
CLOCKED, SMALL = "h2", "h4"
"""The host whose clock moves, the host whose disk is small."""
CARRIED = importlib.util.find_spec("cockpit.relay") is not None
FAKETIME = [Path(f"/usr/lib/{m}-linux-gnu/faketime/libfaketime.so.1") for m in ("x86_64", "aarch64")]
ROOT = Path(__file__).resolve().parent.parent.parent
ROOM = "160m"
"""An agent wants 64 MiB to stay free."""

TOPOLOGY = """
cockpit: 1
name: faults
regions: {near: {}, far: {}}
hosts:
@HOSTS@
@RELAYS@
tree:
  app:
    cluster: true
    children:
      web:
        artifact: app
        version: "1"
        command: [python3, -S, web.py]
        ports: [http]
        env: {TRUTH: "@ROOT@/truth", SEED: "@SEED@"}
        check: {http: /, interval: 100ms, timeout: 2s}
        instances: {count: 4}
        update: {order: start-first, healthy_for: 100ms, deadline: 25s, parallel: 2}
        stop: {drain: 5s, grace: 10s}
      crasher:
        artifact: app
        version: "1"
        command: [python3, -S, crasher.py]
        env: {TRUTH: "@ROOT@/truth", SEED: "@SEED@"}
        instances: {count: 4}
        restart: {mode: always, delay: 100ms, max_delay: 500ms, reset: 1s}
        update: {order: stop-first, healthy_for: 100ms, on_failure: continue}
        stop: {drain: 0s, grace: 10s}
      tick:
        artifact: app
        version: "1"
        command: [python3, -S, tick.py]
        env: {TRUTH: "@ROOT@/truth", SEED: "@SEED@"}
        instances: {hosts: [h1, h3]}
        restart: {mode: always, delay: 1s, max_delay: 2s}
        update: {order: stop-first, healthy_for: 100ms, on_failure: continue}
        stop: {drain: 0s, grace: 10s}
"""


class Field(Cluster):
    """The cluster, its networks, and every process in its namespace."""

    def __init__(self, root: Path, seed: int) -> None:
        self.lab = Lab()
        self.far: dict[str, subprocess.Popen[bytes]] = {}
        """What the runner started, by place (or by its key): as an init system would."""
        self.mounts: list[Path] = []
        try:
            net = self.lab.switch("net", "198.19.7")
            for name in ("ctl", RELAY, *HOSTS):
                self.lab.host(name, net)
            self.addresses = {n: p.address for n, p in self.lab.places.items()}
            super().__init__(root, self._topology(seed))
            self.truth = root / "truth"
            self.truth.touch(0o666)
            shim = Path(__file__).with_name("clock.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-o", str(root / "clock.so"), str(shim)], check=True)
            for name in ("ctl", CLOCKED):
                self.turn(name, 0)
            self.hosts.mkdir(mode=0o700)
            self._small(self.state, "0710")
            self._small(self.host(SMALL), "0700")
        except BaseException:
            self.close()
            raise

    def _topology(self, seed: int) -> str:
        hosts = "\n".join(
            f"  {h}: {{region: {'far' if h in BEHIND else 'near'}, address: {self.addresses[h]}}}" for h in HOSTS
        )
        link = f", link_port: {LINK}" if CARRIED else ""
        relays = f"relays:\n  {RELAY}: {{region: far, address: {self.addresses[RELAY]}, port: 7410{link}}}"
        return TOPOLOGY.replace("@HOSTS@", hosts).replace("@RELAYS@", relays).replace("@SEED@", str(seed))

    def _small(self, path: Path, mode: str) -> None:
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode={mode}", "faults", path], check=True)
        self.mounts.append(path)

    # life

    def start(self, *, from_file: bool = True) -> None:
        serve = ["serve", *([str(self.file)] if from_file else []), "--state", str(self.state)]
        serve += ["--listen", self.addresses["ctl"], "--port", str(PORT)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.lab.argv("ctl", *COCKPIT, *serve), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env=self._clocked("ctl"),
            )

    def begin(self) -> None:
        """Everything joins, the first version runs everywhere."""
        self.start()
        wait_for(self.answers, 60, f"controller answers; its log:\n{self.log.read_text()}")
        self.add_release("1")
        out = f"https://{self.addresses['ctl']}:{PORT}"
        self._join(RELAY, "relay", out)
        if CARRIED:
            self.wait(self.relay_up, 40, "the relay is up")
        way = f"https://{self.addresses[RELAY]}:{LINK}" if CARRIED else out
        for host in HOSTS:
            self._join(host, "agent", way if host in BEHIND else out)
        self.wait(lambda: self.present("up") == set(HOSTS), 60, "every host is up")
        self.cli("converge")

    def _join(self, name: str, kind: str, controller: str) -> None:
        token = json.loads(self.cli("agent", "token", name, "--json"))["token"]
        words = [kind, "--dir", str(self.host(name)), "--join", token, "--controller", controller]
        self.run_far(name, [*COCKPIT, *words])

    def again(self, name: str) -> None:
        """Start an agent or the relay, which has joined before."""
        self.run_far(name, [*COCKPIT, "relay" if name == RELAY else "agent", "--dir", str(self.host(name))])

    def run_far(self, place: str, argv: Sequence[str], *, key: str = "") -> subprocess.Popen[bytes]:
        """With a key it is a program of ours, whose clock is never moved."""
        with (self.root / f"{key or place}.log").open("ab") as log:
            process = self.far[key or place] = subprocess.Popen(
                self.lab.argv(place, *argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=ROOT if key else "/", start_new_session=True,
                env=dict(os.environ) if key else self._clocked(place),
            )  # fmt: skip
        return process

    def _clocked(self, place: str) -> dict[str, str]:
        if place not in ("ctl", CLOCKED):
            return dict(os.environ)
        library = next(p for p in FAKETIME if p.exists())
        return {
            **os.environ, "LD_PRELOAD": f"{self.root / 'clock.so'} {library}",
            "FAKETIME_TIMESTAMP_FILE": str(self.root / f"clock-{place}"),
            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def turn(self, place: str, seconds: float) -> None:
        """Its wall clock is so far off from now on."""
        path = self.root / f"clock-{place}"
        path.with_suffix(".new").write_text(f"{seconds:+g}\n")
        path.with_suffix(".new").rename(path)

    def add_release(self, version: str) -> None:
        tree = self.root / f"app-{version}"
        programs.write(tree)
        (tree / "ballast").write_bytes(os.urandom(300_000))
        self.cli("artifact", "add", str(tree), "--name", "app", "--version", version)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        for name in HOSTS:
            end_host(self.host(name))
        end_relay(self.host(RELAY))

    def close(self) -> None:
        self.lab.close()  # ends what still runs inside
        for process in self.far.values():
            process.wait(20)
        for path in reversed(self.mounts):
            subprocess.run(["umount", "-l", path], check=True)  # also while a reader of ours holds a file of it
        self.mounts.clear()

    # looking

    def present(self, presence: str) -> set[str]:
        return {h["name"] for h in self.status()["hosts"] if h["presence"] == presence}

    def pids(self, host: str) -> tuple[int, int]:  # type: ignore[override]
        """Keeper and agent of a host; 0: none."""
        try:
            with KeeperClient(self.host(host), 2) as keeper:
                hello = keeper.call("hello")
        except (OSError, TimeoutError):
            return 0, 0
        agent = int(hello.get("agent_pid") or 0)
        return int(hello["pid"]), agent if agent and alive(agent) else 0

    def helper(self, place: str, module: str) -> int:
        """Pid of the peer of a host, or of the origin (place `ctl`); 0: none."""
        directory = self.state if place == "ctl" else self.host(place)
        for pid, line in leftovers.find("-", [directory]).items():
            if module in line and "cockpit.swarm" in line:
                return pid
        return 0

    def relay_up(self) -> bool:
        async def look() -> bool:
            session = RemoteSession(self.state / "control.sock")
            try:
                return any(r.presence == "up" for r in (await session.snapshot()).relays.values())
            finally:
                await session.close()

        return asyncio.run(look())

    def relay_pid(self) -> int:
        return lock_holder(self.host(RELAY))


@contextlib.contextmanager
def field(root: Path, seed: int) -> Iterator[Field]:
    """Everything runs."""
    made = Field(root, seed)
    try:
        made.begin()
        yield made
        made.stop()
    finally:
        try:
            made.stop()
        finally:
            made.close()
            shutil.rmtree(root, ignore_errors=True)

