"""A lost store is made anew from what hosts have installed and the manifests beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cockpit.artifacts.care import verify
from cockpit.artifacts.opening import open_store
from cockpit.controller.recover import _artifacts
from cockpit.plan.steps import Bad
from cockpit.swarm.manifest import text
from cockpit.swarm.records import facts_path, manifest_path, release_path, write_manifest


@pytest.fixture
def release(tmp_path: Path) -> Path:
    path = tmp_path / "release"
    (path / "lib" / "empty").mkdir(parents=True)
    (path / "run").write_bytes(bytes(range(256)) * 800)
    (path / "run").chmod(0o755)
    (path / "now").symlink_to("lib")
    with (path / "hole").open("wb") as f:
        f.truncate(1_000_000)
    return path


def installed(host: Path, release: Path, record: dict[str, Any], lines: Any) -> Path:
    """As an agent leaves it, and a program that wrote beside its files."""
    name, version = record["name"], record["version"]
    target = Path(release_path(str(host), name, version))
    shutil.copytree(release, target, symlinks=True)
    write_manifest(manifest_path(str(host), name, version), lines)
    Path(facts_path(str(host), name, version)).write_text(json.dumps({"sha256": record["sha256"], "files": {}}))
    (target / "__pycache__").mkdir()
    (target / "__pycache__" / "x.pyc").write_text("1")
    return target


def test_the_same_digests(tmp_path: Path, release: Path) -> None:
    store = open_store(tmp_path / "old")
    first = store.add(release, "web", "1.0.0", platform="arm64")
    one = installed(tmp_path / "hosts" / "a", release, first, text(store.manifest(first["sha256"])))
    installed(tmp_path / "hosts" / "b", release, first, text(store.manifest(first["sha256"])))
    (one / "run").write_bytes(b"altered" * 30_000)  # on one host only: the other one's is taken
    (release / "run").write_text("2")
    second = store.add(release, "geo", "2", kind="data")
    installed(tmp_path / "hosts" / "b", release, second, text(store.manifest(second["sha256"])))
    said: list[str] = []
    _artifacts(tmp_path / "new", tmp_path / "hosts", said.append)
    again = open_store(tmp_path / "new")
    differ = {"added"}
    assert [{k: v for k, v in r.items() if k not in differ} for r in again.listing().values()] == [
        {k: v for k, v in r.items() if k not in differ} for r in store.listing().values()
    ]
    assert all(not f.why for f in verify(again))
    assert sorted(said) == ["artifact geo/2: in the store again", "artifact web/1.0.0: in the store again"]
    _artifacts(tmp_path / "new", tmp_path / "hosts", said.append)
    assert len(again.listing()) == 2


@pytest.mark.parametrize("damage", ["altered", "gone", "manifest", "other manifest", "facts"])
def test_what_is_not_as_it_was_is_left_out(tmp_path: Path, release: Path, damage: str) -> None:
    store = open_store(tmp_path / "old")
    record = store.add(release, "web", "1.0.0")
    other = store.add(release, "web", "2.0.0")
    host = tmp_path / "hosts" / "a"
    target = installed(host, release, record, text(store.manifest(record["sha256"])))
    beside = Path(manifest_path(str(host), "web", "1.0.0"))
    if damage == "altered":
        data = (target / "run").read_bytes()
        (target / "run").write_bytes(b"x" + data[1:])
    elif damage == "gone":
        (target / "now").unlink()
        (target / "hole").unlink()
    elif damage == "manifest":
        beside.write_bytes(beside.read_bytes()[:-20])
    elif damage == "other manifest":
        write_manifest(str(beside), text(store.manifest(other["sha256"])))
    else:
        Path(facts_path(str(host), "web", "1.0.0")).write_text("[")
    said: list[str] = []
    _artifacts(tmp_path / "new", tmp_path / "hosts", said.append)
    found = open_store(tmp_path / "new")
    if damage == "facts":  # the manifest and the files are what counts
        assert found.need("web", "1.0.0")["sha256"] == record["sha256"]
    else:
        assert found.listing() == {} and not list(found.objects.list(""))
        assert len(said) == 1 and "could not be taken (" in said[0] and "cockpit artifact add" in said[0]


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "store.toml").write_text("x")
    with pytest.raises(Bad, match=r"store\.toml"):
        _artifacts(tmp_path, tmp_path / "hosts", print)
