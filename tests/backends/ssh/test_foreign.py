"""Programs that others run, on a host with only sshd: a real supervisord, and pid files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.backends.ssh.test_releases import fetch, release
from tests.backends.ssh.world import Controller, Frame, Sshd, client_config, gateway, host_entry, spec
from tests.helpers import alive, running, until, wait_for

pytestmark = pytest.mark.skipif(not shutil.which("supervisord"), reason="supervisor is not installed")


@pytest.fixture
def supervisor(short_dir: Path, tmp_path: Path) -> Iterator[Path]:
    """A supervisord with a program that runs by the release link."""
    (short_dir / "first").write_text("#!/bin/sh\nexec sleep 1000\n")
    (short_dir / "first").chmod(0o755)
    link = tmp_path / "far/instances/p.web_0/release/bin/run"
    config = short_dir / "s.conf"
    config.write_text(f"""
[unix_http_server]
file={short_dir}/s.sock
[supervisord]
logfile={short_dir}/s.log
pidfile={short_dir}/s.pid
childlogdir={short_dir}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{short_dir}/s.sock
[program:web]
command=/bin/sh -c "if [ -x {link} ]; then exec {link}; else exec {short_dir}/first; fi"
process_name=web_%(process_num)d
numprocs=1
startsecs=0
stdout_logfile={short_dir}/out
[group:site]
programs=web
[program:once]
command=/bin/sh -c "while [ ! -e {short_dir}/end ]; do sleep 0.05; done; exit 3"
startsecs=0
autorestart=false
autostart=false
""")
    with running(["supervisord", "-n", "-c", str(config)]):
        wait_for(lambda: (short_dir / "s.sock").exists(), what="supervisord listens")
        yield config


@contextlib.asynccontextmanager
async def entered(tmp_path: Path, key: Path, server: Sshd, **more: object) -> AsyncIterator[Controller]:
    async with gateway(tmp_path / "gw", client_config(tmp_path, key, [server])) as c:
        entry = host_entry(server, directory=str(tmp_path / "far"), **more)
        c.send({"t": "hosts", "hosts": {"h": entry}, "downlinks": {}})
        await c.host("h")
        yield c


def web(gen: int, made: Frame | None, version: str = "1") -> Frame:
    artifact = made and {"name": "web", "version": version, "sha256": made["sha256"]}
    return spec(
        "p.web/0", gen, ["unused"], artifact=artifact, version=version, runtime={"supervisord": "site:web_{slot}"}
    )


async def test_shown_restarted_deployed(tmp_path: Path, key: Path, server: Sshd, supervisor: Path) -> None:
    """What ran before Cockpit came is shown; versions go over by release link and restart, each word once."""
    echo = "#!/bin/sh\necho version {}\nexec sleep 1000\n"
    made = {v: release(tmp_path, v, {"bin/run": echo.format(v).encode()}) for v in ("1", "2")}
    watch = [{**web(0, made["1"])}]
    async with entered(tmp_path, key, server, supervisord=str(supervisor), watch=watch) as c:
        c.releases = {m["sha256"]: m for m in made.values()}
        found = await c.unit("h", "p.web/0:0", lambda u: u["state"] == 512)
        assert found["version"] == "" and alive(found["pid"]) and found["wanted"]

        await c.good("h", "fetch", **fetch(made["1"], "1"))
        await c.good("h", "prepare", spec=web(1, made["1"]))
        await until(lambda: "p.web/0:0" not in c.units["h"])
        assert c.units["h"]["p.web/0:1"]["state"] == 384
        one = await c.good("h", "start", unit="p.web/0:1")
        assert one["pid"] != found["pid"] and not alive(found["pid"])
        assert (await c.good("h", "start", unit="p.web/0:1"))["pid"] == one["pid"]
        unit = await c.unit("h", "p.web/0:1", lambda u: u["state"] == 512)
        assert unit["version"] == "1"

        await c.good("h", "fetch", **fetch(made["2"], "2"))
        await c.good("h", "prepare", spec=web(2, made["2"], "2"))
        two = await c.good("h", "start", unit="p.web/0:2")
        await c.unit("h", "p.web/0:2", lambda u: u["state"] == 512 and u["version"] == "2")
        old = await c.unit("h", "p.web/0:1", lambda u: not u["pids"])
        assert old["state"] in (640, 704)
        await c.good("h", "stop", unit="p.web/0:1")  # the service is the other unit's: it goes on
        assert alive(two["pid"])
        await c.unit("h", "p.web/0:1", lambda u: u["state"] == 640)
        await c.good("h", "remove", unit="p.web/0:1")

        lines = (await c.good("h", "tail", unit="p.web/0:2", lines=10))["lines"]
        assert "version 2" in lines
        os.kill(two["pid"], signal.SIGKILL)  # supervisord restarts it, and that is another run
        again = await c.unit("h", "p.web/0:2", lambda u: u["run"] == 2 and u["state"] == 512)
        assert again["pid"] != two["pid"]
        await c.good("h", "stop", unit="p.web/0:2")
        stopped = await c.unit("h", "p.web/0:2", lambda u: u["state"] == 640)
        assert not stopped["pids"] and not alive(again["pid"])


@pytest.mark.parametrize("forwards", [True, False])
async def test_exit_codes_are_told_or_unknown(
    tmp_path: Path, key: Path, supervisor: Path, forwards: bool
) -> None:
    """Where sshd does not forward to the socket, supervisorctl answers, and has no exit codes: none is invented."""
    server = Sshd(tmp_path / "s", key, extra="" if forwards else "AllowStreamLocalForwarding no")
    with server.up():
        async with entered(tmp_path, key, server, supervisord=str(supervisor)) as c:
            made = spec("p.once/0", 1, ["unused"], runtime={"supervisord": "once"})
            await c.good("h", "prepare", spec=made)
            await c.good("h", "start", unit="p.once/0:1")
            (supervisor.parent / "end").touch()  # one that ends at once may be a start that failed, to supervisord
            ended = await c.unit("h", "p.once/0:1", lambda u: u["state"] == 704)
            assert ended["exit"]["code"] == (3 if forwards else None)


async def test_a_program_nobody_knows(tmp_path: Path, key: Path, server: Sshd, supervisor: Path) -> None:
    async with entered(tmp_path, key, server, supervisord=str(supervisor)) as c:
        await c.good("h", "prepare", spec=spec("p.x/0", 1, ["x"], runtime={"supervisord": "nosuch"}))
        answer = await c.cmd("h", "start", unit="p.x/0:1")
        assert not answer["ok"] and "no such process" in answer["text"]
        unit = await c.unit("h", "p.x/0:1", lambda u: u["state"] == 768)
        assert "no such process" in unit["exit"]["reason"]
        dynamic = spec("p.y/0", 1, ["x"], runtime={"supervisord": "once"}, ports={"http": 0})
        assert "dynamic" in (await c.cmd("h", "prepare", spec=dynamic))["text"]


DAEMON = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
with open(sys.argv[1], "w") as f: f.write(str(os.getpid()))
time.sleep(1000)
"""


async def test_a_daemon_with_its_own_pid_file(tmp_path: Path, key: Path, server: Sshd) -> None:
    file = tmp_path / "d.pid"
    argv = [sys.executable, "-c", DAEMON, str(file)]
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.d/0", 1, argv, runtime={"pidfile": str(file)}))
        started = await c.good("h", "start", unit="p.d/0:1")
        pid = int(file.read_text())
        assert started["pid"] == pid
        await c.unit("h", "p.d/0:1", lambda u: u["state"] == 512 and u["pids"] == {"main": pid})
        os.kill(pid, signal.SIGKILL)
        dead = await c.unit("h", "p.d/0:1", lambda u: u["state"] == 704)
        assert dead["exit"]["code"] is None and dead["exit"]["signal"] is None
        second = await c.good("h", "start", unit="p.d/0:1")
        await c.good("h", "stop", unit="p.d/0:1", grace=300)  # not by the KILL after it
        assert not alive(second["pid"])
        await c.unit("h", "p.d/0:1", lambda u: u["state"] == 640)


def state_of(pid: int) -> str:
    """T: it is frozen."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


async def test_a_signal_goes_by_supervisord(tmp_path: Path, key: Path, server: Sshd, supervisor: Path) -> None:
    unit = "p.web/0:0"
    async with entered(tmp_path, key, server, supervisord=str(supervisor), watch=[web(0, None)]) as c:
        found = await c.unit("h", unit, lambda u: u["state"] == 512)
        pid, run = found["pid"], found["run"]
        told = await c.good("h", "signal", unit=unit, signal="STOP", process="", run=run)
        assert told["pids"] == {"main": pid} and told["run"] == run
        await until(lambda: state_of(pid) == "T")
        await c.good("h", "signal", unit=unit, signal="CONT", run=run)
        await until(lambda: state_of(pid) == "S")
        every = await c.cmd("h", "signal", unit=unit, signal="KILL", all=True, run=run)
        assert not every["ok"] and "knows its main process only" in every["text"]
        other = await c.cmd("h", "signal", unit=unit, signal="KILL", run=run + 1)
        assert (other["code"], alive(pid)) == ("busy", True) and "nothing was sent" in other["text"]
        evil = await c.cmd("h", "signal", unit=unit, signal=f"KILL; touch {tmp_path}/owned", run=run)
        assert evil["code"] == "bad" and not (tmp_path / "owned").exists()
        await c.good("h", "signal", unit=unit, signal="KILL", run=run)
        await c.unit("h", unit, lambda u: u["state"] == 512 and u["pid"] != pid and u["run"] == run + 1)


async def test_a_signal_for_who_has_a_pid_file_and_for_our_own(tmp_path: Path, key: Path, server: Sshd) -> None:
    listens = "trap 'echo told' USR1; echo up; while :; do sleep 0.05; done"
    async with entered(tmp_path, key, server) as c:
        child = f"sh -c \"trap 'echo child' USR1; echo up; while :; do sleep 0.05; done\" & {listens}"
        await c.good("h", "prepare", spec=spec("p.own/0", 1, ["sh", "-c", child]))
        pid = (await c.good("h", "start", unit="p.own/0:1"))["pid"]
        out = tmp_path / "far/logs/p.own_0_1/1.main.out"
        await until(lambda: out.exists() and out.read_text().count("up") == 2)
        told = await c.good("h", "signal", unit="p.own/0:1", signal="USR1", run=1)
        assert told["pids"] == {"main": pid}
        await until(lambda: "told" in out.read_text())
        assert "child" not in out.read_text()
        await c.good("h", "signal", unit="p.own/0:1", signal="USR1", all=True, run=1)
        await until(lambda: out.read_text().count("told") == 2 and "child" in out.read_text())

        file = tmp_path / "d.pid"
        daemon = f"sh -c 'echo $$ >{file}; exec sleep 1000' >/dev/null 2>&1 &"
        made = spec("p.d/0", 1, ["sh", "-c", daemon], runtime={"pidfile": str(file)})
        await c.good("h", "prepare", spec=made)
        pid = (await c.good("h", "start", unit="p.d/0:1"))["pid"]
        await c.good("h", "signal", unit="p.d/0:1", signal="STOP", run=1)
        await until(lambda: state_of(pid) == "T")
        await c.good("h", "signal", unit="p.d/0:1", signal="KILL", run=1)
        await until(lambda: not alive(pid))
        gone = await c.cmd("h", "signal", unit="p.d/0:1", signal="HUP", run=1)
        assert (gone["ok"], gone["code"]) == (False, "missing") and "nothing was sent" in gone["text"]
        await c.good("h", "stop", unit="p.own/0:1", grace=1)
