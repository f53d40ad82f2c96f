"""The relay as a process: between a real origin and real peers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.swarm.bundle import Bundle
from tests.swarm.processes import House, Process, house

SIZE = 3 * 1024 * 1024
WEB = Bundle(SIZE, 1)
BIG = Bundle(8 * 1024 * 1024, 2)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


async def published(shop: House, *bundles: Bundle) -> Process:
    origin = await shop.origin()
    for n, bundle in enumerate(bundles or (WEB,)):
        assert (await origin.ask({"op": "publish", **bundle.publish(shop.root / f"store{n}")}))["ok"]
    return origin


async def sent_by(origin: Process, bundle: Bundle, enough: Any) -> dict[str, int]:
    """Bytes by receiver, as soon as the statistics are `enough(sent)`."""

    def sent(doc: dict[str, Any]) -> dict[str, int]:
        return dict(doc.get("stats", {}).get(bundle.swarm, {}).get("sent", {}))

    return sent(await origin.until(lambda doc: enough(sent(doc))))


def packed(bundle: Bundle) -> int:
    return sum(len(data) for _, data in bundle.encoded)


async def push(shop: House, bundle: Bundle, hosts: list[str], *trackers: str) -> list[Process]:
    peers = [await shop.peer(h) for h in hosts]
    answers = await asyncio.gather(*(p.ask(shop.fetch(bundle, *trackers)) for p in peers))
    assert [a["ok"] for a in answers] == [True] * len(hosts), answers
    assert all(shop.installed(h, bundle) for h in hosts)
    return peers


async def test_a_region_gets_every_piece_once_and_only_from_its_relay(shop: House) -> None:
    origin = await published(shop)
    await shop.relay("relay-sh")
    peers = await push(shop, WEB, ["sh-1", "sh-2", "sh-3"], "relay-sh")
    sent = await sent_by(origin, WEB, lambda s: sum(s.values()) >= packed(WEB))
    assert sent == {"relay-sh": packed(WEB)}
    facts = [(await p.answer(1))["data"]["swarm"] for p in peers]
    assert {name for f in facts for name in f["from"]} <= {"relay-sh", "sh-1", "sh-2", "sh-3"}
    assert all(f["fallbacks"] == 0 and f["bad"] == 0 for f in facts)
    doc = await origin.until(
        lambda d: d.get("stats", {}).get(WEB.swarm, {}).get("relays", {}).get("relay-sh", {}).get("phase") == "seed"
    )
    relay = doc["stats"][WEB.swarm]["relays"]["relay-sh"]
    assert relay["have"] == relay["pieces"] == len(WEB.encoded) and relay["from"] == {"": packed(WEB)}


async def test_a_second_push_stays_in_the_region_even_without_the_origin(shop: House) -> None:
    origin = await published(shop)
    relay = await shop.relay("relay-sh")
    await push(shop, WEB, ["sh-1"], "relay-sh")
    await origin.end(signal.SIGKILL)
    await push(shop, WEB, ["sh-2"], "relay-sh")
    assert await relay.end() == 0
    await shop.relay("relay-sh")  # from its disk
    await push(shop, WEB, ["sh-3"], "relay-sh")


async def test_a_chain_of_relays(shop: House) -> None:
    origin = await published(shop)
    await shop.relay("relay-a")
    await shop.relay("relay-b", "relay-a")
    await push(shop, WEB, ["sh-1", "sh-2"], "relay-b")
    sent = await sent_by(origin, WEB, lambda s: sum(s.values()) >= packed(WEB))
    assert sent == {"relay-a": packed(WEB)}
    doc = await origin.until(
        lambda d: {"relay-a", "relay-b"} <= set(d.get("stats", {}).get(WEB.swarm, {}).get("relays", {}))
    )
    assert "relay-a" in doc["stats"][WEB.swarm]["relays"]["relay-b"]["from"]


@pytest.mark.parametrize("relay", ["relay-a", "relay-b"])
async def test_a_region_is_warmed_before_anybody_there_asks(shop: House, relay: str) -> None:
    origin = await published(shop)
    await shop.relay("relay-a")
    await shop.relay("relay-b", "relay-a")
    order = {"op": "warm", "relay": relay, "sha256": WEB.sha256, "layout": WEB.layout, "push": "A1"}
    answer = await origin.ask(order)
    assert answer["ok"], answer
    assert (shop.root / relay / "cache" / WEB.swarm / "pieces").stat().st_size == packed(WEB)
    again = await origin.ask(order)
    assert again["ok"]
    await origin.end(signal.SIGKILL)
    await push(shop, WEB, ["sh-1"], relay)


async def test_orders_that_cannot_be_carried_out(shop: House) -> None:
    origin = await published(shop)
    await shop.relay("relay-sh", cache=SIZE // 2)
    answer = await origin.ask({"op": "warm", "relay": "relay-sh", "sha256": WEB.sha256, "layout": WEB.layout})
    assert not answer["ok"] and "more than this relay's whole cache" in answer["text"], answer
    id = origin.say({"op": "warm", "relay": "relay-sh", "sha256": "a" * 64, "layout": "b" * 64})
    await origin.until(lambda d: "want" in d)
    origin.say({"op": "unknown", "sha256": "a" * 64, "layout": "b" * 64})
    answer = await origin.answer(id)
    assert not answer["ok"] and "nothing is published" in answer["text"], answer


async def test_orders_of_an_origin_that_was_started_again_are_new_ones(shop: House) -> None:
    origin = await published(shop, BIG, WEB)
    await shop.relay("relay-sh")
    await origin.ask({"op": "rates", "regions": {"sh": 64 * 1024}, "total": None})
    id = origin.say({"op": "warm", "relay": "relay-sh", "sha256": BIG.sha256, "layout": BIG.layout})
    await origin.until(lambda d: d.get("id") == id and d.get("progress", {}).get("bytes", 0) > 0)
    await origin.end(signal.SIGKILL)
    again = await published(shop, BIG, WEB)
    answer = await again.ask({"op": "warm", "relay": "relay-sh", "sha256": WEB.sha256, "layout": WEB.layout})
    assert answer["ok"], answer
    assert (shop.root / "relay-sh" / "cache" / WEB.swarm / "pieces").stat().st_size == packed(WEB)


async def test_a_peer_is_told_why_a_relay_does_not_take_its_artifact(shop: House) -> None:
    await published(shop)
    await shop.relay("relay-sh", cache=SIZE // 2)
    answer = await (await shop.peer("sh-1")).ask(shop.fetch(WEB, "relay-sh"))
    assert not answer["ok"] and "more than this relay's whole cache" in answer["text"], answer
    assert not (shop.root / "sh-1" / "releases" / "web").exists()


async def test_the_least_recently_used_makes_room(shop: House) -> None:
    first, second = Bundle(SIZE, 5, version="1.0.1"), Bundle(SIZE, 6, version="1.0.2")
    origin = await published(shop, first, second)
    relay = await shop.relay("relay-sh", cache=int(1.5 * SIZE))
    peers = await push(shop, first, ["sh-1"], "relay-sh")
    await peers[0].end()
    await relay.end()  # nobody uses it any more: a running relay keeps it for another minute
    await shop.relay("relay-sh", cache=int(1.5 * SIZE))
    await push(shop, second, ["sh-2"], "relay-sh")
    cached = {p.name for p in (shop.root / "relay-sh" / "cache").iterdir()}
    assert cached == {second.swarm}
    assert origin.process.returncode is None


async def test_what_is_pinned_stays(shop: House) -> None:
    first, second = Bundle(SIZE, 5, version="1.0.1"), Bundle(SIZE, 6, version="1.0.2")
    origin = await published(shop, first, second)
    relay = await shop.relay("relay-sh", cache=int(1.5 * SIZE))
    await origin.ask({"op": "pin", "swarm": first.swarm, "pinned": True})
    await push(shop, first, ["sh-1"], "relay-sh")
    await relay.end(signal.SIGKILL)
    await shop.relay("relay-sh", cache=int(1.5 * SIZE))
    answer = await (await shop.peer("sh-2")).ask(shop.fetch(second, "relay-sh"))
    assert not answer["ok"] and "in use by other pushes" in answer["text"], answer


async def test_the_way_into_a_region_is_limited_also_behind_another_relay(shop: House) -> None:
    origin = await published(shop, BIG)
    await shop.relay("relay-sh")
    await shop.relay("relay-bj", "relay-sh", region="bj")
    assert (await origin.ask({"op": "rates", "regions": {"bj": 4 * 1024 * 1024}, "total": None}))["ok"]
    started = asyncio.get_running_loop().time()
    await push(shop, BIG, ["bj-1"], "relay-bj")
    assert asyncio.get_running_loop().time() - started > 1.4  # 8 MiB less a burst of 2 at 4 a second


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("where", ["into", "out of"])
async def test_a_relay_that_dies_in_mid_push_comes_back_with_what_it_had(
    shop: House, number: int, where: str
) -> None:
    """The narrow way is the one into the region, or the one out of the relay."""
    origin = await published(shop, BIG)
    rate = 1024 * 1024  # seconds from a quarter to the whole
    if where == "into":
        assert (await origin.ask({"op": "rates", "regions": {"sh": rate}, "total": None}))["ok"]
    relay = await shop.relay("relay-sh", rate=0 if where == "into" else rate)
    peers = [await shop.peer(h) for h in ("sh-1", "sh-2")]
    ids = [p.say(shop.fetch(BIG, "relay-sh")) for p in peers]
    await peers[0].until(lambda d: d.get("progress", {}).get("swarm", {}).get("have", 0) >= len(BIG.encoded) // 4)
    await relay.end(number)
    kept = (shop.root / "relay-sh" / "cache" / BIG.swarm / "pieces").stat().st_size
    assert kept > packed(BIG) // 5 and (where == "out of" or kept < packed(BIG) * 4 // 5)
    assert not any(doc.get("id") in ids and "ok" in doc for p in peers for doc in p.docs)
    assert (await origin.ask({"op": "rates", "regions": {}, "total": None}))["ok"]
    await shop.relay("relay-sh")
    answers = [await p.answer(id) for p, id in zip(peers, ids, strict=True)]
    assert all(a["ok"] for a in answers), answers
    assert shop.installed("sh-1", BIG) and shop.installed("sh-2", BIG)
    sent = await sent_by(origin, BIG, lambda s: sum(s.values()) >= packed(BIG))
    in_flight = 4 * max(len(data) for _, data in BIG.encoded)
    assert sum(sent.values()) <= packed(BIG) + in_flight


async def test_an_origin_that_was_away_is_found_again(shop: House) -> None:
    origin = await published(shop)
    await shop.relay("relay-sh")
    await origin.end(signal.SIGKILL)
    peer = await shop.peer("sh-1")
    id = peer.say(shop.fetch(WEB, "relay-sh"))
    again = await shop.origin()
    await again.until(lambda d: d.get("want", {}).get("sha256") == WEB.sha256)
    assert (await again.ask({"op": "publish", **WEB.publish(shop.root / "store0")}))["ok"]
    assert (await peer.answer(id))["ok"]


async def test_a_second_relay_on_one_directory(shop: House) -> None:
    await published(shop)
    await shop.relay("relay-sh")
    log = shop.root / "second.err"
    with contextlib.closing(log.open("wb")) as err:
        import sys

        second = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "cockpit.relay", "--dir", str(shop.root / "relay-sh"),
            "--address", "127.0.0.1", "--upstream", "127.0.0.1:1", stderr=err,
        )
        assert await second.wait() == 3
    assert "another relay serves" in log.read_text()
