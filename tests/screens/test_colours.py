"""What the terminal can show, by its environment and by its own answer; no answer is ever typed."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from textual import events

from screens import colours
from screens.colours import MANY, NONE, SIXTEEN, TRUE, depth
from screens.driver import AskingDriver, TerminalDriver
from screens.escapes import KeyParser
from screens.grounds import AnswerParser, Ground
from tests.helpers import PATIENCE
from tests.screens.drive import driven, make_app


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, TRUE),
        ({"TERM": "xterm", "COLORTERM": "24bit"}, TRUE),
        ({"TERM": "xterm-direct"}, TRUE), ({"TERM": "xterm-256color"}, MANY), ({"TERM": "tmux-256color"}, MANY),
        ({"TERM": "rxvt", "COLORTERM": "rxvt-xpm"}, MANY), ({"TERM": "xterm"}, SIXTEEN), ({"TERM": "linux"}, SIXTEEN),
        ({"TERM": "screen"}, SIXTEEN), ({"TERM": "vt100"}, NONE), ({"TERM": "xterm", "FORCE_COLOR": "3"}, TRUE),
        ({"TERM": "xterm-direct", "FORCE_COLOR": "2"}, MANY), ({"TERM": "xterm-256color", "FORCE_COLOR": "0"}, NONE),
        ({"TERM": "vt100", "FORCE_COLOR": "yes"}, SIXTEEN), ({"TERM": "xterm-256color", "FORCE_COLOR": "1"}, SIXTEEN),
        ({"TERM": "xterm", "COLORTERM": "truecolor", "FORCE_COLOR": "3", "NO_COLOR": "1"}, NONE),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, MANY),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "TERM_PROGRAM": "Apple_Terminal"}, MANY),
    ],
)  # fmt: skip
def test_how_many_colours(env: dict[str, str], found: int) -> None:
    assert depth(env) == found


@pytest.mark.parametrize(
    ("reply", "light"),
    [
        ("rgb:ffff/ffff/ffff", True), ("rgb:0000/0000/0000", False), ("rgb:1e/1e/2e", False),
        ("rgb:fdfd/f6f6/e3e3", True), ("rgba:ffff/ffff/ffff/8000", True), ("rgb:f/f/f", True), ("?", None),
        ("", None),
    ],
)
def test_the_ground_in_the_answer(reply: str, light: bool | None) -> None:
    assert colours.ground_of(reply) is light


def test_only_a_guess_follows_the_answer() -> None:
    check = {"dark": 1, "light": 1, "mine": 1}.__getitem__
    many = {"TERM": "xterm-256color"}
    assert colours.choose(None, many, check) == ("dark", True)
    assert colours.choose(None, {**many, "COLORFGBG": "0;15"}, check) == ("light", False)
    assert colours.choose("light", many, check) == ("light", False)
    assert colours.choose(None, many, check, "mine") == ("mine", False)
    assert colours.choose(None, {"TERM": "xterm"}, check) == ("ansi16", False)
    assert colours.choose("light", {**many, "NO_COLOR": "1"}, check) == ("mono", False)


# the terminal's answer among keys


def keys_and_answers(*chunks: str, later: bool = True) -> tuple[list[str], list[str]]:
    now = [0.0]
    parser = AnswerParser(clock=lambda: now[0])
    got = []
    for chunk in chunks:
        got += list(parser.feed(chunk))
    if later:
        now[0] = 5.0
        got += list(parser.tick())
    keys = [e.key for e in got if isinstance(e, events.Key)]
    return keys, [e.reply for e in got if isinstance(e, Ground)]


ANSWER = "\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\"


@pytest.mark.parametrize("end", ["\x1b\\", "\x07"])
def test_an_answer_is_no_key_wherever_it_is_cut(end: str) -> None:
    whole = f"ab{ANSWER[:-2]}{end}cd"
    for at in range(1, len(whole)):
        keys, answers = keys_and_answers(whole[:at], whole[at:])
        assert (keys, answers) == (["a", "b", "c", "d"], ["rgb:1e1e/1e1e/2e2e"]), at


def test_what_is_no_answer_is_typed_after_all() -> None:
    assert keys_and_answers("ab")[0] == ["a", "b"]
    now = [0.0]
    parser = AnswerParser(clock=lambda: now[0])
    assert not list(parser.feed("\x1b]"))
    now[0] = 1.0
    got, end = [*parser.tick(), *parser.feed("x")], time.monotonic() + PATIENCE
    while "x" not in [e.key for e in got if isinstance(e, events.Key)]:
        assert time.monotonic() < end, "the x was lost"
        got += list(parser.tick())


def test_after_the_first_seconds_nothing_is_held_back() -> None:
    now = [0.0]
    parser = AnswerParser(clock=lambda: now[0])
    now[0] = 60.0
    assert [e.key for e in parser.feed("q") if isinstance(e, events.Key)] == ["q"]
    late = [*parser.feed(f"a{ANSWER}b")]
    assert [e.key for e in late if isinstance(e, events.Key)] == ["a", "b"]
    assert [e.reply for e in late if isinstance(e, Ground)] == ["rgb:1e1e/1e1e/2e2e"]


async def test_the_answer_changes_a_guessed_theme_only() -> None:
    async with driven() as d:
        assert d.app.look.theme == "dark"
        d.app.post_message(Ground("rgb:ffff/ffff/ffff"))
        await d.settled()
        assert d.app.look.theme == "light"
        d.app.post_message(Ground("rgb:0000/0000/0000"))
        await d.settled()
        assert d.app.look.theme == "light"
    async with driven(theme="dark") as d:
        d.app.post_message(Ground("rgb:ffff/ffff/ffff"))
        await d.settled()
        assert d.app.look.theme == "dark"


def test_the_driver_reads_with_our_parser() -> None:
    assert TerminalDriver.run_input_thread.__globals__["XTermParser"] is KeyParser
    assert AskingDriver.run_input_thread.__globals__["XTermParser"] is AnswerParser
    assert make_app().driver_class is AskingDriver
    assert make_app(theme="dark").driver_class is not AskingDriver


PROGRAM = """
import asyncio
from tests.screens.drive import make_app
app = make_app()
asyncio.run(app.run_async())
print(app.look.theme, app.board.head is not None, file=open("{out}", "w"))
"""


def on_a_terminal(tmp_path: Path, answer: bytes, **env: str) -> tuple[str, bytes]:
    """The real program on a pty that answers; the theme at the end, and every byte it wrote."""
    out = tmp_path / "out"
    lead, follow = pty.openpty()
    termios.tcsetwinsize(follow, (24, 80))
    base = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLORTERM", "COLORFGBG", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(out=out)], stdin=follow, stdout=follow, stderr=follow,
        env={**base, "TERM": "xterm-256color", "XDG_STATE_HOME": str(tmp_path), **env}, close_fds=True,
    )  # fmt: skip
    os.close(follow)
    seen, sent, end = b"", 0, time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end and process.poll() is None:
            if select.select([lead], [], [], 0.1)[0]:
                try:
                    seen += os.read(lead, 65536)
                except OSError:
                    break
            if sent == 0 and b"sudoku/3" in seen and (not answer or b"]11;?" in seen):
                os.write(lead, answer + b"i")  # right after the answer: the key for the instances
                sent = 1
            if sent == 1 and b"RESTARTS" in seen or sent == 1 and b"INSTANCE" in seen:
                os.write(lead, b"q")
                sent = 2
        assert process.wait(PATIENCE) == 0, seen[-400:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(lead)
    return out.read_text(), seen


def test_on_a_real_terminal_the_answer_is_taken_and_the_key_behind_it_works(tmp_path: Path) -> None:
    said, seen = on_a_terminal(tmp_path, b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\")
    assert said.split() == ["light", "True"]


def test_without_colours_no_colour_code_is_sent(tmp_path: Path) -> None:
    said, seen = on_a_terminal(tmp_path, b"", NO_COLOR="1")
    assert said.split()[0] == "mono" and b"]11;?" not in seen
    codes = {p for found in re.findall(rb"\x1b\[([0-9;]*)m", seen) for p in found.split(b";") if p}
    assert not {c for c in codes if 30 <= int(c) <= 49 or 90 <= int(c) <= 107}, codes


def test_a_direct_terminal_is_sent_24_bit(tmp_path: Path) -> None:
    _, seen = on_a_terminal(tmp_path, b"", TERM="xterm-direct", COLORFGBG="15;0")
    assert b"38;2;" in seen and b"38;5;" not in seen
