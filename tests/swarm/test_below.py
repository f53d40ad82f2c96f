"""What a node knows of the relays below it, and how orders find them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cockpit.swarm import below as below_module
from cockpit.swarm.below import Below, OrderError
from cockpit.swarm.tls import Name
from cockpit.swarm.wire import WireError, Words

S, L = "a" * 64, "b" * 64


class FakeLink:
    """A connection that only remembers what was sent."""

    def __init__(self, name: str, kind: str = "relay") -> None:
        self.name = Name(kind, name)
        self.node = self.name.node
        self.sent: list[dict[str, Any]] = []

    def send(self, message: Words) -> None:
        self.sent.append(message.doc)

    def ops(self) -> list[str]:
        return [doc["op"] for doc in self.sent]


def arrived(node: Any, name: str, *under: str) -> Any:
    link = FakeLink(name)
    node.arrived(link)
    assert node.heard(link, {"op": "below", "region": "sh", "relays": list(under)})
    return link


@pytest.fixture
def node() -> Below:
    return Below(lambda sha256, layout: None)


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_everybody_below_is_known_until_the_way_to_them_is_gone(node: Below) -> None:
    seen = []
    node.on_relays = lambda: seen.append(node.relays())
    link = arrived(node, "r1", "r2", "r3")
    arrived(node, "r4")
    assert node.relays() == ["r1", "r2", "r3", "r4"]
    assert node.regions == {"r1": "sh", "r4": "sh"}
    node.left(link)
    assert node.relays() == seen[-1] == ["r4"]


def test_a_host_is_no_relay(node: Below) -> None:
    host: Any = FakeLink("sh-1", "host")
    node.arrived(host)
    assert node.relays() == [] and host.sent == []
    with pytest.raises(WireError, match="host sh-1 speaks as a relay"):
        node.heard(host, {"op": "facts", "swarms": {}})
    assert not node.heard(host, {"op": "join"})


def test_pins_are_told_to_all_at_once_and_to_whoever_comes(node: Below) -> None:
    first = arrived(node, "r1")
    node.pin({"y", "x"})
    second = arrived(node, "r2")
    node.limit({"sh": 5})
    assert [doc["swarms"] for doc in first.sent if doc["op"] == "pins"] == [[], ["x", "y"]]
    assert [doc["swarms"] for doc in second.sent if doc["op"] == "pins"] == [["x", "y"]]
    assert [doc["regions"] for doc in arrived(node, "r3").sent if doc["op"] == "rates"] == [{"sh": 5}]
    assert first.sent[-1] == second.sent[-1] == {"op": "rates", "regions": {"sh": 5}}


def test_facts_are_kept_by_relay_and_only_of_those_below(node: Below) -> None:
    link = arrived(node, "r1", "r2")
    told: list[tuple[str, str]] = []
    node.on_facts = lambda swarm, relay: told.append((swarm, relay))
    facts = {"pieces": 8, "have": 3, "from": {"": 100}, "cells": "##..", "more": "is left out"}
    node.heard(link, {"op": "facts", "swarms": {S: {"r1": facts, "r2": facts, "r9": facts}}})
    assert told == [(S, "r1"), (S, "r2")]
    assert node.facts[S]["r2"]["have"] == 3 and node.facts[S]["r2"]["from"] == {"": 100}
    assert "more" not in node.facts[S]["r1"]
    node.forget(S)
    assert node.facts == {}


@pytest.mark.parametrize(
    "doc",
    [
        {"op": "below", "relays": "r2"}, {"op": "below", "relays": [1]}, {"op": "facts", "swarms": []},
        {"op": "facts", "swarms": {S: []}}, {"op": "facts", "swarms": {S: {"r1": 3}}},
        {"op": "facts", "swarms": {S: {"r1": {"have": "many"}}}},
        {"op": "facts", "swarms": {S: {"r1": {"from": []}}}}, {"op": "carry", "sha256": S},
    ],
)
def test_malformed_words(node: Below, doc: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        node.heard(arrived(node, "r1"), doc)


def test_a_relay_says_what_it_is_about_to_dial() -> None:
    wanted = []
    node = Below(lambda sha256, layout: wanted.append((sha256, layout)))
    node.heard(arrived(node, "r1"), {"op": "carry", "sha256": S, "layout": L})
    assert wanted == [(S, L)]


async def test_an_order_goes_the_way_to_its_relay_and_ends_with_the_answer(node: Below) -> None:
    above, other = arrived(node, "r1", "r2"), arrived(node, "r3")
    order = asyncio.create_task(node.warm("r2", S, L))
    await turn()
    assert above.sent[-1] == {"op": "warm", "order": 1, "relay": "r2", "sha256": S, "layout": L}
    assert "warm" not in other.ops()
    node.heard(above, {"op": "warmed", "order": 7})  # nobody asked for that one
    node.heard(above, {"op": "warmed", "order": 1, "error": "", "text": ""})
    await order


async def test_an_order_that_fails_says_why(node: Below) -> None:
    link = arrived(node, "r1")
    order = asyncio.create_task(node.warm("r1", S, L))
    await turn()
    node.heard(link, {"op": "warmed", "order": 1, "error": "space", "text": "it is too large"})
    with pytest.raises(OrderError, match="too large") as e:
        await order
    assert e.value.code == "space"


async def test_an_order_goes_out_again_when_its_relay_comes_back(node: Below) -> None:
    link = arrived(node, "r1", "r2")
    order = asyncio.create_task(node.warm("r2", S, L))
    await turn()
    node.left(link)
    again = arrived(node, "r1")
    assert "warm" not in again.ops()
    node.heard(again, {"op": "below", "region": "", "relays": ["r2"]})
    assert again.ops()[-1] == "warm"
    node.heard(again, {"op": "warmed", "order": 1})
    await order


async def test_an_order_for_a_relay_that_is_not_there_ends(node: Below, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(below_module, "AWAY", 0.0)
    with pytest.raises(OrderError, match="r9 is not connected") as e:
        await node.warm("r9", S, L)
    assert e.value.code == "unreachable"
