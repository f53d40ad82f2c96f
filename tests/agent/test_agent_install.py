"""Installed releases: what a manifest may not say, what was altered by hand, and what runs."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.agent.install import InstallError, Releases, guard_of
from cockpit.swarm import manifest as limits
from cockpit.swarm.assemble import install
from cockpit.swarm.holdings import Holdings
from cockpit.swarm.manifest import ManifestError, parse
from tests.agent.fake import AgentProcess, FakeController, unitspec
from tests.helpers import until
from tests.swarm.handmade import Made

GOOD = Made(
    {
        "bin": None, "bin/serve": b"#!/bin/sh\nexec sleep 60\n", "bin/up": "../data", "current": "bin/serve",
        "data": None, "data/words.txt": b"one\ntwo\n",
    },
    programs=["bin/serve"],
)  # fmt: skip


def put(host_dir: Path, made: Made) -> Path:
    """Install it; its directory."""
    install(str(host_dir), made.manifest, Holdings(str(host_dir), made.manifest.name), made.spool)
    return host_dir / "releases" / made.manifest.name / made.manifest.version


def test_an_installed_release(tmp_path: Path) -> None:
    root = put(tmp_path, GOOD)
    releases = Releases(str(tmp_path))
    assert releases.listing() == ["web/1.0.0"]
    assert releases.path("web", "1.0.0") == str(root)
    facts = releases.check("web", "1.0.0", GOOD.manifest.sha256)
    assert set(facts["files"]) == {"bin/serve", "data/words.txt"}
    assert facts["links"] == {"current": "bin/serve", "bin/up": "../data"}
    guard = {path: seen for path, *seen in guard_of(str(root), facts)}
    s = (root / "bin/serve").stat()
    assert guard[str(root / "bin/serve")] == [s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns]
    assert releases.installed("web", "1.0.0", GOOD.manifest.sha256)
    assert not releases.installed("web", "2.0.0", GOOD.manifest.sha256)
    with pytest.raises(InstallError, match="never overwritten") as e:
        releases.installed("web", "1.0.0", "0" * 64)
    assert e.value.code == "exists"


ONE = hashlib.sha256(b"x").hexdigest()
X = f"f 644 1 {ONE}"
HEAD = 'cockpit-manifest 1\nname "web"\nversion "1.0.0"\nplatform "any"\nkind release\n'
HOSTILE = {
    "absolute": [f'{X} "/etc/x"'],
    "climbs": [f'{X} "../x"'],
    "climbs inside": ['d "a"', f'{X} "a/../../x"'],
    "dots": ['d "a"', f'{X} "a/../x"'],
    "the root itself": [f'{X} "."'],
    "no name": [f'{X} ""'],
    "NUL in a name": [f'{X} "a\\u0000b"'],
    "half a character": [f'{X} "\\ud800"'],
    "link out": ['l "l" "../x"'],
    "link far out": ['l "l" "../../x"'],
    "absolute link": ['l "l" "/etc/passwd"'],
    "chain of links": ['d "a"', 'd "a/b"', 'l "a/b/l" "../.."', 'l "m" "a/b/l/../x"'],
    "circle": ['l "a" "b"', 'l "b" "a"'],
    "through a link": ['d "d"', 'l "l" "d"', f'{X} "l/x"'],
    "below a file": [f'{X} "d"', f'{X} "d/x"'],
    "below nothing": [f'{X} "d/x"'],
    "over a link": ['l "l" "x"', f'{X} "l"'],
    "twice": [f'{X} "x"', f'{X} "x"'],
    "file and directory": ['d "d"', f'{X} "d"'],
    "unsorted": [f'{X} "b"', f'{X} "a"'],
    "set-user-id": [f'f 4755 1 {ONE} "x"'],
    "device": ['b 1 3 "sda"'],
    "a size that lies": [f'f 644 70000 {ONE} "x"', f"c 1 {ONE}"],
    "chunks beyond the file": [f'f 644 70000 {ONE} "x"', f"c 60000 {ONE}", f"c 20000 {'1' * 64}"],
    "a large file without chunks": [f'f 644 70000 {ONE} "x"'],
    "a chunk of two lengths": [f'f 644 3 {ONE} "x"', f"c 1 {ONE}", f"c 2 {ONE}"],
    "a hole of 10 GiB": [f'f 644 {10 << 30} {ONE} "x"', f"z {10 << 30}"],
    "ten holes of 1 GiB": [line for n in range(10) for line in (f'f 644 {1 << 30} {ONE} "{n}"', f"z {1 << 30}")],
    "a negative size": [f'f 644 -1 {ONE} "x"'],
    "no digest": ['f 644 1 abc "x"'],
}  # fmt: skip


@pytest.mark.parametrize("lines", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_manifest_is_no_manifest(lines: list[str]) -> None:
    text = [f"{line}\n".encode() for line in [*HEAD.splitlines(), *lines, "end"]]
    with pytest.raises(ManifestError):
        parse(text)


def test_too_many_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    text = [f"{line}\n".encode() for line in [*HEAD.splitlines(), *(f'd "{n:03}"' for n in range(101)), "end"]]
    assert len(parse(text).entries) == 101
    monkeypatch.setattr(limits, "MAX_ENTRIES", 100)
    with pytest.raises(ManifestError, match="more than 100 entries"):
        parse(text)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_name_leaves_the_releases(name: str, version: str) -> None:
    releases = Releases("/h")
    try:
        path = releases.path(name, version)
    except InstallError:
        return
    assert os.path.normpath(path) == path and path.startswith("/h/releases/") and path.count("/") == 4


def test_an_altered_file_is_found_and_a_moved_one_is_not(tmp_path: Path) -> None:
    root = put(tmp_path, GOOD)
    releases = Releases(str(tmp_path))
    releases.check("web", "1.0.0", GOOD.manifest.sha256)
    file = root / "data" / "words.txt"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)  # restored: another inode, the same content
    file.chmod(0o644)
    assert releases.check("web", "1.0.0")["files"]["data/words.txt"][2] == file.stat().st_ino
    assert releases.listing() == ["web/1.0.0"]
    with Holdings(str(tmp_path), "web") as held:
        assert held.heads == [("1.0.0", GOOD.manifest.sha256)], "the facts written anew are still read"
    file.write_bytes(b"one\n2wo\n")
    with pytest.raises(InstallError, match=r"words\.txt has other content") as e:
        releases.check("web", "1.0.0")
    assert e.value.code == "altered"
    with pytest.raises(InstallError, match="not on this host"):
        releases.check("web", "2.0.0")


def test_other_ways_of_altering(tmp_path: Path) -> None:
    def removed(root: Path) -> None:
        (root / "bin/serve").unlink()

    def linked(root: Path) -> None:
        (root / "data/words.txt").rename(root / "data/other")
        (root / "data/words.txt").symlink_to("other")

    def turned(root: Path) -> None:
        (root / "current").unlink()
        (root / "current").symlink_to("data/words.txt")

    for number, alter in enumerate((removed, linked, turned)):
        (tmp_path / str(number)).mkdir()
        alter(put(tmp_path / str(number), GOOD))
        with pytest.raises(InstallError) as e:
            Releases(str(tmp_path / str(number))).check("web", "1.0.0")
        assert e.value.code == "altered"


async def test_a_release_runs_and_an_altered_one_does_not(
    agent: AgentProcess, controller: FakeController
) -> None:
    script = f"import time\nprint('one', flush=True)\ntime.sleep(60)\n# {sys.version}\n"
    made = Made({"app": None, "app/main.py": script.encode()})
    artifact = {"name": "web", "version": "1.0.0", "sha256": made.manifest.sha256}
    facts = {
        "artifact": artifact, "directory": "app", "ports": {}, "check": None,
        "processes": {"main": [sys.executable, "main.py"]}, "restart": {"mode": "never"},
    }
    missing = await controller.command("prepare", spec=unitspec("puzzle.web/0:1", **facts))
    assert missing["code"] == "missing"
    await controller.sees("puzzle.web/0:1", state=768)
    put(agent.dir, made)
    await controller.ok("prepare", spec=unitspec("puzzle.web/0:1", **facts))
    pid = (await controller.ok("start", unit="puzzle.web/0:1"))["pid"]
    assert os.readlink(f"/proc/{pid}/cwd") == str(agent.dir / "releases/web/1.0.0/app")
    report = await controller.sees("puzzle.web/0:1", state=512)
    assert report["sha256"] == made.manifest.sha256 and report["version"] == "1.0.0"
    await controller.ok("stop", unit="puzzle.web/0:1")
    with open(agent.dir / "releases/web/1.0.0/app/main.py", "a") as f:
        f.write("# changed\n")
    again = await controller.command("start", unit="puzzle.web/0:1")
    assert again["code"] == "altered"
    assert (await controller.sees("puzzle.web/0:1", state=768))["altered"]
    other = await controller.command("prepare", spec=unitspec("puzzle.web/0:2", **facts))
    assert other["code"] == "altered" and "main.py" in other["text"]
    release = agent.dir / "releases/web/1.0.0"
    assert f"move {release} away there" in other["text"], "what can be done is said"
    release.rename(agent.dir / "aside")
    gone = await controller.command("prepare", spec=unitspec("puzzle.web/0:3", **facts))
    assert gone["code"] == "missing" and gone["text"].endswith("converge again brings it")
    await until(lambda: controller.of("releases")[-1]["releases"] == [])
