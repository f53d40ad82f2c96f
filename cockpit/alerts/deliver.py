"""Notices go out: webhooks by httpx, commands with the alert as input, lines to syslog.

One task and one bounded queue for each target, so that one that hangs delays no other. A try that fails is
repeated with growing pauses; what is given up is said on the alert.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable

import httpx
import msgspec

from cockpit.alerts.grouping import Notice
from cockpit.alerts.settings import FACILITIES, Target

QUEUE = 100
PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
"""Seconds between two tries; after the last the notice is given up."""
WORDS = {"firing": "", "again": "still: ", "more": "more: ", "ended": "ended: "}
SYSLOG = "/dev/log"
_CODES = {"user": 1, "daemon": 3, **{f"local{n}": 16 + n for n in range(8)}}
assert set(_CODES) == set(FACILITIES)

Report = Callable[[str, str, str], None]
"""Target, id of the alert, what went wrong (empty: it was told)."""


class Undelivered(Exception):
    """Why a try failed, without what may be secret."""


def body(notice: Notice) -> dict[str, object]:
    """What a webhook gets, and a command as its input."""
    a = notice.alert
    return {
        "cluster": notice.cluster, "what": notice.what, "alert": a.id, "when": a.when, "group": a.group,
        "members": list(a.members), "text": a.text, "since": a.since, "ended": a.ended, "summary": summary(notice),
    }


def summary(notice: Notice) -> str:
    """One line: `puzzle-prod: crash-loop of puzzle.web: exit 1 three times`."""
    a = notice.alert
    line = f"{WORDS[notice.what]}{a.when} of {a.group}: {a.text}"
    return f"{notice.cluster}: {line}" if notice.cluster else line


class Delivery:
    """Sends to the targets it knows. `report` hears how it went."""

    def __init__(self, report: Report, *, pauses: tuple[float, ...] = PAUSES, syslog: str = SYSLOG) -> None:
        self._report = report
        self._pauses = pauses
        self._syslog = syslog
        self._tls: ssl.SSLContext | None = None
        self._targets: dict[str, Target] = {}
        self._queues: dict[str, asyncio.Queue[Notice]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def prepare(self) -> None:
        """What webhooks need, before the first alert: to read the certificates takes a tenth of a second. It was done
        at each try, and the controller stood still meanwhile."""
        self._tls = await asyncio.to_thread(_trust)

    def use(self, targets: dict[str, Target]) -> None:
        """Other settings. What waits for a target that is gone is dropped."""
        for name in [n for n in self._tasks if targets.get(n) != self._targets.get(n)]:
            self._tasks.pop(name).cancel()
            if name not in targets:
                del self._queues[name]
        self._targets = dict(targets)
        for name in targets:
            if name not in self._tasks:
                self._queues.setdefault(name, asyncio.Queue(QUEUE))
                self._tasks[name] = asyncio.create_task(self._work(name))

    def put(self, notice: Notice) -> None:
        queue = self._queues.get(notice.target)
        if queue is None:
            return
        if queue.full():
            lost = queue.get_nowait()
            self._report(notice.target, lost.alert.id, f"{notice.target} is behind: a notice was dropped")
        queue.put_nowait(notice)

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _work(self, name: str) -> None:
        target, queue = self._targets[name], self._queues[name]
        while True:
            notice = await queue.get()
            for pause in (*self._pauses, None):
                try:
                    async with asyncio.timeout(target.timeout):
                        await self.tell(target, notice)
                    self._report(name, notice.alert.id, "")
                    break
                except (Undelivered, TimeoutError) as e:
                    why = str(e) or f"no answer in {target.timeout:g} s"
                    more = f"tried again in {pause:g} s" if pause is not None else "given up"
                    self._report(name, notice.alert.id, f"{name} ({target.words}): {why}; {more}")
                    if pause is not None:
                        await asyncio.sleep(pause)

    async def tell(self, target: Target, notice: Notice) -> None:
        """One try. Raises Undelivered."""
        if target.webhook:
            await _post(target, notice, self._tls)
        elif target.command:
            await _run(target, notice)
        else:
            _log(self._syslog, target.syslog, summary(notice))


def _trust() -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    httpx.AsyncClient(verify=context)  # the first one loads modules
    return context


async def _post(target: Target, notice: Notice, tls: ssl.SSLContext | None) -> None:
    content = msgspec.json.encode(body(notice))
    headers = {"Content-Type": "application/json", **target.headers}
    try:
        trust = tls if tls is not None else await asyncio.to_thread(_trust)
        async with httpx.AsyncClient(timeout=target.timeout, follow_redirects=False, verify=trust) as client:
            async with client.stream("POST", target.webhook, content=content, headers=headers) as answer:
                if answer.status_code >= 300:
                    raise Undelivered(f"it answered {answer.status_code}")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as e:
        # httpx puts the URL into some of its texts
        raise Undelivered(type(e).__name__) from None


async def _run(target: Target, notice: Notice) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *target.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as e:
        raise Undelivered(getattr(e, "strerror", None) or str(e)) from None
    try:
        with contextlib.suppress(ConnectionError):
            await process.communicate(msgspec.json.encode(body(notice)) + b"\n")
        code = await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()
        raise
    if code:
        raise Undelivered(f"it ended with {code}" if code > 0 else f"signal {-code} ended it")


def _log(path: str, facility: str, line: str) -> None:
    """RFC 3164, as every local syslog reads it; one datagram."""
    stamp = time.strftime("%b %e %H:%M:%S")
    text = line.replace("\n", " ")[:1500]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.setblocking(False)
        try:
            s.connect(path)
            s.send(f"<{_CODES[facility] * 8 + 4}>{stamp} cockpit[{os.getpid()}]: {text}".encode())
        except OSError as e:
            raise Undelivered(f"{path}: {e.strerror}") from None
