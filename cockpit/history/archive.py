"""Asks the reader of the history, one question at a time. It runs while somebody looks, and a while longer."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from cockpit.children import ended
from cockpit.history.recording import Recorder
from cockpit.plan.steps import Bad

REST = 60.0
"""Seconds after the last question until the reader ends."""
LOOK = 15.0
"""Seconds between two looks at that."""
LINE = 64 * 2**20
"""Bytes of one item, at most."""


class Archive:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._asked = 0.0

    @property
    def busy(self) -> bool:
        """A question is being answered."""
        return self._turn.locked()

    async def ask(self, op: str, args: Mapping[str, Any]) -> Any:
        """The one item of an answer. Raises Bad, and ConnectionError when the reader ended."""
        async with contextlib.aclosing(self.items(op, args)) as items:
            (item,) = [item async for item in items]
        return item

    async def items(self, op: str, args: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """What happened until now is part of the answer. Raises as `ask`."""
        await self.recorder.flush()
        async with self._turn:
            process = await self._running()
            assert process.stdin is not None and process.stdout is not None
            whole = False
            try:
                with contextlib.suppress(ConnectionError):  # its end says more
                    process.stdin.write(msgspec.json.encode({"op": op, "args": args}) + b"\n")
                    await process.stdin.drain()
                while line := await process.stdout.readline():
                    said = msgspec.json.decode(line)
                    whole = "item" not in said
                    if "wrong" in said:
                        raise Bad(str(said["wrong"]))
                    if whole:
                        return
                    yield said["item"]
                raise ConnectionError(f"the reader of the history ended by itself (exit {await ended(process)})")
            finally:
                self._asked = time.monotonic()
                if not whole:  # the rest of an answer that nobody waits for would be the next one's beginning
                    await self._end()

    async def run(self) -> None:
        """Lets the reader go when nobody looks any more, and with the controller."""
        try:
            while True:
                await asyncio.sleep(LOOK)
                if not self.busy and time.monotonic() - self._asked > REST:
                    async with self._turn:
                        await self._end()
        finally:
            await self._end()

    async def _running(self) -> asyncio.subprocess.Process:
        if self.process is None or self.process.returncode is not None:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", "cockpit.history.reader", str(self.recorder.directory),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", limit=LINE,
            )
        return self.process

    async def _end(self) -> None:
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # it only reads
            await ended(process)
