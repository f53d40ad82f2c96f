"""The store: versions that never change, told apart by content, mended when something is lost."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from backends.directory import DirectoryObjects
from cockpit.artifacts import make
from cockpit.artifacts import store as module
from cockpit.artifacts.make import groups
from cockpit.artifacts.packed import Damaged
from cockpit.artifacts.store import Exists, Store
from cockpit.artifacts.tree import TreeError
from cockpit.swarm.layout import pieces
from cockpit.swarm.manifest import Chunks, parse, text
from cockpit.swarm.records import unzipped_lines


def opened(root: Path) -> Store:
    return Store(DirectoryObjects(root), root / ".work")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "store")


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Of everything something: many chunks, one, none; a hole; a link; what packs well and what does not."""
    path = tmp_path / "release"
    (path / "lib" / "empty").mkdir(parents=True)
    (path / "run").write_bytes(b"#!/bin/sh\n")
    (path / "run").chmod(0o755)
    (path / "lib" / "noise").write_bytes(noise(1, 400_000))
    (path / "lib" / "words").write_bytes(b"the same words again and again\n" * 9000)
    (path / "lib" / "none").touch()
    (path / "lib" / "copy").write_bytes(noise(1, 400_000))
    (path / "now").symlink_to("lib/words")
    with (path / "hole").open("wb") as f:
        f.write(b"begin")
        f.seek(5_000_000)
        f.write(b"end")
    return path


def keys(store: Store) -> list[str]:
    return [o.key for o in store.objects.list("")]


def test_add_and_find(store: Store, release: Path) -> None:
    record = store.add(release, "web", "1.0.0", now=1234.5)
    sha256, plan = record["sha256"], record["layout"]
    assert keys(store) == [
        "index/web/1.0.0.json", f"layouts/{plan}", f"manifests/{sha256}", f"packs/{sha256}-{plan}",
        f"packs/{sha256}-{plan}.table",
    ]  # fmt: skip
    size = sum(p.stat().st_size for p in release.rglob("*") if p.is_file() and not p.is_symlink())
    assert {k: record[k] for k in ("name", "version", "platform", "kind", "size", "files", "added", "build")} == {
        "name": "web", "version": "1.0.0", "platform": "any", "kind": "release", "size": size, "files": 7,
        "added": 1234.5, "build": None,
    }  # fmt: skip
    assert 400_000 < record["packed"] < 420_000, "the copy and the hole cost nothing, the words little"
    for other in (store, opened(store.work.parent)):
        assert other.find("web", "1.0.0") == record and other.listing() == {"web/1.0.0": record}
    assert store.find("web", "1.0.1") is None
    assert list(store.work.iterdir()) == []


def test_the_manifest_is_the_content(store: Store, release: Path, tmp_path: Path) -> None:
    """Owner, times and unused bits of modes, the way it came, the place: nothing of that counts."""
    record = store.add(release, "web", "1.0.0")
    manifest = store.manifest(record["sha256"])
    assert [f"{e.kind} {e.path}" for e in manifest.entries] == [
        "f hole", "d lib", "f lib/copy", "d lib/empty", "f lib/noise", "f lib/none", "f lib/words", "l now", "f run"
    ]  # fmt: skip
    assert parse(text(manifest)).sha256 == record["sha256"] == manifest.sha256
    os.utime(release / "run", (1, 1))
    (release / "lib" / "words").chmod(0o600)
    written = (release / "hole").read_bytes()
    (release / "hole").unlink()
    (release / "hole").write_bytes(written)
    subprocess.run(["tar", "-C", release, "-czf", tmp_path / "a.tar.gz", "."], check=True)
    other = opened(tmp_path / "other")
    assert other.add(release, "web", "1.0.0")["sha256"] == record["sha256"]
    assert store.add(tmp_path / "a.tar.gz", "web", "1.0.0") == record
    words: list[dict[str, Any]] = [
        {}, {"name": "web2"}, {"version": "1.0.1"}, {"platform": "linux-x86_64"}, {"kind": "data"}
    ]
    found = set()
    for number, word in enumerate(words):
        third = opened(tmp_path / f"other-{number}")
        found.add(third.add(release, **({"name": "web", "version": "1.0.0"} | word))["sha256"])
    assert len(found) == 5 and record["sha256"] in found


@pytest.mark.parametrize("lengths", ["fast", "plain"])
def test_both_chunkers_make_the_same_manifest(
    store: Store, release: Path, lengths: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cockpit.artifacts import chunker

    if lengths == "plain":
        monkeypatch.setattr(chunker, "best", lambda: chunker.plain)
    else:
        assert chunker.best() is not chunker.plain
    assert store.add(release, "web", "1.0.0")["sha256"].startswith("3c923bba588aba1d"), "for ever"


def test_a_version_is_immutable(store: Store, release: Path) -> None:
    first = store.add(release, "web", "1.0.0", now=1.0)
    before = keys(store)
    assert store.add(release, "web", "1.0.0", now=2.0, build={"host": "b"}) == first
    assert keys(store) == before
    (release / "run").write_text("other")
    with pytest.raises(Exists) as e:
        store.add(release, "web", "1.0.0", now=3.0)
    assert keys(store) == before
    other = store.add(release, "web", "1.0.1", now=3.0)
    assert first["sha256"] in str(e.value) and "1.0.0 exists with other content" in str(e.value)
    assert store.find("web", "1.0.0") == first
    assert list(store.listing()) == ["web/1.0.0", "web/1.0.1"]
    assert other["sha256"] != first["sha256"]


def test_groups_are_by_who_holds_a_chunk() -> None:
    def held(*words: bytes) -> Chunks:
        chunks = Chunks()
        for word in words:
            chunks.add(word * 32, 1)
        return chunks

    new = held(b"a", b"b", b"c", b"d")
    assert groups(new, []) == [0, 0, 0, 0]
    assert groups(new, [held(b"b", b"d"), held(b"d", b"c", b"x")]) == [0, 1, 2, 3]
    assert groups(new, [held()] * make.EARLIER + [new]) == [0, 0, 0, 0]


def test_what_is_new_lies_in_pieces_of_its_own(store: Store, release: Path) -> None:
    first = store.add(release, "web", "1.0.0", now=1.0)
    (release / "lib" / "noise").write_bytes(noise(1, 200_000) + b"new" + noise(1, 400_000)[200_000:])
    second = store.add(release, "web", "1.1.0", now=2.0)
    old, new = store.manifest(first["sha256"]).chunks, store.manifest(second["sha256"])
    plan = pieces(store.layout(new, second["layout"]), new.chunks)
    for number in range(len(plan)):
        here = [old.find(new.chunks.digest(c)) >= 0 for c in plan.chunks_of(number)]
        assert all(here) or not any(here)
    missing = [n for n in range(len(plan)) if old.find(new.chunks.digest(plan.chunks_of(n)[0])) < 0]
    assert len(missing) == 1 and plan.sizes[missing[0]] < 80_000


def test_versions_of_another_platform_do_not_count(store: Store, release: Path) -> None:
    store.add(release, "web", "1.0.0", platform="arm64")
    record = store.add(release, "web", "1.0.1", platform="x86-64")
    manifest = store.manifest(record["sha256"])
    assert store.layout(manifest, record["layout"]).runs == [(0, len(manifest.chunks))]


def test_files_for_serving(store: Store, release: Path) -> None:
    record = store.add(release, "web", "1.0.0")
    files = store.files(record["sha256"], record["layout"])
    manifest = parse(unzipped_lines([files.manifest.read_bytes()]))
    assert manifest.sha256 == record["sha256"] == files.manifest.name
    assert files == store.files(record["sha256"], record["layout"])
    table = json.loads(files.table.read_bytes())
    assert sum(length for _, length in table) == files.pack.stat().st_size == record["packed"]
    assert {encoding for encoding, _ in table} == {make.RAW, make.ZLIB}
    assert files.layout.read_bytes() == store.layout(manifest, record["layout"]).data
    with pytest.raises(FileNotFoundError):
        store.files("0" * 64, record["layout"])
    for bad in ("../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", ""):
        with pytest.raises(ValueError, match="is not a SHA-256"):
            store.files(bad, record["layout"])


def test_every_byte_comes_back(store: Store, release: Path) -> None:
    record = store.add(release, "web", "1.0.0")
    with store.pack(record["sha256"], record["layout"]) as pack:
        for entry in pack.manifest.entries:
            if entry.kind == "f":
                parts = [bytes(-e) if e < 0 else pack.chunk(e) for e in entry.extents]
                assert b"".join(parts) == (release / entry.path).read_bytes(), entry.path


def test_md5_list_is_what_md5sum_says(store: Store, release: Path) -> None:
    (release / "back\\slash\nline").write_text("1")
    store.add(release, "web", "1.0.0")
    names = sorted(
        (p.relative_to(release).as_posix() for p in release.rglob("*") if p.is_file() and not p.is_symlink()),
        key=os.fsencode,
    )
    said = subprocess.run(["md5sum", "--", *names], cwd=release, capture_output=True, text=True, check=True).stdout
    assert store.md5_list("web", "1.0.0") == said
    assert store.need("web", "1.0.0")["md5"] == hashlib.md5(said.encode()).hexdigest()
    with pytest.raises(FileNotFoundError, match="no artifact web/2"):
        store.md5_list("web", "2")


@pytest.mark.parametrize("lost", ["manifests", "packs", "tables", "layouts", "torn"])
def test_what_is_lost_is_put_back(store: Store, release: Path, lost: str) -> None:
    store.add(release, "web", "0.9", now=1.0)
    (release / "run").write_text("1.0")
    record = store.add(release, "web", "1.0.0", now=2.0)
    pack = f"packs/{record['sha256']}-{record['layout']}"
    key = {
        "manifests": f"manifests/{record['sha256']}", "packs": pack, "torn": pack, "tables": f"{pack}.table",
        "layouts": f"layouts/{record['layout']}",
    }[lost]  # fmt: skip
    store.objects.delete(key)
    if lost == "torn":
        store.objects.put_once(key, b"torn")
    before = keys(opened(store.work.parent))
    assert store.add(release, "web", "1.0.0") == record
    assert set(keys(store)) == {*before, key}
    with store.pack(record["sha256"], record["layout"]) as whole:
        assert sum(whole.check()) == sum(store.manifest(record["sha256"]).chunks.lengths)


def test_what_is_damaged_is_named(store: Store, release: Path) -> None:
    record = store.add(release, "web", "1.0.0")
    pack = f"packs/{record['sha256']}-{record['layout']}"

    def replace(key: str, data: bytes) -> None:
        store.objects.delete(key)
        store.objects.put_once(key, data)

    def check(why: str) -> None:
        with pytest.raises(Damaged, match=why), store.pack(record["sha256"], record["layout"]) as opened_pack:
            list(opened_pack.check())

    good = store.objects.file(pack).read_bytes()
    replace(pack, bytes([good[0] ^ 1]) + good[1:])
    check(f"{pack}: piece 0")
    replace(pack, good[:-1])
    check("bytes instead of")
    replace(f"{pack}.table", b"[[0,1]]")
    check("does not fit")
    replace(f"layouts/{record['layout']}", b"{}")
    check("not a layout")
    replace(f"manifests/{record['sha256']}", zlib.compress(b"nothing\n"))
    check("line 1: not a manifest")
    replace(f"manifests/{record['sha256']}", b"\0")
    check(f"manifests/{record['sha256']}: ")


def test_two_at_once_agree(store: Store, release: Path) -> None:
    others = [opened(store.work.parent) for _ in range(4)]
    records: list[dict[str, Any]] = []
    begin = threading.Barrier(4)

    def add(one: Store) -> None:
        begin.wait()
        records.append(one.add(release, "web", "1.0.0"))

    threads = [threading.Thread(target=add, args=(o,)) for o in others]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(records) == 4 and all(r == records[0] for r in records)
    assert len(keys(store)) == 5


BAD = ["", ".", "..", ".x", "a/b", "../x", "-x", "a b", "a\n", "ü", "x" * 101, "a\0"]


@pytest.mark.parametrize("word", BAD)
def test_bad_words(store: Store, release: Path, word: str) -> None:
    for name, version, platform in ((word, "1", "any"), ("web", word, "any"), ("web", "1", word)):
        with pytest.raises(ValueError, match="letters, digits"):
            store.add(release, name, version, platform=platform)
    with pytest.raises(ValueError, match="letters, digits"):
        store.find("web", word)
    assert keys(store) == []


def test_only_releases_and_data_are_added(store: Store, release: Path) -> None:
    assert store.add(release, "rules", "1", kind="data")["kind"] == "data"
    for kind in ("patch", "x", ""):
        with pytest.raises(ValueError, match="one of release, data, plugin"):
            store.add(release, "web", "1", kind=kind)


def test_what_cannot_be_added_leaves_nothing(store: Store, release: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(TreeError):
        store.add(tmp_path / "bare", "web", "1.0.0")
    (release / "bad").symlink_to("/etc")
    with pytest.raises(TreeError):
        store.add(release, "web", "1.0.0")
    assert keys(store) == [] and store.listing() == {} and list(store.work.iterdir()) == []


def test_a_file_that_changes_meanwhile_is_an_error(
    store: Store, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = store._keep

    def grow(*args: Any) -> Any:
        (release / "lib" / "noise").write_bytes(noise(9, 400_000))
        (release / "lib" / "copy").write_bytes(noise(9, 400_000))
        return keep(*args)

    monkeypatch.setattr(store, "_keep", grow)
    with pytest.raises(TreeError, match="lib/copy: it changed while it was added"):
        store.add(release, "web", "1.0.0")
    assert keys(store) == [] and list(store.work.iterdir()) == []


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"name": 1}', "other", "digest", "[" * 100_000])
def test_damaged_records_are_named(store: Store, release: Path, damage: str) -> None:
    record = store.add(release, "web", "1.0.0")
    changed = {"other": record | {"version": "9"}, "digest": record | {"sha256": "../x"}}
    store.objects.delete("index/web/1.0.0.json")
    store.objects.put_once(
        "index/web/1.0.0.json", (json.dumps(changed[damage]) if damage in changed else damage).encode()
    )
    other = opened(store.work.parent)
    why = r"1\.0\.0\.json is damaged"
    with pytest.raises(Damaged, match=why):
        other.listing()
    with pytest.raises(Damaged, match=why):
        other.find("web", "1.0.0")
    with pytest.raises(Damaged, match=why):
        other.add(release, "web", "1.0.0")


def test_signatures_and_patches_are_kept(store: Store) -> None:
    one, other = {"role": "qa", "by": "ann"}, {"role": "build"}
    assert store.signatures("web", "1.0.0") == []
    assert store.add_signature("web", "1.0.0", "qa", "ab12", one)
    assert not store.add_signature("web", "1.0.0", "qa", "ab12", {"role": "qa", "by": "eve"})
    assert store.add_signature("web", "1.0.0", "build", "cd34", other)
    assert store.signatures("web", "1.0.0") == [other, one] and store.signatures("web", "1.0.00") == []
    with pytest.raises(ValueError, match="letters, digits"):
        store.add_signature("web", "1.0.0", "../x", "ab", one)
    base, sha256 = "a" * 64, "b" * 64
    assert store.patch(base, sha256) is None
    assert store.add_patch(base, sha256, {"sha256": "c" * 64, "layout": "d" * 64, "size": 9})
    assert store.patch(base, sha256) == {"sha256": "c" * 64, "layout": "d" * 64, "size": 9}


def test_memory_is_bounded(store: Store, tmp_path: Path) -> None:
    """A large file in a process of its own: what is held does not grow with it."""
    program = (
        "import os, resource, sys; from pathlib import Path; from tests.artifacts.test_store import opened\n"
        "root = Path(sys.argv[1])\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "with open(root / 'big', 'wb') as f:\n"
        "    for _ in range(96): f.write(os.urandom(1 << 20))\n"
        "before = peak(); opened(root / 'store').add(root / 'big', 'big', '1'); print(peak() - before)\n"
    )
    (tmp_path / "large").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "large"], cwd=Path(module.__file__).parents[2],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 40
