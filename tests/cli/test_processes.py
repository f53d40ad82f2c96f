"""Commands as processes of their own: `serve` and its end, pipes, and who else is there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.fakes import TOPOLOGY
from tests.e2e.cluster import COCKPIT, Cluster, cluster
from tests.helpers import PATIENCE, wait_for


@pytest.fixture(scope="module")
def served() -> Iterator[Cluster]:
    with cluster(TOPOLOGY) as c:
        yield c


def still(c: Cluster) -> bool:
    actions = c.status()["actions"]
    return bool(actions) and all(a["state"] == "done" for a in actions)


def piped(c: Cluster, command: str) -> subprocess.CompletedProcess[str]:
    """A shell's pipe; `$COCKPIT` is the program. The exit code is that of the first command."""
    program = " ".join(COCKPIT)
    return subprocess.run(
        ["bash", "-c", f'COCKPIT="{program}"; {command}; exit ${{PIPESTATUS[0]}}'], capture_output=True, text=True,
        env={**os.environ, "COCKPIT_STATE": str(c.state)}, stdin=subprocess.DEVNULL, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("words", ["status", "status --json", "log", "schema", "--help", "export"])
def test_a_pipe_that_closes_early(served: Cluster, words: str) -> None:
    """`| head` and a reader that reads nothing at all: no error, nothing on stderr."""
    done = piped(served, f"$COCKPIT {words} | head -1")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    done = piped(served, f"$COCKPIT {words} | true")
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_terminal_nothing_asks(served: Cluster) -> None:
    done = served.run("stop", "web")
    assert done.returncode == 3 and "--confirm web" in done.stderr
    assert served.run("attach").stdout.startswith("still  rev ")


def test_a_second_controller_is_refused_with_the_pid_of_the_first(served: Cluster) -> None:
    assert served.process is not None
    done = served.run("serve", str(served.file), "--state", str(served.state))
    assert done.returncode == 3
    assert f"(pid {served.process.pid})" in done.stderr
    assert served.status()["revision"] == 1


def test_a_bad_file_leaves_what_runs_untouched(served: Cluster, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(TOPOLOGY.replace("region: sh", "region: s"))
    before = served.status()
    for words in (["serve", str(bad)], ["run", str(bad)], ["apply", str(bad)]):
        done = served.run(*words, "--state", str(served.state))
        assert done.returncode == 2
        assert f"{bad}:6:" in done.stderr and 'did you mean "sh"?' in done.stderr
    after = served.status()
    assert (before["revision"], before["digest"]) == (after["revision"], after["digest"])


def test_run_finds_the_controller_that_is_there(served: Cluster) -> None:
    done = served.run("run", str(served.file), "--state", str(served.state))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("still  rev 1")


def test_a_serve_on_a_changed_file_changes_nothing(served: Cluster) -> None:
    with cluster(TOPOLOGY) as c:
        digest = c.status()["digest"]
        c.file.write_text(TOPOLOGY.replace("instances: 2", "instances: 4"))
        c.kill()
        c.start()
        assert c.status()["digest"] == digest
        assert c.process is not None
        c.process.send_signal(signal.SIGTERM)
        assert c.process.wait(PATIENCE) == 0
        assert c.run("status").returncode == 4


def test_a_deleted_state_directory_ends_it_and_says_what_to_do() -> None:
    with cluster(TOPOLOGY) as c:
        c.wait(lambda: still(c), 10)
        shutil.rmtree(c.state)
        assert c.process is not None
        assert c.process.wait(PATIENCE) == 1
        text = c.log.read_text()
        assert "cockpit recover" in text and str(c.state) in text and "Traceback" not in text
        assert not c.state.exists()


def test_serve_in_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for state, code, word in (
        (tmp_path / "file" / "s", 2, "Not a directory"), (tmp_path / ("x" * 150), 2, "too long"),
    ):
        done = subprocess.run(
            [*COCKPIT, "serve", "--state", str(state)], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == code and word in done.stderr and "Traceback" not in done.stderr


def test_a_stray_package_in_the_working_directory_is_not_taken(served: Cluster, tmp_path: Path) -> None:
    for name in ("cockpit", "screens", "backends"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit(99)\n")
    script = Path(sys.executable).with_name("cockpit")
    for program in ([str(script)], COCKPIT):
        done = subprocess.run(
            [*program, "status", "--json", "--state", str(served.state)], cwd=tmp_path, capture_output=True,
            text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["cluster"] == "still"


def test_looking_leaves_no_trace(served: Cluster) -> None:
    """Nothing that only looks writes into the state directory."""

    def names() -> dict[str, int]:
        own = ("state.db", "history")  # these the controller writes by itself, by the clock
        return {
            str(p): p.stat().st_mtime_ns for p in served.state.rglob("*")
            if not p.relative_to(served.state).parts[0].startswith(own)
        }

    wait_for(lambda: still(served))
    before = names()
    for words in (["status"], ["export"], ["log"], ["artifact", "list"], ["plan", "converge"], ["attach"]):
        assert served.run(*words).returncode == 0
    assert names() == before
