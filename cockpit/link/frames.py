"""The link's frames: names, limits, encoding. Standard library only; both sides use it.

docs/protocols.md has the whole table.
"""

from __future__ import annotations

import json
from typing import Any

PROTOCOL = 1
SUBPROTOCOL = "cockpit.1"
MAX_FRAME = 4 * 1024 * 1024

Frame = dict[str, Any]


class ProtocolError(Exception):
    """The other side sent something that is not a frame."""


def encode(frame: Frame) -> str:
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)


def decode(data: str | bytes) -> Frame:
    """Raises ProtocolError for anything but a JSON object with a string `t`, or too large."""
    if len(data) > MAX_FRAME:
        raise ProtocolError(f"frame of {len(data)} bytes is over the limit of {MAX_FRAME}")
    try:
        frame = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise ProtocolError(f"not JSON: {e}") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("t"), str):
        raise ProtocolError("not a frame: an object with `t` is wanted")
    return frame
