"""What these rows' questions need of a session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol


class Caller(Protocol):
    """The part of `cockpit.ports.Session` by which a question is asked."""

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any: ...

    def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]: ...
