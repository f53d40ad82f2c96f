"""Logs: tail over runs, following with credit, rotation that loses nothing."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.agent import logs, rotate
from cockpit.agent.logs import LineReader, LogFile
from tests.agent.fake import AgentProcess, FakeController, unitspec
from tests.helpers import until

UNIT = "puzzle.web/2:5"


def log(dir: Path, name: str, data: bytes, when: int = 0) -> Path:
    dir.mkdir(parents=True, exist_ok=True)
    path = dir / name
    path.write_bytes(data)
    if when:
        os.utime(path, (when, when))
    return path


def texts(lines: list[logs.Line]) -> list[str]:
    return [text for _, _, _, text in lines]


def test_tail_over_runs_streams_and_units(tmp_path: Path) -> None:
    old, new = tmp_path / "logs/puzzle.web_2_4", tmp_path / "logs/puzzle.web_2_11"
    log(old, "1.main.out", b"a1\na2\n", 100)
    log(old, "2.main.out", b"b1\n", 110)
    log(old, "10.main.out", b"c1\nc2", 120)
    log(new, "1.main.err", b"e1\n", 200)
    log(new, "1.main.out", b"d1\nd2\n", 210)
    log(new, "notes.txt", b"not a log\n")
    log(tmp_path / "logs/puzzle.web_20_1", "1.main.out", b"another instance\n")
    dirs = [dir for _, dir in logs.unit_dirs(str(tmp_path), "puzzle.web/2")]
    assert [os.path.basename(d) for d in dirs] == ["puzzle.web_2_4", "puzzle.web_2_11"]
    assert texts(logs.tail(dirs, 100)) == ["a1", "a2", "b1", "c1", "c2", "e1", "d1", "d2"]
    assert texts(logs.tail(dirs, 4)) == ["c2", "e1", "d1", "d2"]
    assert logs.tail(dirs, 1) == [(1, "stdout", "main", "d2")]
    assert logs.tail(dirs, 0) == []
    assert logs.tail([str(tmp_path / "none")], 5) == []


LINES = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=60)


@given(LINES, st.integers(1, 80), st.booleans())
def test_tail_is_the_end_of_the_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], n: int, closed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "1.main.out"
    data = b"\n".join(lines) + (b"\n" if closed and lines else b"")
    path.write_bytes(data)
    all_ = data.split(b"\n")
    if not all_[-1]:
        all_.pop()
    assert logs.last_lines(str(path), [], n) == all_[-n:]


def test_very_long_lines_are_cut_with_a_mark_and_bad_utf8_is_replaced(tmp_path: Path) -> None:
    path = log(tmp_path, "1.main.out", b"x" * 100_000 + b"\n\xff\xfeok\r\n")
    reader = LineReader(LogFile(1, "main", "out", str(path)), 0)
    long, bad = texts(reader.read(10))
    assert long.startswith("x" * 16384) and long.endswith(logs.MARK % 100_000) and len(long) < 17_000
    assert bad == "\\xff\\xfeok"
    assert texts(logs.tail([str(tmp_path)], 2)) == [long, bad]


@given(st.integers(0, 2**32))
def test_a_reader_gets_every_line_however_it_is_written(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    draw = random.Random(seed)
    path = tmp_path_factory.getbasetemp() / "1.main.out"
    path.write_bytes(b"")
    reader = LineReader(LogFile(1, "main", "out", str(path)), 0)
    written = [f"{n} {'y' * draw.randrange(30)}" for n in range(draw.randrange(30))]
    data = "".join(f"{line}\n" for line in written).encode() + b"unfinished"
    got: list[str] = []
    with open(path, "ab", buffering=0) as f:
        while data:
            n = draw.randrange(1, 50)
            f.write(data[:n])
            data = data[n:]
            got += texts(reader.read(draw.randrange(1, 5)))
    while more := reader.read(3):
        got += texts(more)
    assert got == written
    rest = reader.rest()
    assert rest is not None and rest[3] == "unfinished"


def test_rotation_loses_nothing_and_offsets_stay_true(tmp_path: Path) -> None:
    path = tmp_path / "1.main.out"
    lines = [f"line {n} {'z' * (n % 70)}".encode() for n in range(20_000)]
    with open(path, "ab", buffering=0) as writer:  # as the service holds it: appending, all the time
        writer.write(b"".join(line + b"\n" for line in lines[:8000]))
        size = path.stat().st_size
        follower = LineReader(LogFile(1, "main", "out", str(path)), 0)
        follower.skip(50_000)
        first = rotate.rotate(str(path), 0, limit=100_000, keep=64_000)
        assert first is not None and path.stat().st_size == size
        end = int(first.rsplit(".", 2)[1])
        writer.write(b"".join(line + b"\n" for line in lines[8000:]))
        assert texts(follower.read(10**6))[-1] == lines[-1].decode()
        second = rotate.rotate(str(path), end, limit=100_000, keep=64_000)
        assert second is not None
        assert rotate.rotate(str(path), int(second.rsplit(".", 2)[1]), limit=100_000, keep=64_000) is None
    last = int(second.rsplit(".", 2)[1])
    whole = gzip.decompress(Path(first).read_bytes()) + gzip.decompress(Path(second).read_bytes())
    whole += path.read_bytes()[last:]
    assert whole.split(b"\n")[:-1] == lines
    assert path.stat().st_blocks * 512 < 200_000, "the old blocks were given back"
    assert texts(logs.tail([str(tmp_path)], 15_000)) == [line.decode() for line in lines[-15_000:]]


def test_an_endless_line_is_rotated_too(tmp_path: Path) -> None:
    path = log(tmp_path, "1.main.out", b"x" * 300_000)
    assert rotate.rotate(str(path), 0, limit=100_000, keep=50_000) == f"{path}.250000.gz"


def test_the_oldest_go_first_and_the_live_run_stays(tmp_path: Path) -> None:
    for run in range(1, 8):
        log(tmp_path, f"{run}.main.out", b"x" * 8192)
    log(tmp_path, "7.main.out.100.gz", b"s" * 8192)
    gone = rotate.tidy(str(tmp_path), 7, total=8192 * 4, runs=50)
    assert [os.path.basename(p) for p in gone] == ["1.main.out", "2.main.out", "3.main.out"]
    rotate.tidy(str(tmp_path), 7, total=1 << 30, runs=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["6.main.out", "7.main.out", "7.main.out.100.gz"]
    rotate.tidy(str(tmp_path), 7, total=0, runs=2)
    assert [p.name for p in tmp_path.iterdir()] == ["7.main.out"]


def test_logs_of_old_units_are_forgotten(tmp_path: Path) -> None:
    for gen in range(1, 9):
        log(tmp_path / f"logs/puzzle.web_2_{gen}", "1.main.out", b"x\n")
    rotate.forget_old(str(tmp_path), "puzzle.web/2", {1, 8})
    assert [gen for gen, _ in logs.unit_dirs(str(tmp_path), "puzzle.web/2")] == [1, 5, 6, 7, 8]




def talker(code: str) -> dict[str, object]:
    return {
        "processes": {"main": [sys.executable, "-u", "-c", code]}, "ports": {}, "check": None,
        "restart": {"mode": "never"},
    }


async def test_tail_follow_credit_and_end(agent: AgentProcess, controller: FakeController) -> None:
    go = agent.dir / "go"
    code = (
        "import os,sys,time\nfor n in range(50): print('early', n)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "for n in range(50): print('late', n)\nsys.stdout.write('last words')\nsys.exit(3)"
    )
    await controller.ok("prepare", spec=unitspec(UNIT, **talker(code)))
    await controller.ok("start", unit=UNIT)
    file = agent.dir / "logs/puzzle.web_2_5/1.main.out"
    await until(lambda: file.exists() and file.read_bytes().count(b"\n") == 50)
    assert (await controller.ok("tail", unit=UNIT, lines=2)) == {"lines": ["early 48", "early 49"]}

    await controller.ok("logs", stream="s", units=[UNIT], lines=10, follow=True)
    await controller.send({"t": "ping", "at": 1})
    await until(lambda: controller.of("pong"))
    assert not controller.of("log"), "nothing is sent without credit"
    await controller.send({"t": "credit", "stream": "s", "lines": 4})

    def seen() -> list[str]:
        return [text for f in controller.of("log") for _, _, _, text in f["lines"]]

    await until(lambda: len(seen()) == 4)
    await controller.send({"t": "credit", "stream": "s", "lines": 26})
    go.touch()
    await until(lambda: len(seen()) == 30)
    assert seen() == [f"early {n}" for n in range(40, 50)] + [f"late {n}" for n in range(20)]
    await controller.send({"t": "credit", "stream": "s", "lines": 1000})
    await until(lambda: any(f["end"] is not None for f in controller.of("log")))
    assert seen()[30:] == [f"late {n}" for n in range(20, 50)] + ["last words"]
    frames = controller.of("log")
    assert frames[-1]["end"] == "exit 3" and frames[0]["unit"] == UNIT
    assert frames[0]["lines"][0] == [1, "stdout", "main", "early 40"]
    assert sum(f["dropped"] for f in frames) == 0


async def test_without_following_it_ends_at_once(agent: AgentProcess, controller: FakeController) -> None:
    await controller.ok("prepare", spec=unitspec(UNIT, **talker("print('x'); import time; time.sleep(60)")))
    await controller.ok("start", unit=UNIT)
    await until(lambda: (agent.dir / "logs/puzzle.web_2_5/1.main.out").read_bytes())
    for stream in ("one", "one"):  # the same stream again opens it anew
        controller.frames.clear()
        await controller.ok("logs", task="same", stream=stream, instance="puzzle.web/2", lines=10, follow=False)
        await controller.send({"t": "credit", "stream": "one", "lines": 10})
        await until(lambda: [f for f in controller.of("log") if f["end"] == ""])
        assert [text for f in controller.of("log") for _, _, _, text in f["lines"]] == ["x"]
    assert (await controller.command("logs", stream="x"))["code"] == "bad"


async def test_a_slow_reader_loses_lines_that_are_counted(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    code = (
        f"import os, time\nprint('start')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "for n in range(60_000): print(n, 'x' * 60)\ntime.sleep(60)"
    )
    await controller.ok("prepare", spec=unitspec(UNIT, **talker(code)))
    await controller.ok("start", unit=UNIT)
    file = agent.dir / "logs/puzzle.web_2_5/1.main.out"
    await until(lambda: file.exists() and file.read_bytes())
    await controller.ok("logs", stream="s", units=[UNIT], lines=0, follow=True)
    go.touch()
    await until(lambda: file.stat().st_size > 3_000_000 and b"59999 x" in file.read_bytes()[-200:])
    await controller.send({"t": "credit", "stream": "s", "lines": 100_000})

    def last() -> bool:
        return any(text.startswith("59999 ") for f in controller.of("log") for _, _, _, text in f["lines"])

    await until(last)
    got = sum(len(f["lines"]) for f in controller.of("log"))
    dropped = sum(f["dropped"] for f in controller.of("log"))
    assert dropped > 0 and got + dropped in (60_000, 60_001)
    await controller.ok("unlog", stream="s")


async def test_an_instance_is_followed_into_its_next_run(agent: AgentProcess, controller: FakeController) -> None:
    code = "import os,time\nprint('pid', os.getpid())\ntime.sleep(60)"
    await controller.ok("prepare", spec=unitspec(UNIT, **{**talker(code), "restart": {"delay": 0.01}}))
    pid = (await controller.ok("start", unit=UNIT))["pid"]
    await controller.ok("logs", stream="s", instance="puzzle.web/2", lines=5, follow=True)
    await controller.send({"t": "credit", "stream": "s", "lines": 100})

    def runs() -> list[int]:
        return [run for f in controller.of("log") for run, _, _, _ in f["lines"]]

    await until(lambda: runs() == [1])
    os.kill(pid, signal.SIGKILL)
    await until(lambda: runs() == [1, 2])
    await asyncio.gather(controller.ok("stop", unit=UNIT))
    await until(lambda: [f for f in controller.of("log") if f["end"]])
    assert controller.of("log")[-1]["end"] == "signal 15 (TERM)"
