"""Rate limits of real peers: they hold, and nobody starves behind them."""

from __future__ import annotations

from pathlib import Path

from tests.swarm.bundle import Bundle
from tests.swarm.processes import house

RATE = 500_000
MIB = 1024 * 1024


async def test_limited_receivers_still_help_each_other(short_dir: Path) -> None:
    """A connection that always has something to read must not keep a limited peer from hearing the others."""
    bundle = Bundle(5 * MIB, seed=4)
    async with house(short_dir) as h:
        origin = await h.origin()
        assert (await origin.ask({"op": "publish", **bundle.publish(short_dir / "store")}))["ok"]
        peers = [await h.peer(name) for name in ("sh-1", "sh-2", "sh-3")]
        rates = {"down": RATE, "up": RATE}
        ids = [peer.say(h.fetch(bundle, "", rates=rates, every=0.1)) for peer in peers]
        answers = [await peer.answer(id) for peer, id in zip(peers, ids, strict=True)]
        for peer, id, answer in zip(peers, ids, answers, strict=True):
            assert answer["ok"], answer
            facts = answer["data"]["swarm"]
            assert facts["fallbacks"] == 0 and facts["bad"] == 0
            assert sum(n for name, n in facts["from"].items() if name) > 0, "it got something from the others"
            rates_seen = [p["swarm"]["rate"] for p in peer.progress(id)][len(peer.progress(id)) // 2 :]
            assert min(rates_seen, default=0) < 2 * RATE
