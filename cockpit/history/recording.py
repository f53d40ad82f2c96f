"""The controller's part that records: takes the board's changes each second and hands them to the writing thread."""

from __future__ import annotations

import asyncio
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.history.frames import READABLE
from cockpit.history.writing import ASIDE, FLOOR, Limits, NoRoom, Writer
from cockpit.model.history_rows import TABLES
from cockpit.model.units import size_text

if TYPE_CHECKING:
    from cockpit.controller.board import Board, Subscriber

BATCH = 1.0
"""Seconds of changes that are written at once: what a kill -9 may take."""
SOON = 200
"""Rows that are looked at before a question, so that what was just done is in the answer."""
AGAIN = 10.0
"""Seconds between two tries after an error."""


class Recorder:
    """Records what the board shows, until it is cancelled. Nothing that goes wrong here ends the controller."""

    def __init__(self, board: Board, directory: Path, limits: Limits, *, floor: int = FLOOR) -> None:
        self.board = board
        self.directory = directory
        self.limits = limits
        self.trouble = ""
        """Why nothing is recorded now."""
        self.writer = Writer(directory, limits, floor=floor)
        self._pool = ThreadPoolExecutor(1, "history")
        self._tap: Subscriber | None = None
        self._broken = False

    async def run(self) -> None:
        if self.limits.days <= 0 or self.limits.size <= 0:
            return
        self._tap = self.board.subscribe()
        why, begun = "", False
        try:
            while not self._broken:
                if not begun:
                    begun = await self._try(self._begin(why))
                    if not begun:
                        why = self.trouble.partition(";")[0]
                        await asyncio.sleep(AGAIN)
                        continue
                await asyncio.sleep(BATCH)
                begun = await self._try(self._write()) and self.writer.path is not None
                why = self.trouble.partition(";")[0]
        finally:
            await self._end(begun)

    def notices(self) -> tuple[str, ...]:
        out: tuple[str, ...] = ()
        if self.trouble:
            out = (f"state history is not recorded: {self.trouble}",)
        if aside := self.writer.aside:
            files = "1 file is" if aside == 1 else f"{aside} files are"
            known = " and ".join(map(str, READABLE))
            out += (f"state history: {files} of a later version's format (this one reads {known}) and set aside in "
                    f"{self.directory} as *{ASIDE}",)
        return out

    async def flush(self) -> None:
        """What changed until now is on disk when this returns (if it is recorded)."""
        if self._tap is not None and not self.trouble:
            self.board.refresh(time.time(), SOON)
            await self._try(self._write())

    async def _begin(self, why: str) -> None:
        assert self._tap is not None
        self._tap.take()
        head, notices = self.board.head(time.time()), self.board.notices
        tables: dict[str, dict[str, Any]] = {}
        for name in TABLES:  # what changes between two of them is in the next batch as well
            tables[name] = dict(self.board.tables[name])
            await asyncio.sleep(0)
        await self._do(self.writer.begin, tables, head, notices, why)

    async def _write(self) -> None:
        assert self._tap is not None
        await self._do(self.writer.write, self._tap.take(), time.time())

    async def _end(self, begun: bool) -> None:
        if self._tap is not None:
            self.board.unsubscribe(self._tap)
        if begun:
            await self._try(self._write())
            await self._try(self._do(self.writer.stop, time.time()))
        self._pool.shutdown(wait=False)

    async def _do(self, work: Any, *args: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def _try(self, work: Any) -> bool:
        """False, and the trouble in words, when it did not work."""
        try:
            await work
        except NoRoom:
            self.trouble = (
                f"less than {size_text(self.writer.floor)} are free in {self.directory.parent}; it goes on by itself"
            )
        except OSError as e:
            self.trouble = f"{e.filename or self.directory}: {e.strerror or e}; it is tried again"
        except Exception as e:  # a fault of ours must not end the controller
            traceback.print_exception(e)
            self.trouble, self._broken = f"it stopped by its own error ({e!r})", True
        else:
            if self.writer.path is not None:
                self.trouble = ""
            return True
        await self._do(self.writer.drop)
        return False
