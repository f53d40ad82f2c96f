"""Another version of its data for a unit that goes on."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Dict, Mapping

from cockpit.agent import activate, prepare
from cockpit.agent.builtin.host import Host, known, patiently, thread
from cockpit.agent.keeper_client import KeeperError
from cockpit.agent.tasks import CommandError, Data, Progress, Word

POLL = 0.1
YOUNG = 1.0
"""Seconds that a program without a check needs until it can take a signal; with one: until it is well."""
GROWN = 10.0
"""After so many it is told all the same."""


class ActiveData:
    """`activate`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def table(self) -> Dict[str, Word]:
        return {"activate": self.activate}

    async def activate(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """Another version of its data for a unit that goes on. Done again it only signals again."""
        host = self._host
        unit, name = str(args["unit"]), str(args["data"])
        entry = {k: str(args.get(k) or "") for k in ("artifact", "version", "sha256")}
        activate.check_data({name: entry}, "activate")
        known(self._host, unit)
        had = host.book.given(unit).get(name)
        if args.get("instance", unit.rpartition(":")[0]) != unit.rpartition(":")[0]:
            raise CommandError("bad", f"{args['instance']!r:.80} is not the instance of {unit}")
        if had is None or had["artifact"] != entry["artifact"]:
            raise CommandError("bad", f"{unit} has no data {name} of artifact {entry['artifact']}")
        await patiently(progress, host.releases.check, entry["artifact"], entry["version"], entry["sha256"])
        instance = unit.rpartition(":")[0]
        spec = (known(self._host, unit).get("meta") or {}).get("spec") or {}
        user = await thread(prepare.find_user, str(spec.get("user") or ""))
        await thread(prepare.make_places, host.dir, instance, user)
        await thread(activate.switch, host.dir, instance, name, entry["artifact"], entry["version"])
        told: Dict[str, Any] = {}
        if args.get("signal"):
            by = str(args.get("by") or "controller")
            await self._grown(unit)
            try:
                told = await host.keeper("signal", unit=unit, signal=str(args["signal"]), by=by)
            except KeeperError:  # nobody was told, so nobody sees it
                await thread(activate.switch, host.dir, instance, name, had["artifact"], had["version"])
                raise
        record = known(self._host, unit)
        host.book.give(unit, name, entry)
        return {"run": told.get("run") or record.get("run"), "signalled": told.get("pids") or {}}

    async def _grown(self, unit: str) -> None:
        """A program that was just started does not listen for signals yet: it would end of them."""
        host, deadline = self._host, time.monotonic() + GROWN
        while time.monotonic() < deadline:
            record = host.book.records.get(unit) or {}
            age = time.time() - float(record.get("started") or 0.0)
            checked = ((record.get("meta") or {}).get("spec") or {}).get("check")
            well = not checked or host.memory.good.get(unit) == record.get("run")
            if not record.get("pids") or age > YOUNG and well:
                return
            await asyncio.sleep(POLL)
