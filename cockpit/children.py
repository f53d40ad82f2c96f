"""Processes that one of ours has started and talks to over pipes."""

from __future__ import annotations

import asyncio
import contextlib


async def ended(process: asyncio.subprocess.Process) -> int:
    """Its exit code, once it is gone and its standard input is closed.

    Before 3.11.4 Python logs a broken pipe that nobody waited for, as an error of the program's.
    """
    code = await process.wait()
    if process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(OSError):
            await process.stdin.wait_closed()
    return code
