"""What survives a long run of the collector is set aside; now and then all is looked at once more."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import pytest

from cockpit.controller.collecting import AGAIN, LONG, Collecting


@pytest.fixture
def collecting() -> Iterator[Collecting]:
    gc.unfreeze()  # programs that this process has imported may have set their own modules aside
    found = Collecting()
    found.start()
    yield found
    found.stop()


def test_a_short_run_sets_nothing_aside_and_a_long_one_does(collecting: Collecting) -> None:
    collecting.ran(LONG / 2, time.monotonic())
    assert gc.get_freeze_count() == 0
    collecting.ran(LONG, time.monotonic())
    assert gc.get_freeze_count() > 0
    assert collecting.aside == 1


def test_all_is_looked_at_again_after_a_while(collecting: Collecting) -> None:
    now = time.monotonic()
    collecting.ran(LONG, now)
    collecting.ran(LONG, now + AGAIN)
    assert gc.get_freeze_count() == 0
    collecting.ran(LONG, now + AGAIN + 1)  # that one looked at everything, and what it left is set aside
    assert gc.get_freeze_count() > 0


def test_runs_are_measured_and_only_full_ones(collecting: Collecting, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[float] = []
    monkeypatch.setattr(collecting, "ran", lambda seconds, now: ran.append(seconds))
    gc.collect(0)
    gc.collect(1)
    assert ran == []
    gc.collect()
    assert len(ran) == 1
    assert ran[0] >= 0


def test_afterwards_it_is_as_before() -> None:
    found = Collecting()
    before = list(gc.callbacks)
    found.start()
    found.ran(LONG, time.monotonic())
    found.stop()
    assert gc.callbacks == before
    assert gc.get_freeze_count() == 0
