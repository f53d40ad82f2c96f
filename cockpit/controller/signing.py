"""Taking in signatures: what a command brings is checked and kept under the name of who brought it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cockpit.artifacts.packed import Damaged
from cockpit.artifacts.sign import take
from cockpit.model.view import Who
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller


async def artifact_sign(c: Controller, who: Who, args: dict[str, Any]) -> dict[str, Any]:
    """`{"name","version","signature":RECORD}` -> the record that is kept, with `counts`: is its key one of the
    topology's for this role? Raises Bad for what is not genuine."""
    name, version, signature = str(args["name"]), str(args["version"]), args["signature"]
    if not isinstance(signature, dict):
        raise Bad("a signature record is wanted")
    try:
        kept = await asyncio.to_thread(take, c.artifacts, name, version, signature, by=who.author)
    except (FileNotFoundError, Damaged, ValueError) as e:
        raise Bad(str(e)) from None
    await c.catalog.refresh()
    return {**kept, "counts": kept["key"] in c.world.expected.signers.get(kept["role"], ())}
