"""The rules of one swarm: what honest nodes do, and what dishonest ones can do at most."""

from __future__ import annotations

from collections import deque

import pytest

from cockpit.swarm.core import Complete, Core, Drop, Effects, PeerFault, Send, Serve, Stop, Tuning
from cockpit.swarm.wire import Any, Bits, Cancel, Data, Have, Message, Refuse, Request, Words

SIZE = 1000
ALL = (1 << 40) - 1


def peer(have: int = 0, count: int = 40, **options: object) -> Core:
    return Core([SIZE] * count, have, chooser=False, **options)  # type: ignore[arg-type]


def chooser(have: int = ALL, count: int = 40, **options: object) -> Core:
    return Core([SIZE] * count, have, chooser=True, **options)  # type: ignore[arg-type]


def sent(effects: Effects, kind: type, to: str | None = None) -> list[Message]:
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, kind) and to in (None, effect.peer)
    ]


def requests(effects: Effects, to: str | None = None) -> list[int]:
    return [message.piece for message in sent(effects, Request, to)]  # type: ignore[union-attr]


def served(effects: Effects) -> list[tuple[str, int]]:
    return [tuple(effect) for effect in effects if isinstance(effect, Serve)]


def give(core: Core, name: str, piece: int, now: float) -> Effects:
    """The piece comes whole and is kept."""
    assert core.progressed(name, Data(piece, 0, SIZE, 0, bytes(SIZE)), now)
    return core.stored(piece, name, now)


def ticks(core: Core, until: float) -> list[tuple[float, Effects]]:
    """Every tick that the core asks for; there are few."""
    out = []
    now = 0.0
    while core.wake is not None and core.wake <= until:
        now = max(now, core.wake)
        out.append((now, core.tick(now)))
        assert len(out) < 200, "it wakes again and again"
    return out


# receiving


def test_a_peer_says_what_it_holds_and_asks_for_the_rarest() -> None:
    core = peer(have=0b1)
    effects = core.joined("a", "peer", None, 0.0)
    assert effects == [Send("a", Bits(0b1))]
    core.joined("b", "peer", 0, 0.0)
    core.heard("b", Have((1, 2, 3)), 0.0)
    asked = requests(core.heard("a", Bits(0b11110), 0.0))
    assert asked == [4]


def test_one_request_to_a_peer_and_so_many_in_all() -> None:
    core = peer(tuning=Tuning(outstanding=3))
    asked = [piece for at in range(5) for piece in requests(core.joined(f"p{at}", "peer", ALL, 0.0))]
    assert len(asked) == len(set(asked)) == 3


def test_the_next_request_leaves_when_the_last_byte_is_here() -> None:
    core = peer()
    (first,) = requests(core.joined("a", "peer", ALL, 0.0))
    assert core.progressed("a", Data(first, 0, 900, 0, bytes(500)), 0.1)
    assert core.wake is not None and core.wake > 0.1
    assert core.progressed("a", Data(first, 0, 900, 500, bytes(400)), 0.2)
    assert core.wake == 0.0
    assert len(requests(core.tick(0.2))) == 1


def test_news_are_told_in_batches_and_in_front_of_other_messages() -> None:
    core = peer()
    (first,) = requests(core.joined("a", "peer", ALL, 0.0))
    core.joined("b", "peer", 0, 0.0)
    effects = give(core, "a", first, 0.1)
    core.tick(0.1)
    assert sent(effects, Have, "b") == []
    assert core.wake == pytest.approx(0.12)
    assert sent(core.tick(core.wake), Have, "b") == [Have((first,))]
    assert sent(core.tick(0.14), Have) == []


def test_a_chooser_is_only_told_how_many() -> None:
    core = peer()
    effects = core.joined("", "origin", ALL, 0.0)
    assert sent(effects, Any) == [Any(2)] and not requests(effects)
    effects = give(core, "", 7, 0.1)
    assert core.have == 1 << 7
    assert sum(message.count for message in sent(effects + core.tick(0.1), Any)) >= 1  # type: ignore[union-attr]


def test_the_last_pieces_are_asked_of_a_second_peer_and_cancelled() -> None:
    core = peer(have=ALL & ~0b1)
    assert requests(core.joined("a", "peer", ALL, 0.0)) == [0]
    assert requests(core.joined("b", "peer", ALL, 0.0)) == [], "not at once: it would come twice"
    assert core.wake == 0.25
    assert requests(core.tick(0.25)) == [0]
    assert requests(core.joined("c", "peer", ALL, 0.25)) == []
    effects = give(core, "b", 0, 0.3)
    assert sent(effects, Cancel) == [Cancel(0)] and Complete() in effects and core.done
    assert not core.progressed("a", Data(0, 0, SIZE, 0, bytes(SIZE)), 0.3)
    with pytest.raises(PeerFault, match="not asked"):
        for _ in range(3):
            core.progressed("a", Data(0, 0, SIZE, 0, bytes(SIZE)), 0.3)
    assert core.duplicates == 0 and core.received == {"b": 1}


def test_in_the_middle_nothing_is_asked_twice() -> None:
    core = peer()
    (first,) = requests(core.joined("a", "peer", 0b1, 0.0))
    assert first == 0 and requests(core.joined("b", "peer", 0b1, 0.0)) == []


def test_a_silent_peer_is_waited_for_and_then_another_is_asked() -> None:
    core = peer(have=ALL & ~0b1111111111)
    (first,) = requests(core.joined("mute", "peer", ALL, 0.0))
    (second,) = requests(core.joined("good", "peer", ALL, 0.0))
    now, effects = 0.0, core.tick(0.0)
    came: list[int] = []
    while second is not None and now < 10:
        now += 0.1
        effects = give(core, "good", second, now) + core.tick(now)
        came.append(second)
        asked = requests(effects, "good")
        assert not requests(effects, "mute"), "no second piece for who has not delivered the first"
        second = asked[0] if asked else None
        if second is None and not core.done:
            break
    assert first in came and core.done and now < 4
    assert core.fallbacks == 0


def test_a_chooser_is_asked_for_a_piece_only_when_no_peer_delivers_and_that_is_counted() -> None:
    core = peer()
    core.joined("", "origin", ALL, 0.0)
    (first,) = requests(core.joined("mute", "peer", 0b1, 0.0))
    asked = [(now, piece) for now, effects in ticks(core, 5.0) for piece in requests(effects, "")]
    assert asked == [(pytest.approx(2.0), first)]
    assert core.fallbacks == 1
    give(core, "", first, 3.0)
    assert core.have == 1


def test_slow_is_not_dead() -> None:
    core = peer()
    (first,) = requests(core.joined("slow", "peer", ALL, 0.0))
    core.joined("", "origin", 0, 0.0)
    for at in range(20):
        core.progressed("slow", Data(first, 0, SIZE, at * 50, bytes(50)), at * 0.35)
        core.tick(at * 0.35)
    core.stored(first, "slow", 7.0)
    assert core.fallbacks == 0 and core.have == 1 << first


def test_a_drip_is_as_good_as_nothing() -> None:
    core = peer()
    (first,) = requests(core.joined("drip", "peer", ALL, 0.0))
    core.joined("", "origin", 0, 0.0)
    asked = []
    for at in range(20):
        core.progressed("drip", Data(first, 0, SIZE, at, bytes(1)), at * 1.0)
        asked += [(at, piece) for piece in requests(core.tick(at * 1.0), "")]
    assert asked[0] == (8, first) and core.fallbacks


def test_one_that_is_silent_and_one_that_drips_do_not_cover_for_each_other() -> None:
    core = peer()
    core.joined("", "origin", 0, 0.0)
    core.joined("silent", "peer", ALL, 0.0)
    (second,) = requests(core.joined("drip", "peer", ALL, 0.0))
    asked = []
    for at in range(20):
        core.progressed("drip", Data(second, 0, SIZE, at, bytes(1)), at * 1.0)
        asked += requests(core.tick(at * 1.0), "")
    assert asked[0] == second and len(asked) > 1


def test_where_a_peer_refuses_or_breaks_the_rules_the_chooser_is_asked_at_once() -> None:
    for fault in (True, False):
        core = peer()
        (first,) = requests(core.joined("liar", "peer", 0b1, 0.0))
        core.joined("", "origin", 0, 0.0)
        effects = core.left("liar", 0.1, fault=True) if fault else core.heard("liar", Refuse(first), 0.1)
        assert requests(effects, "") == [first] and core.fallbacks == 1
    core = peer()
    core.joined("gone", "peer", 0b1, 0.0)
    core.joined("", "origin", 0, 0.0)
    assert not requests(core.left("gone", 0.1), ""), "who only left has told the chooser so itself"


def test_what_did_not_verify_is_asked_elsewhere_and_its_sender_dropped() -> None:
    core = peer(have=ALL & ~0b1)
    core.joined("bad", "peer", ALL, 0.0)
    core.progressed("bad", Data(0, 0, SIZE, 0, bytes(SIZE)), 0.0)
    effects = core.spoilt(0, "bad", 0.1)
    assert effects == [Drop("bad", "piece 0 did not verify")] and core.bad == 1
    assert core.heard("bad", Have((0,)), 0.1) == []
    core.left("bad", 0.1)
    assert requests(core.joined("good", "peer", ALL, 0.2)) == [0]


def test_a_refusal_and_a_broken_connection_free_the_piece() -> None:
    core = peer(have=ALL & ~0b1)
    core.joined("a", "peer", ALL, 0.0)
    assert requests(core.heard("a", Refuse(0), 0.1)) == []
    assert requests(core.joined("b", "peer", ALL, 0.1)) == [0]
    assert requests(core.joined("c", "peer", ALL, 0.1)) == []
    assert requests(core.tick(0.35)) == [0]
    core.left("c", 0.4)
    effects = core.left("b", 0.4)
    assert requests(effects) == []
    assert requests(core.heard("a", Have((0,)), 0.5)) == [0]


def test_the_last_pieces_are_asked_of_a_chooser_by_name() -> None:
    """It would choose among them what is on its way from others already."""
    core = peer(have=ALL & ~0b11111)
    assert [m.count for m in sent(core.joined("", "origin", ALL, 0.0), Any)] == [2]  # type: ignore[union-attr]
    others = core.joined("a", "peer", ALL, 0.0)
    assert len(requests(others)) == 1, "what the chooser owes is not asked of peers"
    core = peer(have=ALL & ~0b111)
    asked = requests(core.joined("", "origin", ALL, 0.0))
    assert len(asked) == len(set(asked)) == 2 and set(asked) <= {0, 1, 2}
    assert requests(core.joined("a", "peer", ALL, 0.0)) == [({0, 1, 2} - set(asked)).pop()]
    lacks = peer(have=ALL & ~0b1)
    assert [m.count for m in sent(lacks.joined("r", "relay", 0, 0.0), Any)] == [1]  # type: ignore[union-attr]
    assert requests(lacks.joined("a", "peer", ALL, 0.0)) == [], "the relay may get it"
    assert requests(lacks.tick(0.25)) == [0]


def test_paused_nothing_new_is_asked_or_served() -> None:
    core = peer(have=0b1)
    core.hold(True, 0.0)
    assert requests(core.joined("a", "peer", ALL, 0.0)) == []
    assert served(core.heard("a", Request(0), 0.1)) == []
    assert ticks(core, 100.0) == [] or not any(requests(effects) for _, effects in ticks(core, 100.0))
    effects = core.hold(False, 1.0)
    assert len(requests(effects)) == 1 and served(effects) == [("a", 0)]


def test_a_piece_that_could_not_be_kept_is_asked_again_after_a_pause() -> None:
    core = peer(have=ALL & ~0b1)
    core.joined("a", "peer", ALL, 0.0)
    core.progressed("a", Data(0, 0, SIZE, 0, bytes(SIZE)), 0.1)
    core.hold(True, 0.1)
    assert requests(core.hold(False, 9.0)) == [0]


def test_stuck_is_who_gets_nothing() -> None:
    core = peer()
    assert core.stuck(0.0)
    core.joined("a", "peer", 0, 1.0)
    assert not core.stuck(3.0) and core.stuck(6.0)
    done = peer(have=ALL)
    assert not done.stuck(9.0)


# choosing and serving


def test_a_chooser_sends_each_piece_once_before_any_twice() -> None:
    core = chooser()
    for name in "abcd":
        core.joined(name, "peer", 0, 0.0)
    given: list[int] = []
    queue = deque(served([e for name in "abcd" for e in core.heard(name, Any(2), 0.0)]))
    now = 0.0
    while len(given) < 40:
        now += 0.01
        name, piece = queue.popleft()
        given.append(piece)
        core.heard(name, Have((piece,)), now)
        queue += served(core.served(name, piece, now))
        queue += served(core.heard(name, Any(1), now))
    assert sorted(given) == list(range(40))


def test_a_chooser_prefers_who_passes_on() -> None:
    core = chooser(tuning=Tuning(slots=1))
    core.joined("keeps", "peer", 0, 0.0)
    core.joined("shares", "peer", 0, 0.0)
    core.joined("far", "peer", 0, 0.0)
    count = {"keeps": 0, "shares": 0}
    queue = deque(served(core.heard("keeps", Any(20), 0.0) + core.heard("shares", Any(20), 0.0)))
    for at in range(20):
        name, piece = queue.popleft()
        count[name] += 1
        core.heard(name, Have((piece,)), at * 0.01)
        if name == "shares":
            core.heard("far", Have((piece,)), at * 0.01)
        queue += served(core.served(name, piece, at * 0.01 + 0.005))
    assert count["shares"] >= 17


def test_slow_receivers_do_not_fill_the_slots() -> None:
    core = chooser()
    for name in ("s1", "s2", "s3", "s4", "fast"):
        core.joined(name, "peer", 0, 0.0)
    first = served(core.heard("fast", Any(1), 0.0))
    assert len(first) == 1
    core.served(*first[0], 0.01)
    running = [pair for name in ("s1", "s2", "s3", "s4") for pair in served(core.heard(name, Any(2), 0.02))]
    assert len(running) == 4
    assert served(core.heard("fast", Any(2), 0.03)) == []
    assert core.wake is not None and core.wake < 0.2
    assert "fast" in {name for _, effects in ticks(core, 0.2) for name, _ in served(effects)}


def test_the_first_receivers_may_be_dead_slow() -> None:
    core = chooser()
    for name in ("s1", "s2", "fast"):
        core.joined(name, "peer", 0, 0.0)
        core.heard(name, Any(2), 0.0)
    assert "fast" in {name for _, effects in ticks(core, 3.0) for name, _ in served(effects)}


def test_a_swarm_without_pieces_is_done() -> None:
    core = peer(count=0)
    assert core.done and core.joined("a", "peer", 0, 0.0) == [Send("a", Bits(0))]


def test_an_any_that_cannot_be_served_waits_for_the_next_piece() -> None:
    core = chooser(have=0)
    core.joined("up", "relay", ALL, 0.0, upstream=True)
    effects = core.joined("a", "peer", 0, 0.0)
    assert requests(effects, "up") == [0, 1]
    assert served(core.heard("a", Any(2), 0.0)) == []
    assert served(give(core, "up", 0, 0.1)) == [("a", 0)]


def test_a_relay_gets_only_what_no_peer_holds_unless_it_is_warmed() -> None:
    core = chooser(have=0)
    assert requests(core.joined("", "origin", ALL, 0.0)) == []
    assert requests(core.joined("a", "peer", ALL & ~0b111, 0.0)) == [0, 1]
    core.left("a", 0.0)
    core = chooser(have=0, warm=True)
    assert requests(core.joined("", "origin", ALL, 0.0)) == [0, 1]


def test_a_relay_fetches_what_is_requested_and_stops_believing_liars() -> None:
    core = chooser(have=0)
    core.joined("", "origin", ALL, 0.0)
    core.joined("liar", "peer", ALL, 0.0)
    assert requests(core.joined("a", "peer", 0, 0.0)) == []
    assert requests(core.heard("a", Request(5), 1.0)) == [5]
    effects = give(core, "", 5, 2.0)
    assert served(effects) == [("a", 5)]
    core.served("a", 5, 2.5)
    assert requests(core.heard("a", Request(6), 3.0)) == [6, 0], "what was requested goes first"
    assert served(give(core, "", 6, 4.0)) == [("a", 6)]


def test_a_cancelled_upload_stops_and_frees_its_slot() -> None:
    core = peer(have=ALL, tuning=Tuning(slots=1))
    core.joined("a", "peer", 0, 0.0)
    core.joined("b", "peer", 0, 0.0)
    assert served(core.heard("a", Request(1), 0.0)) == [("a", 1)]
    assert served(core.heard("b", Request(2), 0.0)) == []
    assert core.heard("a", Cancel(1), 0.1) == [Stop("a", 1)]
    assert served(core.served("a", 1, 0.1)) == [("b", 2)]
    core.heard("a", Request(3), 0.2)
    core.heard("a", Cancel(3), 0.2)
    assert served(core.served("b", 2, 0.3)) == []
    assert core.sent == {"b": 1}


def test_requests_are_served_rarest_first() -> None:
    core = peer(have=ALL, tuning=Tuning(slots=1))
    core.joined("a", "peer", 0, 0.0)
    core.joined("b", "peer", 0b110, 0.0)
    core.joined("c", "peer", 0b010, 0.0)
    core.heard("a", Request(30), 0.0)
    core.heard("c", Request(2), 0.0)
    core.heard("b", Request(9), 0.0)
    assert served(core.served("a", 30, 0.1)) == [("b", 9)]


# what peers can do wrong


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([Any(10**9)], "at most 64"),
        ([Any(0)], "0 pieces"),
        ([Any(64), Any(64)], "at most 64"),
        ([Have((40,))], "piece 40; there are 40"),
        ([Have((2**31,))], "there are 40"),
        ([Bits(1 << 40)], "more than 40"),
        ([Bits(1), Bits(1)], "twice"),
        ([Request(40)], "there are 40"),
        ([Cancel(99)], "there are 40"),
        ([Refuse(40)], "there are 40"),
        ([Refuse(1)], "not asked for"),
        ([Words({})], "Words"),
        ([Data(1, 0, 1, 0, b"x")], "Data"),
        ([Request(1)] * 500, "again and again"),
    ],
)
def test_messages_that_break_the_rules(messages: list[Message], why: str) -> None:
    core = chooser()
    core.joined("x", "peer", None, 0.0)
    with pytest.raises(PeerFault, match=why):
        for message in messages:
            core.heard("x", message, 0.0)
    core.left("x", 0.0)
    core.served("x", 1, 0.0)
    assert core.wake is None or core.wake >= 0.0


def test_only_choosers_choose_and_names_are_unique() -> None:
    core = peer(have=ALL)
    core.joined("x", "peer", 0, 0.0)
    with pytest.raises(PeerFault, match="relays and the origin"):
        core.heard("x", Any(1), 0.0)
    with pytest.raises(ValueError, match="x is connected"):
        core.joined("x", "peer", 0, 0.0)
    with pytest.raises(PeerFault, match="more than 40"):
        core.joined("y", "peer", 1 << 40, 0.0)
    assert core.heard("y", Any(1), 0.0) == []


def test_endless_requests_are_bounded() -> None:
    core = peer(have=ALL)
    core.joined("x", "peer", 0, 0.0)
    with pytest.raises(PeerFault):
        for at in range(100_000):
            for name, piece in served(core.heard("x", Request(at % 40), 0.0)):
                core.served(name, piece, 0.0)
    relay = chooser(have=0, count=500)
    relay.joined("x", "peer", 0, 0.0)
    with pytest.raises(PeerFault, match="64 pieces at once"):
        for at in range(500):
            relay.heard("x", Request(at), 0.0)


def test_endless_refusals_are_bounded() -> None:
    core = peer()
    core.joined("x", "peer", 0, 0.0)
    with pytest.raises(PeerFault, match="refused"):
        for _ in range(1000):
            (asked,) = requests(core.heard("x", Have((3,)), 0.0))
            core.heard("x", Refuse(asked), 0.0)


@pytest.mark.parametrize(
    ("slices", "why"),
    [
        ([Data(39, 0, SIZE, 0, b"x")], "not asked for"),
        ([Data(77, 0, SIZE, 0, b"x")], "there are 40"),
        ([Data(0, 0, SIZE, 5, b"x")], "0 was next"),
        ([Data(0, 0, SIZE, 0, b"x"), Data(0, 0, SIZE, 0, b"x")], "1 was next"),
        ([Data(0, 0, SIZE, 0, b"x"), Data(0, 0, 900, 1, b"x")], "changed the length"),
        ([Data(0, 0, 900_000, 0, b"x")], "900000 bytes"),
    ],
)
def test_slices_that_break_the_rules(slices: list[Data], why: str) -> None:
    core = peer()
    assert requests(core.joined("x", "peer", 0b1, 0.0)) == [0]
    with pytest.raises(PeerFault, match=why):
        for data in slices:
            core.progressed("x", data, 0.0)


def test_a_chooser_that_sends_without_being_asked_is_dropped() -> None:
    core = peer(have=0b1)
    core.joined("", "origin", ALL, 0.0)
    with pytest.raises(PeerFault, match="that we hold"):
        for _ in range(100):
            core.progressed("", Data(0, 0, SIZE, 0, bytes(SIZE)), 0.0)
    core = peer(have=ALL)
    core.joined("", "origin", ALL, 0.0)
    with pytest.raises(PeerFault, match="not asked for"):
        for at in range(20):
            core.progressed("", Data(at, 0, SIZE, 0, bytes(SIZE)), 0.0)
