"""The watch over processes that tests leave behind sees them."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

from tests import leftovers
from tests.helpers import alive, running, wait_for

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def test_by_the_mark_in_the_environment() -> None:
    mark = uuid.uuid4().hex
    with running(SLEEP, env=os.environ | {leftovers.VARIABLE: mark}) as process:
        wait_for(lambda: "time.sleep" in leftovers.find(mark).get(process.pid, ""), what="it has become its program")
        assert list(leftovers.find(mark)) == [process.pid]
    assert leftovers.find(mark) == {}
    assert not alive(process.pid)


def test_by_a_directory_of_the_session(tmp_path: Path) -> None:
    named = {"DIR": str(tmp_path / "x")}
    with running(SLEEP, env={}, cwd=tmp_path) as by_place, running(SLEEP, env=named) as by_name:
        wait_for(lambda: {by_place.pid, by_name.pid} == set(leftovers.find("none", [tmp_path])))


def test_this_session_has_a_mark() -> None:
    assert os.environ[leftovers.VARIABLE]
