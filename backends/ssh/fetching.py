"""`fetch` and `unfetch` without an agent: checked here as an agent would check there, then sent over."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.ssh import scripts
from backends.ssh.releases import Sender, checked_name, load_manifest
from cockpit.agent.tasks import CommandError, Data, Progress
from cockpit.swarm.signatures import Unsigned, check_fetch

if TYPE_CHECKING:
    from backends.ssh.host import Host

EVERY = 0.5
MAX_SIGNERS = 256 * 1024


class Fetching:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._going: dict[str, asyncio.Task[int]] = {}

    async def fetch(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        name, version, sha256 = str(args["name"]), str(args["version"]), str(args["sha256"])
        checked_name(name, version)
        sender = Sender(host.kept, host.dir)
        if await sender.installed(name, version, sha256):
            why = await sender.check(name, version)
            if why:
                raise CommandError("altered", f"release {name}/{version}: {why}")
            return {"bytes": 0}
        told = await host.ask("release", {"sha256": sha256})
        if not told.get("ok"):
            why = (told.get("body") or {}).get("text") or "the controller does not have this release"
            raise CommandError("missing", f"{name}/{version}: {why}")
        body = told["body"]
        manifest = await asyncio.to_thread(load_manifest, str(body["manifest"]), name, version, sha256)
        await self._signed(args, manifest)
        size, moved = manifest.size, 0

        def note(n: int) -> None:
            nonlocal moved
            moved = n

        work = asyncio.ensure_future(sender.send(manifest, str(body["directory"]), note))
        self._going[sha256] = work
        try:
            while not (await asyncio.wait({work}, timeout=EVERY))[0]:
                progress({"bytes": moved, "size": size})
            sent = work.result()
        except asyncio.CancelledError:
            if not work.cancelled():
                work.cancel()
                raise
            raise CommandError("stopped", f"the transfer of {name}/{version} was stopped") from None
        finally:
            self._going.pop(sha256, None)
        host.unverified(f"{name}/{version}")
        await host.observe()
        return {"bytes": sent}

    async def unfetch(self, args: Mapping[str, Any], progress: Progress) -> Data:
        work = self._going.get(str(args["sha256"]))
        if work is not None:
            work.cancel()
        return {}

    async def _signed(self, args: Mapping[str, Any], manifest: Any) -> None:
        """What the controller and the host's own administrator (signers.json there) demand. Raises CommandError."""
        host = self._host
        done = await host.run(scripts.GET, "signers.json", str(MAX_SIGNERS))
        with tempfile.TemporaryDirectory() as dir:
            if done.code == 0:
                await asyncio.to_thread((Path(dir) / "signers.json").write_text, done.out)
            elif done.code != 3:
                raise CommandError("failed", f"signers.json of the host cannot be read: {done.said()}")
            try:
                await asyncio.to_thread(check_fetch, args, manifest, dir)
            except Unsigned as e:
                raise CommandError("unsigned", str(e)) from None
