"""`cockpit keys`, and the view that a screen begins at."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cockpit.cli import keys
from cockpit.cli.main import build_parser, main
from tests.house import tree


def entry() -> Any:
    """What pyproject.toml says is behind the name `keys`."""
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = project["project"]["entry-points"]["cockpit.screens"]["keys"].partition(":")
    return getattr(import_module(module), name)


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(keys, "face", lambda name: entry())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_keys_are_listed_and_begin_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["keys"]) == 0
    assert "verb.restart" in capsys.readouterr().out
    assert main(["keys", "--format", "toml"]) == 0
    text = capsys.readouterr().out
    assert '# "verb.restart" = ["r"]' in text
    (tmp_path / "cockpit").mkdir()
    text = text.replace('# "verb.restart" = ["r"]', '"verb.restart" = ["Z"]')
    (tmp_path / "cockpit" / "keys.toml").write_text(text)
    assert main(["keys"]) == 0
    out = capsys.readouterr().out
    assert "Z                  verb.restart *" in out and "keys.toml" in out


def test_a_file_that_is_wrong_is_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "cockpit").mkdir()
    (tmp_path / "cockpit" / "keys.toml").write_text('"sort" = ["w"]')
    assert main(["keys"]) == 2
    assert "keys.toml:1: sort: w is the key of wide" in capsys.readouterr().err


def test_a_screen_can_begin_at_an_address() -> None:
    for command in (["attach"], ["run", "t.yaml"], ["demo"]):
        assert build_parser().parse_args([*command, "--at", "instances web drift"]).at == "instances web drift"
