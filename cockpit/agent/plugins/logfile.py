"""DIR/logs/plugins/NAME.log: what a plug-in says on its standard error. Two files of bounded size."""

from __future__ import annotations

import asyncio
import os

from cockpit.agent.files import make_dir

LIMIT = 1024 * 1024
RATE = 256 * 1024
"""Bytes a second that are taken; who writes faster waits."""


class LogFile:
    def __init__(self, host_dir: str, name: str) -> None:
        self.path = os.path.join(host_dir, "logs", "plugins", f"{name}.log")

    async def write(self, data: bytes) -> None:
        """A full disk loses the text, nothing else."""
        try:
            self._append(data)
        except OSError:
            pass
        if len(data) >= 4096:
            await asyncio.sleep(len(data) / RATE)

    def _append(self, data: bytes) -> None:
        make_dir(os.path.dirname(self.path))
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size > LIMIT:
            os.replace(self.path, f"{self.path}.1")
