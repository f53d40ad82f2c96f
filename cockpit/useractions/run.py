"""Runs what operators defined: here as programs of ours, on hosts through the op `exec`. Never by a shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cockpit.plan.steps import Bad, Refused
from cockpit.ports import Session
from cockpit.useractions.config import UserAction

LINE = 64 * 1024
"""Bytes of a line that are shown; the rest of it is left out."""
GRACE = 3.0
"""Seconds between the request to end and the end."""
PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSH_AUTH_SOCK")
"""Of our environment; the rest stays here."""
WAITING = 2000
"""Items that wait for the reader; then the programs wait."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One program, for one or more selected things."""

    label: str
    argv: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    """Where it runs when the action runs on hosts."""
    agreed: dict[str, str] = {}
    """What the guards want beside it: confirm, digest, break_glass."""


class Said(msgspec.Struct, frozen=True):
    label: str
    stream: str
    """out, err, or note (a remark of ours)."""
    text: str


class Ended(msgspec.Struct, frozen=True):
    label: str
    word: str
    """ok, failed, timed out, no answer, not sent, stopped."""
    code: int | None = None
    text: str = ""
    seconds: float = 0.0


Item = Said | Ended


def environment(action: UserAction, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    env = os.environ if environ is None else environ
    return {k: env[k] for k in PASSED if k in env} | {"TERM": "dumb", "COCKPIT_ACTION": action.name} | action.env


def _home() -> str:
    """Where a program begins: at home, if there is such a place."""
    home = os.environ.get("HOME") or "/"
    return home if Path(home).is_dir() else "/"


async def run(action: UserAction, jobs: Sequence[Job], session: Session) -> AsyncGenerator[Item, None]:
    """What they say, as it comes, and one Ended for each job (for each host of a job on hosts).

    To close the iterator ends everything that runs. What changes something is journalled before it begins;
    raises Refused, Bad or ConnectionError when that is not possible.
    """
    note = await _begin(action, jobs, session) if action.risk != "observe" else ""
    queue: asyncio.Queue[Item | None] = asyncio.Queue(WAITING)
    gate = asyncio.Semaphore(action.parallel)
    ends: list[Ended] = []

    async def one(job: Job) -> None:
        async with gate:
            items = _here(action, job) if action.where == "here" else _there(action, job, session)
            async with contextlib.aclosing(items):
                async for item in items:
                    await queue.put(item)

    async def all_of_them() -> None:
        try:
            await asyncio.gather(*(one(job) for job in jobs))
        finally:
            await queue.put(None)

    work = asyncio.create_task(all_of_them())
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, Ended):
                ends.append(item)
            yield item
        await work
    finally:
        stopped = not work.done()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        if note:
            words: dict[str, str] = {e.label: e.word for e in ends[:1000]}
            with contextlib.suppress(Bad, Refused, ConnectionError):
                await session.call("user_action", {"id": note, "end": words, "stopped": stopped})


async def _begin(action: UserAction, jobs: Sequence[Job], session: Session) -> str:
    answer = await session.call("user_action", {
        "name": action.name, "class": action.risk, "where": action.where,
        "runs": [{"argv": list(j.argv), "for": j.label, "hosts": list(j.hosts)} for j in jobs],
    })  # fmt: skip
    return str(answer["id"])


async def _here(action: UserAction, job: Job) -> AsyncGenerator[Item, None]:
    began = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            *job.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, limit=LINE,
            env=environment(action), cwd=_home(), start_new_session=True,
        )
    except OSError as e:
        yield Ended(job.label, "failed", None, f"{job.argv[0]}: {e.strerror or e}", 0.0)
        return
    lines: asyncio.Queue[Said | None] = asyncio.Queue(WAITING)

    async def read(stream: asyncio.StreamReader | None, name: str) -> None:
        assert stream is not None
        while (line := await _line(stream)) is not None:
            await lines.put(Said(job.label, name, line))

    async def watch() -> None:
        await asyncio.gather(read(process.stdout, "out"), read(process.stderr, "err"), process.wait())
        await lines.put(None)

    watching = asyncio.create_task(watch())
    late = False
    try:
        async with asyncio.timeout(action.timeout):
            while (said := await lines.get()) is not None:
                yield said
    except TimeoutError:
        late = True
    finally:
        if process.returncode is None or not watching.done():
            await _end(process)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    seconds, code = time.monotonic() - began, process.returncode
    if late:
        yield Ended(job.label, "timed out", code, f"ended after {action.timeout:g} s", seconds)
    elif code == 0:
        yield Ended(job.label, "ok", 0, "", seconds)
    else:
        text = f"exit {code}" if code is not None and code >= 0 else f"signal {-(code or 0)}"
        yield Ended(job.label, "failed", code, text, seconds)


async def _line(stream: asyncio.StreamReader) -> str | None:
    """The next line; of a longer one its beginning. None at the end."""
    try:
        raw = await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as e:
        if not e.partial:
            return None
        raw = e.partial
    except asyncio.LimitOverrunError as e:
        raw = await stream.read(e.consumed)
        while True:  # to the end of the line
            try:
                await stream.readuntil(b"\n")
                break
            except asyncio.LimitOverrunError as more:
                await stream.read(more.consumed)
            except asyncio.IncompleteReadError:
                break
    return raw.decode(errors="replace").rstrip("\r\n")


async def _end(process: asyncio.subprocess.Process) -> None:
    """The program and all it has started (its group), politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await process.wait()
            if number == signal.SIGTERM:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # what it left behind
            return


async def _there(action: UserAction, job: Job, session: Session) -> AsyncGenerator[Item, None]:
    request: dict[str, Any] = {
        "argv": list(job.argv), "hosts": list(job.hosts), "timeout": action.timeout, "user": action.user,
        **job.agreed,
    }  # fmt: skip
    open_hosts = dict.fromkeys(job.hosts)

    def label(host: str) -> str:
        return host if len(job.hosts) > 1 else job.label

    stream: AsyncIterator[Any] | None = None
    try:
        stream = session.stream("exec", request)
        async for item in stream:
            host = str(item.get("host", ""))
            if "end" in item:
                open_hosts.pop(host, None)
                yield Ended(
                    label(host), str(item["end"]), item.get("code"), str(item.get("text") or ""),
                    float(item.get("seconds") or 0),
                )
            elif "lines" in item:
                for name, text in item["lines"]:
                    yield Said(label(host), str(name), str(text))
            elif "dropped" in item:
                yield Said(label(host), "note", f"{item['dropped']} lines were left out: there were too many")
    except (Bad, Refused, ConnectionError) as e:
        for host in open_hosts:
            yield Ended(label(host), "not sent", None, str(e) or "no answer")
        open_hosts = {}
    finally:
        close: Any = getattr(stream, "aclose", None)
        if close is not None:
            await close()
    for host in open_hosts:
        yield Ended(label(host), "no answer", None, "the stream ended")
