"""Logs of a host without an agent: `tail` of files, or journalctl, while somebody follows.

Nobody there notes when lines were written: only the journal knows times of stored lines, what comes while it is
followed has the time at which it came. Searches look through the last SEARCHED lines, here.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

from backends.ssh import scripts
from backends.ssh.pool import NotConnected, opened
from cockpit.agent.files import flat
from cockpit.agent.log_match import Matcher, TooSlow
from cockpit.agent.log_query import Context, Query
from cockpit.agent.logs import text_of
from cockpit.agent.prepare import instance_dir, template_values
from cockpit.agent.runtimes import systemd
from cockpit.agent.tasks import CommandError
from cockpit.agent.template import TemplateError, fill

if TYPE_CHECKING:
    from backends.ssh.host import Host

STREAMS = 4
"""At once on one host: each holds a channel of its connection."""
BATCH = 500
MOST = 20_000
SEARCHED = 20_000
"""Last lines of each file that a search looks through."""
LINE = 256 * 1024
BLOCK = 64 * 1024
SILENCE = 1.0
"""Seconds without a word after which all that is stored has come."""
LOOK = 1.0
HEADER = re.compile(rb"==> (.+) <==\r?\n?")
NAME = re.compile(r"([0-9]+)\.([A-Za-z0-9_-]+)\.(out|err)")
LIST = """
cd "$1/logs/$2" 2>/dev/null && ls; exit 0
"""
Source = tuple[int, str, str]
"""run, stdout or stderr, process."""


class Followed:
    """The streams that are open."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._streams: dict[str, tuple[Stream, asyncio.Task[None]]] = {}

    def open(self, id: str, units: list[str], query: Query) -> None:
        """Raises CommandError."""
        self.shut(id)
        if len(self._streams) >= STREAMS:
            raise CommandError("busy", f"{STREAMS} log streams are open on {self._host.name}: no more without agent")
        stream = Stream(self._host, id, units, query)
        task = asyncio.create_task(stream.run())
        self._streams[id] = (stream, task)
        task.add_done_callback(lambda done: self._ended(id, done))

    def credit(self, id: str, lines: int) -> None:
        if id in self._streams:
            self._streams[id][0].credit(lines)

    def shut(self, id: str) -> None:
        found = self._streams.pop(id, None)
        if found is not None:
            found[1].cancel()

    def close(self) -> None:
        for id in list(self._streams):
            self.shut(id)

    def _ended(self, id: str, done: asyncio.Task[None]) -> None:
        if id in self._streams and self._streams[id][1] is done:
            del self._streams[id]
        if not done.cancelled():
            done.exception()  # seen


async def files_of(host: Host, unit: str, previous: int = 0) -> dict[str, Source]:
    """Path -> what it holds, of the newest run or one before; empty for systemd, whose journal has them.

    Raises CommandError when there is no such run.
    """
    record, kind = host.records[unit], host.kind(unit)
    run = max(1, host.track(unit).run)
    found: dict[str, Source] = {}
    if kind.kind == "own" or kind.kind == "pidfile":
        done = await host.run(LIST, flat(unit))
        names = [m for m in map(NAME.fullmatch, done.out.splitlines()) if m]
        runs = sorted({int(m[1]) for m in names})
        if previous and (kind.kind != "own" or previous >= len(runs)):
            raise CommandError("missing", f"no run {previous} before the newest is kept on {host.name}")
        last = runs[-1 - previous] if runs else 0
        for m in names:
            if int(m[1]) == last:
                path = f"{host.dir}/logs/{flat(unit)}/{m[0]}"
                found[path] = (last, "stdout" if m[3] == "out" else "stderr", m[2])
    elif kind.kind == "supervisord":
        seen = host.look.services.get(f"supervisord {kind.name}")
        if seen is not None and seen.stdout:
            found[seen.stdout] = (run, "stdout", "main")
        if seen is not None and seen.stderr:
            found[seen.stderr] = (run, "stderr", "main")
    if kind.kind != "own":
        from backends.ssh.look import place_of

        values = template_values(
            record["spec"], place_of(record, host.dir, host.address),
            instance_dir(host.dir, str(record["spec"]["instance"])),
        )  # fmt: skip
        with contextlib.suppress(TemplateError):
            for name, template in (record["spec"].get("logs") or {}).items():
                found[fill(str(template), values)] = (run, "stdout", str(name))
    return found


async def source_of(
    host: Host, unit: str, lines: int, follow: bool, query: Query | None = None
) -> tuple[str, dict[str, Source]]:
    """The command that prints its lines, and what the paths in its headings mean. Raises CommandError."""
    kind = host.kind(unit)
    if kind.kind == "systemd":
        if query is not None and query.previous:
            raise CommandError("unsupported", "systemd's journal does not tell runs apart")
        argv = systemd.journal(
            kind.name, lines, follow, user=host.user_manager, times=query is not None,
            since=query.since if query else 0.0, until=query.until if query else 0.0,
        )  # fmt: skip
        return scripts.command(scripts.RUN, "/", *argv), {}
    if query is not None and query.previous and kind.kind != "own":
        raise CommandError("unsupported", f"the log files of {kind.kind} do not tell runs apart")
    files = await files_of(host, unit, query.previous if query else 0)
    if query is not None and query.streams:
        files = {p: s for p, s in files.items() if s[1] in query.streams or s[2] in query.streams}
    if not files:
        return "", {}
    argv = ["tail", "-n", str(lines), *(["-F"] if follow else []), "--", *sorted(files)]
    return scripts.command(scripts.RUN, "/", *argv), files


class Stream:
    def __init__(self, host: Host, id: str, units: list[str], query: Query) -> None:
        self._host = host
        self._id = id
        self._units = units
        self._query = query
        self._lines = SEARCHED if query.searches else min(query.lines, MOST)
        self._follow = query.follow
        self._credit = 0
        self._more = asyncio.Event()
        self._matcher = Matcher(query.grep)
        self._around = Context(query.before, query.after)
        self._caught = False
        self._journal = False

    def credit(self, lines: int) -> None:
        self._credit += max(0, lines)
        self._more.set()

    async def run(self) -> None:
        end = ""
        try:
            unit = self._units[-1]
            first, run = True, -1
            while True:
                run = self._host.track(unit).run
                self._journal = self._host.kind(unit).kind == "systemd"
                command, files = await source_of(
                    self._host, unit, self._lines if first else MOST, self._follow, self._query
                )
                first = False
                if command:
                    await self._one(unit, command, files, run)
                if not self._follow or unit not in self._host.records:
                    break
                while unit in self._host.records and self._host.track(unit).run == run:
                    await asyncio.sleep(LOOK)
            self._tell_caught()
        except (NotConnected, CommandError, TooSlow) as e:
            end = str(e)
        finally:
            self._matcher.close()
        self._host.send(self._frame("", [], end=end))

    async def _one(self, unit: str, command: str, files: dict[str, Source], run: int) -> None:
        """Until the command ends, or another run has begun."""
        source = next(iter(files.values())) if files else (max(1, run), "stdout", "main")
        async with self._host.kept.channel(lasting=True) as conn:
            process = await opened(conn, command)
            reading = asyncio.ensure_future(self._read(process.stdout, unit, files, source))
            changed = asyncio.ensure_future(self._until(unit, run))
            try:
                await asyncio.wait({reading, changed}, return_when=asyncio.FIRST_COMPLETED)
                if changed.done() and not reading.done():
                    await asyncio.wait({reading}, timeout=LOOK)  # what was written last
                if reading.done():
                    reading.result()
            finally:
                reading.cancel()
                changed.cancel()
                process.close()

    async def _until(self, unit: str, run: int) -> None:
        host = self._host
        if not self._follow:
            await asyncio.Event().wait()
        while unit in host.records and host.track(unit).run == run:
            await asyncio.sleep(LOOK)

    async def _read(self, reader: Any, unit: str, files: dict[str, Source], source: Source) -> None:
        held = b""
        while block := await self._block(reader):
            held += block
            *whole, held = held.split(b"\n")
            if len(held) > LINE:
                whole, held = [*whole, held], b""
            lines = []
            for line in whole:
                heading = HEADER.fullmatch(line) if len(files) > 1 else None
                if heading is not None and heading[1].decode("utf-8", "replace") in files:
                    source = files[heading[1].decode("utf-8", "replace")]
                elif line or len(files) <= 1:
                    lines.append(self._timed(source, line))
            await self._pick(unit, lines)
        if held:
            await self._pick(unit, [self._timed(source, held)])

    async def _block(self, reader: Any) -> bytes:
        """The first silence is the end of what was stored."""
        if self._caught:
            return bytes(await reader.read(BLOCK))
        reading = asyncio.ensure_future(reader.read(BLOCK))
        try:
            done, _ = await asyncio.wait({reading}, timeout=SILENCE)
            if not done:
                self._tell_caught()
            return bytes(await reading)
        finally:
            reading.cancel()

    def _tell_caught(self) -> None:
        if self._caught or not self._query.times:
            return
        self._caught = True
        query, notes = self._query, []
        if query.searches and not self._journal:
            if query.since or query.until:
                notes.append("without an agent nobody knows when lines were written: the window is not applied")
            if query.grep is not None:
                notes.append(f"only the last {SEARCHED:,} lines of each file were searched")
        self._host.send({**self._frame("", []), "caught": True, "note": "; ".join(notes)})

    def _timed(self, source: Source, text: bytes) -> tuple[float, list[Any]]:
        when = time.time() if self._caught else 0.0
        if self._journal:
            when, text = systemd.entry(text)
        return when, [*source, text_of(text)]

    async def _pick(self, unit: str, lines: list[tuple[float, list[Any]]]) -> None:
        query = self._query
        if query.grep is None:
            shown = [((when, line), "") for when, line in lines]
        else:
            fits = await asyncio.to_thread(self._matcher.fits, [str(line[3]) for _, line in lines])
            shown = []
            for each, good in zip(lines, fits, strict=True):
                shown += self._around.feed(each, good)
        told = [[*line, round(when, 3), mark] if query.times else line for (when, line), mark in shown]
        await self._emit(unit, told)

    async def _emit(self, unit: str, lines: list[list[Any]]) -> None:
        while lines:
            while self._credit <= 0:
                self._more.clear()
                await self._more.wait()
            await self._host.room()
            n = min(self._credit, BATCH)
            part, lines = lines[:n], lines[n:]
            self._credit -= len(part)
            self._host.send(self._frame(unit, part))

    def _frame(self, unit: str, lines: list[list[Any]], end: str | None = None) -> dict[str, Any]:
        return {"t": "log", "stream": self._id, "unit": unit, "lines": lines, "dropped": 0, "end": end}
