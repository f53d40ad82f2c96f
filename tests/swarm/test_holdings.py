"""What a host already holds."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.swarm import assemble, records
from cockpit.swarm.holdings import Holdings, LostChunk, Table
from cockpit.swarm.layout import layout, pieces
from cockpit.swarm.manifest import digest_of
from tests.swarm.handmade import Made

RNG = random.Random(7)
BIG = RNG.randbytes(30 * 16384 + 5)
OLD = Made({"a": None, "a/big": BIG, "a/small": b"small", "empty": b"", "holed": [b"x" * 20_000, 65536, b"y" * 9]})
NEW = Made({"a": None, "a/big": BIG[:100_000] + b"!" + BIG[100_001:], "b": b"fresh"}, "1.1.0")


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2**32 - 2)), max_size=400))
def test_the_table_is_a_dictionary_whose_first_entries_stay(entries: list[tuple[int, int]]) -> None:
    table, model = Table(), dict[int, int]()
    for key, value in entries:
        digest = (key * 64).to_bytes(8, "little") + bytes(24)  # many in the same slots
        assert table.put(digest, value) == (key not in model)
        model.setdefault(key, value)
    assert len(table) == len(model)
    for key in range(41):
        assert table.get((key * 64).to_bytes(8, "little") + b"\1" * 24) == model.get(key, -1)


def host(tmp_path: Path, *made: Made) -> str:
    for m in made:
        assemble.install(str(tmp_path), m.manifest, Holdings(str(tmp_path), m.manifest.name), m.spool)
    return str(tmp_path)


def test_chunks_and_pieces(tmp_path: Path) -> None:
    with Holdings(host(tmp_path, OLD), "web") as h:
        assert h.heads == [("1.0.0", OLD.manifest.sha256)]
        assert len(h) == len(OLD.manifest.chunks)
        for digest, content in OLD.contents.items():
            assert h.read(digest, len(content)) == content
        plan = pieces(layout(NEW.manifest.sha256, [0] * len(NEW.manifest.chunks)), NEW.manifest.chunks)
        held = [OLD.manifest.chunks.find(NEW.manifest.chunks.digest(c)) >= 0 for c in range(len(NEW.manifest.chunks))]
        wanted = sum(1 << p for p in range(len(plan)) if all(held[c] for c in plan.chunks_of(p)))
        assert h.pieces(plan, NEW.manifest) == wanted
        assert 0 < bin(wanted).count("1") < len(plan)
        with pytest.raises(LostChunk):
            h.read(hashlib.sha256(b"fresh").digest(), 5)
        assert digest_of(h.manifest_lines(OLD.manifest.sha256)) == OLD.manifest.sha256
        assert h.release(OLD.manifest.sha256) == str(tmp_path / "releases/web/1.0.0")
        for unknown in (h.manifest_lines, h.release):
            with pytest.raises(LookupError):
                unknown(NEW.manifest.sha256)


def test_several_versions_and_kinds(tmp_path: Path) -> None:
    data = Made({"b": b"data alone"}, "9", kind="data")
    dir = host(tmp_path, OLD, NEW, data)
    assert {v for v, _ in Holdings(dir, "web").heads} == {"1.0.0", "1.1.0", "9"}
    assert Holdings(dir, "web", "data").heads == [("9", data.manifest.sha256)]
    assert Holdings(dir, "other").heads == []
    everything = {**OLD.contents, **NEW.contents}
    with Holdings(dir, "web", "release") as h:
        assert len(h) == len(everything)
        for digest, content in everything.items():
            assert h.read(digest, len(content)) == content


def test_what_was_altered_by_hand_is_not_held(tmp_path: Path) -> None:
    dir = host(tmp_path, OLD)
    root = tmp_path / "releases/web/1.0.0"
    with (root / "a/big").open("r+b") as f:
        f.seek(20_000)
        f.write(b"by hand")
    (root / "holed").write_bytes(b"shorter")
    (root / "a/small").unlink()
    lost = []
    with Holdings(dir, "web") as h:
        for digest, content in OLD.contents.items():
            try:
                assert h.read(digest, len(content)) == content
            except LostChunk:
                lost.append(content)
        holed = [b"x" * 16384, b"x" * (20_000 - 16384), b"y" * 9]
        assert sorted(lost) == sorted([b"small", BIG[16384:32768], *holed])
        assert h.read(hashlib.sha256(BIG[:16384]).digest(), 16384) == BIG[:16384]
        (root / "a/big").unlink()
        (root / "a/big").symlink_to("/etc/passwd")
    with Holdings(dir, "web") as h, pytest.raises(LostChunk):
        h.read(hashlib.sha256(BIG[:16384]).digest(), 16384)


def test_a_manifest_that_is_missing_broken_or_another_leaves_its_release_out(tmp_path: Path) -> None:
    dir = host(tmp_path, OLD, NEW)
    path = Path(records.manifest_path(dir, "web", "1.0.0"))
    good = path.read_bytes()
    other = Path(records.manifest_path(dir, "web", "1.1.0")).read_bytes()
    text = zlib.decompress(good)
    forged = zlib.compress(text + b"x\n"), zlib.compress(text[:-1])
    for bad in (b"", b"nonsense", good[:-1], good + b"x", other, *forged):
        path.write_bytes(bad)
        assert [v for v, _ in Holdings(dir, "web").heads] == ["1.1.0"], bad[:20]
    path.unlink()
    assert [v for v, _ in Holdings(dir, "web").heads] == ["1.1.0"]
    path.write_bytes(good)
    assert len(Holdings(dir, "web").heads) == 2
    Path(records.facts_path(dir, "web", "1.1.0")).unlink()
    assert [v for v, _ in Holdings(dir, "web").heads] == ["1.0.0"]


def test_lines_of_a_packed_manifest() -> None:
    lines = [b"x" * n + b"\n" for n in range(300)]
    data = zlib.compress(b"".join(lines))
    for block in (1, 7, 10_000):
        assert list(records.unzipped_lines(data[at : at + block] for at in range(0, len(data), block))) == lines


def test_the_index_is_small(tmp_path: Path) -> None:
    count = 30_000
    dir = host(tmp_path, Made({"big": [n.to_bytes(4, "big") * 32 for n in range(count)]}))
    tracemalloc.start()
    try:
        with Holdings(dir, "web") as h:
            assert len(h) == count
            assert tracemalloc.get_traced_memory()[0] < 60 * count
    finally:
        tracemalloc.stop()
