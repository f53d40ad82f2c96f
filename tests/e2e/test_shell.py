"""Shells through a real controller and real agents, from the command line and from the screen."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.plan.steps import Bad, Refused
from cockpit.session.client import RemoteSession
from tests.e2e.cluster import COCKPIT, Cluster, cluster
from tests.e2e.terminal import Terminal, terminal
from tests.helpers import alive, loopback, until, wait_for

TOPOLOGY = """cockpit: 1
name: box
regions: {{bj: , shut: {{shell: false}}}}
hosts:
  h-1: {{region: bj, address: {0}, connection: local}}
  h-2: {{region: bj, address: {1}, connection: local, shell: false}}
  h-3: {{region: shut, address: {2}}}
  h-4: {{region: bj, address: {3}}}
tree:
  app:
    command: [sleep, "100000"]
    version: "1"
    instances: {{hosts: [h-1]}}
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Cluster]:
    with cluster(TOPOLOGY.format(*(loopback() for _ in range(4)))) as c:
        c.wait(lambda: c.instances()["app/0"]["state"] == "RUNNING", 60, "app runs")
        yield c


def at_shell(c: Cluster, *words: str) -> contextlib.AbstractContextManager[Terminal]:
    return terminal("shell", "--state", str(c.state), *words, cwd=c.root)


def resize(t: Terminal, rows: int, cols: int) -> None:
    """As a terminal's window does: the kernel tells the program that has it."""
    fcntl.ioctl(t.master, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))


def notes(c: Cluster, kind: str) -> list[dict[str, Any]]:
    return [e["body"] for e in json.loads(c.cli("log", "--json")) if e["kind"] == kind]


def test_a_shell_from_the_command_line(box: Cluster) -> None:
    with at_shell(box, "h-1") as t:
        t.shows("h-1 as ", "The journal records", "Enter ~ .")
        resize(t, 33, 99)

        def asked() -> bool:
            t.forget()
            t.type("echo now $(stty size).\r")
            wait_for(lambda: re.search(r"now \d", t.text))
            return "now 33 99." in t.text

        wait_for(asked)  # the new size and the keys go different ways
        t.type("echo secret-$((6*7)); exit 7\r")
        t.shows("secret-42")
        assert t.wait() == 7
        assert termios.tcgetattr(t.master)[3] & termios.ICANON
    box.wait(lambda: notes(box, "shell-end"), 10)
    begun, end = notes(box, "shell")[-1], notes(box, "shell-end")[-1]
    assert (begun["host"], begun["instance"], begun["argv"]) == ("h-1", "", [])
    assert (end["code"], end["why"], end["id"]) == (7, "", begun["id"]) and end["user"] and end["author"]
    said = box.cli("log")
    assert "login shell  on h-1  by " in said and "exit 7 after " in said and "secret" not in said


def test_the_release_of_an_instance_and_pipes(box: Cluster) -> None:
    done = subprocess.run(
        [*COCKPIT, "shell", "app/0", "--state", str(box.state), "--", "sh", "-c",
         "cat; pwd; echo $COCKPIT_INSTANCE; echo no >&2; exit 5"],
        input=b"\x00\xff" * 200_000, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 5 and done.stderr == b"no\n"
    assert done.stdout == b"\x00\xff" * 200_000 + f"{box.host('h-1')}/instances/app_0\napp/0\n".encode()
    done = subprocess.run(
        [*COCKPIT, "shell", "h-1", "--state", str(box.state)], input=b"echo through a pipe; kill -9 $$\n",
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 128 + 9 and done.stdout == b"through a pipe\n" and b"SIGKILL" in done.stderr


def test_a_flood_ends_at_ctrl_c(box: Cluster) -> None:
    with at_shell(box, "h-1", "--", "sh", "-c", "yes; echo after; cat") as t:
        t.shows("y\ny\ny\n")
        t.type("\x03")
        assert t.wait() == 128 + signal.SIGINT


def test_leaving_a_program_that_does_not_answer(box: Cluster) -> None:
    script = f"trap '' HUP TERM INT; echo $$ > {box.root}/pid; echo ready; while :; do sleep 1; done"
    with at_shell(box, "h-1", "--", "sh", "-c", script) as t:
        t.shows("ready")
        pid = int((box.root / "pid").read_text())
        t.type("~?")
        t.shows("leave: everything that runs")
        t.type("\r~.")
        assert t.wait() == 4
        t.shows("what ran in it was ended")
    wait_for(lambda: not alive(pid))
    box.wait(lambda: notes(box, "shell-end")[-1]["why"] == "left", 10)


def test_a_command_that_is_told_to_end_gives_the_terminal_back(box: Cluster) -> None:
    with at_shell(box, "h-1") as t:
        t.shows("Enter ~ .")
        t.type("echo pid=$$.; stty -echo; echo $((6*7))\r")
        t.shows("42")
        pid = int(t.text.rpartition("pid=")[2].partition(".")[0])
        assert not termios.tcgetattr(t.master)[3] & termios.ICANON
        os.kill(t.pid, signal.SIGTERM)
        assert t.wait() == 128 + signal.SIGTERM
        assert termios.tcgetattr(t.master)[3] & termios.ICANON
    wait_for(lambda: not alive(pid))


@pytest.mark.parametrize(("words", "code", "says"), [
    (("h-2",), 3, "`shell: false` for the host"),
    (("h-3",), 3, "`shell: false` for region shut"),
    (("h-4",), 4, "no answer from h-4"),
    (("h-9",), 2, "did you mean h-"),
    (("h-1", "--", "/no/such/program"), 2, "ENOENT /no/such/program"),
])  # fmt: skip
def test_what_cannot_be_opened(box: Cluster, words: tuple[str, ...], code: int, says: str) -> None:
    done = box.run("shell", *words)
    assert done.returncode == code and says in done.stderr, done


async def test_a_shell_is_its_sessions_and_read_only_has_none(box: Cluster) -> None:
    one, other = RemoteSession(box.state / "control.sock"), RemoteSession(box.state / "control.sock")
    looker = RemoteSession(box.state / "view.sock")
    for session in (one, other, looker):
        await session.connect()
    try:
        for op in ("shell_type", "shell_end", "shell_resize", "shell_took"):
            with pytest.raises(Refused):
                await looker.call(op, {"shell": "x"})
        with pytest.raises(Refused):
            await anext(looker.stream("shell", {"host": "h-1"}))
        items = one.stream("shell", {"host": "h-1", "argv": ["sleep", "600"]})
        id = (await anext(items))["shell"]
        pid = (await anext(items))["begun"]["pid"]
        keys, size = {"data": "Cg=="}, {"rows": 1, "cols": 1}
        for op, args in (("shell_type", keys), ("shell_end", {}), ("shell_resize", size)):
            with pytest.raises(Refused, match="another session"):
                await other.call(op, {"shell": id, **args})
        with pytest.raises(Bad, match="over"):
            await one.call("shell_end", {"shell": "shell-of-nobody"})
        await one.close()  # the connection is gone: so is the shell
        await until(lambda: not alive(pid))
        many = []
        for _ in range(10):
            many.append(other.stream("shell", {"host": "h-1", "argv": ["sleep", "600"]}))
            await anext(many[-1])
        with pytest.raises(Refused, match="10 shells open already"):
            await anext(other.stream("shell", {"host": "h-1"}))
    finally:
        for session in (other, looker):
            await session.close()
    await asyncio.sleep(0)


def test_from_the_screen_and_back(box: Cluster, tmp_path: Path) -> None:
    with terminal("attach", "--state", str(box.state), cwd=box.root, XDG_STATE_HOME=str(tmp_path)) as t:
        there_and_back(t)


def test_from_a_screen_that_is_the_controller_too(tmp_path: Path) -> None:
    with cluster(TOPOLOGY.format(*(loopback() for _ in range(4))), start=False) as c:
        words = ("run", str(c.file), "--embed", "--state", str(c.state))
        with terminal(*words, cwd=c.root, XDG_STATE_HOME=str(tmp_path)) as t:
            t.shows("app", "running")
            there_and_back(t)


def there_and_back(t: Terminal) -> None:
    t.shows("app")
    t.type("h")
    t.shows("h-2", "h-4")
    t.type("\x1b[H")
    t.type("S")
    t.shows("h-1 as ", "Enter ~ .")
    t.type("stty size; echo in the $((1+1))nd shell\r")
    t.shows("40 120", "in the 2nd shell")
    t.forget()
    t.type("exit 3\r")
    t.shows("ended with exit code 3", "h-4")
    t.forget()
    t.type("j")
    t.type("S")
    t.shows("shell: false")
    t.type("\x11")
    assert t.wait() == 0


def test_a_window_that_is_closed_ends_its_shell(box: Cluster, tmp_path: Path) -> None:
    with terminal("attach", "--state", str(box.state), cwd=box.root, XDG_STATE_HOME=str(tmp_path)) as t:
        t.shows("app")
        t.type("h")
        t.shows("h-2", "h-4")
        t.type("\x1b[HS")
        t.shows("h-1 as ")
        t.type("stty -echo; echo pid=$$. $((6*7))\r")
        t.shows(". 42")
        pid = int(t.text.rpartition("pid=")[2].partition(".")[0])
        t.hang_up()
        t.wait()
    wait_for(lambda: not alive(pid))


def test_an_agent_that_dies_gives_the_terminal_back(box: Cluster, tmp_path: Path) -> None:
    with terminal("attach", "--state", str(box.state), cwd=box.root, XDG_STATE_HOME=str(tmp_path)) as t:
        t.shows("app")
        t.type("h")
        t.shows("h-2", "h-4")
        t.type("\x1b[HS")
        t.shows("h-1 as ")
        t.type("echo pid=$$.\r")
        t.shows("pid=$$.")
        wait_for(lambda: t.text.count("pid=") > 1)
        pid = int(t.text.rpartition("pid=")[2].partition(".")[0])
        t.forget()
        os.kill(box.presence("h-1")["agent_pid"], signal.SIGKILL)
        t.shows("contact with h-1 was lost")
        t.type("\x11")
        assert t.wait() == 0
    wait_for(lambda: not alive(pid))
    box.wait(lambda: notes(box, "shell-end")[-1]["why"] == "lost", 10)
    box.wait(lambda: box.presence("h-1")["presence"] == "up", 30)
