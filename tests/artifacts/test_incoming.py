"""Archives and single files: unpacked as they are, or refused whole with the member and the reason."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cockpit.artifacts import incoming, untar, unzip
from cockpit.artifacts.incoming import tree_of
from cockpit.artifacts.tree import TreeError, scan

GIB = 1024**3
SUM = slice(148, 156)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def take(work: Path) -> Callable[..., dict[str, Any]]:
    """Take a source in; path -> content (bytes), link target (str) or None for a directory."""

    def once(source: Path, **limits: int) -> dict[str, Any]:
        with tree_of(source, work, **limits) as root:
            found = {
                i.path: i.target if i.kind == "l" else (root / i.path).read_bytes() if i.kind == "f" else None
                for i in scan(root)
            }
            assert root == source or root.stat().st_mode & 0o777 == 0o700
        assert list(work.iterdir()) == [], "nothing is left behind"
        return found

    return once


Take = Callable[..., dict[str, Any]]


def member(name: str, data: bytes = b"", **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as archive:  # type: ignore[call-overload]
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


GOOD = [
    member("./"), member("bin", type=tarfile.DIRTYPE, mode=0o755), member("bin/run", b"#!/bin/sh\n", mode=0o700),
    member("lib/deep/data", b"x" * 300_000), member("lib/" + "long" * 40 + "/f", b"1"),
    member("current", type=tarfile.SYMTYPE, linkname="lib/./deep"),
    member("same", type=tarfile.LNKTYPE, linkname="lib/deep/data"),
]  # fmt: skip
GOOD[0][0].type = tarfile.DIRTYPE


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_tars(tmp_path: Path, take: Take, mode: str, form: int) -> None:
    found = take(tar(tmp_path / "a", *GOOD, mode=mode, form=form))
    assert found == {
        "bin": None, "bin/run": b"#!/bin/sh\n", "lib": None, "lib/deep": None, "lib/deep/data": b"x" * 300_000,
        "lib/" + "long" * 40: None, "lib/" + "long" * 40 + "/f": b"1", "current": "lib/./deep",
        "same": b"x" * 300_000,
    }  # fmt: skip


def test_modes_of_a_tar(tmp_path: Path, work: Path) -> None:
    with tree_of(tar(tmp_path / "a", *GOOD), work) as root:
        modes = {i.path: oct(i.mode) for i in scan(root) if i.kind == "f"}
    assert modes["bin/run"] == "0o755" and modes["lib/deep/data"] == "0o644"


def test_wheels(tmp_path: Path, take: Take) -> None:
    with zipfile.ZipFile(tmp_path / "web-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as z:
        z.mkdir("web")
        z.writestr("web/__init__.py", "x = 1\n" * 1000)
        script = zipfile.ZipInfo("web/run")
        script.external_attr = (stat.S_IFREG | 0o755) << 16
        z.writestr(script, "#!/bin/sh\n")
        link = zipfile.ZipInfo("web/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(link, "run")
    assert take(tmp_path / "web-1.0-py3-none-any.whl") == {
        "web": None, "web/__init__.py": b"x = 1\n" * 1000, "web/run": b"#!/bin/sh\n", "web/link": "run"
    }


def test_what_is_named_like_an_archive_must_be_one(tmp_path: Path, take: Take) -> None:
    for name in ("a.tar", "a.tar.gz", "a.TGZ", "a.whl", "a.zip"):
        (tmp_path / name).write_bytes(b"not found\n" * 100)
        with pytest.raises(TreeError, match=f"{name}: the archive is broken"):
            take(tmp_path / name)


def test_single_files(tmp_path: Path, take: Take) -> None:
    program = tmp_path / "server"
    program.write_bytes(b"\x7fELF" + bytes(100_000) + b"end")
    (tmp_path / "latest").symlink_to(program)
    assert take(program) == take(tmp_path / "latest") == {"server": program.read_bytes()}
    log = tmp_path / "words.gz"
    log.write_bytes(gzip.compress(b"compressed, but no tar\n" * 100))
    assert take(log) == {"words.gz": log.read_bytes()}
    (tmp_path / "app.pyz").write_bytes(b"#!/usr/bin/env python3\n" + _zip({"__main__.py": b"1"}))
    assert list(take(tmp_path / "app.pyz")) == ["app.pyz"]
    (tmp_path / "empty").touch()
    assert take(tmp_path / "empty") == {"empty": b""}


def test_a_directory_is_taken_where_it_is(tmp_path: Path, take: Take, work: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("1")
    assert take(tmp_path / "d") == {"f": b"1"}
    with pytest.raises(TreeError, match="the store lies inside"):
        take(tmp_path)
    with pytest.raises(TreeError, match="none: No such file"):
        take(tmp_path / "none")
    with pytest.raises(TreeError, match="null: a device cannot be an artifact"):
        take(Path("/dev/null"))


REFUSED = {
    "climbs": ([member("a/../../x", b"1")], "leaves the artifact"),
    "climbs and returns": ([member("a/../x", b"1")], "climbs with"),
    "absolute": ([member("/etc/x", b"1")], "leaves the artifact"),
    "absolute link": ([member("l", type=tarfile.SYMTYPE, linkname="/etc")], "link 'l' to '/etc' leaves"),
    "link out": ([member("d/l", type=tarfile.SYMTYPE, linkname="../../x")], "member 'd/l' leaves"),
    "through a link": (
        [member("d", type=tarfile.DIRTYPE), member("l", type=tarfile.SYMTYPE, linkname="d"), member("l/f", b"1")],
        "passes through a link",
    ),
    "links that leave together": (
        [
            member("a", type=tarfile.DIRTYPE), member("a/b", type=tarfile.SYMTYPE, linkname=".."),
            member("c", type=tarfile.SYMTYPE, linkname="a/b/../x"),
        ],
        "link 'c' to 'a/b/../x' leaves",
    ),
    "circle": (
        [member("a", type=tarfile.SYMTYPE, linkname="b"), member("b", type=tarfile.SYMTYPE, linkname="a")],
        "leads nowhere",
    ),
    "hard link out": ([member("h", type=tarfile.LNKTYPE, linkname="../../etc/passwd")], "leaves the artifact"),
    "hard link to nothing": ([member("h", type=tarfile.LNKTYPE, linkname="f")], "no file to point to"),
    "device": ([member("null", type=tarfile.CHRTYPE)], "neither file, directory nor link"),
    "disk": ([member("sda", type=tarfile.BLKTYPE)], "neither file, directory nor link"),
    "pipe": ([member("p", type=tarfile.FIFOTYPE)], "neither file, directory nor link"),
    "twice": ([member("f", b"1"), member("./f", b"2")], "is there twice"),
    "file and directory": ([member("f", b"1"), member("f", type=tarfile.DIRTYPE)], "is there twice"),
    "below a file": ([member("f", b"1"), member("f/g", b"2")], "passes through a link or a file"),
    "setuid": ([member("su", b"1", mode=0o4755)], "'su' is setuid"),
    "setgid": ([member("su", b"1", mode=0o2755)], "'su' is setuid"),
    "root itself": ([member(".", b"1")], "a member named"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("mode", ["w", "w:xz"])
def test_tars_that_are_refused(tmp_path: Path, take: Take, work: Path, case: str, mode: str) -> None:
    members, why = REFUSED[case]
    with pytest.raises(TreeError, match=why):
        take(tar(tmp_path / "a", member("good", b"1"), *members, mode=mode))
    assert list(work.iterdir()) == [] and sorted(p.name for p in tmp_path.iterdir()) == ["a", "work"]


def test_limits(tmp_path: Path, take: Take) -> None:
    archive = tar(tmp_path / "a", *(member(f"f{n}", b"x" * 100) for n in range(10)))
    assert len(take(archive, max_bytes=1000, max_entries=10)) == 10
    with pytest.raises(TreeError, match="'f9': the archive unpacks to more than 999 bytes"):
        take(archive, max_bytes=999)
    with pytest.raises(TreeError, match="more than 9 members"):
        take(archive, max_entries=9)
    links = tar(
        tmp_path / "b", member("f", b"x" * 600), member("g", type=tarfile.LNKTYPE, linkname="f"),
    )  # fmt: skip
    with pytest.raises(TreeError, match="more than 1000 bytes"):
        take(links, max_bytes=1000)
    (tmp_path / "c").write_bytes(bytes(1001))
    with pytest.raises(TreeError, match="more than 1000 bytes"):
        take(tmp_path / "c", max_bytes=1000)


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
@pytest.mark.parametrize(
    "form", [["--format=gnu"], *(["--format=pax", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))]
)
def test_sparse_files(tmp_path: Path, take: Take, work: Path, form: list[str]) -> None:
    root = tmp_path / "one"
    root.mkdir()
    with (root / "sparse").open("wb") as f:
        for at in range(12):
            f.seek(at * 1024 * 1024)
            f.write(b"%d" % at)
        f.truncate(20 * 1024 * 1024)
    subprocess.run(["tar", "-C", root, "--sparse", *form, "-cf", tmp_path / "a", "."], check=True)
    assert (tmp_path / "a").stat().st_size < 200_000, "it was packed sparse"
    assert take(tmp_path / "a") == {"sparse": (root / "sparse").read_bytes()}
    with tree_of(tmp_path / "a", work) as found:
        assert (found / "sparse").stat().st_blocks * 512 < 1024 * 1024, "holes are kept"
    with (root / "sparse").open("r+b") as f:
        f.truncate(10 * GIB)
    subprocess.run(["tar", "-C", root, "--sparse", *form, "-cf", tmp_path / "b", "."], check=True)
    with pytest.raises(TreeError, match="sparse': the archive unpacks to more than"):
        take(tmp_path / "b")


def test_a_directory_with_a_hole_of_ten_gib(tmp_path: Path, take: Take) -> None:
    (tmp_path / "one").mkdir()
    with (tmp_path / "one" / "hole").open("wb") as f:
        f.truncate(10 * GIB)
    with pytest.raises(TreeError, match="hole: more than 8589934592 bytes"):
        take(tmp_path / "one")


def _header(name: str, size: int, kind: bytes) -> bytes:
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    block[156:157] = kind
    block[SUM] = b" " * 8
    block[SUM] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
@pytest.mark.parametrize("size", [2 * 1024 * 1024, 6 * GIB])
def test_headers_of_absurd_size(tmp_path: Path, take: Take, kind: bytes, size: int) -> None:
    with gzip.open(tmp_path / "a", "wb", 1) as f:
        f.write(_header("h", size, kind))
        f.write(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(TreeError, match="headers of an absurd size|broken"):
            take(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_headers_without_end(tmp_path: Path, take: Take) -> None:
    record = b"11 path=aa\n"
    one = _header("x", len(record), b"x") + record.ljust(512, b"\0")
    (tmp_path / "a").write_bytes(one * 8000)
    with pytest.raises(TreeError, match="absurd size|broken"):
        take(tmp_path / "a")


def test_a_map_of_holes_without_end(tmp_path: Path, take: Take) -> None:
    records = b""
    for fact in ("major=1", "minor=0", "name=f", "realsize=9"):
        body = f" GNU.sparse.{fact}\n"
        size = len(body) + 2
        records += f"{size}{body}".encode()
    big = 32 * 1024 * 1024
    with gzip.open(tmp_path / "a", "wb", 1) as f:
        f.write(_header("x", len(records), b"x") + records.ljust(512, b"\0"))
        f.write(_header("f", big, b"0"))
        f.write(b"99999999\n" + b"1\n" * (big // 2))
    with pytest.raises(TreeError, match="headers of an absurd size"):
        take(tmp_path / "a")


@pytest.mark.parametrize("cut", [1, 600, 1024, 5000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["tar", "gz", "bz2", "xz"])
def test_torn_archives(tmp_path: Path, take: Take, pack: Callable[[bytes], bytes], cut: int) -> None:
    whole = tar(tmp_path / "a", member("f", os.urandom(8000)), member("g", os.urandom(3000))).read_bytes()
    if pack is bytes:  # a tar without its last zeros is whole for every reader
        whole, cut = whole.rstrip(b"\0"), cut - 1
        whole = whole[: len(whole) - len(whole) % 512]
    (tmp_path / "a.tar").write_bytes(pack(whole)[: len(pack(whole)) - cut])
    with pytest.raises(TreeError, match="broken|ends in the middle"):
        take(tmp_path / "a.tar")


def test_a_wrong_check_sum(tmp_path: Path, take: Take) -> None:
    tar(tmp_path / "a.tgz", member("f", b"x" * 8000), mode="w:gz")
    data = bytearray((tmp_path / "a.tgz").read_bytes())
    data[-5] ^= 1  # in the CRC, behind everything that a tar reader looks at
    (tmp_path / "a.tgz").write_bytes(data)
    with pytest.raises(TreeError, match="broken: CRC check failed"):
        take(tmp_path / "a.tgz")
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(tar(tmp_path / "b").read_bytes() + bytes(20_000_000), 1))
    with pytest.raises(TreeError, match="follow the end of the archive"):
        take(tmp_path / "b.tar.gz")


def test_xz_in_several_streams(tmp_path: Path, take: Take) -> None:
    whole = tar(tmp_path / "a", member("f", b"x" * 8000)).read_bytes()
    (tmp_path / "a").write_bytes(lzma.compress(whole[:3000]) + lzma.compress(whole[3000:]) + bytes(8))
    assert take(tmp_path / "a") == {"f": b"x" * 8000}


def test_an_xz_that_wants_much_memory_is_refused(tmp_path: Path, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tar(tmp_path / "a", member("f", b"x" * 8000)).read_bytes()
    (tmp_path / "a").write_bytes(lzma.compress(whole))
    assert untar.is_tar(tmp_path / "a")
    monkeypatch.setattr(untar, "MAX_MEMORY", 1_000_000)
    monkeypatch.setattr(incoming, "is_tar", lambda path: True)
    with pytest.raises(TreeError, match=r"(?i)broken: memory"):
        take(tmp_path / "a")


def _zip(files: dict[str, bytes], **facts: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = facts.get("compress", zipfile.ZIP_DEFLATED)
            info.external_attr = facts.get("mode", 0) << 16
            z.writestr(info, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_zip({"../x": b"1"}), "leaves the artifact"), (_zip({"/x": b"1"}), "leaves the artifact"),
        (_zip({"a/../b": b"1"}), "climbs with"), (_zip({"f": b"1", "./f": b"2"}), "is there twice"),
        (_zip({"l": b"/etc"}, mode=stat.S_IFLNK | 0o777), "leaves the artifact"),
        (_zip({"l": b"../.."}, mode=stat.S_IFLNK | 0o777), "leaves the artifact"),
        (_zip({"l": b"x" * 5000}, mode=stat.S_IFLNK | 0o777), "absurd length"),
        (_zip({"su": b"1"}, mode=stat.S_IFREG | 0o4755), "is setuid"),
        (_zip({"d": b""}, mode=stat.S_IFCHR | 0o644), "neither file"),
        (_zip({"p": b""}, mode=stat.S_IFIFO | 0o644), "neither file"),
        (_zip({"f": b"1" * 99}, compress=zipfile.ZIP_LZMA), "compressed in an unusual way"),
        (_zip({"f": b"1"})[:-10], "its end is missing"),
        (_zip({"f": b"1" * 1000})[20:], "broken"),
    ],
    ids=range(13),
)  # fmt: skip
def test_zips_that_are_refused(tmp_path: Path, take: Take, data: bytes, why: str) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(TreeError, match=why):
        take(tmp_path / "a.zip")


def test_a_zip_bomb_is_found_by_its_table_and_by_its_content(tmp_path: Path, take: Take) -> None:
    bomb = _zip({"f": bytes(50 * 1024 * 1024)})
    (tmp_path / "a.zip").write_bytes(bomb)
    with pytest.raises(TreeError, match="more than 1000000 bytes"):
        take(tmp_path / "a.zip", max_bytes=1_000_000)
    lie = bytearray(bomb)
    at = lie.rindex(b"PK\x01\x02")
    lie[at + 24 : at + 28] = (1000).to_bytes(4, "little")  # what the table says of the size
    (tmp_path / "a.zip").write_bytes(lie)
    with pytest.raises(TreeError, match="longer than it says|broken"):
        take(tmp_path / "a.zip", max_bytes=1_000_000)


def test_a_zip_with_an_absurd_table(tmp_path: Path, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(_zip({f"f{n}": b"1" for n in range(100)}))
    monkeypatch.setattr(unzip, "MAX_DIRECTORY", 1000)
    with pytest.raises(TreeError, match="a table of an absurd size"):
        take(tmp_path / "a.zip")
    with pytest.raises(TreeError, match="more than 99 members"):
        monkeypatch.setattr(unzip, "MAX_DIRECTORY", 10**6)
        take(tmp_path / "a.zip", max_entries=99)
