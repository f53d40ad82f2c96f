"""The three transports beside each other: CPU of a message and memory of a connection, on the listening side.

    python -m tests.bench.transports [MESSAGES] [CONNECTIONS]

The listening side is a process of its own (`--listen CA`); what it pays is read from its own counters. A
message is a frame of 200 bytes that is answered by one of the same size, 20 on their way at a time. Polling
carries many in one body, so its CPU at rest (one poll a second) is shown beside.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from aiohttp import web

from cockpit.agent.identity import Identity
from cockpit.link.channel import TRANSPORTS, Channel, DialledChannel
from cockpit.link.dial import dial
from cockpit.link.listen import Listener, Who
from cockpit.link.pki import Authority
from tests.bench.keeper import place, rss
from tests.bench.terminal import ROOT
from tests.helpers import running

FLIGHT = 20
REST = 5.0
FRAME = '{"t":"unit","text":"' + "x" * 178 + '"}'


async def listening(ca: Path) -> None:
    async def echo(channel: Channel, who: Who) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await channel.send(str(await channel.recv()))

    listener = Listener(Authority.load(ca).controller_context(), web.Application(), echo)
    print(await listener.start("127.0.0.1", 0), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        gc.collect()
        print(time.process_time(), round(rss("self") * 1024), flush=True)
    await listener.stop()


class Far:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin and process.stdout
        self._in, self._out = process.stdin, process.stdout
        self.port = int(self._out.readline())

    async def look(self) -> tuple[float, int]:
        """(CPU seconds, KiB)."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> tuple[float, int]:
        self._in.write("\n")
        self._in.flush()
        cpu, kib = self._out.readline().split()
        return float(cpu), int(kib)


async def pump(channel: DialledChannel, messages: int) -> float:
    """Round trips; how many seconds they took."""
    begin = time.perf_counter()

    async def send() -> None:
        for _ in range(messages):
            await room.acquire()
            await channel.send(FRAME)

    room = asyncio.Semaphore(FLIGHT)
    sending = asyncio.create_task(send())
    for _ in range(messages):
        await channel.recv()
        room.release()
    await sending
    return time.perf_counter() - begin


async def measure(where: Path, far: Far, transport: str, messages: int, connections: int) -> str:
    async def connect(n: int) -> DialledChannel:
        identity = Identity.load(str(where / str(n)))
        assert identity is not None
        url = f"https://127.0.0.1:{far.port}"
        return await dial(url, context=identity.context(), transport=transport, cluster="bench")

    first = [await connect(n) for n in range(10)]
    if transport == "polling":
        messages //= 20
    await pump(first[0], messages // 10)
    cpu, before = await far.look()
    own = time.process_time()
    took = await pump(first[0], messages)
    here = time.process_time() - own
    used = (await far.look())[0] - cpu
    rest = [await connect(n) for n in range(10, connections)]
    for channel in rest:
        await pump(channel, 5)
    cpu, after = await far.look()
    await asyncio.sleep(REST)
    idle = ((await far.look())[0] - cpu) / REST
    for channel in [*first, *rest]:
        channel.abort()
    await asyncio.sleep(0.5)
    each = (after - before) * 1.024 / len(rest)
    each_us = [seconds / messages * 1e6 for seconds in (used, here)]
    return (
        f"{transport:10} {each_us[0]:8.0f} us {each_us[1]:8.0f} us {took / messages * 1e3:8.2f} ms"
        f" {each:8.0f} kB {idle / connections * 1e6:10.0f} us/s"
    )


def main(messages: int, connections: int) -> None:
    with place() as where:
        authority = Authority.create(where / "ca", "bench")
        for n in range(connections):
            authority.issue_local_host(where / str(n), f"h-{n}", str(uuid.uuid4()), ["https://127.0.0.1:1"])
        print(f"{'':10} {'listening':>11} {'dialling':>11} {'each took':>11} {'memory':>11} {'CPU at rest':>15}")
        for transport in TRANSPORTS:  # a process each: what one leaves behind is not the next one's
            argv = [sys.executable, "-m", "tests.bench.transports", "--listen", str(where / "ca")]
            pipes: dict[str, Any] = {"stderr": None, "text": True}
            pipes |= dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
            with running(argv, cwd=ROOT, **pipes) as process:
                print(asyncio.run(measure(where, Far(process), transport, messages, connections)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--listen"]:
        asyncio.run(listening(Path(sys.argv[2])))
    else:
        given = [int(text) for text in sys.argv[1:]]
        main(*[*given, *(20_000, 200)[len(given) :]])
