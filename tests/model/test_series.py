"""Rings: fixed size, means of slots, and gaps where nothing was measured."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.series import SHORT, TIERS, Rings, Tier, size_of, tier_for

NAN = math.nan
TWO = (Tier(10.0, 4), Tier(60.0, 2))


@pytest.mark.parametrize(("samples", "now", "expected"), [
    ([], 100.0, [None, None, None, None]),
    ([(100.0, 3.0)], 100.0, [None, None, None, 3.0]),
    ([(100.0, 3.0), (105.0, 5.0)], 109.0, [None, None, None, 4.0]),
    ([(100.0, 1.0), (120.0, 2.0)], 120.0, [None, 1.0, None, 2.0]),
    ([(100.0, 1.0), (110.0, NAN)], 110.0, [None, None, 1.0, None]),
    ([(100.0, 1.0)], 125.0, [None, 1.0, None, None]),
    ([(100.0, 1.0)], 200.0, [None, None, None, None]),
    ([(100.0, 1.0), (900.0, 2.0)], 900.0, [None, None, None, 2.0]),
    ([(100.0, 1.0), (95.0, 3.0)], 100.0, [None, None, None, 2.0]),
    ([(100.0, 1.0), (60.0, 5.0)], 60.0, [None, None, None, 5.0]),
    ([(100.0, 0.0)], 100.0, [None, None, None, 0.0]),
], ids=["nothing", "one", "mean", "skipped slot", "not measured", "silence", "long silence", "a jump",
        "clock a bit back", "clock far back", "zero is no gap"])  # fmt: skip
def test_slots(samples: list[tuple[float, float]], now: float, expected: list[float | None]) -> None:
    rings = Rings(1, TWO)
    for at, value in samples:
        rings.take(at, [value])
    assert rings.read(0, 0, now) == expected


@given(st.lists(st.tuples(st.floats(0, 400), st.one_of(st.just(NAN), st.floats(-1000, 1000, width=32))), max_size=60))
def test_what_is_read_was_put_in(samples: list[tuple[float, float]]) -> None:
    samples.sort(key=lambda s: s[0])
    rings = Rings(2, TWO)
    slots: dict[int, list[float]] = {}
    now = 0.0
    for at, value in samples:
        rings.take(at, [value, NAN])
        now = at
        if not math.isnan(value):
            slots.setdefault(int(at // 10), []).append(value)
    for place, found in enumerate(rings.read(0, 0, now)):
        known = slots.get(int(now // 10) - 3 + place)
        if known is None:
            assert found is None
        else:
            assert found == pytest.approx(sum(known) / len(known), abs=0.01)
    assert rings.read(1, 0, now) == [None] * 4


def test_coarser_tiers_get_what_the_finer_one_has_finished() -> None:
    rings = Rings(1, TWO)
    for at, value in ((120.0, 1.0), (121.0, 3.0), (130.0, 8.0), (140.0, 9.0), (185.0, 7.0), (200.0, 0.0)):
        rings.take(at, [value])
    assert rings.read(0, 1, 200.0) == [pytest.approx((2 + 8 + 9) / 3), 7.0]
    assert rings.read(0, 1, 250.0) == [7.0, None]


def test_memory_is_fixed() -> None:
    rings = Rings(7)
    before = rings.size
    for n in range(5000):
        rings.take(n * 5.0, [float(n)] * 7)
    assert rings.size == before == size_of(7, TIERS) == 7 * 240 * 4 + 600
    assert size_of(2, SHORT) < 1400


@pytest.mark.parametrize(("span", "tier"), [(60, 0), (360, 0), (361, 1), (3600, 1), (86400, 2), (1e9, 2)])
def test_the_finest_tier_that_reaches_back(span: float, tier: int) -> None:
    assert tier_for(span) == tier
