"""Fixtures: a zipapp of what is installed here, and the stub of the one-file agent."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cockpit.bundle import pyz
from tests.bundle.places import ROOT, oldest_python


@pytest.fixture(scope="session")
def zipapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zipapp") / "cockpit-agent.pyz"
    pyz.make(path)
    return path


@pytest.fixture(scope="session")
def python() -> str:
    """The oldest interpreter here that a host may have."""
    return oldest_python()


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The stub, by this machine's compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not Path("/usr/include/zlib.h").exists():
        pytest.skip("no C compiler or no zlib.h here: apt-get install gcc libc6-dev zlib1g-dev")
    path = tmp_path_factory.mktemp("stub") / "stub"
    source = ROOT / "tools" / "agent" / "stub.c"
    argv = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(path), str(source), "-lz"]
    subprocess.run(argv, check=True, timeout=60)
    return path.read_bytes()


@pytest.fixture
def unpacked(tmp_path: Path) -> Iterator[Path]:
    """A directory to unpack into."""
    path = tmp_path / "unpacked"
    path.mkdir(mode=0o700)
    yield path
