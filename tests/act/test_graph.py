"""The graph of steps: gates open when all their steps are settled, and are never steps themselves."""

from __future__ import annotations

import pytest

from cockpit.act.graph import DONE, RUN, Graph
from cockpit.plan.steps import Bad
from tests.act.hand import step


def order(graph: Graph) -> list[str]:
    """Ids of the steps as they may begin, each done at once."""
    found = []
    while (i := graph.next()) is not None:
        graph.state[i] = DONE
        graph.settle(i)
        found.append(graph.steps[i].id)
    return found


STEPS = (
    step("a", "fetch"), step("b", "fetch"), step("c", "prepare", "a.web/0:1", "g1"),
    step("d", "start", "a.web/0:1", "c", "g1"), step("e", "prepare", "a.web/1:1", "g2"),
)  # fmt: skip
GATES = {"g1": ("a", "b"), "g2": ("d",)}


def test_what_waits_for_a_gate_waits_for_all_of_it() -> None:
    graph = Graph(STEPS, GATES)
    assert graph.left == 5
    assert [graph.steps[i].id for i in sorted(graph.ready)] == ["a", "b"]
    first = graph.next()
    assert first == 0
    graph.settle(first)
    assert [graph.steps[i].id for i in graph.ready] == ["b"]
    assert order(graph) == ["b", "c", "d", "e"]
    assert graph.left == 0


def test_steps_of_an_earlier_life_open_gates_too() -> None:
    graph = Graph(STEPS, GATES)
    assert graph.restore(["a", "b", "c", "gone"]) == 3
    assert order(graph) == ["d", "e"]


def test_a_lost_fetch_takes_those_behind_its_gate_with_it() -> None:
    graph = Graph(STEPS, GATES)
    graph.state[1] = RUN
    assert [graph.steps[i].id for i in graph.doomed(0)] == ["c", "d"]


@pytest.mark.parametrize("gates", [{"g1": ("a", "nowhere"), "g2": ("d",)}, {"g1": ("a",)}, {**GATES, "a": ("b",)}])
def test_a_gate_that_makes_no_sense_is_refused(gates: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(Bad):
        Graph(STEPS, gates)
