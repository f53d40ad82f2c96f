"""`artifact build`: what is wrong before anything runs. What runs is in tests/e2e and tests/controller."""

from __future__ import annotations

from pathlib import Path

import pytest

from cockpit.cli.building import plain
from cockpit.plan.steps import Refused
from cockpit.session.client import RemoteSession
from tests.cli.conftest import Run
from tests.controller.fakes import Background

BUILD = ("--name", "web", "--version", "1")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "r.yaml").write_text('argv: ["true"]\noutputs: [out]\n')
    return tmp_path / "r.yaml"


def test_before_anything_runs(run: Run, live: Background, recipe: Path) -> None:
    where = ("--state", live.state)
    code, _, err = run("artifact", "build", recipe, *BUILD, *where)
    assert (code, err) == (2, f"cockpit: say where to build: --host HOST, or host: HOST in {recipe}\n")
    code, _, err = run("artifact", "build", recipe, *BUILD, "--host", "a-11", *where)
    assert code == 2
    assert "unknown build host 'a-11' (did you mean \"a-1\"?)" in err
    recipe.write_text("argv: [x]\noutputs: [/out]\n")
    code, _, err = run("artifact", "build", recipe, *BUILD, "--host", "a-1", *where)
    assert (code, err.startswith(f'cockpit: {recipe}:2:11: "/out" is absolute')) == (2, True)


def test_nobody_answers(run: Run, live: Background, recipe: Path, tmp_path: Path) -> None:
    code, _, err = run("artifact", "build", recipe, *BUILD, "--host", "a-1", "--state", tmp_path / "none")
    assert code == 4
    assert "no controller answers" in err
    live.disconnect("b-1")
    code, _, err = run("artifact", "build", recipe, *BUILD, "--host", "b-1", "--state", live.state)
    live.connect("b-1")
    assert code == 4
    assert "no answer from b-1" in err


def test_a_host_that_cannot(run: Run, live: Background, recipe: Path) -> None:
    live.agents["a-1"].fails["build"] = ("busy", "2 builds are running on this host")
    code, _, err = run("artifact", "build", recipe, *BUILD, "--host", "a-1", "--state", live.state)
    assert (code, err) == (1, "cockpit: a-1: 2 builds are running on this host\n")
    assert "unbuild" not in live.agents["a-1"].words


def test_those_who_only_look_build_nothing(live: Background) -> None:
    async def ask(session: RemoteSession) -> str:
        try:
            async for _ in session.stream("artifact_build", {"name": "x"}):
                pass
        except Refused as e:
            return str(e)
        finally:
            await session.close()
        return ""

    said = live.do(ask(RemoteSession(live.state / "view.sock")))
    assert said == "artifact_build is refused: this is a view-only socket"
    said = live.do(ask(RemoteSession(live.state / "control.sock", read_only="you asked for it")))
    assert said == "artifact_build is refused: you asked for it"


def test_a_line_cannot_command_the_terminal() -> None:
    assert plain("a\tb\x1b[2Jc\x07\u202ed\u4e2d") == "a\tb\ufffd[2Jc\ufffd\ufffdd\u4e2d"
