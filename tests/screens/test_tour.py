"""The tour: offered once, on the real screens with the real keys, in both languages; it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from screens.keymap import entries
from screens.sentences import spelled
from screens.taste import Taste
from screens.tour import STEPS
from screens.words import Words, catalogue
from tests.screens.canned import CannedSession
from tests.screens.drive import LARGE, SMALL, driven, until


async def test_it_is_offered_once_in_a_life(tmp_path: Path) -> None:
    async with driven(taste=Taste(tmp_path)) as d:
        await d.sees(":tour shows the keys")
    async with driven(taste=Taste(tmp_path)) as d:
        await until(lambda: d.app._begun, "begun")
        await d.settled()
        assert ":tour" not in d.text()


async def test_nobody_is_offered_it_where_nothing_is_kept() -> None:
    async with driven() as d:
        await until(lambda: d.app._begun, "begun")
        assert ":tour" not in d.text()


@pytest.mark.parametrize(
    ("size", "language", "read_only"),
    [(SMALL, "en", ""), (SMALL, "zh", "this is the view socket"), (LARGE, "en", "this is the view socket")],
)  # fmt: skip
async def test_every_step_leads_to_the_next(size: tuple[int, int], language: str, read_only: str) -> None:
    made = CannedSession(read_only=read_only)
    async with driven(size, made) as d:
        d.app.look.words = Words(language)
        d.app._look_changed()
        await d.press("colon", *"tour", "enter")
        for number, keys in enumerate((["down"], ["tab"], ["i"], ["/"], [*"sud", "enter"], ["e"], ["?"]), 1):
            await d.sees(f"{number}/{len(STEPS)} ")
            end = "Esc ends the tour" if language == "en" else "Esc 结束导览"
            assert end in d.text()
            await d.press(*keys)
        await d.sees(f"{len(STEPS)}/{len(STEPS)} ")
        assert d.name == "HelpScreen"
        await d.press("enter")
        await until(lambda: f"{len(STEPS)}/{len(STEPS)} " not in d.text(), "the tour is gone")
        assert not made.submitted and not made.planned


@pytest.mark.parametrize("steps", [0, 2, 4, 6])
async def test_esc_ends_it_at_any_moment(steps: int, tmp_path: Path) -> None:
    async with driven(taste=Taste(tmp_path)) as d:
        await d.press("colon", *"tour", "enter")
        for keys in (["down"], ["tab"], ["i"], ["/"], [*"sud", "enter"], ["e"])[:steps]:
            await d.press(*keys)
        await d.sees(f"{steps + 1}/{len(STEPS)} ")
        here = d.name
        await d.press("escape")
        assert d.app.comfort.tour is None and d.name == here and "ends the tour" not in d.text()
        await d.press("i")
        await d.at("InstancesScreen")


async def test_verbs_rest_until_it_is_over() -> None:
    made = CannedSession()
    async with driven(LARGE, made) as d:
        await d.press("colon", *"tour", "enter")
        await d.sees(f"1/{len(STEPS)} ")
        for key in ("d", "r", "E", "U"):
            await d.press(key)
            await d.sees("changes nothing")
            assert d.name == "OverviewScreen"
        assert not made.planned
        await d.press("escape", "c")
        await until(lambda: made.planned or d.name != "OverviewScreen", "the verb works again")


async def test_its_keys_are_the_ones_that_are_bound() -> None:
    async with driven(keys={"go.instances": ("f6",)}) as d:
        await d.press("colon", *"tour", "enter")
        await d.press("down", "tab")
        await d.sees("f6 lists all")
        await d.press("f6")
        await d.sees(f"4/{len(STEPS)} ")


def test_every_step_is_a_key_and_has_its_words_in_chinese() -> None:
    ids = {e.id for e in entries()}
    assert 6 <= len(STEPS) <= 8
    for step in STEPS:
        assert not step.id or step.id in ids
        assert step.text.rstrip(".") in catalogue("zh")["phrases"] or step.text in catalogue("zh")["phrases"]
        for text in (step.text, Words("zh").say(step.text)):
            assert "<" not in spelled(text, {}).replace("restarts>3", "")
