"""Log lines of services that others run: systemd's journal, the files of supervisord."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from cockpit.agent import local_look as near
from cockpit.agent.files import flat
from cockpit.agent.follow import BATCH, Records, Send, Stream
from cockpit.agent.health import Record
from cockpit.agent.log_query import Query
from cockpit.agent.logs import Line, text_of
from cockpit.agent.runtimes import systemd

READ = 64 * 1024
MAX_HELD = 256 * 1024
"""Bytes of a line that is not finished."""
SEARCHED = 20_000
"""Last lines that are looked through when only some are wanted."""
SILENCE = 0.5
"""Seconds without a word after which all that is stored has been printed."""
PAUSE = 0.05
"""Seconds in which lines are gathered before they are sent."""


def source(
    record: Mapping[str, Any], lines: int, follow: bool, user: bool, query: Optional[Query] = None
) -> List[str]:
    """argv of the program that prints its last lines; empty: they are in files of ours, or nowhere."""
    if query is not None and query.searches:
        lines = SEARCHED
    if record.get("runtime") == "systemd":
        more = {"times": True, "since": query.since, "until": query.until} if query is not None else {}
        return systemd.journal(str(record["runtime_name"]), lines, follow, user, **more)  # type: ignore[arg-type]
    files = [path for path in record.get("log_files") or [] if str(path).startswith("/")]
    if record.get("runtime") == "supervisord" and files:
        return ["tail", "-q", "-n", str(lines), *(["-F"] if follow else []), "--", *files]
    return []


async def tail(argv: Sequence[str], lines: int) -> List[str]:
    """The text of the last lines."""
    done = await near.run(argv, 20.0)
    return [text_of(line.encode()) for line in done.out.splitlines()][-lines:] if lines else []


class ForeignStream(Stream):
    """As a stream of ours, of what one program prints. It follows until it is closed."""

    def __init__(
        self, host_dir: str, id: str, records: Records, send: Send, *, unit: str, argv: List[str], run: int,
        query: Query,
    ) -> None:
        super().__init__(host_dir, id, records, send, units=[unit], instance="", query=query)
        self._argv = argv
        self._name = flat(unit)
        self._run_number = run
        self._journal = os.path.basename(argv[0]) == "journalctl"
        self._caught = False

    async def _all(self) -> None:
        process: Optional[asyncio.subprocess.Process] = None
        around = self._context()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, cwd="/",
            )
            assert process.stdout is not None
            held = b""
            while True:
                data = await self._data(process.stdout)
                held += data
                *whole, held = held.split(b"\n")
                if len(held) > MAX_HELD or (not data and held):
                    whole, held = [*whole, held], b""
                lines = [line for line in map(self._timed, whole) if self._within(line[0])]
                for n in range(0, len(lines), BATCH):
                    await self._pick(self._name, around, lines[n : n + BATCH])
                if not data:
                    break
                await asyncio.sleep(PAUSE)
            await self._tell_caught()
            await self._send({**self._frame("", []), "unit": "", "end": ""})
        except OSError as e:
            await self._send({**self._frame("", []), "unit": "", "end": f"{self._argv[0]}: {e.strerror}"})
        finally:
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()

    async def _data(self, reader: asyncio.StreamReader) -> bytes:
        """What comes next. The first silence is the end of what was stored."""
        if self._caught:
            return await reader.read(READ)
        reading = asyncio.ensure_future(reader.read(READ))
        try:
            done, _ = await asyncio.wait({reading}, timeout=SILENCE)
            if not done:
                await self._tell_caught()
            return await reading
        finally:
            reading.cancel()

    async def _tell_caught(self) -> None:
        if self._caught or not self._query.times:
            return
        self._caught = True
        notes = []
        if not self._journal:
            notes.append("the lines carry no times: supervisord keeps none")
        if self._query.previous or self._query.streams:
            what = "systemd" if self._journal else "supervisord"
            notes.append(f"{what} keeps its lines: runs and streams cannot be told apart")
        await self._send({**self._frame("", []), "caught": True, "left": 0, "note": "; ".join(notes)})

    def _within(self, when: float) -> bool:
        query = self._query
        return not when or not ((query.since and when < query.since) or (query.until and when > query.until))

    def _timed(self, text: bytes) -> Tuple[float, Line]:
        when = 0.0
        if self._journal:
            when, text = systemd.entry(text)
        elif self._caught:
            when = time.time()
        return when, (self._run_number, "stdout", "main", text_of(text))


def of_records(records: Mapping[str, Record], units: Sequence[str], instance: str) -> Optional[Record]:
    """The newest of these units when another program runs it, and so its lines; else None."""
    mine = [r for u, r in records.items() if (u.rpartition(":")[0] == instance if instance else u in units)]
    mine = [r for r in mine if r.get("runtime") in ("systemd", "supervisord")]
    mine.sort(key=lambda r: (bool(r.get("pids")), int(str(r["unit"]).rpartition(":")[2])))
    return mine[-1] if mine else None
