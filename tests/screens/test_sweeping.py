"""A closed screen is gone soon, and not when the collector happens to run."""

from __future__ import annotations

import gc
import sys
import types
import weakref
from collections.abc import Iterator

import pytest

from screens.sweeping import Sweeping
from tests.screens.drive import LARGE, driven, until
from tests.screens.test_past import traveller


@pytest.fixture
def by_hand() -> Iterator[None]:
    """Python itself collects nothing."""
    before = gc.get_threshold()
    gc.set_threshold(0)
    yield
    gc.set_threshold(*before)


async def test_a_closed_screen_is_swept_up(by_hand: None) -> None:
    async with driven() as d:
        kept = Sweeping(d.app)
        await d.press("g")
        await d.at("GraphScreen")
        closed = weakref.ref(d.app.screen)
        await d.press("escape")
        await d.at("OverviewScreen")
        await until(lambda: closed() is None, "the closed screen is gone")
        assert kept.runs == 1


async def test_opening_one_sweeps_nothing(by_hand: None) -> None:
    async with driven() as d:
        kept = Sweeping(d.app)
        await d.press("g")
        await d.at("GraphScreen")
        assert not kept.waits
        await d.press("escape", "g", "escape")
        await until(lambda: kept.runs == 1)


async def test_what_was_imported_is_not_looked_through_again(by_hand: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with driven() as d:
        kept = Sweeping(d.app)
        before = gc.get_freeze_count()
        try:
            await d.press("g", "escape")
            await until(lambda: kept.runs == 1)
            same = gc.get_freeze_count()
            monkeypatch.setitem(sys.modules, "imported_just_now", types.ModuleType("imported_just_now"))
            await d.press("i", "enter", "escape")
            await until(lambda: kept.runs == 2)
            # fewer, when some of what was set aside has ended meanwhile
            assert gc.get_freeze_count() <= same, "a screen is open, and it will go"
            await d.press("escape")
            await until(lambda: kept.runs == 3)
            assert gc.get_freeze_count() > same >= before
        finally:
            gc.unfreeze()


async def test_a_moment_of_the_past_is_not_kept(by_hand: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with driven(LARGE, traveller()) as d:
        kept = Sweeping(d.app)
        monkeypatch.setitem(sys.modules, "imported_just_now", types.ModuleType("imported_just_now"))
        before = gc.get_freeze_count()
        try:
            await d.press("T")
            await d.sees("THE PAST")
            await d.press("g", "escape")
            await until(lambda: kept.runs == 1)
            assert d.app.travel is not None and gc.get_freeze_count() <= before
        finally:
            gc.unfreeze()
