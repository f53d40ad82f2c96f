"""Chunks: the same places with and without the compiled library, and stable under insertion."""

from __future__ import annotations

import hashlib
import io
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.artifacts import chunker
from cockpit.artifacts.chunker import AVERAGE, LARGEST, SMALLEST, best, cut, plain


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def both(data: bytes) -> list[int]:
    """Lengths; the two ways must agree."""
    assert best() is not plain, "pyfastcdc is not installed"
    found = list(plain(memoryview(data)))
    assert found == list(best()(memoryview(data)))
    assert [len(c) for c in cut(io.BytesIO(data).read, lengths=plain)] == found
    assert [len(c) for c in cut(io.BytesIO(data).read)] == found
    return found


@pytest.mark.parametrize(
    "size",
    [0, 1, SMALLEST - 1, SMALLEST, SMALLEST + 1, SMALLEST + 2, SMALLEST + 47, SMALLEST + 48, SMALLEST + 49,
     AVERAGE - 1, AVERAGE, AVERAGE + 1, 20_001, LARGEST - 1, LARGEST, LARGEST + 1, 2 * LARGEST + 3],
)  # fmt: skip
def test_at_every_limit(size: int) -> None:
    for seed in range(12):
        found = both(content(seed, size))
        assert sum(found) == size and all(0 < n <= LARGEST for n in found)
        assert all(n >= SMALLEST for n in found[:-1])
    both(bytes(size))
    both(b"ab" * (size // 2))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(0, 150_000), few=st.sampled_from([2, 3, 16, 256]))
def test_the_two_ways_agree(seed: int, size: int, few: int) -> None:
    data = content(seed, size)
    both(data if few == 256 else bytes(b % few for b in data))


def test_more_than_a_window() -> None:
    data = content(1, 2 * chunker.WINDOW + 12_345)
    found = both(data)
    assert 16_000 < len(data) / len(found) < 22_000
    pieces = b"".join(bytes(c) for c in cut(io.BytesIO(data).read))
    assert pieces == data


def test_short_reads_change_nothing() -> None:
    data = content(2, 300_000)
    source = io.BytesIO(data)
    short = [len(c) for c in cut(lambda size: source.read(min(size, 7_001)), lengths=plain)]
    assert short == list(plain(memoryview(data)))


def test_known_cuts() -> None:
    """What was cut once is cut there for ever: other places would move every file of every host again."""
    data = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(8192))
    assert list(plain(memoryview(data)))[:6] == KNOWN


KNOWN = [10014, 4170, 9615, 7021, 17211, 29614]


def test_an_insertion_changes_little() -> None:
    data = content(3, 2_000_000)
    changed = data[:777_777] + b"inserted" + data[777_777:]
    before = {bytes(c) for c in cut(io.BytesIO(data).read)}
    new = [c for c in map(bytes, cut(io.BytesIO(changed).read)) if c not in before]
    assert len(new) <= 3


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyfastcdc", None)
    best.cache_clear()
    try:
        assert best() is plain
    finally:
        monkeypatch.undo()
        best.cache_clear()
