"""Sparklines: gaps are gaps, the scale is honest, and the words say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.metrics_rows import BYTES, CORES, HOST_FIELDS, RATE, SHARE, Numbers, Trail
from screens.look import Look
from screens.widgets.spark import fewer, number, process_items, spark, spark_items, words

SIGNS = "01234567"
VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1e9)), max_size=80)


@pytest.mark.parametrize(("values", "top", "expected"), [
    ([], None, ""), ([None, None], None, "  "), ([0.0, 1.0], None, "07"), ([0.0, 0.5], 1.0, "04"),
    ([1.0, None, 0.0], None, "7 0"), ([0.0, 0.0], None, "00"), ([5.0], None, "7"), ([-7.0, 0.0], None, "07"),
])  # fmt: skip
def test_drawn(values: list[float | None], top: float | None, expected: str) -> None:
    assert spark(values, 80, SIGNS, top) == expected


@given(VALUES, st.integers(0, 40), st.one_of(st.none(), st.floats(0, 1e9)))
def test_as_many_signs_as_there_is_room_and_a_blank_only_for_a_gap(
    values: list[float | None], width: int, top: float | None
) -> None:
    shown = fewer(values, width)
    drawn = spark(values, width, SIGNS, top)
    assert len(drawn) == len(shown) == min(width, len(values))
    assert [c == " " for c in drawn] == [v is None for v in shown]


@given(VALUES, st.integers(1, 40))
def test_fewer_values_stay_between_the_smallest_and_the_largest(values: list[float | None], width: int) -> None:
    known = [v for v in values if v is not None]
    for value in fewer(values, width):
        assert value is None or min(known) * 0.999 <= value <= max(known) * 1.001


@pytest.mark.parametrize(("values", "unit", "now", "limit", "expected"), [
    ([0.1, None, 0.3], SHARE, 0.3, 1.0, "now 30 %  min 10 %  max 30 %"),
    ([], RATE, None, None, "no data"), ([None], RATE, None, None, "no data"),
    ([1024.0], RATE, None, None, "now no data  min 1.0 KiB/s  max 1.0 KiB/s"),
    ([0.5], CORES, 0.5, 4.0, "now 0.50 of 4  min 0.50  max 0.50"),
    ([], BYTES, 2048.0, 4096.0, "now 2.0 KiB of 4.0 KiB"),
])  # fmt: skip
def test_in_words(
    values: list[float | None], unit: str, now: float | None, limit: float | None, expected: str
) -> None:
    assert words(values, unit, now, limit) == expected


def test_a_card_says_why_there_is_nothing() -> None:
    items = spark_items(Numbers(kind="host", name="a", note="a does not answer"), Look(), 80)
    assert ["".join(t for t, _ in i.pieces) for i in items] == [" METRICS   no data: a does not answer"]


@pytest.mark.parametrize("ascii", [False, True])
def test_a_card_has_a_line_for_each_number(ascii: bool) -> None:
    trail = Trail(step=10, values=(None, 0.5, 1.0))
    found = Numbers(kind="host", name="a", at=1.0, latest={"cpu": 1.0}, limits={"cpu": 1.0}, trails={"cpu": trail})
    texts = ["".join(t for t, _ in i.pieces) for i in spark_items(found, Look(ascii=ascii), 80)]
    assert len(texts) == 1 + len(HOST_FIELDS) and "the last 30 s" in texts[0]
    assert "now 100 %  min 50 %  max 100 %" in texts[1] and "no data" in texts[2]
    assert not ascii or all(t.isascii() for t in texts)


def test_processes_line_up_and_what_is_not_known_is_a_dash() -> None:
    items = process_items({"main": {"pid": 7, "rss": 2048, "cpu": 0.25}, "side": {"pid": 70000}}, Look())
    texts = ["".join(t for t, _ in i.pieces) for i in items]
    assert "CPU cores" in texts[0] and "0.25" in texts[1]
    assert texts[2].split() == ["side", "70000", "-", "-", "-", "-"]
    assert process_items({}, Look()) == []


@pytest.mark.parametrize(("kind", "field", "known", "expected"), [
    ("host", "cpu", {"cpu": 0.256}, "26"), ("host", "memory", {"memory": 3 << 20}, "3"), ("host", "io", None, ""),
    ("host", "io", {"io": 2048.0}, "2"), ("instance", "cpu", {"cpu": 1.5}, "1.50"), ("host", "load", {}, ""),
    ("host", "cpu", {"cpu": 0.0}, "0"),
])  # fmt: skip
def test_in_a_column(kind: str, field: str, known: dict[str, float] | None, expected: str) -> None:
    assert number(kind, field, known) == expected
