"""The screen and its terminal come and go; the controller and its actions stay."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests import leftovers
from tests.e2e.cluster import COCKPIT, Cluster, cluster
from tests.e2e.gate import TOPOLOGY, Gates
from tests.e2e.terminal import Terminal, terminal
from tests.helpers import DEAR, alive, loopback, wait_for


@pytest.fixture(scope="module")
def g() -> Iterator[Gates]:
    """Nothing runs yet; what `run` starts is ended."""
    with cluster(TOPOLOGY.format(one=loopback(), two=loopback(), deadline="60s"), start=False) as c:
        g = Gates(c)
        g.open("1")
        try:
            yield g
        finally:
            pid = controller(c)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not alive(pid))


def controller(c: Cluster) -> int:
    return int((c.state / "controller.lock").read_text())


def opened(c: Cluster, *words: str) -> Terminal:
    return terminal(*words, "--state", str(c.state), cwd=c.root)


def test_run_opens_the_screen_on_a_controller_with_a_session_of_its_own(g: Gates) -> None:
    c = g.c
    with opened(c, "run", str(c.file)) as t:
        t.shows("gates", "shop", "gate")
        pid = controller(c)
        assert pid != t.pid and os.getsid(pid) == pid != os.getsid(t.pid)
        c.wait_calm()
        t.type("\x11")  # ctrl+q
        assert t.wait() == 0
    assert alive(pid)
    assert c.calm()


def test_an_action_outlives_the_terminal_and_attach_finds_it(g: Gates) -> None:
    c = g.c
    pid = controller(c)
    with opened(c, "run", str(c.file)) as t:  # a second time: the one that runs is found
        t.shows("gate")
        id = g.hold("2", 1)
        t.shows(f"{id} deploy gate 2")
        t.hang_up()
        t.wait()
    assert controller(c) == pid and alive(pid)
    assert c.action(id)["state"] == "running"
    with opened(c, "attach") as t:
        t.shows(f"{id} deploy gate 2", "gate/1")
        g.open("2")
        c.wait(lambda: c.action(id)["state"] == "done")
        t.shows("healthy")
        t.type("\x03")  # ctrl+c leaves, too
        assert t.wait() == 0
    assert g.versions() == ["2", "2", "2"]


def test_attach_read_only_says_so(g: Gates) -> None:
    with opened(g.c, "attach", "--read-only") as t:
        t.shows("gate", "read-only")
        t.type("\x11")
        assert t.wait() == 0


def test_the_screen_sees_the_controller_go_and_come_back(g: Gates) -> None:
    c = g.c
    with opened(c, "attach") as t:
        t.shows("gate")
        pid = controller(c)
        t.forget()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid))
        t.shows("NO ANSWER")
        with opened(c, "run", str(c.file)) as other:
            other.shows("gate")
            other.type("\x11")
            assert other.wait() == 0
        assert controller(c) != pid
        t.forget()
        c.cli("restart", "other", "--no-wait")
        t.shows("restart other")
        t.type("\x11")
        assert t.wait() == 0


def test_a_terminal_that_cannot_draw_gets_text(g: Gates) -> None:
    c = g.c
    with terminal("run", str(c.file), "--state", str(c.state), cwd=c.root, TERM="dumb") as t:
        assert t.wait() == 0
        assert b"\x1b" not in bytes(t._raw)
        assert "SERVICE TREE" in t.text and "gate/0" in t.text
    done = subprocess.run(
        [*COCKPIT, "attach", "--state", str(c.state)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=30, check=False,
    )
    assert done.returncode == 0 and "gate/0" in done.stdout and "\x1b" not in done.stdout


@pytest.mark.parametrize("way", ["closed while it starts", "closed", "ctrl+c"])
def test_the_demo_ends_with_its_terminal(way: str, short_dir: object) -> None:
    with cluster(None, start=False) as c, terminal("demo", cwd=c.root, TMPDIR=str(c.root)) as t:
        t.shows("puzzle")
        if way != "closed while it starts":
            t.shows("running", timeout=60)
        wait_for(lambda: len(leftovers.find("-", [c.root])) > 6, what="agents and keepers run", pause=DEAR)
        if way == "ctrl+c":
            t.type("\x03")
            assert t.wait(40) == 0
        else:
            t.hang_up()
            t.wait(40)
        c.wait_gone()
        assert list(c.root.iterdir()) == []
