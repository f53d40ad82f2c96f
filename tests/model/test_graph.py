"""Folding, narrowing and following graphs of services and of relays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.graph import (
    DECLARED,
    EVERYTHING,
    GROUP,
    READABLE,
    UNDECLARED,
    Fold,
    homes,
    near,
    reach,
    readable_depth,
    relay_graph,
    service_graph,
)
from cockpit.model.metrics_rows import Call
from cockpit.model.view import HostRow, NodeRow, RelayRow

PATHS = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(".".join), min_size=1, max_size=30, unique=True
)
CHAIN = [("a", "b"), ("b", "c"), ("c", "d"), ("x", "c"), ("d", "b")]


def services(*paths: str, **depends: tuple[str, ...]) -> dict[str, NodeRow]:
    return {
        p: NodeRow(path=p, kind="service", want=2, have=1, depends=depends.get(p.rpartition(".")[2], ()))
        for p in paths
    }


SHOP = services("shop.web", "shop.cart", "pay.api", "pay.db", web=("shop.cart", "pay.api"), api=("pay.db",))


@given(PATHS, st.integers(0, 4), st.sets(st.sampled_from(["a", "a.b", "b", "c.d.a"])))
def test_every_service_has_one_home_itself_or_above_it(paths: list[str], depth: int, closed: set[str]) -> None:
    found = homes(paths, Fold(depth, frozenset(), frozenset(closed)))
    assert found.keys() == set(paths)
    for path, home in found.items():
        assert path == home or path.startswith(home + ".")
        assert home not in closed or home == path or path.startswith(home)


def test_many_services_are_folded_by_themselves_and_a_group_can_be_opened() -> None:
    many = [f"co.team{n % 9}.s{n}" for n in range(300)]
    assert readable_depth(many) == 1
    assert len(set(homes(many, Fold()).values())) == 9
    opened = homes(many, Fold().open("co.team3"))
    assert opened["co.team3.s3"] == "co.team3.s3" and opened["co.team4.s4"] == "co.team4"
    assert len(set(homes(many[:READABLE], Fold()).values())) == READABLE
    assert homes(["co.a.b"], Fold().close("co"))["co.a.b"] == "co"


def test_edges_of_folded_groups_are_put_together_and_none_leads_to_itself() -> None:
    graph = service_graph(SHOP, fold=Fold(0))
    assert [(n.id, n.kind, n.want, n.have, n.parts) for n in graph.nodes] == [
        ("pay", GROUP, 4, 2, 2), ("shop", GROUP, 4, 2, 2),
    ]
    assert graph.pairs == [("shop", "pay")]


def test_calls_that_nobody_declared_are_marked_and_others_are_counted() -> None:
    calls = (
        Call(caller="shop.web", callee="pay.db", declared=False, connections=3),
        Call(caller="shop.web", callee="shop.cart", declared=True, connections=7),
        Call(caller="shop.web", callee="gone", declared=False, connections=1),
    )
    kinds = {(e.source, e.target): (e.kind, e.connections) for e in service_graph(SHOP, calls).edges}
    assert kinds == {
        ("shop.web", "shop.cart"): (DECLARED, 7), ("shop.web", "pay.db"): (UNDECLARED, 3),
        ("shop.web", "pay.api"): (DECLARED, None), ("pay.api", "pay.db"): (DECLARED, None),
    }


@pytest.mark.parametrize(("around", "hops", "expected"), [
    ("pay.db", 0, {"pay.db"}), ("pay.db", 1, {"pay.db", "pay.api"}), ("pay", 1, {"pay.db", "pay.api", "shop.web"}),
    ("pay.db", 9, set(SHOP)),
])  # fmt: skip
def test_around_a_node(around: str, hops: int, expected: set[str]) -> None:
    graph = service_graph(SHOP, fold=Fold(0), around=around, hops=hops)
    assert {n.id for n in graph.nodes} == expected


def test_reach_ends_in_cycles() -> None:
    assert reach(CHAIN, "a") == {"b", "c", "d"}
    assert reach(CHAIN, "c", back=True) == {"a", "b", "d", "x"}
    assert reach(CHAIN, "b") == {"c", "d"}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_what_is_reached_is_what_single_steps_reach(pairs: list[tuple[int, int]]) -> None:
    edges = [(str(a), str(b)) for a, b in pairs]
    found = {"0"}
    for _ in range(10):
        found |= {b for a, b in edges if a in found}
    assert reach(edges, "0") == found - {"0"}
    assert near(edges, ["0"], 20) >= found


def host(name: str, region: str, presence: str = "up", path: tuple[str, ...] = (), transport: str = "") -> HostRow:
    mark = "ok" if presence == "up" else "unknown"
    return HostRow(name=name, region=region, presence=presence, address="", mark=mark, path=path, transport=transport)


def test_regions_stand_for_their_hosts_behind_the_relay_they_go_by() -> None:
    relays = {
        "r1": RelayRow(name="r1", region="sh", address="", links=True, presence="up", path=("r1",), agents=2),
        "r2": RelayRow(name="r2", region="bj", address="", links=True, upstream="r1", presence="unknown"),
    }
    hosts = [
        host("sh-1", "sh", path=("r1",), transport="websocket"), host("sh-2", "sh", transport="websocket"),
        host("bj-1", "bj", "unknown"), *(host(f"gz-{n}", "gz", transport="websocket") for n in range(1000)),
    ]
    graph = relay_graph("prod", hosts, relays)
    assert len(graph.nodes) == 1 + 2 + 4
    by_id = {n.id: n for n in graph.nodes}
    assert by_id["region gz|"].parts == 1000 and by_id["region gz|"].note == "1000 up"
    assert by_id["region bj|r2"].mark == "unknown"
    assert set(graph.pairs) == {
        ("controller", "relay r1"), ("relay r1", "relay r2"), ("relay r1", "region sh|r1"),
        ("controller", "region sh|"), ("relay r2", "region bj|r2"), ("controller", "region gz|"),
    }


def test_nothing_is_a_graph_too() -> None:
    assert service_graph({}, fold=EVERYTHING).nodes == ()
