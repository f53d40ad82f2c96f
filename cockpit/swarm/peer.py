"""The process beside an agent that fetches artifacts and passes them on (docs/artifacts.md).

    python -I -m cockpit.swarm.peer --dir DIR

A process of its own, so that a push never delays a command. It ends when stdin does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Tuple

from cockpit.swarm import assemble, tls
from cockpit.swarm.exchange import Exchange
from cockpit.swarm.fetch import Asked, Fetch, FetchError
from cockpit.swarm.limiter import Limiter
from cockpit.swarm.lines import Lines
from cockpit.swarm.moving import Move
from cockpit.swarm.passing import Handout, Passed
from cockpit.swarm.tracking import Place, Tracking

PROGRESS = 0.5
STUCK = 6
"""Turns of progress between looks whether anybody gives us anything."""
KEPT = 7 * 86400.0
"""Seconds that the pieces of a fetch which was never finished stay."""


class Peer:
    def __init__(self, host_dir: str, identity: tls.Identity) -> None:
        loop = asyncio.get_running_loop()
        self.dir = host_dir
        self.identity = identity
        self.exchange = Exchange(identity, identity.name, "peer")
        self.exchange.remark = remark
        self.slow = ThreadPoolExecutor(2, "slow")
        self.up, self.down = Limiter(None), Limiter(None)
        self.handout = Handout(
            self.exchange, self._head, lambda sha256, count: self.up.take(sha256, count, loop.time())
        )
        self.lines = Lines(self.heard)
        self.port = 0
        self._address = ""
        self._fetches: Dict[str, Fetch] = {}
        """By the artifact's SHA-256."""
        self._running: Dict[str, "asyncio.Task[None]"] = {}
        self._trackings: Dict[Tuple[Place, ...], Tracking] = {}

    def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        for fetch in self._fetches.values():
            fetch.end(False)
        self.exchange.close()

    def heard(self, doc: Dict[str, Any]) -> None:
        id, op = doc.get("id"), doc.get("op")
        if op == "fetch":
            self._fetch(id, doc)
            return
        fetch = self._fetches.get(str(doc.get("sha256")))
        if op == "rates":
            try:
                self._rates(doc)
            except FetchError as error:
                self._fail(id, error, {})
                return
        elif op == "revoked":
            try:
                self.exchange.revoke(tls.uuids_of(doc))
            except ValueError as error:
                self._fail(id, FetchError("bad", str(error)), {})
                return
        elif op == "hold":
            if fetch is not None:
                fetch.hold(bool(doc.get("paused")))
        elif op == "stop":
            if fetch is not None:
                self._stop(fetch)
        elif op == "pushed":
            if fetch is not None and fetch.sha256 not in self._running:
                self._drop(fetch, True)
        else:
            self.lines.send({"id": id, "ok": False, "code": "bad", "text": f"the word {op!r} is unknown"})
            return
        self.lines.send({"id": id, "ok": True})

    def _fetch(self, id: Any, doc: Dict[str, Any]) -> None:
        try:
            asked = Asked(doc, self.identity.cluster)
            self._rates(doc.get("rates") or {})
            self._listen(asked)
        except FetchError as error:
            self._fail(id, error, {})
            return
        old = self._fetches.get(asked.sha256)
        if old is not None:
            if asked.sha256 in self._running:
                self._fail(id, FetchError("exists", "this artifact is being fetched already"), old.facts())
                return
            self._drop(old, False)
        tracking = self._tracking(asked.trackers)
        fetch = Fetch(asked, self.exchange, self.slow, self.dir, tracking, self._limit)
        self._fetches[asked.sha256] = fetch
        self._running[asked.sha256] = asyncio.get_running_loop().create_task(self._run(id, fetch))

    def _listen(self, asked: Asked) -> None:
        """Once, where the first fetch says; the others are announced with the same port."""
        if not self.port:
            try:
                self.port = self.exchange.listen(asked.address, asked.port)
            except OSError as error:
                raise FetchError(
                    "bad", f"cannot listen on {asked.address}:{asked.port}: {error.strerror or error}"
                ) from None
            self._address = asked.address
        asked.address, asked.port = self._address, self.port

    def _tracking(self, places: List[Place]) -> Tracking:
        key = tuple(places)
        if key not in self._trackings:
            self._trackings[key] = Tracking(self.exchange, places)
        return self._trackings[key]

    def _head(self, what: str, sha256: str, layout: str, bases: Any) -> Optional[Passed]:
        """A head that another node was sent to us for."""
        found = (fetch.head(what, sha256, layout, bases) for fetch in self._fetches.values())
        return next((head for head in found if head is not None), None)

    async def _run(self, id: Any, fetch: Fetch) -> None:
        watch = asyncio.get_running_loop().create_task(self._watch(id, fetch))
        try:
            data = await fetch.run()
        except FetchError as error:
            self._fail(id, error, fetch.facts())
            del self._running[fetch.sha256]
            self._drop(fetch, False)
        except Exception as error:  # a defect must not leave the agent waiting
            remark(f"{fetch.asked.name}/{fetch.asked.version}: {error!r}")
            self._fail(id, FetchError("bad", f"the peer failed: {error!r}"), {})
            del self._running[fetch.sha256]
            self._drop(fetch, False)
        else:
            del self._running[fetch.sha256]
            self.lines.send({"id": id, "ok": True, "data": data})
        finally:
            watch.cancel()

    async def _watch(self, id: Any, fetch: Fetch) -> None:
        turns = 0
        while True:
            await asyncio.sleep(PROGRESS)
            turns += 1
            if turns % STUCK == 0:
                fetch.look_around()
            if fetch.changed:
                fetch.changed = False
                facts = fetch.facts()
                progress = {"bytes": facts["moved"], "size": facts["to_move"], "swarm": facts}
                self.lines.send({"id": id, "progress": progress})

    def _stop(self, fetch: Fetch) -> None:
        if fetch.sha256 in self._running:
            fetch.stop()
        else:
            self._drop(fetch, True)

    def _drop(self, fetch: Fetch, remove: bool) -> None:
        fetch.end(remove)
        self.up.forget(fetch.sha256)
        self._fetches.pop(fetch.sha256, None)
        used = {tuple(f.asked.trackers) for f in self._fetches.values()}
        for key in [key for key in self._trackings if key not in used]:
            self._trackings.pop(key).close()

    def _fail(self, id: Any, error: FetchError, facts: Dict[str, Any]) -> None:
        self.lines.send({"id": id, "ok": False, "code": error.code, "text": str(error), "data": {"swarm": facts}})

    # limits

    def _limit(self, move: Move) -> None:
        loop = asyncio.get_running_loop()
        move.allow = lambda count: self.up.take(move.sha256, count, loop.time())
        move.took = self._took

    def _took(self, count: int) -> None:
        """What comes in faster than allowed is left in the kernel, until the senders are held back."""
        wait = self.down.spend(count, asyncio.get_running_loop().time())
        if wait > 0:
            self.exchange.pause(wait)

    def _rates(self, doc: Dict[str, Any]) -> None:
        """`down` and `up` in bytes per second; what is left out is unlimited. Raises FetchError."""
        now = asyncio.get_running_loop().time()
        for limiter, key in ((self.down, "down"), (self.up, "up")):
            rate = doc.get(key)
            if rate is not None and (type(rate) not in (int, float) or not rate > 0):
                raise FetchError("bad", f"the rate `{key}` must be bytes per second above 0")
            limiter.change(rate, now)


def tidy(host_dir: str) -> None:
    """Remove pieces that nobody came back for, and what crashed installations left. In a thread."""
    assemble.clean(host_dir)
    root = os.path.join(host_dir, "swarm")
    try:
        names = os.listdir(root)
    except OSError:
        return
    for name in names:
        path = os.path.join(root, name)
        try:
            old = time.time() - os.stat(path).st_mtime > KEPT
        except OSError:
            continue
        if old:
            shutil.rmtree(path, ignore_errors=True)


def remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def _serve(host_dir: str, identity: tls.Identity) -> None:
    peer = Peer(host_dir, identity)
    await asyncio.get_running_loop().run_in_executor(peer.slow, tidy, host_dir)
    try:
        await peer.lines.ended.wait()
    finally:
        peer.close()


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="cockpit.swarm.peer", description="Fetch artifacts and pass them on.")
    parser.add_argument("--dir", required=True, help="the host's directory: identity/, releases/, swarm/")
    args = parser.parse_args(argv)
    os.umask(0o077)
    host_dir = os.path.abspath(args.dir)
    try:
        identity = tls.load(os.path.join(host_dir, "identity"))
    except (OSError, ValueError, ssl.SSLError) as error:
        remark(f"no identity in {host_dir}: {error}")
        return 2
    asyncio.run(_serve(host_dir, identity))
    return 0


if __name__ == "__main__":
    sys.exit(main())
