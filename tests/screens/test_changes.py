"""Patches in words: one row per kind of change, and properties over any patch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.changes import MANY, describe, headline, value
from cockpit.model.patch import diff
from cockpit.model.view import Change

WEB = {"processes": {"main": ["./web"]}, "version": "1.0.0", "instances": {"count": 2}}
FIRST = {
    "name": "prod", "regions": {"sh": {}}, "groups": {"puzzle": {"cluster": True, "about": "x"}},
    "hosts": {"sh-1": {"region": "sh", "address": "::1"}, "sh-2": {"region": "sh", "address": "::2"}},
    "services": {"puzzle.web": WEB}, "placement": {"puzzle.web/0": "sh-1", "puzzle.web/1": "sh-2"},
}


def short(name: str) -> str:
    return name.removeprefix("puzzle.")


def change(path: str, old: Any, new: Any) -> Change:
    return Change(path=tuple(path.split(" ")), old=old, new=new)


VERSION = "services puzzle.web version"
COUNT = "services puzzle.web instances count"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([change(VERSION, "1.0.0", "1.1.0")], ["web version 1.0.0 → 1.1.0"]),
        ([change("services puzzle.web", None, WEB)], ["service web 1.0.0 added"]),
        ([change("services puzzle.web", WEB, None), change("placement puzzle.web/0", "sh-1", None)],
         ["service web removed with 1 instance"]),
        ([change("hosts sh-4", None, {"region": "sh"})], ["host sh-4 added"]),
        ([change("hosts sh-4", {"region": "sh"}, None)], ["host sh-4 removed"]),
        ([change("hosts sh-4 labels disk", "ssd", "hdd")], ["host sh-4 labels disk ssd → hdd"]),
        ([change("stopped puzzle.web/1", None, True)], ["web/1 stopped"]),
        ([change("stopped puzzle.web/1", True, None)], ["web/1 started"]),
        ([change(f"stopped puzzle.web/{n}", None, True) for n in range(MANY + 1)], ["5 instances of web stopped"]),
        ([change("placement puzzle.web/0", "sh-1", "sh-3")], ["web/0 moves sh-1 → sh-3"]),
        ([change("placement puzzle.web/0", None, "sh-3")], ["web/0 added on sh-3"]),
        ([change("placement puzzle.web/0", "sh-3", None)], ["web/0 removed from sh-3"]),
        ([change("placement puzzle.web/2", None, "sh-1"), change(COUNT, 2, 3)],
         ["web instances 2 → 3: web/2 on sh-1"]),
        ([change("placement puzzle.web/2", "sh-1", None), change(COUNT, 3, 2)],
         ["web instances 3 → 2, without web/2"]),
        ([change("placement puzzle.web/0", "sh-1", "sh-2"), change("placement puzzle.web/2", None, "sh-1"),
          change(COUNT, 2, 3)], ["web instances 2 → 3: web/2 on sh-1", "web/0 moves sh-1 → sh-2"]),
        ([change(f"placement puzzle.web/{n}", None, f"h{n % 3}") for n in range(2, 9)] + [change(COUNT, 2, 9)],
         ["web instances 2 → 9: 7 instances on 3 hosts"]),
        ([change("services puzzle.web instances", None, {"count": 2})], ["web instances set to 2"]),
        ([change("modes sh-3", None, "draining")], ["host sh-3 is drained"]),
        ([change("modes sh-3", "draining", None)], ["host sh-3 is back in service"]),
        ([change("services puzzle.web env DEBUG", None, "1")], ["web env DEBUG set to 1"]),
        ([change("services puzzle.web env DEBUG", "1", None)], ["web env DEBUG removed, was 1"]),
        ([change("services puzzle.web update healthy_for", 1.0, 2.5)], ["web update healthy_for 1 → 2.5"]),
        ([change("services puzzle.web depends", ["puzzle.db"], [])], ["web depends puzzle.db → empty"]),
        ([change("name", "old", "new")], ["the cluster is called new, no longer old"]),
    ],
)
def test_what_changed_is_said_in_words(changes: list[Change], words: list[str]) -> None:
    assert describe(changes, short) == words


def test_the_first_import_is_one_sentence() -> None:
    changes = diff({}, FIRST)
    assert headline(changes, short) == "first import: 2 hosts, 1 service, 2 instances"
    assert describe(changes, short)[1] == "service web 1.0.0 added: web/0 on sh-1, web/1 on sh-2"


def test_the_headline_counts_what_it_leaves_out() -> None:
    changes = [change("hosts sh-4", None, {}), change(VERSION, "1", "2"), change("hosts sh-5", None, {})]
    assert headline(changes, short) == "web version 1 → 2, and 2 more"
    assert headline([], short) == ""


LEAF = st.one_of(
    st.text(max_size=4), st.integers(), st.booleans(), st.floats(allow_nan=False), st.just({"a": [1, {}]})
)
NAMES = st.sampled_from(["puzzle.web", "puzzle.web/0", "puzzle.web/1", "sh-1", "count", "version", "instances"])
DOCS = st.dictionaries(
    st.sampled_from(["services", "hosts", "placement", "stopped", "modes", "groups", "regions", "later"]),
    st.dictionaries(NAMES, st.one_of(LEAF, st.dictionaries(NAMES, LEAF, max_size=3)), max_size=4),
)


@given(DOCS, DOCS)
def test_every_patch_has_words_and_none_is_python(old: Any, new: Any) -> None:
    changes = diff(old, new)
    words = describe(changes, short)
    assert bool(words) == bool(changes)
    assert all(words) and not any(sign in w for w in words for sign in ("None", "{'", "True", "False"))


def test_values_are_without_braces() -> None:
    assert value({"cluster": True, "port_range": [1, 2], "x": {}}) == "cluster yes, port_range 1 2, x empty"
