"""What the controller knows of relays, and the rows that screens show."""

from __future__ import annotations

from cockpit.controller.board import Board
from cockpit.controller.world import SUSPECT_FOR, World
from cockpit.link.trunk_frames import RelayHello, RelayState
from cockpit.model.topology import Expected, Relay, to_doc
from cockpit.naming.registry import Registry

RELAYS = {
    "a": Relay(region="sh", address="10.0.0.2", port=1, link_port=7701),
    "b": Relay(region="bj", address="10.0.0.3", port=1, link_port=7701, upstream="a"),
    "store": Relay(region="bj", address="10.0.0.4", port=1),
}


def made() -> tuple[World, Board]:
    world = World(Registry())
    world.set_expected(to_doc(Expected(name="c", relays=RELAYS)), 1)
    return world, Board(world)


def shown(board: Board, now: float = 0.0) -> dict[str, tuple[str, str, str]]:
    rows = board.snapshot(now).relays
    return {name: (row.presence, row.mark, row.reason) for name, row in rows.items()}


def states(*, low: bool = True) -> dict[str, RelayState]:
    found = {"a": RelayState(5, 3, ("a",), "1", 9.0)}
    if low:
        found["b"] = RelayState(6, 7, ("b", "a"), "1", 9.0, 0.01, "http2")
    return found


def test_before_anybody_was_heard() -> None:
    _, board = made()
    assert shown(board) == {
        "a": ("unknown", "unknown", "it was never heard"), "b": ("unknown", "unknown", "it was never heard"),
        "store": ("", "absent", "it carries artifacts only: it has no link_port"),
    }


def test_up_below_and_lost() -> None:
    world, board = made()
    world.relay_connected("a", RelayHello("a", "u"), "websocket", 1.0)
    world.relay_fact("a", latency=0.02)
    world.relay_states("a", states(), 2.0)
    row = board.snapshot(2.0).relays["b"]
    assert (row.presence, row.agents, row.path, row.transport, row.pid) == ("up", 7, ("b", "a"), "http2", 6)
    assert row.latency is not None and abs(row.latency - 0.03) < 1e-9
    world.relay_states("a", states(low=False), 3.0)
    assert shown(board)["b"] == ("suspect", "changing", "a has lost it")
    world.relay_states("a", states(), 4.0)
    assert shown(board)["b"][0] == "up"
    world.relay_lost("a", "connection closed", 5.0)
    assert shown(board)["b"] == ("suspect", "changing", "a, which it is behind, does not answer")
    world.age(5.0 + SUSPECT_FOR)
    assert shown(board)["a"] == ("unknown", "unknown", "connection closed")
    assert shown(board)["b"][0] == "unknown"


def test_a_relay_that_goes_another_way_is_not_lost_with_the_first() -> None:
    world, board = made()
    world.relay_connected("a", RelayHello("a", "u"), "websocket", 1.0)
    world.relay_states("a", states(), 2.0)
    world.relay_connected("b", RelayHello("b", "v"), "http2", 3.0)
    world.relay_states("a", states(low=False), 4.0)
    world.relay_lost("a", "cut", 5.0)
    assert shown(board)["b"] == ("up", "ok", "")


def test_what_its_operator_must_know_and_one_that_left_the_topology() -> None:
    world, board = made()
    world.relay_connected("a", RelayHello("a", "u"), "websocket", 1.0)
    world.relay_fact("a", note="cannot listen on 10.0.0.9")
    assert shown(board)["a"] == ("up", "changing", "cannot listen on 10.0.0.9")
    world.set_expected(to_doc(Expected(name="c")), 2)
    assert shown(board) == {"a": ("up", "changing", "not in the topology any more")}
    world.relay_lost("a", "gone", 3.0)
    world.age(3.0 + SUSPECT_FOR)
    world.set_expected(to_doc(Expected(name="c")), 3)
    assert shown(board) == {}
