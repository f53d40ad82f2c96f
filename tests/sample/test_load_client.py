"""The load client: it counts right answers, and every kind of wrong one."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cockpit.sample.client import Load, StatusFile, main, puzzles
from cockpit.sample.solver import solve
from tests.helpers import PATIENCE, running, wait_for
from tests.naming.fake_agent import FakeAgent
from tests.sample.system import program


@pytest.fixture
def agent(short_dir: Path) -> Iterator[FakeAgent]:
    agent = FakeAgent(short_dir / "agent.sock")
    yield agent
    agent.stop()


def test_a_rolling_replacement_under_load_loses_nothing(tmp_path: Path, agent: FakeAgent) -> None:
    """Two sudoku and one web, each replaced by the next version: register, take out, SIGTERM."""
    env = {"COCKPIT_AGENT_SOCKET": str(agent.path)}
    argv = [sys.executable, "-m", "cockpit.sample.client", "--names", str(agent.path)]
    argv += ["--threads", "2", "--rate", "80"]
    with program(tmp_path, "sudoku", "1.0.0", 0) as old0, program(tmp_path, "sudoku", "1.0.0", 1) as old1:
        agent.set("puzzle.sudoku", old0.endpoint(), old1.endpoint())
        with program(tmp_path, "web", "1.0.0", env=env) as web:
            agent.set("puzzle.web", web.endpoint())
            with running(argv, stdout=subprocess.PIPE) as load:
                with (
                    program(tmp_path, "sudoku", "1.1.0", 0) as new0,
                    program(tmp_path, "sudoku", "1.1.0", 1) as new1,
                    program(tmp_path, "web", "1.1.0", env=env) as new_web,
                ):
                    wait_for(lambda: agent.connected == 2, what="web and the load client ask the agent")
                    for left, old in (([new0, old1], old0), ([new0, new1], old1)):
                        agent.set("puzzle.sudoku", *[p.endpoint() for p in left], old.endpoint("draining"))
                        agent.set("puzzle.sudoku", *[p.endpoint() for p in left])
                        old.process.terminate()
                        assert old.process.wait(PATIENCE) == 0
                    agent.set("puzzle.web", new_web.endpoint())
                    web.process.terminate()
                    assert web.process.wait(PATIENCE) == 0
                    seen = new_web.get("/solve", puzzle=puzzles(1)[0])[1]["sudoku"]["version"]
                    assert seen == "1.1.0"
                    load.terminate()
                    out, _ = load.communicate(timeout=PATIENCE)
    summary = json.loads(out)
    assert load.returncode == 0, summary
    assert summary["failed"] == 0 and summary["failures"] == [] and summary["answers"] > 20
    assert set(summary["web_versions"]) == {"1.0.0", "1.1.0"}
    assert set(summary["sudoku_versions"]) == {"1.0.0", "1.1.0"}
    assert summary["latency_ms"]["p50"] > 0


class Wrong(BaseHTTPRequestHandler):
    """Gives one kind of answer, chosen by the server."""

    def do_GET(self) -> None:
        kind, puzzle = self.server.kind, self.path.partition("=")[2]  # type: ignore[attr-defined]
        if kind == "reset":
            self.connection.close()
            return
        body: dict[str, Any] = {"solution": solve(puzzle)[0], "version": "v", "instance": "web/0"}
        if kind == "wrong":
            body["solution"] = "123456789" * 9
        elif kind == "other":
            body = {"error": "no"}
        self.send_response(503 if kind == "503" else 200)
        self.end_headers()
        self.wfile.write(b"no JSON" if kind == "text" else json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def status(tmp_path: Path) -> Iterator[tuple[Path, ThreadingHTTPServer]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Wrong) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        path = tmp_path / "status.json"
        host, port = server.server_address[:2]
        row: dict[str, Any] = {"service": "puzzle.web", "address": host, "port": port, "state": "ready"}
        path.write_text(json.dumps({"endpoints": [row, row | {"state": "gone", "port": 1}]}))
        yield path, server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("wrong", "wrong solution"), ("other", "wrong solution"), ("503", "status 503"),
        ("text", "Expecting value"), ("reset", "RemoteDisconnected"),
    ],
)  # fmt: skip
def test_every_kind_of_wrong_answer_is_a_failure(
    status: tuple[Path, ThreadingHTTPServer], capsys: pytest.CaptureFixture[str], kind: str, why: str
) -> None:
    path, server = status
    server.kind = kind  # type: ignore[attr-defined]
    assert main(["--status", str(path), "--seconds", "0.1", "--threads", "1", "--rate", "100"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert summary["answers"] == 0 and summary["failed"] > 0
    assert why in summary["failures"][0]["why"]
    assert summary["failures"][0]["endpoint"] == f"127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize("more", [[], ["--keep-alive"]])
def test_right_answers_by_a_status_file(
    status: tuple[Path, ThreadingHTTPServer], capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    path, server = status
    server.kind = "right"  # type: ignore[attr-defined]
    assert main(["--status", str(path), "--seconds", "0.2", "--rate", "200", *more]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["failed"] == 0 and summary["web_versions"] == {"v": summary["answers"]}


def test_nobody_to_ask_and_nobody_there_are_failures(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text(json.dumps({"endpoints": []}))
    load = Load(StatusFile(path), "web")
    summary = load.run(1, lambda: wait_for(lambda: load.failed))
    assert summary["answers"] == 0 and summary["failed"] >= 1
    assert "has no ready endpoint" in summary["failures"][0]["why"]
    gone = {"service": "web", "address": "127.0.0.1", "port": 1, "state": "ready"}
    path.write_text(json.dumps({"endpoints": [gone]}))
    load = Load(StatusFile(path), "web")
    summary = load.run(1, lambda: wait_for(lambda: load.failed > 30))
    assert "ConnectionRefusedError" in summary["failures"][0]["why"]
    assert len(summary["failures"]) == 20


def test_a_puzzle_is_the_same_every_time() -> None:
    assert puzzles(5) == puzzles(5) and len(set(puzzles(50))) == 50
