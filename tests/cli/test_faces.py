"""The screens are found by the entry point of our own installation, or by any."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cockpit.cli.common import Fail
from cockpit.cli.faces import GROUP, _named, _own, face

TEXT = """[console_scripts]
textual = wrong:one

[cockpit.screens]
plain = screens.plain:overview_text
textual = screens.app:run_async

[cockpit.state]
other = wrong:two
"""


def test_only_our_group_counts() -> None:
    assert f"[{GROUP}]" in TEXT
    assert _named(TEXT, "textual") == "screens.app:run_async"
    assert _named(TEXT, "other") == ""


def test_the_first_installation_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "there" / "cockpit_ops-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(TEXT)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "missing"), str(tmp_path), str(tmp_path / "there")])
    assert _own("plain") == "screens.plain:overview_text"
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert _own("plain") == ""


def test_one_that_is_not_installed_is_named() -> None:
    with pytest.raises(Fail, match="no screens named 'nonsense' are installed"):
        face("nonsense")
