"""A slow link: the proxy itself, and that keys and pictures stay small enough for one: bytes, not times."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.slow import OPENED, press, typical
from tests.bench.slow_link import PIECE, WINDOW, Way
from tests.bench.terminal import SIZE, Terminal, terminal

MOVE, SCREEN, LETTER = 1500, 13_000, 13_000
"""Bytes at 120x40: a cursor move, a list that opens (twice: bare, then with its columns), a letter of a filter."""
ECHO = """
import os, sys
size = os.get_terminal_size()
print(f"size {size.columns}x{size.lines}", flush=True)
for line in sys.stdin:
    print("got", line.strip(), flush=True)
"""


def pipe() -> tuple[int, int]:
    return os.pipe()


def test_bytes_leave_at_the_rate_and_arrive_after_the_delay() -> None:
    inside, out = pipe()
    try:
        way = Way(out, 0.1, 1000.0)
        way.take(b"x" * 1000, 50.0)
        assert way.room == WINDOW - 1000
        assert way.due() == pytest.approx(50.0 + PIECE / 1000 + 0.1)
        way.give(50.0 + PIECE / 1000 + 0.2)
        assert os.read(inside, 65536) == b"x" * PIECE
        way.take(b"y", 51.0)
        way.give(51.2)
        assert os.read(inside, 65536) == b"x" * (1000 - PIECE) + b"y"
        assert way.due() is None and way.room == WINDOW
    finally:
        os.close(inside)
        os.close(out)


def test_a_program_behind_it_has_a_terminal_of_the_same_size(tmp_path: Path) -> None:
    program = tmp_path / "echo.py"
    program.write_text(ECHO)
    with terminal(["-m", "tests.bench.slow_link", "5", "256", sys.executable, str(program)]) as screen:
        screen.wait(f"size {SIZE[1]}x{SIZE[0]}")
        os.write(screen.fd, b"hello\n")
        screen.wait("got hello")
        os.write(screen.fd, b"\x04")
        assert screen.process.wait(20) == 0


def test_it_says_how_the_program_ended(tmp_path: Path) -> None:
    program = tmp_path / "end.py"
    program.write_text("import sys; print('bye', flush=True); sys.exit(3)")
    with terminal(["-m", "tests.bench.slow_link", "5", "256", sys.executable, str(program)]) as screen:
        screen.wait("bye")
        assert screen.process.wait(20) == 3


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """The cockpit on 1,000 instances behind a link, on its overview."""
    home = str(tmp_path_factory.mktemp("home"))
    program = [sys.executable, "-m", "tests.bench.grid_program", "--stay", "1000", "0"]
    argv = ["-m", "tests.bench.slow_link", "20", "2048", *program]
    with terminal(argv, XDG_STATE_HOME=home, XDG_CONFIG_HOME=home) as screen:
        screen.wait("cart/0", 60)
        screen.quiet(0.3)
        yield screen
        screen.process.send_signal(signal.SIGTERM)


def test_a_key_costs_little(far: Terminal) -> None:
    moves = typical([press(far, "down") for _ in range(10)])
    assert 0 < moves["bytes"] <= MOVE
    press(far, "/")
    letters = typical([press(far, letter) for letter in "web"])
    press(far, "escape")
    assert 0 < letters["bytes"] <= LETTER
    assert 0 < typical([press(far, "pagedown") for _ in range(3)])["bytes"] <= SCREEN


@pytest.mark.parametrize("name", ["hosts", "actions", "help"])
def test_a_screen_is_sent_about_once(far: Terminal, name: str) -> None:
    opened = press(far, OPENED[name])
    assert 0 < opened.bytes <= 1.5 * SCREEN
    assert 0 < press(far, "escape").bytes <= 2 * SCREEN


def test_drawing_the_same_again_costs_nothing(far: Terminal) -> None:
    """Resting on a calm cluster only the clock moves."""
    before = far.total
    assert press(far, "home").bytes <= SCREEN
    far.quiet(0.3)
    assert press(far, "up").bytes <= 600, "the cursor is at the first line already"
    assert far.total - before <= 2 * SCREEN
