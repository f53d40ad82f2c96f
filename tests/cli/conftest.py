"""A controller in this process with two fake hosts on which everything runs; commands run beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cockpit.cli.main import main
from tests.controller.fakes import Background, background

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("status", "--json")` -> exit code, stdout, stderr. No state is set in the environment."""
    monkeypatch.delenv("COCKPIT_STATE", raising=False)
    monkeypatch.setenv("COLUMNS", "120")

    def once(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(w) for w in words])
        except SystemExit as e:  # argparse
            code = int(e.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return once


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ck-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def live(place: Path) -> Iterator[Background]:
    """Both hosts are up, everything runs. Tests of one file share it."""
    with background(place) as b:
        b.connect("a-1", "b-1")
        assert main(["converge", "--json", "--state", str(b.state)]) == 0
        yield b
