"""What a key costs on a table of 1,000, 10,000 and 100,000 instances while 1,000 changes a second arrive.

CPU until painted and bytes to the terminal are taken inside the program; through tmux, the time from the key
to the last byte that reaches the outer terminal.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable

from tests.bench.keeper import place
from tests.bench.table import Figure, Lacking, measures
from tests.bench.terminal import shown, terminal, tmux

NEEDS = ("screens.rows", "screens.widgets.grid", "tests.bench.crowd")
SIZES = {"": 100_000, "-10k": 10_000, "-1k": 1_000}
"""End of a row's key -> rows of the table."""
PRESSES = 30
RATE = 1000
CURSOR = b"48;5;237"
"""The ground of the cursor's line, as tmux sends it to a terminal of 256 colours."""


@functools.cache
def figures(rows: int) -> dict[str, float]:
    with place() as where, terminal(["-m", "tests.bench.grid_program", str(where / "figures"), str(rows)]) as screen:
        try:
            screen.process.wait(180)
            return dict(json.loads((where / "figures").read_text()))
        except (FileNotFoundError, subprocess.TimeoutExpired):
            raise RuntimeError(screen.seen.decode(errors="replace")[-3000:]) from None


@functools.cache
def matrix() -> dict[str, float]:
    args = ["-m", "tests.bench.matrix_program"]
    with place() as where, terminal([*args, str(where / "figures"), "100"]) as screen:
        try:
            screen.process.wait(180)
            return dict(json.loads((where / "figures").read_text()))
        except (FileNotFoundError, subprocess.TimeoutExpired):
            raise RuntimeError(screen.seen.decode(errors="replace")[-3000:]) from None


@functools.cache
def through_tmux(rows: int) -> dict[str, float]:
    """Milliseconds from a key to the last byte of what it causes, and those bytes, at the outer terminal."""
    if not tmux():
        raise Lacking("needs tmux")
    args = ["-m", "tests.bench.grid_program", "--stay", str(rows), "0"]
    with place() as where, terminal(args, inside=where) as screen:
        shown(where, "INSTANCES")
        screen.quiet(0.5)
        out: dict[str, float] = {}
        for name, key in (("cursor", b"j"), ("page", b"\x1b[6~")):
            times, sizes = [], []
            for _ in range(PRESSES):
                before, start = len(screen.seen), time.perf_counter()
                os.write(screen.fd, key)
                last = screen.quiet(0.08)
                if last > start:
                    times.append((last - start) * 1e3)
                    sizes.append(len(screen.seen) - before)
            out[name], out[f"{name}-bytes"] = statistics.median(times), statistics.median(sizes)
        return out


@functools.cache
def through_tmux_live(rows: int) -> dict[str, float]:
    """The same for the cursor while RATE changes a second arrive: milliseconds, and the worst.

    Bytes come all the time, so that there is no last one: it is until those with the cursor's ground are there.
    """
    if not tmux():
        raise Lacking("needs tmux")
    args = ["-m", "tests.bench.grid_program", "--stay", str(rows), str(RATE)]
    with place() as where, terminal(args, inside=where) as screen:
        shown(where, "INSTANCES")
        time.sleep(2)
        times = []
        for _ in range(PRESSES):
            time.sleep(0.15)
            before, start = screen.total, time.perf_counter()
            os.write(screen.fd, b"j")
            times.append((screen.holds(CURSOR, before, 10) - start) * 1e3)
        return {"live": statistics.median(times), "live-worst": max(times)}


def _enter(key: str, rows: int, value: Callable[[int], Figure]) -> None:
    measures(key, NEEDS)(lambda: value(rows))


def _of(name: str, note: Callable[[dict[str, float]], str] = lambda found: "CPU") -> Callable[[int], Figure]:
    return lambda rows: Figure(figures(rows)[name], note=note(figures(rows)))


def _first(found: dict[str, float]) -> str:
    return (
        f"CPU; the first reads every row: {found['filter-first']:.0f} ms, typed {found['typed']:.0f}, "
        f"fuzzy {found['fuzzy']:.0f}, in slices where there are many"
    )


def _live(found: dict[str, float]) -> str:
    return (
        f"worst {found['live-key-worst']:.0f}; under a filter {found['live-filter-key']:.0f}, "
        f"sorted {found['live-sorted-key']:.0f}; {found['live-cpu']:.0f} % of a core for {found['live-rate']:.0f}/s"
    )


def _long(name: str) -> Callable[[dict[str, float]], str]:
    return lambda found: f"worst {found[f'{name}-worst']:.0f}; all of it {found[f'{name}-cpu']:.0f} ms of CPU"


def _tmux(name: str) -> Callable[[int], Figure]:
    def value(rows: int) -> Figure:
        found = through_tmux(rows)
        return Figure(found[name], note=f"{found[f'{name}-bytes'] / 1e3:.1f} kB")

    return value


def _tmux_live(rows: int) -> Figure:
    found = through_tmux_live(rows)
    return Figure(found["live"], note=f"worst of {PRESSES}: {found['live-worst']:.0f}")


for _end, _rows in SIZES.items():
    _enter(f"open{_end}", _rows, _of("open"))
    _enter(f"filter{_end}", _rows, _of("filter", _first))
    _enter(f"update{_end}", _rows, _of("update"))
    _enter(f"cursor{_end}", _rows, _of("cursor"))
    _enter(f"page{_end}", _rows, _of("page"))
    _enter(f"live{_end}", _rows, _of("live-key", _live))
    _enter(f"screen-memory{_end}", _rows, _of("memory-filtered", lambda f: f"{f['memory']:.0f} before a filter"))
    _enter(f"tmux-cursor{_end}", _rows, _tmux("cursor"))
    _enter(f"tmux-page{_end}", _rows, _tmux("page"))
    _enter(f"tmux-live{_end}", _rows, _tmux_live)


for _name in ("sort", "back"):
    _enter(_name, SIZES[""], _of(_name, _long(_name)))


@measures("matrix", (*NEEDS, "screens.cells"))
def matrix_opens() -> Figure:
    found = matrix()
    return Figure(found["open"], note=f"CPU; the first time {found['open-first']:.0f}")


@measures("matrix-cursor", (*NEEDS, "screens.cells"))
def matrix_cursor() -> Figure:
    found = matrix()
    live = f"with 1,000 changes a second {found['live-key']:.0f}, worst {found['live-key-worst']:.0f}"
    return Figure(found["cursor"], note=f"CPU; sideways {found['side']:.0f}, page {found['page']:.0f}; {live}")


@measures("cursor-bytes", NEEDS)
def cursor_bytes() -> Figure:
    return Figure(figures(100_000)["cursor-bytes"] / 1e3)


@measures("repaint-bytes", NEEDS)
def repaint_bytes() -> Figure:
    return Figure(figures(100_000)["repaint-bytes"] / 1e3)


def main() -> None:
    """Every figure of every size, as JSON: `python -m tests.bench.screens`."""
    print(json.dumps({rows: figures(rows) | through_tmux_named(rows) for rows in SIZES.values()}, indent=1))


def through_tmux_named(rows: int) -> dict[str, float]:
    return {f"tmux-{name}": value for name, value in (through_tmux(rows) | through_tmux_live(rows)).items()}


if __name__ == "__main__":
    main()
