"""Faults, done and mended. Each says what it was and whose requests it excuses."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.facts import Kill, Window
from tests.faults.field import BEHIND, CARRIED, CLOCKED, LINK, PORT, RELAY, SMALL, Field
from tests.faults.schedule import Fault

SILENCE = 14.0
"""Seconds after the end of a cut until a host's names are surely those of now: it notices (8.5 s), it dials (4 s)."""
RESTART, BOOT = 8.0, 6.0
"""Seconds in which an agent that was killed is back and has all names; more, when it was killed with its keeper."""


class Injector:
    """`kills` and `windows` grow; `log` is the table of what happened."""

    def __init__(self, field: Field, service_pids: Callable[[str], list[tuple[int, str]]]) -> None:
        self.field = field
        self.service_pids = service_pids
        """The runner's: (pid, instance) of the web processes of a host."""
        self.kills: list[Kill] = []
        self.windows: list[Window] = []
        self.log: list[tuple[float, str, str, str]] = []
        """When, where, what, and at which moment."""
        self._open: list[tuple[Fault, float, Callable[[], None]]] = []

    def inject(self, fault: Fault, moment: str) -> None:
        now = time.time()
        where = {"kill-controller": "ctl", "kill-origin": "ctl", "disk-controller": "ctl", "clock-controller": "ctl",
                 "kill-relay": RELAY}.get(fault.kind, fault.host)  # fmt: skip
        what = getattr(self, "_" + fault.kind.replace("-", "_"))(fault) or fault.words()
        self.log.append((now, where, what, moment))

    def tick(self) -> None:
        """Mends what has lasted long enough."""
        for entry in list(self._open):
            if time.time() >= entry[1] + entry[0].seconds:
                self._mend(entry)

    def mend_all(self) -> None:
        for entry in list(self._open):
            self._mend(entry)

    def _lasting(self, fault: Fault, mend: Callable[[], None]) -> None:
        self._open.append((fault, time.time(), mend))

    def _mend(self, entry: tuple[Fault, float, Callable[[], None]]) -> None:
        self._open.remove(entry)
        fault, begin, mend = entry
        mend()
        if fault.kind in ("cut-in", "cut-out", "cut", "loss", "reset", "slow", "flap"):
            self.windows.append(Window(
                fault.kind, fault.host, begin, time.time() + SILENCE,
                f"{fault.host} was cut off from its controller by the runner: its clients have names of before",
            ))  # fmt: skip
        if fault.kind == "disk-host":
            self.windows.append(Window(
                fault.kind, fault.host, begin, time.time() + RESTART, f"the disk of {fault.host} was full"
            ))

    # kills

    def _kill(self, what: str, host: str, pid: int) -> str:
        if not pid:
            return f"kill -9 of the {what}: there was none"
        self.kills.append(Kill(what, host, pid, time.time()))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"kill -9 of the {what} (pid {pid})"

    def _without_agent(self, host: str, more: float = 0.0) -> None:
        now = time.time()
        self.windows.append(Window(
            "kill", host, now - 0.1, now + RESTART + more, f"the agent of {host} was killed: names as before"
        ))  # fmt: skip

    def _kill_agent(self, fault: Fault) -> str:
        self._without_agent(fault.host)
        return self._kill("agent", fault.host, self.field.pids(fault.host)[1])

    def _kill_keeper(self, fault: Fault) -> str:
        return self._kill("keeper", fault.host, self.field.pids(fault.host)[0])

    def _kill_both(self, fault: Fault) -> str:
        keeper, agent = self.field.pids(fault.host)
        self._without_agent(fault.host, BOOT)
        return self._kill("keeper", fault.host, keeper) + ", " + self._kill("agent", fault.host, agent)

    def _kill_relay(self, fault: Fault) -> str:
        return self._kill("relay", RELAY, self.field.relay_pid())

    def _kill_controller(self, fault: Fault) -> str:
        process = self.field.process
        assert process is not None
        text = self._kill("controller", "ctl", process.pid if process.poll() is None else 0)
        process.wait()
        return text

    def _kill_peer(self, fault: Fault) -> str:
        return self._kill("peer", fault.host, self.field.helper(fault.host, "peer"))

    def _kill_origin(self, fault: Fault) -> str:
        return self._kill("origin", "ctl", self.field.helper("ctl", "origin"))

    def _kill_service(self, fault: Fault) -> str:
        found = self.service_pids(fault.host)
        if not found:
            return f"kill -9 of a service on {fault.host}: there was none"
        pid, instance = found[0]
        now = time.time()
        self.windows.append(Window(
            "kill-service", fault.host, now - 10, now + 3, f"{instance} was killed by the runner", False, instance
        ))  # fmt: skip
        return self._kill("service", fault.host, pid) + f" {instance}"

    # the network: only between a host and those that carry its link, so that its services are still asked

    def _rules(self, fault: Fault, *rules: tuple[str, ...]) -> None:
        for rule in rules:
            self.field.lab._tables(fault.host, "-A", *rule)

        def mend() -> None:
            for rule in rules:
                self.field.lab._tables(fault.host, "-D", *rule)

        self._lasting(fault, mend)

    def _carriers(self) -> list[str]:
        return [self.field.addresses["ctl"], self.field.addresses[RELAY]]

    def _cut_in(self, fault: Fault) -> None:
        self._rules(fault, *(("INPUT", "-s", a, "-j", "DROP") for a in self._carriers()))

    def _cut_out(self, fault: Fault) -> None:
        self._rules(fault, *(("OUTPUT", "-d", a, "-j", "DROP") for a in self._carriers()))

    def _cut(self, fault: Fault) -> None:
        self._rules(fault, *(("INPUT", "-s", a, "-j", "DROP") for a in self._carriers()),
                    *(("OUTPUT", "-d", a, "-j", "DROP") for a in self._carriers()))  # fmt: skip

    def _loss(self, fault: Fault) -> None:
        chance = ("-m", "statistic", "--mode", "random", "--probability", str(fault.amount), "-j", "DROP")
        self._rules(fault, *(("INPUT", "-s", a, *chance) for a in self._carriers()))

    def _reset(self, fault: Fault) -> None:
        """A host behind the relay cannot reach it and has to go past it; a direct one has no other way."""
        port = LINK if CARRIED and fault.host in BEHIND else PORT
        refuse = ("-j", "REJECT", "--reject-with", "tcp-reset")
        self._rules(fault, ("OUTPUT", "-p", "tcp", "--dport", str(port), *refuse))

    def _flap(self, fault: Fault) -> None:
        """Its connections are torn again and again: whatever is not acknowledged is sent once more."""
        began = time.time()
        rule = ("OUTPUT", "-p", "tcp", "-m", "multiport", "--dports", f"{PORT},{LINK}", "-j", "REJECT",
                "--reject-with", "tcp-reset")  # fmt: skip
        for _ in range(4):
            self.field.lab._tables(fault.host, "-A", *rule)
            time.sleep(0.15)
            self.field.lab._tables(fault.host, "-D", *rule)
            time.sleep(0.4)
        self._open.append((fault, began, lambda: None))

    def _slow(self, fault: Fault) -> None:
        self.field.lab.slow(fault.host, fault.amount)
        self._lasting(fault, lambda: self.field.lab.slow(fault.host, 0))

    # disks and clocks

    def _full(self, fault: Fault, directory: Path) -> None:
        ballast = directory / "ballast"
        with ballast.open("wb", buffering=0) as f, contextlib.suppress(OSError):
            for size in (1 << 20, 1 << 14, 512, 1):
                with contextlib.suppress(OSError):
                    while f.write(b"\0" * size) == size:
                        pass
        self._lasting(fault, ballast.unlink)

    def _disk_host(self, fault: Fault) -> None:
        self._full(fault, self.field.host(SMALL))

    def _disk_controller(self, fault: Fault) -> None:
        self._full(fault, self.field.state)

    def _clock_host(self, fault: Fault) -> None:
        self.field.turn(CLOCKED, fault.amount)
        self._lasting(fault, lambda: self.field.turn(CLOCKED, 0))

    def _clock_controller(self, fault: Fault) -> None:
        self.field.turn("ctl", fault.amount)
        self._lasting(fault, lambda: self.field.turn("ctl", 0))

