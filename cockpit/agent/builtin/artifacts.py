"""Artifacts on this host: brought here, held, forgotten."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from cockpit.agent.builtin.host import Host, patiently, thread
from cockpit.agent.tasks import Data, Progress, Word


class Artifacts:
    """`fetch` and what is said to a running one."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def table(self) -> Dict[str, Word]:
        return {"fetch": self.fetch, "hold": self.hold, "unfetch": self.unfetch, "pushed": self.pushed}

    async def fetch(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        name, version, sha256 = str(args["name"]), str(args["version"]), str(args["sha256"])
        if await thread(host.releases.installed, name, version, sha256):
            await patiently(progress, host.releases.check, name, version, sha256)
            return {"bytes": 0}
        data = await host.fetcher.fetch(args, progress)
        host.releases_changed()
        return data

    async def hold(self, args: Mapping[str, Any], progress: Progress) -> Data:
        await self._host.fetcher.tell("hold", sha256=str(args["sha256"]), paused=bool(args["paused"]))
        return {}

    async def unfetch(self, args: Mapping[str, Any], progress: Progress) -> Data:
        await self._host.fetcher.tell("stop", sha256=str(args["sha256"]))
        return {}

    async def pushed(self, args: Mapping[str, Any], progress: Progress) -> Data:
        await self._host.fetcher.tell("pushed", sha256=str(args["sha256"]))
        return {}
