"""Run by the soak: light agents that keep a controller busy, until their input ends.

python -m tests.soak.load DIR PORT COUNT CHANGES: of the CHANGES a second one in two says that a unit was looked at,
one in three that its health turned, one in forty that it runs anew. All that is bad is well again after some seconds.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

from cockpit.link.channel import ChannelClosed
from tests.bench.light import Light, connect_all

BAD = 8.0
"""Seconds that a unit is bad."""
BEAT = 0.05


def turn(unit: dict[str, Any], dice: random.Random) -> None:
    """Something happens to a unit."""
    now = time.time()
    chance = dice.random()
    if unit["health"] == "ok" and 0.5 < chance < 0.85:
        unit |= {"health": "bad", "health_text": "connect refused", "health_since": now}
    elif unit["health"] != "ok" and now > unit["health_since"] + BAD:
        unit |= {"health": "ok", "health_text": "", "health_since": now}
    elif chance > 0.975:
        unit |= {"pid": unit["pid"] + 1, "run": unit["run"] + 1, "started": now}
    unit["observed"] = now


async def report(agent: Light, unit: dict[str, Any], port: int) -> None:
    """An agent that the controller has cut off dials in again, as a real one does."""
    try:
        await agent.send({"t": "unit", "unit": unit})
    except ChannelClosed as error:
        print(f"{agent.host['name']} dials in again: {error}", file=sys.stderr, flush=True)
        await agent.close()
        await agent.connect(port)


async def main(where: Path, port: int, count: int, changes: float) -> None:
    agents = await connect_all(where, [port], count)
    print("connected", flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    dice = random.Random(7)
    owed = 0.0
    before = time.monotonic()
    sick: list[tuple[Light, dict[str, Any]]] = []
    while not ended.is_set():
        await asyncio.sleep(BEAT)
        now = time.monotonic()
        owed, before = min(owed + (now - before) * changes, changes), now
        while owed >= 1:
            owed -= 1
            if sick and time.time() > sick[0][1]["health_since"] + BAD:
                agent, unit = sick.pop(0)
            else:
                agent = dice.choice(agents)
                unit = dice.choice(agent.units)
            well = unit["health"] == "ok"
            turn(unit, dice)
            if well and unit["health"] != "ok":
                sick.append((agent, unit))
            await report(agent, unit, port)
    for agent in agents:
        await agent.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
