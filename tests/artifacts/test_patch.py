"""Making patches: what is compared with what, and that it always leads there."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.artifacts import patch as module
from cockpit.artifacts.partners import new_text, old_text, partners, tasks
from cockpit.artifacts.patch import PatchUnavailable, make
from cockpit.swarm.assemble import install
from cockpit.swarm.holdings import Holdings
from cockpit.swarm.patching import Patch
from tests.swarm.handmade import Made

RNG = random.Random(5)


@pytest.mark.parametrize(("new", "old"), [
    ("lib/a.py", "lib/a.py"),
    ("web-1.1.0.dist/RECORD", "web-1.0.0.dist/RECORD"),
    ("other/libx.so.13.2", "lib/libx.so.12.7"),
    ("lib/module_name_two.py", "lib/module_name_one.py"),
    ("zzz.txt", None),
])  # fmt: skip
def test_partners(new: str, old: str | None) -> None:
    have = ["lib/a.py", "lib/b.py", "lib/libx.so.12.7", "lib/module_name_one.py", "web-1.0.0.dist/RECORD"]
    assert partners(have, ["lib/b.py", new]).get(new) == old


BLOCKS = [RNG.randbytes(16384) for _ in range(6)]
PIECE = st.sampled_from(BLOCKS) | st.binary(min_size=1, max_size=99)
PARTS = st.lists(PIECE, max_size=6).map(b"".join)
TREES = st.dictionaries(st.sampled_from(["a", "b1", "b2", "c.so.1", "c.so.2", "d"]), PARTS, min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(TREES, TREES, st.sampled_from([1 << 25, 50_000, 20_000, 4000]))
def test_the_tasks_make_the_whole_text_once(old: dict[str, Any], new: dict[str, Any], largest: int) -> None:
    before, after = Made(old), Made(new, "2")
    one = old_text(before.manifest)
    two = new_text(before.manifest, after.manifest)
    at = 0
    for task in tasks(one, two, largest=largest):
        assert task.start == at < task.end
        at = task.end
        assert all(0 <= a < b <= one.size for a, b in task.old)
        assert sum(b - a for a, b in task.old if not task.same) <= max(2 * largest, 1)
        assert not task.same or [b - a for a, b in task.old] == [task.end - task.start]
    assert at == two.size


def leads_there(tmp_path: Path, old: Made, new: Made, **options: Any) -> module.Made:
    made = make(old.manifest, old.read, new.manifest, new.read, tmp_path / "patch", **options)
    host = tmp_path / "host"
    host.mkdir()
    install(str(host), old.manifest, Holdings(str(host), "web"), old.read)
    release = str(host / "releases/web" / old.manifest.version)
    with Patch(str(tmp_path / "patch"), release, old.manifest, new.manifest) as p:
        install(str(host), new.manifest, Holdings(str(host), "web"), patch=p)
    assert made.size == (tmp_path / "patch").stat().st_size
    assert {p.name for p in tmp_path.iterdir()} == {"patch", "host"}
    assert (tmp_path / "patch").stat().st_mode & 0o777 == 0o600
    return made


@settings(max_examples=12, deadline=None)
@given(TREES, TREES, st.sampled_from([1 << 25, 50_000]))
def test_every_patch_leads_there(
    tmp_path_factory: pytest.TempPathFactory, old: dict[str, Any], new: dict[str, Any], largest: int
) -> None:
    leads_there(tmp_path_factory.mktemp("patch"), Made(old), Made(new, "2"), largest=largest)


def test_a_file_too_large_to_compare_costs_what_changed(tmp_path: Path) -> None:
    big = RNG.randbytes(2_000_000)
    new = big[:700_000] + b"changed" + big[700_007:1_500_000] + b"and more" + big[1_500_000:]
    made = leads_there(tmp_path, Made({"f": big}), Made({"f": new}, "2"), largest=400_000)
    assert made.skipped == 0
    assert made.size < 60_000, "the fixed chunks of this test move after an insertion"


def test_what_takes_too_long_is_put_in_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], **options: Any) -> None:
        assert options["timeout"] == 0.5
        raise subprocess.TimeoutExpired(argv, 0.5)

    monkeypatch.setattr(subprocess, "run", run)
    old = RNG.randbytes(30_000)
    made = leads_there(tmp_path, Made({"f": old}), Made({"f": old + b"x"}, "2"), timeout=0.5)
    assert made.skipped == 30_001 and made.size > 30_000


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available", lambda: False)
    one = Made({"f": b"x"})
    with pytest.raises(PatchUnavailable, match=r"cockpit-ops\[patch\]"):
        make(one.manifest, one.read, one.manifest, one.read, tmp_path / "patch")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def read(index: int) -> bytes:
        raise RuntimeError("damaged")

    one, two = Made({"f": b"x"}), Made({"f": b"y"}, "2")
    with pytest.raises(RuntimeError, match="damaged"):
        make(one.manifest, one.read, two.manifest, read, tmp_path / "patch")
    assert list(tmp_path.iterdir()) == []
