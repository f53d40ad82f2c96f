"""Who is connected to whom, while nodes come and go."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.swarm.tracker import Changes, Dial, Node, Part, Tracker

HUB = Node("relay", "h", 1)


class Mirror:
    """The graph as the told nodes make it."""

    def __init__(self, **options: int) -> None:
        self.tracker = Tracker(HUB, **options)
        self.links: dict[str, set[str]] = {"relay": set()}

    def apply(self, changes: Changes) -> None:
        for change in changes:
            if isinstance(change, Dial):
                assert change.name != "relay" and change.node.name in self.links
                assert change.node.name not in self.links[change.name], "dialled twice"
                self.links[change.name].add(change.node.name)
                self.links[change.node.name].add(change.name)
            else:
                self.links[change.name].discard(change.other)

    def join(self, name: str) -> None:
        self.drop(name)
        self.links[name] = set()
        self.apply(self.tracker.join("s", Node(name, "a", 2)))

    def drop(self, name: str) -> None:
        for other in self.links.pop(name, ()):
            self.links[other].discard(name)

    def leave(self, name: str) -> None:
        self.drop(name)
        self.apply(self.tracker.gone(name).get("s", []))

    def check(self) -> None:
        for name, links in self.links.items():
            assert sorted(links) == [node.name for node in self.tracker.neighbours("s", name)]
            assert all(name in self.links[other] for other in links), "symmetric"
        assert sorted(self.links) == sorted(["relay", *(node.name for node in self.tracker.peers("s"))])

    def connected(self) -> bool:
        seen, ahead = {"relay"}, ["relay"]
        while ahead:
            for other in self.links[ahead.pop()] - seen:
                seen.add(other)
                ahead.append(other)
        return len(seen) == len(self.links)


@pytest.mark.parametrize("peers", [1, 5, 24])
def test_a_small_swarm_is_a_full_mesh(peers: int) -> None:
    mirror = Mirror()
    for at in range(peers):
        mirror.join(f"p{at}")
    mirror.check()
    assert all(len(links) == peers for links in mirror.links.values())


@pytest.mark.parametrize("peers", [25, 60, 1000])
def test_a_large_swarm_is_a_regular_connected_graph(peers: int) -> None:
    mirror = Mirror()
    for at in range(peers):
        mirror.join(f"p{at}")
    mirror.check()
    assert mirror.connected()
    degrees = [len(links) for name, links in mirror.links.items() if name != "relay"]
    assert min(degrees) >= 8
    assert len(mirror.links["relay"]) <= 24
    assert sum(degrees) / peers <= (24 if peers < 60 else 15)
    if peers == 1000:
        assert sum(degree <= 16 for degree in degrees) > 0.95 * peers
        reach, ahead = {"relay"}, {"relay"}
        for _ in range(5):
            ahead = {far for name in ahead for far in mirror.links[name]} - reach
            reach |= ahead
        assert len(reach) == len(mirror.links), "five steps from the hub everybody is reached"


def test_a_newcomer_leaves_most_connections_alone() -> None:
    mirror = Mirror()
    for at in range(200):
        mirror.join(f"p{at}")
    changes = mirror.tracker.join("s", Node("new", "a", 2))
    assert len({change.name for change in changes if isinstance(change, Part)}) <= 2 * 10
    assert sum(isinstance(change, Dial) for change in changes) in range(9, 13)
    assert {change.name for change in changes if isinstance(change, Dial)} == {"new"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 45)), max_size=150), st.integers(0, 5))
def test_any_coming_and_going_keeps_it_symmetric_and_connected(steps: list[tuple[int, int]], seed: int) -> None:
    mirror = Mirror(seed=seed, full=6, degree=4, most=6, least=3)
    for at in range(20):
        mirror.join(f"p{at}")
    for what, who in steps:
        name = f"p{who}"
        if what == 0:
            mirror.leave(name)
        elif what == 1 and name in mirror.links:
            mirror.apply(mirror.tracker.rescue("s", name))
            assert "relay" in mirror.links[name]
        else:
            mirror.join(name)
        mirror.check()
        assert mirror.connected()


def test_a_swarm_that_shrinks_is_a_full_mesh_again() -> None:
    mirror = Mirror()
    for at in range(60):
        mirror.join(f"p{at}")
    for at in range(40):
        mirror.leave(f"p{at}")
    mirror.check()
    assert all(len(links) == 20 for links in mirror.links.values())


def test_who_is_gone_is_in_no_swarm() -> None:
    tracker = Tracker(HUB)
    for swarm in ("s", "t"):
        for name in ("a", "b"):
            tracker.join(swarm, Node(name, "x", 1))
    assert tracker.gone("a") == {"s": [], "t": []}
    assert [node.name for node in tracker.peers("s")] == ["b"]
    assert tracker.leave("s", "nobody") == [] and tracker.rescue("u", "b") == []
    tracker.gone("b")
    assert tracker.swarms() == []


def test_nobody_takes_the_name_of_the_tracker() -> None:
    with pytest.raises(ValueError, match="relay"):
        Tracker(HUB).join("s", Node("relay", "x", 1))
