"""The op `advice`: the rules on the head revision and the controller's tables."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cockpit.explain.advice import Whole, advise
from cockpit.model.names import near
from cockpit.model.view import Who
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller
    from cockpit.controller.operations import Op


def operations(c: Controller) -> dict[str, Op]:
    async def advice(who: Who, args: dict[str, Any]) -> Any:
        name = named(c, str(args.get("name", "")))
        t = c.board.tables
        whole = Whole(
            expected=c.world.expected, instances=dict(t["instances"]), hosts=dict(t["hosts"]),
            relays=dict(t["relays"]), told=c.alerts.tells(), short=c.short,
        )  # fmt: skip
        return await asyncio.to_thread(advise, whole, name)

    return {"advice": advice}


def named(c: Controller, name: str) -> str:
    """The full name of a node, a host or a region. Raises Bad, with the nearest right thing."""
    expected = c.world.expected
    paths = [*expected.services, *expected.groups]
    if not name or name in paths or name in expected.hosts or name in expected.regions:
        return name
    found = [p for p in paths if p.endswith("." + name)]
    if len(found) == 1:
        return found[0]
    known = [*paths, *expected.hosts, *expected.regions]
    raise Bad(f"no service, group, host or region {name!r}" + near(name, known))
