"""A network of namespaces on this machine: hosts on switches, links with a rate, cuts, losses and byte counters.

Needs root, `ip`, `tc`, and `iptables` for cuts. Nothing is made in the namespace of the caller but veth ends
that are moved away at once, and nothing in the lab has a way out. `close` ends what still runs inside and
removes everything.
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
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in ("ip", "tc", "iptables"))


@dataclass(frozen=True)
class Place:
    """A host of the lab."""

    name: str
    namespace: str
    switch: str
    address: str
    """On its first switch."""
    port: str
    """The switch's end of its cable."""


class Lab:
    """`prefix` keeps two labs on one machine apart."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix or f"ck{os.getpid() % 100000}"
        self.places: dict[str, Place] = {}
        self._namespaces: list[str] = []
        self._nets: dict[str, str] = {}
        """Of switches with a network of their own: the first three numbers."""
        self._cables = 0

    def switch(self, name: str, net: str = "") -> str:
        """`net`: the first three numbers of its own network; hosts on different ones reach each other only by name
        of a host that is on both. Without it: one flat network."""
        namespace = self._namespace(name)
        if net:
            self._nets[namespace] = net
        run("ip", "-n", namespace, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", namespace, "link", "set", "br0", "up")
        return namespace

    def host(self, name: str, switch: str, *, up: float = 0, down: float = 0) -> Place:
        """Rates in Mbit/s; 0 is unlimited."""
        namespace = self._namespace(name)
        address, port = self._cable(namespace, "eth0", switch)
        self._shape(namespace, "eth0", up)
        self._shape(switch, port, down)
        self.places[name] = Place(name, namespace, switch, address, port)
        return self.places[name]

    def plug(self, name: str, device: str, switch: str) -> str:
        """Another cable of a host; its address there. Nothing is forwarded between the two."""
        return self._cable(self.places[name].namespace, device, switch)[0]

    def _cable(self, namespace: str, device: str, switch: str) -> tuple[str, str]:
        """(address, the switch's end)."""
        self._cables += 1
        number = self._cables
        net = self._nets.get(switch, "")
        address = f"{net}.{number}/24" if net else f"{NET}.{number >> 8}.{number & 255}/16"
        port = f"p{number}"
        run("ip", "-n", namespace, "link", "add", device, "type", "veth", "peer", "name", port, "netns", switch)
        run("ip", "-n", namespace, "addr", "add", address, "dev", device)
        run("ip", "-n", namespace, "link", "set", device, "up")
        run("ip", "-n", switch, "link", "set", port, "master", "br0", "up")
        return address.partition("/")[0], port

    # faults, inside a host's namespace

    def cut(self, name: str, *, into: bool = True, out: bool = True, peer: str = "") -> None:
        """Packets vanish without a word, in one or both directions; of one other address, or all but loopback."""
        for chain, side, wanted in (("INPUT", "-s", into), ("OUTPUT", "-d", out)):
            if wanted:
                what = [side, peer] if peer else ["!", "-i" if chain == "INPUT" else "-o", "lo"]
                self._tables(name, "-I", chain, *what, "-j", "DROP")

    def lose(self, name: str, part: float) -> None:
        """So many of the packets that come in are lost (0.1: every tenth)."""
        chance = ["-m", "statistic", "--mode", "random", "--probability", str(part)]
        self._tables(name, "-I", "INPUT", "!", "-i", "lo", *chance, "-j", "DROP")

    def reset(self, name: str, port: int) -> None:
        """Connections to this port of others are refused by the network, as a stern middlebox does."""
        refuse = ["-p", "tcp", "--dport", str(port), "-j", "REJECT", "--reject-with", "tcp-reset"]
        self._tables(name, "-I", "OUTPUT", *refuse)

    def mend(self, name: str) -> None:
        """Everything of the above is over."""
        self._tables(name, "-F")

    def slow(self, name: str, mbit: float) -> None:
        """Its first cable sends at most so much from now on; 0: as before it was slow."""
        namespace = self.places[name].namespace
        subprocess.run(["tc", "-n", namespace, "qdisc", "del", "dev", "eth0", "root"], stderr=subprocess.DEVNULL)
        self._shape(namespace, "eth0", mbit)

    def _tables(self, name: str, *rule: str) -> None:
        run("ip", "netns", "exec", self.places[name].namespace, "iptables", "-w", *rule)

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
