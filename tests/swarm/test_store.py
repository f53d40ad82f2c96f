"""The directory store, and its blobs over HTTP with ranges."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cockpit.ports import ArtifactStore
from cockpit.swarm.pack import PackError, digest
from cockpit.swarm.store import DirectoryStore, Exists, StoreError, serve_blob


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    path = tmp_path / "release"
    path.mkdir()
    (path / "run").write_bytes(bytes(range(256)) * 40)
    return path


def files(store: DirectoryStore) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


def test_add_and_find(store: DirectoryStore, release: Path) -> None:
    as_port: ArtifactStore = store
    record = store.add(release, "web", "1.0.0", now=1234.5)
    blob = store.blob(record["sha256"])
    assert blob is not None and digest(blob) == record["sha256"]
    assert record == {
        "name": "web", "version": "1.0.0", "sha256": record["sha256"], "size": blob.stat().st_size,
        "files": 1, "added": 1234.5,
    }  # fmt: skip
    assert as_port.find("web", "1.0.0") == record and as_port.listing() == {"web/1.0.0": record}
    assert store.find("web", "1.0.1") is None and store.blob("0" * 64) is None
    assert files(store) == [
        f"blobs/{record['sha256'][:2]}/{record['sha256']}", "index/web/1.0.0.json"
    ]  # fmt: skip
    assert {p.stat().st_mode & 0o777 for p in store.root.rglob("*") if p.is_file()} == {0o600}
    assert {p.stat().st_mode & 0o777 for p in [store.root, *store.root.rglob("*")] if p.is_dir()} == {0o700}


def test_added_is_the_time_of_the_blob_without_now(store: DirectoryStore, release: Path) -> None:
    record = store.add(release, "web", "1.0.0")
    blob = store.blob(record["sha256"])
    assert blob is not None and record["added"] == blob.stat().st_mtime


def test_a_version_is_immutable(store: DirectoryStore, release: Path) -> None:
    first = store.add(release, "web", "1.0.0", now=1.0)
    before = files(store)
    assert store.add(release, "web", "1.0.0", now=2.0) == first
    (release / "run").write_text("other")
    with pytest.raises(Exists) as e:
        store.add(release, "web", "1.0.0", now=3.0)
    other = store.add(release, "web", "1.0.1", now=3.0)
    assert first["sha256"] in str(e.value) and other["sha256"] in str(e.value)
    assert store.find("web", "1.0.0") == first
    assert len(files(store)) == len(before) + 2
    assert list(store.listing()) == ["web/1.0.0", "web/1.0.1"]


def test_the_same_content_is_kept_once(store: DirectoryStore, release: Path) -> None:
    store.add(release, "web", "1.0.0", now=1.0)
    store.add(release, "web", "2.0.0", now=1.0)
    assert len([f for f in files(store) if f.startswith("blobs/")]) == 1


def test_a_torn_blob_is_replaced(store: DirectoryStore, release: Path) -> None:
    record = store.add(release, "web", "1.0.0", now=1.0)
    blob = store.blob(record["sha256"])
    assert blob is not None
    blob.write_bytes(b"torn")
    store.add(release, "web", "1.0.0")
    assert digest(blob) == record["sha256"]


def test_two_at_once_agree(store: DirectoryStore, release: Path) -> None:
    records: list[dict[str, Any]] = []

    def add() -> None:
        records.append(store.add(release, "web", "1.0.0"))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(records) == 4 and all(r == records[0] for r in records)
    assert len(files(store)) == 2


BAD = ["", ".", "..", ".x", "a/b", "../x", "-x", "a b", "a\n", "ü", "x" * 101, "a\0"]


@pytest.mark.parametrize("word", BAD)
def test_bad_words(store: DirectoryStore, release: Path, word: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        store.add(release, word, "1")
    with pytest.raises(ValueError, match="letters, digits"):
        store.add(release, "web", word)
    with pytest.raises(ValueError, match="letters, digits"):
        store.find("web", word)
    assert files(store) == []


def test_what_cannot_be_packed_leaves_nothing(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PackError):
        store.add(tmp_path / "empty", "web", "1.0.0")
    assert files(store) == [] and store.listing() == {}


@pytest.mark.parametrize("word", ["..", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", ""])
def test_bad_digests_are_no_paths(store: DirectoryStore, word: str) -> None:
    assert store.blob(word) is None


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"name": 1}', "other"])
def test_damaged_records_are_named(store: DirectoryStore, release: Path, damage: str) -> None:
    record = store.add(release, "web", "1.0.0")
    path = store.root / "index" / "web" / "1.0.0.json"
    path.write_text(json.dumps(record | {"version": "9"}) if damage == "other" else damage)
    why = r"1\.0\.0\.json is damaged"
    with pytest.raises(StoreError, match=why):
        store.listing()
    with pytest.raises(StoreError, match=why):
        store.find("web", "1.0.0")
    with pytest.raises(StoreError, match=why):
        store.add(release, "web", "1.0.0")


@pytest.fixture
async def url(store: DirectoryStore) -> AsyncIterator[str]:
    app = web.Application()

    async def get(request: web.Request) -> web.StreamResponse:
        return await serve_blob(request, store)

    app.router.add_get("/artifacts/{sha256}", get)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/artifacts/"
    await runner.cleanup()


async def test_blobs_are_served_whole_and_in_ranges(store: DirectoryStore, release: Path, url: str) -> None:
    record = store.add(release, "web", "1.0.0")
    sha256, size = record["sha256"], record["size"]
    blob = store.blob(sha256)
    assert blob is not None
    data = blob.read_bytes()
    async with aiohttp.ClientSession(auto_decompress=False) as client:
        async with client.get(url + sha256) as got:
            assert got.status == 200 and await got.read() == data
            assert got.content_type == "application/gzip" and "Content-Encoding" not in got.headers
            assert got.content_length == size and got.headers["X-Content-SHA256"] == sha256
        for begin, end in ((0, 9), (100, size - 1), (size - 1, size - 1)):
            async with client.get(url + sha256, headers={"Range": f"bytes={begin}-{end}"}) as got:
                assert got.status == 206 and await got.read() == data[begin : end + 1]
                assert got.headers["Content-Range"] == f"bytes {begin}-{end}/{size}"
        async with client.get(url + sha256, headers={"Range": f"bytes={size // 2}-"}) as got:
            assert await got.read() == data[size // 2 :]
        async with client.get(url + sha256, headers={"Range": f"bytes={size}-"}) as got:
            assert got.status == 416
        async with client.head(url + sha256) as got:
            assert got.status == 200 and got.content_length == size


@pytest.mark.parametrize("path", ["0" * 64, "..%2f..%2fetc%2fpasswd", "x"])
async def test_other_digests_are_not_found(url: str, path: str) -> None:
    from yarl import URL

    async with aiohttp.ClientSession() as client, client.get(URL(url + path, encoded=True)) as got:
        assert got.status == 404
