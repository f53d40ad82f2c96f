"""Log lines: streams, and the last ones of a run."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Dict, Mapping

from cockpit.agent import foreign_logs, logs
from cockpit.agent.builtin.host import Host, thread
from cockpit.agent.follow import MAX_STREAMS, Stream
from cockpit.agent.log_query import BadQuery, query_of
from cockpit.agent.tasks import CommandError, Data, Progress, Word

MAX_TAIL = 5000


class Lines:
    """`logs`, `unlog` and `tail`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def table(self) -> Dict[str, Word]:
        return {"logs": self.logs, "unlog": self.unlog, "tail": self.tail}

    async def logs(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        id = str(args["stream"])
        given = args.get("units") or []
        instance = str(args.get("instance") or "")
        if not given and not instance:
            raise CommandError("bad", "logs: units or an instance is wanted")
        if len(host.streams) >= MAX_STREAMS and id not in host.streams:
            raise CommandError("busy", f"{MAX_STREAMS} log streams are open on this host")
        self._close_stream(id)
        units = [str(u) for u in given]
        try:
            query = query_of(args)
        except BadQuery as e:
            raise CommandError("bad", str(e)) from None
        other = foreign_logs.of_records(host.book.records, units, instance)
        argv = foreign_logs.source(other, query.lines, query.follow, os.geteuid() != 0, query) if other else []
        stream: Stream
        if other is not None and argv:
            unit, run = str(other["unit"]), int(other.get("run") or 0)
            stream = foreign_logs.ForeignStream(
                host.dir, id, lambda: host.book.records, host.send_bulk, unit=unit, argv=argv, run=run,
                query=query,
            )
        else:
            stream = Stream(
                host.dir, id, lambda: host.book.records, host.send_bulk, units=units, instance=instance,
                query=query, others=lambda: len(host.streams),
            )
        task = asyncio.ensure_future(stream.run())
        host.streams[id] = (stream, task)
        task.add_done_callback(lambda done: self._stream_ended(id, done))
        return {}

    def _stream_ended(self, id: str, done: "asyncio.Task[None]") -> None:
        if id in self._host.streams and self._host.streams[id][1] is done:
            del self._host.streams[id]
        if not done.cancelled():
            done.exception()  # seen

    async def unlog(self, args: Mapping[str, Any], progress: Progress) -> Data:
        self._close_stream(str(args["stream"]))
        return {}

    def _close_stream(self, id: str) -> None:
        found = self._host.streams.pop(id, None)
        if found is not None:
            found[1].cancel()

    async def tail(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """Text of the last lines; of the run before when the last one said nothing (yet)."""
        lines = max(0, min(int(args.get("lines", 10)), MAX_TAIL))
        other = foreign_logs.of_records(self._host.book.records, [str(args["unit"])], "")
        argv = foreign_logs.source(other, lines, False, os.geteuid() != 0) if other else []
        if argv:
            return {"lines": await foreign_logs.tail(argv, lines)}
        dir = logs.log_dir(self._host.dir, str(args["unit"]))
        found = await thread(logs.tail, [dir], lines)
        last = max((run for run, _, _, _ in found), default=0)
        return {"lines": [text for run, _, _, text in found if run == last]}
