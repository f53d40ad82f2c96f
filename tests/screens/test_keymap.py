"""Keys by id: a person's own file, what is wrong with it, and that help, hints and dialogs follow it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cockpit.act.table import VERBS
from screens import keymap
from screens.keymap import Wrong, load
from screens.sentences import spelled
from tests.house import tree
from tests.screens.drive import LARGE, driven, to, until

ROOT = tree.ROOT


def own(tmp_path: Path, text: str) -> dict[str, tuple[str, ...]]:
    path = tmp_path / "keys.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_no_screen_has_one_key_for_two_things() -> None:
    assert keymap.clashes() == []


def test_every_id_has_a_tooltip_and_a_label() -> None:
    assert [e.id for e in keymap.entries() if not (e.id and e.tip and e.label)] == []


def test_a_file_gives_other_keys(tmp_path: Path) -> None:
    found = own(tmp_path, '"sort" = ["ctrl+o"]\n"sort.turn" = []\n[verb]\nrestart = ["Z", "f5"]\n"go.help" = ["?"]\n'
                .replace('"go.help"', "[go]\nhelp"))
    assert found == {
        "sort": ("ctrl+o",), "sort.turn": ("no_key",), "verb.restart": ("Z", "f5"), "go.help": ("question_mark",),
    }
    assert load(tmp_path / "missing.toml") == {}


WRONG: list[tuple[str, str]] = [
    ('"a.b" = ["x"]', ":1: no id 'a.b'"),
    ('\n"verb.restrat" = ["x"]', ":2: no id 'verb.restrat'; the nearest is 'verb.restart'"),
    ('"sort" = ["w"]', ":1: sort: w is the key of wide on every screen as well"),
    ('[verb]\n\nrestart = ["d"]', ":3: verb.restart: d is the key of verb.deploy on the screen"),
    ('"sort" = "o"', ':1: sort takes a list of keys, for example ["o"]'),
    ('"sort" = ["alt+s"]', ":1: sort: alt+s comes as Esc and the key behind it"),
    ('"sort" = ["pagedwn"]', ":1: sort: no key 'pagedwn'; the nearest is 'pagedown'"),
    ('"sort" = ["ctrl+c"]', ":1: sort: ctrl+c leaves the cockpit whatever happens"),
    ('"leave" = ["f10"]', ":1: leave keeps its keys"),
    ('"ask.yes" = ["y"]', ":1: ask.yes: a line is typed there"),
    ('sort = ["o"]\nsort.turn = ["O"]', "an id with a dot stands in quotes"),
    ('"sort" = [', ":1:"),
    ('"sort" = ["w"]\n"wide" = ["w"]', ":1: sort: w is the key of wide"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Wrong) as caught:
        own(tmp_path, text)
    assert f"{tmp_path / 'keys.toml'}" in str(caught.value)
    assert words in str(caught.value)


def test_every_mistake_is_told_at_once_and_keys_can_be_swapped(tmp_path: Path) -> None:
    with pytest.raises(Wrong) as caught:
        own(tmp_path, '"nonsense.a" = ["x"]\n"sort" = ["w"]\n')
    assert len(str(caught.value).splitlines()) == 2
    assert own(tmp_path, '"sort" = ["w"]\n"wide" = ["o"]\n') == {"sort": ("w",), "wide": ("o",)}


def test_the_list_begins_a_file_that_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    text = keymap.listing("toml")
    assert tomllib.loads(text) == {}
    live = "\n".join(line.removeprefix("# ") if line.startswith('# "') else line for line in text.splitlines())
    assert set(own(tmp_path, live)) == {e.id for e in keymap.entries() if e.id not in keymap.FIXED}


def test_the_document_holds_the_list_of_today(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    text = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")
    between = text.partition("<!-- cockpit keys -->\n```\n")[2].partition("```\n")[0]
    assert between == keymap.listing(), "docs/keys.md: run `python tools/keys.py`"


async def test_hints_help_and_the_keys_themselves_follow_the_file() -> None:
    keys = {"verb.restart": ("Z",), "sort": ("w",), "wide": ("o",), "go.graph": ("no_key",)}
    async with driven(keys=keys) as d:
        await to(d, "puzzle.web/1")
        await d.sees("Z restart")
        await d.press("r")
        assert d.name == "OverviewScreen"
        await d.press("g")
        assert d.name == "OverviewScreen"
        await d.press("i")
        await d.at("InstancesScreen")
        grid = d.app.screen.grid  # type: ignore[attr-defined]
        await d.press("o")
        assert grid.wide
        await d.press("w")
        assert grid.sort_by
        await d.press("?")
        await d.press("/")
        await d.type("restart instances")
        await until(lambda: "Z              restart" in d.text(), "the key in help")
        await d.press("enter", "escape", "escape", "Z")
        await d.at("PlanScreen")


async def test_dialogs_and_the_line_follow_the_file() -> None:
    keys = {"ask.no": ("f9",), "ask.next": ("ctrl+n",), "prompt.drop": ("f9",), "prompt.older": ("ctrl+p",)}
    async with driven(keys=keys) as d:
        await d.type(":hosts")
        await d.press("enter")
        await d.at("HostsScreen")
        await d.press(":", "ctrl+p")
        await d.sees(":hosts")
        await d.press("f9", "escape")
        await d.at("OverviewScreen")
        await to(d, "puzzle.web")
        await d.press("d")
        await d.at("AskScreen")
        await d.sees("f9 no")
        await d.press("ctrl+n")
        screen: Any = d.app.screen
        await until(lambda: screen.chosen == 0 or screen.matching())
        await d.press("escape")
        assert d.name == "AskScreen"
        await d.press("f9")
        await d.at("OverviewScreen")


async def test_help_is_filtered_and_says_when_nothing_fits() -> None:
    async with driven() as d:
        await d.press("?", "/")
        await d.type("bookmark")
        await until(lambda: "VERBS" not in d.text())
        await d.type("zzz")
        await d.sees("No key and no verb with 'bookmarkzzz'")
        await d.press("escape")
        await d.sees("KEYS on overview")


def test_sentences_name_the_keys_of_the_file() -> None:
    text = "<go.hosts> lists the hosts, <verb.abort> aborts, <back> goes back, <nothing> stays"
    assert spelled(text, {}) == "h lists the hosts, X aborts, Esc goes back, <nothing> stays"
    own = {"go.hosts": ("f2", "H"), "verb.abort": ("no_key",), "back": ("ctrl+g",)}
    assert spelled(text, own) == "f2 lists the hosts, :abort aborts, ^G goes back, <nothing> stays"


async def test_what_needs_you_spells_the_keys_of_the_file() -> None:
    keys = {"verb.restart": ("Z",), "logs": ("f7",), "open": ("ctrl+o",), "verb.converge": ("no_key",)}
    async with driven(LARGE, keys=keys) as d:
        await d.sees("NEEDS YOU")
        await d.sees("^O explain   f7 log   Z restart   m migrate")
        assert "   l log   r restart" not in d.text()


async def test_remarks_spell_the_keys_of_the_file() -> None:
    keys = {"filter": ("f3",), "filter.sticky": ("f4",), "mark": ("f5",)}
    async with driven(keys=keys) as d:
        await d.press("i")
        await d.sees("INSTANCES")
        await d.press("f4")
        await d.sees("type one with f3 first")
        await d.press("z")
        await d.sees("f5 marks the one under the cursor")
        await d.press("ctrl+p")
        await d.type("restart")
        await until(lambda: "restart" in d.text())


def test_sentences_name_keys_that_exist() -> None:
    ids = {e.id for e in keymap.entries()} | {f"verb.{name}" for name in VERBS}
    wrong = []
    for path in sorted((ROOT / "screens").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = re.findall(r"<([a-z]+\.[a-z]+)>", node.value)
                wrong += [f"{path.name}: <{m}>" for m in found if m not in ids]
    assert not wrong
