"""web and sudoku as processes on loopback: what they answer, and how they end."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from pathlib import Path

import pytest

from cockpit.sample.client import puzzles
from cockpit.sample.solver import is_solution
from tests.helpers import PATIENCE, answers, wait_for
from tests.sample.system import Program, program, publish
from tests.sample.test_solver import HARD, HOPELESS

[PUZZLE] = puzzles(1)


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def send(to: Program, puzzle: str) -> socket.socket:
    connection = socket.create_connection((to.address, to.port), timeout=30)
    connection.sendall(f"GET /solve?puzzle={puzzle} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


# sudoku


def test_sudoku_solves(tmp_path: Path) -> None:
    with program(tmp_path, "sudoku", "1.0.0", 3) as sudoku:
        assert sudoku.get("/health") == (200, {"status": "ok", "version": "1.0.0"})
        status, answer = sudoku.get("/solve", puzzle=HARD)
        assert status == 200 and is_solution(HARD, answer.pop("solution"))
        assert answer == {"version": "1.0.0", "instance": "puzzle.sudoku/3"}
        status, answer = sudoku.get("/solve", puzzle="11" + "0" * 79)
        assert status == 422 and "clashes" in answer["error"]
        assert sudoku.get("/solve")[0] == 422
        status, answer = sudoku.get("/nothing")
        assert status == 404 and answer["paths"] == ["/health", "/solve"]


def test_sudoku_110_says_how_hard_it_was(tmp_path: Path) -> None:
    with program(tmp_path, "sudoku", "1.1.0") as sudoku:
        _, answer = sudoku.get("/solve", puzzle=HARD)
        assert answer["version"] == "1.1.0" and answer["difficulty"] == "hard" and answer["steps"] > 0


def test_sudoku_120_never_becomes_healthy_and_says_why(tmp_path: Path) -> None:
    with program(tmp_path, "sudoku", "1.2.0") as sudoku:
        for _ in range(3):
            status, answer = sudoku.get("/health")
            assert status == 503
            assert answer["status"].startswith("warming up: table of patterns is missing (patterns.json")
        assert sudoku.get("/solve", puzzle=PUZZLE)[0] == 503
        assert sudoku.log.read_text().count("table of patterns is missing") == 1
        # the fault is real: with the table it would work
        (sudoku.log.parent / "patterns.json").write_text(json.dumps({PUZZLE: "1" * 81}))
        assert sudoku.get("/health")[0] == 200
        assert sudoku.get("/solve", puzzle=PUZZLE)[1]["solution"] == "1" * 81


def test_kept_connections(tmp_path: Path) -> None:
    import http.client

    with program(tmp_path, "sudoku", "1.0.0") as sudoku:
        connection = http.client.HTTPConnection(sudoku.address, sudoku.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.connect()
            local = connection.sock.getsockname()
            for puzzle in puzzles(5):
                connection.request("GET", f"/solve?puzzle={puzzle}")
                assert is_solution(puzzle, json.loads(connection.getresponse().read())["solution"])
            assert connection.sock.getsockname() == local


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_arrived_before_the_signal_is_answered(tmp_path: Path, number: signal.Signals) -> None:
    with program(tmp_path, "sudoku", "1.0.0") as sudoku, contextlib.ExitStack() as stack:
        idle = stack.enter_context(socket.create_connection((sudoku.address, sudoku.port), timeout=30))
        asked = [stack.enter_context(send(sudoku, HOPELESS if n % 4 == 0 else PUZZLE)) for n in range(16)]
        sudoku.process.send_signal(number)
        for n, connection in enumerate(asked):
            head, _, body = read_all(connection).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 422" if n % 4 == 0 else b"HTTP/1.1 200"), (n, head)
            assert json.loads(body)["instance"] == "puzzle.sudoku/0"
        assert read_all(idle) == b""
        assert sudoku.process.wait(PATIENCE) == 0
        assert "0 connections cut" not in sudoku.log.read_text() and "ends" in sudoku.log.read_text()


def test_after_the_signal_it_still_accepts_for_a_moment_and_then_no_more(tmp_path: Path) -> None:
    with program(tmp_path, "sudoku", "1.0.0") as sudoku:
        with send(sudoku, HOPELESS) as slow:
            sudoku.process.terminate()
            # A client that chose this endpoint just before; its connection is closed after the answer.
            with send(sudoku, PUZZLE) as late:
                head = read_all(late)
                assert head.startswith(b"HTTP/1.1 200")
            assert read_all(slow).startswith(b"HTTP/1.1 422")
        assert sudoku.process.wait(PATIENCE) == 0
        assert not answers(sudoku.address, sudoku.port)


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    with program(tmp_path, "sudoku", "1.0.0") as sudoku:
        with pytest.raises(AssertionError, match="cannot listen on .*: Address already in use"):
            at = {"COCKPIT_ADDRESS": sudoku.address, "COCKPIT_PORT_HTTP": str(sudoku.port)}
            with program(tmp_path, "sudoku", "1.1.0", env=at) as other:
                wait_for(lambda: other.process.poll() is not None)
                raise AssertionError(other.log.read_text())


# web


@pytest.fixture
def names(tmp_path: Path) -> Path:
    return tmp_path / "names.json"


def web_program(
    tmp_path: Path, names: Path, version: str = "1.0.0"
) -> contextlib.AbstractContextManager[Program]:
    env = {"COCKPIT_NAMES_CACHE": str(names), "COCKPIT_HOST": "bj-1"}
    return program(tmp_path, "web", version, env=env)


def test_web_finds_sudoku_by_name(tmp_path: Path, names: Path) -> None:
    with program(tmp_path, "sudoku", "1.1.0") as sudoku, web_program(tmp_path, names) as web:
        publish(names, sudoku=[sudoku])
        status, answer = web.get("/solve", puzzle=HARD)
        assert status == 200 and is_solution(HARD, answer.pop("solution"))
        assert answer == {
            "version": "1.0.0", "instance": "puzzle.web/0",
            "sudoku": {"version": "1.1.0", "instance": "puzzle.sudoku/0"},
        }  # fmt: skip
        assert web.get("/solve", puzzle="1")[0] == 422
        assert web.get("/health") == (200, {"status": "ok", "version": "1.0.0"})
        _, info = web.get("/info")
        assert info["sudoku"] == [sudoku.endpoint()] and info["host"] == "bj-1"
        assert info["pid"] == web.process.pid


def test_the_page(tmp_path: Path, names: Path) -> None:
    with program(tmp_path, "sudoku", "1.1.0") as sudoku, web_program(tmp_path, names, "1.1.0") as web:
        publish(names, sudoku=[sudoku])
        status, page = web.get("/")
        assert status == 200 and "<form" in page and "<table>" not in page
        status, page = web.get("/", puzzle=HARD)
        assert status == 200 and page.count("<td>") == 81 and "hard" in page and "web 1.1.0" in page
        status, page = web.get("/", puzzle="<script>")
        assert status == 422 and "<script>" not in page


def test_web_110_shows_the_difficulty_and_100_does_not(tmp_path: Path, names: Path) -> None:
    with program(tmp_path, "sudoku", "1.1.0") as sudoku:
        publish(names, sudoku=[sudoku])
        for version, shows in (("1.0.0", False), ("1.1.0", True)):
            with web_program(tmp_path, names, version) as web:
                assert ("difficulty" in web.get("/solve", puzzle=PUZZLE)[1]) is shows


def test_web_never_fails_while_one_sudoku_is_ready(tmp_path: Path, names: Path) -> None:
    """One refuses, one answers 503, one breaks off in the middle; one works."""
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(program(tmp_path, "sudoku", "1.0.0"))
        sick = stack.enter_context(program(tmp_path, "sudoku", "1.2.0", 1))
        dead = stack.enter_context(program(tmp_path, "sudoku", "1.1.0", 2))
        dead.process.kill()
        dead.process.wait(PATIENCE)
        breaks = stack.enter_context(program(tmp_path, "sudoku", "1.1.0", 4))
        breaks.process.send_signal(signal.SIGSTOP)
        web = stack.enter_context(web_program(tmp_path, names))
        publish(names, sudoku=[dead, sick, good, breaks])
        kill = stack.enter_context(send(web, PUZZLE))
        breaks.process.kill()  # whoever waits for it sees its connection reset
        assert read_all_answer(kill).startswith(b"HTTP/1.1 200")
        for puzzle in puzzles(25):
            status, answer = web.get("/solve", puzzle=puzzle)
            assert status == 200 and answer["sudoku"]["instance"] == "puzzle.sudoku/0"
        assert "asking another" in web.log.read_text()


def read_all_answer(connection: socket.socket) -> bytes:
    """One answer on a connection that stays open."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    return data


def test_web_waits_for_a_sudoku_that_is_just_coming(tmp_path: Path, names: Path) -> None:
    publish(names, sudoku=[])
    with web_program(tmp_path, names) as web, send(web, PUZZLE) as asked:
        with program(tmp_path, "sudoku", "1.0.0") as sudoku:
            publish(names, sudoku=[sudoku])
            assert read_all_answer(asked).startswith(b"HTTP/1.1 200")


def test_web_ends_after_its_requests_too(tmp_path: Path, names: Path) -> None:
    with program(tmp_path, "sudoku", "1.0.0") as sudoku, web_program(tmp_path, names) as web:
        publish(names, sudoku=[sudoku])
        with contextlib.ExitStack() as stack:
            asked = [stack.enter_context(send(web, p)) for p in [HOPELESS, *puzzles(7)]]
            web.process.terminate()
            got = [read_all(connection)[:12] for connection in asked]
            assert got == [b"HTTP/1.1 422", *[b"HTTP/1.1 200"] * 7]
        assert web.process.wait(PATIENCE) == 0
