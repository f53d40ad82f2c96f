"""What the recorded state history answers: moments, differences, the life of one object. Times are Unix seconds.

The functions are used by screens and commands alike; they go over any session, and raise what sessions raise
(`Bad` also when no history is recorded, or none reaches that far back).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cockpit.model.view import (
    OK,
    ActionRow,
    AlertRow,
    Delta,
    DriftRow,
    EndpointRow,
    HostRow,
    InstanceRow,
    NodeRow,
    PushRow,
    RelayRow,
    Row,
)

if TYPE_CHECKING:
    from cockpit.model.asking import Caller

TABLES: dict[str, type[Row]] = {
    "nodes": NodeRow, "instances": InstanceRow, "hosts": HostRow, "drift": DriftRow, "endpoints": EndpointRow,
    "actions": ActionRow, "pushes": PushRow, "relays": RelayRow, "alerts": AlertRow,
}  # fmt: skip
"""Every table of a snapshot, with its rows. The order is part of the format on disk: only append."""

KINDS = {
    "nodes": "service", "instances": "instance", "hosts": "host", "drift": "drift", "endpoints": "endpoint",
    "actions": "action", "pushes": "push", "relays": "relay", "alerts": "alert",
}  # fmt: skip
"""Table -> the word for one of its rows."""

NEW, GONE, CHANGED = "new", "gone", "changed"


class Gap(Row, frozen=True, kw_only=True):
    """From `start` to `end` nothing was recorded."""

    start: float
    end: float
    why: str = ""


class Moment(Row, frozen=True, kw_only=True):
    """Changes from `at` to before `end` (one cell of a density line)."""

    at: float
    end: float
    kinds: dict[str, int]
    """Table -> rows that changed. The head's revision counts as `revision`."""

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


class Moments(Row, frozen=True, kw_only=True):
    """When something changed, in a range."""

    start: float
    end: float
    resolution: float
    """Seconds of one moment."""
    oldest: float | None = None
    """The earliest time that is kept; None: nothing is."""
    newest: float | None = None
    """The latest time that is kept."""
    moments: tuple[Moment, ...] = ()
    """Only those with changes, oldest first."""
    gaps: tuple[Gap, ...] = ()


class Difference(Row, frozen=True, kw_only=True):
    """One object that is another at B than at A, in words."""

    table: str
    key: str
    """Key of the row in its table."""
    name: str
    """Instance id, host, service path, action id: what a person calls it."""
    how: str
    """new, gone, changed."""
    before: str = ""
    after: str = ""
    """`1.0.0 running` -> `1.1.0 starting`; only what differs."""
    mark: str = OK
    """Of the row at B; of a row that is gone, the one it had at A."""


class Between(Row, frozen=True, kw_only=True):
    """What changed between A and B, grouped by table, worst first within one."""

    start: float
    end: float
    rows: tuple[Difference, ...] = ()
    left_out: int = 0
    """So many more than asked for."""
    gaps: tuple[Gap, ...] = ()
    revisions: tuple[int, int] = (0, 0)
    """Head revision at A and at B."""


class LifeEvent(Row, frozen=True, kw_only=True):
    """One change of one object (or of what belongs to it: its drift, its endpoints, an action on it)."""

    at: float
    table: str
    """Which table changed; see KINDS."""
    key: str
    name: str
    how: str
    """new, gone, changed."""
    before: str = ""
    after: str = ""
    mark: str = OK


class Life(Row, frozen=True, kw_only=True):
    """The changes of one object, oldest first."""

    kind: str
    """instance, host, service, relay, action."""
    name: str
    start: float
    end: float
    events: tuple[LifeEvent, ...] = ()
    left_out: int = 0
    """Older ones in the range that were not asked for (`limit`)."""
    oldest: float | None = None
    """The earliest time that is kept."""
    gaps: tuple[Gap, ...] = ()


class Step(Row, frozen=True, kw_only=True):
    """From one moment to another."""

    at: float
    """Where it leads; the time asked for, or that of the neighbouring change."""
    delta: Delta | None
    """Rows that differ; None: too many, ask for the whole."""
    near: tuple[LifeEvent, ...] = ()
    """What changed at exactly that moment, at most twenty."""
    oldest: float = 0.0
    newest: float = 0.0
    gap: Gap | None = None
    """The gap that `at` lies in: the state is the one before it."""


async def moments(session: Caller, start: float, end: float, resolution: float) -> Moments:
    """At most 10,000 moments: a finer resolution is made coarser (see the answer's)."""
    return msgspec.convert(
        await session.call("moments", {"start": start, "end": end, "resolution": resolution}), Moments
    )


async def between(session: Caller, start: float, end: float, *, limit: int = 5000) -> Between:
    return msgspec.convert(await session.call("between", {"start": start, "end": end, "limit": limit}), Between)


async def life(
    session: Caller, kind: str, name: str, *, start: float = 0.0, end: float | None = None, limit: int = 500
) -> Life:
    """The last `limit` changes of an object in a range; `end` None is now.

    Kind is instance, host, service (its node row, its instances' marks and its drift), relay or action.
    """
    args = {"kind": kind, "name": name, "start": start, "end": end, "limit": limit}
    return msgspec.convert(await session.call("lives", args), Life)


async def step(session: Caller, at: float, *, to: float | None = None, way: int = 0) -> Step:
    """From the state at `at` to that at `to`, or to the next (`way` 1) or previous (-1) change."""
    return msgspec.convert(await session.call("past_step", {"at": at, "to": to, "way": way}), Step)
