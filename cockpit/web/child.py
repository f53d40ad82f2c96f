"""One browser's screen: a process of its own that speaks Textual's web protocol on stdin and stdout.

Packets both ways: a letter (D text, M JSON, P packed), four bytes of length, the payload.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

DRIVER = "textual.drivers.web_driver:WebDriver"
READY = b"__GANGLION__\n"
START_LIMIT, END_LIMIT = 20.0, 3.0
MOST_PACKET = 16 * 1024 * 1024
MOST_INPUT = 64 * 1024
MOST_SAID = 4096
LEAST, MOST = (20, 5), (500, 200)
"""Cells of a browser's window, width and height."""
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "COCKPIT_THEME", "NO_COLOR",
             "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR")  # fmt: skip
"""Variables that a child gets of the server's; nothing else."""


class Child:
    """Started by `start`, ended by `end` at the latest."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._said = b""
        """The end of what it wrote to stderr."""
        self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while part := await self._process.stderr.read(4096):
            self._said = (self._said + part)[-MOST_SAID:]

    async def _why(self) -> str:
        """What it said last, on one line."""
        code = await self._process.wait()
        await self._listener
        lines = self._said.decode("utf-8", "replace").strip().splitlines()
        text = "".join(c for c in (lines[-1] if lines else "") if c.isprintable())
        return text.removeprefix("cockpit: ")[:300] or f"exit {code}"

    @classmethod
    async def start(
        cls, argv: Sequence[str], environ: Mapping[str, str], size: tuple[int, int], home: str, role: str
    ) -> Child:
        """`home`: a directory where it may keep how its screens stand; `role`: view or control.

        Raises OSError, and TimeoutError when it shows nothing in time.
        """
        width, height = bounded(*size)
        own = {name: environ[name] for name in PASSED_ON if name in environ}
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd="/", limit=MOST_PACKET,
            env=own | {
                "TEXTUAL_DRIVER": DRIVER, "TEXTUAL_COLOR_SYSTEM": "truecolor", "TERM": "xterm-256color",
                "COLORTERM": "truecolor", "COLUMNS": str(width), "ROWS": str(height), "XDG_STATE_HOME": home,
                "PYTHONUTF8": "1", "COCKPIT_WEB": role,
            },
        )  # fmt: skip
        child = cls(process)
        try:
            async with asyncio.timeout(START_LIMIT):
                assert process.stdout is not None
                while (line := await process.stdout.readline()) != READY:
                    if not line:
                        raise OSError(f"the screen did not start: {await child._why()}")
        except BaseException:
            await child.end()
            raise
        return child

    async def output(self) -> AsyncIterator[bytes]:
        """What the terminal shall show, until the screen ends."""
        assert self._process.stdout is not None
        read = self._process.stdout.readexactly
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await read(5)
                size = int.from_bytes(head[1:], "big")
                if size > MOST_PACKET:
                    return
                payload = await read(size)
                if head[:1] == b"D":
                    yield payload
                elif head[:1] == b"M" and _type(payload) == "exit":
                    return

    async def type(self, text: str) -> None:
        await self._send(b"D", text.encode("utf-8", "replace")[:MOST_INPUT])

    async def resize(self, width: int, height: int) -> None:
        width, height = bounded(width, height)
        await self._send(b"M", json.dumps({"type": "resize", "width": width, "height": height}).encode())

    async def _send(self, letter: bytes, payload: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(letter + len(payload).to_bytes(4, "big") + payload)
            await self._process.stdin.drain()

    async def end(self) -> None:
        """Ask it, then make it; it is gone afterwards."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            drain = asyncio.create_task(self._drain())
            try:
                await asyncio.wait_for(self._process.wait(), END_LIMIT)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
            finally:
                drain.cancel()
        self._listener.cancel()
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _drain(self) -> None:
        """What it still writes must not keep it from ending."""
        assert self._process.stdout is not None
        with suppress(RuntimeError, ConnectionError):
            while await self._process.stdout.read(65536):
                pass


def bounded(width: int, height: int) -> tuple[int, int]:
    return max(LEAST[0], min(MOST[0], width)), max(LEAST[1], min(MOST[1], height))


def _type(payload: bytes) -> str:
    try:
        data = json.loads(payload)
    except ValueError:
        return ""
    return str(data.get("type")) if isinstance(data, dict) else ""
