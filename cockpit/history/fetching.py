"""The whole state at a past moment, fetched over any session.

The controller only reads the file: it sends the beginning of the segment up to the moment, and whoever asked unpacks
it. Two hundred thousand rows spelled out one by one would keep the controller busy for seconds.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cockpit.history.folding import folded
from cockpit.history.patience import calm
from cockpit.model.asking import Caller
from cockpit.model.view import Snapshot

LARGEST = 256 * 1024 * 1024
"""Bytes of a segment that are taken; a controller writes none of half that size."""


async def past(session: Caller, at: float) -> Snapshot:
    """The whole state at a moment. Raises what sessions raise, and Bad when it cannot be read."""
    data = bytearray()
    wanted = -1
    items: AsyncIterator[Any] = session.stream("past", {"at": at})
    async for item in items:
        if "segment" in item:
            at, wanted = float(item["at"]), int(item["size"])
            name = str(item["segment"])
        else:
            try:
                data += base64.b64decode(item["part"], validate=True)
            except binascii.Error:
                raise ConnectionError("the controller's answer is damaged") from None
            if len(data) > min(wanted, LARGEST):
                raise ConnectionError("the controller sends more than it said")
    if len(data) != wanted:
        raise ConnectionError("the controller went away in the middle of its answer")
    return await asyncio.to_thread(calm, lambda: folded(Path(name), bytes(data), at))
