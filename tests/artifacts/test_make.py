"""Encoding of pieces, and what a version changes on a host that has another."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cockpit.artifacts import details, diff
from cockpit.artifacts.make import RAW, ZLIB, encode, md5_line
from cockpit.artifacts.store import Store
from cockpit.swarm.content import decode
from cockpit.swarm.layout import pieces
from tests.artifacts.test_store import opened


@pytest.mark.parametrize("size", [1, 100, 4096, 70_000, 1024 * 1024 + 60_000])
def test_pieces_are_compressed_where_it_pays(size: int) -> None:
    noise = random.Random(size).randbytes(size)
    words = (b"the same words again " * (size // 21 + 1))[:size]
    assert encode(noise) == (RAW, noise)
    for content in (words, noise[: size // 3] + bytes(size - size // 3)):
        encoding, data = encode(content)
        assert decode(encoding, data, size) == content and len(data) <= size
        assert encoding == ZLIB or size <= 100


def test_what_looks_packable_and_is_not() -> None:
    """The samples see zeros, the piece as a whole gains nothing."""
    noise = bytearray(random.Random(1).randbytes(1024 * 1024))
    for at in range(0, len(noise), len(noise) // 4):
        noise[at : at + 4096] = bytes(4096)
    assert encode(bytes(noise)) == (RAW, bytes(noise))


def test_md5_lines_are_escaped_like_md5sum_does() -> None:
    assert md5_line("0" * 32, "a b") == "0" * 32 + "  a b\n"
    assert md5_line("0" * 32, "a\\b\nc\rd") == "\\" + "0" * 32 + "  a\\\\b\\nc\\rd\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    tree = tmp_path / "tree"
    tree.mkdir()
    found = opened(tmp_path / "store")
    for name in ("same", "mode", "content", "gone", "becomes"):
        (tree / name).write_text(name * 1000)
    (tree / "link").symlink_to("same")
    found.add(tree, "web", "1", now=1.0)
    (tree / "mode").chmod(0o755)
    (tree / "content").write_text("other" * 1000)
    (tree / "gone").unlink()
    (tree / "becomes").unlink()
    (tree / "becomes").symlink_to("same")
    (tree / "link").unlink()
    (tree / "link").symlink_to("mode")
    (tree / "new").write_text("new")
    found.add(tree, "web", "2", now=2.0)
    return found


def test_the_files_of_a_difference(store: Store) -> None:
    old, new = (store.manifest(store.need("web", v)["sha256"]) for v in "12")
    found = diff.files(new, old)
    assert found == diff.FileDiff(("new",), ("gone",), ("becomes", "content", "link", "mode"))
    assert diff.files(old, old) == diff.FileDiff((), (), ())
    assert diff.files(old, None).added == ("becomes", "content", "gone", "link", "mode", "same")


def test_bytes_to_move(store: Store) -> None:
    record = store.need("web", "2")
    new, old = store.manifest(record["sha256"]), store.manifest(store.need("web", "1")["sha256"])
    plan = store.layout(new, record["layout"])
    cut, table = pieces(plan, new.chunks), store.table(new, plan)
    assert diff.moves(new, cut, table, None) == (len(cut), record["packed"])
    assert diff.moves(new, cut, table, new.chunks) == (0, 0)
    assert diff.moves(new, cut, table, old.chunks) == (1, table[0][1])


def test_details(store: Store) -> None:
    record = store.need("web", "2")
    assert (details.before(store, record), details.before(store, store.need("web", "1"))) == ("1", "")
    store.add_patch(store.need("web", "1")["sha256"], record["sha256"], {"size": 77})
    store.add_signature("web", "2", "qa", "ab", {"role": "qa"})
    found = details.detail(store, record, "1")
    assert found.diff is not None and (found.diff.base, found.diff.patch, found.diff.pieces) == ("1", 77, 1)
    assert (found.row.id, found.row.packed, found.md5) == ("web/2", record["packed"], record["md5"])
    assert found.signatures == ({"role": "qa"},)
    with pytest.raises(FileNotFoundError, match="no artifact web/3"):
        details.difference(store, record, "3")
