"""Following a declared log file: every byte once, however it is rotated."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cockpit.agent.shipped.logfiles.source import QUIET, Source


class Kept:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = b""
        self.source = Source(str(path), {})
        self.now = 0.0

    def look(self) -> bytes:
        self.source.read(self.take, self.now)
        return self.data

    def take(self, data: bytes) -> None:
        self.data += data


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "app.log")


def append(path: Path, text: str) -> None:
    with path.open("a") as f:
        f.write(text)


def test_a_renamed_file_is_read_to_its_end(kept: Kept) -> None:
    append(kept.path, "a\n")
    assert kept.look() == b"a\n"
    old = kept.path.with_name("app.log.1")
    append(kept.path, "b\n")
    kept.path.rename(old)
    append(kept.path, "c\n")
    assert kept.look() == b"a\nb\nc\n"
    append(old, "late\n")  # the program has not opened the new one yet
    assert kept.look() == b"a\nb\nc\nlate\n"
    kept.now += QUIET + 1
    kept.look()
    kept.now += 1
    assert kept.look() == b"a\nb\nc\nlate\n"


def test_what_was_not_read_before_a_truncation_is_in_the_copy(kept: Kept) -> None:
    append(kept.path, "one\n")
    kept.look()
    append(kept.path, "two\nthree\n")
    shutil.copy(kept.path, kept.path.with_name("app.log.1"))
    os.truncate(kept.path, 0)
    append(kept.path, "four\n")
    assert kept.look() == b"one\ntwo\nthree\nfour\n"


def test_a_truncated_file_that_grew_beyond_our_place_is_noticed(kept: Kept) -> None:
    append(kept.path, "short\n")
    kept.look()
    os.truncate(kept.path, 0)
    append(kept.path, "another and longer line\n")
    assert kept.look() == b"short\nanother and longer line\n"


def test_it_goes_on_where_it_was_also_behind_a_rename(kept: Kept) -> None:
    append(kept.path, "one\n")
    kept.look()
    state = kept.source.state()
    kept.source.close()
    append(kept.path, "two\n")
    kept.path.rename(kept.path.with_name("app.log.1"))
    append(kept.path, "three\n")
    kept.source = Source(str(kept.path), state)
    assert kept.look() == b"one\ntwo\nthree\n"


def test_half_a_line_is_finished_when_the_file_changes(kept: Kept) -> None:
    append(kept.path, "half")
    kept.look()
    kept.path.rename(kept.path.with_name("x"))
    append(kept.path, "new\n")
    assert kept.look() == b"half\nnew\n"


def test_only_the_end_of_an_old_file_is_taken(kept: Kept) -> None:
    kept.path.write_bytes(b"0123456789abcde\n" * 200_000)
    assert len(kept.look()) <= 1024 * 1024
    assert kept.data.startswith(b"0123456789abcde\n") and kept.data.endswith(b"e\n")


def test_blocks_of_what_was_copied_are_given_back(tmp_path: Path) -> None:
    freed: list[int] = []
    path = tmp_path / "big.log"
    path.touch()
    source = Source(str(path), {}, lambda fd, end: freed.append(end))
    size = 0

    def take(data: bytes) -> None:
        nonlocal size
        size += len(data)

    source.read(take)
    for _ in range(5):
        append(path, ("x" * 63 + "\n") * 65536)
        source.read(take)
    assert size == 5 * 4 * 1024 * 1024
    assert freed and freed[-1] <= size and freed[-1] % 4096 == 0


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = Source(str(tmp_path / "pipe"), {})
    assert source.read(lambda data: None) == 0 and "plain" in source.wrong
