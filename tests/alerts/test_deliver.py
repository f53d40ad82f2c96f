"""Notices reach real servers, commands and sockets; what fails is tried again and said."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cockpit.alerts.deliver import Delivery, Undelivered, body, summary
from cockpit.alerts.grouping import Notice
from cockpit.alerts.settings import Target
from cockpit.model.view import AlertRow
from tests.helpers import PATIENCE, until

ROW = AlertRow(id="a1", when="crash", group="p.web", members=("p.web/0",), text="exit 1", since=1.0)
PAUSES = (0.01, 0.01)


def notice(target: str = "t", what: str = "firing") -> Notice:
    return Notice(target, what, ROW, "prod")


class Hook:
    """A web server that answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, Any], str]] = []
        self.answers: list[int] = []

    async def take(self, request: web.Request) -> web.Response:
        code = self.answers.pop(0) if self.answers else 200
        if code == 200:
            self.got.append((await request.json(), request.headers.get("Authorization", "")))
        if code == 0:
            await asyncio.sleep(60)
        return web.Response(status=code, headers={"Location": "http://127.0.0.1:1/"} if code == 302 else {})


@pytest.fixture
async def hook() -> AsyncIterator[tuple[Hook, str]]:
    made, app = Hook(), web.Application()
    app.router.add_post("/secret", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield made, f"{site.name}/secret"
    await runner.cleanup()


class Reports(list[tuple[str, str, str]]):
    def __call__(self, target: str, alert: str, trouble: str) -> None:
        self.append((target, alert, trouble))


def test_what_is_told() -> None:
    assert summary(notice()) == "prod: crash of p.web: exit 1"
    assert summary(notice(what="ended")) == "prod: ended: crash of p.web: exit 1"
    assert body(notice())["members"] == ["p.web/0"] and json.dumps(body(notice()))


async def test_a_webhook_is_tried_until_it_takes_it(hook: tuple[Hook, str]) -> None:
    made, url = hook
    made.answers = [500, 302]
    reports = Reports()
    delivery = Delivery(reports, pauses=PAUSES)
    delivery.use({"t": Target(webhook=url, headers={"Authorization": "Bearer x"})})
    delivery.put(notice())
    await until(lambda: reports and reports[-1][2] == "")
    assert [r[2].partition(": ")[2] for r in reports[:2]] == [
        "it answered 500; tried again in 0.01 s", "it answered 302; tried again in 0.01 s",
    ]  # fmt: skip
    assert not any("secret" in r[2] for r in reports)
    ((told, header),) = made.got
    assert (told["summary"], told["alert"], header) == ("prod: crash of p.web: exit 1", "a1", "Bearer x")
    await delivery.stop()


async def test_what_is_never_taken_is_given_up_and_others_do_not_wait(hook: tuple[Hook, str]) -> None:
    made, url = hook
    made.answers = [0]
    reports = Reports()
    delivery = Delivery(reports, pauses=(0.01,))
    slow = Target(webhook=url, timeout=30.0)
    delivery.use({"slow": slow, "nobody": Target(webhook="http://127.0.0.1:1/secret")})
    delivery.put(notice("slow"))
    delivery.put(notice("nobody"))
    await until(lambda: any("given up" in r[2] for r in reports))
    assert [r[0] for r in reports] == ["nobody", "nobody"] and "ConnectError" in reports[0][2]
    delivery.use({"slow": slow})
    delivery.put(notice("nobody"))
    for _ in range(101):  # one is on its way, a hundred may wait
        delivery.put(notice("slow"))
    await until(lambda: "a notice was dropped" in reports[-1][2])
    await delivery.stop()


async def test_a_slow_try_has_failed() -> None:
    reports = Reports()
    delivery = Delivery(reports, pauses=())
    delivery.use({"t": Target(command=("sleep", "60"), timeout=0.05)})
    delivery.put(notice())
    await until(lambda: reports)
    assert "no answer in 0.05 s; given up" in reports[0][2]
    await delivery.stop()


async def test_a_command_gets_the_alert_as_its_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read()); sys.exit(int(sys.argv[2]))"
    delivery = Delivery(Reports())
    await delivery.tell(Target(command=(sys.executable, "-c", script, str(out), "0")), notice())
    assert json.loads(out.read_text())["group"] == "p.web"
    with pytest.raises(Undelivered, match="it ended with 3"):
        await delivery.tell(Target(command=(sys.executable, "-c", script, str(out), "3")), notice())
    with pytest.raises(Undelivered, match="No such file"):
        await delivery.tell(Target(command=("/nowhere/page",)), notice())


async def test_syslog_gets_one_line(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    delivery = Delivery(Reports(), syslog=path)
    with pytest.raises(Undelivered, match="No such file"):
        await delivery.tell(Target(syslog="local3"), notice())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(PATIENCE)
        await delivery.tell(Target(syslog="local3"), notice())
        line = s.recv(4096).decode()
    assert line.startswith("<156>") and line.endswith("prod: crash of p.web: exit 1") and "\n" not in line
