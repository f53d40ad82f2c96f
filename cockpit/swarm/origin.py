"""The origin: where versions enter the swarms. Beside the controller, a chooser without upstream, a tracker for
hosts without a relay, and the upstream of relays (docs/artifacts.md has its JSON lines).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from cockpit.swarm import tls
from cockpit.swarm.below import Below, OrderError
from cockpit.swarm.content import ZLIB, Readable
from cockpit.swarm.core import Core
from cockpit.swarm.desk import Desk, Head, Library
from cockpit.swarm.exchange import Exchange
from cockpit.swarm.heads import text_lines
from cockpit.swarm.layout import Layout, Pieces, parse_layout, pieces, swarm_id
from cockpit.swarm.limiter import Limiter
from cockpit.swarm.lines import Lines
from cockpit.swarm.link import Link
from cockpit.swarm.manifest import HEX, Chunks, parse
from cockpit.swarm.runtime import Runtime, Store
from cockpit.swarm.tracker import Node, Tracker

WANTED = 30.0
"""Seconds that the controller has to publish what somebody asks for."""
STATS = 1.0
MAX_TABLE = 16 * 1024 * 1024


class Pack(Store):
    """The store's file of encoded pieces. Raises ValueError when the table does not fit, OSError."""

    def __init__(self, path: str, table: str, count: int) -> None:
        with open(table, "rb") as f:
            data = f.read(MAX_TABLE)
        try:
            rows = json.loads(data)
            self.table: List[Tuple[int, int]] = [(int(encoding), int(length)) for encoding, length in rows]
        except (ValueError, TypeError):
            raise ValueError(f"{table} is not the table of a pack") from None
        self.starts = [0]
        for encoding, length in self.table:
            if not 0 <= encoding <= ZLIB or length < 0:
                raise ValueError(f"{table} is not the table of a pack")
            self.starts.append(self.starts[-1] + length)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if len(self.table) != count or os.fstat(self._fd).st_size != self.starts[-1]:
            os.close(self._fd)
            raise ValueError(f"{path} does not fit its table and layout")

    def open(self, piece: int) -> Readable:
        encoding, total = self.table[piece]
        start, fd = self.starts[piece], self._fd
        return Readable(encoding, total, lambda offset, length: os.pread(fd, length, start + offset))

    def close(self) -> None:
        os.close(self._fd)


class Published:
    def __init__(self, sha256: str, layout: Layout, manifest: str, runtime: Runtime, pack: Pack) -> None:
        self.sha256 = sha256
        self.layout = layout
        self.manifest = manifest
        self.runtime = runtime
        self.pack = pack


class Origin(Library):
    def __init__(self, exchange: Exchange, address: str, port: int) -> None:
        self.exchange = exchange
        self.desk = Desk(exchange, self, Tracker(Node("", address, port)))
        self.below = Below(self._carry)
        self.desk.on_words = self.below.heard
        self.desk.on_here = self.below.arrived
        self.desk.on_gone = self.below.left
        self.lines = Lines(self._line)
        self.published: Dict[str, Published] = {}
        self._pinned: Set[str] = set()
        self._total = Limiter(None)
        self._regions: Dict[str, Limiter] = {}
        self._wanted: Dict[Tuple[str, str], "asyncio.Future[None]"] = {}
        self._manifests: Dict[str, str] = {}
        """Directories of manifests by digest -> themselves."""
        self._reports: List[Callable[[str, str], None]] = []
        self.below.on_facts = self._facts
        self._told = ""
        self._loop = asyncio.get_running_loop()
        self._answering: "Set[asyncio.Task[None]]" = set()
        self._ticker = self._loop.create_task(self._stats())

    def close(self) -> None:
        self._ticker.cancel()
        self.exchange.close()

    # what is asked of us

    async def find(self, sha256: str, layout: str) -> Optional[Head]:
        id = swarm_id(sha256, layout)
        if id not in self.published:
            wanted = self._want(sha256, layout)
            await asyncio.wait([wanted], timeout=WANTED)
        found = self.published.get(id)
        return None if found is None else Head(found.manifest, found.layout.data)

    def _carry(self, sha256: str, layout: str) -> None:
        self._want(sha256, layout)

    def _want(self, sha256: str, layout: str) -> "asyncio.Future[None]":
        """Ask the controller to publish what is not."""
        key = (sha256, layout)
        wanted = self._wanted.get(key)
        if wanted is None:
            wanted = self._loop.create_future()
            if swarm_id(sha256, layout) in self.published:
                wanted.set_result(None)
                return wanted
            self._wanted[key] = wanted
            self.lines.send({"want": {"sha256": sha256, "layout": layout}})
            self._loop.call_later(WANTED, self._wanted.pop, key, None)
        return wanted

    def place(self, sha256: str) -> Optional[str]:
        """The store keeps all manifests in one directory, by digest."""
        for directory in self._manifests:
            path = os.path.join(directory, sha256)
            if HEX.fullmatch(sha256) and os.path.isfile(path):
                return path
        return None

    # the controller's lines

    def _line(self, doc: Dict[str, Any]) -> None:
        task = self._loop.create_task(self._serve(doc))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _serve(self, doc: Dict[str, Any]) -> None:
        id, op = doc.get("id"), doc.get("op")
        try:
            if op == "publish":
                await self._publish(doc)
            elif op == "withdraw":
                self._withdraw(str(doc.get("swarm")))
            elif op == "unknown":
                self._answered(str(doc.get("sha256")), str(doc.get("layout")))
                return
            elif op == "rates":
                self._rates(doc)
            elif op == "revoked":
                self.exchange.revoke(tls.uuids_of(doc))
            elif op == "pin":
                self._pin(str(doc.get("swarm")), bool(doc.get("pinned")))
            elif op == "warm":
                await self._warm(id, doc)
            else:
                raise ValueError(f"the word {op!r} is unknown")
        except OrderError as error:
            self.lines.send({"id": id, "ok": False, "code": error.code, "text": str(error)})
        except KeyError as error:
            self.lines.send({"id": id, "ok": False, "code": "bad", "text": f"{op} needs {error}"})
        except (OSError, ValueError) as error:
            self.lines.send({"id": id, "ok": False, "code": "bad", "text": str(error)})
        else:
            self.lines.send({"id": id, "ok": True})

    async def _publish(self, doc: Dict[str, Any]) -> None:
        sha256, layout = str(doc["sha256"]), str(doc["layout"])
        id = swarm_id(sha256, layout)
        if id not in self.published:
            manifest = os.path.abspath(doc["manifest"])
            plan, chunks, cut, pack = await self._loop.run_in_executor(
                None, _open, sha256, layout, manifest, doc["layout_file"], doc["pack"], doc["table"]
            )
            if id in self.published:
                pack.close()
                return
            core = Core(cut.sizes, (1 << len(cut)) - 1, chooser=True, seed=hash(id))
            runtime = Runtime(self.exchange, id, cut, chunks, pack, core)
            runtime.allow = lambda link, count: self._allow(id, link, count)
            self.published[id] = Published(sha256, plan, manifest, runtime, pack)
            if os.path.basename(manifest) == sha256:
                self._manifests[os.path.dirname(manifest)] = ""
        self._answered(sha256, layout)

    def _answered(self, sha256: str, layout: str) -> None:
        """Whoever waits for this looks again."""
        wanted = self._wanted.pop((sha256, layout), None)
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    def _withdraw(self, id: str) -> None:
        found = self.published.pop(id, None)
        self._pin(id, False)
        self.below.forget(id)
        if found is not None:
            found.runtime.close("the push is over")
            found.pack.close()

    def _rates(self, doc: Dict[str, Any]) -> None:
        """Bytes per second, of all regions together and of some; what is left out is unlimited. Raises ValueError."""
        now = self._loop.time()
        regions = doc.get("regions") or {}
        if not isinstance(regions, dict):
            raise ValueError("`regions` must be an object of bytes per second")
        self._total.change(doc.get("total"), now)
        self._regions = {region: Limiter(rate) for region, rate in regions.items() if rate is not None}
        self.below.limit({region: rate for region, rate in regions.items() if rate is not None})

    def _allow(self, swarm: str, link: Link, count: int) -> float:
        now = self._loop.time()
        where = self.below.regions if link.name.kind == "relay" else self.desk.regions
        region = self._regions.get(where.get(link.node, ""))
        wait = region.take(swarm, count, now) if region is not None else 0.0
        if not wait:
            wait = self._total.take(swarm, count, now)
            if wait and region is not None:
                region.spend(-count, now)  # it did not go after all
        return wait

    def _pin(self, id: str, pinned: bool) -> None:
        if pinned:
            self._pinned.add(id)
        else:
            self._pinned.discard(id)
        self.below.pin(self._pinned)

    async def _warm(self, id: Any, doc: Dict[str, Any]) -> None:
        sha256, layout, relay = str(doc["sha256"]), str(doc["layout"]), str(doc["relay"])
        swarm = swarm_id(sha256, layout)

        def report(changed: str, name: str) -> None:
            if (changed, name) == (swarm, relay):
                facts = self.below.facts[swarm][relay]
                progress = {"bytes": facts["moved"], "size": facts["to_move"], "swarm": facts}
                self.lines.send({"id": id, "progress": progress})

        self._reports.append(report)
        try:
            await self.below.warm(relay, sha256, layout)
        finally:
            self._reports.remove(report)

    def _facts(self, swarm: str, relay: str) -> None:
        for report in self._reports:
            report(swarm, relay)

    # what the controller sees

    async def _stats(self) -> None:
        while True:
            await asyncio.sleep(STATS)
            stats = {
                id: {
                    "sent": p.runtime.sent, "peers": len(p.runtime.links), "relays": self.below.facts.get(id, {}),
                    "heads": self.desk.handing.counts(id)._asdict(),
                }
                for id, p in self.published.items()
            }
            text = json.dumps(stats)
            if text != self._told:
                self._told = text
                self.lines.send({"stats": stats})


def _open(
    sha256: str, layout: str, manifest: str, layout_file: str, pack: str, table: str
) -> Tuple[Layout, Chunks, Pieces, Pack]:
    """In a thread. Raises ValueError when the files are not what they should be, OSError."""
    found = parse(text_lines(manifest))
    if found.sha256 != sha256:
        raise ValueError(f"{manifest} is the manifest {found.sha256[:12]}, not {sha256[:12]}")
    with open(layout_file, "rb") as f:
        plan = parse_layout(f.read(), sha256, len(found.chunks))
    if plan.sha256 != layout:
        raise ValueError(f"{layout_file} is the layout {plan.sha256[:12]}, not {layout[:12]}")
    cut = pieces(plan, found.chunks)
    return plan, found.chunks, cut, Pack(pack, table, len(cut))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", required=True, help="a directory of its own")
    parser.add_argument("--identity", required=True, help="key.pem, cert.pem, ca.pem and host.json of the controller")
    parser.add_argument("--address", default="127.0.0.1", help="where it listens")
    parser.add_argument("--port", type=int, default=0, help="where it listens; 0 is any free port")


def run(args: argparse.Namespace) -> int:
    """Serve until stdin ends. 0 done, 2 it cannot serve so."""
    os.umask(0o077)
    try:
        identity = tls.load(args.identity)
        asyncio.run(_serve(args, identity))
    except (OSError, ValueError, ssl.SSLError) as error:
        print(f"origin: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


async def _serve(args: argparse.Namespace, identity: tls.Identity) -> None:
    exchange = Exchange(identity, "", "origin")
    exchange.remark = lambda text: print(text, file=sys.stderr, flush=True)
    port = exchange.listen(args.address, args.port)
    origin = Origin(exchange, args.address, port)
    try:
        origin.lines.send({"ready": {"port": port}})
        await origin.lines.ended.wait()
    finally:
        origin.close()
