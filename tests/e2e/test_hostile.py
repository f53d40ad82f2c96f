"""Nothing false, altered or half written is ever installed, and whoever tries it harms nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.swarm import tls
from cockpit.swarm.tls import Name
from tests.helpers import until
from tests.swarm import hostile
from tests.swarm.bundle import Bundle
from tests.swarm.hostile import FalseTracker, Liar, closing
from tests.swarm.processes import House, Process, house

WEB = Bundle(3 * 1024 * 1024, 11)
PIECES = len(WEB.encoded)
MEMORY = 60 * 1024
"""KiB that a peer may have taken at most, whatever it was sent."""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


def peak(process: Process) -> int:
    """KiB of memory that the process had at most."""
    lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def rubbish(shop: House, host: str) -> list[str]:
    """What lies beside a release that is none of its records."""
    parent = shop.root / host / "releases" / "web"
    known = {"1.0.0", ".1.0.0.json", ".1.0.0.manifest"}
    return [p.name for p in parent.iterdir() if p.name not in known] if parent.exists() else []


def untouched(shop: House, host: str) -> bool:
    """No release, no half of one."""
    return not list((shop.root / host).glob("releases/web/*")) and not rubbish(shop, host)


async def served(shop: House, bundle: Bundle = WEB) -> Process:
    origin = await shop.origin()
    assert (await origin.ask({"op": "publish", **bundle.publish(shop.root / "store")}))["ok"]
    return origin


def identity(shop: House, name: str) -> tls.Identity:
    shop.authority.issue_local_host(shop.root / name, name, "6d8b2cb0-1111-4222-8333-444455556666", [])
    return tls.load(str(shop.root / name / "identity"))


DROPPED = {
    hostile.corrupt: "is bad", hostile.wrong_piece: "is bad", hostile.too_short: "is bad",
    hostile.bomb: "is bad", hostile.unknown_encoding: "the encoding 9 is unknown",
    hostile.unasked: "which was not asked for", hostile.no_such_piece: "cannot be",
    hostile.too_long: "cannot be", hostile.again_and_again: "not asked for",
    hostile.endless_frame: "a frame of 4294967295 bytes", hostile.gibberish: "unknown type 77",
}  # fmt: skip


@pytest.mark.parametrize("lie", [
    *DROPPED, hostile.silent, hostile.slow, hostile.refusing, hostile.hanging_up,
], ids=lambda lie: lie.__name__)  # fmt: skip
async def test_a_peer_that_lies(shop: House, lie: Any) -> None:
    await served(shop)
    await shop.relay("relay-sh")
    liar = Liar(identity(shop, "sh-9"), WEB, lie)
    async with closing(liar):
        await liar.join(shop.ports["relay-sh"], Name("relay", "relay-sh"))
        names = ["sh-1", "sh-2", "sh-3"]
        peers = [await shop.peer(name) for name in names]
        ids = []
        for peer in peers:
            ids.append(peer.say(shop.fetch(WEB, "relay-sh", "")))
            peer.say({"op": "hold", "sha256": WEB.sha256, "paused": True})
        await until(lambda: liar.connected() == set(names))
        t=asyncio.get_running_loop().time()
        for peer in peers:
            peer.say({"op": "hold", "sha256": WEB.sha256, "paused": False})
        answers = [await peer.answer(id) for peer, id in zip(peers, ids, strict=True)]
        print("T", asyncio.get_running_loop().time()-t, liar.asked)
        for name, peer, answer in zip(names, peers, answers, strict=True):
            f=answer["data"]["swarm"]
            print({k:f[k] for k in ("bad","fallbacks","duplicates","from","note")}, peak(peer), peer.log.read_text().splitlines()[-3:])
    assert 0
