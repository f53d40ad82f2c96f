"""Who may talk to the keeper, what happens to bad requests, and `cockpit-agent ctl`."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cockpit.agent import ctl
from cockpit.agent.keeper.wire import MAX_LINE
from cockpit.agent.keeper_client import KeeperClient, KeeperError
from cockpit.model.states import State
from tests.agent.keeper_host import KeeperHost, of, put_start
from tests.helpers import PATIENCE, wait_for

U = "a.b/0:1"
FOREVER = ("sleep", "100000")


@pytest.fixture
def host(short_dir: Path) -> Iterator[KeeperHost]:
    with KeeperHost(short_dir) as host:
        yield host


def raw(host: KeeperHost) -> socket.socket:
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE)
    s.connect(str(host.dir / "keeper.sock"))
    return s


def line(s: socket.socket) -> dict[str, object]:
    with s.makefile("rb") as f:
        found = json.loads(f.readline())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"\0\xff\n", "not JSON"),
        (b"[1]\n", "JSON object"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b'{"id":1}\n', "op: one of hello"),
        (b'{"id":1,"op":"fly"}\n', "op: one of hello"),
        (b'{"id":1,"op":"start"}\n', "unit:"),
        (b'{"id":1,"op":"start","unit":["x"]}\n', "unit:"),
        (b'{"id":1,"op":"ack","seq":-1}\n', "seq:"),
        (b'{"id":1,"op":"ack","seq":1e99}\n', "seq:"),
        (b'{"id":1,"op":"put","spec":7}\n', "spec:"),
        (b'{"id":1,"op":"agent","argv":[]}\n', "argv:"),
    ],
)
def test_bad_requests_are_answered(host: KeeperHost, sent: bytes, said: str) -> None:
    c = host.up()
    with raw(host) as s:
        s.sendall(sent)
        reply = line(s)
        assert reply["ok"] is False and reply["code"] == "bad" and said in str(reply["text"])
        s.sendall(b'{"id":2,"op":"hello"}\n')  # and the connection still works
        assert line(s)["ok"] is True
    assert c.call("hello")["ok"]


def test_a_line_that_is_too_long_ends_the_connection(host: KeeperHost) -> None:
    c = host.up()
    with raw(host) as s:
        try:
            s.sendall(b"x" * (MAX_LINE + 70_000))
            while s.recv(4096):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert c.call("hello")["ok"]


def test_requests_in_pieces_and_in_bunches(host: KeeperHost) -> None:
    host.up()
    with raw(host) as s, s.makefile("rb") as f:
        for byte in b'{"id":1,"op":"hello"}\n':
            s.sendall(bytes([byte]))
        assert json.loads(f.readline())["id"] == 1
        s.sendall(b"".join(b'{"id":%d,"op":"hello"}\n' % n for n in range(500)))
        assert [json.loads(f.readline())["id"] for _ in range(500)] == list(range(500))


def test_a_reader_that_does_not_read_is_dropped_and_blocks_nobody(host: KeeperHost) -> None:
    c = host.up()
    c.call("put", spec=host.spec(U, *FOREVER, meta="x" * 400_000))
    with raw(host) as slow:
        slow.sendall(b'{"id":1,"op":"subscribe"}\n' + b'{"id":2,"op":"list"}\n' * 40)
        wait_for(lambda: c.call("hello")["ok"])
        for _ in range(20):
            c.call("hello")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while slow.recv(1 << 20):
                pass
            raise ConnectionResetError
    assert c.call("hello")["ok"]


def test_put_twice(host: KeeperHost) -> None:
    c = host.up()
    spec = host.spec(U, *FOREVER)
    c.call("put", spec=spec)
    c.call("put", spec=spec)
    with pytest.raises(KeeperError) as e:
        c.call("put", spec=host.spec(U, "other"))
    assert e.value.code == "exists"
    with pytest.raises(KeeperError) as e:
        c.call("start", unit="a.b/0:2")
    assert e.value.code == "missing" and "there is a.b/0:1" in e.value.text


def test_many_units_in_one_list(host: KeeperHost) -> None:
    c = host.up()
    for n in range(300):
        c.call("put", spec=host.spec(f"a.b/{n}:1", *FOREVER, meta="x" * 5000))
    assert len(c.units()) == 300  # more than a line's megabyte
    assert [u["unit"] for u in c.call("list", unit="a.b/7")["units"]] == ["a.b/7:1"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_another_user_is_not_answered(host: KeeperHost) -> None:
    host.up()
    host.dir.chmod(0o755)
    (host.dir / "keeper.sock").chmod(0o666)
    code = (
        "import os,socket,sys;os.setuid(12345);s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);"
        "s.settimeout(5)\n"
        "try: s.sendall(b'{\"id\":1,\"op\":\"hello\"}\\n'); print(s.recv(100))\n"
        "except OSError as e: print(type(e).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(host.dir / "keeper.sock")], capture_output=True, text=True
    )
    assert done.stdout.strip() in ("b''", "BrokenPipeError", "ConnectionResetError"), done


# cockpit-agent ctl


def command(host: KeeperHost, *words: str) -> int:
    parser = argparse.ArgumentParser()
    ctl.add_arguments(parser)
    return ctl.run(parser.parse_args(["--dir", str(host.dir), *words]))


def test_what_was_done_by_hand_is_pinned_until_the_agent_acts(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, *FOREVER))
    assert command(host, "stop", "a.b/0") == 0
    e = c.event(of("ctl"))
    assert (e["op"], e["uid"], e["unit"]) == ("stop", os.getuid(), U) and e["by"].startswith("ctl:")
    pinned = c.unit(U)["pinned"]
    assert re.fullmatch(rf"uid {os.getuid()} \d\d:\d\d stop", pinned)
    host.crash()
    c = host.up()
    assert c.unit(U)["pinned"] == pinned and c.unit(U)["state"] == State.SHUTDOWN
    assert "ctl" in [e["event"] for e in c.call("list")["events"]]
    assert command(host, "start", "a.b/0") == 0 and c.unit(U)["pinned"].endswith("start")
    c.call("start", unit=U, by="action 7")
    assert c.unit(U)["pinned"] == ""
    assert command(host, "pin", U) == 0 and c.unit(U)["pinned"].endswith("pin")
    assert command(host, "unpin", U) == 0 and c.unit(U)["pinned"] == ""
    ops = [e["op"] for e in c.call("list")["events"] if e["event"] == "ctl"]
    assert ops == ["stop", "start", "pin", "unpin"]


def test_ctl_list(host: KeeperHost, capsys: pytest.CaptureFixture[str]) -> None:
    c = host.up()
    pid = put_start(c, host.spec(U, *FOREVER))["pid"]
    put_start(c, host.spec("a.b/1:1", "exit 3", restart={"mode": "never"}))
    c.event(of("exit"))
    c.call("put", spec=host.spec("a.b/2:1", "x"))
    assert command(host, "list") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["UNIT", "STATE", "WANTED", "PID"]
    assert rows[0].split()[:4] == [U, "RUNNING", "yes", str(pid)]
    assert rows[1].split()[:4] == ["a.b/1:1", "FAILED", "yes", "-"] and "exit 3" in rows[1]
    assert rows[2].split()[:2] == ["a.b/2:1", "READY"]
    assert command(host, "list", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["units"]) == 3


def test_ctl_says_what_is_wrong(host: KeeperHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(host, "list") == 4
    assert "nothing answers" in capsys.readouterr().err
    c = host.up()
    c.call("put", spec=host.spec("shop.web/0:1", "./missing", "arg"))
    assert command(host, "stop", "shop.wbe/0") == 2
    assert "did you mean shop.web/0?" in capsys.readouterr().err
    assert command(host, "start", "shop.web/0") == 1
    assert "exec: ENOENT ./missing" in capsys.readouterr().err
    assert command(host, "stop") == 2 and command(host, "list", "x") == 2


def test_a_client_is_told_when_the_keeper_goes(host: KeeperHost) -> None:
    c = host.up()
    host.crash()
    with pytest.raises(ConnectionError):
        c.call("hello")
    with pytest.raises(ConnectionRefusedError):
        KeeperClient(host.dir)
