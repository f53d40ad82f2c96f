"""A push in numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.pushes import (
    GRACE,
    HAD,
    HAS,
    MISSING,
    PARTLY,
    Standing,
    bands,
    by_action,
    drawn,
    percent,
    proportional,
    rescale,
    standings,
    tail_of,
    totals,
    worst_first,
)
from cockpit.model.view import ABSENT, CHANGING, DRIFT, FAILED, OK, PAUSED, UNKNOWN, PushRow

NOW = 1000.0
kinds = st.sampled_from([HAS, HAD, PARTLY, MISSING])


def row(host: str, **more: Any) -> PushRow:
    values: dict[str, Any] = {
        "action": "#1", "artifact": "web/2", "host": host, "region": host[:2], "state": "running", "phase": "pieces",
        "pieces": 100, "have": 60, "had": 50, "size": 4000, "to_move": 1000, "moved": 200, "rate": 100.0, "eta": 8.0,
        "started": NOW - 60,
    }  # fmt: skip
    return PushRow(**(values | more))


# who lags behind


@pytest.mark.parametrize(
    ("changes", "mark", "word", "why"),
    [
        ({"state": "waiting", "phase": ""}, ABSENT, "waiting", ""),
        ({"phase": "manifest", "rate": 0.0}, CHANGING, "asks", ""),
        ({"rate": 50.0}, CHANGING, "receives", ""),
        ({"rate": 49.0}, DRIFT, "slow", "49% of the usual pace"),
        ({"rate": 0.0, "note": "2 peers, both busy"}, DRIFT, "slow", "2 peers, both busy"),
        ({"rate": 1.0, "started": NOW - GRACE + 1}, CHANGING, "receives", ""),
        ({"rate": 1.0, "relay": True}, CHANGING, "receives", ""),
        ({"rate": 0.0, "phase": "install"}, CHANGING, "installs", ""),
        ({"state": "paused", "rate": 0.0}, PAUSED, "paused", ""),
        ({"state": "failed", "note": "disk full"}, FAILED, "failed", "disk full"),
        ({"state": "failed"}, FAILED, "failed", "no reason was given"),
        ({"state": "unknown", "note": "no answer for 9s"}, UNKNOWN, "no answer", "no answer for 9s"),
        ({"state": "done", "phase": "seed"}, OK, "done", ""),
        ({"state": "something new"}, UNKNOWN, "something new", ""),
    ],
)
def test_how_one_stands_among_others(changes: dict[str, Any], mark: str, word: str, why: str) -> None:
    others = [row("sh-2"), row("sh-3"), row("sh-4")]
    assert standings([row("sh-1", **changes), *others], NOW)["sh-1"] == Standing(mark, word, why)


def test_the_last_one_is_measured_by_those_that_are_done() -> None:
    done = [row(f"sh-{n}", state="done", moved=1000, ended=NOW - 50) for n in range(2, 5)]
    assert standings([row("sh-1", rate=40.0), *done], NOW)["sh-1"].word == "slow"
    assert standings([row("sh-1", rate=60.0), *done], NOW)["sh-1"].word == "receives"
    assert standings([row("sh-1", rate=1.0)], NOW)["sh-1"].word == "receives"  # nobody to compare with


def test_what_is_told_of_one_says_nothing_twice() -> None:
    assert Standing(FAILED, "failed", "disk full").told == "failed: disk full"
    assert Standing(UNKNOWN, "no answer", "no answer for 9s").told == "no answer for 9s"
    assert Standing(OK, "done").told == "done"


def test_those_that_need_somebody_come_first() -> None:
    rows = {
        r.host: r for r in (
            row("sh-10", state="done"), row("sh-9", have=90), row("sh-8", have=70), row("sh-7", state="unknown"),
            row("sh-6", state="failed"), row("sh-5", state="paused"), row("sh-4", rate=1.0),
        )
    }  # fmt: skip
    ordered = worst_first(rows, standings(rows.values(), NOW))
    assert ordered == ["sh-6", "sh-7", "sh-4", "sh-5", "sh-8", "sh-9", "sh-10"]


def test_bands_are_by_region_with_relays_first_and_numbers_by_value() -> None:
    rows = {r.host: r for r in (row("sh-10"), row("sh-9"), row("sh-x", relay=True), row("bj-1"))}
    assert bands(rows) == {"bj": ["bj-1"], "sh": ["sh-x", "sh-9", "sh-10"]}


# sums


def test_sums_and_shares() -> None:
    rows = [
        row("sh-r", relay=True, from_source=1000, wan=1000, moved=1000, state="done", have=100, bad=1),
        row("sh-1", from_relay=100, from_peers=300, moved=400, duplicates=2),
        row("sh-2", from_relay=100, from_peers=500, moved=600, fallbacks=3, eta=20.0),
        row("bj-1", from_source=500, wan=500, moved=500, state="failed", rate=0.0, eta=None),
        row("bj-2", to_move=2000, had=0, have=0, moved=0, state="done", rate=0.0, eta=None),
    ]
    found = totals(rows, standings(rows, NOW))
    assert (found.hosts, found.relays, found.size) == (4, 1, 4000)
    assert (found.new, found.new_pieces) == (1000, 50)  # what most have to move
    assert (found.to_move, found.moved) == (5000, 1500)
    assert (found.source, found.wan) == (1.0, 1.0)  # sh once; bj a quarter of what its neediest host lacks
    assert found.peers == pytest.approx(800 / 1500)
    assert (found.rate, found.eta) == (200.0, 20.0)
    assert (found.bad, found.duplicates, found.fallbacks) == (1, 2, 3)
    assert found.states == {OK: 2, CHANGING: 2, FAILED: 1}
    assert found.mark == FAILED and not found.over


def test_an_eta_is_only_told_when_all_are_known() -> None:
    waiting = row("sh-2", state="waiting", pieces=0, have=0, had=0, eta=None)
    rows = [row("sh-1"), waiting]
    assert totals(rows, standings(rows, NOW)).eta is None
    installing = msgspec.structs.replace(row("sh-2"), have=100, eta=None, phase="install")
    rows = [row("sh-1"), installing]
    assert totals(rows, standings(rows, NOW)).eta == 8.0


def test_a_region_with_only_a_relay_is_the_relay() -> None:
    rows = [row("sh-r", relay=True, from_source=200, wan=200)]
    found = totals(rows, standings(rows, NOW))
    assert (found.hosts, found.relays, found.pieces, found.moved, found.peers) == (0, 1, 100, 200, None)


def test_nobody() -> None:
    found = totals([], {})
    assert (found.mark, found.over, found.eta, percent(found)) == (OK, True, None, "")


@pytest.mark.parametrize(
    ("have", "had", "pieces", "words"),
    [(0, 0, 0, ""), (50, 50, 100, "0%"), (99, 50, 100, "98%"), (100, 50, 100, "100%"), (999, 0, 1000, "99%"),
     (100, 100, 100, "100%"), (40, 50, 100, "0%")],
)  # fmt: skip
def test_percent_is_of_what_was_missing(have: int, had: int, pieces: int, words: str) -> None:
    assert percent(row("sh-1", have=have, had=had, pieces=pieces)) == words


def test_pushes_by_action_the_oldest_first() -> None:
    rows = [row("sh-1", action="#2", started=5.0), row("sh-1", started=3.0), row("sh-2", started=9.0)]
    assert {k: [r.host for r in v] for k, v in by_action(rows).items()} == {"#1": ["sh-1", "sh-2"], "#2": ["sh-1"]}


# pieces


@pytest.mark.parametrize(
    ("cells", "width", "found"),
    [
        ("", 4, ""), ("#", 4, "####"), ("#.", 4, "##.."), ("##..", 2, "#."), ("#.#.", 2, "++"), ("#==#", 2, "##"),
        ("====", 2, "=="), ("=.", 1, "."), ("###.", 1, "+"), ("abc", 0, ""),
    ],
)  # fmt: skip
def test_pieces_in_another_width(cells: str, width: int, found: str) -> None:
    assert rescale(cells, width) == found


@given(st.text(kinds, min_size=1, max_size=64), st.integers(3, 200), st.floats(0, 1))
def test_nothing_looks_more_complete_than_it_is(cells: str, width: int, tail: float) -> None:
    for shown in (rescale(cells, width), drawn(row("sh-1", cells=cells), width, tail)):
        assert len(shown) == width and set(shown) <= {HAS, HAD, PARTLY, MISSING}
        assert (set(shown) <= {HAS, HAD}) == (set(cells) <= {HAS, HAD})


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 100))
def test_numbers_alone_fill_the_width(came: int, had: int, missing: int, width: int) -> None:
    pieces = came + had + missing
    shown = proportional(came + had, had, pieces, width)
    assert len(shown) == (width if pieces else 0)
    if width and pieces and missing:
        assert shown != HAS * width
    if pieces and not missing:
        assert MISSING not in shown


def test_what_all_had_before_takes_a_third_at_most() -> None:
    rows = [row("sh-1", cells="##.." + "=" * 60), row("sh-2", cells="...." + "=" * 60)]
    tail = tail_of(rows)
    assert tail == pytest.approx(60 / 64)
    assert drawn(rows[0], 24, tail) == "#" * 8 + "." * 8 + "=" * 8
    assert drawn(rows[0], 24).endswith("=" * 22)
    assert tail_of([*rows, row("sh-3", cells="#" * 64)]) == 0  # somebody had nothing: the scale is even
    assert tail_of([row("r", relay=True, cells="####"), *rows]) == tail
