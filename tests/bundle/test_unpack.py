"""A zipapp and a one-file agent unpack themselves once, whatever happens: the same tests for both."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cockpit.bundle import onefile
from tests.bundle.places import left, on_small_disk, start

HELLO = b'#!/bin/sh\nshift 3\necho "$0" "$@"\n'
PAYLOAD = {
    "bin/python3": (0o700, HELLO), "app/data": (0o600, os.urandom(300_000)), "app/deep/er/x": (0o600, b""),
    "lib/empty/": (0o700, b""),
}  # fmt: skip

AGAIN = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', ''])"
"""Can this interpreter start itself, as the agent does?"""


class Bundle:
    """One made file, and what says where it runs."""

    def __init__(self, file: Path, argv: list[str], words: list[str], file_inside: str) -> None:
        self.file = file
        self.argv = argv
        self.words = words
        self.inside = file_inside

    def run(self, into: Path, **env: str) -> subprocess.CompletedProcess[str]:
        return start([*self.argv, *self.words], into, **env)

    def root(self, into: Path, **env: str) -> Path:
        """Run it; the directory it ran from."""
        done = self.run(into, **env)
        assert done.returncode == 0, done.stderr
        return into / left(into)[0]


@pytest.fixture(params=["zipapp", "one-file"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    file = tmp_path / "cockpit-agent"
    if request.param == "zipapp":
        shutil.copy(request.getfixturevalue("zipapp"), file)
        return Bundle(file, [request.getfixturevalue("python"), str(file)], ["--where"], "cockpit/agent/own.py")
    made = onefile.assemble(request.getfixturevalue("stub"), PAYLOAD)
    file.write_bytes(made.data)
    file.chmod(0o755)
    return Bundle(file, [str(file)], ["--where"], "app/data")


def test_it_unpacks_once_and_runs_from_there(bundle: Bundle, unpacked: Path) -> None:
    first = bundle.run(unpacked)
    assert first.returncode == 0, first.stderr
    (name,) = left(unpacked)
    root = unpacked / name
    assert len(name) == 32 and str(root) in first.stdout and first.stderr == ""
    assert root.stat().st_mode & 0o777 == 0o700
    inode = (root / bundle.inside).stat().st_ino
    assert bundle.run(unpacked).stdout == first.stdout
    assert (root / bundle.inside).stat().st_ino == inode


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _link(path: Path) -> None:
    other = path.with_name("other")
    path.rename(other)
    path.symlink_to(other)


@pytest.mark.parametrize("damage", [_cut, _flip, _link, Path.unlink, lambda p: p.chmod(0o666)])
def test_a_damaged_directory_is_noticed_and_replaced(
    bundle: Bundle, unpacked: Path, damage: Callable[[Path], object]
) -> None:
    root = bundle.root(unpacked)
    before = (root / bundle.inside).read_bytes()
    damage(root / bundle.inside)
    done = bundle.run(unpacked)
    assert done.returncode == 0
    assert done.stderr == f"cockpit-agent: {root} was damaged ({bundle.inside}) and is replaced\n"
    assert (root / bundle.inside).read_bytes() == before and not (root / bundle.inside).is_symlink()
    assert left(unpacked) == [root.name]
    assert bundle.run(unpacked).stderr == ""


def test_what_a_killed_one_left_does_not_matter(bundle: Bundle, unpacked: Path) -> None:
    root = bundle.root(unpacked)
    shutil.rmtree(root)
    half = unpacked / f".{root.name}.new" / "cockpit"
    half.mkdir(parents=True)
    (half / "half").write_text("x")
    assert bundle.root(unpacked) == root
    assert left(unpacked) == [root.name]


def test_many_at_once(bundle: Bundle, unpacked: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: bundle.run(unpacked), range(6)))
    assert {d.returncode for d in done} == {0} and {d.stderr for d in done} == {""}
    assert len({d.stdout for d in done}) == 1
    assert len(left(unpacked)) == 1


def test_a_file_that_is_not_whole(bundle: Bundle, unpacked: Path) -> None:
    data = bundle.file.read_bytes()
    bundle.file.write_bytes(data[:-100])
    done = bundle.run(unpacked)
    # without its index a zip file is none to Python itself
    assert done.returncode != 0 and ("not whole" in done.stderr or "SyntaxError" in done.stderr), done.stderr
    assert left(unpacked) == []
    broken = bytearray(data)
    broken[data.index(b"from cockpit.agent import own") if len(bundle.argv) > 1 else len(data) - 30_000] ^= 1
    bundle.file.write_bytes(broken)
    assert bundle.run(unpacked).returncode != 0
    assert left(unpacked) == []


def test_places(bundle: Bundle, unpacked: Path) -> None:
    done = bundle.run(Path("relative/place"))
    assert done.returncode == 126
    assert done.stderr == "cockpit-agent: COCKPIT_UNPACK must be an absolute path, not relative/place\n"
    file = unpacked / "file"
    file.write_text("")
    done = bundle.run(file / "below")
    assert done.returncode == 126 and "another place can be named in COCKPIT_UNPACK" in done.stderr, done.stderr
    unpacked.chmod(0o777)
    done = bundle.run(unpacked)
    assert done.returncode == 126 and "others may write to it" in done.stderr
    assert left(unpacked) == ["file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_places_of_somebody_who_is_not_root(bundle: Bundle, short_dir: Path) -> None:
    home = short_dir / "home"
    home.mkdir()
    short_dir.chmod(0o711)
    os.chown(home, 65534, 65534)
    file = short_dir / "agent"
    shutil.copy(bundle.file, file)
    file.chmod(0o755)
    argv = [*bundle.argv[:-1], str(file), *bundle.words]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if len(bundle.argv) > 1:
        nobody += ["--"]
        if subprocess.run([*nobody, bundle.argv[0], "-c", AGAIN], capture_output=True, check=False).returncode:
            argv[0] = "/usr/bin/python3"  # the other one is in somebody's home
    done = start([*nobody, *argv], Path(), COCKPIT_UNPACK="", HOME=str(home))
    assert done.returncode == 0, done.stderr
    (root,) = (p for p in (home / ".cache/cockpit/bundle").iterdir() if len(p.name) == 32)
    assert str(root) in done.stdout
    done = start([*nobody, *argv], Path(), COCKPIT_UNPACK="", HOME="")
    assert done.returncode == 126
    assert done.stderr == "cockpit-agent: there is no HOME; name a directory to unpack into in COCKPIT_UNPACK\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_says_so_and_leaves_nothing(bundle: Bundle, unpacked: Path) -> None:
    look = ["sh", "-c", '"$@"; code=$?; ls -A "$0" | grep -v lock; exit $code', str(unpacked)]
    done = start(on_small_disk("100k", unpacked, [*look, *bundle.argv, *bundle.words]), unpacked)
    assert done.returncode == 126
    assert done.stderr.startswith(f"cockpit-agent: the disk is full: unpacking into {unpacked} takes "), done.stderr
    assert "MiB; free some, or name another place in COCKPIT_UNPACK" in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_place_where_nothing_may_be_executed(stub: bytes, unpacked: Path, tmp_path: Path) -> None:
    file = tmp_path / "agent"
    file.write_bytes(onefile.assemble(stub, PAYLOAD).data)
    file.chmod(0o755)
    done = start(on_small_disk("10m,noexec", unpacked, [str(file)]), unpacked)
    assert done.returncode == 126 and "is its file system mounted noexec?" in done.stderr, done.stderr


def test_the_archive(stub: bytes) -> None:
    made = onefile.assemble(stub, PAYLOAD)
    assert onefile.assemble(stub, dict(reversed(PAYLOAD.items()))) == made
    assert made.data[:4] == b"\x7fELF" and made.unpacked == len(onefile.archive(PAYLOAD))
    for name in ("/etc/passwd", "a/../b", "x" * 2000):
        with pytest.raises(ValueError, match="cannot be in an archive"):
            onefile.archive({name: (0o600, b"")})
