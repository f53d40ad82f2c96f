"""Port forwards through a real controller, real agents and a relay, to real servers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.plan.steps import Refused
from cockpit.session.client import RemoteSession
from tests.e2e.cluster import COCKPIT, Cluster, cluster
from tests.e2e.forward_server import pieces
from tests.e2e.test_shell_ways import behind
from tests.helpers import loopback, wait_for

SERVER = Path(__file__).with_name("forward_server.py")
TOPOLOGY = """
cockpit: 1
name: ways
regions: {{near: , out: }}
relays:
  relay-1: {{region: near, address: {relay}, connection: local, link_port: 0}}
hosts:
  n-1: {{region: near, address: {near}, connection: local}}
  o-1: {{region: out, address: {out}, connection: local}}
  p-1: {{region: out, address: {guarded}, connection: local}}
  q-1: {{region: out, address: {gone}}}
tree:
  app:
    command: [{python}, -I, {server}, "{{address}}", "{{port}}", "0"]
    version: "1"
    ports: [main]
    instances: {{hosts: [n-1, o-1, p-1]}}
  two:
    command: [{python}, -I, {server}, "{{address}}", "{{port.main}}", "{{port.page}}"]
    version: "1"
    ports: [main, page]
    instances: 1
  hidden:
    command: [{python}, -I, {server}, "{{address}}", "{hidden}", "0"]
    version: "1"
    instances: {{hosts: [o-1]}}
  deaf:
    command: [sleep, "100000"]
    version: "1"
    ports: [main]
    instances: {{hosts: [o-1]}}
  away:
    command: [sleep, "100000"]
    version: "1"
    ports: [main]
    instances: {{hosts: [q-1]}}
guards:
  - {{name: typed, verbs: [forward], hosts: [host=p-1], effect: confirm, reason: mind the ledger}}
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


HIDDEN = free_port()


@pytest.fixture(scope="module")
def ways() -> Iterator[Cluster]:
    text = TOPOLOGY.format(
        relay=loopback(), near=loopback(), out=loopback(), guarded=loopback(), gone=loopback(),
        python=sys.executable, server=SERVER, hidden=HIDDEN,
    )  # fmt: skip
    with cluster(text) as c:
        c.wait(lambda: all(
            c.instances()[i]["state"] == "RUNNING" for i in ("app/0", "app/1", "app/2", "two/0", "hidden/0", "deaf/0")
        ), 60, "everything runs")  # fmt: skip
        behind(c)
        yield c


class Running:
    """A `cockpit forward` that takes connections."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.wrong: list[str] = []
        self.readers = [
            threading.Thread(target=self._read, args=(process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(process.stderr, self.wrong)),
        ]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))

    def port(self, number: int = 0) -> int:
        wait_for(lambda: len(self.lines) > number or self.process.poll() is not None, 30)
        assert len(self.lines) > number, self.wrong
        found = re.match(r"127\.0\.0\.1:(\d+) -> ", self.lines[number])
        assert found is not None, self.lines
        return int(found[1])

    def connect(self, number: int = 0, first: bytes = b"") -> socket.socket:
        s = socket.create_connection(("127.0.0.1", self.port(number)), 30)
        s.settimeout(30)
        s.sendall(first)
        return s

    def end(self, with_signal: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(30)


@contextlib.contextmanager
def forward(c: Cluster, *words: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [*COCKPIT, "forward", "--state", str(c.state), *words], cwd=c.root, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    running = Running(process)
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        for reader in running.readers:
            reader.join()


def everything(s: socket.socket) -> bytes:
    out = bytearray()
    while data := s.recv(65536):
        out += data
    return bytes(out)


def notes(c: Cluster, kind: str) -> list[dict[str, Any]]:
    return [e["body"] for e in json.loads(c.cli("log", "--json")) if e["kind"] == kind]


@pytest.mark.parametrize("instance", ["app/0", "app/1"], ids=["through a relay", "direct"])
def test_many_at_once_and_half_closed(ways: Cluster, instance: str) -> None:
    with forward(ways, instance) as f:
        socks = [f.connect(first=b"e") for _ in range(100)]
        for n, s in enumerate(socks):
            s.sendall(b"%d;" % n * 100)
        for s in socks:
            s.shutdown(socket.SHUT_WR)
        for n, s in enumerate(socks):
            said = b"%d;" % n * 100
            assert everything(s) == said + b"end %d" % len(said)
            s.close()
        with f.connect(first=b"h") as s:  # the other side has said all, and still listens
            assert everything(s) == b"bye"
            s.sendall(b"x" * 100_000)
        assert f.end() == 0 and "101 connections" in f.lines[-1]
    ways.wait(lambda: notes(ways, "forward-end"), 10)
    begun, end = notes(ways, "forward")[-1], notes(ways, "forward-end")[-1]
    assert (begun["instance"], begun["id"], begun["author"]) == (instance, end["id"], end["author"])
    sent = sum(len(b"%d;" % n * 100) for n in range(100))
    assert end["connections"] == 101 and end["received"] == sent + 3 + sum(
        len(b"end %d" % len(b"%d;" % n * 100)) for n in range(100)
    )
    assert "101 connections" in ways.cli("log")


@pytest.mark.parametrize("instance", ["app/0", "app/1"], ids=["through a relay", "direct"])
def test_much_both_ways_arrives_as_it_was(ways: Cluster, instance: str) -> None:
    size = 24 * 1024 * 1024
    whole = b"".join(pieces(size))
    wanted = hashlib.sha256(whole).hexdigest()
    with forward(ways, instance, "0:main") as f:
        with f.connect(first=b"s%010d" % size) as s, f.connect(first=b"d") as up:
            sender = threading.Thread(target=lambda: (up.sendall(whole), up.shutdown(socket.SHUT_WR)))
            sender.start()
            assert hashlib.sha256(everything(s)).hexdigest() == wanted
            sender.join()
            assert everything(up).decode() == wanted
        assert f.end(signal.SIGTERM) == 0


def rss(pid: int) -> int:
    """KiB, the most it ever was."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def test_who_does_not_read_makes_the_far_side_wait(ways: Cluster) -> None:
    assert ways.process is not None
    with forward(ways, "app/1") as f:
        with f.connect(first=b"e") as s:  # warm
            s.sendall(b"x" * 1_000_000)
            s.shutdown(socket.SHUT_WR)
            everything(s)
        before = {pid: rss(pid) for pid in (f.process.pid, ways.process.pid)}
        slow = f.connect(first=b"s%010d" % (200 * 1024 * 1024))
        stuck = f.connect(first=b"n")
        stuck.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(100):
                stuck.send(b"y" * 1_000_000)
        with f.connect(first=b"e") as s:  # others go on
            s.sendall(b"hello")
            s.shutdown(socket.SHUT_WR)
            assert everything(s) == b"helloend 5"
        for pid, kib in before.items():
            assert rss(pid) - kib < 24 * 1024
        assert slow.recv(10) == pieces(10)[0]
        slow.close()
        stuck.close()


def test_a_port_that_is_closed_or_breaks_off(ways: Cluster) -> None:
    with forward(ways, "deaf/0") as f:
        for _ in range(3):
            with f.connect() as s, contextlib.suppress(ConnectionResetError):
                assert everything(s) == b""
        wait_for(lambda: f.wrong)
        assert f.end() == 0
        assert len(f.wrong) == 1 and "deaf/0 on o-1 takes no connection" in f.wrong[0]
        assert "Connection refused" in f.wrong[0]
    with forward(ways, "app/1") as f:
        with f.connect(first=b"x") as s, pytest.raises(ConnectionResetError):
            everything(s)
            raise AssertionError("it ended as if all had been said")
        assert f.end() == 0


def test_ports_by_name_and_number_and_one_that_is_only_listened_on(ways: Cluster) -> None:
    number = ways.instances()["two/0"]["ports"]["page"]
    for wanted in ("page", str(number)):
        with forward(ways, "two/0", f"0:{wanted}", "main") as f:
            page = urllib.request.urlopen(f"http://127.0.0.1:{f.port()}/x", timeout=30).read()
            assert page == b"page /x"
            with f.connect(1, first=b"h") as s:
                assert everything(s) == b"bye"
            assert f.end() == 0
    with forward(ways, "hidden/0", f"0:{HIDDEN}") as f, f.connect(first=b"h") as s:
        assert everything(s) == b"bye"


def test_the_same_port_here_when_it_is_free(ways: Cluster) -> None:
    number = int(ways.instances()["app/1"]["ports"]["main"])
    with forward(ways, "app/1") as one, forward(ways, "app/1", "main") as two:
        assert sorted([one.port(), two.port()])[0] and number in (one.port(), two.port())
        assert one.port() != two.port()
        listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=False).stdout
        mine = [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(f":{two.port()}")]
        assert not [place for place in mine if place.startswith(("0.0.0.0", "*", "[::]"))], mine
        done = ways.run("forward", "app/1", f"{one.port()}:main")
        assert done.returncode == 2 and "cannot be listened on" in done.stderr


@pytest.mark.parametrize(("words", "code", "says"), [
    (("app/9",), 2, "did you mean app/"),
    (("two/0",), 2, "say which port; it has main "),
    (("two/0", "nosuch"), 2, "nosuch is no port of two/0; it has main "),
    (("two/0", "22"), 2, "22 is no port of two/0"),
    (("two/0", "99999"), 2, "from 1 to 65535"),
    (("two/0", "x:main"), 2, "[LOCAL:]PORT"),
    (("away/0",), 4, "no answer from q-1"),
    (("app/2",), 3, "add --confirm app/2"),
])  # fmt: skip
def test_what_cannot_be_forwarded(ways: Cluster, words: tuple[str, ...], code: int, says: str) -> None:
    done = ways.run("forward", *words)
    assert done.returncode == code and says in done.stderr, done


def test_a_guard_that_asks_for_the_name(ways: Cluster) -> None:
    with forward(ways, "--confirm", "app/2", "app/2") as f:
        with f.connect(first=b"h") as s:
            assert everything(s) == b"bye"
        assert f.end() == 0
    ways.wait(lambda: notes(ways, "forward")[-1].get("guard") == "typed", 10)


async def test_it_is_its_sessions_and_read_only_has_none(ways: Cluster) -> None:
    one, other = RemoteSession(ways.state / "control.sock"), RemoteSession(ways.state / "control.sock")
    looker = RemoteSession(ways.state / "view.sock")
    for session in (one, other, looker):
        await session.connect()
    try:
        with pytest.raises(Refused, match="view-only"):
            await anext(looker.stream("forward", {"instance": "app/0"}))
        with pytest.raises(Refused, match="view-only"):
            await looker.call("forward_tell", {"forward": "x", "ev": []})
        items = one.stream("forward", {"instance": "app/1"})
        id = (await anext(items))["forward"]
        await anext(items)
        with pytest.raises(Refused, match="another session"):
            await other.call("forward_tell", {"forward": id, "ev": [[1, "open"]]})
    finally:
        for session in (one, other, looker):
            await session.close()


@pytest.mark.parametrize("who", ["agent", "controller"])
def test_a_lost_way_is_said_and_new_connections_are_taken_after_it(ways: Cluster, who: str) -> None:
    with forward(ways, "app/1") as f:
        s = f.connect(first=b"e")
        s.sendall(b"one")
        assert s.recv(3) == b"one"
        if who == "agent":
            os.kill(ways.presence("o-1")["agent_pid"], signal.SIGKILL)
        else:
            ways.kill()
        with contextlib.suppress(ConnectionResetError):
            assert everything(s) == b""
        s.close()
        wait_for(lambda: any("connections are taken when it is back" in line for line in f.wrong), 30)
        if who == "controller":
            ways.start(from_file=False)
        wait_for(lambda: any("leads to app/1 on o-1 again" in line for line in f.wrong), 60)
        with f.connect(first=b"h") as s:
            assert everything(s) == b"bye"
        assert f.end() == 0


def test_an_instance_that_moves_or_goes(ways: Cluster) -> None:
    with forward(ways, "two/0", "main") as f:
        ways.cli("restart", "two/0")
        with f.connect(first=b"h") as s:
            assert everything(s) == b"bye"
        other = "n-1" if ways.instances()["two/0"]["host"] != "n-1" else "o-1"
        ways.cli("migrate", "two/0", other, "--confirm", "two/0")
        wait_for(lambda: any(f"two/0 is on {other} now" in line for line in f.wrong), 30)
        with f.connect(first=b"h") as s:
            assert everything(s) == b"bye"
        ways.cli("scale", "two", "0", "--confirm", "two")
        wait_for(lambda: f.process.poll() is not None, 30)
        assert f.process.returncode == 4 and "not expected any more" in f.wrong[-1]
