"""What could hurt though nothing is wrong now: rows of `advice`, and how they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cockpit.model.view import Row

if TYPE_CHECKING:
    from cockpit.model.asking import Caller

RISK, ADVICE = "risk", "advice"
"""A risk takes something down, or hides that it is down, as soon as one thing fails; advice is good practice."""
WEIGHTS = (RISK, ADVICE)
SERVICE, HOST, REGION, CLUSTER = "service", "host", "region", "cluster"


class AdviceRow(Row, frozen=True, kw_only=True):
    key: str
    """`RULE NAME`: the same for the same finding in every answer."""
    rule: str
    weight: str
    kind: str
    """service, host, region or cluster."""
    name: str
    """Full path, name of the host or region; empty for the cluster."""
    text: str
    """What is so, a sentence without a full stop."""
    do: str
    """What would help."""
    door: tuple[str, ...] = ()
    """Words of the command line that show it."""


async def advice(session: Caller, name: str = "") -> list[AdviceRow]:
    """Risks first. `name`: only about a service, a group, a host or a region. Raises Bad for an unknown one."""
    return msgspec.convert(await session.call("advice", {"name": name}), list[AdviceRow])
