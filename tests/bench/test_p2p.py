"""The pure parts of what measures the swarm. Nothing is measured here."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from cockpit.artifacts.opening import open_store
from tests.bench import delta
from tests.bench.p2p.field import Clock, Link, bound
from tests.bench.p2p.rivals import bencode
from tests.house import tree

MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    ("links", "source", "wan", "helpers", "seconds"),
    [
        ([Link(8, 8)] * 4, 8, 0, [], 1.0),  # the source's own link
        ([Link(8, 8), Link(8, 2)], 8, 0, [], 4.0),  # the slowest receiver
        ([Link(1, 100)] * 8, 8, 0, [], 4.0),  # all uplinks together: 64 Mbit by 16 Mbit/s
        ([Link(8, 8)] * 4, 8, 4, [Link(8, 8)], 2.0),  # the WAN
        ([Link(1, 100)] * 8, 8, 0, [Link(16, 16)], 2.0),  # a relay sends too
        ([Link(0, 0)] * 4, 0, 0, [], 0.0),  # nothing is limited
    ],
)
def test_the_bound(links: list[Link], source: float, wan: float, helpers: list[Link], seconds: float) -> None:
    assert bound(MEGABYTE, source, links, wan, helpers) == pytest.approx(seconds)


def test_how_busy_it_was() -> None:
    assert Clock(150, 400).since(Clock(100, 200)) == 0.25


def test_what_bittorrent_reads() -> None:
    assert bencode({"b": [1, "x"], "a": {"c": b"\0"}}) == b"d1:ad1:c1:\0e1:bli1e1:xee"


def test_a_scenario_that_is_not_there() -> None:
    argv = [sys.executable, "-m", "tests.bench.p2p", "nonsense"]
    done = subprocess.run(argv, cwd=tree.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no scenario 'nonsense'; there are 8, 16," in done.stderr


def test_what_a_next_version_costs(tmp_path: Path) -> None:
    store = open_store(tmp_path / "state")
    old, new = tmp_path / "old", tmp_path / "new"
    for root, extra in ((old, b""), (new, b"more")):
        root.mkdir()
        (root / "same").write_bytes(random.Random(1).randbytes(300_000))
        (root / "other").write_bytes(b"content" + extra)
    found = delta.compared(store, store.add(old, "x", "1"), store.add(new, "x", "2"))
    assert found.pieces == len(b"contentmore")
    assert found.whole >= 300_000
    assert found.tar == 307_200  # two files of 512 + 300,032 and 512 + 512 bytes, and an end, in blocks of 10 KiB
    assert 0 < found.manifest < 400
    assert found.chunks == found.pieces + found.manifest + found.layout


def test_a_made_up_bundle_is_the_same_each_time(tmp_path: Path) -> None:
    for name, version in (("a", 1), ("b", 1), ("c", 2)):
        delta.made_up(tmp_path / name, version)
    a, b, c = ({str(p.relative_to(tmp_path / n)): p.read_bytes() for p in (tmp_path / n).glob("*/*")} for n in "abc")
    assert a == b
    assert {path.partition("/")[0] for path in a if a[path] != c[path]} == {"package0", "package1"}
