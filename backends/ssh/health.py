"""Health checks of a host without an agent: tcp and http through the SSH connection, exec by a command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.ssh.pool import NotConnected
from cockpit.agent.checks import MAX_BODY, MAX_HEAD, CheckFailed, Subject, http_body
from cockpit.agent.health import Gauge
from cockpit.agent.prepare import filled_check, instance_dir, template_values
from cockpit.agent.tasks import CommandError
from cockpit.agent.template import TemplateError

if TYPE_CHECKING:
    from backends.ssh.host import Host

LEAST = 1.0
"""Seconds between two checks of one unit, at least."""
FIRST = 0.3


class Checks:
    """One task for each live unit with a check; its gauge says how it is."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.gauges: dict[str, Gauge] = {}
        self.draining: set[str] = set()
        """Our own connections must not be counted as clients: these are not checked."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def sync(self) -> None:
        host = self._host
        alive = {u for u, r in host.records.items() if r["spec"].get("check") and host.seen(u).alive}
        for unit in [u for u in self._tasks if u not in alive]:
            self.renew(unit)
        for unit in alive - set(self._tasks):
            check = host.records[unit]["spec"]["check"]
            self.gauges[unit] = Gauge(int(check.get("rise", 1)), int(check.get("fall", 3)))
            self._tasks[unit] = asyncio.create_task(self._watch(unit, check))

    def renew(self, unit: str) -> None:
        """Another run: health begins anew at the next look."""
        task = self._tasks.pop(unit, None)
        if task is not None:
            task.cancel()
        self.gauges.pop(unit, None)

    def stop(self) -> None:
        for unit in list(self._tasks):
            self.renew(unit)

    async def _watch(self, unit: str, check: Mapping[str, Any]) -> None:
        interval, gauge = max(LEAST, float(check.get("interval", 1.0))), self.gauges[unit]
        while True:
            if unit not in self.draining:
                why = await self._once(unit, check)
                if why is not None and gauge.feed(why, time.time()):
                    self._host.report()
            await asyncio.sleep(interval if gauge.good_once else FIRST)

    async def _once(self, unit: str, check: Mapping[str, Any]) -> str | None:
        """Empty: well. None: nobody knows (the connection is away)."""
        timeout = float(check.get("timeout", 1.0)) + 0.5  # the way there and back
        try:
            async with asyncio.timeout(timeout + 5.0):
                await self._check(unit, check, timeout)
            return ""
        except CheckFailed as e:
            return str(e)
        except TimeoutError:
            return f"no answer in {timeout:g} s"
        except (NotConnected, CommandError):
            return None

    async def _check(self, unit: str, check: Mapping[str, Any], timeout: float) -> None:
        host = self._host
        record = host.records[unit]
        subject = Subject(host.address or "127.0.0.1", record.get("ports") or {})
        if check.get("notify"):
            raise CheckFailed("a notify check needs an agent on the host")
        if check.get("exec"):
            await self._exec(unit, check, timeout)
            return
        http = check.get("http")
        port = subject.port(http.get("port") if http is not None else check.get("tcp") or None)
        path = str(http.get("path") or "/") if http is not None else ""
        if any(c in path for c in "\r\n "):
            raise CheckFailed(f"{path!r:.80} is not an http path")
        async with host.kept.channel():
            try:
                async with asyncio.timeout(timeout):
                    reader, writer = await host.kept.open(subject.address, port)
                    try:
                        if http is not None:
                            name = f"[{subject.address}]" if ":" in subject.address else subject.address
                            head = f"GET {path} HTTP/1.0\r\nHost: {name}:{port}\r\nUser-Agent: cockpit\r\n\r\n"
                            writer.write(head.encode())
                            data = b""
                            while len(data) < MAX_HEAD + MAX_BODY and (block := await reader.read(16384)):
                                data += block
                            http_body(data)
                    finally:
                        writer.close()
            except ConnectionError:
                kind = "tcp" if http is None else "http"
                raise CheckFailed(f"{kind} {subject.address}:{port} refused") from None

    async def _exec(self, unit: str, check: Mapping[str, Any], timeout: float) -> None:
        host = self._host
        record = host.records[unit]
        from backends.ssh.look import place_of

        own = instance_dir(host.dir, str(record["spec"]["instance"]))
        place = place_of(record, host.dir, host.address)
        try:
            filled = filled_check(check, template_values(record["spec"], place, own)) or {}
        except TemplateError as e:
            raise CheckFailed(str(e)) from None
        seconds = f"{timeout:g}"
        argv = ["timeout", "-s", "KILL", seconds, *(str(a) for a in filled["exec"])]
        done = await host.program(argv, cwd=place.release or own, timeout=timeout + 5.0)
        if done.code in (124, 137) or done.code is None:
            raise CheckFailed(f"no answer in {seconds} s")
        if done.code != 0:
            raise CheckFailed(f"exit {done.code}: {done.said()}"[:220])
