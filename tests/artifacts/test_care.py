"""Retention, collection, verification, and the choice of the store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.directory import DirectoryObjects
from cockpit.artifacts.care import Finding, collect, verify
from cockpit.artifacts.opening import BadLocation, open_store
from cockpit.artifacts.packed import Damaged
from cockpit.artifacts.retention import DAY, superfluous
from cockpit.artifacts.store import LEFTOVER, Store
from cockpit.controller.retaining import roots, unheard
from tests.artifacts.test_store import keys, opened, release, store  # noqa: F401

NOW = 1_000 * DAY


def record(name: str, version: str, age: float) -> dict[str, Any]:
    return {"name": name, "version": version, "added": NOW - age * DAY}


def test_the_newest_and_the_young_stay() -> None:
    records = [record("web", f"1.{n}", 100 - n) for n in range(8)] + [record("db", "1", 500), record("db", "2", 10)]
    assert superfluous(records, set(), now=NOW, newest=5, days=30) == ["web/1.0", "web/1.1", "web/1.2"]
    assert superfluous(records, {"web/1.1"}, now=NOW, newest=5, days=30) == ["web/1.0", "web/1.2"]
    assert superfluous(records, set(), now=NOW, newest=0, days=99) == ["db/1", "web/1.0", "web/1.1"]
    assert superfluous(records, set(), now=NOW, newest=1, days=0) == ["db/1", *(f"web/1.{n}" for n in range(7))]
    assert superfluous([], {"web/1"}, now=NOW) == []


@given(
    ages=st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 99)), max_size=20), newest=st.integers(0, 5),
    days=st.floats(0, 99), kept=st.sets(st.integers(0, 19)),
)
def test_what_must_stay_stays(ages: list[tuple[str, float]], newest: int, days: float, kept: set[int]) -> None:
    records = [record(name, f"1.{n}", age) for n, (name, age) in enumerate(ages)]
    ids = [f"{r['name']}/{r['version']}" for r in records]
    keep = {ids[n] for n in kept if n < len(ids)}
    gone = superfluous(records, keep, now=NOW, newest=newest, days=days)
    assert not set(gone) & keep and set(gone) <= set(ids)
    assert all(age >= days * 0.999 for id, (_, age) in zip(ids, ages, strict=True) if id in gone)
    for name in "ab":
        mine = [id for id in ids if id.startswith(name)]
        assert len([id for id in mine if id not in gone]) >= min(newest, len(mine))


def test_roots_are_what_is_installed_or_named_anywhere() -> None:
    records = {f"{n}/{v}": {"version": v} for n in ("web", "db") for v in ("1.0", "1.1", "1.2", "1.3")}
    documents = [{"services": {"web": {"version": "1.1"}}}, [("old", None), ["1.2", 3]], None, "1"]
    assert roots(records, ["web/1.0", "gone/9"], documents) == {
        "web/1.0", "gone/9", "web/1.1", "db/1.1", "web/1.2", "db/1.2"
    }  # fmt: skip
    assert unheard(["a", "b", "c"], ["b", "z"]) == ["a", "c"]


def versions(store: Store, release: Path, count: int) -> list[dict[str, Any]]:  # noqa: F811
    found = []
    for number in range(count):
        (release / "run").write_text(f"{number}")
        found.append(store.add(release, "web", f"1.{number}", now=NOW - (count - number) * 10 * DAY))
    return found


def test_collect_deletes_what_belongs_to_nobody_else(store: Store, release: Path) -> None:  # noqa: F811
    records = versions(store, release, 4)
    for r in records:
        store.add_signature("web", r["version"], "qa", "ab", {"role": "qa"})
    shas = [r["sha256"] for r in records]
    patch = store.keep(release, store.manifest(shas[3]))  # stands for a patch: a manifest of its own layout
    store.add_patch(shas[0], shas[3], {"sha256": shas[3], "layout": patch.layout, "size": 1})
    store.add_patch(shas[1], shas[3], {"sha256": shas[3], "layout": patch.layout, "size": 1})
    before = keys(store)
    would = collect(store, {"web/1.1"}, now=NOW, newest=1, days=15, dry_run=True)
    assert would.versions == ("web/1.0", "web/1.2") and keys(store) == before
    assert collect(store, {"web/1.1"}, now=NOW, newest=1, days=15) == would
    after = keys(store)
    assert len(before) - len(after) == would.objects == 2 * 6 + 1
    assert list(store.listing()) == ["web/1.1", "web/1.3"] == list(opened(store.work.parent).listing())
    assert not any(shas[0] in key or shas[2] in key for key in after)
    assert store.patch(shas[1], shas[3]) is not None and f"packs/{shas[3]}-{patch.layout}" in after
    assert all(not f.why for f in verify(store))
    assert collect(store, {"web/1.1"}, now=NOW, newest=1, days=15).objects == 0
    (release / "run").write_text("0")
    assert store.add(release, "web", "1.0")["sha256"] == shas[0], "what was deleted may come again"


def test_remains_go_when_they_are_old(store: Store, release: Path) -> None:  # noqa: F811
    store.add(release, "web", "1.0")
    young, old = f"manifests/{'a' * 64}", f"packs/{'b' * 64}-{'c' * 64}"
    for key in (young, old):
        store.objects.put_once(key, b"x")
    (store.work / ".incoming-broken-off").mkdir()
    (store.work / ".incoming-broken-off" / "f").write_text("1")
    now = os.stat(store.objects.file(young)).st_mtime + 1
    for path in (store.objects.file(old), store.work / ".incoming-broken-off"):
        os.utime(path, (now - LEFTOVER - 9, now - LEFTOVER - 9))
    found = collect(store, set(), now=now)
    assert (found.versions, found.objects, found.bytes) == ((), 1, 1)
    assert young in keys(store) and old not in keys(store) and list(store.work.iterdir()) == []


def test_nothing_goes_while_a_record_is_damaged(store: Store, release: Path) -> None:  # noqa: F811
    versions(store, release, 3)
    store.objects.delete("index/web/1.0.json")
    store.objects.put_once("index/web/1.0.json", b"{}")
    other = opened(store.work.parent)
    before = keys(other)
    with pytest.raises(Damaged):
        collect(other, set(), now=NOW + 999 * DAY, newest=0, days=0)
    assert keys(other) == before


def test_verify_names_every_damage_and_goes_on(store: Store, release: Path) -> None:  # noqa: F811
    records = versions(store, release, 4)
    assert list(verify(store)) == [Finding(f"web/1.{n}", "") for n in range(4)]
    pack = store.objects.file(f"packs/{records[0]['sha256']}-{records[0]['layout']}")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    store.objects.delete(f"manifests/{records[1]['sha256']}")
    store.objects.delete("index/web/1.2.json")
    store.objects.put_once("index/web/1.2.json", b"{}")
    found = list(verify(opened(store.work.parent)))
    assert [f.id for f in found if f.why] == ["web/1.0", "web/1.1", "web/1.2"]
    assert "piece" in found[0].why and "missing" in found[1].why and "damaged" in found[2].why


def test_a_record_that_tells_of_another_size(store: Store, release: Path) -> None:  # noqa: F811
    [found] = versions(store, release, 1)
    store.objects.delete("index/web/1.0.json")
    store.objects.put_once("index/web/1.0.json", json.dumps(found | {"size": 1}).encode())
    [finding] = verify(opened(store.work.parent))
    assert "tell different things" in finding.why


def test_the_store_of_a_state(tmp_path: Path, release: Path) -> None:  # noqa: F811
    found = open_store(tmp_path / "state")
    assert isinstance(found.objects, DirectoryObjects)
    found.add(release, "web", "1")
    assert (tmp_path / "state" / "artifacts" / "index" / "web" / "1.json").is_file()
    (tmp_path / "state" / "store.toml").write_text(f'location = "{tmp_path / "elsewhere"}"\n')
    assert open_store(tmp_path / "state").listing() == {}
    assert (tmp_path / "elsewhere").is_dir()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("location", "store.toml: "), ("x = 1", "unknown key 'x'"), ("", "must be text"),
        ("location = 1", "must be text"),
        ('location = "ftp://x"', "no backend 'ftp'; known are .*s3"), ('location = "s3://"', "BUCKET"),
        ('location = "s3://bucket?x=1"', "store.toml: .*unknown option 'x'"),
    ],
)  # fmt: skip
def test_bad_locations(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "store.toml").write_text(text)
    with pytest.raises(BadLocation, match=why):
        open_store(tmp_path)
