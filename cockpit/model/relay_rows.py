"""What is known of a relay, and the row that screens show of it."""

from __future__ import annotations

import msgspec

from cockpit.model.states import SUSPECT, UNKNOWN, UP
from cockpit.model.topology import Expected
from cockpit.model.view import ABSENT, CHANGING, OK, RelayRow
from cockpit.model.view import UNKNOWN as UNKNOWN_MARK


class RelayActual(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a relay that carries links told, or the relay above it."""

    name: str
    presence: str = UNKNOWN
    since: float | None = None
    """When the presence last changed."""
    agents: int = 0
    """Agents that are connected to it."""
    path: tuple[str, ...] = ()
    """The relays on the way to it, itself first."""
    pid: int | None = None
    version: str = ""
    started: float | None = None
    latency: float | None = None
    """Seconds, round trip all the way."""
    transport: str = ""
    reason: str = ""
    note: str = ""
    """What its operator must know."""


def relay_row(name: str, expected: Expected, known: RelayActual | None) -> RelayRow | None:
    """None for a relay that is neither in the topology nor heard."""
    relay = expected.relays.get(name)
    if relay is None and (known is None or known.presence == UNKNOWN):
        return None
    actual = known or RelayActual(name=name)
    mark, reason, presence = _judged(actual, relay is None, relay is not None and relay.link_port is not None)
    return RelayRow(
        name=name, region=relay.region if relay else "", address=relay.address if relay else "",
        upstream=relay.upstream if relay else "", connection=relay.connection if relay else "agent",
        links=relay is not None and relay.link_port is not None, presence=presence, mark=mark, reason=reason,
        since=actual.since, agents=actual.agents, path=actual.path, pid=actual.pid, version=actual.version,
        started=actual.started, latency=actual.latency, transport=actual.transport,
    )  # fmt: skip


def _judged(actual: RelayActual, stray: bool, links: bool) -> tuple[str, str, str]:
    """(mark, reason, presence)"""
    if stray:
        return CHANGING, "not in the topology any more", actual.presence
    if not links:
        return ABSENT, "it carries artifacts only: it has no link_port", ""
    if actual.presence == UP:
        return (CHANGING, actual.note, UP) if actual.note else (OK, "", UP)
    if actual.presence == SUSPECT:
        return CHANGING, actual.reason, SUSPECT
    return UNKNOWN_MARK, actual.reason or "it was never heard", UNKNOWN
