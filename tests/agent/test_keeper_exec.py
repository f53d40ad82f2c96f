"""The keeper replaced in place: same pid, same children, and no exit is lost."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.agent.keeper_client import KeeperClient, KeeperError
from tests.agent.keeper_host import KEEPER, Doc, KeeperHost, of, put_start
from tests.helpers import alive, wait_for


@pytest.fixture
def host(short_dir: Path) -> Iterator[KeeperHost]:
    with KeeperHost(short_dir) as host:
        yield host


def another(tmp_path: Path, version: str = "9.9.9", **changes: str) -> list[str]:
    """A copy of the keeper as another version, with text appended to some of its modules; its argv."""
    root = tmp_path / f"release-{version}" / "cockpit"
    shutil.copytree(KEEPER, root / "agent" / "keeper", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "__init__.py").write_text(f'__version__ = "{version}"\n')
    for module, text in changes.items():
        with open(root / "agent" / "keeper" / f"{module}.py", "a") as f:
            f.write(text)
    return [sys.executable, "-I", "-S", str(root / "agent" / "keeper")]


def again(host: KeeperHost, release: str) -> KeeperClient:
    """A connection to the keeper once it is this version."""

    def answered() -> list[KeeperClient]:
        try:
            client = host.connect()
            return [client] if client.call("hello")["release"] == release else []
        except (ConnectionError, FileNotFoundError):
            return []

    return wait_for(answered)[0]


def exits(client: KeeperClient) -> list[Doc]:
    return [e for e in client.call("list")["events"] if e["event"] == "exit"]


def test_fifty_children_stay_and_exits_meanwhile_are_recorded_once(host: KeeperHost, tmp_path: Path) -> None:
    client = host.up()
    assert host.keeper is not None
    once: dict[str, Any] = {"restart": {"mode": "never"}}
    pids = {
        f"a.s/{n}:1": put_start(client, host.spec(f"a.s/{n}:1", "exec sleep 600", **once))["pid"] for n in range(50)
    }
    argv = another(tmp_path)
    client.send("exec", argv=argv)
    dying = [f"a.s/{n}:1" for n in range(25)]
    # some end while the other version is tried, some while nobody listens, some after it
    for unit in dying:
        os.kill(pids[unit], signal.SIGKILL)
    client = again(host, "9.9.9")
    assert client.call("hello")["pid"] == host.keeper.pid, "the keeper kept its pid"
    wait_for(lambda: len(exits(client)) == len(dying))
    assert sorted(e["unit"] for e in exits(client)) == sorted(dying)
    assert {e["exit"]["signal"] for e in exits(client)} == {9}, "how each ended is known"
    for unit, pid in pids.items():
        record = client.unit(unit)
        assert record["pids"] == ({} if unit in dying else {"main": pid})
        assert record["run"] == 1
    client.call("subscribe")
    last = "a.s/49:1"
    os.kill(pids[last], signal.SIGTERM)
    assert client.event(of("exit", last))["exit"]["signal"] == 15
    with open(f"/proc/{host.keeper.pid}/status") as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    assert rss <= 12 * 1024, f"{rss} KiB"


def test_restarts_go_on_with_their_count_and_exits_all_the_time(host: KeeperHost, tmp_path: Path) -> None:
    client = host.up()
    restart = {"mode": "always", "delay": 0.02, "max_delay": 0.02}
    put_start(client, host.spec("a.s/0:1", "exit 3", restart=restart))
    for n, version in enumerate(("2.0.0", "3.0.0", "4.0.0"), 1):
        client.send("exec", argv=another(tmp_path, version))
        client = again(host, version)
        run = client.unit("a.s/0:1")["run"]
        wait_for(lambda client=client, run=run: client.unit("a.s/0:1")["run"] > run + 3)  # type: ignore[misc]
        assert n < run
    client.call("stop", unit="a.s/0:1")
    events = client.call("list")["events"]
    ended = [e["run"] for e in events if e["event"] == "exit"]
    begun = [e["run"] for e in events if e["event"] == "start"]
    assert ended == sorted(set(ended)) and begun == sorted(set(begun))
    assert ended == list(range(1, len(ended) + 1)), "every run has one exit record"
    assert {e["exit"]["code"] for e in events if e["event"] == "exit"} <= {3, None}
    assert [e["exit"]["code"] for e in events if e["event"] == "exit" and not e["exit"]["reason"]].count(None) == 0


def test_a_stop_under_way_goes_on_and_its_patience_too(host: KeeperHost, tmp_path: Path) -> None:
    client = host.up()
    pid = put_start(client, host.spec("a.s/0:1", "trap '' TERM; echo up; while :; do sleep 1; done"))["pid"]
    wait_for(lambda: host.log("a.s/0:1", 1) == "up\n")
    client.send("stop", unit="a.s/0:1", grace=4)
    client.send("exec", argv=another(tmp_path))
    client = again(host, "9.9.9")
    assert client.unit("a.s/0:1")["wanted"] is False
    answer = client.call("stop", unit="a.s/0:1", grace=30)
    assert answer["exit"]["signal"] == 9 and answer["exit"]["reason"] == "stopped: killed after 4 s"
    assert not alive(pid)


def test_what_was_sent_to_notify_sockets_meanwhile_arrives(host: KeeperHost, tmp_path: Path) -> None:
    client = host.up()
    code = (
        "import os,socket,time\n"
        "while not os.path.exists('go'): time.sleep(.002)\n"
        "s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n"
        "s.sendto(b'READY=1\\nSTATUS=fine','\\0'+os.environ['NOTIFY_SOCKET'][1:]); time.sleep(600)"
    )
    put_start(client, host.spec("a.s/0:1", sys.executable, "-c", code, notify=True))
    client.send("exec", argv=another(tmp_path))
    (host.dir / "go").touch()
    client = again(host, "9.9.9")
    wait_for(lambda: client.unit("a.s/0:1")["ready"])
    assert client.unit("a.s/0:1")["status"] == "fine" and client.unit("a.s/0:1")["state"] == 512


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"service": "\nimport no_such_module_here\n"}, "no_such_module_here"),
        ({"service": "\nthis is no python\n"}, "SyntaxError"),
        ({"handover": "\nFORMAT = 77\n"}, "format 1 is not understood"),
    ],
)
def test_a_version_that_does_not_start_is_refused_and_nothing_changes(
    host: KeeperHost, tmp_path: Path, changes: dict[str, str], why: str
) -> None:
    client = host.up()
    pid = put_start(client, host.spec("a.s/0:1", "exec sleep 600"))["pid"]
    release = client.call("hello")["release"]
    with pytest.raises(KeeperError, match=why):
        client.call("exec", argv=another(tmp_path, **changes))
    hello = client.call("hello")
    assert hello["release"] == release and client.unit("a.s/0:1")["pids"] == {"main": pid}
    with pytest.raises(KeeperError, match="ENOENT"):
        client.call("exec", argv=["/no/such/program"])


def test_a_version_that_fails_after_its_check_gives_back(host: KeeperHost, tmp_path: Path) -> None:
    client = host.up()
    pid = put_start(client, host.spec("a.s/0:1", "exec sleep 600", restart={"mode": "never"}))["pid"]
    release = client.call("hello")["release"]
    broken = "\ndef _broken(*a):\n    raise RuntimeError('cannot adopt')\ninherited = _broken\n"
    client.call("exec", argv=another(tmp_path, adopt=broken))

    def back() -> bool:
        try:
            return bool(host.connect().call("hello")["release"] == release)
        except (ConnectionError, FileNotFoundError):
            return False

    wait_for(back)
    client = host.connect()
    assert client.unit("a.s/0:1")["pids"] == {"main": pid}
    client.call("subscribe")
    os.kill(pid, signal.SIGKILL)
    assert client.event(of("exit"))["exit"]["signal"] == 9, "it is still our child"


def test_the_agent_that_is_kept_stays_and_is_still_restarted(host: KeeperHost, tmp_path: Path) -> None:
    client = host.up()
    first = client.call("agent", argv=["/bin/sleep", "600"])["agent_pid"]
    client.send("exec", argv=another(tmp_path))
    client = again(host, "9.9.9")
    assert client.call("hello")["agent_pid"] == first
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: client.call("hello")["agent_pid"] not in (first, None))
    client.call("end")


def test_an_agent_on_trial_that_ends_brings_the_one_before_back(host: KeeperHost) -> None:
    client = host.up()
    old = client.call("agent", argv=["/bin/sleep", "600"])["agent_pid"]
    new = os.posix_spawn("/bin/sleep", ["/bin/sleep", "500"], {})
    try:
        client.call("agent", argv=["/bin/sleep", "500"], pid=new, leave=old, trial=60)
        assert client.call("hello")["agent_pid"] == new and alive(old), "the old one leaves by itself"
    finally:
        os.kill(new, signal.SIGKILL)
        os.waitpid(new, 0)
    wait_for(lambda: client.call("hello")["agent_pid"] not in (new, None))
    hello = client.call("hello")
    assert hello["agent_argv"] == ["/bin/sleep", "600"] and "one before is back" in hello["agent_note"]
    os.kill(old, signal.SIGKILL)
    client.call("end")


def test_kill_9_of_the_keeper_after_its_exec_is_an_ordinary_crash(host: KeeperHost, tmp_path: Path) -> None:
    client = host.up()
    pid = put_start(client, host.spec("a.s/0:1", "exec sleep 600"))["pid"]
    client.send("exec", argv=another(tmp_path))
    again(host, "9.9.9")
    host.crash()
    client = host.up()
    assert client.unit("a.s/0:1")["pids"] == {"main": pid}
    assert time.time() - client.unit("a.s/0:1")["started"] < 600
