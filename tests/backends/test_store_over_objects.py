"""The whole store over each backend: a version is added, found elsewhere, served, verified and collected."""

from __future__ import annotations

from pathlib import Path

import pytest

from cockpit.artifacts.care import collect, verify
from cockpit.artifacts.opening import open_store
from cockpit.artifacts.store import Exists, Store
from tests.backends.conftest import Opener


@pytest.fixture
def release(tmp_path: Path) -> Path:
    path = tmp_path / "release"
    path.mkdir()
    (path / "run").write_bytes(bytes(range(256)) * 700)
    return path


def test_from_add_to_collect(opener: Opener, release: Path, tmp_path: Path) -> None:
    one, other = Store(opener(), tmp_path / "work-1"), Store(opener(), tmp_path / "work-2")
    first = one.add(release, "web", "1.0.0", now=1.0)
    assert other.find("web", "1.0.0") == first and other.add(release, "web", "1.0.0") == first
    (release / "run").write_bytes(b"2" + bytes(range(256)) * 700)
    with pytest.raises(Exists):
        other.add(release, "web", "1.0.0")
    second = other.add(release, "web", "2.0.0", now=2.0)
    assert list(one.listing()) == ["web/1.0.0", "web/2.0.0"]
    files = one.files(second["sha256"], second["layout"])
    assert files.pack.stat().st_size == second["packed"]
    assert [f.why for f in verify(one)] == ["", ""]
    assert collect(one, set(), now=1e10, newest=1).versions == ("web/1.0.0",)
    assert list(Store(opener(), tmp_path / "work-3").listing()) == ["web/2.0.0"]
    assert {o.key.split("/")[0] for o in one.objects.list("")} == {"index", "layouts", "manifests", "packs"}


def test_a_state_that_names_a_bucket(bucket: str, release: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "store.toml").write_text(f'location = "{bucket}"\n')
    store = open_store(tmp_path / "state")
    store.add(release, "web", "1.0.0")
    assert [f.why for f in verify(store)] == [""]
    inside = {p.relative_to(tmp_path / "state").parts[:3] for p in (tmp_path / "state").rglob("*") if p.is_file()}
    assert inside == {("store.toml",), ("artifacts", "cache", "packs")}, "only what was read is here"
