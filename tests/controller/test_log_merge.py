"""Lines of many streams by time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cockpit.controller.log_merge import HOLD, LATEST, PATIENCE, Merge

TIMES = st.lists(st.integers(1, 50), max_size=15).map(sorted)


def made(*streams: str) -> Merge[str]:
    merge: Merge[str] = Merge(0.0)
    for stream in streams:
        merge.begin(stream)
    return merge


@given(st.lists(TIMES, min_size=1, max_size=5), st.randoms(use_true_random=False), st.integers(1, 7))
def test_stored_lines_come_in_order_however_they_arrive(streams: list[list[int]], draw: object, most: int) -> None:
    import random

    assert isinstance(draw, random.Random)
    merge = made(*(str(n) for n in range(len(streams))))
    left = {str(n): list(times) for n, times in enumerate(streams)}
    out: list[tuple[str, str]] = []
    while left:
        stream = draw.choice(sorted(left))
        cut = draw.randrange(0, 4)
        merge.put(stream, [(t, str(t)) for t in left[stream][:cut]], 0.0)
        left[stream] = left[stream][cut:]
        if not left[stream]:
            merge.caught(stream)
            del left[stream]
        out += merge.take(0.1, most)
    while more := merge.take(0.1, most):
        out += more
    assert [int(item) for _, item in out] == sorted(t for times in streams for t in times)
    assert merge.count == 0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=30))
def test_every_line_comes_once_and_each_stream_keeps_its_order(lines: list[tuple[str, int]]) -> None:
    merge = made("a", "b")
    for n, (stream, when) in enumerate(lines):
        merge.put(stream, [(float(when), f"{stream}{n}")], n * 0.01)
    out = [item for _, item in merge.take(100.0, 1000)]
    assert sorted(out) == sorted(f"{s}{n}" for n, (s, _) in enumerate(lines))
    for stream in "ab":
        mine = [int(item[1:]) for item in out if item[0] == stream]
        assert mine == sorted(mine)


def test_a_silent_stream_is_waited_for_and_then_left() -> None:
    merge = made("a", "b")
    merge.put("a", [(1.0, "x")], 0.0)
    assert merge.waits(PATIENCE - 0.1) and merge.take(PATIENCE - 0.1, 9) == []
    assert merge.take(PATIENCE, 9) == [("a", "x")]


def test_new_lines_wait_for_older_ones_of_others_but_not_for_ever() -> None:
    merge = made("a", "b")
    merge.caught("a")
    merge.caught("b")
    merge.put("a", [(10.0, "later")], 1.0)
    assert merge.take(1.0 + HOLD / 2, 9) == []
    merge.put("b", [(9.0, "earlier")], 1.0 + HOLD / 2)
    assert merge.take(1.0 + 2 * HOLD, 9) == [("b", "earlier"), ("a", "later")]
    merge.put("a", [(20.0, "now")], 10.0)
    for n in range(100):  # b is far behind, and goes on
        merge.put("b", [(10.0 + n / 100, str(n))], 10.0 + n / 50)
    out = merge.take(10.0 + LATEST, 3)
    assert [s for s, _ in out].count("b") >= 1
    assert ("a", "now") in out + merge.take(10.0 + LATEST, 200)
