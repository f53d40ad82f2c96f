"""Files of a build on its host: an extractor that takes files and directories only, and what is collected."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from cockpit.agent.build_files import collect, extract, forget
from cockpit.agent.tasks import CommandError


def no_stop() -> None:
    pass


def archive(path: Path, *members: tuple[str, bytes | str | bytes | None], cut: int = 0) -> str:
    """A file for bytes, a link for text, a directory for None."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o777
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = (tarfile.LNKTYPE if name == "hard" else tarfile.SYMTYPE), content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    return str(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_files_and_directories(tmp_path: Path, root: Path) -> None:
    extract(archive(tmp_path / "a", ("d", None), ("d/x", b"1"), ("e/f/g", b"2")), str(root), no_stop)
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*")) == ["d", "d/x", "e", "e/f", "e/f/g"]
    assert (root / "e/f/g").read_bytes() == b"2"
    assert (root / "d/x").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("../x", b"1")], "not a plain relative path"),
        ([("/x", b"1")], "not a plain relative path"),
        ([("a/./b", b"1")], "not a plain relative path"),
        ([("a//b", b"1")], "not a plain relative path"),
        ([("l", "/etc")], "neither a file nor a directory"),
        ([("a", b"1"), ("hard", "a")], "neither a file nor a directory"),
        ([("a", b"1"), ("a", b"2")], "cannot be unpacked"),
        ([("a", b"1"), ("a/b", b"2")], "input 'a/b'"),
        ([("a", b"x" * 101)], "more than"),
    ],
    ids=str,
)
def test_inputs_that_are_refused(
    tmp_path: Path, root: Path, members: list[tuple[str, bytes | str | None]], says: str
) -> None:
    with pytest.raises(CommandError, match=says) as e:
        extract(archive(tmp_path / "a", *members), str(root), no_stop, most=100)
    assert e.value.code == "bad"
    assert [p.name for p in tmp_path.iterdir() if p.name not in ("a", "work")] == []


def test_an_archive_that_ends_early(tmp_path: Path, root: Path) -> None:
    with pytest.raises(CommandError, match="cannot be unpacked"):
        extract(archive(tmp_path / "a", ("a", os.urandom(100_000)), cut=50_000), str(root), no_stop)
    (tmp_path / "b").write_bytes(b"no tar")
    with pytest.raises(CommandError, match="cannot be unpacked"):
        extract(str(tmp_path / "b"), str(root), no_stop)


def test_a_stop_is_seen_between_blocks(tmp_path: Path, root: Path) -> None:
    def stop() -> None:
        raise CommandError("stopped", "now")

    with pytest.raises(CommandError, match="now"):
        extract(archive(tmp_path / "a", ("a", b"1")), str(root), stop)
    (root / "out").write_text("x")
    with pytest.raises(CommandError, match="now"):
        collect(str(root), ["out"], str(tmp_path / "o"), stop, most=1000)


def names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return [f"{m.name} -> {m.linkname}" if m.issym() else m.name for m in tar]


def test_what_is_collected(tmp_path: Path, root: Path) -> None:
    (root / "out/d").mkdir(parents=True)
    (root / "out/d/f").write_text("1")
    (root / "out/l").symlink_to("d/f")
    (root / "b").write_text("2")
    for n, (outputs, found) in enumerate({
        ("out",): ["d", "d/f", "l -> d/f"], (".",): ["b", "out", "out/d", "out/d/f", "out/l -> d/f"],
        ("b",): ["b"], ("out/d", "b"): ["b", "out/d", "out/d/f"], ("out/l",): ["out/l -> d/f"],
    }.items()):  # fmt: skip
        collect(str(root), outputs, str(tmp_path / f"{n}"), no_stop, most=1000)
        assert names(tmp_path / f"{n}") == found


def test_outputs_that_are_too_large(tmp_path: Path, root: Path) -> None:
    (root / "out").write_bytes(os.urandom(1000))
    with pytest.raises(CommandError, match="more than 999 bytes") as e:
        collect(str(root), ["out"], str(tmp_path / "o"), no_stop, most=999)
    assert e.value.code == "limit"
    with pytest.raises(CommandError, match="more than 1001 bytes"):  # packed, they are larger
        collect(str(root), ["out"], str(tmp_path / "p"), no_stop, most=1001)


def test_a_tree_that_took_away_its_own_permissions_goes(tmp_path: Path, root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/c").write_text("x")
    (tmp_path / "outside").write_text("stays")
    (root / "a/out").symlink_to(tmp_path)
    (root / "a/b").chmod(0)
    (root / "a").chmod(0o500)
    forget(str(root))
    assert not root.exists()
    assert (tmp_path / "outside").read_text() == "stays"
