"""Packing: reproducible, complete, and nothing in it that leads outside."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cockpit.swarm.pack import PackError, digest, pack


def tree(root: Path) -> Path:
    (root / "lib" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o4775)
    (root / "lib" / "data").write_bytes(b"x" * 3000)
    (root / "lib" / "deep" / "数独.txt").write_text("9")
    (root / "lib-a").write_text("")
    (root / "current").symlink_to("lib/deep")
    return root


def test_same_content_same_bytes(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "one"), tree(tmp_path / "two")
    os.utime(second / "run", (1, 1))
    (second / "lib" / "data").chmod(0o600)
    (second / "empty").chmod(0o700)
    facts = pack(first, tmp_path / "a")
    assert pack(second, tmp_path / "b") == facts
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert facts == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "files": 5}
    assert digest(tmp_path / "a") == facts["sha256"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    (second / "run").write_text("#!/bin/sh\ntrue\n")
    assert pack(second, tmp_path / "b")["sha256"] != facts["sha256"]


def test_what_is_in_it(tmp_path: Path) -> None:
    pack(tree(tmp_path / "one"), tmp_path / "a")
    with tarfile.open(tmp_path / "a", "r:gz") as tar:
        members = tar.getmembers()
        assert [(m.name, oct(m.mode)) for m in members if not m.issym()] == [
            ("empty", "0o755"), ("lib", "0o755"), ("lib-a", "0o644"), ("lib/data", "0o644"),
            ("lib/deep", "0o755"), ("lib/deep/数独.txt", "0o644"), ("run", "0o755"),
        ]  # fmt: skip
        assert [(m.name, m.linkname) for m in members if m.issym()] == [("current", "lib/deep")]
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
        tar.extractall(tmp_path / "out")  # our own archive; filters came with 3.11.4
    assert (tmp_path / "out" / "current" / "数独.txt").read_text() == "9"
    assert (tmp_path / "out" / "lib" / "data").read_bytes() == b"x" * 3000
    assert (tmp_path / "a").read_bytes()[4:8] == b"\0\0\0\0", "the gzip header has no time"


def test_a_single_file(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o700)
    link = tmp_path / "latest"
    link.symlink_to(program)
    assert pack(program, tmp_path / "a")["files"] == 1
    pack(link, tmp_path / "b")
    for name, archive in (("server", "a"), ("latest", "b")):
        with tarfile.open(tmp_path / archive) as tar:
            [member] = tar.getmembers()
            assert (member.name, member.mode, member.isreg(), member.size) == (name, 0o755, True, 4)


def test_long_names(tmp_path: Path) -> None:
    name = "/".join(["d" * 200] * 3)
    (tmp_path / "one" / name).mkdir(parents=True)
    (tmp_path / "one" / name / "f").write_text("1")
    pack(tmp_path / "one", tmp_path / "a")
    with tarfile.open(tmp_path / "a") as tar:
        assert tar.getnames()[-1] == f"{name}/f"


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
    with pytest.raises(PackError, match=f"^link: the link to .* {why}"):
        pack(root, tmp_path / "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "one-other", "outside"]


def test_devices_pipes_and_sockets_are_refused(tmp_path: Path, short_dir: Path) -> None:
    os.mkfifo(short_dir / "pipe")
    with pytest.raises(PackError, match="pipe: a pipe cannot be in a release"):
        pack(short_dir, tmp_path / "a")
    (short_dir / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(short_dir / "s"))
        with pytest.raises(PackError, match="s: a socket cannot be"):
            pack(short_dir, tmp_path / "a")
    with pytest.raises(PackError, match="null: a device cannot be"):
        pack(Path("/dev/null"), tmp_path / "a")


def test_limits(tmp_path: Path) -> None:
    root = tree(tmp_path / "one")
    with pytest.raises(PackError, match="more than 2999 bytes, at lib/data"):
        pack(root, tmp_path / "a", max_bytes=2999)
    with pytest.raises(PackError, match="more than 3 files"):
        pack(root, tmp_path / "a", max_files=3)


def test_other_refusals(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(PackError, match="no file to pack"):
        pack(tmp_path / "one", tmp_path / "a")
    with pytest.raises(PackError, match=r"none: No such file"):
        pack(tmp_path / "none", tmp_path / "a")
    (tmp_path / "one" / "f").write_text("1")
    with pytest.raises(PackError, match="would lie inside"):
        pack(tmp_path / "one", tmp_path / "one" / "a")
    (Path(os.fsdecode(os.fsencode(tmp_path / "one") + b"/\xff"))).write_text("1")
    with pytest.raises(PackError, match=r"xff': the name is not UTF-8"):
        pack(tmp_path / "one", tmp_path / "a")


def test_a_file_that_changes_meanwhile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "one"
    root.mkdir()
    (root / "log").write_text("one line\n")
    opened: Any = gzip.GzipFile

    def grow(*args: Any, **named: Any) -> Any:
        (root / "log").write_text("one line\nand another\n")
        return opened(*args, **named)

    monkeypatch.setattr(gzip, "GzipFile", grow)
    with pytest.raises(PackError, match="log: it changed while it was packed"):
        pack(root, tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["one"]
