"""Layouts: every chunk in one piece, no piece of two groups, sizes within their limits."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.swarm import layout as ly
from cockpit.swarm.manifest import MAX_CHUNK, Chunks

MANIFEST = "ab" * 32


def some_chunks(lengths: list[int]) -> Chunks:
    chunks = Chunks()
    for n, length in enumerate(lengths):
        chunks.add(hashlib.sha256(str(n).encode()).digest(), length)
    return chunks


@given(st.lists(st.tuples(st.integers(1, MAX_CHUNK), st.integers(0, 5)), max_size=300))
def test_pieces_hold_every_chunk_once_and_one_group_each(drawn: list[tuple[int, int]]) -> None:
    chunks = some_chunks([length for length, _ in drawn])
    groups = [group for _, group in drawn]
    plan = ly.layout(MANIFEST, groups)
    found = ly.pieces(plan, chunks)
    assert sorted(found.order) == list(range(len(chunks)))
    seen = []
    for piece in range(len(found)):
        inside = list(found.chunks_of(piece))
        assert inside == sorted(inside) and inside
        assert len({groups[i] for i in inside}) == 1
        assert found.sizes[piece] == sum(chunks.lengths[i] for i in inside)
        assert found.sizes[piece] <= ly.LARGEST
        seen.append(groups[inside[0]])
    assert seen == sorted(seen)
    where, offset = found.places(chunks)
    for chunk in range(len(chunks)):
        before = [chunks.lengths[i] for i in found.chunks_of(where[chunk]) if i < chunk]
        assert offset[chunk] == sum(before)
    assert ly.parse_layout(plan.data, MANIFEST, len(chunks)).sha256 == plan.sha256


@pytest.mark.parametrize(("mib", "limit"), [(1, ly.SMALLEST), (32, 128 * 1024), (400, ly.LARGEST)])
def test_the_size_of_pieces_follows_the_size_of_the_group(mib: int, limit: int) -> None:
    chunks = some_chunks([16 * 1024] * (mib * 64))
    found = ly.pieces(ly.layout(MANIFEST, [0] * len(chunks)), chunks)
    assert max(found.sizes) == limit


GOOD = {"layout": 1, "manifest": MANIFEST, "runs": [[0, 2], [1, 1]]}


@pytest.mark.parametrize(
    "change",
    [
        {"layout": 2}, {"manifest": "cd" * 32}, {"runs": [[0, 2]]}, {"runs": [[0, 4], [1, -1]]},
        {"runs": [[256, 3]]}, {"runs": [[-1, 3]]}, {"runs": [[0, 2, 1]]}, {"runs": 3}, {"runs": [[0, 10**18]]},
        {"more": 1},
    ],
)  # fmt: skip
def test_what_is_no_layout(change: dict[str, object]) -> None:
    def parse(doc: dict[str, object]) -> ly.Layout:
        return ly.parse_layout(json.dumps(doc, separators=(",", ":"), sort_keys=True).encode(), MANIFEST, 3)

    assert parse(GOOD).runs == [(0, 2), (1, 1)]
    with pytest.raises(ly.LayoutError):
        parse({**GOOD, **change})


def test_only_the_canonical_form_is_read() -> None:
    with pytest.raises(ly.LayoutError):
        ly.parse_layout(json.dumps(GOOD).encode(), MANIFEST, 3)


def test_the_name_of_a_swarm() -> None:
    expected = hashlib.sha256(f"{MANIFEST} {'cd' * 32}\n".encode()).hexdigest()
    assert ly.swarm_id(MANIFEST, "cd" * 32) == expected
