"""Programs of ours on a host with only sshd: prepared, started once, seen, stopped, logged, drained."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.backends.ssh.world import Controller, Sshd, client_config, gateway, host_entry, spec
from tests.helpers import alive, until

SERVE = (
    "import http.server as h,sys; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind=sys.argv[2])"
)


@contextlib.asynccontextmanager
async def entered(tmp_path: Path, key: Path, server: Sshd) -> AsyncIterator[Controller]:
    config = client_config(tmp_path, key, [server])
    async with gateway(tmp_path / "gw", config) as c:
        c.send({"t": "hosts", "hosts": {"h": host_entry(server, directory=str(tmp_path / "far"))}, "downlinks": {}})
        await c.host("h")
        yield c


async def test_a_program_lives_its_life(tmp_path: Path, key: Path, server: Sshd) -> None:
    async with entered(tmp_path, key, server) as c:
        assert c.opens[0]["hello"]["missing"] and c.opens[0]["sid"].startswith("ssh:")
        made = spec("p.web/0", 1, [sys.executable, "-c", SERVE, "{port}", "{address}"], ports={"http": 0},
                    check={"http": {"path": "/"}, "interval": 1.0, "timeout": 2.0})
        ports = (await c.good("h", "prepare", spec=made))["ports"]
        assert 21000 <= ports["http"] <= 21100
        assert (await c.good("h", "prepare", spec=made))["ports"] == ports
        assert c.units["h"]["p.web/0:1"]["state"] == 384
        first = await c.good("h", "start", unit="p.web/0:1")
        assert await c.good("h", "start", unit="p.web/0:1") == first
        unit = await c.unit("h", "p.web/0:1", lambda u: u["health"] == "ok")
        assert unit["state"] == 512 and unit["pids"] == {"main": first["pid"]} and alive(first["pid"])
        assert unit["run"] == 1 and unit["wanted"]

        reader, writer = await asyncio.open_connection(server.address, ports["http"])
        assert (await c.good("h", "drain", unit="p.web/0:1", timeout=0.1))["remaining"] == 1
        writer.close()
        assert (await c.good("h", "drain", unit="p.web/0:1", timeout=10))["remaining"] == 0

        os.kill(first["pid"], signal.SIGKILL)
        dead = await c.unit("h", "p.web/0:1", lambda u: u["state"] == 704)
        assert dead["exit"]["code"] is None and dead["exit"]["signal"] is None and dead["pids"] == {}
        second = await c.good("h", "start", unit="p.web/0:1")
        assert second["run"] == 2 and second["pid"] != first["pid"]
        await c.good("h", "stop", unit="p.web/0:1")
        stopped = await c.unit("h", "p.web/0:1", lambda u: u["state"] == 640)
        assert not stopped["wanted"] and not alive(second["pid"])
        await c.good("h", "remove", unit="p.web/0:1")
        await until(lambda: "p.web/0:1" not in c.units["h"])


async def test_what_runs_is_found_again_by_the_next_gateway(tmp_path: Path, key: Path, server: Sshd) -> None:
    argv = [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(1000)"]
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.job/0", 3, argv))
        started = await c.good("h", "start", unit="p.job/0:3")
    async with entered(tmp_path, key, server) as c:
        unit = c.units["h"]["p.job/0:3"]
        assert (unit["state"], unit["pid"], unit["run"]) == (512, started["pid"], 1)
        again = await c.good("h", "start", unit="p.job/0:3")  # as of a word that was cut off
        assert again["pid"] == started["pid"]
        assert (await c.good("h", "tail", unit="p.job/0:3", lines=5))["lines"] == ["hello"]
        await c.good("h", "stop", unit="p.job/0:3")


async def test_a_task_is_answered_once(tmp_path: Path, key: Path, server: Sshd) -> None:
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.job/0", 1, ["sleep", "1000"]))
        first = await c.cmd("h", "start", task="same", unit="p.job/0:1")
        await c.good("h", "stop", unit="p.job/0:1")
        del c.results["same"]
        assert await c.cmd("h", "start", task="same", unit="p.job/0:1") == first
        assert (await c.unit("h", "p.job/0:1", lambda u: u["state"] == 640))["pids"] == {}


async def test_what_cannot_run_is_rejected(tmp_path: Path, key: Path, server: Sshd) -> None:
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.job/0", 1, ["./nosuch"]))
        answer = await c.cmd("h", "start", unit="p.job/0:1")
        assert answer["code"] == "exec" and "ENOENT ./nosuch" in answer["text"]
        unit = await c.unit("h", "p.job/0:1", lambda u: u["state"] == 768)
        assert "ENOENT" in unit["exit"]["reason"]
        answer = await c.cmd("h", "activate", unit="p.job/0:1")
        assert answer["code"] == "unsupported" and "agent" in answer["text"]
        assert (await c.cmd("h", "build", build="b"))["code"] == "unsupported"
        assert (await c.cmd("h", "stop", unit="p.nosuch/0:1"))["code"] == "missing"


async def test_stop_kills_what_does_not_listen(tmp_path: Path, key: Path, server: Sshd) -> None:
    argv = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.2; done"]
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.job/0", 1, argv))
        pid = (await c.good("h", "start", unit="p.job/0:1"))["pid"]
        await until(lambda: (tmp_path / "far/logs/p.job_0_1/1.main.out").read_text())
        await c.good("h", "stop", unit="p.job/0:1", grace=0.2)
        assert not alive(pid)


async def test_data_never_becomes_a_command(tmp_path: Path, key: Path, server: Sshd) -> None:
    nasty = f"x'\"; touch {tmp_path}/owned; $(touch {tmp_path}/owned) `touch {tmp_path}/owned`\n*"
    argv = [sys.executable, "-c", "import os,sys; print([sys.argv[1], os.environ['V']], flush=True)", nasty]
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.job/0", 1, argv, env={"V": nasty}))
        await c.good("h", "start", unit="p.job/0:1")
        out = tmp_path / "far/logs/p.job_0_1/1.main.out"
        await until(lambda: out.read_text() == f"{[nasty, nasty]}\n")
        assert not (tmp_path / "owned").exists()


async def test_secrets_are_read_there(tmp_path: Path, key: Path, server: Sshd) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    argv = [sys.executable, "-c", "import os,time; print(os.environ['TOKEN'], flush=True); time.sleep(1000)"]
    async with entered(tmp_path, key, server) as c:
        made = spec("p.job/0", 1, argv, secrets={"TOKEN": str(tmp_path / "secret")})
        await c.good("h", "prepare", spec=made)
        pid = (await c.good("h", "start", unit="p.job/0:1"))["pid"]
        out = tmp_path / "far/logs/p.job_0_1/1.main.out"
        await until(lambda: out.read_text() == "s3cret\n")
        assert b"s3cret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        await c.good("h", "stop", unit="p.job/0:1")


async def test_logs_are_followed_into_the_next_run(tmp_path: Path, key: Path, server: Sshd) -> None:
    argv = [sys.executable, "-c", "import os,time\nprint('run of', os.getpid(), flush=True); time.sleep(1000)"]
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.job/0", 1, argv))
        first = await c.good("h", "start", unit="p.job/0:1")
        await c.good("h", "logs", stream="s", units=["p.job/0:1"], lines=10, follow=True)
        c.send({"t": "to", "sid": c.sids["h"], "frame": {"t": "credit", "stream": "s", "lines": 100}})

        def texts() -> list[tuple[int, str]]:
            return [(line[0], line[3]) for f in c.logs for line in f["lines"]]

        await until(lambda: (1, f"run of {first['pid']}") in texts())
        await c.good("h", "stop", unit="p.job/0:1")
        second = await c.good("h", "start", unit="p.job/0:1")
        await until(lambda: (2, f"run of {second['pid']}") in texts())
        await c.good("h", "unlog", stream="s")
        await c.good("h", "stop", unit="p.job/0:1")


async def test_logs_are_searched_and_runs_told_apart(tmp_path: Path, key: Path, server: Sshd) -> None:
    argv = [sys.executable, "-c", "import time\nfor n in range(50): print('line', n, flush=True)\ntime.sleep(1000)"]
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.job/0", 1, argv))
        for run in (1, 2):
            await c.good("h", "start", unit="p.job/0:1")
            out = tmp_path / f"far/logs/p.job_0_1/{run}.main.out"
            await until(lambda out=out: out.exists() and out.read_text().count("\n") == 50)
            await c.good("h", "stop", unit="p.job/0:1")

        async def ask(stream: str, **more: object) -> list[list[object]]:
            await c.good("h", "logs", stream=stream, units=["p.job/0:1"], times=True, **more)
            c.send({"t": "to", "sid": c.sids["h"], "frame": {"t": "credit", "stream": stream, "lines": 100}})
            await until(lambda: [f for f in c.logs if f["stream"] == stream and f["end"] is not None])
            return [line for f in c.logs if f["stream"] == stream for line in f["lines"]]

        found = await ask("a", grep={"text": "line (7|30)$", "regex": True}, before=1, since=5.0)
        assert [(line[0], line[3], line[5]) for line in found] == [
            (2, "line 6", "c"), (2, "line 7", ""), (2, "line 29", "g"), (2, "line 30", ""),
        ]  # fmt: skip
        notes = [f["note"] for f in c.logs if f.get("caught")]
        assert "the window is not applied" in notes[0] and "only the last 20,000 lines" in notes[0]
        assert {line[0] for line in await ask("b", previous=1, lines=3)} == {1}
        assert await ask("c", previous=5) == [] and "no run 5 before" in c.logs[-1]["end"]


async def test_the_head_is_kept(tmp_path: Path, key: Path, server: Sshd) -> None:
    async with entered(tmp_path, key, server) as c:
        assert (await c.cmd("h", "head-get"))["code"] == "missing"
        head = {"document": {"name": "x" * 5000}, "revision": 7, "digest": "abc", "import": None, "journal": None}
        await c.good("h", "head", **head)
        assert await c.good("h", "head-get") == head
    async with entered(tmp_path, key, server) as c:
        assert c.fulls[0]["head"] == {"revision": 7, "digest": "abc"}
