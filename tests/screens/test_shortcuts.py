"""Words and keys of one's own: read, refused, completed, carried out; workspaces as tabs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from screens.shortcuts import Shortcuts, load
from tests.screens.drive import LARGE, driven, until

GOOD = """\
[aliases]
bad = "instances drift"
worse = "bad region=bj"
dw = "deploy web"
[keys]
f5 = "bad"
"ctrl+o" = "hosts"
f6 = "night"
[workspaces]
night = ["bad", "logs web", "hosts"]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cockpit").mkdir()
    yield tmp_path / "cockpit"


def written(home: Path, text: str, mode: int = 0o600) -> Path:
    path = home / "shortcuts.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_aliases_of_aliases_are_whole_lines(home: Path) -> None:
    found = load([written(home, GOOD)])
    assert found.problems == ()
    assert found.expand("worse restarts>3") == "instances drift region=bj restarts>3"
    assert found.expand("dw 1.2.0") == "deploy web 1.2.0" and found.expand("hosts bad") == "hosts bad"
    assert found.keys == {"f5": "bad", "ctrl+o": "hosts", "f6": "night"}
    assert found.about("night") == "yours, as tabs: bad, logs web, hosts"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[aliases]\nstop = "hosts"', ":2: stop: stop is a verb already"),
        ('[aliases]\nhosts = "instances"', ":2: hosts: hosts is a screen already"),
        ('[aliases]\na = "b"\nb = "a x"', ":2: a: it leads back to itself: a > b > a"),
        ('[aliases]\nx = "instnces drift"', ':2: x: no screen and no verb \'instnces\'; did you mean "instances"?'),
        ('[aliases]\nx = ""', ":2: x: it stands for a line"),
        ("[aliases]\nx = 7", ":2: x: it stands for a line"),
        ('[aliases]\n"a b" = "hosts"', ":2: a b: a word is of letters"),
        ('[keys]\nf55 = "hosts"', ":2: f55: no key 'f55'; the nearest is 'f5'"),
        ('[keys]\n"ctrl+c" = "hosts"', ":2: ctrl+c: ctrl+c leaves the cockpit"),
        ('[keys]\nf5 = "nothing"', ":2: f5: no screen and no verb"),
        ('[workspaces]\nw = ["stop web"]', ":2: w: stop is a verb; a workspace opens screens"),
        ('[workspaces]\nw = []', ":2: w: it is a list of 1 to 9 lines"),
        ('[alias]\nx = "hosts"', ':1: alias: there are [aliases], [keys] and [workspaces]; did you mean "aliases"?'),
        ('x = "hosts"', ":1: x: there are [aliases]"),
        ("[aliases\n", ":1: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(home: Path, text: str, said: str) -> None:
    found = load([written(home, text)])
    assert found.aliases == {} or "leads back" in said
    assert len(found.problems) >= 1 and said in found.problems[0], found.problems
    assert found.keys == {} and found.workspaces == {}


def test_one_mistake_takes_nothing_else_away(home: Path) -> None:
    found = load([written(home, GOOD + 'empty = []\n')])
    assert len(found.problems) == 1
    assert set(found.aliases) == {"bad", "worse", "dw"} and set(found.workspaces) == {"night"}


def test_a_file_that_others_may_write_is_not_used(home: Path) -> None:
    found = load([written(home, GOOD, 0o666)])
    assert found.aliases == {} and "others may write" in found.problems[0]


def test_the_file_of_the_cluster_counts_more(home: Path) -> None:
    other = home / "puzzle-prod" / "shortcuts.toml"
    other.parent.mkdir()
    other.write_text('[aliases]\nbad = "hosts unknown"\n')
    found = load([written(home, GOOD), other])
    assert found.expand("bad") == "hosts unknown" and found.expand("dw") == "deploy web"


def test_without_a_file_there_is_nothing(home: Path) -> None:
    assert load([home / "shortcuts.toml"]) == Shortcuts()


async def test_a_word_of_ones_own_is_completed_explained_and_carried_out(home: Path) -> None:
    written(home, GOOD)
    async with driven(LARGE) as d:
        await d.press(":", "b")
        await d.sees("  bad   between")
        await d.type("ad")
        await d.sees("yours: instances drift")
        await d.press("enter")
        await d.at("InstancesScreen")
        await d.sees("/drift")
        await d.press("escape", "escape", ":")
        await d.type("dw ")
        await d.press("tab")
        await until(lambda: d.app.screen.field is not None and d.app.screen.field.text.startswith("dw"))  # type: ignore[attr-defined]
        await d.press("escape", ":")
        await d.type("dw 1.0.0")
        await d.press("enter")
        await d.at("PlanScreen")
        assert d.session.planned[-1].verb == "deploy" and d.session.planned[-1].params["version"] == "1.0.0"


async def test_a_key_of_ones_own_goes_there_and_stands_in_the_help_and_the_palette(home: Path) -> None:
    written(home, GOOD)
    async with driven(LARGE) as d:
        await d.press("f5")
        await d.at("InstancesScreen")
        await d.press("escape", "escape", "?")
        await d.at("HelpScreen")
        await d.press("/")
        await d.type("yours")
        await d.sees("yours: instances drift")
        await d.press("enter", "escape", "escape", "ctrl+p")
        await d.at("PaletteScreen")
        await d.type("worse")
        await d.press("enter")
        await d.at("InstancesScreen")
        await d.sees("/drift region=bj")


async def test_a_changed_file_counts_at_once_and_its_mistakes_are_said(home: Path) -> None:
    path = written(home, "")
    async with driven(LARGE) as d:
        path.write_text('[aliases]\nmine = "hosts"\nbroken = "nothing here"\n')
        os.utime(path, (1, 1))
        await d.press(":")
        await d.sees("shortcuts.toml:3: broken: no screen and no verb 'nothing'")
        await d.type("mine")
        await d.press("enter")
        await d.at("HostsScreen")


async def test_a_key_that_every_screen_has_stays_what_it_is(home: Path) -> None:
    written(home, '[keys]\nh = "journal"\n')
    async with driven(LARGE) as d:
        await d.sees("hosts has the key h on every screen, and keeps it")
        await d.press("h")
        await d.at("HostsScreen")


async def test_a_workspace_opens_as_tabs_once(home: Path) -> None:
    written(home, GOOD)
    async with driven(LARGE) as d:
        await d.press("f6")
        await d.at("InstancesScreen")
        await d.sees("2 instances drift")
        await d.sees("4 hosts")
        assert len(d.app.tabs.order) == 4
        await d.press("4")
        await d.at("HostsScreen")
        await d.press(":")
        await d.type("night")
        await d.press("enter")
        await d.at("InstancesScreen")
        assert len(d.app.tabs.order) == 4 and d.app.tabs.at == 1
        await d.press("escape", "escape")
        await d.at("OverviewScreen")


async def test_a_workspace_that_has_no_room_opens_nothing(home: Path) -> None:
    written(home, GOOD)
    async with driven(LARGE) as d:
        for _ in range(7):
            await d.press("ctrl+t")
        await until(lambda: len(d.app.tabs.order) == 8)
        await d.press("f6")
        await d.sees("needs 3 more tabs, and there is room for 1")
        assert len(d.app.tabs.order) == 8


async def test_the_screens_begin_at_a_word_of_ones_own(home: Path) -> None:
    written(home, GOOD)
    async with driven(LARGE, address="worse") as d:
        await d.at("InstancesScreen")
        await d.sees("/drift region=bj")
