"""The agent's pure parts: ports, templates, specs, gauges, checks, connections, the outbox."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.agent import checks, connections, ports, prepare
from cockpit.agent.checks import CheckFailed, Subject
from cockpit.agent.health import Gauge, notify_outcome
from cockpit.agent.link import Outbox, Overflow, pause
from cockpit.agent.template import TemplateError, fill, port_values
from cockpit.agent.units import Memory, ended, exit_words, report, state_of
from cockpit.agent.waiting import within
from cockpit.model.actual import Unit
from tests.agent.fake import unitspec
from tests.helpers import PATIENCE, loopback

RANGE = (20000, 20004)


def chosen(wanted: dict[str, int], **facts: Any) -> dict[str, int]:
    given_ = {
        "instance": "a/0", "last": {}, "known": {}, "fixed_by": {}, "port_range": RANGE,
        "bindable": lambda port: True,
    }
    return ports.choose(wanted, **{**given_, **facts})


@given(st.sets(st.integers(20000, 20004)), st.sets(st.integers(20000, 20004)), st.integers(1, 6))
def test_a_dynamic_port_is_free_in_every_sense(known: set[int], busy: set[int], n: int) -> None:
    wanted = {f"p{k}": 0 for k in range(n)}
    free = set(range(20000, 20005)) - known - busy
    if len(free) < n:
        with pytest.raises(ports.PortError, match="20000-20004"):
            chosen(wanted, known=known, bindable=lambda p: p not in busy)
    else:
        found = chosen(wanted, known=known, bindable=lambda p: p not in busy)
        assert list(found) == list(wanted)
        assert len(set(found.values())) == n and set(found.values()) <= free


def test_ports_are_kept_unless_somebody_has_them() -> None:
    assert chosen({"p": 0}, last={"p": 31000}) == {"p": 31000}
    assert chosen({"p": 0}, last={"p": 31000}, known={31000})["p"] in range(20000, 20005)
    assert chosen({"p": 0}) == chosen({"p": 0})
    assert chosen({"p": 80}) == {"p": 80}
    assert chosen({"p": 80}, known={80}, bindable=lambda p: False) == {"p": 80}, "its own old unit holds it"
    with pytest.raises(ports.PortError, match="another program"):
        chosen({"p": 80}, bindable=lambda p: False)
    with pytest.raises(ports.PortError, match=r"used by b/0:1"):
        chosen({"p": 80}, known={80}, fixed_by={80: "b/0:1"})


def test_bindable_sees_a_listener() -> None:
    address = loopback()
    with socket.socket() as s:
        s.bind((address, 0))
        s.listen()
        port = s.getsockname()[1]
        assert not ports.bindable_at(address)(port)
    assert ports.bindable_at(address)(port)
    assert ports.bindable_at("203.0.113.1")(port), "an address of another machine says nothing"


@pytest.mark.parametrize(
    ("text", "is_"),
    [
        ("plain", "plain"), ("{a}-{b.c}", "1-2"), ("{{a}", "{a}"), ('{{"x": {a}}', '{"x": 1}'), ("}", "}"),
        ("{{{{", "{{"),
    ],
)
def test_templates(text: str, is_: str) -> None:
    assert fill(text, {"a": "1", "b.c": "2"}) == is_


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{adress}", r"did you mean \{address\}"), ("{zzz}", "known are address"), ("{address", "not closed"),
        ("{}", "known"),
    ],
)
def test_a_template_that_means_nothing(text: str, says: str) -> None:
    with pytest.raises(TemplateError, match=says):
        fill(text, {"address": "x"})


def test_port_is_the_only_port() -> None:
    assert port_values({"http": 1}) == {"port.http": "1", "port": "1"}
    assert "port" not in port_values({"http": 1, "admin": 2})


def test_a_keeper_spec_has_everything_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/op")
    spec = unitspec(
        "puzzle.web/2:5", processes={"main": ["./serve", "{port.http}", "{release}", "{directory}"]}, directory="app",
        env={"A": "{slot}{{"}, secrets={"PW": {"file": "/etc/pw"}}, ports={"http": 0, "admin-x": 9},
        limits={"open_files": 10, "memory": None}, restart={"mode": "never", "other": 1},
        stop={"signal": "INT", "grace": 1, "drain": 5}, check={"exec": ["test", "{port.http}"]},
    )
    place = prepare.Place("/h", "127.0.1.1", {"http": 20001, "admin-x": 9}, "/h/releases/web/1")
    made = prepare.keeper_spec(spec, place, prepare.User(7, 8, (8, 9), "/home/u"))
    (process,) = made["processes"]
    assert process["argv"] == ["./serve", "20001", "/h/releases/web/1", "/h/instances/puzzle.web_2"]
    assert process["cwd"] == "/h/releases/web/1/app"
    env = process["env"]
    assert (env["A"], env["HOME"], env["COCKPIT_PORT_ADMIN_X"], env["COCKPIT_RUN_MARK"]) == (
        "2{", "/home/u", "9", "puzzle.web/2:5"
    )
    assert made["secrets"] == {"PW": "/etc/pw"} and "PW" not in env
    assert (made["uid"], made["gid"], made["groups"]) == (7, 8, [8, 9])
    assert made["limits"] == {"nofile": 10} and made["restart"] == {"mode": "never"}
    assert made["stop"] == {"signal": "INT", "grace": 1}
    assert made["log_dir"] == "/h/logs/puzzle.web_2_5" and made["notify"] is False
    assert made["meta"]["spec"] == spec and made["meta"]["check"]["exec"] == ["test", "20001"]
    own = prepare.keeper_spec(unitspec(check={"notify": True}), prepare.Place("/h", "a", {"http": 1}), None)
    assert own["notify"] is True and own["processes"][0]["cwd"] == "/h/instances/puzzle.web_2"
    assert own["processes"][0]["env"]["HOME"] == "/home/op"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unit": "a/0"}, "unit"), ({"unit": "a b/0:1", "instance": "a b/0"}, "unit"), ({"unit": "../x/0:1"}, "unit"),
        ({"instance": "b/0"}, "instance"), ({"processes": {}}, "processes"), ({"processes": {"main": []}}, "main"),
        ({"processes": {"main": "sh -c"}}, "main"), ({"ports": {"p": 70000}}, "ports"),
        ({"ports": {"p": True}}, "ports"),
    ],
)
def test_a_unitspec_that_is_none(change: dict[str, Any], says: str) -> None:
    with pytest.raises(prepare.PrepareError, match=says):
        prepare.check_unitspec({**unitspec(), **change})


@pytest.mark.parametrize("directory", ["..", "a/../../b", "../releases2"])
def test_a_relative_directory_stays_inside(directory: str) -> None:
    with pytest.raises(prepare.PrepareError, match="leaves"):
        prepare.working_dir(directory, "/h/releases")


def test_users() -> None:
    assert prepare.find_user("") is None
    with pytest.raises(prepare.PrepareError, match="no user"):
        prepare.find_user("nobody-has-this-name")
    if os.geteuid() == 0:
        found = prepare.find_user("nobody")
        assert found is not None and found.uid != 0 and found.gid in found.groups


def feed(gauge: Gauge, outcomes: str) -> list[tuple[str, bool]]:
    """`.` good, `x` bad -> (health, was it ever good) after each."""
    found = []
    for n, outcome in enumerate(outcomes):
        gauge.feed("" if outcome == "." else "why", float(n))
        found.append((gauge.health, gauge.good_once))
    return found


@pytest.mark.parametrize(
    ("rise", "fall", "was_good", "outcomes", "ends"),
    [
        (1, 3, False, ".", ("ok", True)), (2, 3, False, ".", ("starting", False)),
        (2, 3, False, ".x..", ("ok", True)),
        (1, 3, False, "xxxxxx", ("starting", False)), (1, 3, False, ".xx", ("ok", True)),
        (1, 3, False, ".xxx", ("failing", True)), (1, 3, False, ".xxx.", ("ok", True)),
        (2, 1, False, "..x.", ("failing", True)), (1, 2, True, "x", ("starting", True)),
        (1, 2, True, "xx", ("failing", True)),
    ],
)
def test_rise_and_fall(rise: int, fall: int, was_good: bool, outcomes: str, ends: tuple[str, bool]) -> None:
    assert feed(Gauge(rise, fall, was_good=was_good), outcomes)[-1] == ends


@given(st.text(alphabet=".x", max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_running_is_never_taken_back(outcomes: str, rise: int, fall: int) -> None:
    seen = [good for _, good in feed(Gauge(rise, fall), outcomes)]
    assert seen == sorted(seen)


def test_only_what_changes_is_reported() -> None:
    gauge = Gauge(1, 3)
    assert gauge.feed("refused", 1) and not gauge.feed("refused", 2) and gauge.feed("reset", 3)
    assert gauge.since == 1
    assert gauge.feed("", 4) and not gauge.feed("", 5) and gauge.since == 4 and gauge.reason == ""


def test_notify_outcomes() -> None:
    check = {"interval": 1.0, "fall": 3}
    assert notify_outcome({"ready": False, "status": ""}, check, 10) == "not ready yet"
    assert notify_outcome({"ready": False, "status": "loading 3/9"}, check, 10) == "loading 3/9"
    assert notify_outcome({"ready": True, "watchdog": None}, check, 10) == ""
    assert notify_outcome({"ready": True, "watchdog": 8.0}, check, 10) == ""
    assert "watchdog" in notify_outcome({"ready": True, "watchdog": 1.0}, check, 10)


RECORD = {"unit": "a/0:3", "state": 512, "pids": {"main": 9, "side": 10}, "run": 2, "wanted": True, "meta": {}}


def test_a_report_is_a_unit() -> None:
    import msgspec

    exit = {"run": 1, "process": "main", "code": None, "signal": 9, "core": None, "reason": "", "started": 1.0,
            "ended": 2.0, "peak_rss": 7, "lived": 1}
    gauge = Gauge(1, 3)
    made = report({**RECORD, "exit": exit}, gauge, now=5.0)
    unit = msgspec.convert(made, Unit)
    assert (unit.instance, unit.gen, unit.pid, unit.state) == ("a/0", 3, 9, 448)
    assert unit.exit is not None and unit.exit.words() == "signal 9" == exit_words(exit)
    assert set(made) == set(Unit.__struct_fields__)
    gauge.feed("", 6.0)
    assert report(RECORD, gauge, now=7.0)["state"] == 512


@pytest.mark.parametrize(
    ("record", "is_"),
    [
        ({"pids": {"main": 1}, "state": 512}, False),
        ({"pids": {}, "state": 704, "wanted": True, "next_start": 9.0}, False),
        ({"pids": {}, "state": 704, "wanted": True, "next_start": None}, True), ({"pids": {}, "state": 640}, True),
        ({"pids": {}, "state": 576, "wanted": True}, True), ({"pids": {}, "state": 384}, True),
    ],
)
def test_ended(record: dict[str, Any], is_: bool) -> None:
    assert ended(record) is is_


def test_without_a_process_the_keepers_state_counts() -> None:
    assert state_of({"pids": {}, "state": 704}, None) == 704
    assert state_of({"pids": {"main": 1}, "state": 448}, None) == 512


def test_memory_survives_nonsense(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    memory.ports["a/0"] = {"http": 20001}
    memory.save()
    assert Memory(str(tmp_path)).ports == {"a/0": {"http": 20001}}
    (tmp_path / "agent.json").write_text('{"ports": 3')
    assert Memory(str(tmp_path)).ports == {}


TABLE = b"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0102007F:4E2D 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0102007F:4E2D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   2: 0100007F:4E2D 0100007F:C002 01 00000000:00000000 00:00000000 00000000     0        0 1
   3: 0102007F:0050 0100007F:C003 01 00000000:00000000 00:00000000 00000000     0        0 1
   4: 0000000000000000FFFF00000102007F:4E2D 0000000000000000FFFF00000100007F:C004 01 0:0 00:0 0 0 0 1
   5: 0102007F:4E2D 0100007F:C005 08 00000000:00000000 00:00000000 00000000     0        0 1
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table above is of a little-endian machine")
def test_the_kernels_table() -> None:
    found = list(connections.established(TABLE.splitlines(), {20013}))
    assert found == [("127.0.2.1", 20013, 0xC001), ("127.0.0.1", 20013, 0xC002), ("127.0.2.1", 20013, 0xC004)]


def test_a_real_connection_is_counted_at_its_own_address() -> None:
    address, other = loopback(), loopback()
    with socket.socket() as server, socket.socket() as client:
        server.bind((address, 0))
        server.listen()
        port = server.getsockname()[1]
        client.connect((address, port))
        accepted, _ = server.accept()
        with accepted:
            assert connections.count(address, [port]) == {port: 1}
            assert connections.count(other, [port]) == {port: 0}
            assert connections.count(address, [port], {client.getsockname()[1]}) == {port: 0}
    assert connections.count(address, []) == {}


def subject(**facts: Any) -> Subject:
    return Subject("127.0.0.1", {}, "/", {"PATH": os.environ["PATH"]}, **facts)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["true"], ""), (["sh", "-c", "echo why; exit 3"], "exit 3: why"), (["sh", "-c", "kill -9 $$"], "signal 9"),
        (["/no/such"], "exec: ENOENT /no/such"), (["sleep", "60"], "no answer in 0.3 s"),
        (["sh", "-c", "trap '' TERM; sleep 60"], "no answer in 0.3 s"), (["sh", "-c", "sleep 60 & exit 4"], "exit 4"),
    ],
)
async def test_exec_checks(argv: list[str], says: str) -> None:
    timeout = 0.3 if "0.3" in says else 10
    try:
        await checks.run({"exec": argv, "timeout": timeout}, subject())
        found = ""
    except CheckFailed as e:
        found = str(e)
    assert found == says


async def test_exec_output_is_bounded() -> None:
    code = "import sys\nfor n in range(200): sys.stdout.write('x' * 10_000)"
    assert len(await checks.run({"exec": [sys.executable, "-c", code], "timeout": 10}, subject())) == checks.MAX_BODY


@pytest.mark.parametrize(
    ("answer", "is_"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"), (b"HTTP/1.0 302 Found\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x=1\r\n yo\r\n0\r\n\r\n", b"hi yo"),
        (b"HTTP/1.1 503 No\r\n\r\nx", "http 503"), (b"nonsense", "the answer is not http"),
        (b"", "http: closed without an answer"), (b"HTTP/1.1 200 OK\r\n", "the answer is not http"),
    ],
)
def test_http_answers(answer: bytes, is_: bytes | str) -> None:
    if isinstance(is_, bytes):
        assert checks.http_body(answer) == is_
    else:
        with pytest.raises(CheckFailed, match=is_):
            checks.http_body(answer)


async def test_http_and_tcp_checks_come_from_the_hosts_address() -> None:
    address, seen = loopback(), []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[0])
        if await reader.read(100):
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"role":"main"}'[:-1])
            await writer.drain()  # and keeps the connection open
        else:
            writer.close()

    server = await asyncio.start_server(answer, address, 0)
    port = server.sockets[0].getsockname()[1]
    there = Subject(address, {"http": port})
    assert await checks.run({"tcp": ""}, there) == b""
    with pytest.raises(CheckFailed, match="did not answer with JSON"):
        checks.parse_probe(await checks.run({"http": {"path": "/x"}, "timeout": 5}, there))
    assert seen[-1] == address
    server.close()
    with pytest.raises(CheckFailed, match=f"tcp {address}:{port} refused"):
        await checks.run({"tcp": "http"}, Subject(address, {"http": port}))
    with pytest.raises(CheckFailed, match="no port"):
        await checks.run({"tcp": "grpc"}, there)
    with pytest.raises(CheckFailed, match="not an http path"):
        await checks.run({"http": {"path": "/x\r\nHost: y"}}, there)
    assert not checks.ours


def test_probes_are_objects() -> None:
    assert checks.parse_probe(b'{"role":"main"}') == {"role": "main"}
    for data in (b"[1]", b"", b"{", b'"x"'):
        with pytest.raises(CheckFailed, match="JSON"):
            checks.parse_probe(data)


async def test_the_outbox_sends_units_once_with_the_latest_and_logs_last() -> None:
    values = {"a": 1}
    box = Outbox(lambda unit: {"t": "unit", "value": values[unit]} if unit in values else None)
    box.unit("a")
    box.put({"t": "lost"})
    box.clear(open=True)
    await box.bulk({"t": "log"})
    box.unit("a")
    box.put({"t": "result"})
    box.unit("nothing")
    values["a"] = 2
    box.unit("a")
    got = [await asyncio.wait_for(box.take(), PATIENCE) for _ in range(3)]
    assert got == [{"t": "unit", "value": 2}, {"t": "result"}, {"t": "log"}]
    box.unit("a")
    assert await box.take() == {"t": "unit", "value": 2}


async def test_a_full_outbox_gives_up_and_logs_wait() -> None:
    box = Outbox(lambda unit: None)
    box.clear(open=True)
    for _ in range(64):
        await box.bulk({"t": "log"})
    late = asyncio.ensure_future(box.bulk({"t": "log"}))
    await asyncio.sleep(0)
    assert not late.done()
    box.clear(open=False)
    await asyncio.wait_for(late, PATIENCE)
    box.clear(open=True)
    for _ in range(20_001):
        box.put({"t": "x"})
    with pytest.raises(Overflow):
        await box.take()


@given(st.integers(0, 1000), st.booleans())
def test_pauses(failures: int, refused: bool) -> None:
    assert 0.1 <= pause(failures, refused) <= (2.0 if refused else 5.0)


def test_the_agent_imports_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, cockpit.agent.daemon, cockpit.agent.__main__\n"
        "bad = {'msgspec','aiohttp','cryptography','textual','yaml','networkx','tarfile_'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, timeout=PATIENCE)


async def test_a_cancellation_is_never_lost() -> None:
    """Also when it comes in the same round as the result."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    outer = asyncio.ensure_future(within(ready, 5))
    await asyncio.sleep(0)
    ready.set_result("x")
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    with pytest.raises(asyncio.TimeoutError):
        await within(asyncio.sleep(60), 0.01)
    assert await within(asyncio.sleep(0, "y"), 5) == "y"
