"""The end of a child process."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any


async def test_a_pipe_that_broke_is_no_error_of_ours() -> None:
    from cockpit.children import ended

    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import sys; sys.stdin.close(); sys.exit(3)", stdin=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    child.stdin.write(b"x" * 1_000_000)
    assert await ended(child) == 3
    del child
    gc.collect()
    await asyncio.sleep(0)
    assert not said
