"""What must hold of the registry after any sequence of events."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.model.actual import Exit, Unit
from cockpit.model.states import State
from cockpit.naming.registry import READY, Registry

SERVICE = "a.b"
SLOTS = 6
HOSTS = 3

HEALTH = ("good", "failing", "unsure")
EXITS = ("crash", "end", "respawn")
INTENTS = ("drain", "undrain", "forget")
CONTACT = ("lost", "report", "tick", "restart")
events = st.lists(
    st.tuples(
        st.sampled_from([*HEALTH, *HEALTH, *EXITS, *INTENTS, *CONTACT]),
        st.integers(0, SLOTS - 1),
        st.sampled_from([0.0, 0.5, 3.0, 30.0]),
    ),
    max_size=60,
)


class _All(set[str]):
    def __contains__(self, item: object) -> bool:
        return True


class Thorough(Registry):
    """Decides a whole service whenever one of its units is heard of."""

    def __init__(self, *, floor: float = 0.5) -> None:
        super().__init__(floor=floor)
        self._uneasy = _All()


def canonical(registry: Registry) -> Any:
    """What it holds, in an order of its own; whether a host was heard is not kept."""
    doc = registry.dump()
    tracks = sorted(({**t, "heard": False} for t in doc["tracks"]), key=lambda t: t["unit"])
    return {**doc, "tracks": tracks, "endpoints": sorted(doc["endpoints"], key=lambda e: (e["unit"], e["name"]))}


class World:
    """Applies events, and keeps by itself who served, who is held and who ended."""

    def __init__(self, kind: type[Registry] = Registry) -> None:
        self.kind = kind
        self.registry = kind()
        self.now = 1000.0
        self.runs = dict.fromkeys(range(SLOTS), 1)
        self.rows: dict[str, bytes] = {}
        """Service -> what is kept of it."""
        self.known: set[int] = set()
        self.served: set[int] = set()
        self.held: set[int] = set()
        self.ended: set[int] = set()

    def ready(self) -> set[int]:
        return {
            int(e["instance"].rpartition("/")[2])
            for e in self.registry.services().get(SERVICE, [])
            if e["state"] == READY
        }

    def floor(self) -> int:
        return max(1, math.ceil(len(self.served - self.held - self.ended) / 2))

    def keep(self) -> None:
        for service in self.registry.unkept:
            kept = self.registry.kept_of(service)
            if kept is None:
                self.rows.pop(service, None)
            else:
                self.rows[service] = msgspec.json.encode(kept)
        self.registry.unkept.clear()

    def apply(self, event: str, slot: int, after: float) -> None:
        self.now += after
        unit, host, r = f"{SERVICE}/{slot}:1", f"h{slot % HOSTS}", self.registry
        if event in ("lost", "report", "tick", "restart"):
            if event == "lost":
                r.host_lost(host)
            elif event == "report":
                r.full_report(host, [f"{SERVICE}/{s}:1" for s in self.known], self.now)
            elif event == "tick":
                r.expire(self.now)
            else:
                whole = self.kind.load(json.loads(json.dumps(r.dump())))
                self.keep()
                rows = [json.loads(row) for row in self.rows.values()]
                self.registry = self.kind.load_kept(json.loads(json.dumps(r.kept())), rows)
                assert canonical(self.registry) == canonical(whole), "what is kept by what changed is the whole"
        elif event == "drain":
            r.drain(unit, "li", "asked", self.now)
            self.held.add(slot)
        elif event == "undrain":
            r.undrain(unit, self.now)
            self.held.discard(slot)
        elif event == "forget":
            r.forget(unit, self.now)
            for names in (self.known, self.served, self.held, self.ended):
                names.discard(slot)
        else:
            self.observe(event, slot)
        self.served |= self.ready()

    def observe(self, event: str, slot: int) -> None:
        facts: dict[str, Any] = {"state": State.RUNNING, "health": "ok", "wanted": True}
        if event == "failing":
            facts["health"] = "failing"
        elif event == "unsure":
            facts["health"] = "starting"
        elif event == "respawn":
            facts |= {"state": State.STARTING, "health": "starting"}
        elif event == "crash":
            facts |= {"state": State.FAILED, "exit": Exit(run=self.runs[slot], code=1)}
        elif event == "end":
            facts |= {"state": State.SHUTDOWN, "wanted": False}
        if event == "respawn" or (slot in self.ended and event != "end"):
            self.runs[slot] += 1
        (self.ended.add if event == "end" else self.ended.discard)(slot)
        self.known.add(slot)
        instance = f"{SERVICE}/{slot}"
        unit = Unit(
            unit=f"{instance}:1", instance=instance, gen=1, run=self.runs[slot], ports={"p": 80 + slot},
            **facts,
        )  # fmt: skip
        self.registry.observe(unit, f"h{slot % HOSTS}", "127.0.0.1", SERVICE, {}, self.now)


@settings(max_examples=300, deadline=None)
@given(events)
def test_it_never_empties_by_mistake(sequence: list[tuple[str, int, float]]) -> None:
    world = World()
    for event, slot, after in sequence:
        before = world.ready()
        world.apply(event, slot, after)
        now = world.ready()
        if event in HEALTH:
            # failed health (and health alone) stops at the floor
            others = before - {slot} if slot not in world.known or slot in world.held else before
            assert len(now) >= min(len(others), world.floor())
            assert now or not others
        elif event == "tick":
            # one that is let back in may make room for one that was kept only for the floor
            assert len(now) >= min(len(before), world.floor())
        elif event in CONTACT:
            assert before <= now, "lost contact and a restart take nothing out"
        elif event in ("crash", "end", "respawn", "drain", "forget"):
            assert slot not in now, "exits and intents pass"
            assert len(now) >= min(len(before - {slot}), world.floor())


@settings(max_examples=150, deadline=None)
@given(events)
def test_deltas_add_up_and_versions_grow(sequence: list[tuple[str, int, float]]) -> None:
    world = World()
    version, follower = 0, {}
    for event, slot, after in sequence:
        before = {p: es for p, es in world.registry.services().items() if es}
        world.apply(event, slot, after)
        full = {p: es for p, es in world.registry.services().items() if es}
        new, changed = world.registry.delta_since(version)
        assert new >= version
        assert (new > version) or before == full
        version = new
        follower.update(changed)
        assert {p: es for p, es in follower.items() if es} == full
        assert all(e["state"] in ("ready", "draining") for es in full.values() for e in es)


@settings(max_examples=150, deadline=None)
@given(events)
def test_good_reports_heal_everything(sequence: list[tuple[str, int, float]]) -> None:
    world = World()
    for event, slot, after in sequence:
        world.apply(event, slot, after)
    for slot in range(SLOTS):
        world.apply("undrain", slot, 0.0)
        world.apply("good", slot, 0.0)
    world.apply("tick", 0, 30.0)
    assert world.ready() == set(range(SLOTS))
    world.apply("tick", 0, 30.0)
    world.apply("tick", 0, 60.0)
    assert all(e.state == READY for e in world.registry.endpoints.values())


@settings(max_examples=300, deadline=None)
@given(events)
def test_deciding_one_unit_is_as_good_as_deciding_them_all(sequence: list[tuple[str, int, float]]) -> None:
    quick, thorough = World(), World(Thorough)
    for event, slot, after in sequence:
        quick.apply(event, slot, after)
        thorough.apply(event, slot, after)
        assert quick.registry.endpoints == thorough.registry.endpoints
