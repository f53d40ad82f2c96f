"""Alerts: follows the tables, reads STATE/alerts.yaml anew when it changes, keeps what must last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.alerts.deliver import Delivery, Undelivered
from cockpit.alerts.detect import CRASHES, Condition, Detector
from cockpit.alerts.grouping import Grouping, Notice
from cockpit.alerts.settings import LOOP, Settings, load
from cockpit.controller.board import Subscriber
from cockpit.model.alert_rows import FIRING
from cockpit.model.problems import BadTopology
from cockpit.model.view import AlertRow, Who
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

LOOK = 2.0
"""Seconds between two looks at the file."""
SOON = 0.05
HOUR = 3600.0
FOLLOWED = ("instances", "hosts", "relays", "drift", "actions")


class Alerts:
    """`run` until cancelled."""

    def __init__(self, c: Controller) -> None:
        self.c = c
        self.path = c.state / "alerts.yaml"
        self.trouble = ""
        """What is wrong with the file; then the settings before it are in force."""
        self.detector = Detector()
        self.grouping = Grouping(Settings())
        self._stamp: tuple[int, int, int] | None = None
        self._wake = asyncio.Event()
        self._kept: dict[str, Any] = {}
        self._conditions: list[Condition] = []
        self._delivery: Delivery | None = None

    async def run(self) -> None:
        self._delivery = Delivery(self._told)
        subscriber = self.c.board.subscribe()
        following = asyncio.create_task(self._follow(subscriber))
        try:
            now = time.time()
            self.detector.load(self.c.board.tables, now)
            kept = self.c.ledger.meta.get("alerts", {})
            with contextlib.suppress(msgspec.ValidationError, TypeError, ValueError):
                self.grouping.load(kept, now)
            looked = 0.0
            while True:
                self._wake.clear()
                if time.monotonic() - looked >= LOOK:
                    looked = time.monotonic()
                    await self._read()
                await self._step(time.time())
                if following.done():
                    following.result()
                stepped = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._patience(time.time())):
                        await self._wake.wait()
                # many conditions are looked at less often: what begins together is told together anyway
                pause = min(1.0, SOON + len(self._conditions) / 5000)
                await asyncio.sleep(max(0.0, stepped + pause - time.monotonic()))
        finally:
            following.cancel()
            subscriber.close()
            await asyncio.gather(following, return_exceptions=True)
            await self._delivery.stop()

    def _patience(self, now: float) -> float:
        """Seconds until something is due although nothing changed."""
        if not self._conditions and not self.grouping.busy:
            return LOOK
        return max(0.02, min(LOOK, self.grouping.next_due(self._conditions, now) - now))

    async def _follow(self, subscriber: Subscriber) -> None:
        async for delta in subscriber.deltas():
            self.detector.feed({t: rows for t in FOLLOWED if (rows := getattr(delta, t))}, time.time())
            self._wake.set()

    async def _read(self) -> None:
        """The file, when it is another one than before."""
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            stamp = (0, 0, 0)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        assert self._delivery is not None
        try:
            settings = await asyncio.to_thread(load, self.path)
        except BadTopology as e:
            more = f" (and {len(e.problems) - 1} more)" if len(e.problems) > 1 else ""
            self.trouble = f"{e.problems[0]}{more}"
            return
        self.trouble = ""
        if any(t.webhook for t in settings.targets.values()):
            await self._delivery.prepare()
        self.grouping.settings = settings
        self._delivery.use(settings.targets)

    async def _step(self, now: float) -> None:
        self.grouping.cluster = self.c.world.expected.name
        rules = self.grouping.settings.rules
        least = min((r.restarts for r in rules if r.when == LOOP), default=CRASHES + 1)
        self._conditions = self.detector.conditions(now, least)
        for notice in self.grouping.step(self._conditions, now):
            assert self._delivery is not None
            self._delivery.put(notice)
        self.detector.forget(now - max([HOUR, *(r.within for r in rules)]))
        await self._keep()

    async def _keep(self) -> None:
        self.c.board.set_alerts({r.id: r for r in self.grouping.rows()})
        kept = self.grouping.dump()
        if kept != self._kept:
            self._kept = self.c.ledger.meta["alerts"] = kept
            await self.c.ledger.commit([("meta", "alerts", kept)])

    def _told(self, target: str, alert: str, trouble: str) -> None:
        self.grouping.told(target, alert, trouble)
        self._wake.set()

    def tells(self) -> bool:
        """Is anybody told of anything?"""
        return any(rule.to for rule in self.grouping.settings.rules)

    # people

    def operations(self) -> dict[str, Any]:
        return {
            "alerts": self._list, "alert_ack": self._ack, "alert_silence": self._silence,
            "alert_unsilence": self._unsilence, "alert_test": self._test,
        }

    async def _list(self, who: Who, args: dict[str, Any]) -> Any:
        settings = self.grouping.settings
        return {
            "alerts": self.grouping.rows(), "silences": list(self.grouping.silences.values()),
            "targets": {n: t.words for n, t in settings.targets.items()}, "trouble": self.trouble,
            "rules": [{"when": r.when, "to": r.to, "for": r.holds_for} for r in settings.rules],
            "file": str(self.path),
        }

    async def _ack(self, who: Who, args: dict[str, Any]) -> Any:
        row = self.grouping.acknowledge(str(args["id"]), who.author, str(args.get("note", "")))
        await self._noted("acknowledged", who, alert=row.id, group=row.group, note=row.note)
        return row

    async def _silence(self, who: Who, args: dict[str, Any]) -> Any:
        row = self.grouping.silence(
            str(args["match"]), float(args.get("seconds", 3600)), who.author, str(args.get("why", "")), time.time()
        )
        await self._noted("silenced", who, match=row.match, until=row.until, why=row.why)
        return row

    async def _unsilence(self, who: Who, args: dict[str, Any]) -> Any:
        row = self.grouping.unsilence(str(args["id"]))
        await self._noted("silence ended", who, match=row.match)
        return row

    async def _test(self, who: Who, args: dict[str, Any]) -> Any:
        """Tells one target now, and how that went."""
        name = str(args["target"])
        target = self.grouping.settings.targets.get(name)
        if target is None or self._delivery is None:
            known = ", ".join(self.grouping.settings.targets) or f"none: {self.path} names them"
            raise Bad(f"no target {name!r}; there are {known}")
        row = AlertRow(
            id="a0", when="test", group=self.grouping.cluster, state=FIRING, text=f"a test by {who.author}",
            since=time.time(), to=(name,),
        )
        try:
            async with asyncio.timeout(target.timeout):
                await self._delivery.tell(target, Notice(name, "firing", row, self.grouping.cluster))
        except (Undelivered, TimeoutError) as e:
            raise Bad(f"{name} ({target.words}): {e or f'no answer in {target.timeout:g} s'}") from None
        return {"target": name, "told": target.words}

    async def _noted(self, what: str, who: Who, **facts: Any) -> None:
        self.c.ledger.note({"kind": "alert", "what": what, "author": who.author, **facts})
        await self._keep()
        self._wake.set()
