"""asyncssh, measured beside ours: one sshd on loopback, `true` over connections that stay and over new ones.

python -m tests.bench.ssh [CONNECTIONS] [ROUNDS]
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.keeper import place
from tests.bench.table import Lacking, median
from tests.helpers import answers, running, wait_for
from tests.inventory.sshd import PROGRAM, Sshd

CONNECTIONS, ROUNDS = 50, 15
AT_ONCE = 8
"""Handshakes at the same time: an sshd drops more than ten (MaxStartups)."""


class Ssh(NamedTuple):
    """Milliseconds of each round until `true` has ended on all."""

    connections: int
    open: list[float]
    new: list[float]


@contextlib.asynccontextmanager
async def connections(server: Sshd, count: int) -> AsyncIterator[list[object]]:
    import asyncssh

    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> asyncssh.SSHClientConnection:
        async with gate:
            return await asyncssh.connect(
                "127.0.0.1", server.port, username=server.user, config=None, agent_path=None,
                client_keys=[str(server.home / ".ssh" / "id_ed25519")],
                known_hosts=str(server.home / ".ssh" / "known_hosts"),
            )  # fmt: skip

    made = list(await asyncio.gather(*(one() for _ in range(count))))
    try:
        yield list(made)
    finally:
        for each in made:
            each.close()
        await asyncio.gather(*(each.wait_closed() for each in made))


async def _true(made: list[object]) -> None:
    async def one(each: object) -> None:
        done = await each.run("true", check=True)  # type: ignore[attr-defined]
        assert done.exit_status == 0

    await asyncio.gather(*map(one, made))


async def _measure(server: Sshd, count: int, rounds: int) -> Ssh:
    found = Ssh(count, [], [])
    async with connections(server, count) as made:
        await _true(made)
        for _ in range(rounds):
            start = time.perf_counter()
            await _true(made)
            found.open.append((time.perf_counter() - start) * 1e3)
    for _ in range(max(1, rounds // 5)):
        start = time.perf_counter()
        async with connections(server, count) as made:
            await _true(made)
            found.new.append((time.perf_counter() - start) * 1e3)
    return found


def measure(count: int = CONNECTIONS, rounds: int = ROUNDS) -> Ssh:
    """Raises Lacking where there is no sshd."""
    if not PROGRAM:
        raise Lacking("needs sshd (openssh-server)")
    with place() as where:
        server = Sshd(where)
        server.write()
        with (where / "sshd_config").open("a") as file:
            # this user's own ~/.bashrc is not what is measured: bash reads it when an sshd starts it
            file.write(f"SetEnv HOME={server.home}\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        with running([PROGRAM, "-D", "-e", "-f", str(where / "sshd_config")]):
            wait_for(lambda: answers("127.0.0.1", server.port), what="sshd answers")
            return asyncio.run(_measure(server, count, rounds))


def main(*given: int) -> None:
    found = measure(*given)
    for name, runs in (("open", found.open), ("new", found.new)):
        print(
            f"{found.connections} connections, {name:4}: `true` on all {median(runs):7.0f} ms"
            f"  (min {min(runs):.0f}, max {max(runs):.0f}); load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
