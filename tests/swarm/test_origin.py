"""The origin as a process: its JSON lines, its limits, and what it answers to those who lie."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.swarm import tracking as tracking_module
from cockpit.swarm import wire
from cockpit.swarm.desk import Desk
from cockpit.swarm.exchange import Exchange, Target
from cockpit.swarm.heads import HeadError, ask_layout, ask_manifest, text_lines
from cockpit.swarm.link import Link
from cockpit.swarm.tls import Name
from cockpit.swarm.tracker import Node, Tracker
from cockpit.swarm.tracking import Membership, Place, Tracking
from tests.helpers import PATIENCE
from tests.swarm.bundle import Bundle
from tests.swarm.certificates import Certificates
from tests.swarm.processes import House, Process, house

WEB = Bundle(1024 * 1024, 21)
OLD = Bundle(1024 * 1024, 22, version="0.9.0")
HOST = "127.0.0.1"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


def kept(shop: House, *bundles: Bundle) -> list[dict[str, Any]]:
    """As the store keeps them: manifests in one directory, by digest."""
    found = []
    for n, bundle in enumerate(bundles):
        args = bundle.publish(shop.root / f"store{n}")
        manifests = shop.root / "manifests"
        manifests.mkdir(exist_ok=True)
        (manifests / bundle.sha256).write_bytes(bundle.manifest)
        found.append({"op": "publish", **args, "manifest": str(manifests / bundle.sha256)})
    return found


async def test_publish_fetch_statistics_and_withdraw(shop: House) -> None:
    origin = await shop.origin()
    (order,) = kept(shop, WEB)
    assert (await origin.ask(order))["ok"] and (await origin.ask(order))["ok"]
    peer = await shop.peer("sh-1")
    assert (await peer.ask(shop.fetch(WEB, "")))["ok"]
    packed = sum(len(data) for _, data in WEB.encoded)
    stats = await origin.until(lambda doc: doc.get("stats", {}).get(WEB.swarm, {}).get("sent"))
    assert stats["stats"][WEB.swarm]["sent"] == {"sh-1": packed}
    assert stats["stats"][WEB.swarm]["relays"] == {}
    assert (await origin.ask({"op": "withdraw", "swarm": WEB.swarm}))["ok"]
    await origin.until(lambda doc: doc.get("stats") == {})


@pytest.mark.parametrize(("change", "text"), [
    ({"sha256": "0" * 64}, "is the manifest"),
    ({"layout": "0" * 64}, "is the layout"),
    ({"table": "pack"}, "is not the table of a pack"),
    ({"pack": "table"}, "does not fit its table"),
    ({"pack": "none"}, "No such file"),
    ({"layout_file": "pack"}, "layout"),
    ({"manifest": "pack"}, ""),
])  # fmt: skip
async def test_what_does_not_fit_is_not_published(shop: House, change: dict[str, str], text: str) -> None:
    origin = await shop.origin()
    order = {"op": "publish", **WEB.publish(shop.root / "store")}
    for key, value in change.items():
        order[key] = value if len(value) == 64 else str(shop.root / "store" / value)
    answer = await origin.ask(order)
    assert not answer["ok"] and text in answer["text"]


async def test_bad_lines_are_answered(shop: House) -> None:
    origin = await shop.origin()
    for doc, text in (
        ({"op": "dance"}, "dance"),
        ({"op": "publish"}, "sha256"),
        ({"op": "rates", "total": -1}, "above 0"),
        ({"op": "rates", "regions": []}, ""),
        ({"op": "warm", "sha256": "0" * 64, "layout": "0" * 64}, "relay"),
    ):
        answer = await origin.ask(doc)
        if doc != {"op": "rates", "regions": []}:
            assert not answer["ok"] and text in answer["text"]


@pytest.mark.parametrize("rates", [{"total": 600_000}, {"regions": {"sh": 600_000}}])
async def test_a_limit_is_kept(shop: House, rates: dict[str, Any]) -> None:
    origin = await shop.origin()
    big = Bundle(3 * 1024 * 1024, 23)
    assert (await origin.ask(kept(shop, big)[0]))["ok"]
    assert (await origin.ask({"op": "rates", **rates}))["ok"]
    peer = await shop.peer("sh-1")
    loop = asyncio.get_running_loop()
    since = loop.time()
    assert (await peer.ask(shop.fetch(big, "")))["ok"]
    assert loop.time() - since > (len(big.content) - 2 * 1024 * 1024) / 600_000 - 0.1


class Asking:
    """Heads asked for as a peer does."""

    def __init__(self, certificates: Certificates, port: int) -> None:
        self.exchange = Exchange(certificates.host("h1"), "h1", "peer")
        self.tracking = Tracking(self.exchange, [Place(Name("controller", "shop"), HOST, port)])

    def close(self) -> None:
        self.tracking.close()
        self.exchange.close()


class FromHouse(Certificates):
    def __init__(self, shop: House) -> None:
        self.root, self.authority = shop.root, shop.authority


async def test_a_manifest_travels_as_the_difference_to_one_that_the_host_has(shop: House) -> None:
    origin = await shop.origin()
    near = Bundle(1024 * 1024, 21, version="1.0.1")
    for order in kept(shop, WEB, near):
        assert (await origin.ask(order))["ok"]
    asking = Asking(FromHouse(shop), shop.ports[""])
    target = str(shop.root / "got")

    def lines(base: str) -> list[bytes]:
        assert base == WEB.sha256
        return WEB.manifest.splitlines(True)

    async def get(bases: list[str], held: Any = lines) -> int:
        came = await ask_manifest(
            asking.tracking.ask, asking.exchange.worker, near.sha256, near.layout, target, bases, held
        )
        return came.travelled

    whole = await get([])
    assert b"".join(text_lines(target)) == near.manifest
    difference = await get([WEB.sha256])
    assert b"".join(text_lines(target)) == near.manifest and difference < whole / 5
    assert await get(["0" * 64]) == whole  # nobody knows that one
    altered = [WEB.manifest.replace(b'"data.bin"', b'"data.bix"')]
    assert await get([WEB.sha256], lambda base: altered) > whole  # the difference did not do
    assert await ask_layout(asking.tracking.ask, near.sha256, near.layout) == near.layout_data
    asking.close()


async def test_an_unknown_swarm_is_asked_for_and_then_refused(shop: House) -> None:
    origin = await shop.origin()
    asking = Asking(FromHouse(shop), shop.ports[""])
    question = asyncio.create_task(ask_layout(asking.tracking.ask, WEB.sha256, WEB.layout))
    want = (await origin.until(lambda doc: "want" in doc))["want"]
    origin.say({"op": "unknown", **want})
    with pytest.raises(HeadError) as error:
        await question
    assert error.value.code == "unknown"
    question = asyncio.create_task(ask_layout(asking.tracking.ask, WEB.sha256, WEB.layout))
    await origin.until(lambda doc: [d for d in origin.docs if "want" in d][1:])
    await origin.ask(kept(shop, WEB)[0])  # published while somebody waits
    assert await question == WEB.layout_data
    asking.close()


class Heard(Target):
    def __init__(self) -> None:
        self.here = asyncio.Event()
        self.closed = asyncio.Event()

    def attach(self, link: Link) -> None:
        self.here.set()

    def heard(self, link: Link, message: Any) -> None:
        return

    def detached(self, link: Link, why: str) -> None:
        self.closed.set()


@pytest.mark.parametrize("message", [
    wire.Words({"op": "join", "swarm": "x", "address": HOST, "port": 1}),
    wire.Words({"op": "join", "swarm": "0" * 64, "address": HOST, "port": 0}),
    wire.Words({"op": "join", "swarm": "0" * 64, "address": "", "port": 1}),
    wire.Words({"op": "layout", "id": 1}),
    wire.Words({"op": "manifest", "id": "1", "sha256": "0" * 64, "layout": "0" * 64}),
    wire.Words({"op": "facts", "swarms": {}}),  # only relays report
    wire.Words({"op": "dance"}),
    wire.Have((1,)),
])  # fmt: skip
async def test_who_misuses_the_trackers_words_is_cut_off(shop: House, message: Any) -> None:
    await shop.origin()
    exchange = Exchange(FromHouse(shop).host("h1"), "h1", "peer")
    side = Heard()
    link = await exchange.dial(HOST, shop.ports[""], Name("controller", "shop"), "", side)
    async with asyncio.timeout(PATIENCE):
        await side.here.wait()
        link.send(message)
        await side.closed.wait()
    exchange.close()


class Liar(Target):
    """A tracker that answers whatever the test wants."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def attach(self, link: Link) -> None:
        return

    def heard(self, link: Link, message: Any) -> None:
        for reply in self.answer(message.doc):
            link.send(reply)

    def detached(self, link: Link, why: str) -> None:
        return


def blob(id: int, data: bytes) -> wire.Blob:
    return wire.Blob(id, len(data), 0, data)


@pytest.mark.parametrize(("answer", "code"), [
    (lambda doc: [blob(doc["id"], b'{"layout":1}')], "digest"),
    (lambda doc: [wire.Words({"id": doc["id"], "error": "unknown", "text": "no"})], "unknown"),
])  # fmt: skip
async def test_a_lying_tracker_is_found_out(tmp_path: Path, answer: Any, code: str) -> None:
    certificates = Certificates(tmp_path)
    liar = Exchange(certificates.origin(), "", "origin")
    liar.targets[""] = Liar(answer)
    asking = Asking(certificates, liar.listen(HOST, 0))
    with pytest.raises(HeadError) as error:
        await ask_layout(asking.tracking.ask, WEB.sha256, WEB.layout)
    assert error.value.code == code
    asking.close()
    liar.close()


class Broken:
    """A library whose disk is gone."""

    async def find(self, sha256: str, layout: str) -> Any:
        raise OSError("input/output error")

    def place(self, sha256: str) -> str | None:
        return None


async def test_who_cannot_answer_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificates = Certificates(tmp_path)
    exchange = Exchange(certificates.origin(), "", "origin")
    port = exchange.listen(HOST, 0)
    exchange.targets[""] = Desk(exchange, Broken(), Tracker(Node("origin", HOST, port)))
    asking = Asking(certificates, port)
    with pytest.raises(HeadError, match="input/output error") as error:
        await ask_layout(asking.tracking.ask, WEB.sha256, WEB.layout)
    assert error.value.code == "broken"
    asking.close()
    exchange.close()


async def test_a_question_that_is_lost_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_module, "AGAIN", 0.05)
    certificates = Certificates(tmp_path)
    asked: list[int] = []

    def answer(doc: dict[str, Any]) -> list[Any]:
        asked.append(doc["id"])
        return [blob(doc["id"], WEB.layout_data)] if len(asked) == 3 else []

    forgetful = Exchange(certificates.origin(), "", "origin")
    forgetful.targets[""] = Liar(answer)
    asking = Asking(certificates, forgetful.listen(HOST, 0))
    assert await ask_layout(asking.tracking.ask, WEB.sha256, WEB.layout) == WEB.layout_data
    assert len(set(asked)) == 3
    asking.close()
    forgetful.close()


@pytest.mark.parametrize("data", [b"", b"not zlib", OLD.manifest, zlib.compress(OLD.manifest)])
async def test_another_manifest_is_not_taken(tmp_path: Path, data: bytes) -> None:
    certificates = Certificates(tmp_path)
    liar = Exchange(certificates.origin(), "", "origin")
    liar.targets[""] = Liar(lambda doc: [wire.Words({"id": doc["id"], "base": ""}), blob(doc["id"], data[:30_000])])
    asking = Asking(certificates, liar.listen(HOST, 0))
    target = tmp_path / "manifest"
    with pytest.raises(HeadError) as error:
        await ask_manifest(
            asking.tracking.ask, asking.exchange.worker, WEB.sha256, WEB.layout, str(target), [], lambda base: []
        )
    assert error.value.code == "digest" and not target.exists()
    asking.close()
    liar.close()


@pytest.mark.parametrize("doc", [
    {"add": [{"name": "h2", "address": HOST, "port": "1"}]},
    {"add": [{"name": "h2"}]},
    {"add": "h2"},
    {"add": [7]},
    {"add": [{"name": "h" * 300, "address": HOST, "port": 1}]},
])  # fmt: skip
async def test_a_list_of_peers_that_is_none(tmp_path: Path, doc: dict[str, Any]) -> None:
    exchange = Exchange(Certificates(tmp_path).host("h1"), "h1", "peer")
    tracking = Tracking(exchange, [Place(Name("controller", "shop"), HOST, 1)])


    added: list[Place] = []
    tracking.enter("s", Membership({}, lambda place, chooser: added.append(place), lambda node: None))
    with pytest.raises(wire.WireError):
        tracking._peers({"op": "peers", "swarm": "s", **doc})
    tracking._peers({"swarm": "s", "add": [{"name": "h2", "address": HOST, "port": 1}, {"name": "h1", "address": HOST,
                                                                                       "port": 1}]})
    assert added == [Place(Name("host", "h2"), HOST, 1)]
    tracking.close()
    exchange.close()


async def test_a_taken_port_is_said_so(shop: House) -> None:
    await shop.origin()
    identity = shop.root / "origin" / "identity"
    process = await Process.start(
        "cockpit.swarm.node", "origin", "--dir", str(shop.root / "o"), "--identity", str(identity), "--port",
        str(shop.ports[""]), log=shop.root / "second.err",
    )
    async with asyncio.timeout(PATIENCE):
        assert await process.process.wait() == 2
    assert "in use" in (shop.root / "second.err").read_text()

