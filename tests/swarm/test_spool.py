"""Pieces on disk: what a killed process left is taken up again, and nothing that is not right."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from array import array
from pathlib import Path
from typing import Any

import pytest

from cockpit.swarm import content
from cockpit.swarm.spool import RECORD, Full, Spool
from tests.swarm.bundle import Bundle

WEB = Bundle(600_000, 3)
THIN = Bundle(600_000, 4, thin=True)


def good(bundle: Bundle) -> Any:
    def accept(piece: int, encoding: int, data: bytes) -> bool:
        try:
            content.verified(encoding, data, piece, bundle.pieces, bundle.chunks)
        except content.Spoilt:
            return False
        return True

    return accept


def filled(path: Path, bundle: Bundle = WEB, count: int = 99) -> Spool:
    spool = Spool(str(path), bundle.pieces.sizes)
    for piece, (encoding, data) in enumerate(bundle.encoded[:count]):
        spool.add(piece, encoding, data)
    return spool


def resumed(path: Path, bundle: Bundle = WEB) -> tuple[Spool, int]:
    spool = Spool(str(path), bundle.pieces.sizes)
    return spool, spool.resume(good(bundle))


@pytest.mark.parametrize("bundle", [WEB, THIN])
def test_what_was_kept_is_read_again(tmp_path: Path, bundle: Bundle) -> None:
    spool = filled(tmp_path / "s", bundle)
    for piece, (encoding, data) in enumerate(bundle.encoded):
        assert piece in spool and spool.read(piece) == (encoding, data)
        found = spool.open(piece)
        assert found is not None and found.read(10, 20) == data[10:30] and found.total == len(data)
        assert len(content.decode(encoding, data, spool.sizes[piece])) == bundle.pieces.sizes[piece]
    assert spool.bytes == sum(len(data) for _, data in bundle.encoded)


def test_what_is_not_there(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", count=1)
    assert 1 not in spool and spool.open(1) is None
    with pytest.raises(KeyError):
        spool.read(1)


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "s").iterdir()}
    assert modes == {"pieces": 0o600, "index": 0o600}
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", count=1)
    spool.add(0, 0, b"something else")
    assert spool.read(0) == WEB.encoded[0]


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "s", count=3).close()
    spool, mask = resumed(tmp_path / "s")
    assert mask == 0b111 and spool.read(2) == WEB.encoded[2]
    spool.add(3, *WEB.encoded[3])
    spool.close()
    assert resumed(tmp_path / "s")[1] == 0b1111


def test_an_altered_piece_is_dropped_and_can_come_again(tmp_path: Path) -> None:
    filled(tmp_path / "s", count=3).close()
    with open(tmp_path / "s" / "pieces", "r+b") as f:
        f.seek(len(WEB.encoded[0][1]) + 5)
        f.write(b"\0\1\2\3")
    spool, mask = resumed(tmp_path / "s")
    assert mask == 0b101 and 1 not in spool
    spool.add(1, *WEB.encoded[1])
    spool.close()
    assert resumed(tmp_path / "s")[1] == 0b111


@pytest.mark.parametrize("record", [
    RECORD.pack(99, 0, 100, 0),
    RECORD.pack(1, 0, 100, 10**12),
    RECORD.pack(1, 0, 0, 0),
    RECORD.pack(1, 0, 2**31, 0),
    RECORD.pack(1, 7, 100, 0),
    RECORD.pack(0, 0, 100, 0),
    b"half a rec",
])  # fmt: skip
def test_a_false_record_is_left_out(tmp_path: Path, record: bytes) -> None:
    filled(tmp_path / "s", count=1).close()
    with open(tmp_path / "s" / "index", "ab") as f:
        f.write(record)
    spool, mask = resumed(tmp_path / "s")
    assert mask == 1
    assert os.path.getsize(tmp_path / "s" / "index") == RECORD.size
    spool.add(1, *WEB.encoded[1])
    spool.close()
    assert resumed(tmp_path / "s")[1] == 0b11


def test_a_full_disk_is_said_so_and_leaves_the_rest_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path / "s", count=2)
    before = os.path.getsize(tmp_path / "s" / "pieces")
    real = os.pwrite

    def full(fd: int, data: Any, offset: int) -> int:
        if offset >= before + 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, bytes(data[:1000]), offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Full, match="no room for pieces"):
        spool.add(2, *WEB.encoded[2])
    assert 2 not in spool and os.path.getsize(tmp_path / "s" / "pieces") == before
    monkeypatch.undo()
    spool.add(2, *WEB.encoded[2])
    spool.close()
    assert resumed(tmp_path / "s")[1] == 0b111


def test_it_can_be_removed(tmp_path: Path) -> None:
    filled(tmp_path / "s").remove()
    assert not (tmp_path / "s").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "pieces").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Spool(str(tmp_path / "s"), array("I", [1]))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("bundle", [WEB, THIN])
def test_a_piece_is_checked_chunk_by_chunk(bundle: Bundle) -> None:
    encoding, data = bundle.encoded[0]
    content.verified(encoding, data, 0, bundle.pieces, bundle.chunks)
    for bad in (data[:-1], data + b"x", bytes([data[0] ^ 1]) + data[1:], b""):
        with pytest.raises(content.Spoilt):
            content.verified(encoding, bad, 0, bundle.pieces, bundle.chunks)
    with pytest.raises(content.Spoilt, match="encoding 9"):
        content.verified(9, data, 0, bundle.pieces, bundle.chunks)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(content.Spoilt):
        content.decode(content.ZLIB, bomb, 1000)
