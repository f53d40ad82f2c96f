"""A network of namespaces on this machine: hosts on switches, links with a rate, and byte counters.

Needs root, `ip` and `tc`. Nothing is made in the namespace of the caller but veth ends that are moved away
at once, and nothing in the lab has a way out. `close` ends what still runs inside and removes everything.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass

NET = "198.18"
"""For benchmarks of networks (RFC 2544); only inside the namespaces."""
QUEUE = "100ms"
SEGMENT = 16384
"""A packet of 64 KiB would be dropped whole by a short queue, so that TCP stalls."""


def possible() -> bool:
    """May this process make namespaces, and has it the tools?"""
    return os.geteuid() == 0 and bool(shutil.which("ip") and shutil.which("tc"))


@dataclass(frozen=True)
class Place:
    """A host of the lab."""

    name: str
    namespace: str
    switch: str
    address: str
    port: str
    """The switch's end of its cable."""


class Lab:
    """`prefix` keeps two labs on one machine apart."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix or f"ck{os.getpid() % 100000}"
        self.places: dict[str, Place] = {}
        self._namespaces: list[str] = []

    def switch(self, name: str) -> str:
        namespace = self._namespace(name)
        run("ip", "-n", namespace, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", namespace, "link", "set", "br0", "up")
        return namespace

    def host(self, name: str, switch: str, *, up: float = 0, down: float = 0) -> Place:
        """Rates in Mbit/s; 0 is unlimited."""
        number = len(self.places) + 1
        namespace, address, port = self._namespace(name), f"{NET}.{number >> 8}.{number & 255}", f"p{number}"
        run("ip", "-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
        run("ip", "-n", namespace, "addr", "add", f"{address}/16", "dev", "eth0")
        run("ip", "-n", namespace, "link", "set", "eth0", "up")
        run("ip", "-n", switch, "link", "set", port, "master", "br0", "up")
        self._shape(namespace, "eth0", up)
        self._shape(switch, port, down)
        self.places[name] = Place(name, namespace, switch, address, port)
        return self.places[name]

    def wan(self, a: str, b: str, mbit: float) -> None:
        """Join two switches by a link of this rate in both directions."""
        run("ip", "-n", a, "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", b)
        for switch in (a, b):
            run("ip", "-n", switch, "link", "set", "wan", "master", "br0", "up")
            self._shape(switch, "wan", mbit)

    def sent(self, namespace: str, device: str) -> int:
        """Bytes that left by a device so far, Ethernet headers included."""
        found = subprocess.run(
            ["ip", "-n", namespace, "-s", "-j", "link", "show", "dev", device],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return int(json.loads(found.stdout)[0]["stats64"]["tx"]["bytes"])

    def argv(self, name: str, *argv: str) -> list[str]:
        """The command that runs `argv` on a host; it becomes the process, so its pid is its own."""
        return ["ip", "netns", "exec", self.places[name].namespace, *argv]

    def close(self) -> None:
        for namespace in self._namespaces:
            found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
            for pid in found.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        for namespace in self._namespaces:
            subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL)
        self._namespaces.clear()

    def _namespace(self, name: str) -> str:
        namespace = self.prefix + name
        run("ip", "netns", "add", namespace)
        self._namespaces.append(namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        return namespace

    def _shape(self, namespace: str, device: str, mbit: float) -> None:
        size = str(SEGMENT)
        run("ip", "-n", namespace, "link", "set", device, "gso_max_size", size, "gso_max_segs", "16",
            "gro_max_size", size)  # fmt: skip
        if mbit:
            run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{mbit}mbit",
                "burst", "32kb", "latency", QUEUE)  # fmt: skip


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
