"""Heads that receivers pass on: real processes, and every way in which one that is asked can fail."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cockpit.swarm import passing, tls, wire
from cockpit.swarm.exchange import Exchange, Target
from cockpit.swarm.handing import SMALL
from cockpit.swarm.heads import HeadError
from cockpit.swarm.link import Link
from cockpit.swarm.passing import Handout, Passed, ask_node, passed
from cockpit.swarm.tls import Name
from cockpit.swarm.tracking import Place, Tracking
from tests.helpers import PATIENCE
from tests.swarm.bundle import Bundle
from tests.swarm.certificates import Certificates
from tests.swarm.processes import House, Process, house

HOST = "127.0.0.1"
LINKS = 480
"""Symbolic links with long targets of random letters: a long manifest of a small artifact."""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def web() -> Bundle:
    return Bundle(300_000, 31, links=LINKS)


async def published(shop: House, *bundles: Bundle) -> Process:
    origin = await shop.origin()
    for n, bundle in enumerate(bundles):
        assert (await origin.ask({"op": "publish", **bundle.publish(shop.root / f"store{n}")}))["ok"]
    return origin


async def counts(origin: Process, bundle: Bundle, total: int) -> dict[str, int]:
    """Of the origin's statistics, once that many were served."""

    def heads(doc: dict[str, Any]) -> dict[str, int]:
        return doc.get("stats", {}).get(bundle.swarm, {}).get("heads", {})  # type: ignore[no-any-return]

    found = await origin.until(lambda doc: heads(doc).get("direct", 0) + heads(doc).get("handed", 0) >= total)
    return heads(found)


async def test_the_origin_sends_a_long_manifest_to_two_of_six(shop: House, web: Bundle) -> None:
    assert len(web.packed_manifest) > 200_000
    origin = await published(shop, web)
    peers = [await shop.peer(f"sh-{i}") for i in range(6)]
    answers = await asyncio.gather(*(p.ask(shop.fetch(web, "")) for p in peers))
    assert all(answer["ok"] for answer in answers), answers
    assert all(shop.installed(f"sh-{i}", web) for i in range(6))
    found = await counts(origin, web, 6)
    assert 1 <= found["direct"] <= 2 and found["handed"] == 6 - found["direct"] and not found["again"]
    late = await shop.peer("sh-6")
    assert (await late.ask(shop.fetch(web, "")))["ok"]
    assert await counts(origin, web, 7) == {**found, "handed": found["handed"] + 1}


class Liar(Target):
    """Answers a question with what `lie(id)` makes; None ends the connection."""

    def __init__(self, lie: Callable[[int], list[Any]]) -> None:
        self.lie = lie
        self.asked = 0

    def attach(self, link: Link) -> None:
        return

    def detached(self, link: Link, why: str) -> None:
        return

    def heard(self, link: Link, message: Any) -> None:
        self.asked += 1
        for answer in self.lie(message.doc["id"]):
            if answer is None:
                asyncio.get_running_loop().call_later(0.05, link.close)
            else:
                link.send(answer)


def wrong(id: int) -> list[Any]:
    return [wire.Words({"id": id, "base": ""}), wire.Blob(id, 20_000, 0, bytes(20_000))]


async def test_liars_the_hung_and_the_killed_hold_nobody_up(shop: House, web: Bundle) -> None:
    origin = await published(shop, web)
    hung = await shop.peer("sh-hung")
    assert (await hung.ask(shop.fetch(web, "")))["ok"]
    killed = await shop.peer("sh-killed")
    assert (await killed.ask(shop.fetch(web, "")))["ok"]
    assert await counts(origin, web, 2) == {"direct": 1, "handed": 1, "again": 0}
    hung.process.send_signal(signal.SIGSTOP)
    shop.authority.issue_local_host(shop.root / "sh-liar", "sh-liar", str(uuid.uuid4()), [])
    exchange = Exchange(tls.load(str(shop.root / "sh-liar" / "identity")), "sh-liar", "peer")
    exchange.targets[""] = liar = Liar(wrong)
    port = exchange.listen(HOST, 0)
    tracking = Tracking(exchange, [Place(Name("controller", "shop"), HOST, shop.ports[""])])
    tracking.holds({"op": "holds", "swarm": web.swarm, "address": HOST, "port": port, "region": "sh", "base": ""})
    peers = [await shop.peer(f"sh-{i}") for i in range(6)]
    ids = [p.say(shop.fetch(web, "")) for p in peers]
    await killed.end(signal.SIGKILL)
    answers = await asyncio.gather(*(p.answer(id) for p, id in zip(peers, ids, strict=True)))
    assert all(answer["ok"] for answer in answers), answers
    assert all(shop.installed(f"sh-{i}", web) for i in range(6))
    found = await counts(origin, web, 8)
    assert found["again"] <= 6 and found["direct"] <= 1 + 2 + found["again"]
    assert liar.asked <= 2 and found["again"] + liar.asked > 0  # who is named is chance
    tracking.close()
    exchange.close()
    hung.process.send_signal(signal.SIGCONT)


async def test_through_a_relay_that_serves_its_region(shop: House, web: Bundle) -> None:
    origin = await published(shop, web)
    await shop.relay("relay-sh")
    peers = [await shop.peer(f"sh-{i}") for i in range(4)]
    answers = await asyncio.gather(*(p.ask(shop.fetch(web, "relay-sh")) for p in peers))
    assert all(answer["ok"] for answer in answers), answers
    assert await counts(origin, web, 1) == {"direct": 1, "handed": 0, "again": 0}
    direct = await shop.peer("sh-direct")  # of the relay's region: the origin sends it there
    assert (await direct.ask(shop.fetch(web, "")))["ok"] and shop.installed("sh-direct", web)
    assert await counts(origin, web, 2) == {"direct": 1, "handed": 1, "again": 0}


async def test_a_long_difference_is_passed_on_as_it_came(shop: House) -> None:
    old, new = Bundle(100_000, 32, links=100), Bundle(100_000, 33, links=LINKS, version="1.1.0")
    manifests = shop.root / "manifests"
    manifests.mkdir()
    origin = await shop.origin()
    for n, bundle in enumerate((old, new)):
        order = {"op": "publish", **bundle.publish(shop.root / f"store{n}")}
        (manifests / bundle.sha256).write_bytes(bundle.manifest)
        assert (await origin.ask({**order, "manifest": str(manifests / bundle.sha256)}))["ok"]
    peers = [await shop.peer(f"sh-{i}") for i in range(4)]
    for peer in peers[:3]:
        assert (await peer.ask(shop.fetch(old, "")))["ok"]
    for peer in peers[:3]:
        assert (await peer.ask(shop.fetch(new, "")))["ok"]
    assert await counts(origin, new, 3) == {"direct": 1, "handed": 2, "again": 0}
    for n in (1, 2):
        assert (shop.root / f"sh-{n}" / "swarm" / new.swarm / "manifest.difference").stat().st_size > SMALL
    assert (await peers[3].ask(shop.fetch(new, "")))["ok"]  # without the old one: whole, from any of them
    assert await counts(origin, new, 4) == {"direct": 1, "handed": 3, "again": 0}
    assert all(shop.installed(f"sh-{i}", new) for i in range(4))


# one question between two nodes


class Pair:
    """`h1` asks `h2`, which answers by `target`."""

    def __init__(self, root: Path) -> None:
        certificates = Certificates(root)
        self.asker = Exchange(certificates.host("h1"), "h1", "peer")
        self.other = Exchange(certificates.host("h2"), "h2", "peer")
        self.port = self.other.listen(HOST, 0)

    def holder(self, **change: Any) -> dict[str, Any]:
        return {"name": "h2", "kind": "host", "address": HOST, "port": self.port, **change}

    async def ask(self, size: Any = 100_000, **change: Any) -> Any:
        doc = {"op": "manifest", "sha256": "0" * 64, "layout": "1" * 64, "bases": []}
        return await ask_node(self.asker, doc, self.holder(**change), size, 1 << 20)

    def close(self) -> None:
        self.asker.close()
        self.other.close()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.close()


def handout(pair: Pair, path: Path, data: bytes) -> Handout:
    path.write_bytes(data)

    def find(what: str, sha256: str, layout: str, bases: Any) -> Passed | None:
        return passed(str(path)) if (what, sha256) == ("manifest", "0" * 64) else None

    return Handout(pair.other, find, lambda sha256, count: 0.0)


async def test_what_is_held_is_given(pair: Pair, tmp_path: Path) -> None:
    data = random.Random(3).randbytes(100_000)
    handout(pair, tmp_path / "head", data)
    for _ in range(3):
        answer = await pair.ask()
        assert bytes(answer.data) == data and answer.words["base"] == ""
    assert hashlib.sha256(data).digest() == hashlib.sha256((tmp_path / "head").read_bytes()).digest()


async def test_only_so_many_at_once(pair: Pair, tmp_path: Path) -> None:
    made = handout(pair, tmp_path / "head", bytes(8 * 1024 * 1024))
    made._allow = lambda sha256, count: 0.5  # nothing goes out for now
    asked = [asyncio.create_task(pair.ask(8 * 1024 * 1024)) for _ in range(passing.OUT + 2)]
    done, _ = await asyncio.wait(asked, timeout=PATIENCE)
    errors = [str(task.exception()) for task in done]
    assert len(done) == len(asked) and sum("enough others" in error for error in errors) == 2
    assert sum("in time" in error for error in errors) == passing.OUT


@pytest.mark.parametrize(("lie", "text"), [
    (lambda id: [], "in time"),
    (lambda id: [wire.Words({"id": id, "base": ""}), wire.Blob(id, 100_000, 0, bytes(10)), None], "closed"),
    (lambda id: [wire.Words({"id": id, "error": "unknown", "text": "it is not here"})], "it is not here"),
    (lambda id: [wire.Blob(id, 100_000_000, 0, bytes(10))], "an answer of 100000000"),
    (lambda id: [wire.Blob(id, 100_000, 10, bytes(10))], "an answer of"),
    (lambda id: [wire.Blob(id + 1, 100_000, 0, bytes(10))], "no answer"),
    (lambda id: [wire.Have((1,))], "no answer"),
    (lambda id: [wire.Words({"id": id, "ask": {"name": "h3"}})], "names another"),
])  # fmt: skip
async def test_one_that_does_not_give_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, lie: Callable[[int], list[Any]], text: str
) -> None:
    if text == "in time":
        monkeypatch.setattr(passing, "SILENCE", 0.5)
    pair.other.targets[""] = Liar(lie)
    with pytest.raises(HeadError, match=text):
        await pair.ask()


async def test_one_that_gives_it_too_slowly(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "patience", lambda size: 0.4)
    loop = asyncio.get_running_loop()

    class Slow(Liar):
        def heard(self, link: Link, message: Any) -> None:
            self._drop(link, 0)

        def _drop(self, link: Link, at: int) -> None:
            link.send(wire.Blob(1, 100_000, at, b"x"))
            loop.call_later(0.05, self._drop, link, at + 1)

    pair.other.targets[""] = Slow(lambda id: [])
    with pytest.raises(HeadError, match="in time"):
        await pair.ask()


@pytest.mark.parametrize(("change", "text"), [
    ({"name": "h3"}, "where host h3 was wanted"),
    ({"kind": "controller"}, "without proper"),
    ({"port": "7"}, "without proper"),
    ({"port": 0}, "without proper"),
    ({"address": ""}, "without proper"),
    ({"size": "many"}, "without a size"),
])  # fmt: skip
async def test_a_node_that_cannot_be_asked(pair: Pair, change: dict[str, Any], text: str) -> None:
    pair.other.targets[""] = Liar(wrong)
    with pytest.raises(HeadError, match=text):
        await pair.ask(**change)


async def test_a_node_that_takes_no_questions(pair: Pair) -> None:
    with pytest.raises(HeadError):
        await pair.ask()


async def test_a_peer_answers_no_other_word(pair: Pair, tmp_path: Path) -> None:
    handout(pair, tmp_path / "head", b"x")
    link = await pair.asker.dial(HOST, pair.port, Name("host", "h2"), "", Liar(wrong))
    link.send(wire.Words({"op": "join", "swarm": "0" * 64, "address": HOST, "port": 1}))
    async with asyncio.timeout(PATIENCE):
        while not link.closed:
            await asyncio.sleep(0.01)
