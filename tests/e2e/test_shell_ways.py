"""Shells by every way: through a relay, on a host without an agent, over an upgrade, and when the way is cut."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.controller.relays import lock_holder
from tests.backends.ssh.world import SSHD, at_home
from tests.e2e.cluster import Cluster, cluster
from tests.e2e.terminal import Terminal, terminal
from tests.e2e.test_upgrade import add_release
from tests.helpers import alive, loopback, wait_for

pytestmark = [
    pytest.mark.skipif(not Path(SSHD).exists() or os.geteuid() != 0, reason="sshd is needed, as root"),
    pytest.mark.timeout(180),
]
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
  z-1: {{region: out, address: {ssh}, connection: ssh, ssh: {{user: root}}}}
tree:
  app:
    command: [sleep, "100000"]
    version: "1"
    instances: {{hosts: [n-1]}}
guards:
  - {{name: typed, verbs: [shell], targets: [p-1], effect: confirm, reason: mind the ledger}}
"""
FULL = r"""
import os, signal, sys, termios, tty
def draw(*_):
    size = os.get_terminal_size(1)
    out = f"\x1b[2J\x1b[H{size.lines}x{size.columns} full \x1b[{size.lines};{size.columns - 3}Hend."
    os.write(1, out.encode())
before = termios.tcgetattr(0)
tty.setraw(0)
signal.signal(signal.SIGWINCH, draw)
os.write(1, b"\x1b[?1049h")
draw()
while (key := os.read(0, 1)) != b"q":
    os.write(1, b"\x1b[2;1Hkey " + key + b".")
os.write(1, b"\x1b[?1049l")
termios.tcsetattr(0, termios.TCSADRAIN, before)
"""
NEW = "99.2.0"
PROMPT = "PS1=re''ady:\r"
"""What is typed is shown as well: only the prompt itself has these letters in a row."""


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with at_home(tmp_path_factory.mktemp("home")) as server:
        at = {name: loopback() for name in ("relay", "near", "out", "guarded")}
        with cluster(TOPOLOGY.format(**at, ssh=server.address)) as c:
            c.wait_calm()
            behind(c)
            yield c


def behind(c: Cluster) -> None:
    """n-1 comes by its relay. One that was there before the relay learns of it first, and then has to choose anew."""
    c.wait(lambda: c.presence("n-1")["agent_pid"] and c.presence("n-1")["presence"] == "up", 30, "n-1 is there")
    for _ in range(4):
        row = c.presence("n-1")
        if len(row["path"]) == 1:
            return
        (c.host("n-1") / "link.json").unlink(missing_ok=True)
        os.kill(row["agent_pid"], signal.SIGKILL)
        c.wait(lambda: c.presence("n-1")["agent_pid"] not in (None, row["agent_pid"]), 30, "it is back")  # noqa: B023
        c.wait(lambda: c.presence("n-1")["presence"] == "up", 30, "it is up")
    raise AssertionError(f"n-1 does not come by its relay: {c.presence('n-1')}")


def resize(t: Terminal, rows: int, cols: int) -> None:
    fcntl.ioctl(t.master, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))


def shell(c: Cluster, *words: str) -> Any:
    return terminal("shell", "--state", str(c.state), *words, cwd=c.root)


def notes(c: Cluster, kind: str) -> list[dict[str, Any]]:
    return [e["body"] for e in json.loads(c.cli("log", "--json")) if e["kind"] == kind]


def cooked(t: Terminal) -> bool:
    return bool(termios.tcgetattr(t.master)[3] & termios.ICANON)


def test_a_shell_through_a_relay(ways: Cluster) -> None:
    with shell(ways, "app/0") as t:
        t.shows("app/0 on n-1 as ", "Enter ~ .")
        t.type("echo in=$COCKPIT_INSTANCE.; exit 6\r")
        t.shows("in=app/0.")
        assert t.wait() == 6 and cooked(t)


@pytest.mark.parametrize("host", ["n-1", "o-1", "z-1"])
def test_a_full_screen_program_and_the_size_of_the_window(ways: Cluster, host: str, tmp_path: Path) -> None:
    script = tmp_path / "full.py"
    script.write_text(FULL)
    with shell(ways, host, "--", sys.executable, "-I", str(script)) as t:
        t.shows("40x120 full", "end.")
        for rows, cols in ((50, 132), (24, 80)):
            t.forget()
            resize(t, rows, cols)
            t.shows(f"{rows}x{cols} full", "end.")
        t.forget()
        t.type("\x1b")
        t.shows("key ")
        t.type("q")
        assert t.wait() == 0 and cooked(t)


@pytest.mark.skipif(not shutil.which("vi") or not shutil.which("less"), reason="vi and less are needed")
def test_vi_and_less(ways: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("".join(f"line {n}\n" for n in range(500)))
    with shell(ways, "n-1") as t:
        t.shows("n-1 as ")
        t.type(PROMPT)
        t.shows("ready:")
        t.type(f"less {file}\r")
        t.shows("line 0", "line 30")
        t.type("G")
        t.shows("line 499", "(END)")
        t.forget()
        t.type("q")
        t.shows("ready:")
        t.type(f"vi {file}\r")
        t.shows("line 17")
        t.forget()
        t.type("ifirst words \x1b:wq\r")
        t.shows("ready:")
        assert file.read_text().startswith("first words line 0\n")
        t.type("exit\r")
        assert t.wait() == 0 and cooked(t)


def test_a_host_without_an_agent(ways: Cluster) -> None:
    ways.wait(lambda: ways.presence("z-1")["presence"] == "up", 60, "z-1 is looked at")
    with shell(ways, "z-1") as t:
        t.shows("z-1 as root", "Enter ~ .")
        t.type("echo by=${SSH_CONNECTION:+ssh}.; stty size\r")
        t.shows("by=ssh.", "40 120")
        t.type(PROMPT)
        t.shows("ready:")
        t.type("echo be''gun; sleep 1000\r")
        t.shows("begun")
        t.forget()
        t.type("\x03")
        t.shows("ready:")
        t.type("echo status=$?.; exit 9\r")
        t.shows("status=130.")
        assert t.wait() == 9 and cooked(t)
    end = notes(ways, "shell-end")[-1]
    assert (end["host"], end["code"], end["why"]) == ("z-1", 9, "")
    with shell(ways, "z-1", "--", "cat") as t:
        t.type("\r~.")
        t.shows("what ran in it was ended")
        assert t.wait() == 4


def open_from_screen(t: Terminal, c: Cluster, host: str) -> int:
    """`S` on this host; the pid of the shell there."""
    t.shows("app")
    t.type(f":hosts {host}\r")
    t.shows("PRESENCE", host)
    t.type("S")
    t.shows(f"{host} as ", "Enter ~ .")
    t.type("echo pid=$$.\r")
    wait_for(lambda: re.search(r"pid=\d+\.", t.text), 20)
    found = re.search(r"pid=(\d+)\.", t.text)
    assert found is not None
    t.forget()
    return int(found[1])


def test_a_guard_asks_for_the_name_first(ways: Cluster, tmp_path: Path) -> None:
    with shell(ways, "p-1") as t:
        t.shows("opens a shell", "mind the ledger", "Type p-1 to run it")
        t.type("p-1\r")
        t.shows("p-1 as ", "Enter ~ .")
        t.type("exit 5\r")
        assert t.wait() == 5 and cooked(t)
    with shell(ways, "p-1") as t:
        t.shows("Type p-1 to run it")
        t.type("\r")
        t.shows("mind the ledger", "--confirm p-1")
        assert t.wait() == 3
    with terminal("attach", "--state", str(ways.state), cwd=ways.root, XDG_STATE_HOME=str(tmp_path)) as t:
        t.shows("app")
        t.type(":hosts p-1\r")
        t.shows("PRESENCE", "p-1")
        t.type("S")
        t.shows("p-1 to go on:", "opens a shell", "typed name")
        t.forget()
        t.type("p-1\r")
        t.shows("p-1 as ", "Enter ~ .")
        t.type("echo in=$((6*7)).; exit 3\r")
        t.shows("in=42.", "ended with exit code 3", "PRESENCE")
        t.type("\x11")
        assert t.wait() == 0 and cooked(t)
    ways.wait(lambda: notes(ways, "shell")[-1].get("guard") == "typed", 10)


def test_its_agent_is_replaced_under_it(ways: Cluster, tmp_path: Path) -> None:
    add_release(ways, NEW)
    with terminal("attach", "--state", str(ways.state), cwd=ways.root, XDG_STATE_HOME=str(tmp_path)) as t:
        pid = open_from_screen(t, ways, "o-1")
        ways.cli("agent", "upgrade", NEW, "o-1")
        t.shows("the agent of o-1 was replaced, open it again")
        assert not alive(pid)
        t.forget()
        t.type("S")  # the screen has its terminal again, and the new agent opens one
        t.shows("o-1 as ", "Enter ~ .")
        t.forget()
        t.type("exit\r")
        t.shows("ended")
        t.type("\x11")
        assert t.wait() == 0 and cooked(t)
    ways.wait(lambda: [e for e in notes(ways, "shell-end") if e["why"] == "replaced"], 10)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["silent", "closed"])
def test_the_way_is_cut(ways: Cluster, tmp_path: Path, how: signal.Signals) -> None:
    """The relay dies, or only falls silent: who sits before the screen is told, and has the terminal back; nothing is
    left on the host."""
    behind(ways)
    relay = next(p for p in ways.hosts.iterdir() if p.name == "relay-1")
    with terminal("attach", "--state", str(ways.state), cwd=ways.root, XDG_STATE_HOME=str(tmp_path)) as t:
        pid = open_from_screen(t, ways, "n-1")
        t.type("vi\r")
        t.shows("~")
        stopped = lock_holder(relay)
        os.kill(stopped, how)
        began = time.monotonic()
        t.shows("contact with n-1 was lost", timeout=60)
        print(f"said after {time.monotonic() - began:.1f} s")
        t.shows("PRESENCE")
        t.type("\x11")
        assert t.wait() == 0 and cooked(t)
    wait_for(lambda: not alive(pid), 60)
    if how == signal.SIGSTOP:
        os.kill(stopped, signal.SIGCONT)
    ways.wait(lambda: notes(ways, "shell-end")[-1]["why"] == "lost", 10)
