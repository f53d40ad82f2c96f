"""`cockpit logs`: what it asks for, and how lines are printed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from cockpit.cli import logs as command
from cockpit.cli.common import BAD, DIFFERS, DONE
from cockpit.cli.main import main
from cockpit.model.view import LogLine
from tests.screens.canned import CannedSession


class Session(CannedSession):
    def __init__(self, lines: Sequence[LogLine]) -> None:
        super().__init__()
        self.lines = list(lines)
        self.asked: dict[str, Any] = {}

    async def connect(self) -> None:
        pass

    async def logs(self, instances: Sequence[str], **ask: Any) -> AsyncIterator[LogLine]:  # type: ignore[override]
        self.asked = {"instances": list(instances), **ask}
        for line in self.lines:
            yield line


LINES = [
    LogLine(instance="puzzle.sudoku/3", run=1, stream="stdout", text="\x1b[31mred\x07", time=1_700_000_000.25),
    LogLine(instance="puzzle.sudoku/3", run=1, stream="stderr", text="around", mark="g"),
    LogLine(instance="puzzle.sudoku/3", run=0, stream="cockpit", text="exit 3"),
]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session(LINES)
    monkeypatch.setattr(command, "connect", lambda args: made)
    return made


def test_lines_are_printed_with_time_name_and_stream(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "sudoku/3", "--state", "x"]) == DONE
    out, err = capsys.readouterr()
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(1_700_000_000))
    assert out == f"{when}.250 puzzle.sudoku/3 | red\\x07\n--\n{'?':23} puzzle.sudoku/3 - around\n"
    assert err.endswith("puzzle.sudoku/3 # exit 3\n")
    assert session.asked["lines"] == 200 and session.asked["follow"] is False and session.asked["grep"] == ""


def test_one_object_for_each_line(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "sudoku/3", "--state", "x", "--json"]) == DONE
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["text"] for r in rows] == ["\x1b[31mred\x07", "around", "exit 3"]
    assert rows[0]["time"] == 1_700_000_000.25


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--grep", "a|b", "-C", "3"], {"grep": "/a|b/", "before": 3, "after": 3, "lines": 20_000}),
        (["--grep", "a", "-v", "-A", "1"], {"grep": "!/a/", "before": 0, "after": 1}),
        (["--grep", "!a", "-F", "-n", "5"], {"grep": "\\!a", "lines": 5}),
        (["--previous"], {"previous": 1, "follow": False}),
        (["--previous", "2", "-f"], {"previous": 2, "follow": False}),
        (["-f", "--stream", "stderr", "--stream", "access"], {"follow": True, "streams": ["stderr", "access"]}),
    ],
)  # fmt: skip
def test_what_is_asked_for(session: Session, words: list[str], wanted: dict[str, Any]) -> None:
    assert main(["logs", "sudoku/3", "--state", "x", *words]) == DONE
    assert {k: session.asked[k] for k in wanted} == wanted


def test_windows(session: Session) -> None:
    before = time.time()
    assert main(["logs", "sudoku", "sudoku/3", "--state", "x", "--since", "15m"]) == DONE
    assert before - 901 < session.asked["since"] <= time.time() - 899
    assert len(session.asked["instances"]) == len(set(session.asked["instances"])) > 1


def test_a_host_stands_for_what_it_holds(session: Session) -> None:
    host = session.data.instances["puzzle.sudoku/3"].host
    assert main(["logs", host, "--state", "x"]) == DONE
    assert {session.data.instances[i].host for i in session.asked["instances"]} == {host}


def test_nothing_found_is_exit_1(session: Session) -> None:
    session.lines = LINES[2:]
    assert main(["logs", "sudoku/3", "--state", "x", "--grep", "x"]) == DIFFERS


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["sudoku/3", "--since", "soon"], "no time: 'soon'"), (["sudoku/3", "--grep", "("], "no regular expression"),
        (["sudoku/3", "-v"], "--invert wants --grep"), (["nowhere"], "nowhere"),
        (["sudoku/3", "--since", "1m", "--until", "5m"], "--until is before --since"),
    ],
)
def test_what_is_wrong_is_said(
    session: Session, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    assert main(["logs", "--state", "x", *words]) == BAD
    assert text in capsys.readouterr().err
