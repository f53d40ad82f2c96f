"""Installing from a manifest: what is there afterwards, from where it came, and what is never there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cockpit.agent.install import InstallError, Releases
from cockpit.swarm import assemble, copying, records
from cockpit.swarm.assemble import AssembleError, check_room, clean, install, nothing, write_file
from cockpit.swarm.holdings import Holdings
from cockpit.swarm.manifest import digest_of
from tests.helpers import PATIENCE
from tests.swarm.handmade import Made

RNG = random.Random(3)
BIG = RNG.randbytes(40 * 16384 + 77)
FILES: dict[str, Any] = {
    "bin": None, "bin/serve": b"#!/bin/sh\n", "bin/run": "../current", "current": "bin/serve", "empty": b"",
    "data": None, "data/big": BIG, "data/holed": [262_144, b"x" * 5000, 131_072, b"y" * 9, 65_536],
    "nothing in": None,
}  # fmt: skip
OLD = Made(FILES, programs=["bin/serve"])
CHANGED = BIG[:300_000] + b"here" + BIG[300_004:]
NEW = Made({**FILES, "data/big": CHANGED, "added": b"added"}, "1.1.0", programs=["bin/serve"])


def holdings(dir: Path, name: str = "web") -> Holdings:
    return Holdings(str(dir), name)


def put(dir: Path, made: Made, spool: assemble.Spool | None = None) -> int:
    with holdings(dir) as h:
        return install(str(dir), made.manifest, h, spool or made.spool)


def names(dir: Path) -> set[str]:
    root = dir / "releases" / "web"
    return {p.name for p in root.iterdir()} if root.exists() else set()


def same(root: Path, made: Made) -> None:
    """The directory holds exactly what the manifest says."""
    found = {str(p.relative_to(root)) for p in root.rglob("*")}
    assert found == {e.path for e in made.manifest.entries}
    for e in made.manifest.entries:
        path = root / e.path
        if e.kind == "l":
            assert path.readlink() == Path(e.target)
        else:
            assert stat.S_IMODE(path.lstat().st_mode) == e.mode
            assert path.is_dir() if e.kind == "d" else path.read_bytes() == content(made, e)


def content(made: Made, entry: Any) -> bytes:
    return b"".join(bytes(-x) if x < 0 else made.read(x) for x in entry.extents)


def test_a_release_and_its_records(tmp_path: Path) -> None:
    told: list[int] = []
    before = os.umask(0o077)
    try:
        with holdings(tmp_path) as h:
            done = install(str(tmp_path), OLD.manifest, h, OLD.spool, progress=told.append)
    finally:
        os.umask(before)
    assert done == OLD.manifest.size == told[-1] and told == sorted(told)
    root = tmp_path / "releases/web/1.0.0"
    same(root, OLD)
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    assert (root / "data/holed").stat().st_blocks * 512 <= 5000 + 4 * 4096, "the holes are holes"
    assert names(tmp_path) == {"1.0.0", ".1.0.0.json", ".1.0.0.manifest"}
    facts = json.loads((root.parent / ".1.0.0.json").read_bytes())
    assert list(facts) == ["sha256", "kind", "size", "files", "links"] and facts["kind"] == "release"
    assert facts["links"] == {"bin/run": "../current", "current": "bin/serve"}
    assert facts["files"]["data/big"][1:] == records.identity(str(root / "data/big"))
    assert stat.S_IMODE((root.parent / ".1.0.0.json").stat().st_mode) == 0o600
    assert digest_of(records.manifest_lines(str(root.parent / ".1.0.0.manifest"))) == OLD.manifest.sha256
    checked = Releases(str(tmp_path)).check("web", "1.0.0", OLD.manifest.sha256)
    assert set(checked["files"]) == {e.path for e in OLD.manifest.entries if e.kind == "f"}


def test_the_same_again_and_another_content(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    was = records.identity(str(tmp_path / "releases/web/1.0.0/data/big"))
    assert put(tmp_path, OLD, nothing) == 0
    with pytest.raises(AssembleError, match="never overwritten") as e:
        put(tmp_path, Made({"x": b"y"}))
    assert e.value.code == "exists"
    assert records.identity(str(tmp_path / "releases/web/1.0.0/data/big")) == was


def test_only_what_is_new_is_taken_from_the_spool(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    was = records.identity(str(tmp_path / "releases/web/1.0.0/data/big"))
    NEW.asked.clear()
    put(tmp_path, NEW)
    same(tmp_path / "releases/web/1.1.0", NEW)
    chunks = NEW.manifest.chunks
    fresh = [c for c in range(len(chunks)) if OLD.manifest.chunks.find(chunks.digest(c)) < 0]
    assert sorted(NEW.asked) == fresh and len(fresh) == 2
    assert (tmp_path / "releases/web/1.1.0/data/holed").stat().st_blocks * 512 <= 5000 + 4 * 4096
    assert records.identity(str(tmp_path / "releases/web/1.0.0/data/big")) == was, "not so much as its ctime"
    assert (tmp_path / "releases/web/1.1.0/bin/serve").stat().st_nlink == 1


@pytest.mark.parametrize("calls", ["none", "lies"])
def test_file_systems_that_cannot_copy_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: str) -> None:
    def copy_file_range(*_: Any) -> int:
        if calls == "none":
            raise OSError(errno.EXDEV, "not here")
        return 0

    put(tmp_path, OLD)
    monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    put(tmp_path, NEW)
    same(tmp_path / "releases/web/1.1.0", NEW)


@pytest.mark.parametrize("at", [0, 1, 4096, 5000])
@pytest.mark.parametrize("to", [0, 904, 4096, 12_345])
def test_parts_are_shared_where_they_lie_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, to: int
) -> None:
    shared: list[tuple[int, int, int]] = []

    def share(source: int, at: int, target: int, to: int, length: int) -> bool:
        shared.append((at, to, length))
        os.pwrite(target, os.pread(source, length, at), to)
        return True

    monkeypatch.setattr(copying, "share", share)
    with (tmp_path / "a").open("w+b") as a, (tmp_path / "b").open("w+b") as b:
        a.write(BIG)
        a.flush()
        copying.copy(a.fileno(), at, b.fileno(), to, 200_000)
        assert os.pread(b.fileno(), 200_001, to) == BIG[at : at + 200_000]
        with pytest.raises(copying.Short):
            copying.copy(a.fileno(), len(BIG) - 5, b.fileno(), 1, 10)
    assert bool(shared) == ((at - to) % 4096 == 0)
    assert all(x % 4096 == 0 for part in shared for x in part)


def test_real_reflinks_or_a_clear_no(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w+b") as a, (tmp_path / "b").open("w+b") as b:
        a.write(BIG)
        a.flush()
        if copying.share(a.fileno(), 0, b.fileno(), 0, 16384):
            assert os.pread(b.fileno(), 20_000, 0) == BIG[:16384]
        else:
            assert os.fstat(b.fileno()).st_size == 0


def test_an_old_release_altered_by_hand_gives_nothing_false(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    with (tmp_path / "releases/web/1.0.0/data/big").open("r+b") as f:
        f.seek(50_000)
        f.write(b"by hand")
    wrong = part(NEW, 50_000)
    with pytest.raises(AssembleError) as e:
        put(tmp_path, NEW, lambda c: None if c == wrong else NEW.read(c))
    assert (e.value.code, e.value.chunks) == ("missing", [wrong])
    assert ".1.1.0.json" not in names(tmp_path)
    put(tmp_path, NEW)  # what was fetched stands in
    same(tmp_path / "releases/web/1.1.0", NEW)
    (tmp_path / "releases/web/1.0.0/data/big").unlink()
    put(tmp_path, Made({"data": None, "data/big": BIG}, "1.2.0"))
    assert (tmp_path / "releases/web/1.2.0/data/big").read_bytes() == BIG


def part(made: Made, at: int) -> int:
    """The chunk of data/big with this byte."""
    entry = next(e for e in made.manifest.entries if e.path == "data/big")
    return entry.extents[at // 16384]


def test_an_old_file_that_ends_while_it_is_read(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    with holdings(tmp_path) as h:
        os.truncate(tmp_path / "releases/web/1.0.0/data/big", 100_000)  # after it was taken in
        install(str(tmp_path), NEW.manifest, h, NEW.spool)
    same(tmp_path / "releases/web/1.1.0", NEW)


def test_a_spool_that_lies_or_has_nothing(tmp_path: Path) -> None:
    bad = part(OLD, 20_000)
    for spool, code in (
        (lambda c: bytes(16384) if c == bad else OLD.read(c), "digest"),
        (lambda c: b"short" if c == bad else OLD.read(c), "digest"),
        (lambda c: None if c == bad else OLD.read(c), "missing"),
    ):
        with pytest.raises(AssembleError, match=r"data/big: 1 chunks") as e:
            put(tmp_path, OLD, spool)
        assert (e.value.code, e.value.chunks) == (code, [bad])
        assert names(tmp_path) == set()


def test_chunks_that_do_not_make_the_file(tmp_path: Path) -> None:
    made = Made(FILES)
    next(e for e in made.manifest.entries if e.path == "data/big").sha256 = bytes(32)
    with pytest.raises(AssembleError, match="do not make the file") as e:
        put(tmp_path, made)
    assert e.value.code == "bad" and names(tmp_path) == set()


def test_a_manifest_whose_text_is_another(tmp_path: Path) -> None:
    made = Made(FILES)
    made.manifest.sha256 = "1" * 64
    with pytest.raises(AssembleError, match="canonical"):
        put(tmp_path, made)
    assert names(tmp_path) == set()


def test_data_is_linked_and_never_when_it_was_altered(tmp_path: Path) -> None:
    one = Made({"a": BIG, "b": b"stays", "c": b"mode"}, "1", kind="data")
    put(tmp_path, one)
    two = Made({"a": BIG, "b": b"stays", "c": b"mode"}, "2", kind="data", programs=["c"])
    assert put(tmp_path, two, nothing) == two.manifest.size
    r1, r2 = tmp_path / "releases/web/1", tmp_path / "releases/web/2"
    assert r1.joinpath("a").stat().st_ino == r2.joinpath("a").stat().st_ino
    assert r1.joinpath("c").stat().st_ino != r2.joinpath("c").stat().st_ino, "another mode is another file"
    Releases(str(tmp_path)).check("web", "1", one.manifest.sha256)
    same(r2, two)
    r1.joinpath("b").write_bytes(b"STAYS")
    three = Made({"b": b"stays"}, "3", kind="data")
    put(tmp_path, three)
    same(tmp_path / "releases/web/3", three)
    with pytest.raises(InstallError, match="other content"):
        Releases(str(tmp_path)).check("web", "2")


def test_paths_that_the_host_cannot_write(tmp_path: Path) -> None:
    for path in ("x" * 300, "ü" * 130):
        with pytest.raises(AssembleError) as e:
            put(tmp_path, Made({path: b"x"}))
        assert e.value.code == "bad" and names(tmp_path) == set()


def test_one_file(tmp_path: Path) -> None:
    entry = next(e for e in OLD.manifest.entries if e.path == "data/big")
    write_file(OLD.manifest, entry, OLD.spool, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == BIG
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600
    for spool in (nothing, lambda c: b"x" * 16384):
        with pytest.raises(AssembleError):
            write_file(OLD.manifest, entry, spool, str(tmp_path / "other"))
        assert not (tmp_path / "other").exists()


def forked(work: Callable[[], None]) -> int:
    """Exit status of a child process that does the work: 0, or what it left with, or 77 for an exception."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        work()
        os._exit(0)
    except BaseException:
        os._exit(77)


CALLS = ("fsync", "rename", "replace", "mkdir", "symlink", "unlink", "open", "pwrite", "ftruncate", "fchmod")


@pytest.mark.parametrize("stale", [False, True], ids=["nothing before", "facts of a directory that was removed"])
def test_a_crash_at_every_step_leaves_it_installed_or_not(tmp_path: Path, stale: bool) -> None:
    small = Made({"d": None, "d/f": b"f" * 20_000, "l": "d/f"}, "1.1.0")
    releases = Releases(str(tmp_path))
    for crash_at in range(1000):

        def work(crash_at: int = crash_at) -> None:
            left = crash_at

            def counted(call: Any) -> Any:
                def run(*args: Any, **named: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        os._exit(9)
                    return call(*args, **named)

                return run

            for name in CALLS:
                setattr(os, name, counted(getattr(os, name)))
            install(str(tmp_path), small.manifest, Holdings(str(tmp_path), "web"), small.read)

        (tmp_path / "releases/web").mkdir(parents=True, exist_ok=True)
        if stale:
            facts = {"sha256": "1" * 64, "kind": "release", "size": 1, "files": {"x": ["2" * 64, 0, 0, 1, 0, 0]}}
            (tmp_path / "releases/web/.1.1.0.json").write_text(json.dumps(facts))
        status = forked(work)
        assert status in (0, 9)
        if "web/1.1.0" in releases.listing():
            Releases(str(tmp_path)).check("web", "1.1.0", small.manifest.sha256)
        left = names(tmp_path)
        clean(str(tmp_path))
        assert {n for n in names(tmp_path) if not n.endswith(".manifest")} <= {"1.1.0", ".1.1.0.json"}, left
        put(tmp_path, small)  # whatever was left, the next one succeeds
        same(tmp_path / "releases/web/1.1.0", small)
        assert names(tmp_path) == {"1.1.0", ".1.1.0.json", ".1.1.0.manifest"}
        if status == 0:
            break
        for file in (tmp_path / "releases/web").iterdir():
            if file.is_file():
                file.unlink()
            else:
                file.rename(tmp_path / f"was-{crash_at}")
    assert crash_at > 25, "the calls were counted"


def test_a_full_disk(tmp_path: Path) -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            put(tmp_path, Made({"big": BIG}))
        except AssembleError as e:
            os._exit(3 if e.code == "space" else 4)

    assert forked(work) == 3
    assert names(tmp_path) == set()


@pytest.mark.parametrize("call", ["pwrite", "mkdir", "fsync", "ftruncate", "symlink"])
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "no space left")

    put(tmp_path, NEW)
    with monkeypatch.context() as m, pytest.raises(AssembleError) as e:
        m.setattr(os, call, full)
        put(tmp_path, OLD)
    assert e.value.code == "space"
    assert names(tmp_path) == {"1.1.0", ".1.1.0.json", ".1.1.0.manifest"}


def test_room(tmp_path: Path) -> None:
    check_room(str(tmp_path), 1)
    with pytest.raises(AssembleError, match="bytes free") as e:
        check_room(str(tmp_path), 1 << 60)
    assert e.value.code == "space"
    assert len(BIG) + 5009 + 10 <= assemble.room_for(OLD.manifest) <= len(BIG) + 100_000, "without the holes"


def test_clean_leaves_alone_what_somebody_works_on(tmp_path: Path) -> None:
    held, go = threading.Event(), threading.Event()

    def slow(index: int) -> bytes | None:
        held.set()
        assert go.wait(PATIENCE)
        return OLD.read(index)

    thread = threading.Thread(target=put, args=(tmp_path, OLD, slow))
    thread.start()
    try:
        assert held.wait(PATIENCE)
        (tmp_path / "releases/web/.0.9.abcd").mkdir()
        (tmp_path / "releases/web/.0.9.abcd/x").write_bytes(b"x")
        (tmp_path / "releases/web/.0.9.json").write_bytes(b"{}")
        assert clean(str(tmp_path)) == 2
    finally:
        go.set()
        thread.join()
    same(tmp_path / "releases/web/1.0.0", OLD)
    assert clean(str(tmp_path)) == 0
    assert names(tmp_path) == {"1.0.0", ".1.0.0.json", ".1.0.0.manifest"}


def test_several_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(4)
    done: list[int] = []

    def one() -> None:
        with holdings(tmp_path) as h:
            together.wait(PATIENCE)
            done.append(install(str(tmp_path), OLD.manifest, h, OLD.read))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(done) == [0, 0, 0, OLD.manifest.size], "one of them installed it, and nobody replaced that"
    same(tmp_path / "releases/web/1.0.0", OLD)
    assert names(tmp_path) == {"1.0.0", ".1.0.0.json", ".1.0.0.manifest"}
    Releases(str(tmp_path)).check("web", "1.0.0", OLD.manifest.sha256)


def test_a_directory_that_was_never_installed_is_replaced(tmp_path: Path) -> None:
    root = tmp_path / "releases/web/1.0.0"
    root.mkdir(parents=True)
    (root / "half").write_bytes(b"half")
    put(tmp_path, OLD)
    same(root, OLD)


def test_facts_without_their_directory_do_not_count(tmp_path: Path) -> None:
    put(tmp_path, Made({"x": b"other"}))
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "releases/web/1.0.0").rename(tmp_path / "away")
    put(tmp_path, OLD)
    same(tmp_path / "releases/web/1.0.0", OLD)
    assert assemble.installed(str(tmp_path), "web", "1.0.0") == OLD.manifest.sha256
