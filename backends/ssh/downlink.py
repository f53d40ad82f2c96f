"""The way for agents that nothing can reach: ports on the far side's loopback that lead to the controller."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import asyncssh

from backends.ssh.pool import Kept

AGAIN = 3.0
"""Seconds between tries of a forward that was refused: an old session may still hold its port."""


class Downlink:
    """Keeps the forwards of one host or relay. `state` and `text` are for the operator."""

    def __init__(self, name: str, settings: dict[str, Any], kept: Kept, changed: Callable[[], None]) -> None:
        self.name = name
        self.settings = settings
        self.kept = kept
        self._state, self._text, self._since = "", "", time.time()
        self._changed = changed
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> tuple[str, str, float]:
        if self.kept.state != "connected" or not self._state:
            state = self.kept.state
            return ("connecting" if state == "connected" else state), self.kept.text, self.kept.since
        return self._state, self._text, self._since

    def start(self) -> None:
        self._task = asyncio.create_task(self._hold())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _forwards(self) -> list[tuple[int, str, int]]:
        ssh = self.settings.get("ssh") or {}
        found = []
        for port, where in ((ssh.get("listen"), "target"), (ssh.get("listen_origin"), "origin")):
            to = self.settings.get(where)
            if port and to:
                found.append((int(port), str(to[0]), int(to[1])))
        return found

    def _become(self, state: str, text: str) -> None:
        if (state, text) != (self._state, self._text):
            self._state, self._text, self._since = state, text, time.time()
            self._changed()

    async def _hold(self) -> None:
        while True:
            conn = await self.kept.ready()
            made: list[asyncssh.SSHListener] = []
            port = 0
            try:
                for port, address, to in self._forwards():
                    made.append(await conn.forward_remote_port("127.0.0.1", port, address, to))
                self._become("connected", "")
                await self.kept.lost()
                self._become("", "")
            except asyncssh.ChannelListenError:
                self._become(
                    "failed", f"{self.kept.hop} refuses to listen on 127.0.0.1:{port}: the port is taken there, or "
                    "its sshd does not allow it (AllowTcpForwarding, PermitListen)",
                )
                await asyncio.sleep(AGAIN)
            except (asyncssh.Error, OSError) as e:
                self._become("failed", f"{self.kept.hop}: the forward of port {port} broke: {e}")
                await asyncio.sleep(AGAIN)
            finally:
                for listener in made:
                    listener.close()
