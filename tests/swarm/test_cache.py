"""A relay's cache: what it keeps, what goes first, what survives."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from cockpit.swarm.cache import BadSwarm, Cache, Held, NoRoom
from tests.swarm.bundle import Bundle

SIZE = 300 * 1024
A, B, C = (Bundle(SIZE, seed) for seed in (1, 2, 3))
ONE = SIZE + len(A.manifest) + len(A.layout_data)
"""What one of them takes, but for its index."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def cache(path: Path, copies: float, clock: Clock | None = None) -> Cache:
    return Cache(str(path / "cache"), int(ONE * copies), clock=clock or Clock())


def add(c: Cache, bundle: Bundle, *, manifest: bytes = b"", layout: Bundle | None = None) -> Held:
    path = Path(c.directory) / ".manifest"
    path.write_bytes(zlib.compress(manifest or bundle.manifest))
    path.chmod(0o600)
    other = layout or bundle
    try:
        return c.add(bundle.sha256, other.layout, str(path), other.layout_data)
    finally:
        path.unlink(missing_ok=True)


def fill(c: Cache, bundle: Bundle) -> Held:
    held = add(c, bundle)
    for piece, (encoding, data) in enumerate(bundle.encoded):
        held.spool.add(piece, encoding, data)
    c.filled(bundle.swarm)
    return held


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    first = cache(tmp_path, 2.5)
    fill(first, A)
    first.close(A.swarm)
    again = cache(tmp_path, 2.5)
    assert again.swarms() == [A.swarm]
    held = again.open(A.swarm)
    assert held is not None
    assert held.have == (1 << len(A.encoded)) - 1
    assert [held.spool.read(p) for p in range(len(A.encoded))] == A.encoded
    assert (held.sha256, held.layout) == (A.sha256, A.layout)
    assert zlib.decompress(Path(held.manifest_path).read_bytes()) == A.manifest
    assert again.manifest(A.sha256) == held.manifest_path and again.manifest(B.sha256) is None
    assert again.open(A.swarm) is held
    assert again.open(B.swarm) is None and again.open("../cache") is None
    assert {p.stat().st_mode & 0o777 for p in Path(held.directory).iterdir()} == {0o600}


def test_a_part_is_taken_up_again_and_only_what_is_good_of_it(tmp_path: Path) -> None:
    first = cache(tmp_path, 2.5)
    held = add(first, A)
    for piece in (0, 2, 3):
        held.spool.add(piece, *A.encoded[piece])
    with open(Path(held.directory) / "pieces", "r+b") as f:
        f.seek(len(A.encoded[0][1]) + 100)  # in piece 2
        f.write(b"altered")
    with open(Path(held.directory) / "index", "ab") as f:
        f.write(b"torn")
    found = cache(tmp_path, 2.5).open(A.swarm)
    assert found is not None and found.have == 0b1001


@pytest.mark.parametrize("name", ["manifest", "layout"])
def test_a_swarm_whose_plan_is_damaged_is_forgotten(tmp_path: Path, name: str) -> None:
    first = cache(tmp_path, 2.5)
    held = fill(first, A)
    first.close(A.swarm)
    path = Path(held.directory) / name
    path.write_bytes(path.read_bytes()[:-9])
    again = cache(tmp_path, 2.5)
    assert again.open(A.swarm) is None
    assert again.swarms() == []


def test_what_was_half_taken_in_is_removed(tmp_path: Path) -> None:
    first = cache(tmp_path, 2.5)
    for name in (f".{A.swarm}", B.swarm, "else"):
        os.mkdir(Path(first.directory) / name)
    (Path(first.directory) / ".manifest.new").write_bytes(b"")
    again = cache(tmp_path, 2.5)
    assert os.listdir(again.directory) == []


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    c = cache(tmp_path, 2.5)
    for bundle in (A, B):
        fill(c, bundle)
        c.close(bundle.swarm)
    c.touch(A.swarm)
    fill(c, C)
    assert c.swarms() == sorted([A.swarm, C.swarm])


def test_what_is_pinned_or_open_stays_also_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    first = cache(tmp_path, 2.5, clock)
    for bundle in (A, B):
        fill(first, bundle)
        first.close(bundle.swarm)
    first.pin(A.swarm, True)
    first.pin(C.swarm, True)  # not here: nothing happens
    c = cache(tmp_path, 2.5, clock)
    assert c.pinned() == {A.swarm}
    assert c.open(B.swarm) is not None
    with pytest.raises(NoRoom, match="in use by other pushes"):
        add(c, C)
    assert c.swarms() == sorted([A.swarm, B.swarm])
    c.close(B.swarm)
    fill(c, C)
    assert c.swarms() == sorted([A.swarm, C.swarm])
    c.close(C.swarm)
    c.pin(A.swarm, False)
    fill(c, B)
    assert A.swarm not in c.swarms()


def test_one_that_is_larger_than_the_cache_is_refused_and_nothing_else_goes(tmp_path: Path) -> None:
    c = cache(tmp_path, 1.5)
    fill(c, A)
    c.close(A.swarm)
    big = Bundle(2 * SIZE, 9)
    with pytest.raises(NoRoom, match=r"0\.6 MiB, more than this relay's whole cache \(0\.4 MiB\)"):
        add(c, big)
    assert c.swarms() == [A.swarm]
    assert os.listdir(c.directory) == [A.swarm]


def test_room_is_kept_for_what_is_still_to_come(tmp_path: Path) -> None:
    c = cache(tmp_path, 1.5)
    add(c, A)
    with pytest.raises(NoRoom):
        add(c, B)


def test_a_part_needs_room_for_its_rest(tmp_path: Path) -> None:
    first = cache(tmp_path, 2.5)
    add(first, A).spool.add(0, *A.encoded[0])
    first.close(A.swarm)
    fill(first, B)
    first.close(B.swarm)
    smaller = cache(tmp_path, 1.2)
    smaller.pin(B.swarm, True)
    with pytest.raises(NoRoom):
        smaller.open(A.swarm)
    smaller.pin(B.swarm, False)
    found = smaller.open(A.swarm)
    assert found is not None and found.have == 1
    assert smaller.swarms() == [A.swarm]


def test_only_what_was_asked_for_is_taken_in(tmp_path: Path) -> None:
    c = cache(tmp_path, 2.5)
    with pytest.raises(BadSwarm, match="another manifest"):
        add(c, A, manifest=B.manifest)
    with pytest.raises(BadSwarm, match="line 1: not a manifest"):
        add(c, A, manifest=b"hello\n")
    with pytest.raises(BadSwarm, match="another manifest"):
        add(c, A, layout=B)
    with pytest.raises(BadSwarm, match="the layout has another digest"):
        c.add(A.sha256, A.layout, "", B.layout_data)
    assert os.listdir(c.directory) == []


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = cache(tmp_path, 2.5)
    monkeypatch.setattr(c, "_free", lambda: 64 * 1024 * 1024 + 1000)
    with pytest.raises(NoRoom, match=r"the relay's disk has 0\.0 MiB left"):
        add(c, A)
    assert c.swarms() == []
