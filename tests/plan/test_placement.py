"""Placement: where slots go, what keeps them, what is said when room is short."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.model.constraints import host_meets
from cockpit.model.topology import Expected, Host, Instances, Service, service_path
from cockpit.plan.placement import fixed_ports, misplaced, place, relocate, why_not
from cockpit.plan.steps import Bad
from tests.plan.world import expected, service


def fits(world: Expected, placement: dict[str, str]) -> bool:
    """All hard rules hold; a second spelling of them, for judging."""
    load, ports, mine = Counter(placement.values()), Counter[tuple[str, int]](), Counter[tuple[str, str]]()
    for instance, name in placement.items():
        s, host = world.service_of(instance), world.hosts[name]
        if not all(host_meets(name, host, r) for r in s.instances.require):
            return False
        mine[service_path(instance), name] += 1
        ports.update((host.address, p) for p in fixed_ports(s))
    return (
        all(n == 1 for n in ports.values())
        and all((m := world.services[p].instances.max_per_host) is None or n <= m for (p, _), n in mine.items())
        and all((m := world.hosts[h].max_instances) is None or n <= m for h, n in load.items())
    )


@st.composite
def puzzles(draw: st.DrawFn) -> Expected:
    hosts = {
        f"h{n}": Host(
            region="sh", address=f"10.0.0.{n}", labels={"zone": draw(st.sampled_from("ab"))},
            max_instances=draw(st.sampled_from([None, 1, 2])),
        )
        for n in range(draw(st.integers(1, 3)))
    }  # fmt: skip
    services = {
        f"s{n}": service(
            ports={"main": draw(st.sampled_from([0, 9000, 9001]))},
            instances=Instances(
                count=draw(st.integers(0, 2)), require=draw(st.sampled_from([(), ("zone=a",), ("host!=h0",)])),
                spread=draw(st.sampled_from(["host", "zone"])), max_per_host=draw(st.sampled_from([None, 1])),
            ),
        )
        for n in range(draw(st.integers(1, 3)))
    }  # fmt: skip
    return Expected(name="p", hosts=hosts, services=services)


def slots(world: Expected) -> dict[str, range]:
    return {p: range(s.instances.size) for p, s in world.services.items()}


@settings(max_examples=300, deadline=None)
@given(puzzles())
def test_finds_a_place_exactly_when_there_is_one(world: Expected) -> None:
    instances = [f"{p}/{n}" for p, ns in slots(world).items() for n in ns]
    possible = any(
        fits(world, dict(zip(instances, hosts, strict=True)))
        for hosts in product(world.hosts, repeat=len(instances))
    )
    try:
        found = place(world, slots(world))
    except Bad as bad:
        assert not possible, bad
    else:
        assert list(found) == instances and fits(world, found)
        assert found == place(world, slots(world))
        kept = replace(world, placement=found)
        assert place(kept, slots(kept)) == found and misplaced(kept) == ()


def test_new_slots_do_not_move_old_ones() -> None:
    world = expected({"p.web": service(count=2)}, placement={"p.web/0": "sh-3", "p.web/1": "sh-3"})
    assert place(world, {"p.web": range(5)}) == {
        "p.web/0": "sh-3", "p.web/1": "sh-3", "p.web/2": "sh-1", "p.web/3": "sh-2", "p.web/4": "sh-4",
    }  # fmt: skip


@pytest.mark.parametrize(("spread", "most"), [("host", 2), ("region", 3), ("zone", 2)])
def test_spread_is_even(spread: str, most: int) -> None:
    world = expected({"p.web": service(instances=Instances(count=6, spread=spread))}, 6)
    groups = Counter(
        {"host": h, "region": world.hosts[h].region, "zone": world.hosts[h].labels["zone"]}[spread]
        for h in world.placement.values()
    )
    assert max(groups.values()) - min(groups.values()) == 0 and max(groups.values()) <= most
    assert max(Counter(world.placement.values()).values()) == 1


def test_load_is_balanced_over_services() -> None:
    world = expected({f"p.s{n}": service(count=1) for n in range(8)}, 4)
    assert set(Counter(world.placement.values()).values()) == {2}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"ports": {"main": 9000}}, r"web wants 10 instances, 4 hosts allow at most 4 because port 9000 \(main\) is "
                                    r"fixed, one instance per host"),
        ({"instances": Instances(count=10, max_per_host=2)}, "at most 8 because max_per_host is 2"),
        ({"instances": Instances(count=1, require=("zone=z9",))}, "no host may take one because 4 hosts do not meet "
                                                                  "zone=z9"),
        ({"instances": Instances(hosts=("sh-1", "sh-9"))}, "web/1 is listed on sh-9, which is not a host"),
    ],
)  # fmt: skip
def test_says_what_is_short(more: dict[str, object], says: str) -> None:
    more.setdefault("instances", Instances(count=10))
    with pytest.raises(Bad, match=says):
        expected({"p.web": service(**more)}, 4)


def test_avoids_silent_hosts_and_those_in_a_mode() -> None:
    world = expected({"p.web": service(count=1)}, modes={"sh-2": "maintenance"}, placement={"p.web/0": "sh-2"})
    presence = {"sh-1": "up", "sh-2": "up", "sh-3": "unknown", "sh-4": "down"}
    found = place(world, {"p.web": range(3)}, presence=presence)
    assert found == {"p.web/0": "sh-2", "p.web/1": "sh-1", "p.web/2": "sh-1"}
    with pytest.raises(Bad, match="sh-1 is left out; sh-2 is in maintenance; sh-3 gives no answer; sh-4 is down"):
        place(world, {"p.web": range(3)}, presence=presence, avoid=["sh-1"])


def test_explicit_lists_and_what_follows_them() -> None:
    world = expected({"p.web": service(instances=Instances(hosts=("sh-2", "sh-2", "sh-4")))})
    assert list(world.placement.values()) == ["sh-2", "sh-2", "sh-4"]
    up = dict.fromkeys(world.hosts, "up")
    after = relocate(world, ["p.web/2"], presence=up, avoid=["sh-4"])
    assert after.services["p.web"].instances.hosts == ("sh-2", "sh-2", "sh-1")
    assert after.placement["p.web/2"] == "sh-1" and misplaced(after) == ()


def test_why_not() -> None:
    s: Service = service(count=2, ports={"main": 9000})
    world = expected({"p.web": s}, 3, modes={"sh-3": "draining"}, placement={"p.web/0": "sh-1", "p.web/1": "sh-2"})
    assert why_not(world, "p.web/0", "sh-2") == "sh-2 has no room: port 9000 (main) is fixed"
    assert why_not(world, "p.web/0", "sh-3") == "sh-3 is draining"
    assert why_not(world, "p.web/0", "sh-1") == ""


def test_misplaced_after_a_change_of_rules() -> None:
    world = expected({"p.web": service(count=2)}, 2, placement={"p.web/0": "sh-1", "p.web/1": "sh-1"})
    strict = replace(world, services={"p.web": service(instances=Instances(count=2, max_per_host=1))})
    assert misplaced(strict) == ("p.web/1",)
    gone = replace(world, hosts={"sh-2": world.hosts["sh-2"]})
    assert misplaced(gone) == ("p.web/0", "p.web/1")
