"""What commands have in common that go on until somebody ends them: shells, forwards and copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from cockpit.agent.tasks import Data, Progress

if TYPE_CHECKING:
    from backends.ssh.host import Host


class Lasting(Protocol):
    def take(self, data: dict[str, Any]) -> None: ...

    def end(self, why: str) -> None: ...


T = TypeVar("T", bound=Lasting)


class Open(Generic[T]):
    """Those of one host, by task."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._open: dict[str, T] = {}

    def input(self, task: str, data: Any) -> None:
        found = self._open.get(task)
        if found is not None and isinstance(data, dict):
            found.take(data)

    def end_all(self, why: str) -> None:
        for each in self._open.values():
            each.end(why)

    async def end(self, args: Mapping[str, Any], progress: Progress) -> Data:
        found = self._open.get(str(args.get("task")))
        if found is not None:
            found.end("stopped")
        return {}
