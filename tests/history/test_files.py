"""Torn tails, rotation, limits, a full disk: what is whole is read, and nothing else matters."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cockpit.history import writing
from cockpit.history.frames import (
    BEAT,
    FIRST_LINE,
    KEY,
    KEY_END,
    ROTATED,
    STOPPED,
    pack,
    scan,
    segment_name,
    segments,
)
from cockpit.history.lives import life
from cockpit.history.reading import SLACK, History
from cockpit.history.writing import BEAT_AFTER, SLOW_EVERY, Limits, NoRoom, Writer
from cockpit.model.history_rows import TABLES
from cockpit.model.view import Delta, HostRow, InstanceRow
from cockpit.plan.steps import Bad
from tests.screens.puzzle import NOW, instance, snapshot

HEAD = snapshot().head


def instances(**fields: Any) -> dict[str, InstanceRow]:
    row = instance("puzzle.web", 0, "sh-1", "1.0.0", **fields)
    return {row.id: row}


def delta(at: float, **tables: Any) -> Delta:
    return Delta(head=msgspec.structs.replace(HEAD, now=at), **tables)


def begun(directory: Path, at: float = NOW, why: str = "", **options: Any) -> Writer:
    limits = options.pop("limits", Limits())
    writer = Writer(directory, limits, floor=options.pop("floor", 0), **options)
    first = snapshot()
    tables = {name: dict(getattr(first, name)) for name in TABLES}
    writer.begin(tables, msgspec.structs.replace(HEAD, now=at), (), why)
    return writer


def pid(history: History, at: float) -> int | None:
    found: InstanceRow = history.state(at)[2]["instances"]["puzzle.web/0"]
    return found.pid


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "history"


def test_only_its_owner_reads_it(place: Path) -> None:
    old = os.umask(0)
    try:
        begun(place).stop(NOW)
    finally:
        os.umask(old)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [stat.S_IMODE(p.stat().st_mode) for p in segments(place)] == [0o600]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 4000), flip=st.booleans())
def test_a_torn_tail_takes_only_itself(tmp_path_factory: pytest.TempPathFactory, cut: int, flip: bool) -> None:
    place = tmp_path_factory.mktemp("torn") / "history"
    writer = begun(place)
    ends = {NOW: writer._size}
    for n in range(1, 9):
        writer.write([delta(NOW + n, instances=instances(pid=n))], NOW + n)
        ends[NOW + n] = writer._size
    path = segments(place)[0]
    data = path.read_bytes()
    kept = max(0, len(data) - cut)
    damaged = bytes([data[kept] ^ 0x55]) + data[kept + 1 :] if flip and kept < len(data) else b""
    path.write_bytes(data[:kept] + damaged)
    history = History(place)
    whole = [at for at, end in ends.items() if end <= kept]
    if not whole:
        with pytest.raises(Bad, match="no state history"):
            history.state(NOW)
        return
    assert history.range() == (NOW, whole[-1])
    for at in whole[1:]:
        assert pid(history, at) == int(at - NOW)
    # the next controller begins anew, and says what is missing
    begun(place, NOW + 60).stop(NOW + 61)
    (gap,) = History(place).moments(NOW, NOW + 100, 1).gaps
    assert (gap.start, gap.end, gap.why) == (whole[-1], NOW + 60, "the controller ended without a word")


def test_frames_of_a_stranger_are_nothing() -> None:
    assert list(scan(b"something else")) == []
    assert list(scan(b"")) == []


def test_what_only_moves_is_no_change(place: Path) -> None:
    writer = begun(place)
    size = writer._size
    host = snapshot().hosts["sh-1"]
    writer.write([delta(NOW + 1, instances=instances(observed=NOW), hosts={"sh-1": msgspec.structs.replace(
        host, seen=NOW + 1, latency=0.5)})], NOW + 1)
    assert writer.changes == 1 and writer._size > size  # of the instance the version, too
    size = writer._size
    writer.write([delta(NOW + 2, instances=instances(observed=NOW + 2))], NOW + 2)
    assert writer.changes == 1 and writer._size == size


def test_naming_that_hosts_follow_is_written_now_and_then(place: Path) -> None:
    writer = begun(place)
    writer.write([], NOW)  # the first look
    row: HostRow = snapshot().hosts["sh-1"]
    for n in range(1, 5):
        row = msgspec.structs.replace(row, names_applied=17 + n)
        writer.write([delta(NOW + n, hosts={"sh-1": row})], NOW + n)
    assert writer.changes == 0
    writer.write([], NOW + SLOW_EVERY)
    history = History(place)
    assert history.state(NOW + SLOW_EVERY)[2]["hosts"]["sh-1"].names_applied == 21
    assert history.step(NOW, way=1).near == ()  # and is nothing to stop at


def test_silence_is_told_from_absence(place: Path) -> None:
    writer = begun(place)
    for n in range(1, 40):
        writer.write([], NOW + n)
    kinds = [f.kind for f in History(place).spans()[0].seen.frames]
    assert kinds.count(BEAT) == int(39 / BEAT_AFTER)
    writer.drop()
    begun(place, NOW + 39 + SLACK * 2).stop(NOW + 100)
    gap = History(place).spans()[-1].gap
    assert gap is not None and (gap.start, gap.end) == (NOW + 35, NOW + 39 + SLACK * 2)


def test_segments_follow_each_other_without_a_gap(place: Path) -> None:
    writer = begun(place, longest=10.0)
    for n in range(1, 35):
        writer.write([delta(NOW + n, instances=instances(pid=n))], NOW + n)
    writer.stop(NOW + 34)
    history = History(place)
    spans = history.spans()
    assert len(spans) == 4
    assert [s.gap for s in spans] == [None] * 4
    assert [s.seen.end for s in spans] == [ROTATED] * 3 + [STOPPED]
    assert [pid(history, NOW + n) for n in range(1, 35)] == list(range(1, 35))
    found = life(history, "instance", "puzzle.web/0")
    assert [e.at for e in found.events] == [NOW + n for n in range(1, 35)]
    assert found.events[1].before == "pid 1" and found.events[1].after == "pid 2"
    short = life(history, "instance", "puzzle.web/0", limit=5)
    assert [e.at for e in short.events] == [NOW + n for n in range(30, 35)]


def test_the_oldest_go_first(place: Path) -> None:
    """By size and by age; the one that is written stays whatever it takes."""
    writer = begun(place, longest=5.0, limits=Limits(days=1.0, size=64 * 2**20))
    for n in range(1, 12):
        writer.write([delta(NOW + n, instances=instances(pid=n))], NOW + n)
    assert len(segments(place)) == 3
    each = segments(place)[0].stat().st_size
    writer.limits = Limits(days=1.0, size=2 * each)
    writer.retain(NOW + 12)
    assert [int(p.name[:8]) for p in segments(place)] == [2, 3]
    writer.retain(NOW + 3 * 86400)
    assert [int(p.name[:8]) for p in segments(place)] == [3]
    assert History(place).range()[0] == pytest.approx(NOW + 10.0, abs=1.1)


def test_a_clock_that_goes_back_loses_nothing(place: Path) -> None:
    writer = begun(place)
    writer.write([delta(NOW + 5, instances=instances(pid=1))], NOW + 5)
    writer.write([delta(NOW - 1, instances=instances(pid=2))], NOW - 1)
    assert pid(History(place), NOW + 5) == 2  # a little: at the latest moment


def test_a_clock_that_jumped_and_comes_back(place: Path) -> None:
    """Two hours forth and back: the times after it are the true ones again, and nothing looks like a gap."""
    writer = begun(place)
    writer.write([delta(NOW + 5, instances=instances(pid=1))], NOW + 5)
    writer.write([delta(NOW + 7200, instances=instances(pid=2))], NOW + 7200)
    writer.write([delta(NOW + 10, instances=instances(pid=3))], NOW + 10)
    writer.write([delta(NOW + 20, instances=instances(pid=4))], NOW + 20)
    history = History(place)
    assert [pid(history, NOW + n) for n in (5, 15, 20)] == [1, 3, 4]
    assert history.range() == (NOW, NOW + 20)
    assert history.moments(NOW, NOW + 9000, 1).gaps == ()
    found = history.step(NOW + 20, way=-1)
    assert NOW + 10 <= found.at < NOW + 11 and pid(history, found.at) == 3


def test_a_full_disk_ends_the_segment_and_keeps_what_is_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = begun(place)
    writer.write([delta(NOW + 1, instances=instances(pid=1))], NOW + 1)
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) > 20:
            return real(fd, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        writer.write([delta(NOW + 2, instances=instances(pid=2))], NOW + 2)
    writer.drop()
    monkeypatch.undo()
    assert pid(History(place), NOW + 2) == 1
    begun(place, NOW + 9).stop(NOW + 9)
    assert len(History(place).spans()) == 2


def test_little_room_is_left_to_the_state(place: Path) -> None:
    with pytest.raises(NoRoom):
        begun(place, floor=2**62)
    assert segments(place) == []


def test_a_part_that_cannot_be_read_leaves_the_rest(place: Path) -> None:
    """A later version may have written rows that ours cannot be made from."""
    begun(place).stop(NOW + 1)
    bad = msgspec.msgpack.encode(("instances", ["puzzle.web/0"], [{"id": 7}]))
    first = msgspec.msgpack.encode({"head": {"cluster": "c", "revision": 1, "digest": ""}, "notices": [], "why": ""})
    at = NOW + 50
    frames = [pack(KEY, at, at, payload=zlib.compress(raw)) for raw in (first, bad)]
    path = place / segment_name(2, at)
    path.write_bytes(b"".join([FIRST_LINE, *frames, pack(KEY_END, at, at), pack(ROTATED, at + 5, at + 5)]))
    history = History(place)
    assert pid(history, NOW) == 4000
    with pytest.raises(Bad, match="this part of the state history cannot be read"):
        history.state(NOW + 52)
