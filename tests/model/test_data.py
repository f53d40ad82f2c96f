"""Data artifacts in the model: variables, checks of the file, drift, the node view."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cockpit.model.actual import Actual, Unit
from cockpit.model.details import instance_diffs
from cockpit.model.drift import drift_of, drift_of_instance
from cockpit.model.judge import Digests, outdated, wrong_data
from cockpit.model.load import load_text
from cockpit.model.problems import Wrong
from cockpit.model.rows import instance_row
from cockpit.model.states import State
from cockpit.model.templates import check_template
from cockpit.model.topology import Data
from tests.model.snippets import expect, tree
from tests.plan.world import expected, running, service

DATA = {"words": Data(artifact="wordlist", version="5", on_change="signal"), "grids": Data(artifact="grids")}
WORLD = expected({"p.web": service(count=1, data=DATA)}, 2)


def with_data(state: State = State.RUNNING, **data: str) -> Actual:
    have = running(WORLD)
    mine: Unit = replace(have.units["p.web/0"][0], data=data, state=state)
    return replace(have, units={"p.web/0": (mine,)}, artifacts={"wordlist/5": "ab" * 32})


def test_variables() -> None:
    check_template("{data.words}/{{x", [], ["words"])
    with pytest.raises(Wrong, match="the service has no such data") as error:
        check_template("{data.word}", [], ["words"])
    assert "words" in error.value.hint
    with pytest.raises(Wrong, match=r"write \{data.words\}"):
        check_template("{data}", [], ["words"])
    with pytest.raises(Wrong, match="the service has no such data"):
        check_template("{data.words}", [])


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ("s: {command: [x, ¦'{data.word}'], data: {words: {artifact: w, version: 1}}}", '(did you mean "words"?)'),
        ("s: {command: [x], env: {¦COCKPIT_DATA_X: a}}", "is set for every process"),
        (
            "s: {command: [x], data: {a-b: {artifact: w, version: 1}, ¦a_b: {artifact: v, version: 1}}}",
            '"a_b" and "a-b" both mean COCKPIT_DATA_A_B',
        ),
    ],
)
def test_the_file_is_checked(marked: str, text: str) -> None:
    expect(tree(marked), text)


def test_a_good_file() -> None:
    text = tree("s: {command: [x, '{data.words}'], data: {words: {artifact: w, version: 1, on_change: signal}}}")
    found = load_text(text.encode(), "t.yaml").expected.services["s"].data
    assert found == {"words": Data(artifact="w", version="1", on_change="signal")}


def test_wrong_data_is_drift() -> None:
    assert drift_of(WORLD, with_data(words="5"), 1.0) == {}
    rows = drift_of(WORLD, with_data(words="4"), 1.0)
    assert list(rows) == ["wrong data|p.web/0"]
    row = rows["wrong data|p.web/0"]
    assert (row.expected, row.actual, row.action) == ("words 5", "words 4", "converge p.web/0")
    none = drift_of_instance("p.web/0", WORLD, with_data(), 1.0, digests=Digests(WORLD))
    assert [(r.kind, r.actual) for r in none] == [("wrong data", "words none")]
    shown = instance_row("p.web/0", WORLD, with_data(words="4"), rows.values())
    assert shown is not None and (shown.mark, shown.word) == ("drift", "wrong data")


def test_a_unit_that_does_not_live_has_other_troubles() -> None:
    assert [key for key in drift_of(WORLD, with_data(State.SHUTDOWN), 1.0)] == ["missing|p.web/0"]


def test_a_link_changed_by_hand_is_never_right() -> None:
    service_ = WORLD.services["p.web"]
    odd = with_data(words="5 (4 is linked)").units["p.web/0"][0]
    assert wrong_data(odd, service_) == ("words",) and not outdated(odd, service_)
    restart = replace(service_, data={"words": replace(DATA["words"], on_change="restart")})
    assert outdated(odd, restart)
    assert not outdated(replace(odd, state=State.COMPLETE), restart), "it does not run: nothing to restart"


def test_the_node_view_has_a_row_for_each() -> None:
    rows = {d.field: d for d in instance_diffs("p.web/0", WORLD, with_data(words="4"))}
    words = rows["data words"]
    assert (words.expected, words.actual, words.same) == ("wordlist/5  sha256 abababababab", "wordlist/4", False)
    assert words.note == "a change sends HUP" and rows["data grids"].same
    none = {d.field: d for d in instance_diffs("p.web/0", WORLD, replace(running(WORLD), units={}))}
    assert none["data words"].actual == "-" and none["data words"].same
