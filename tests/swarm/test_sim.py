"""Whole swarms in virtual time, with the real rules."""

from __future__ import annotations

import pytest

from tests.bench.swarm_sim import Plan, Simulation, equal

RATE = 2.5e6


def ended(simulation: Simulation, plans: list[Plan]) -> float:
    """When the last of these had everything. Fails when one has not."""
    ends = [simulation.peers[plan.name].finished for plan in plans]
    assert None not in ends, [plan.name for plan, end in zip(plans, ends, strict=True) if end is None]
    return max(end for end in ends if end is not None)


@pytest.mark.parametrize(("peers", "most"), [(1, 1.05), (2, 1.1), (8, 1.12), (16, 1.18)])
def test_equal_links_come_near_the_bound(peers: int, most: float) -> None:
    source, plans = equal(peers, RATE)
    simulation = Simulation(source, plans)
    simulation.run()
    assert ended(simulation, plans) <= most * simulation.bound(plans)
    assert simulation.copies() <= 1.25
    cores = [peer.core for peer in simulation.peers.values()]
    assert sum(core.fallbacks + core.bad for core in cores) == 0
    assert sum(core.duplicates for core in cores) <= peers
    assert simulation.faults == []


@pytest.mark.parametrize("peers", [8, 40])
def test_unequal_links_hold_nobody_up(peers: int) -> None:
    source, plans = equal(peers, RATE)
    plans[0] = Plan("slow", RATE / 10, RATE / 10)
    plans[1] = Plan("mute", RATE / 10, RATE)
    late = [Plan("late1", RATE, RATE, arrives=5.0), Plan("late2", RATE, RATE, arrives=8.0)]
    leaving = [Plan(f"leaving{i}", RATE, RATE, leaves=3.0 + 2 * i) for i in range(3)]
    simulation = Simulation(source, plans + late + leaving)
    simulation.run()
    assert ended(simulation, plans[1:]) <= 1.3 * simulation.bound(plans[1:])
    for plan in late:
        assert ended(simulation, [plan]) - plan.arrives <= 1.3 * simulation.bound(plans[1:] + late)
    assert ended(simulation, plans[:1]) <= 1.3 * simulation.bound(plans[:1])
    assert sum(peer.core.fallbacks for peer in simulation.peers.values()) == 0
    assert simulation.faults == []


def test_who_only_says_that_it_holds_everything_delays_little() -> None:
    source, plans = equal(8, RATE)
    liars = [Plan(f"liar{i}", RATE, RATE, liar=True) for i in range(3)]
    simulation = Simulation(source, plans + liars)
    simulation.run(until=60.0)
    assert ended(simulation, plans) <= 1.3 * simulation.bound(plans)


def test_what_peers_hold_already_does_not_leave_the_source_again() -> None:
    source, plans = equal(8, RATE)
    for at, plan in enumerate(plans):
        plan.have = ((1 << 256) - 1) & ~(((1 << 64) - 1) << 16 * at)
    simulation = Simulation(source, plans)
    simulation.run()
    assert ended(simulation, plans) <= 0.4 * simulation.bound(plans)
    assert simulation.copies() <= 1.0


def test_the_same_seed_gives_the_same_run() -> None:
    ends = []
    for _ in range(2):
        source, plans = equal(6, RATE)
        simulation = Simulation(source, plans, pieces=64, seed=7)
        simulation.run()
        ends.append([peer.finished for peer in simulation.peers.values()])
    assert ends[0] == ends[1]
