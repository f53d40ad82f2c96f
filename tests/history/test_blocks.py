"""Blocks of keyframes, formats of files, and what a killed writer leaves."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.history import blocks
from cockpit.history.blocks import Base, Block, packed
from cockpit.history.frames import KEY, KEY_END, STOPPED, pack, segment_name, segments
from cockpit.history.reading import History
from cockpit.history.recording import Recorder
from cockpit.history.writing import ASIDE, SLICE, Limits
from cockpit.model.history_rows import TABLES
from cockpit.model.view import Delta, InstanceRow
from cockpit.plan.steps import Bad
from tests.history.test_files import HEAD, begun
from tests.history.test_round_trip import hosts, instances
from tests.screens.puzzle import NOW, instance, snapshot


@settings(max_examples=60, deadline=None)
@given(st.lists(instances, min_size=1, max_size=6), st.lists(hosts, min_size=1, max_size=6))
def test_rows_come_back(some: list[Any], others: list[Any]) -> None:
    for table, rows in (("instances", some), ("hosts", others)):
        keys = [f"k{n}" for n in range(len(rows))]
        block = Block(packed(table, keys, rows), 2)
        assert (block.table, block.keys, block.rows()) == (table, keys, rows)


def test_every_table_comes_back() -> None:
    first = snapshot()
    base = Base()
    for table in TABLES:
        rows = getattr(first, table)
        if rows:
            base.add(Block(packed(table, list(rows), list(rows.values())), 2))
    for table in TABLES:
        rows = getattr(first, table)
        assert base.rows(table) == rows
        assert {key: base.row(table, key) for key in rows} == rows
    assert base.row("instances", "nobody") is None


def test_fields_of_another_version() -> None:
    """More than ours are left out, those with a default may lack; without an id there is no row."""
    row = instance("p.web", 0, "a", "1")
    same, each, _ = split(packed("instances", ["x", "y"], [row, msgspec.structs.replace(row, pid=7)]))
    block = joined("instances", ["x", "y"], {**same, "mood": "good"}, {**each, "moods": [1, 2]})
    assert [r.pid for r in Block(block, 2).rows()] == [row.pid, 7]
    fewer = {f: v for f, v in same.items() if f != "health"}
    assert [r.health for r in Block(joined("instances", ["x", "y"], fewer, each), 2).rows()] == ["none"] * 2
    del same["id"]
    with pytest.raises(TypeError, match="id"):
        Block(joined("instances", ["x", "y"], same, each), 2).rows()
    with pytest.raises(ValueError, match="different lengths"):
        Block(joined("instances", ["x", "y"], fewer, {"pid": [1]}), 2).rows()


def split(payload: bytes) -> tuple[dict[str, Any], dict[str, Any], str]:
    table, _, same, each = msgspec.msgpack.decode(zlib.decompress(payload))
    return same, each, table


def joined(table: str, keys: list[str], same: dict[str, Any], each: dict[str, Any]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode((table, keys, same, each)))


def test_what_unpacks_to_too_much_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LARGEST", 1000)
    with pytest.raises(zlib.error, match="too large"):
        blocks.unpacked(zlib.compress(b"x" * 1001))
    assert blocks.unpacked(zlib.compress(b"x" * 1000)) == b"x" * 1000


def test_files_of_the_first_format_are_read(tmp_path: Path) -> None:
    """Their keyframes stand row by row, with all fields; changes are as they are now."""
    place = tmp_path / "history"
    writer = begun(place, NOW + 100)
    row = snapshot().instances["puzzle.web/0"]
    first = {"head": {"cluster": "c", "revision": 1, "digest": ""}, "notices": ["old"], "why": ""}
    raws = [msgspec.msgpack.encode(each) for each in (first, ("instances", [row.id], [row]))]
    frames = [pack(KEY, NOW, NOW, payload=zlib.compress(raw)) for raw in raws]
    (place / segment_name(0, NOW)).write_bytes(
        b"".join([b"COCKPIT-HISTORY 1\n", *frames, pack(KEY_END, NOW, NOW), pack(STOPPED, NOW + 9, NOW + 9)])
    )
    history = History(place)
    _, notices, tables = history.state(NOW + 5)
    assert tables["instances"] == {row.id: row} and notices == ("old",)
    assert history.state(NOW + 100)[2]["instances"][row.id] == row
    writer.stop(NOW + 101)


def test_files_of_a_later_format_are_set_aside_and_said(tmp_path: Path) -> None:
    place = tmp_path / "history"
    begun(place).stop(NOW)
    later = place / segment_name(2, NOW + 5)
    later.write_bytes(b"COCKPIT-HISTORY 3\nwhat we do not know")
    (place / segment_name(3, NOW + 6)).write_bytes(b"")  # torn at its very beginning: one of ours
    recorder = Recorder(None, place, Limits(), floor=0)  # type: ignore[arg-type]
    assert recorder.notices() == ()
    writer = recorder.writer
    first = snapshot()
    writer.begin({name: dict(getattr(first, name)) for name in TABLES}, msgspec.structs.replace(HEAD, now=NOW + 9),
                 (), "")
    (said,) = recorder.notices()
    assert said.startswith("state history: 1 file is of a later version's format (this one reads 1 and 2)")
    aside = later.with_name(later.name + ASIDE)
    assert aside.read_bytes() == b"COCKPIT-HISTORY 3\nwhat we do not know" and not later.exists()
    writer.limits = Limits(days=0.001, size=1)
    writer.retain(NOW + 1e6)
    assert aside.exists() and len(segments(place)) == 1


def test_a_storm_is_one_moment(tmp_path: Path) -> None:
    """More rows at once than are spelled in one go."""
    writer = begun(tmp_path / "history")
    rows: dict[str, InstanceRow | None] = {
        row.id: row for n in range(2 * SLICE + 7) for row in [instance("puzzle.web", n, "sh-1", "2.0.0")]
    }
    delta = Delta(head=msgspec.structs.replace(HEAD, now=NOW + 1), instances=rows)
    writer.write([delta, msgspec.structs.replace(delta, head=msgspec.structs.replace(HEAD, now=NOW + 2))], NOW + 2)
    after = msgspec.structs.replace(HEAD, now=NOW + 3)
    writer.write([Delta(head=after, instances=dict.fromkeys(rows))], NOW + 3)
    history = History(tmp_path / "history")
    state = history.state(NOW + 2)[2]["instances"]
    assert {k: state[k] for k in rows} == rows
    assert history.state(NOW + 3)[2]["instances"].keys() & rows.keys() == set()


WRITER = """
import itertools, sys
from pathlib import Path
from tests.history.test_files import NOW, begun, delta, instances
from cockpit.history import writing
writing.MANY = 50
writer = begun(Path(sys.argv[1]))
for n in itertools.count(1):
    writer.write([delta(NOW + n, instances=instances(pid=n)) for _ in range(3)], NOW + n)
    if n % 60 == 0:
        writer.rotate(NOW + n + 0.5)
    print(n, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 30, 59, 60, 130])
def test_a_writer_that_is_killed_loses_at_most_the_last_word(tmp_path: Path, lines: int) -> None:
    """kill -9 at any point of a segment, also while a keyframe is written: what was said to be written is there."""
    place = tmp_path / "history"
    argv = [sys.executable, "-c", WRITER, str(place)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        said = [int(line) for line in itertools.islice(process.stdout, lines)]
        process.kill()
        said += [int(line) for line in process.stdout]
    assert process.returncode == -signal.SIGKILL and len(said) >= lines
    history = History(place)
    for n in (said[0], said[len(said) // 2], said[-1]):
        assert history.state(NOW + n)[2]["instances"]["puzzle.web/0"].pid == n
    end = history.range()[1]
    assert end >= NOW + said[-1]
    again = begun(place, end + 100)
    assert History(place).spans()[-1].gap is not None
    again.stop(end + 101)


def test_a_part_that_went_away_is_said(tmp_path: Path) -> None:
    place = tmp_path / "history"
    writer = begun(place)
    writer.write([Delta(head=msgspec.structs.replace(HEAD, now=NOW + 1), instances={"puzzle.web/0": None})], NOW + 1)
    history = History(place)
    spans = history.spans()
    loaded = history.load(spans[0].path)
    spans[0].path.unlink()
    with pytest.raises(Bad, match="this part of the state history cannot be read"):
        loaded.until(NOW + 1)
