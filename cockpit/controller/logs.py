"""Log streams: a session asks for instances, agents send lines within the credit given here, and they are put
together by time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from cockpit.controller.log_merge import Merge
from cockpit.controller.world import World
from cockpit.link.hub import Hub, Link
from cockpit.link.messages import Log, LogEntry
from cockpit.model.actual import serving_unit
from cockpit.model.view import LogLine
from cockpit.plan.steps import Bad
from cockpit.session.log_text import Wrong, sought

CREDIT = 4000
"""Lines that all agents of one reader may have sent before they have to wait."""
LEAST = 20
"""Of it, what each stream has at least."""
MOST = 500
"""Instances of one reader."""
BATCH = 500
RATE = 2500.0
"""New lines a second for one reader: a flood leaves it time for keys. Agents drop and count the rest."""
LOOK = 1.0
"""Seconds without a line after which a follower looks whether its hosts are still there."""
TICK = 0.1
OPENING = 32
"""Streams that are opened side by side."""
ANSWER = 10.0


class _Stream(NamedTuple):
    id: str
    instance: str
    host: str
    link: Link | None


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
        self, instances: Sequence[str], *, lines: int, follow: bool, since: float = 0.0, until: float = 0.0,
        streams: Sequence[str] = (), previous: int = 0, grep: str = "", before: int = 0, after: int = 0,
    ) -> AsyncIterator[LogLine]:
        """Lines of several instances by time; ends when every stream ended.

        `grep` as people type it (`session.log_text.sought`). Raises Bad for an unknown instance or a search that is
        none, ConnectionError when a single one's host is silent.
        """
        try:
            what = sought(grep)
        except Wrong as e:
            raise Bad(str(e)) from None
        if len(instances) > MOST:
            raise Bad(f"logs of {len(instances)} instances at once; {MOST} is the most")
        args: dict[str, Any] = {
            "lines": lines, "follow": follow, "since": since, "until": until, "streams": list(streams),
            "previous": previous, "before": before, "after": after, "times": True,
        }  # fmt: skip
        if what.text:
            args["grep"] = {"text": what.text, "regex": what.regex, "inverse": what.inverse}
        reader = _Reader(self, instances, args)
        try:
            async for batch in reader.batches():
                for line in batch:
                    yield line
        finally:
            reader.close()

    def _host(self, instance: str) -> str:
        units = tuple(self.world.units.get(instance, {}).values())
        unit = serving_unit(units)
        if unit is not None:
            return self.world.where[unit.unit]
        host = self.world.expected.placement.get(instance)
        if host is None:
            raise Bad(f"no instance {instance}")
        return host



class _Reader:
    """One reader's streams."""

    def __init__(self, all: LogStreams, instances: Sequence[str], args: dict[str, Any]) -> None:
        self._all = all
        self._hub = all.hub
        self._args = args
        self._single = len(instances) == 1
        self._queue: asyncio.Queue[Log] = asyncio.Queue()
        self._merge: Merge[LogLine] = Merge(time.monotonic(), hold=0.0) if self._single else Merge(time.monotonic())
        self._streams: dict[str, _Stream] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(OPENING)
        self._silent: str = ""
        self._credit = max(LEAST, CREDIT // max(1, len(instances)))
        self._tokens = RATE / 4
        self._filled = time.monotonic()
        number = next(all._numbers)
        for n, instance in enumerate(dict.fromkeys(instances)):
            host = all._host(instance)
            stream = _Stream(f"log-{number}-{n}", instance, host, all.hub.links.get(host))
            self._streams[stream.id] = stream
            self._merge.begin(stream.id)

    async def batches(self) -> AsyncIterator[list[LogLine]]:
        for stream in list(self._streams.values()):
            self._all._queues[stream.id] = self._queue
            task = asyncio.create_task(self._open(stream))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        looked = time.monotonic()
        while self._streams or self._merge.count:
            try:
                async with asyncio.timeout(TICK if self._merge.count else LOOK):
                    self._frame(await self._queue.get())
                while not self._queue.empty():
                    self._frame(self._queue.get_nowait())
            except TimeoutError:
                pass
            now = time.monotonic()
            if now - looked >= LOOK:
                looked = now
                self._look()
            while batch := self._take():
                yield batch
                await asyncio.sleep(0)
            if self._silent and self._single:
                raise ConnectionError(f"no answer from {self._silent}")

    def close(self) -> None:
        for task in list(self._opening):
            task.cancel()
        for stream in list(self._streams.values()):
            self._end(stream.id)
            self._hub.begin(f"{stream.id}/end", stream.host, "unlog", {"stream": stream.id})
            self._hub.forget(f"{stream.id}/end")

    async def _open(self, stream: _Stream) -> None:
        args = {"stream": stream.id, "instance": stream.instance, **self._args}
        try:
            async with self._gate:
                answer = await self._hub.command(stream.host, "logs", args, task=stream.id, timeout=ANSWER)
        except (ConnectionError, TimeoutError):
            self._silent = stream.host
            self._queue.put_nowait(Log(stream=stream.id, end=f"no answer from {stream.host}"))
            return
        if not answer.ok:
            self._queue.put_nowait(Log(stream=stream.id, end=answer.text))
            return
        self._hub.send(stream.host, {"t": "credit", "stream": stream.id, "lines": self._credit})

    def _frame(self, frame: Log) -> None:
        stream = self._streams.get(frame.stream)
        if stream is None:
            return
        now, merge = time.monotonic(), self._merge
        rows = [(line.time, _row(stream.instance, line)) for line in frame.lines]
        if frame.lines and not any(when for when, _ in rows):
            merge.caught(stream.id)  # of an agent that knows no times: nobody waits for more of it
        merge.put(stream.id, rows, now)
        said = [(frame.note, 0)] if frame.note and not frame.left else []
        if frame.left:
            more = f"; {frame.note}" if frame.note else ""
            said.append((f"{frame.left:,} older lines are left out{more}", 0))
        if frame.dropped:
            said.append((f"{frame.dropped:,} lines dropped: they came faster than they could be sent", frame.dropped))
        if frame.end:
            said.append((frame.end, 0))
        for text, dropped in said:
            when = merge.time(stream.id) or time.time()
            merge.put(stream.id, [(when, _remark(stream.instance, text, when, dropped))], now)
        if frame.caught or frame.end is not None:
            merge.caught(stream.id)
        if frame.end is not None:
            self._end(stream.id)

    def _take(self) -> list[LogLine]:
        """What may go out now; what is taken is credit again."""
        now = time.monotonic()
        self._tokens = min(RATE / 4, self._tokens + (now - self._filled) * RATE)
        self._filled = now
        most = BATCH if self._merge.stored else min(BATCH, int(self._tokens))
        taken = self._merge.take(now, most) if most > 0 else []
        if not self._merge.stored:
            self._tokens -= len(taken)
        counts = Counter(id for id, line in taken if line.stream != "cockpit")
        for id, count in counts.items():
            if id in self._streams:
                self._hub.send(self._streams[id].host, {"t": "credit", "stream": id, "lines": count})
        return [line for _, line in taken]

    def _look(self) -> None:
        """A new link knows no old stream."""
        for stream in list(self._streams.values()):
            if self._hub.links.get(stream.host) is not stream.link:
                self._frame(Log(stream=stream.id, end=f"lost contact with {stream.host}: the lines end here"))

    def _end(self, id: str) -> None:
        self._all._queues.pop(id, None)
        self._streams.pop(id, None)


def _row(instance: str, line: LogEntry) -> LogLine:
    return LogLine(
        instance=instance, run=line.run, stream=line.stream, text=line.text, process=line.process, time=line.time,
        mark=line.mark,
    )


def _remark(instance: str, text: str, when: float, dropped: int) -> LogLine:
    """A word of ours among the lines."""
    return LogLine(instance=instance, run=0, stream="cockpit", text=text, time=when, dropped=dropped)
