"""The object stores: one body of tests for all of them, and what only one has."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import backends.s3
from backends.directory import DirectoryObjects
from backends.s3 import S3Objects, open_objects
from cockpit.ports import ObjectStore
from tests.backends.conftest import Opener
from tests.s3 import CREDENTIALS


@pytest.fixture
def objects(opener: Opener) -> ObjectStore:
    return opener()


def test_what_was_put_is_there_for_everybody(objects: ObjectStore, opener: Opener, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 1000)
    assert objects.put_once("packs/ab-cd", source) and objects.put_once("packs/ab-cd.table", b"[]")
    other = opener()
    assert other.get("packs/ab-cd", 256_000) == source.read_bytes()
    assert other.file("packs/ab-cd").read_bytes() == source.read_bytes()
    assert other.file("packs/ab-cd") == other.file("packs/ab-cd")
    assert (other.size("packs/ab-cd"), other.size("packs/ab-cd.table"), other.size("packs/a")) == (256_000, 2, None)
    assert other.get("packs/ab-cd.table", 2) == b"[]"


def test_objects_are_written_once(objects: ObjectStore, opener: Opener, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"second")
    assert objects.put_once("index/web/1.0.0.json", b"first")
    assert not objects.put_once("index/web/1.0.0.json", b"second")
    assert not opener().put_once("index/web/1.0.0.json", source)
    assert objects.get("index/web/1.0.0.json", 100) == b"first"


def test_one_of_many_wins(opener: Opener) -> None:
    stores = [opener() for _ in range(6)]
    won: list[int] = []
    begin = threading.Barrier(len(stores))

    def put(number: int) -> None:
        begin.wait()
        if stores[number].put_once("index/web/1", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(len(stores))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(won) == 1 and stores[0].get("index/web/1", 9) == b"%d" % won[0]


def test_list_names_what_begins_with_the_prefix(objects: ObjectStore) -> None:
    before = time.time()
    for key in ("b", "a/2", "a/10", "ab/1", "a/2.table"):
        objects.put_once(key, key.encode())
    assert [o.key for o in objects.list("")] == ["a/10", "a/2", "a/2.table", "ab/1", "b"]
    assert [o.key for o in objects.list("a/")] == ["a/10", "a/2", "a/2.table"]
    assert [o.key for o in objects.list("c")] == []
    [found] = objects.list("b")
    assert found.size == 1 and abs(found.modified - before) < 60


def test_delete(objects: ObjectStore, opener: Opener) -> None:
    objects.put_once("a/b", b"1")
    assert objects.file("a/b").read_bytes() == b"1"
    objects.delete("a/b")
    objects.delete("a/b")
    assert objects.size("a/b") is None and list(objects.list("")) == []
    for missing in (lambda: objects.get("a/b", 9), lambda: objects.file("a/b"), lambda: opener().get("a/b", 9)):
        with pytest.raises(FileNotFoundError):
            missing()
    assert objects.put_once("a/b", b"2") and objects.file("a/b").read_bytes() == b"2"


def test_more_than_the_limit_is_an_error(objects: ObjectStore) -> None:
    objects.put_once("a", b"123")
    assert objects.get("a", 3) == b"123"
    with pytest.raises(OSError, match="more than 2 bytes"):
        objects.get("a", 2)


@pytest.mark.parametrize("key", ["", "/a", "a/", "../a", "a/../b", ".a", "a//b", "a b", "a\n", "ü", "x" * 600])
def test_keys_are_words(objects: ObjectStore, key: str) -> None:
    for use in (lambda: objects.put_once(key, b""), lambda: objects.get(key, 1), lambda: objects.delete(key)):
        with pytest.raises(OSError, match="cannot be the name of an object"):
            use()


def test_an_empty_object(objects: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert objects.put_once("a", tmp_path / "empty") and objects.put_once("b", b"")
    assert objects.get("a", 0) == objects.get("b", 0) == b"" and objects.file("a").read_bytes() == b""


# the directory


def test_a_directory_is_private(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "store")
    loose = tmp_path / "loose"
    loose.write_bytes(b"1")
    loose.chmod(0o666)
    objects.put_once("a/b", loose)
    objects.put_once("a/c", b"1")
    assert {p.stat().st_mode & 0o777 for p in objects.root.rglob("*") if p.is_file()} == {0o600}
    assert {p.stat().st_mode & 0o777 for p in [objects.root, *objects.root.rglob("*")] if p.is_dir()} == {0o700}


def test_a_directory_shows_nothing_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = DirectoryObjects(tmp_path / "store")

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(OSError, match="No space"):
        objects.put_once("a/b", b"1")
    assert [p for p in objects.root.rglob("*") if p.is_file()] == [] and list(objects.list("")) == []


# S3


def test_large_files_go_in_parts(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.s3, "SINGLE", 5 * 1024 * 1024)  # the least that S3 takes as a part
    source = tmp_path / "source"
    source.write_bytes(os.urandom(11 * 1024 * 1024))
    objects = open_objects(bucket, tmp_path / "local")
    assert objects.put_once("packs/a", source)
    assert objects.file("packs/a").read_bytes() == source.read_bytes()
    source.write_bytes(bytes(11 * 1024 * 1024))
    assert not objects.put_once("packs/a", source)
    assert open_objects(bucket, tmp_path / "other").file("packs/a").read_bytes() != source.read_bytes()


def test_a_storage_that_writes_over_is_refused(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = open_objects(bucket, tmp_path / "local")
    put = objects._client.put_object
    monkeypatch.setattr(objects._client, "put_object", lambda IfNoneMatch, **words: put(**words))
    with pytest.raises(OSError, match="writes over objects"):
        objects.put_once("a", b"1")
    assert objects.size("a") is None


def test_copies_are_read_once_and_make_room(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = open_objects(bucket, tmp_path / "local")
    for name in ("a", "b", "c"):
        objects.put_once(name, name.encode() * 1000)
    first = objects.file("a")
    open_objects(bucket, tmp_path / "other").delete("a")
    assert objects.file("a") == first and first.read_bytes() == b"a" * 1000
    monkeypatch.setattr(backends.s3, "CACHE", 1500)
    objects.file("b")
    assert first.exists(), "in use: it may be served just now"
    os.utime(first, (1.0, 1.0))
    objects.file("c")
    assert not first.exists() and objects.file("b").exists()


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("s3://", "is wanted"), ("s3:///x", "is wanted"), ("s3://Bucket_/x", "is wanted"),
        ("s3://bucket/../x", "cannot be a prefix"), ("s3://bucket?regoin=x", "unknown option 'regoin'"),
        ("s3://key:secret@bucket/x", "without credentials"), ("s3://bucket?profile=nobody", "nobody"),
    ],
)  # fmt: skip
def test_bad_locations(location: str, why: str, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=why) as e:
        open_objects(location, tmp_path)
    assert "secret" not in str(e.value)


def test_nobody_there(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    objects = open_objects("s3://bucket/x?endpoint=http://127.0.0.1:1&region=r", tmp_path)
    with pytest.raises(OSError, match="s3://bucket/x/a: Could not connect"):
        objects.size("a")


def test_a_missing_bucket_is_named(bucket: str, s3_url: str, tmp_path: Path) -> None:
    objects = open_objects(f"s3://no-such-bucket/x?endpoint={s3_url}&region=us-east-1", tmp_path)
    with pytest.raises(OSError, match="NoSuchBucket"):
        objects.put_once("a", b"1")


def test_credentials_are_never_logged(bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    objects = open_objects(bucket, tmp_path)
    assert isinstance(objects, S3Objects)
    objects.put_once("a", b"1")
    objects.get("a", 1)
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in caplog.text + repr(objects) + repr(vars(objects))
