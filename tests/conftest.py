"""Fixtures of every suite. Plain helpers are in tests/helpers.py."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import leftovers

# The same examples every time: a red run stays red until it is understood.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

# A run in the background, or under nohup, ignores them, and so would every program that is started here.
for _number, _usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _usual)

_short: list[Path] = []

gc.disable()  # while tests are collected: nothing of that is garbage


def pytest_collection_finish() -> None:
    """What was collected stays to the end: it is not looked through again with every collection of garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def no_leftovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails the session when a process that it started is left behind, and ends that process."""
    mark = os.environ[leftovers.VARIABLE] = uuid.uuid4().hex
    yield
    directories = [tmp_path_factory.getbasetemp(), *_short]
    deadline = time.monotonic() + 30  # for those that are just ending
    while (left := leftovers.find(mark, directories)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if left:
        names = "; ".join(f"{pid} ({command})" for pid, command in left.items())
        pytest.fail(f"left behind and killed: {names}", pytrace=False)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A private directory with a short path: a Unix socket's may have 107 bytes at most."""
    path = Path(tempfile.mkdtemp(prefix="ck-"))
    _short.append(path)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory that everybody reaches, other users of this machine too."""
    path = Path(tempfile.mkdtemp(prefix="ck-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
