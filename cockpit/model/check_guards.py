"""What must hold for guard rails: names that exist, rules that can be reached. A guard with a typo guards nothing."""

from __future__ import annotations

import re

from msgspec.structs import replace

from cockpit.act.table import DIRECT
from cockpit.model.constraints import parse_requirement
from cockpit.model.problems import Path, Report
from cockpit.model.topology import Expected, Guard, Window

PATTERN = re.compile(r"[*?\[]")
SECTIONS = ("guards", "signers", "schedules", "name")
"""Parts of the topology that a guard can name beside the tree, hosts, relays and regions."""
CONDITIONS = (
    "verbs", "targets", "regions", "hosts", "risk", "authors", "groups", "over_instances", "over_hosts", "below",
    "inside", "outside",
)  # fmt: skip


def resolve_guards(expected: Expected, to: Report) -> Expected:
    """Targets by their full names, as dependencies are. Reports what names nothing, or several things."""
    if not expected.guards:
        return expected
    nodes = [*expected.services, *expected.groups]
    ends: dict[str, list[str]] = {}
    for node in nodes:
        parts = node.split(".")
        for n in range(len(parts)):
            ends.setdefault(".".join(parts[n:]), []).append(node)
    known = {*ends, *expected.hosts, *expected.relays, *expected.regions}
    artifacts = {s.artifact for s in expected.services.values() if s.artifact}
    artifacts |= {d.artifact for s in expected.services.values() for d in s.data.values()}

    def full(written: str, place: Path) -> str:
        base, slash, slot = written.partition("/")
        if PATTERN.search(written) or base in nodes or base in expected.hosts or base in SECTIONS:
            return written
        if base in expected.relays or base in expected.regions or (slash and base in artifacts):
            return written
        found = ends.get(base, [])
        if len(found) > 1:
            to.problem(place, f'"{base}" may be {" or ".join(found[:4])}; write more of the path')
        elif not found and not to.tainted("tree"):
            to.problem(place, f'nothing is called "{base}"', to.near(base, known))
        return found[0] + slash + slot if len(found) == 1 else written

    guards = tuple(
        replace(g, targets=tuple(full(t, ("guards", str(n), "targets", str(m))) for m, t in enumerate(g.targets)))
        for n, g in enumerate(expected.guards)
    )
    return replace(expected, guards=guards)


def check_guards(expected: Expected, values: dict[str, set[str]], to: Report) -> None:
    """Reports what does not hold. `values`: what a constraint can name -> its values on the hosts."""
    seen: dict[str, int] = {}
    everything = ""
    for n, guard in enumerate(expected.guards):
        base: Path = ("guards", str(n))
        if guard.name and seen.setdefault(guard.name, n) != n:
            to.problem((*base, "name"), f'there is a guard "{guard.name}" already')
        said = to.written(*base, "effect") or to.tainted(*base, "effect") or to.tainted(*base, "max")
        if not said and guard.max is None:
            to.problem(base, "a guard needs an effect: allow, confirm, approve or deny (or max)")
        for m, region in enumerate(guard.regions):
            if region not in expected.regions:
                near = to.near(region, expected.regions)
                to.problem((*base, "regions", str(m)), f'unknown region "{region}"', near)
        _hosts(guard, values, base, to)
        for key, window in (("inside", guard.inside), ("outside", guard.outside)):
            _window(window, (*base, key), to)
        if guard.break_glass and guard.effect in ("allow", "confirm") and guard.max is None:
            to.warn((*base, "break_glass"), f"there is nothing to break: the effect is {guard.effect}")
        if guard.verbs and set(guard.verbs) <= DIRECT.keys() and (guard.below or guard.risk):
            key = "below" if guard.below else "risk"
            to.warn((*base, key), f"{key} says nothing of {', '.join(guard.verbs)}: nobody knows it beforehand")
        if everything:
            to.warn(base, f'this is never asked: "{everything}" above it holds for everything')
        elif not any(getattr(guard, c) for c in CONDITIONS if not c.startswith("over_")) and (
            guard.over_instances is None and guard.over_hosts is None
        ):
            everything = guard.name


def _hosts(guard: Guard, values: dict[str, set[str]], base: Path, to: Report) -> None:
    for n, text in enumerate(guard.hosts):
        need, place = parse_requirement(text), (*base, "hosts", str(n))
        if need.key not in values:
            to.problem(place, f'no host has the label "{need.key}"', to.near(need.key, values))
        elif need.equal and need.value not in values[need.key]:
            to.problem(place, f"no host meets {text}", to.near(need.value, values[need.key]))


def _window(window: Window | None, place: Path, to: Report) -> None:
    if window is not None and window.start == window.end:
        to.problem(place, f"a window from {window.start} to {window.end} is empty; leave both out for whole days")
