#!/usr/bin/env python3
"""Play a script of keys against the real cockpit in a real terminal (tmux), and see that it shows what it should.

    python tools/play.py docs/tour.play --state DIR                   as fast as the screen follows
    python tools/play.py docs/tour.play --state DIR --watch           at a person's pace, in this terminal
    python tools/play.py docs/tour.play --state DIR --out docs/tour.svg      the pictures as one animation

A script has one thing a line:

    # a remark                    say WORDS        what is told under the picture from here on
    key NAME...                   type TEXT        keys by tmux's names (Enter, Escape, C-p); letter by letter
    see WORDS                     not WORDS        wait until they are on the screen, or no more; else it fails
    hold SECONDS                  a pause of a person who reads; skipped at full speed
    show SECONDS                  a picture of the animation, and how long it stays
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SIZE = (110, 30)
LATE = 45.0
"""Seconds until words must be seen; what starts processes takes its time."""
LOOK = 0.03
PACE = 0.09
"""Seconds between two keys of a person."""
ESCAPE = 0.7
"""Seconds after Escape at any speed: terminals take what follows at once for one key with it."""
WORDS = ("key", "type", "see", "not", "hold", "show", "say")


class Line(NamedTuple):
    number: int
    word: str
    rest: str


class Frame(NamedTuple):
    """A picture: what tmux shows, with its colours, how long it stays, and what is told."""

    screen: str
    seconds: float
    said: str


class Wrong(Exception):
    """The script cannot be read, or the screen did not show what it should. The message has the line."""


def parse(text: str) -> list[Line]:
    """The lines of a script. Wrong names the line."""
    out = []
    for number, line in enumerate(text.splitlines(), 1):
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        if word not in WORDS:
            raise Wrong(f"line {number}: {word!r} is none of {', '.join(WORDS)}")
        if not rest and word != "say":
            raise Wrong(f"line {number}: {word} needs something behind it")
        if word in ("hold", "show"):
            try:
                float(rest)
            except ValueError:
                raise Wrong(f"line {number}: {rest!r} is no number of seconds") from None
        out.append(Line(number, word, rest.strip()))
    return out


class Stage:
    """A tmux server of its own with one program in it."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def tmux(self, *words: str) -> str:
        """RuntimeError with what tmux said."""
        argv = ["tmux", "-S", str(self.socket), "-f", os.devnull, *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"tmux {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def coloured(self) -> str:
        return self.tmux("capture-pane", "-p", "-e")

    def keys(self, *names: str) -> None:
        self.tmux("send-keys", *names)

    def letters(self, text: str) -> None:
        self.tmux("send-keys", "-l", "--", text)


@contextlib.contextmanager
def stage(argv: Sequence[str], size: tuple[int, int] = SIZE) -> Iterator[Stage]:
    """Run a program in a terminal of this size until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="ck-play-") as where:
        made = Stage(Path(where) / "tmux")
        homes = {"XDG_STATE_HOME": where, "XDG_CONFIG_HOME": where, "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        given = [word for name, value in homes.items() for word in ("-e", f"{name}={value}")]
        # one more line than the program has, for the status line of tmux, which is then turned off
        made.tmux(
            "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), *given, *argv, ";", "set", "-g", "status",
            "off", ";", "set", "-g", "default-terminal", "tmux-256color", ";", "set", "-g", "remain-on-exit", "on",
        )  # fmt: skip
        try:
            yield made
        finally:
            with contextlib.suppress(RuntimeError):
                made.tmux("kill-server")


def play(lines: Sequence[Line], at: Stage, *, slow: bool = False, late: float = LATE) -> list[Frame]:
    """Do what the lines say; the pictures. Wrong when the screen does not show what it should."""
    frames: list[Frame] = []
    said = ""
    for line in lines:
        if line.word == "key":
            for name in line.rest.split():
                at.keys(name)
                _rest(PACE * 3, slow)
                if name == "Escape":
                    time.sleep(ESCAPE)
        elif line.word == "type":
            for letter in line.rest:
                at.letters(letter)
                _rest(PACE, slow)
        elif line.word in ("see", "not"):
            _wait(at, line, late)
        elif line.word == "hold":
            _rest(float(line.rest), slow)
        elif line.word == "show":
            frames.append(Frame(_settled(at), float(line.rest), said))
            _rest(float(line.rest), slow)
        else:
            said = line.rest
    return frames


def _rest(seconds: float, slow: bool) -> None:
    if slow:
        time.sleep(seconds)


def _wait(at: Stage, line: Line, late: float) -> None:
    end = time.monotonic() + late
    while (line.rest in at.text()) != (line.word == "see"):
        if time.monotonic() > end or "Pane is dead" in at.text():
            what = "is not on" if line.word == "see" else "is still on"
            raise Wrong(f"line {line.number}: {line.rest!r} {what} the screen:\n{at.text()}")
        time.sleep(LOOK)


def _settled(at: Stage) -> str:
    """The picture when it is the same twice."""
    before = ""
    for _ in range(20):
        if (now := at.coloured()) == before:
            break
        before = now
        time.sleep(LOOK * 4)
    return before


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/play.py", description=__doc__.partition("\n")[0])
    parser.add_argument("script", type=Path)
    parser.add_argument("--state", type=Path, required=True, help="of a running controller")
    parser.add_argument("--watch", action="store_true", help="show it in this terminal, at a person's pace")
    parser.add_argument("--out", type=Path, help="write the pictures as an animated SVG")
    args = parser.parse_args()
    argv = [sys.executable, "-m", "cockpit.cli.main", "attach", "--at", "overview"]
    argv += ["--state", str(args.state.absolute())]
    try:
        lines = parse(args.script.read_text(encoding="utf-8"))
        with stage(argv) as at:
            look = None
            if args.watch:
                watch = ["tmux", "-S", str(at.socket), "attach", "-r"]
                look = subprocess.Popen(watch, env={**os.environ, "TMUX": ""})
            try:
                frames = play(lines, at, slow=args.watch)
            finally:
                if look is not None:
                    at.tmux("detach-client", "-a")
                    look.terminate()
                    look.wait()
        if args.out:
            sys.path.insert(0, str(Path(__file__).resolve().parent))
            from animation import animated

            args.out.write_text(animated(frames, SIZE), encoding="utf-8")
    except (Wrong, RuntimeError, OSError) as error:
        sys.stderr.write(f"{args.script}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
