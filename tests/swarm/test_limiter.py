"""The bucket in virtual time."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.swarm.limiter import LEAST_BURST, Limiter

SLICE = 32 * 1024


def drive(limiter: Limiter, links: list[tuple[str, float, float]], until: float) -> dict[str, int]:
    """Each link (swarm, from, to) sends slices as fast as it may; bytes by swarm."""
    sent: dict[str, int] = {}
    turns = [(start, number) for number, (_, start, _) in enumerate(links)]
    heapq.heapify(turns)
    polls = 0
    while turns:
        now, number = heapq.heappop(turns)
        flow, _, end = links[number]
        if now > min(end, until):
            continue
        polls += 1
        wait = limiter.take(flow, SLICE, now)
        assert wait >= 0
        if not wait:
            sent[flow] = sent.get(flow, 0) + SLICE
        heapq.heappush(turns, (now + (wait or 1e-4), number))
    assert polls < 40 * sum(sent.values()) / SLICE + 40 * until * len(links)
    return sent


@given(st.integers(1, 12), st.floats(1e5, 1e8))
def test_the_rate_is_kept_and_used(links: int, rate: float) -> None:
    limiter = Limiter(rate, piece=128 * 1024)
    burst = max(LEAST_BURST, 0.1 * rate)
    until = 4 * 1024 * 1024 / rate
    sent = drive(limiter, [("a", 0.0, until)] * links, until)["a"]
    assert sent <= burst + rate * until + SLICE
    assert sent >= min(rate * until * 0.8, until / 1e-4 * SLICE * 0.8)


def test_swarms_share_by_bytes_not_by_connections() -> None:
    limiter = Limiter(1e6, piece=128 * 1024)
    sent = drive(limiter, [("a", 0.0, 60.0)] * 9 + [("b", 0.0, 60.0)], 60.0)
    assert abs(sent["a"] - sent["b"]) < 0.1 * sent["a"]
    assert sum(sent.values()) > 0.9 * 60e6


def test_who_wants_nothing_leaves_its_part_and_gets_no_credit_for_it() -> None:
    limiter = Limiter(1e6, piece=128 * 1024)
    sent = drive(limiter, [("a", 0.0, 60.0), ("b", 30.0, 60.0)], 60.0)
    assert 42e6 < sent["a"] < 47e6
    assert 13e6 < sent["b"] < 17e6


def test_a_swarm_that_waits_is_forgotten_when_it_does_not_come_back() -> None:
    limiter = Limiter(1e6)
    now = 0.0
    while not limiter.take("b", SLICE, now):
        pass
    sent = drive(limiter, [("a", 0.0, 20.0)], 20.0)
    assert sent["a"] > 18e6
    limiter.forget("b")


def test_a_burst_of_two_pieces_and_of_256_kib() -> None:
    for piece, burst in ((16 * 1024, 256 * 1024), (1024 * 1024, 2 * 1024 * 1024)):
        limiter = Limiter(1000.0, piece)
        count = 0
        while not limiter.take("a", SLICE, 0.0):
            count += SLICE
        assert count == burst


def test_what_came_in_is_paid_afterwards() -> None:
    limiter = Limiter(1e6, piece=128 * 1024)
    assert limiter.spend(256 * 1024, 0.0) == 0.0
    assert limiter.spend(500_000, 0.0) == pytest.approx(0.5)
    assert limiter.spend(0, 0.5) == pytest.approx(0.0)


def test_rates_change_and_end() -> None:
    limiter = Limiter(None)
    assert limiter.take("a", 10**9, 0.0) == 0.0
    assert limiter.spend(10**9, 0.0) == 0.0
    limiter.change(1e6, 1.0)
    while not limiter.take("a", SLICE, 1.0):
        pass
    limiter.change(1e9, 1.0)
    assert limiter.take("a", SLICE, 1.01) == 0.0
    for rate in (0, -1.0):
        with pytest.raises(ValueError, match="above 0"):
            limiter.change(rate, 2.0)
