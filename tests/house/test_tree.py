"""What may be in the files of the project, whatever their kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house import tree

LINES = 500
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.~}])/(work|root|opt/(wheels|pypi))(/|\b)",
    "a package index": r"(pypi|pythonhosted)\.org|--(extra-)?index-url|--find-links|--trusted-host",
    "an unfinished place": r"\b(TODO|FIXME|XXX)\b",
    "a merge conflict": r"^(<{7}|>{7}) ",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]",
}
HERE = Path(__file__).resolve().relative_to(tree.ROOT)
PICTURES = {".svg", ".png"}


def test_python_files_are_short() -> None:
    lengths = {p: len((tree.ROOT / p).read_text().splitlines()) for p in tree.python()}
    assert {str(p): n for p, n in lengths.items() if n > LINES} == {}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_files_do_not_hold(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    found = []
    for path in tree.files():
        if path == HERE or path.suffix in PICTURES:
            continue
        text = (tree.ROOT / path).read_text(errors="replace")
        found += [f"{path}:{text.count(chr(10), 0, m.start()) + 1}: {m[0]}" for m in pattern.finditer(text)]
    assert found == []


def test_every_room_is_in_the_plan_of_the_house() -> None:
    rooms = {f"{p.parts[0]}/{p.parts[1]}" for p in tree.python() if p.parts[0] == "cockpit" and len(p.parts) > 2}
    plan = (tree.ROOT / "CONTRIBUTING.md").read_text()
    assert "cockpit/model" in rooms
    assert sorted(r for r in rooms if f"`{r}`" not in plan) == []


def test_scripts_can_be_run() -> None:
    scripts = [p for p in tree.files() if (tree.ROOT / p).read_bytes()[:2] == b"#!"]
    assert Path("tools/venv.sh") in scripts
    assert [str(p) for p in scripts if not (tree.ROOT / p).stat().st_mode & 0o100] == []
