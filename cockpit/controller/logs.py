"""Log streams: a session asks for instances, agents send lines within the credit given here."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence

from cockpit.controller.world import World
from cockpit.link.hub import Hub, Link
from cockpit.link.messages import Log
from cockpit.model.actual import serving_unit
from cockpit.model.view import LogLine
from cockpit.plan.steps import Bad

CREDIT = 2000
"""Lines an agent may send before it has to wait."""
LOOK = 1.0
"""Seconds without a line after which a follower looks whether its hosts are still there."""


class LogStreams:
    """Routes `log` frames to the sessions that asked for them."""

    def __init__(self, hub: Hub, world: World) -> None:
        self.hub = hub
        self.world = world
        self._queues: dict[str, asyncio.Queue[Log]] = {}
        self._numbers = itertools.count(1)

    def frame(self, frame: Log) -> None:
        queue = self._queues.get(frame.stream)
        if queue is not None:
            queue.put_nowait(frame)

    async def follow(
        self, instances: Sequence[str], *, lines: int, follow: bool
    ) -> AsyncIterator[LogLine]:
        """Lines of several instances as they come; ends when every stream ended.

        Raises Bad for an unknown instance, ConnectionError when a single one's host is silent.
        """
        queue: asyncio.Queue[Log] = asyncio.Queue()
        streams: dict[str, tuple[str, str]] = {}
        links: dict[str, Link | None] = {}
        number = next(self._numbers)
        try:
            for n, instance in enumerate(instances):
                host = self._host(instance)
                stream = f"log-{number}-{n}"
                self._queues[stream] = queue
                streams[stream] = (instance, host)
                links.setdefault(host, self.hub.links.get(host))
                args = {"stream": stream, "instance": instance, "lines": lines, "follow": follow}
                try:
                    answer = await self.hub.command(host, "logs", args, task=stream, timeout=10)
                except (ConnectionError, TimeoutError):
                    self._close(stream, streams)
                    if len(instances) == 1:
                        raise ConnectionError(f"no answer from {host}") from None
                    yield _remark(instance, f"no answer from {host}")
                    continue
                if not answer.ok:
                    self._close(stream, streams)
                    yield _remark(instance, answer.text)
                    continue
                self.hub.send(host, {"t": "credit", "stream": stream, "lines": CREDIT})
            while streams:
                try:
                    async with asyncio.timeout(LOOK):
                        frame = await queue.get()
                except TimeoutError:
                    for stream, (instance, host) in list(streams.items()):
                        if self.hub.links.get(host) is not links[host]:  # a new link knows no old stream
                            self._close(stream, streams)
                            yield _remark(instance, f"lost contact with {host}: the lines end here")
                    continue
                if frame.stream not in streams:
                    continue
                instance, host = streams[frame.stream]
                for line in self._lines(instance, frame):
                    yield line
                if frame.end is not None:
                    self._close(frame.stream, streams)
                elif frame.lines:
                    credit = {"t": "credit", "stream": frame.stream, "lines": len(frame.lines)}
                    self.hub.send(host, credit)
        finally:
            for stream, (_, host) in list(streams.items()):
                self._close(stream, streams)
                self.hub.begin(f"{stream}/end", host, "unlog", {"stream": stream})
                self.hub.forget(f"{stream}/end")

    def _close(self, stream: str, streams: dict[str, tuple[str, str]]) -> None:
        self._queues.pop(stream, None)
        streams.pop(stream, None)

    def _lines(self, instance: str, frame: Log) -> list[LogLine]:
        rows = [
            LogLine(instance=instance, run=run, stream=stream, text=text, process=process)
            for run, stream, process, text in frame.lines
        ]
        if frame.dropped:
            text = f"{frame.dropped} lines dropped: they came faster than they could be sent"
            rows.append(_remark(instance, text))
        if frame.end:
            rows.append(_remark(instance, frame.end))
        return rows

    def _host(self, instance: str) -> str:
        units = tuple(self.world.units.get(instance, {}).values())
        unit = serving_unit(units)
        if unit is not None:
            return self.world.where[unit.unit]
        host = self.world.expected.placement.get(instance)
        if host is None:
            raise Bad(f"no instance {instance}")
        return host


def _remark(instance: str, text: str) -> LogLine:
    """A word of ours among the lines."""
    return LogLine(instance=instance, run=0, stream="cockpit", text=text)
