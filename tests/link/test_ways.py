"""Which way and transport comes next: the rules one by one, and what holds from any state."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.link import ways
from cockpit.link.channel import TRANSPORTS
from cockpit.link.ways import BROKEN, NEAR, REFUSED, RETURN, SILENT, UNREACHABLE, Chooser, Pair, pause

A, B, C = "https://a:1", "https://b:1", "https://c:1"
WS, H2, POLL = TRANSPORTS


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def highest(low: float, high: float) -> float:
    return high


def chooser(*urls: str, transports: tuple[str, ...] = (), last: Pair | None = None) -> Chooser:
    return Chooser(urls or (A, B), transports, last, middle)


def test_it_begins_with_the_best_or_with_what_worked_last() -> None:
    assert chooser().attempt() == (Pair(A, WS), 0.0)
    assert chooser(transports=(POLL, WS)).attempt() == (Pair(A, POLL), 0.0)
    assert chooser(last=Pair(B, H2)).attempt() == (Pair(B, H2), 0.0)
    assert chooser(last=Pair(C, H2)).attempt() == (Pair(A, WS), 0.0)
    assert chooser(transports=(WS,), last=Pair(B, H2)).attempt() == (Pair(A, WS), 0.0)
    assert chooser(transports=("smoke",)).attempt() == (Pair(A, WS), 0.0)
    with pytest.raises(ValueError):
        Chooser([])


def follow(made: Chooser, how: str, now: float = 0.0) -> tuple[Pair, float]:
    made.failed(made.attempt().pair, how, now)
    return made.attempt()


def test_nobody_takes_the_connection_the_next_way_is_tried_at_once() -> None:
    made = chooser(A, B, C, last=Pair(B, H2))
    assert follow(made, UNREACHABLE) == (Pair(C, H2), 0.0)
    assert follow(made, UNREACHABLE) == (Pair(A, H2), 0.0)
    pair, wait = follow(made, UNREACHABLE)
    assert pair == Pair(B, H2) and 0.1 <= wait <= 2.0


def test_no_welcome_the_next_transport_is_tried_on_the_same_way_at_once() -> None:
    made = chooser()
    order = [made.attempt().pair, *(follow(made, SILENT)[0] for _ in range(5))]
    assert order == [Pair(w, t) for w in (A, B) for t in (WS, H2, POLL)]
    pair, wait = follow(made, SILENT)
    assert pair == Pair(A, WS) and wait > 0


def test_a_standing_link_that_falls_silent_moves_to_the_next_transport() -> None:
    made = chooser(last=Pair(A, H2))
    made.welcomed(Pair(A, H2), 100.0)
    assert follow(made, SILENT, 160.0) == (Pair(A, POLL), 0.0)
    assert follow(made, SILENT, 164.0) == (Pair(A, WS), 0.0)
    assert follow(made, SILENT, 168.0)[0].way == B


def test_a_standing_link_that_is_ended_is_tried_again_and_twice_is_once_too_often() -> None:
    made = chooser()
    made.welcomed(Pair(A, WS), 100.0)
    pair, wait = follow(made, BROKEN, 101.0)
    assert pair == Pair(A, WS) and 0 < wait <= 0.5
    made.welcomed(Pair(A, WS), 102.0)
    assert follow(made, BROKEN, 103.0) == (Pair(A, H2), 0.0)


def test_a_controller_that_is_started_anew_now_and_then_keeps_its_transport() -> None:
    made = chooser()
    now = 0.0
    for _ in range(10):
        made.welcomed(Pair(A, WS), now)
        now += 60
        assert follow(made, BROKEN, now)[0] == Pair(A, WS)
        assert follow(made, UNREACHABLE, now)[0] == Pair(B, WS)  # nobody listens for a moment
        assert follow(made, UNREACHABLE, now)[0] == Pair(A, WS)


def test_refused_in_words_there_is_no_hurry() -> None:
    made = chooser()
    made.refused(Pair(A, WS), 0.0)
    pair, wait = made.attempt()
    assert pair == Pair(B, WS) and wait >= REFUSED[0]
    made.refused(pair, 5.0)
    assert made.attempt().pause >= REFUSED[0]


def when_better(made: Chooser, now: float) -> float:
    """Seconds until a better pair is tried."""
    begin = now
    while made.better(now) is None:
        now += 1.0
        assert now < begin + 2 * ways.MAX_RETURN
    return now - begin


def test_a_nearer_way_where_nobody_listened_is_tried_soon_and_then_ever_more_seldom() -> None:
    made = chooser()
    assert made.better(0.0) is None
    follow(made, UNREACHABLE)
    now = 1000.0
    made.welcomed(Pair(B, WS), now)
    waits = []
    for _ in range(8):
        waits.append(when_better(made, now))
        now += waits[-1]
        assert made.better(now) == Pair(A, WS)
        made.not_better(Pair(A, WS), UNREACHABLE, now)
    assert NEAR / 2 <= waits[0] <= NEAR and waits == sorted(waits) and RETURN / 2 <= waits[-1] <= RETURN
    made.welcomed(Pair(A, WS), now)
    assert made.better(now + 9999.0) is None


def test_a_way_that_was_never_tried_is_tried_soon() -> None:
    """A host that knows only its controller learns of its relay by the first welcome."""
    made = chooser(B)
    made.update([A, B])
    made.welcomed(Pair(B, WS), 0.0)
    assert when_better(made, 0.0) <= NEAR and made.better(NEAR) == Pair(A, WS)


def test_a_nearer_way_that_does_not_last_is_left_alone_for_longer_each_time() -> None:
    made = chooser()
    now, waits = 0.0, []
    for _ in range(4):
        made.welcomed(Pair(A, WS), now)
        made.failed(Pair(A, WS), BROKEN, now + 60.0)  # an accident: once more, where nobody listens now
        made.failed(Pair(A, WS), UNREACHABLE, now + 61.0)
        now += 61.0
        made.welcomed(Pair(B, WS), now)
        waits.append(when_better(made, now))
        now += waits[-1]
    assert waits == sorted(waits) and waits[-1] > 6 * waits[0] and waits[0] <= 2 * NEAR
    made.welcomed(Pair(A, WS), now)
    made.failed(Pair(A, WS), BROKEN, now + RETURN)  # it stood for long: all is forgiven
    made.welcomed(Pair(B, WS), now + RETURN)
    assert when_better(made, now + RETURN) <= NEAR


def test_a_better_transport_or_a_way_that_fell_silent_is_looked_for_after_some_minutes() -> None:
    made = chooser()
    follow(made, SILENT)
    follow(made, SILENT)
    follow(made, SILENT)  # every transport of the nearer way
    made.welcomed(Pair(B, POLL), 1000.0)
    assert when_better(made, 1000.0) >= RETURN
    made = chooser()
    made.welcomed(Pair(A, POLL), 1000.0)
    assert when_better(made, 1000.0) == RETURN


def test_a_better_pair_that_does_not_work_is_tried_ever_more_seldom() -> None:
    made = chooser(A)
    follow(made, SILENT)
    now = 10.0
    made.welcomed(Pair(A, H2), now)
    waits = []
    for _ in range(12):
        begin = now
        while made.better(now) is None:
            now += 10
        waits.append(now - begin)
        made.not_better(Pair(A, WS), SILENT, now)
    assert waits[0] >= RETURN and waits == sorted(waits)
    assert waits[-1] <= ways.MAX_RETURN


def test_other_ways_from_a_welcome() -> None:
    made = chooser()
    made.welcomed(Pair(A, WS), 0.0)
    made.update([C, A], [H2])
    assert made.pairs == [Pair(C, H2), Pair(A, H2)]
    assert made.better(RETURN) == Pair(C, H2)
    made.failed(Pair(A, WS), BROKEN, 500.0)
    assert made.attempt().pair == Pair(C, H2)


hows = st.sampled_from([UNREACHABLE, SILENT, BROKEN])
urls = st.lists(st.sampled_from([A, B, C, "https://d:1"]), min_size=1, max_size=4, unique=True)
orders = st.lists(st.sampled_from(TRANSPORTS), max_size=3, unique=True)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("failed"), hows), st.just(("welcomed", "")), st.just(("refused", "")),
        st.tuples(st.just("update"), urls),
    ),
    max_size=30,
)  # fmt: skip


def anywhere(urls: list[str], order: list[str], steps: list[tuple[str, object]], last: int) -> tuple[Chooser, float]:
    """A chooser after any history."""
    pairs = [Pair(w, t) for w in urls for t in TRANSPORTS]
    made = Chooser(urls, order, pairs[last % len(pairs)], highest)
    now = 0.0
    for what, detail in steps:
        now += 7.0
        pair = made.attempt().pair
        if what == "failed":
            made.failed(pair, str(detail), now)
        elif what == "welcomed":
            made.welcomed(pair, now)
        elif what == "refused":
            made.refused(pair, now)
        elif isinstance(detail, list):
            made.update(detail, order)
    return made, now


@given(urls, orders, steps, st.integers(0, 11))
def test_from_any_state_every_pair_has_its_turn(
    urls: list[str], order: list[str], steps: list[tuple[str, object]], last: int
) -> None:
    """Two rounds at most. Where no TCP connection is taken, one transport stands for all."""
    for how in (SILENT, UNREACHABLE):
        made, now = anywhere(urls, order, steps, last)
        pairs = made.pairs
        tried: Counter[Pair] = Counter()
        for _ in range(2 * len(pairs)):
            pair, wait = made.attempt()
            assert pair in pairs and 0 <= wait <= ways.REFUSED[1]
            tried[pair] += 1
            now += wait + ways.WELCOME_TIME
            made.failed(pair, how, now)
        if how == SILENT:
            assert set(tried) == set(pairs)
        else:
            assert {pair.way for pair in tried} == {pair.way for pair in pairs}


@given(urls, orders, steps, st.integers(0, 11))
def test_from_any_state_a_way_that_works_is_found(
    urls: list[str], order: list[str], steps: list[tuple[str, object]], last: int
) -> None:
    """Whichever single pair works, and whatever is wrong with the others."""
    for works in range(12):
        made, now = anywhere(urls, order, steps, last)
        pairs = made.pairs
        good = pairs[works % len(pairs)]
        for _ in range(2 * len(pairs) + 1):
            pair, wait = made.attempt()
            if pair == good:
                break
            now += wait + 4
            made.failed(pair, UNREACHABLE if pair.way != good.way else SILENT, now)
        else:
            raise AssertionError(f"{good} was never tried")


@given(urls, steps, st.integers(0, 11))
def test_from_any_state_an_eaten_transport_is_left_within_ten_seconds(
    urls: list[str], steps: list[tuple[str, object]], last: int
) -> None:
    made, now = anywhere(urls, [], steps, last)
    pair = made.attempt().pair
    made.welcomed(pair, now)
    eaten = now + 100.0
    noticed = eaten + ways.SILENCE
    made.failed(pair, SILENT, noticed)
    after, wait = made.attempt()
    assert after.way == pair.way and after.transport != pair.transport
    assert noticed + wait - eaten < 10.0


@given(st.integers(0, 10_000), st.booleans())
def test_the_pause_is_bounded_and_never_nothing(failures: int, cheap: bool) -> None:
    for chance in (middle, highest, min):
        assert 0.1 <= pause(failures, cheap, chance) <= (ways.SOON if cheap else ways.LATER)
