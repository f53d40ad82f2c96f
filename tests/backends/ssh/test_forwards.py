"""Port forwards to a host with only sshd."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

from tests.backends.ssh.test_own import entered
from tests.backends.ssh.world import Controller, Sshd, spec
from tests.e2e.forward_server import pieces
from tests.helpers import until

SERVER = Path(__file__).parents[2] / "e2e" / "forward_server.py"


class Forward:
    """What a controller sends and gets."""

    def __init__(self, c: Controller, task: str) -> None:
        self.c = c
        self.task = task

    async def open(self, **args: Any) -> Forward:
        uuid = next(o["uuid"] for o in self.c.opens if o["host"] == "h")
        given = {"task": self.task, "window": 65536, "timeout": 60.0, "port": "", **args}
        self._to({"t": "cmd", "task": self.task, "uuid": uuid, "word": "forward", "args": given})
        await until(lambda: self.said() or self.task in self.c.results, what="it begins")
        return self

    def _to(self, frame: dict[str, Any]) -> None:
        self.c.send({"t": "to", "sid": self.c.sids["h"], "frame": frame})

    def said(self) -> list[dict[str, Any]]:
        return [f["data"] for f in self.c.progress if f["task"] == self.task]

    def tell(self, *events: list[Any]) -> None:
        self._to({"t": "input", "task": self.task, "data": {"ev": list(events)}})

    def got(self, number: int, kind: str) -> list[Any]:
        events = [e for data in self.said() for e in data.get("ev", ())]
        return [e[2] if len(e) > 2 else None for e in events if e[:2] == [number, kind]]

    def data(self, number: int) -> bytes:
        return b"".join(base64.b64decode(text) for text in self.got(number, "data"))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_a_port_by_ssh(tmp_path: Path, key: Path, server: Sshd) -> None:
    async with entered(tmp_path, key, server) as c:
        argv = [sys.executable, "-I", str(SERVER), "{address}", "{port}", "0"]
        await c.good("h", "prepare", spec=spec("p.web/0", 1, argv, ports={"main": 0}, check={"tcp": "main"}))
        await c.good("h", "start", unit="p.web/0:1")
        await c.unit("h", "p.web/0:1", lambda u: u["health"] == "ok")
        f = await Forward(c, "f1").open(instance="p.web/0")
        assert f.said()[0]["begun"]["port"] == c.units["h"]["p.web/0:1"]["ports"]["main"]
        f.tell([1, "open", ""], [1, "data", b64(b"e" + b"hello")], [2, "open", ""], [2, "data", b64(b"h")])
        await until(lambda: f.data(1) == b"hello")
        f.tell([1, "eof"])
        await until(lambda: f.got(1, "over"))
        assert f.data(1) == b"helloend 5" and f.got(1, "over") == [""] and sum(f.got(1, "took")) == 6
        await until(lambda: f.got(2, "eof"))  # it has said all, and still listens
        f.tell([2, "data", b64(b"x" * 1000)], [2, "eof"])
        await until(lambda: f.got(2, "over"))
        size = 200_000
        f.tell([3, "open", ""], [3, "data", b64(b"s%010d" % size)])
        await until(lambda: len(f.data(3)) == 65536, what="so much as there is credit for")
        f.tell([3, "took", size])
        await until(lambda: f.data(3) == b"".join(pieces(size)))
        refused = await c.cmd("h", "forward", task="f2", instance="p.web/0", port="22", window=1)
        assert refused["code"] == "bad" and "22 is no port of p.web/0; it has main" in refused["text"]
        await c.good("h", "stop", unit="p.web/0:1")
        f.tell([4, "open", ""])
        await until(lambda: f.got(4, "no"))
        uuid = next(o["uuid"] for o in c.opens)
        f._to({"t": "cmd", "task": "e", "uuid": uuid, "word": "forward-end", "args": {"task": "f1"}})
        await until(lambda: "f1" in c.results)
        assert c.results["f1"]["data"]["why"] == "stopped" and c.results["f1"]["data"]["connections"] == 3
