"""Releases over SSH: whole or not at all, only what is not there, verified where they lie."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.ssh.releases import known_sums
from cockpit.agent.install import Releases
from cockpit.swarm.manifest import Chunks, Entry, Manifest, text
from tests.backends.ssh.world import Controller, Frame, Sshd, client_config, gateway, host_entry, spec
from tests.helpers import until


def release(dir: Path, version: str, files: dict[str, bytes], links: dict[str, str] | None = None) -> Frame:
    """A version as the controller lays it out: a directory and a manifest."""
    root = dir / f"web-{version}"
    chunks, entries = Chunks(), {}
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        for parent in [p for p in Path(name).parents if str(p) != "."]:
            entries[str(parent)] = Entry("d", str(parent))
        digest = hashlib.sha256(data).digest()
        extents = [chunks.add(digest, len(data))] if data else []
        mode = 0o755 if name.startswith("bin/") else 0o644
        entries[name] = Entry("f", name, mode=mode, size=len(data), sha256=digest, extents=extents)
    for name, target in (links or {}).items():
        entries[name] = Entry("l", name, target=target)
    ordered = [entries[name] for name in sorted(entries, key=str.encode)]
    manifest = Manifest("web", version, "any", "release", ordered, chunks)
    (dir / f"{version}.manifest").write_bytes(b"".join(text(manifest)))
    return {"sha256": manifest.sha256, "directory": str(root), "manifest": str(dir / f"{version}.manifest")}


@contextlib.asynccontextmanager
async def entered(tmp_path: Path, key: Path, server: Sshd) -> AsyncIterator[Controller]:
    async with gateway(tmp_path / "gw", client_config(tmp_path, key, [server])) as c:
        c.send({"t": "hosts", "hosts": {"h": host_entry(server, directory=str(tmp_path / "far"))}, "downlinks": {}})
        await c.host("h")
        yield c


def fetch(made: Frame, version: str) -> Frame:
    return {"name": "web", "version": version, "sha256": made["sha256"], "kind": "release"}


FILES = {
    "bin/run": b"#!/bin/sh\nexec sleep 1000\n", "lib/a b'$x": b"odd name", "empty": b"", "big": os.urandom(60_000),
}  # fmt: skip


async def test_only_what_changed_goes_over(tmp_path: Path, key: Path, server: Sshd) -> None:
    one = release(tmp_path, "1", FILES, {"run": "bin/run"})
    two = release(tmp_path, "2", {**FILES, "lib/new": b"new"})
    async with entered(tmp_path, key, server) as c:
        c.releases = {made["sha256"]: made for made in (one, two)}
        first = await c.good("h", "fetch", **fetch(one, "1"))
        assert first["bytes"] > 60_000
        assert await c.good("h", "fetch", **fetch(one, "1")) == {"bytes": 0}
        second = await c.good("h", "fetch", **fetch(two, "2"))
        assert 0 < second["bytes"] < 15_000  # a tar is padded
        far = tmp_path / "far/releases/web"
        assert (far / "2/lib/a b'$x").read_bytes() == b"odd name" and (far / "2/lib/new").read_bytes() == b"new"
        assert (far / "1/run").readlink() == Path("bin/run") and os.access(far / "1/bin/run", os.X_OK)
        assert not os.access(far / "1/empty", os.X_OK) and not list(far.glob(".*.tmp.*"))
        frames = [f for _, f in [p for u in c.frames if u["t"] == "up" for p in u["frames"]]]
        told = [f["releases"] for f in frames if f["t"] == "releases"]
        assert told[-1] == ["web/1", "web/2"]
        # an agent that comes later finds them
        assert Releases(str(tmp_path / "far")).listing() == ["web/1", "web/2"]
        Releases(str(tmp_path / "far")).check("web", "2", two["sha256"])


async def test_what_is_missing_or_other(tmp_path: Path, key: Path, server: Sshd) -> None:
    one, other = release(tmp_path, "1", FILES), release(tmp_path / "o", "1", {"x": b"y"})
    async with entered(tmp_path, key, server) as c:
        answer = await c.cmd("h", "fetch", **fetch(one, "1"))
        assert answer["code"] == "missing"
        c.releases = {one["sha256"]: one, other["sha256"]: {**one, "sha256": other["sha256"]}}
        assert (await c.cmd("h", "fetch", **fetch(other, "1")))["code"] == "digest"
        assert (await c.cmd("h", "fetch", **{**fetch(one, "1"), "version": "../1"}))["code"] == "bad"
        unsigned = await c.cmd("h", "fetch", **fetch(one, "1"), require=["qa"], signers={"qa": []}, signatures=[])
        assert unsigned["code"] == "unsigned" and "qa" in unsigned["text"]
        assert not (tmp_path / "far/releases/web").exists()
        await c.good("h", "fetch", **fetch(one, "1"))
        assert (await c.cmd("h", "fetch", **fetch(other, "1")))["code"] == "exists"


async def test_a_store_that_lies_leaves_nothing(tmp_path: Path, key: Path, server: Sshd) -> None:
    one = release(tmp_path, "1", FILES)
    (tmp_path / "web-1/big").write_bytes(os.urandom(60_000))
    async with entered(tmp_path, key, server) as c:
        c.releases = {one["sha256"]: one}
        answer = await c.cmd("h", "fetch", **fetch(one, "1"))
        assert answer["code"] == "digest" and "big" in answer["text"]
        assert not (tmp_path / "far/releases/web/1").exists()
        assert not c.units["h"] and (await c.cmd("h", "prepare", spec=unit(one)))["code"] == "missing"


async def test_an_altered_source_is_sent_again(tmp_path: Path, key: Path, server: Sshd) -> None:
    """What the other version's list promises is not there any more: the file goes over after all."""
    one, two = release(tmp_path, "1", FILES), release(tmp_path, "2", {**FILES, "lib/new": b"new"})
    async with entered(tmp_path, key, server) as c:
        c.releases = {made["sha256"]: made for made in (one, two)}
        await c.good("h", "fetch", **fetch(one, "1"))
        (tmp_path / "far/releases/web/1/big").write_bytes(b"scribble")
        assert (await c.good("h", "fetch", **fetch(two, "2")))["bytes"] > 60_000
        assert (tmp_path / "far/releases/web/2/big").read_bytes() == FILES["big"]


async def test_an_interrupted_transfer_is_no_release(tmp_path: Path, key: Path, server: Sshd) -> None:
    one = release(tmp_path, "1", {f"f{n}": os.urandom(65_000) for n in range(400)})
    async with entered(tmp_path, key, server) as c:
        c.releases = {one["sha256"]: one}
        uuid = c.opens[0]["uuid"]
        cmd = {"t": "cmd", "task": "f", "uuid": uuid, "word": "fetch", "args": fetch(one, "1")}
        c.send({"t": "to", "sid": c.sids["h"], "frame": cmd})
        far = tmp_path / "far/releases/web"
        await until(lambda: list(far.glob(".1.tmp.*/f1")))
        await c.good("h", "unfetch", sha256=one["sha256"])
        answer = await until(lambda: c.results.get("f"))
        if not answer["ok"]:  # it may have been just through
            assert answer["code"] == "stopped" and not (far / "1").exists()
        await c.good("h", "fetch", **fetch(one, "1"))
        assert (far / "1/f399").read_bytes() == (tmp_path / "web-1/f399").read_bytes()
        assert not list(far.glob(".1.tmp.*"))


def unit(made: Frame, gen: int = 1, version: str = "1") -> Frame:
    artifact = {"name": "web", "version": version, "sha256": made["sha256"]}
    return spec("p.web/0", gen, ["bin/run"], artifact=artifact, version=version)


async def test_an_altered_release_is_noticed(tmp_path: Path, key: Path, server: Sshd, monkeypatch: pytest.MonkeyPatch
                                             ) -> None:
    monkeypatch.setattr("backends.ssh.host.VERIFY", 0.1)
    monkeypatch.setattr("backends.ssh.host.QUICK", 0.3)
    one = release(tmp_path, "1", FILES)
    async with entered(tmp_path, key, server) as c:
        c.releases = {one["sha256"]: one}
        await c.good("h", "fetch", **fetch(one, "1"))
        await c.good("h", "prepare", spec=unit(one))
        await c.good("h", "start", unit="p.web/0:1")
        running = await c.unit("h", "p.web/0:1", lambda u: u["state"] == 512)
        assert running["version"] == "1" and not running["altered"]
        assert (tmp_path / "far/instances/p.web_0/release").resolve() == tmp_path / "far/releases/web/1"
        (tmp_path / "far/releases/web/1/__pycache__").mkdir()  # what is added is not an alteration
        (tmp_path / "far/releases/web/1/big").write_bytes(b"scribble")
        altered = await c.unit("h", "p.web/0:1", lambda u: u["altered"])
        assert "big" in altered["altered"]
        assert (await c.cmd("h", "prepare", spec=unit(one, 2)))["code"] == "altered"
        await c.good("h", "stop", unit="p.web/0:1")


def test_sums() -> None:
    digest = "a" * 64
    listing = f"of .1.sums\n{digest}  ./lib/x y\nshort\nof .2.tmp.ab.sums\n{'b' * 64}  ./z\nend\n"
    assert known_sums(listing) == {digest: "1/lib/x y"}
