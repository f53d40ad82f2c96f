"""A host entered by SSH for a command: through its jump hosts, and programs run there by argv."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from cockpit.bootstrap.scripts import command
from cockpit.inventory.ssh import Asker, NoEntry, Target, enter

MOST = 1024 * 1024
"""Bytes of what a host may say."""
USUAL = 30.0


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def said(self) -> str:
        """Its last lines, as the end of a sentence."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return "; ".join(lines[-3:])[:600] or f"exit {self.code}"


@dataclass(frozen=True)
class Way:
    """How a host is entered. `hops`: `[user@]host[:port]`, the host itself last."""

    hops: tuple[str, ...]

    @classmethod
    def of(cls, address: str, *, user: str = "", port: int = 0, jump: Sequence[str] = ()) -> Way:
        """Raises BadTarget."""
        name = f"[{address}]" if ":" in address else address
        last = (f"{user}@" if user else "") + name + (f":{port}" if port else "")
        for hop in (*jump, last):
            Target(hop)
        return cls((*jump, last))


class Far:
    """An entered host."""

    def __init__(self, connection: Any, name: str) -> None:
        self.connection = connection
        self.name = name

    async def run(self, script: str, *args: str, stdin: bytes = b"", timeout: float = USUAL) -> Done:
        """A script of ours with arguments. Raises NoEntry when the connection breaks or nothing is answered."""
        import asyncssh

        try:
            done = await self.connection.run(command(script, *args), input=stdin, encoding=None, timeout=timeout)
        except (TimeoutError, asyncssh.TimeoutError):
            raise NoEntry(f"{self.name} gave no answer in {timeout:g} s") from None
        except (OSError, asyncssh.Error) as e:
            raise NoEntry(f"the connection to {self.name} broke: {e}") from None
        out, err = (bytes(part or b"")[:MOST].decode(errors="replace") for part in (done.stdout, done.stderr))
        return Done(-1 if done.exit_status is None else done.exit_status, out, err)


@contextlib.asynccontextmanager
async def entered(way: Way, asker: Asker, name: str) -> AsyncIterator[Far]:
    """The host, for as long as the block lasts. Raises NoEntry."""
    async with contextlib.AsyncExitStack() as stack:
        connection: Any = None
        for hop in way.hops:
            connection = await enter(Target(hop), asker, tunnel=connection)
            stack.push_async_callback(_leave, connection)
        yield Far(connection, name)


async def _leave(connection: Any) -> None:
    connection.abort()
    with contextlib.suppress(Exception):
        await connection.wait_closed()
