"""What the registry remembers of units, and what is kept of it over a restart."""

from __future__ import annotations

import msgspec

from cockpit.model.actual import Endpoint


class Hold(msgspec.Struct):
    """An operator's word that a unit takes no new traffic."""

    by: str
    why: str
    since: float


class Track(msgspec.Struct):
    """What is known of one unit."""

    unit: str
    instance: str
    service: str
    host: str
    address: str
    ports: dict[str, int]
    attributes: dict[str, str]
    run: int = 0
    alive: bool = False
    """A process exists that may answer."""
    good: bool = False
    """It is RUNNING and healthy as far as anybody checks."""
    leaving: bool = False
    """It ended and nobody wants it back: it no longer counts for the floor."""
    served: bool = False
    """It was ready at least once, in this run or an earlier one: it counts for the floor."""
    proved: bool = False
    """It was good in this run."""
    heard: bool = True
    """False after its host was lost, until the unit is reported again."""
    why: str = ""
    """Why it is not good."""
    since: float = 0.0
    """When `good` last changed."""
    flaps: list[float] = []
    damped: bool = False


class Dump(msgspec.Struct):
    version: int
    tracks: list[Track]
    endpoints: list[Endpoint]
    held: dict[str, Hold]
    changed: dict[str, int]
