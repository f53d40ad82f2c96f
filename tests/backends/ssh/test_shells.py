"""Shells on a host with only sshd."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.backends.ssh.test_own import entered
from tests.backends.ssh.world import Controller, Sshd, spec
from tests.helpers import alive, sshd_opens_terminals, until

needs_terminals = pytest.mark.skipif(
    not sshd_opens_terminals(), reason="sshd without root opens terminals only where /dev/pts is mounted with gid=5"
)


class Shell:
    def __init__(self, c: Controller, task: str, *, crediting: bool = True) -> None:
        self.c = c
        self.task = task
        self.crediting = crediting
        self._seen = 0

    async def open(self, *argv: str, **args: Any) -> Shell:
        given = {"task": self.task, "argv": list(argv), "tty": True, "rows": 30, "cols": 90, "term": "xterm",
                 "credit": 65536, "idle": 60.0, "timeout": 60.0, **args}  # fmt: skip
        uuid = next(o["uuid"] for o in self.c.opens if o["host"] == "h")
        self._to({"t": "cmd", "task": self.task, "uuid": uuid, "word": "shell", "args": given})
        await until(lambda: self.begun or self.c.results.get(self.task), what="it begins")
        assert self.begun, self.c.results[self.task]
        return self

    def _to(self, frame: dict[str, Any]) -> None:
        self.c.send({"t": "to", "sid": self.c.sids["h"], "frame": frame})

    def said(self, name: str) -> list[Any]:
        mine = [f["data"] for f in self.c.progress if f["task"] == self.task]
        return [d[name] for d in mine if name in d]

    @property
    def begun(self) -> dict[str, Any]:
        return next(iter(self.said("begun")), {})

    @property
    def out(self) -> bytes:
        found = b"".join(base64.b64decode(t) for t in self.said("out"))
        if self.crediting and len(found) > self._seen:
            self.input(credit=len(found) - self._seen)
            self._seen = len(found)
        return found

    def input(self, **data: Any) -> None:
        self._to({"t": "input", "task": self.task, "data": data})

    def type(self, text: str) -> None:
        self.input(data=base64.b64encode(text.encode()).decode())

    async def shows(self, *words: str) -> None:
        await until(lambda: all(w.encode() in self.out for w in words), what=f"{words} in {self.out[-2000:]!r}")

    async def ended(self) -> dict[str, Any]:
        answer = await until(lambda: (self.out, self.c.results.get(self.task))[1], what="it ends")
        assert answer["ok"], answer
        return dict(answer["data"])


@needs_terminals
async def test_a_shell_by_ssh(tmp_path: Path, key: Path, server: Sshd) -> None:
    async with entered(tmp_path, key, server) as c:
        s = await Shell(c, "s1").open()
        assert s.begun["user"]
        s.type("stty size; echo $TERM ok=$((40+2))\n")
        await s.shows("30 90", "xterm ok=42")
        s.input(rows=50, cols=132)
        s.type("stty size\n")
        await s.shows("50 132")
        other = await Shell(c, "s2", crediting=False).open("yes", "flood")  # beside the first
        await until(lambda: len(other.out) >= 65536)
        s.type("echo still $((1+1))\n")
        await s.shows("still 2")
        assert len(other.out) == 65536
        refused = await c.cmd("h", "shell", task="s3", argv=[])
        assert refused["code"] == "busy"
        other.crediting = True
        other.input(credit=65536)
        other.type("\x03")
        assert (await other.ended())["why"] == ""
        s.type("exit 7\n")
        done = await s.ended()
        assert (done["code"], done["why"]) == (7, "") and done["bytes"] == len(s.out)


@needs_terminals
async def test_an_instance_pipes_and_the_end(tmp_path: Path, key: Path, server: Sshd) -> None:
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.job/0", 1, ["sleep", "1000"]))
        await c.good("h", "start", unit="p.job/0:1")
        s = await Shell(c, "i1").open("sh", "-c", "pwd; echo $COCKPIT_INSTANCE; cat; exit 3", tty=False,
                                      instance="p.job/0")  # fmt: skip
        s.type("piped")
        s.input(eof=True)
        assert (await s.ended())["code"] == 3
        assert s.out == f"{tmp_path}/far/instances/p.job_0\np.job/0\npiped".encode()
        s = await Shell(c, "i2").open(instance="p.job/0")
        s.type("echo at $PWD $$.\n")
        await s.shows("instances/p.job_0 ")
        await until(lambda: s.out.count(b"instances/p.job_0 ") and b".\r\n" in s.out.rpartition(b"p.job_0 ")[2])
        pid = int(s.out.rpartition(b"p.job_0 ")[2].partition(b".")[0])
        s._to({"t": "cmd", "task": "e2", "uuid": c.opens[0]["uuid"], "word": "shell-end", "args": {"task": "i2"}})
        assert (await s.ended())["why"] == "stopped"
        await until(lambda: not alive(pid), what="sshd hangs it up")
        s = await Shell(c, "i3").open("sleep", "600", idle=0.5)
        assert (await s.ended())["why"] == "idle"
        await c.good("h", "stop", unit="p.job/0:1")
