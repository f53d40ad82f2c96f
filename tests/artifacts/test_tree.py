"""Scanning a directory, and finding holes by content."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.artifacts.tree import BLOCK, HOLE, Extent, Item, TreeError, extents, open_file, scan


def tree(root: Path) -> Path:
    (root / "lib" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o775)
    (root / "lib" / "data").write_bytes(b"x" * 3000)
    (root / "lib" / "data").chmod(0o600)
    (root / "lib" / "deep" / "数独.txt").write_text("9")
    (root / "lib-a").write_text("")
    (root / "current").symlink_to("lib/deep")
    return root


def test_what_is_in_it(tmp_path: Path) -> None:
    assert scan(tree(tmp_path / "one")) == [
        Item("current", "l", target="lib/deep"), Item("empty", "d"), Item("lib", "d"), Item("lib-a", "f", 0o644, 0),
        Item("lib/data", "f", 0o644, 3000), Item("lib/deep", "d"), Item("lib/deep/数独.txt", "f", 0o644, 1),
        Item("run", "f", 0o755, 10),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/etc/passwd", "leads out"), ("..", "leads out"), ("../one-other", "leads out"),
        ("../../x", "leads out"), ("d/up/../outside", "leads out"),
        ("nothing", "leads nowhere"), ("link", "leads nowhere"),
    ],
)  # fmt: skip
def test_links_that_lead_elsewhere_are_refused(tmp_path: Path, target: str, why: str) -> None:
    root = tmp_path / "one"
    (root / "d").mkdir(parents=True)
    (root / "f").write_text("1")
    (root / "d" / "outside").write_text("decoy: by its words the link leads here")
    (root / "d" / "up").symlink_to("..")
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "one-other").write_text("secret")
    (root / "link").symlink_to(target)
    with pytest.raises(TreeError, match=f"^link: the link to .* {why}"):
        scan(root)


def test_devices_pipes_and_sockets_are_refused(short_dir: Path) -> None:
    os.mkfifo(short_dir / "pipe")
    with pytest.raises(TreeError, match="pipe: a pipe cannot be in an artifact"):
        scan(short_dir)
    (short_dir / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(short_dir / "s"))
        with pytest.raises(TreeError, match="s: a socket cannot be"):
            scan(short_dir)


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_setuid_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "su").write_text("1")
    (tmp_path / "su").chmod(mode)
    with pytest.raises(TreeError, match="su: a setuid or setgid file"):
        scan(tmp_path)


def test_limits_and_names(tmp_path: Path) -> None:
    root = tree(tmp_path / "one")
    with pytest.raises(TreeError, match="lib/data: more than 2999 bytes"):
        scan(root, max_bytes=2999)
    with pytest.raises(TreeError, match="more than 3 files"):
        scan(root, max_entries=3)
    (tmp_path / "bare" / "d").mkdir(parents=True)
    with pytest.raises(TreeError, match="no file in it"):
        scan(tmp_path / "bare")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_text("1")
    with pytest.raises(TreeError, match=r"xff': the name is not UTF-8"):
        scan(root)
    deep = tmp_path / "deep"
    deep.mkdir()
    fd = os.open(deep, os.O_RDONLY)  # a path of this length cannot be named at once
    try:
        for _ in range(6):
            os.mkdir("d" * 200, dir_fd=fd)
            inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = inner
        os.close(os.open("f", os.O_CREAT, dir_fd=fd))
    finally:
        os.close(fd)
    with pytest.raises(TreeError, match="longer than 1024 bytes"):
        scan(deep)


def test_a_file_that_changed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("123")
    (tmp_path / "l").symlink_to("f")
    with pytest.raises(TreeError, match="f: it changed"):
        open_file(tmp_path, Item("f", "f", 0o644, 4))
    with pytest.raises(TreeError, match="l: Too many levels"):
        open_file(tmp_path, Item("l", "f", 0o644, 3))
    with pytest.raises(TreeError, match="gone: No such file"):
        open_file(tmp_path, Item("gone", "f", 0o644, 3))


def layout(path: Path) -> list[Extent]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(extents(fd, os.fstat(fd).st_size))
    finally:
        os.close(fd)


def test_a_hole_is_found_however_it_is_kept(tmp_path: Path) -> None:
    sparse, written = tmp_path / "sparse", tmp_path / "written"
    with sparse.open("wb") as f:
        f.write(b"x" * 5000)
        f.seek(40 * 1024 * 1024)
        f.write(b"y")
        f.truncate(60 * 1024 * 1024 + 7)
    with written.open("wb") as f:
        f.write(b"x" * 5000)
        f.write(bytes(40 * 1024 * 1024 - 5000))
        f.write(b"y")
        f.write(bytes(20 * 1024 * 1024 + 6))
    mib = 1024 * 1024
    expected = [
        Extent(0, 8192, False), Extent(8192, 40 * mib - 8192, True), Extent(40 * mib, 4096, False),
        Extent(40 * mib + 4096, 20 * mib - 4096 + 7, True),
    ]
    assert layout(sparse) == layout(written) == expected
    assert sparse.stat().st_blocks * 512 < mib, "the file system keeps holes here, or the test shows nothing"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], []),
        ([(0, 10)], [(0, 10, False)]),
        ([(1, HOLE)], [(0, HOLE, True)]),
        ([(1, HOLE - 1)], [(0, HOLE - 1, False)]),
        ([(0, 10), (1, HOLE)], [(0, HOLE + 10, False)]),
        ([(0, 10), (1, HOLE + BLOCK)], [(0, BLOCK, False), (BLOCK, HOLE + 10, True)]),
        ([(1, HOLE), (0, 1)], [(0, HOLE, True), (HOLE, 1, False)]),
        ([(1, HOLE - BLOCK), (0, 1)], [(0, HOLE - BLOCK + 1, False)]),
        ([(1, HOLE + 5), (0, 1)], [(0, HOLE, True), (HOLE, 6, False)]),
    ],
)
def test_small_ones(tmp_path: Path, parts: list[tuple[int, int]], expected: list[tuple[int, int, bool]]) -> None:
    """`parts`: (zeros or not, bytes)."""
    (tmp_path / "f").write_bytes(b"".join(bytes(n) if zero else b"x" * n for zero, n in parts))
    assert layout(tmp_path / "f") == [Extent(*e) for e in expected]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 200_000)), max_size=6))
def test_extents_cover_the_file_and_holes_are_zero(parts: list[tuple[bool, int]]) -> None:
    data = b"".join(bytes(n) if zero else b"\x01" * n for zero, n in parts)
    fd = os.memfd_create("f")
    try:
        os.write(fd, data)
        found = list(extents(fd, len(data)))
    finally:
        os.close(fd)
    at = 0
    for n, extent in enumerate(found):
        assert extent.offset == at and extent.length > 0
        at += extent.length
        if extent.hole:
            assert extent.length >= HOLE and extent.offset % BLOCK == 0
            assert data[extent.offset : at].count(0) == extent.length
        assert n == 0 or found[n - 1].hole != extent.hole
    assert at == len(data)
