"""Answers of systemd 252 and supervisor 4.2, and pid files, read."""

from __future__ import annotations

import xmlrpc.client

import pytest

from cockpit.agent.runtimes import pidfile, seen, supervisord, systemd
from cockpit.agent.runtimes.seen import Seen

NOW, UPTIME = 1_700_000_000.0, 1000.0

RUNNING = """Id=web.service
LoadState=loaded
ActiveState=active
SubState=running
Result=success
MainPID=4242
ExecMainCode=0
ExecMainStatus=0
ExecMainStartTimestampMonotonic=900500000
ExecMainExitTimestampMonotonic=0
InvocationID=7c1e52c7a0f144d5a2c3d7a3c4f7d1aa
NRestarts=2
"""
KILLED = """Id=bad.service
LoadState=loaded
ActiveState=failed
SubState=failed
Result=signal
MainPID=0
ExecMainCode=2
ExecMainStatus=9
ExecMainStartTimestampMonotonic=900000000
ExecMainExitTimestampMonotonic=950000000
InvocationID=aa
NRestarts=0
"""


def block(text: str, **facts: str) -> str:
    lines = dict(line.split("=", 1) for line in text.splitlines())
    return "\n".join(f"{k}={v}" for k, v in {**lines, **facts}.items()) + "\n"


def test_systemd_tells_two_units() -> None:
    found = systemd.parse(RUNNING + "\n" + KILLED, NOW, UPTIME)
    assert found["web.service"] == Seen(
        seen.RUNNING, pid=4242, identity="7c1e52c7a0f144d5a2c3d7a3c4f7d1aa", started=NOW - 99.5, restarts=2
    )
    assert found["bad.service"] == Seen(
        seen.FAILED, identity="aa", started=NOW - 100, ended=NOW - 50, restarts=0, signal=9
    )


@pytest.mark.parametrize(
    ("facts", "state", "code", "signal", "core"),
    [
        ({"ActiveState": "failed", "ExecMainCode": "1", "ExecMainStatus": "3"}, seen.FAILED, 3, None, False),
        ({"ActiveState": "failed", "ExecMainCode": "3", "ExecMainStatus": "11"}, seen.FAILED, None, 11, True),
        ({"ActiveState": "inactive", "ExecMainCode": "1", "ExecMainStatus": "0"}, seen.EXITED, 0, None, False),
        ({"ActiveState": "inactive", "ExecMainCode": "0", "ExecMainStatus": "0"}, seen.STOPPED, None, None, False),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, seen.BACKOFF, None, 9, False),
        ({"ActiveState": "activating", "SubState": "start"}, seen.STARTING, None, 9, False),
        ({"ActiveState": "deactivating", "SubState": "stop-sigterm"}, seen.STOPPING, None, 9, False),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, seen.MISSING, None, None, False),
        ({"LoadState": "masked", "ActiveState": "inactive"}, seen.MISSING, None, None, False),
    ],
)
def test_systemd_states(
    facts: dict[str, str], state: str, code: int | None, signal: int | None, core: bool
) -> None:
    found = systemd.parse(block(KILLED, **facts), NOW, UPTIME)["bad.service"]
    assert (found.state, found.code, found.signal, found.core) == (state, code, signal, core)


def test_systemd_commands() -> None:
    assert systemd.full_name("web@1") == "web@1.service"
    assert systemd.full_name("a.socket") == "a.socket"
    assert systemd.act("restart", "web.service", user=True) == ["systemctl", "--user", "restart", "--", "web.service"]
    assert systemd.show(["a.service"])[-2:] == ["--", "a.service"]
    main = ["systemctl", "kill", "--kill-who=main", "--signal=HUP", "--", "w.service"]
    assert systemd.kill("w.service", "HUP", whom="main") == main
    assert systemd.kill("w.service", "HUP") == ["systemctl", "kill", "--signal=HUP", "--", "w.service"]
    assert "--follow" in systemd.journal("a.service", 10, True)
    with pytest.raises(ValueError, match="no verb"):
        systemd.act("poweroff", "x")


STATUS = """bad                              FATAL     Exited too quickly (process log may have details)
g:many_0                         RUNNING   pid 29264, uptime 2 days, 0:00:04
nofile                           BACKOFF   can't find command '/nonexistent/x'
off                              STOPPED   Not started
ok                               STARTING  
once                             EXITED    Nov 21 11:36 AM
nosuch: ERROR (no such process)
"""  # noqa: W291


def test_supervisor_status() -> None:
    found = supervisord.parse_status(STATUS, NOW)
    assert found == {
        "bad": Seen(seen.FAILED, reason="Exited too quickly (process log may have details)"),
        "g:many_0": Seen(seen.RUNNING, pid=29264, identity="29264", started=NOW - 2 * 86400 - 4),
        "nofile": Seen(seen.BACKOFF, reason="can't find command '/nonexistent/x'"),
        "off": Seen(seen.STOPPED),
        "ok": Seen(seen.STARTING),
        "once": Seen(seen.EXITED),
        "nosuch": Seen(seen.MISSING, reason="supervisord knows no such program"),
    }


def answer(infos: object, status: str = "200 OK") -> bytes:
    body = xmlrpc.client.dumps((infos,), methodresponse=True).encode()
    return f"HTTP/1.0 {status}\r\nContent-Type: text/xml\r\n\r\n".encode() + body


def info(**more: object) -> dict[str, object]:
    return {
        "name": "w", "group": "w", "start": 100, "stop": 0, "now": 200, "state": 20, "statename": "RUNNING",
        "spawnerr": "", "exitstatus": 0, "stdout_logfile": "/o", "stderr_logfile": "/e", "pid": 7, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "name", "wanted"),
    [
        ({}, "w", Seen(seen.RUNNING, pid=7, identity="7@100", started=100, stdout="/o", stderr="/e")),
        ({"name": "w_0"}, "w:w_0",
         Seen(seen.RUNNING, pid=7, identity="7@100", started=100, stdout="/o", stderr="/e")),
        ({"statename": "EXITED", "pid": 0, "stop": 150, "exitstatus": 3}, "w",
         Seen(seen.EXITED, started=100, ended=150, code=3, stdout="/o", stderr="/e")),
        ({"statename": "EXITED", "pid": 0, "stop": 150, "exitstatus": -1}, "w",
         Seen(seen.EXITED, started=100, ended=150, reason="ended by a signal; supervisord does not keep which",
              stdout="/o", stderr="/e")),
        # 4.2 says 0 here whatever the program's code was
        ({"statename": "FATAL", "pid": 0, "stop": 150, "spawnerr": "Exited too quickly"}, "w",
         Seen(seen.FAILED, started=100, ended=150, reason="Exited too quickly", stdout="/o", stderr="/e")),
    ],
)
def test_supervisor_info(more: dict[str, object], name: str, wanted: Seen) -> None:
    assert supervisord.parse_info(answer([info(**more)])) == {name: wanted}


@pytest.mark.parametrize(
    "response",
    [b"", b"SSH-2.0\r\n\r\n", answer([], "401 Unauthorized"), b"HTTP/1.0 200 OK\r\n\r\n<nonsense",
     b'HTTP/1.0 200 OK\r\n\r\n<!DOCTYPE x [<!ENTITY a "b">]><methodResponse/>'],
)
def test_supervisor_nonsense(response: bytes) -> None:
    with pytest.raises(ValueError, match="supervisord"):
        supervisord.parse_info(response)


def test_supervisor_config() -> None:
    text = "[unix_http_server]\nfile=%(here)s/s.sock ; comment\nusername = a\npassword = b%c\n"
    text += "[program:x]\ncommand=%(x)s\n"
    assert supervisord.control_of(text, "/etc/s") == supervisord.Control("/etc/s/s.sock", "a", "b%c")
    assert supervisord.control_of("nonsense", "/") == supervisord.Control()
    assert b"Authorization: Basic YTpi" in supervisord.info_request(supervisord.Control("/s", "a", "b"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("w: started\n", ""), ("w: ERROR (already started)\n", ""), ("w: ERROR (not running)\n", ""),
        ("w: ERROR (no such process)\n", "w: ERROR (no such process)"),
        ("w: stopped\nw: ERROR (spawn error)\n", "w: ERROR (spawn error)"),
    ],
)
def test_supervisor_refusals(text: str, why: str) -> None:
    assert supervisord.refusal(text) == why


STAT = "4242 (a) b) S 1 4242 4242 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 1000 10 18446744073709551615 1 1"


def test_pid_files() -> None:
    assert [pidfile.parse(t) for t in ("", "12\n", "12 more", "x", "-1", "0", "9999999999")] == [
        None, 12, 12, None, None, None, None,
    ]  # fmt: skip
    assert pidfile.parse_own("12 34 b\n") == pidfile.Process(12, 34, "b")
    assert pidfile.parse_own("12 34") is None
    assert pidfile.ticks_of(STAT) == 12345
    assert pidfile.ticks_of(STAT.replace(") S", ") Z")) is None and pidfile.ticks_of("") is None


@pytest.mark.parametrize(
    ("process", "ticks", "state", "pid"),
    [
        (None, None, seen.STOPPED, None),
        (pidfile.Process(5, 100, "b"), 100, seen.RUNNING, 5),
        (pidfile.Process(5, 100, "b"), 101, seen.FAILED, None),  # the pid is somebody else's now
        (pidfile.Process(5, 100, "b"), None, seen.FAILED, None),
        (pidfile.Process(5, 100, "old boot"), 100, seen.FAILED, None),
    ],
)
def test_own_processes(process: pidfile.Process | None, ticks: int | None, state: str, pid: int | None) -> None:
    found = pidfile.own(process, "b", ticks, booted=1000.0)
    assert (found.state, found.pid, found.code, found.signal) == (state, pid, None, None)
    assert found.started == (1001.0 if pid else None)


@pytest.mark.parametrize(
    ("pid", "ticks", "written", "state"),
    [
        (None, None, 0.0, seen.STOPPED), (5, None, 1000.0, seen.STOPPED), (5, 1000, 1010.5, seen.RUNNING),
        (5, 100_000, 1010.0, seen.STOPPED),  # the pid was given away after the file was written
    ],
)
def test_foreign_files(pid: int | None, ticks: int | None, written: float, state: str) -> None:
    assert pidfile.foreign(pid, "b", ticks, booted=1000.0, written=written).state == state
