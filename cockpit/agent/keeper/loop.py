"""A poll loop's bookkeeping: which function looks after which file descriptor."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[int], None]

IN = select.POLLIN
OUT = select.POLLOUT
HUP = select.POLLHUP


class Loop:
    def __init__(self) -> None:
        self._poll = select.poll()
        self._calls: dict[int, Call] = {}

    def add(self, fd: int, call: Call, events: int = IN) -> None:
        """`call` gets the events that came."""
        self._calls[fd] = call
        self._poll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._poll.modify(fd, events)

    def drop(self, fd: int) -> None:
        """To be called before the descriptor is closed."""
        if self._calls.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """(fd, events) of what happened within `timeout` seconds."""
        return self._poll.poll(None if timeout is None else max(0.0, timeout) * 1000 + 0.5)

    def handle(self, fd: int, events: int) -> None:
        call = self._calls.get(fd)  # dropped meanwhile by another one's call: nothing to do
        if call is not None:
            call(events)
