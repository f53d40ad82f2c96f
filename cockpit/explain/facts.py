"""What the engine is given: the tables of the board, and what was asked for beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from cockpit.explain.wrong import CALM, Sort, Wrong
from cockpit.model.view import ActionRow, DriftRow, HostRow, InstanceRow, NodeRow, RelayRow, RevisionRow
from cockpit.model.why_rows import Moment

ENDED = frozenset({"done", "failed", "aborted", "returned", "refused"})
STUCK = frozenset({"interrupted", "paused"})


class More(msgspec.Struct, frozen=True, kw_only=True):
    """What is not on the board about one instance."""

    exits: tuple[str, ...] = ()
    """Sentences, the latest first."""
    lines: tuple[str, ...] = ()
    """The last log lines, oldest first."""
    no_lines: str = ""
    """Why there are none: `bj-2 did not answer within 2 s`."""
    probe: str = ""


def _same(name: str) -> str:
    return name


@dataclass
class Facts:
    """Rows by key, as `cockpit.model.view.Snapshot` has them; the rest may be left out."""

    now: float
    wrong: Wrong
    instances: Mapping[str, InstanceRow]
    hosts: Mapping[str, HostRow]
    relays: Mapping[str, RelayRow]
    nodes: Mapping[str, NodeRow]
    drift: Mapping[str, DriftRow]
    actions: Mapping[str, ActionRow]
    revisions: Sequence[RevisionRow] = ()
    """Of late, in any order."""
    moments: Sequence[Moment] = ()
    """Of late: boots, agents, clocks."""
    more: Mapping[str, More] = field(default_factory=dict)
    calls: Mapping[str, Iterable[str]] = field(default_factory=dict)
    """Service -> services that it was seen to call, beside those it declares."""
    short: Callable[[str], str] = _same
    """Full path or id -> the name that people use."""

    def __post_init__(self) -> None:
        self.stuck = sorted((a for a in self.actions.values() if a.state in STUCK), key=lambda a: (a.started, a.id))

    def depends(self, service: str) -> list[str]:
        """Services it calls, declared and seen, without itself."""
        row = self.nodes.get(service)
        declared = row.depends if row is not None else ()
        return [d for d in dict.fromkeys((*declared, *self.calls.get(service, ()))) if d != service]

    def undeclared(self, service: str, callee: str) -> bool:
        """Was it only seen to call the other one, and does not declare that?"""
        row = self.nodes.get(service)
        return callee in self.calls.get(service, ()) and (row is None or callee not in row.depends)

    def odd(self) -> list[str]:
        """Keys of the differences of what is neither an instance with a row nor a host."""
        rows = ((k, self.drift.get(k)) for k in sorted(self.wrong.odd))
        return [k for k, d in rows if d is not None and d.target not in self.hosts and d.target not in self.instances]

    def unwell(self, service: str) -> bool:
        return service in self.wrong.sorts or service in self.wrong.silent_of

    def ids(self, sort: Sort) -> Iterable[str]:
        return self.wrong.groups[sort].ids

    def bad_relay(self, name: str) -> RelayRow | None:
        """The relay, when it should carry links and is not heard."""
        row = self.relays.get(name)
        return row if row is not None and row.links and row.mark not in CALM else None


def covers(action: ActionRow, service: str) -> bool:
    """Do its targets name the service or a node above it?"""
    return any(service == t or service.startswith(t + ".") for t in action.targets)


def touches(action: ActionRow, instance: str) -> bool:
    return instance in action.targets or covers(action, instance.rpartition("/")[0])
