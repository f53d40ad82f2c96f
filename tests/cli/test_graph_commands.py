"""`cockpit graph` and `cockpit top` against a running controller."""

from __future__ import annotations

import json
import time

import pytest

from tests.cli.conftest import Run
from tests.controller.fakes import Background
from tests.controller.test_metrics import SAMPLE


@pytest.fixture
def state(live: Background) -> list[str]:
    return ["--state", str(live.state)]


def test_a_graph_in_each_format(run: Run, state: list[str]) -> None:
    code, out, err = run("graph", *state)
    assert (code, err) == (0, "") and "\nweb " in f"\n{out}" and "  -> db" in out
    for form, begins in (("dot", "digraph"), ("mermaid", "flowchart LR")):
        assert run("graph", "--format", form, *state)[1].startswith(begins)
    found = json.loads(run("graph", "db", "--hops", "0", "--format", "json", *state)[1])
    assert [n["id"] for n in found["nodes"]] == ["shop.db"]
    assert "a-1" not in run("graph", "relays", *state)[1]


@pytest.mark.parametrize(("words", "says"), [(("wbe",), "web"), (("web", "--hops", "-1"), "--hops")])
def test_what_is_not_there(run: Run, state: list[str], words: tuple[str, ...], says: str) -> None:
    code, out, err = run("graph", *words, *state)
    assert code == 2 and out == "" and says in err


def test_top_says_what_is_known_and_what_is_not(run: Run, state: list[str], live: Background) -> None:
    live.look(lambda: live.c.metrics.take("a-1", {"sample": SAMPLE}, time.time()))
    code, out, err = run("top", *state)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:2] == ["HOST", "CPU"] and lines[1][:3] == ["a-1", "20", "%"]
    assert lines[2] == ["b-1", "no", "data"]
    assert json.loads(run("top", "--json", *state)[1])["b-1"] is None
    assert "1 more" in run("top", "--lines", "1", *state)[1]
