"""The README's tour on a real demo cluster, in a real terminal; and the player that plays it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

from tests.e2e.cluster import cluster
from tests.house.tree import ROOT

MOST = 500_000
"""Bytes of the recorded tour."""


def tool(name: str) -> ModuleType:
    """A module of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


player, animation = tool("play"), tool("animation")
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
PRINTS = """
import sys
print("\\x1b[31mred\\x1b[0m <1> ready")
for line in sys.stdin:
    print("got", line.strip())
"""


@needs_tmux
@pytest.mark.timeout(600)
def test_the_tour_is_true() -> None:
    with cluster(None) as c:
        c.wait_calm(90)
        argv = [sys.executable, "-m", "cockpit.cli.main", "attach", "--state", str(c.state), "--at", "overview"]
        with player.stage(argv) as at:
            lines = player.parse((ROOT / "docs" / "tour.play").read_text())
            frames = player.play(lines, at)
        assert len(frames) == sum(line.word == "show" for line in lines)
        assert c.instances()["puzzle.sudoku/0"]["version_actual"] == "1.1.0"


def test_the_recorded_tour_needs_nothing_from_elsewhere() -> None:
    path = ROOT / "docs" / "tour.svg"
    assert path.stat().st_size < MOST
    text = path.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert "script" not in text and text.count("http") == text.count("http://www.w3.org/2000/svg")
    pictures = sum(line.word == "show" for line in player.parse((ROOT / "docs" / "tour.play").read_text()))
    assert len(root.findall(".//{*}animate")) == pictures, "docs/tour.svg was made from another script"
    assert "docs/tour.svg" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("text", "why"),
    [("kex a", "line 1: 'kex' is none"), ("\nkey", "line 2: key needs"), ("hold long", "line 1: 'long' is no num")],
)
def test_what_is_wrong_in_a_script_is_said_with_its_line(text: str, why: str) -> None:
    with pytest.raises(player.Wrong, match=why):
        player.parse(text)


@needs_tmux
def test_it_waits_for_words_and_fails_without_them(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text(PRINTS)
    script = "see ready\nsay hello\nshow 1\ntype abc\nkey Enter\nsee got abc\nshow 2\n"
    with player.stage([sys.executable, str(program)], (40, 5)) as at:
        frames = player.play(player.parse(script), at)
        with pytest.raises(player.Wrong, match="line 1: 'nothing' is not on the screen:"):
            player.play(player.parse("see nothing"), at, late=0.1)
    assert [f.seconds for f in frames] == [1, 2] and frames[0].said == "hello"
    svg = animation.animated(frames, (40, 5))
    ET.fromstring(svg)
    assert "&lt;1&gt; ready" in svg and ">red<" in svg
    assert svg.count("ready") == 1, "a line of two pictures is in it once"
