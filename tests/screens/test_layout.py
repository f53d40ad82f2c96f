"""The drawing of graphs: pure, deterministic, and true to its edges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from screens.widgets.layout import DOWN, LEFT, RIGHT, UP, Drawing, lay_out

NAMES = [f"n{i}" for i in range(14)]
GRAPHS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=30)


def drawn(edges: list[tuple[str, str]], labels: dict[str, int] | None = None) -> Drawing:
    return lay_out(labels or {n: 6 for n in NAMES}, edges)


def test_a_chain_is_one_line() -> None:
    drawing = lay_out({"a": 3, "b": 3, "c": 3}, [("a", "b"), ("b", "c")])
    assert {row for row, _ in drawing.nodes.values()} == {0}
    assert drawing.nodes["a"][1] < drawing.nodes["b"][1] < drawing.nodes["c"][1]
    assert drawing.layers == [["a"], ["b"], ["c"]]


def test_a_cycle_is_drawn_and_named() -> None:
    drawing = lay_out({"a": 3, "b": 3}, [("a", "b"), ("b", "a")])
    assert drawing.turned == {("b", "a")}
    assert set(drawing.paths) == {("a", "b"), ("b", "a")}


def test_unknown_ends_and_loops_are_left_out() -> None:
    drawing = lay_out({"a": 3}, [("a", "a"), ("a", "ghost")])
    assert drawing.paths == {}
    assert lay_out({}, []).height == 0


@given(GRAPHS)
def test_nodes_never_overlap(edges: list[tuple[str, str]]) -> None:
    drawing = drawn(edges)
    taken: set[tuple[int, int]] = set()
    for row, column in drawing.nodes.values():
        cells = {(row, column + i) for i in range(6)}
        assert not cells & taken
        taken |= cells
    assert set(drawing.nodes) == set(NAMES)
    assert not taken & set(drawing.mask), "an edge runs through a node"


@given(GRAPHS)
def test_the_same_graph_is_drawn_the_same_whatever_the_order_of_its_edges(edges: list[tuple[str, str]]) -> None:
    assert drawn(edges) == drawn(edges[::-1])


@given(GRAPHS)
def test_every_edge_leads_from_its_caller_to_an_arrow_at_its_callee(edges: list[tuple[str, str]]) -> None:
    drawing = drawn(edges)
    steps = {LEFT: (0, -1), RIGHT: (0, 1), UP: (-1, 0), DOWN: (1, 0)}
    assert set(drawing.paths) == {(a, b) for a, b in edges if a != b}
    for a, b in drawing.paths:
        path = drawing.path((a, b))
        first, last = (b, a) if (a, b) in drawing.turned else (a, b)
        row, column = drawing.nodes[first]
        start = (row, column + 6 + 1)
        assert start in path
        reached, edge = {start}, [start]
        while edge:
            cell = edge.pop()
            for bit, (down, right) in steps.items():
                other = (cell[0] + down, cell[1] + right)
                if path[cell] & bit and other in path and other not in reached:
                    reached.add(other)
                    edge.append(other)
        assert reached == set(path), "the line is broken"
        assert all(drawing.mask[cell] & bits == bits for cell, bits in path.items())
        assert last in {drawing.heads.get(cell) for cell in path}


@given(GRAPHS)
def test_drawing_again_from_the_last_order_moves_nothing(edges: list[tuple[str, str]]) -> None:
    forward = [(a, b) for a, b in edges if NAMES.index(a) < NAMES.index(b)]
    drawing = drawn(forward)
    order = [n for layer in drawing.layers for n in layer]
    for _ in range(4):  # the sweeps settle after a few drawings at most
        drawing, order = (
            lay_out({n: 6 for n in NAMES}, forward, order),
            [n for layer in drawing.layers for n in layer],
        )
    again = lay_out({n: 6 for n in NAMES}, forward, [n for layer in drawing.layers for n in layer])
    assert again.nodes == drawing.nodes


@given(GRAPHS, st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=6))
def test_weak_edges_turn_no_others_around(edges: list[tuple[str, str]], weak: set[tuple[str, str]]) -> None:
    labels = {n: 6 for n in NAMES}
    strong = [e for e in edges if e not in weak]
    alone, both = lay_out(labels, strong), lay_out(labels, [*edges, *weak], (), weak)
    assert both.turned - weak == alone.turned
    for a, b in both.paths:
        first, last = (b, a) if (a, b) in both.turned else (a, b)
        assert both.nodes[first][1] < both.nodes[last][1]
