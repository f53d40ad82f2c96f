"""The host itself: its copy of expected, builds, and its end."""

from __future__ import annotations

import os
from typing import Any, Dict, Mapping, Optional

from cockpit.agent.builtin.host import Host, thread
from cockpit.agent.files import read_json, write_json
from cockpit.agent.tasks import CommandError, Data, Progress, Word

MAX_HEAD = 64 * 1024 * 1024


class HostWords:
    """`head`, `head-get`, `build`, `unbuild` and `end`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def table(self) -> Dict[str, Word]:
        return {
            "head": self.head, "head-get": self.head_get, "build": self.build,
            "unbuild": self.unbuild, "end": self.end,
        }

    async def head(self, args: Mapping[str, Any], progress: Progress) -> Data:
        doc = {k: args.get(k) for k in ("document", "revision", "digest", "import", "journal")}
        await thread(write_json, os.path.join(self._host.dir, "head.json"), doc)
        return {}

    async def head_get(self, args: Mapping[str, Any], progress: Progress) -> Data:
        doc = await thread(read_json, os.path.join(self._host.dir, "head.json"), MAX_HEAD)
        if not isinstance(doc, dict):
            raise CommandError("missing", "this host holds no copy of expected")
        return doc

    async def build(self, args: Mapping[str, Any], progress: Progress) -> Data:
        return await self._host.builder.build(args)

    async def unbuild(self, args: Mapping[str, Any], progress: Progress) -> Data:
        self._host.builder.unbuild(str(args["build"]))
        return {}

    async def end(self, args: Mapping[str, Any], progress: Progress) -> Data:
        await self._host.end()
        return {}


def head_of(host_dir: str) -> Optional[Dict[str, Any]]:
    """Revision and digest of the copy of expected that is held here."""
    doc = read_json(os.path.join(host_dir, "head.json"), MAX_HEAD)
    if not isinstance(doc, dict) or doc.get("revision") is None:
        return None
    return {"revision": doc["revision"], "digest": doc.get("digest")}
