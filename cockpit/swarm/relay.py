"""A region's relay: cache, seeder and tracker of its hosts, and the upstream of relays below it.

It asks upstream once for what many ask it, gets each piece once, and hands orders and facts on. After a kill it
comes back with what it has: peers, relays and the connection upstream find each other again by themselves.
"""

from __future__ import annotations

import asyncio
import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterable, Optional, Set, TypeVar

from cockpit.swarm import tls, wire
from cockpit.swarm.below import Below, OrderError
from cockpit.swarm.cache import BadSwarm, Cache, Held, NoRoom
from cockpit.swarm.carried import Carried
from cockpit.swarm.desk import Desk, Head, Library
from cockpit.swarm.exchange import Exchange
from cockpit.swarm.handing import SMALL
from cockpit.swarm.heads import HeadError, ask_layout, ask_manifest, text_lines
from cockpit.swarm.layout import swarm_id
from cockpit.swarm.limiter import Limiter
from cockpit.swarm.link import Link
from cockpit.swarm.manifest import HEX
from cockpit.swarm.settings import Settings
from cockpit.swarm.tracker import Node, Tracker
from cockpit.swarm.tracking import Place
from cockpit.swarm.upstream import Upstream

REPORT = 1.0
"""Seconds between facts."""
IDLE = 60.0
"""Seconds without use until a swarm is closed: only then can the cache throw it out."""
ANYWHERE = ("", "0.0.0.0", "::")

T = TypeVar("T")


class Relay(Library):
    """`listen`, `start`, `stop`. `remark` takes sentences for the log."""

    def __init__(
        self, cache_dir: str, settings: Settings, identity: tls.Identity, remark: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.remark = remark
        self.exchange = Exchange(identity, identity.name, "relay")
        self.exchange.remark = remark
        self.cache = Cache(cache_dir, settings.cache)
        self.carried: Dict[str, Carried] = {}
        kind = tls.Name("relay", settings.upstream) if settings.upstream else tls.Name("controller", identity.cluster)
        self.place_above = Place(kind, settings.upstream_address, settings.upstream_port)
        self.below = Below(self._want)
        self.below.on_relays = self._say_below
        self.below.on_facts = self._facts_below
        self.desk = Desk(self.exchange, self, Tracker(Node(self.exchange.name, settings.address, settings.port)))
        self.desk.on_words = self.below.heard
        self.desk.on_join = self._joined
        self.desk.on_here = self.below.arrived
        self.desk.on_gone = self.below.left
        self.upstream: Optional[Upstream] = None
        self._limiter = Limiter(settings.rate or None)
        self._regions: Dict[str, Limiter] = {}
        """What goes to relays of other regions."""
        self._shelves = ThreadPoolExecutor(1, "cache")
        """Everything that the cache does; it may take seconds."""
        self._coming: Dict[str, "asyncio.Task[Carried]"] = {}
        self._orders: Dict[int, "asyncio.Task[None]"] = {}
        """By their numbers, of this connection to upstream."""
        self._pins: Set[str] = set(self.cache.pinned())
        self._changed: Dict[str, Set[str]] = {}
        """Swarm -> relays with facts that upstream does not know."""
        self._tasks: Set["asyncio.Task[Any]"] = set()
        self._loop = asyncio.get_running_loop()

    def listen(self, address: str, port: int) -> int:
        """The port. Raises OSError."""
        port = self.exchange.listen(address, port)
        self.desk.tracker = Tracker(Node(self.exchange.name, address, port))
        return port

    def start(self) -> None:
        """Ask upstream, and take up the pushes that were running."""
        self.upstream = Upstream(self.exchange, self.place_above, self._order, self._up, self._down)
        self._spawn(self._beat())
        for swarm in self._pins:
            self._spawn(self._resume(swarm))

    def revoke(self, uuids: Iterable[str]) -> None:
        """The whole list of those who are refused from now on; what they have open is cut."""
        self.exchange.revoke(uuids)

    async def stop(self) -> None:
        tasks = [*self._tasks, *self._coming.values(), *self._orders.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.upstream is not None:
            self.upstream.close()
        for carried in self.carried.values():
            carried.close()
        self.exchange.close()
        self._shelves.shutdown()
        for swarm in list(self.carried):
            self.cache.close(swarm)

    def _spawn(self, work: Any) -> "asyncio.Task[Any]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.remark(f"the relay fails: {task.exception()!r}")

    async def _shelf(self, work: Callable[..., T], *args: Any) -> T:
        return await self._loop.run_in_executor(self._shelves, work, *args)

    # what is asked of us

    async def find(self, sha256: str, layout: str) -> Optional[Head]:
        """Raises HeadError: unknown, space, unreachable, digest."""
        carried = await self.carry(sha256, layout)
        with open(carried.held.layout_path, "rb") as f:
            return Head(carried.held.manifest_path, f.read())

    def place(self, sha256: str) -> Optional[str]:
        return self.cache.manifest(sha256)

    def _want(self, sha256: str, layout: str) -> None:
        async def want() -> None:
            try:
                await self.carry(sha256, layout)
            except HeadError as e:
                self.remark(f"{sha256[:12]}: {e}")

        self._spawn(want())

    def _joined(self, swarm: str, doc: Dict[str, Any]) -> None:
        """A peer takes part that may know the swarm from before we were started."""
        if swarm in self.carried or swarm in self._coming:
            return
        sha256, layout = str(doc.get("sha256")), str(doc.get("layout"))
        if HEX.fullmatch(sha256) and HEX.fullmatch(layout) and swarm_id(sha256, layout) == swarm:
            self._want(sha256, layout)

    async def carry(self, sha256: str, layout: str) -> Carried:
        """The swarm, open; from the cache, or asked of upstream once however many ask. Raises HeadError."""
        if not HEX.fullmatch(sha256) or not HEX.fullmatch(layout):
            raise HeadError("bad", "sha256 and layout are digests in hex")
        swarm = swarm_id(sha256, layout)
        while swarm not in self.carried:
            task = self._coming.get(swarm)
            if task is None:
                task = self._coming[swarm] = self._loop.create_task(self._get(swarm, sha256, layout))
                task.add_done_callback(lambda done: self._came(swarm, done))
            await asyncio.shield(task)
        return self.carried[swarm]

    def _came(self, swarm: str, task: "asyncio.Task[Carried]") -> None:
        self._coming.pop(swarm, None)
        if not task.cancelled():
            task.exception()  # seen: whoever asked may be gone

    async def _get(self, swarm: str, sha256: str, layout: str) -> Carried:
        held = await self._open(swarm)
        if held is None:
            held = await self._fetch(sha256, layout)
        return self._carry(held)

    async def _open(self, swarm: str) -> Optional[Held]:
        try:
            return await self._shelf(self.cache.open, swarm)
        except NoRoom as e:
            raise HeadError("space", str(e)) from None
        except OSError as e:
            raise HeadError("space", f"the relay's cache: {e.strerror or e}") from None

    async def _fetch(self, sha256: str, layout: str) -> Held:
        """Manifest and layout from upstream, into the cache."""
        assert self.upstream is not None
        path = os.path.join(self.cache.directory, f".{sha256}.{layout[:16]}.manifest")
        try:
            await ask_manifest(
                self.upstream.ask, self._shelves, sha256, layout, path, self.cache.recent(), self._lines,
                self.upstream.elsewhere, self.settings.region,
            )
            data = await ask_layout(
                self.upstream.ask, sha256, layout, self.upstream.elsewhere, self.settings.region
            )
            return await self._shelf(self.cache.add, sha256, layout, path, data)
        except BadSwarm as e:
            raise HeadError("digest", str(e)) from None
        except NoRoom as e:
            raise HeadError("space", f"{self.exchange.name}: {e}") from None
        except OSError as e:
            raise HeadError("space", f"the relay's cache: {e.strerror or e}") from None
        finally:
            for left in (path, f"{path}.difference"):
                if os.path.exists(left):
                    os.unlink(left)

    def _lines(self, sha256: str) -> Any:
        path = self.cache.manifest(sha256)
        if path is None:
            raise LookupError(f"the manifest {sha256[:12]} is not in the cache any more")
        return text_lines(path)

    def _carry(self, held: Held) -> Carried:
        carried = Carried(
            self.exchange, held, self.place_above, self._allow, self._change, self._trouble
        )
        carried.on_whole = self._whole
        self.carried[held.swarm] = carried
        if held.swarm in self._pins:
            self._spawn(self._shelf(self.cache.pin, held.swarm, True))
        self._announce(carried)
        self._hold(held)
        self._change(carried)
        return carried

    def _hold(self, held: Held) -> None:
        """Others of our region that ask upstream may be sent to us. Who listens everywhere has no address to tell."""
        hub = self.desk.tracker.hub
        if self.upstream is not None and hub.address not in ANYWHERE and os.path.getsize(held.manifest_path) >= SMALL:
            self.upstream.holds({
                "op": "holds", "swarm": held.swarm, "address": hub.address, "port": hub.port,
                "region": self.settings.region, "base": "",
            })  # fmt: skip

    def _announce(self, carried: Carried) -> None:
        """Upstream has to serve the swarm before we dial it there."""
        if self.upstream is not None and not carried.done:
            self.upstream.say({"op": "carry", "sha256": carried.held.sha256, "layout": carried.held.layout})

    async def _resume(self, swarm: str) -> None:
        """A swarm of which only the id is known: from the cache, or not at all."""
        if swarm in self.carried or swarm in self._coming:
            return

        async def again() -> Carried:
            held = await self._open(swarm)
            if held is None:
                raise HeadError("unknown", f"the swarm {swarm[:12]} is not in the cache")
            return self._carry(held)

        task = self._coming[swarm] = self._loop.create_task(again())
        task.add_done_callback(lambda done: self._came(swarm, done))
        try:
            await asyncio.shield(task)
        except HeadError as e:
            self.remark(f"{swarm[:12]}: {e}")

    def _allow(self, swarm: str, link: Link, count: int) -> float:
        now = self._loop.time()
        region = self._regions.get(self.below.regions.get(link.node, "")) if link.name.kind == "relay" else None
        wait = region.take(swarm, count, now) if region is not None else 0.0
        if not wait:
            wait = self._limiter.take(swarm, count, now)
            if wait and region is not None:
                region.spend(-count, now)  # it did not go after all
        return wait

    def _whole(self, carried: Carried) -> None:
        self._spawn(self._shelf(self.cache.filled, carried.held.swarm))

    def _trouble(self, carried: Carried, error: OSError) -> None:
        self.remark(f"{carried.held.sha256[:12]} stands still: {error.strerror or error}")
        self._change(carried)

    # upstream

    def _up(self) -> None:
        """The connection stands anew: everything once."""
        assert self.upstream is not None
        self._say_below()
        for carried in self.carried.values():
            self._announce(carried)
            self._change(carried)
        for swarm, relays in self.below.facts.items():
            self._changed.setdefault(swarm, set()).update(relays)

    def _down(self) -> None:
        """What still matters is ordered again, by a number of the next connection."""
        for task in self._orders.values():
            task.cancel()
        self._orders.clear()

    def _say_below(self) -> None:
        if self.upstream is not None:
            self.upstream.say({"op": "below", "region": self.settings.region, "relays": self.below.relays()})

    def _change(self, carried: Carried) -> None:
        self._changed.setdefault(carried.held.swarm, set()).add(self.exchange.name)

    def _facts_below(self, swarm: str, relay: str) -> None:
        self._changed.setdefault(swarm, set()).add(relay)

    def _order(self, doc: Dict[str, Any]) -> None:
        if doc.get("op") == "rates":
            self._rates(doc.get("regions"))
            return
        if doc.get("op") == "pins":
            swarms = doc.get("swarms")
            if not isinstance(swarms, list):
                raise wire.WireError("pins that are no list")
            self._pinned({str(s) for s in swarms})
            return
        number, relay = doc.get("order"), doc.get("relay")
        sha256, layout = doc.get("sha256"), doc.get("layout")
        if type(number) is not int or not all(isinstance(text, str) for text in (relay, sha256, layout)):
            raise wire.WireError("an order that is none")
        if number not in self._orders:
            work = self._warm(number, str(relay), str(sha256), str(layout))
            self._orders[number] = self._loop.create_task(work)

    def _rates(self, regions: Any) -> None:
        """What comes into our own region is limited before it gets here."""
        if not isinstance(regions, dict) or not all(type(n) in (int, float) and n > 0 for n in regions.values()):
            raise wire.WireError("rates that are none")
        self._regions = {name: Limiter(rate) for name, rate in regions.items() if name != self.settings.region}
        self.below.limit(regions)

    def _pinned(self, swarms: Set[str]) -> None:
        for swarm in swarms - self._pins:
            self._spawn(self._shelf(self.cache.pin, swarm, True))
            if swarm in self.carried:
                self.carried[swarm].begin()
        for swarm in self._pins - swarms:
            self._spawn(self._shelf(self.cache.pin, swarm, False))
        self._pins = swarms
        self.below.pin(swarms)

    async def _warm(self, number: int, relay: str, sha256: str, layout: str) -> None:
        error, text = "", ""
        try:
            if relay != self.exchange.name:
                await self.below.warm(relay, sha256, layout)
            else:
                await (await self.carry(sha256, layout)).warm()
        except (HeadError, OrderError) as e:
            error, text = e.code, str(e)
        except OSError as e:
            error, text = "space", e.strerror or str(e)
        assert self.upstream is not None
        self._orders.pop(number, None)
        self._report()
        self.upstream.say({"op": "warmed", "order": number, "error": error, "text": text})

    # time

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(REPORT * random.uniform(0.9, 1.1))
            self._report()
            for swarm, carried in list(self.carried.items()):
                carried.reach()
                if carried.idle(len(self.desk.tracker.peers(swarm)), swarm in self._pins) > IDLE:
                    self._put_away(swarm)

    def _report(self) -> None:
        """What changed since the last time. Nothing is forgotten while there is no connection."""
        if self.upstream is None or not self.upstream.up:
            return
        for swarm, relays in list(self._changed.items()):
            facts = {name: found for name, found in self.below.facts.get(swarm, {}).items() if name in relays}
            carried = self.carried.get(swarm)
            if carried is not None and self.exchange.name in relays:
                facts[self.exchange.name] = carried.facts()
            if facts:
                self.upstream.say({"op": "facts", "swarms": {swarm: facts}})
        self._changed.clear()

    def _put_away(self, swarm: str) -> None:
        self.carried.pop(swarm).close()
        if self.upstream is not None:
            self.upstream.leave(swarm)
        self.below.forget(swarm)
        self._changed.pop(swarm, None)
        for limiter in (self._limiter, *self._regions.values()):
            limiter.forget(swarm)
        self._spawn(self._shelf(self.cache.close, swarm))


