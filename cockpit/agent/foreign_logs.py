"""Log lines of services that others run: systemd's journal, the files of supervisord."""

from __future__ import annotations

import asyncio
from typing import Any, List, Mapping, Optional, Sequence

from cockpit.agent import local_look as near
from cockpit.agent.files import flat
from cockpit.agent.follow import BATCH, Records, Send, Stream
from cockpit.agent.health import Record
from cockpit.agent.logs import MAX_TEXT, Line, text_of
from cockpit.agent.runtimes import systemd

READ = 64 * 1024
PAUSE = 0.05
"""Seconds in which lines are gathered before they are sent."""


def source(record: Mapping[str, Any], lines: int, follow: bool, user: bool) -> List[str]:
    """argv of the program that prints its last lines; empty: they are in files of ours, or nowhere."""
    if record.get("runtime") == "systemd":
        return systemd.journal(str(record["runtime_name"]), lines, follow, user)
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
        self, host_dir: str, id: str, records: Records, send: Send, *, unit: str, argv: List[str], run: int
    ) -> None:
        super().__init__(host_dir, id, records, send, units=[unit], instance="", lines=0, follow=False)
        self._argv = argv
        self._name = flat(unit)
        self._run_number = run

    async def run(self) -> None:
        process: Optional[asyncio.subprocess.Process] = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, cwd="/",
            )
            assert process.stdout is not None
            held = b""
            while True:
                data = await process.stdout.read(READ)
                held += data
                *whole, held = held.split(b"\n")
                if len(held) > MAX_TEXT or (not data and held):
                    whole, held = [*whole, held], b""
                lines = [self._line(text) for text in whole]
                for n in range(0, len(lines), BATCH):
                    await self._emit(self._name, lines[n : n + BATCH])
                if not data:
                    break
                await asyncio.sleep(PAUSE)
            await self._send({**self._frame("", []), "unit": "", "end": ""})
        except OSError as e:
            await self._send({**self._frame("", []), "unit": "", "end": f"{self._argv[0]}: {e.strerror}"})
        finally:
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()

    def _line(self, text: bytes) -> Line:
        return (self._run_number, "stdout", "main", text_of(text))


def of_records(records: Mapping[str, Record], units: Sequence[str], instance: str) -> Optional[Record]:
    """The newest of these units when another program runs it, and so its lines; else None."""
    mine = [r for u, r in records.items() if (u.rpartition(":")[0] == instance if instance else u in units)]
    mine = [r for r in mine if r.get("runtime") in ("systemd", "supervisord")]
    mine.sort(key=lambda r: (bool(r.get("pids")), int(str(r["unit"]).rpartition(":")[2])))
    return mine[-1] if mine else None
