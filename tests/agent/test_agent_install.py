"""Fetching and installing releases: resume, verification, hostile archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.agent.install import InstallError, Releases, guard_of, unpack
from tests.agent.fake import AgentProcess, FakeController, unitspec


def tar_of(*members: tuple[str, bytes | None, dict[str, object]], packed: bool = True) -> bytes:
    """(name, content or None, TarInfo attributes) -> archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if packed else "w") as tar:
        for name, content, facts in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            for key, value in facts.items():
                setattr(info, key, value)
            if content is not None:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if content is not None else None)
    return out.getvalue()


GOOD = tar_of(
    ("bin", None, {"type": tarfile.DIRTYPE}),
    ("bin/serve", b"#!/bin/sh\nexec sleep 60\n", {"mode": 0o4777}),
    ("./data/words.txt", b"one\ntwo\n", {"mode": 0o666}),
    ("current", None, {"type": tarfile.SYMTYPE, "linkname": "bin/serve"}),
    ("bin/up", None, {"type": tarfile.SYMTYPE, "linkname": "../data"}),
    ("again", None, {"type": tarfile.LNKTYPE, "linkname": "bin/serve"}),
)


def write(path: Path, data: bytes) -> tuple[str, str]:
    path.write_bytes(data)
    return str(path), hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("packed", [True, False])
def test_a_good_archive(tmp_path: Path, packed: bool) -> None:
    archive, sha = write(tmp_path / "a", GOOD if packed else gzip.decompress(GOOD))
    releases = Releases(str(tmp_path / "h"))
    old = os.umask(0o077)
    try:
        assert releases.install(archive, "web", "1.0.0", sha) == 24 + 8
    finally:
        os.umask(old)
    root = Path(releases.path("web", "1.0.0"))
    assert releases.listing() == ["web/1.0.0"]
    assert (root / "bin/serve").stat().st_mode & 0o7777 == 0o755
    assert (root / "data/words.txt").stat().st_mode & 0o7777 == 0o644
    assert (root / "bin").stat().st_mode & 0o7777 == 0o755
    assert (root / "current").resolve() == (root / "bin/serve").resolve()
    manifest = releases.check("web", "1.0.0", sha)
    assert set(manifest["files"]) == {"bin/serve", "data/words.txt", "again"}
    assert manifest["links"] == {"current": "bin/serve", "bin/up": "../data"}
    assert [str(root / "bin/serve")] == [e[0] for e in guard_of(str(root), manifest) if e[0].endswith("serve")]
    assert releases.install(archive, "web", "1.0.0", sha) == 0, "the same again is done at once"
    other, other_sha = write(tmp_path / "b", tar_of(("x", b"y", {})))
    with pytest.raises(InstallError, match="never overwritten") as e:
        releases.install(other, "web", "1.0.0", other_sha)
    assert e.value.code == "exists"
    assert not [p for p in root.parent.iterdir() if p.name not in ("1.0.0", ".1.0.0.json")]


HOSTILE = {
    "absolute": [("/etc/x", b"x", {})],
    "climbs": [("../x", b"x", {})],
    "climbs inside": [("a/../../x", b"x", {})],
    "dots": [("a/../x", b"x", {})],
    "link out": [("l", None, {"type": tarfile.SYMTYPE, "linkname": "../../x"})],
    "absolute link": [("l", None, {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})],
    "through a link": [
        ("d", None, {"type": tarfile.DIRTYPE}), ("l", None, {"type": tarfile.SYMTYPE, "linkname": "d"}),
        ("l/x", b"x", {}),
    ],
    "chain of links": [
        ("a/b/l", None, {"type": tarfile.SYMTYPE, "linkname": "../.."}),
        ("m", None, {"type": tarfile.SYMTYPE, "linkname": "a/b/l/../x"}),
    ],
    "over a link": [
        ("l", None, {"type": tarfile.SYMTYPE, "linkname": "x"}), ("l", b"x", {}),
    ],
    "twice": [("x", b"1", {}), ("x", b"2", {})],
    "hard link out": [("h", None, {"type": tarfile.LNKTYPE, "linkname": "../../../etc/passwd"})],
    "hard link to nothing": [("h", None, {"type": tarfile.LNKTYPE, "linkname": "nothing"})],
    "hard link to a link": [
        ("l", None, {"type": tarfile.SYMTYPE, "linkname": "x"}),
        ("h", None, {"type": tarfile.LNKTYPE, "linkname": "l"}),
    ],
    "device": [("d", None, {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
    "pipe": [("p", None, {"type": tarfile.FIFOTYPE})],
    "file over directory": [("d", None, {"type": tarfile.DIRTYPE}), ("d", b"x", {})],
    "directory over file": [("d", b"x", {}), ("d", None, {"type": tarfile.DIRTYPE})],
    "below a file": [("d", b"x", {}), ("d/x", b"x", {})],
    "the root as a file": [(".", b"x", {})],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_leaves_nothing(
    tmp_path: Path, members: list[tuple[str, bytes | None, dict[str, object]]]
) -> None:
    archive, sha = write(tmp_path / "a", tar_of(*members))
    releases = Releases(str(tmp_path / "h"))
    with pytest.raises(InstallError) as e:
        releases.install(archive, "web", "1.0.0", sha)
    assert e.value.code == "bad"
    assert releases.listing() == []
    assert list((tmp_path / "h" / "releases" / "web").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "h"]


BROKEN = {
    "empty": b"", "nonsense": b"nonsense" * 200, "cut": GOOD[:60], "packed nonsense": gzip.compress(b"x" * 2000),
    "cut in a header": gzip.compress(gzip.decompress(GOOD)[:700]),
    "cut between members": gzip.compress(gzip.decompress(GOOD)[:512]),
    "cut in a file": gzip.compress(gzip.decompress(GOOD)[:1030]),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_archive(tmp_path: Path, data: bytes) -> None:
    archive, _ = write(tmp_path / "a", data)
    (tmp_path / "out").mkdir()
    with pytest.raises(InstallError):
        unpack(archive, str(tmp_path / "out"))


def test_a_header_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type = tarfile.XHDTYPE
    info.size = 1 << 33
    archive, _ = write(tmp_path / "a", info.tobuf() + b"\0" * 2048)
    (tmp_path / "out").mkdir()
    with pytest.raises(InstallError):
        unpack(archive, str(tmp_path / "out"))


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_name_leaves_the_releases(name: str, version: str) -> None:
    releases = Releases("/h")
    try:
        path = releases.path(name, version)
    except InstallError:
        return
    assert os.path.normpath(path) == path and path.startswith("/h/releases/") and path.count("/") == 4


def test_an_altered_file_is_found_and_a_moved_one_is_not(tmp_path: Path) -> None:
    archive, sha = write(tmp_path / "a", GOOD)
    releases = Releases(str(tmp_path / "h"))
    releases.install(archive, "web", "1.0.0", sha)
    releases.check("web", "1.0.0", sha)
    file = Path(releases.path("web", "1.0.0")) / "data" / "words.txt"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)  # restored: another inode, the same content
    assert releases.check("web", "1.0.0")["files"]["data/words.txt"][2] == file.stat().st_ino
    file.write_bytes(b"one\n2wo\n")
    with pytest.raises(InstallError, match=r"words\.txt has other content") as e:
        releases.check("web", "1.0.0")
    assert e.value.code == "altered"
    with pytest.raises(InstallError, match="not on this host"):
        releases.check("web", "2.0.0")


def blob(controller: FakeController, data: bytes) -> dict[str, Any]:
    sha = hashlib.sha256(data).hexdigest()
    controller.blobs[sha] = data
    return {"name": "web", "version": "1.0.0", "sha256": sha, "size": len(data), "url": f"/artifacts/{sha}"}


async def test_fetch_resumes_and_verifies(agent: AgentProcess, controller: FakeController) -> None:
    noise = os.urandom(3_000_000)
    args = blob(controller, tar_of(("noise", noise, {}), ("run.sh", b"#!/bin/sh\nexec sleep 60\n", {})))
    controller.break_after = 1_000_000
    data = await controller.ok("fetch", **args)
    assert data == {"bytes": args["size"]}
    assert controller.ranges[0] == "" and controller.ranges[1].startswith("bytes=")
    assert int(controller.ranges[1][6:-1]) > 0, "it went on where it was cut"
    assert {"t": "releases", "releases": ["web/1.0.0"]} in controller.frames
    assert (agent.dir / "releases/web/1.0.0/noise").read_bytes() == noise
    assert list((agent.dir / "fetch").iterdir()) == []
    assert await controller.ok("fetch", **args) == {"bytes": 0}
    clash = await controller.command("fetch", **blob(controller, tar_of(("x", b"x", {}))))
    assert not clash["ok"] and clash["code"] == "exists"


async def test_fetch_of_what_is_not_there_or_not_true(agent: AgentProcess, controller: FakeController) -> None:
    good = blob(controller, GOOD)
    lie = "0" * 64
    controller.blobs[lie] = GOOD
    for args, code in (
        ({**good, "sha256": "1" * 64, "url": "/artifacts/" + "1" * 64}, "none"),
        ({**good, "sha256": lie, "url": f"/artifacts/{lie}"}, "digest"),
        ({**good, "size": 10}, "digest"),
        ({**good, "sha256": "short"}, "bad"),
        ({**good, "url": "https://elsewhere/"}, "bad"),
        ({**good, "name": "../web"}, "bad"),
    ):
        answer = await controller.command("fetch", **args)
        assert (answer["ok"], answer.get("code")) == (False, code), (args, answer)
    assert not (agent.dir / "releases").exists()


async def test_a_release_runs_and_an_altered_one_does_not(
    agent: AgentProcess, controller: FakeController
) -> None:
    script = f"import time\nprint('one', flush=True)\ntime.sleep(60)\n# {sys.version}\n"
    args = blob(controller, tar_of(("app/main.py", script.encode(), {})))
    artifact = {"name": "web", "version": "1.0.0", "sha256": args["sha256"]}
    facts = {
        "artifact": artifact, "directory": "app", "ports": {}, "check": None,
        "processes": {"main": [sys.executable, "main.py"]}, "restart": {"mode": "never"},
    }
    missing = await controller.command("prepare", spec=unitspec("puzzle.web/0:1", **facts))
    assert missing["code"] == "missing"
    await controller.sees("puzzle.web/0:1", state=768)
    await controller.ok("fetch", **args)
    await controller.ok("prepare", spec=unitspec("puzzle.web/0:1", **facts))
    pid = (await controller.ok("start", unit="puzzle.web/0:1"))["pid"]
    assert os.readlink(f"/proc/{pid}/cwd") == str(agent.dir / "releases/web/1.0.0/app")
    report = await controller.sees("puzzle.web/0:1", state=512)
    assert report["sha256"] == args["sha256"] and report["version"] == "1.0.0"
    await controller.ok("stop", unit="puzzle.web/0:1")
    with open(agent.dir / "releases/web/1.0.0/app/main.py", "a") as f:
        f.write("# changed\n")
    again = await controller.command("start", unit="puzzle.web/0:1")
    assert again["code"] == "altered"
    assert (await controller.sees("puzzle.web/0:1", state=768))["altered"]
    other = await controller.command("prepare", spec=unitspec("puzzle.web/0:2", **facts))
    assert other["code"] == "altered" and "main.py" in other["text"]
