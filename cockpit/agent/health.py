"""Health of the units on this host: rise and fall, and who is checked when."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Callable, Coroutine, Dict, Mapping, Optional, Set, Tuple

from cockpit.agent import checks
from cockpit.agent.checks import CheckFailed, Subject
from cockpit.agent.waiting import within

OK, FAILING, WAITING, NO_CHECK = "ok", "failing", "starting", "none"
FIRST = 0.05
"""Seconds between the first checks of a run; they grow to FAST, and to the interval once it is well."""
FAST = 0.2
GROWTH = 1.5
Record = Dict[str, Any]


class Gauge:
    """Rise and fall of one run's health. Pure: outcomes and times come in."""

    def __init__(self, rise: int, fall: int, *, was_good: bool = False, checked: bool = True) -> None:
        self.rise = max(1, rise)
        self.fall = max(1, fall)
        self.health = WAITING if checked else NO_CHECK
        self.reason = ""
        self.since: Optional[float] = None
        self.good_once = was_good or not checked
        """It was well at some time of this run: RUNNING, whatever happens later."""
        self._good = 0
        self._bad = 0

    def feed(self, why: str, now: float) -> bool:
        """One outcome (`why` is empty when it was good). True when something to report changed."""
        before = (self.health, self.reason, self.good_once)
        if not why:
            self._good, self._bad = self._good + 1, 0
            if self._good >= self.rise:
                self._become(OK, "", now)
                self.good_once = True
        else:
            self._good, self._bad = 0, self._bad + 1
            if self.health == FAILING or (self.good_once and self._bad >= self.fall):
                self._become(FAILING, why, now)
            elif self.health == WAITING:
                self._become(WAITING, why, now)
        return (self.health, self.reason, self.good_once) != before

    def _become(self, health: str, reason: str, now: float) -> None:
        if self.since is None or health != self.health:
            self.since = now
        self.health, self.reason = health, reason


def checked(record: Record) -> Optional[Mapping[str, Any]]:
    check = (record.get("meta") or {}).get("check")
    return check if isinstance(check, dict) else None


def subject_of(record: Record) -> Subject:
    meta = record.get("meta") or {}
    first = record["processes"][0]
    return Subject(
        address=str(meta.get("address", "127.0.0.1")), ports=meta.get("ports") or {},
        cwd=first.get("cwd") or "/", env=first.get("env") or {},
        uid=record.get("uid"), gid=record.get("gid"), groups=record.get("groups"),
    )


class Health:
    """One task per live run that has a check, and one per probe.

    `changed` is called with the unit, `was_good` says whether a run was well before the agent was
    restarted, `record_of` gives the keeper's latest record, `look_again` asks the keeper for a new one of the unit.
    """

    def __init__(
        self, changed: Callable[[str], None], was_good: Callable[[str, int], bool],
        record_of: Callable[[str], Optional[Record]], look_again: Callable[[str], None],
    ) -> None:
        self.gauges: Dict[str, Gauge] = {}
        self.probes: Dict[str, Dict[str, Any]] = {}
        self._changed = changed
        self._was_good = was_good
        self._record_of = record_of
        self._look_again = look_again
        self._runs: Dict[str, int] = {}
        self._tasks: Dict[Tuple[str, str], "asyncio.Task[None]"] = {}
        self._unseen: Set[str] = set()
        self._settled = asyncio.Event()
        self._settled.set()

    def sync(self, records: Mapping[str, Record]) -> None:
        """Make the checks under way fit the units that live."""
        alive = {u: r for u, r in records.items() if r.get("pids")}
        for unit in [u for u in self.gauges if u not in alive]:
            self._forget(unit)
        for unit, record in alive.items():
            run = int(record.get("run") or 0)
            check = checked(record)
            if self._runs.get(unit) != run:
                self._forget(unit)
                self._begin(unit, run, record, check)
            if check is not None and check.get("notify"):
                self._feed(unit, notify_outcome(record, check, time.time()))

    async def settled(self, timeout: float) -> None:
        """Wait until every live unit was looked at once, but not longer than `timeout` seconds."""
        try:
            await within(self._settled.wait(), timeout)
        except asyncio.TimeoutError:
            pass

    def stop(self) -> None:
        for unit in list(self.gauges):
            self._forget(unit)

    def _begin(self, unit: str, run: int, record: Record, check: Optional[Mapping[str, Any]]) -> None:
        self._runs[unit] = run
        rise, fall = int((check or {}).get("rise", 1)), int((check or {}).get("fall", 3))
        self.gauges[unit] = Gauge(
            rise, fall, was_good=self._was_good(unit, run), checked=check is not None
        )
        subject = subject_of(record)
        probe = (record.get("meta") or {}).get("probe")
        if check is not None:
            self._unseen.add(unit)
            self._settled.clear()
            self._start((unit, "check"), self._watch(unit, check, subject))
        if isinstance(probe, dict):
            self._start((unit, "probe"), self._ask(unit, probe, subject))

    def _forget(self, unit: str) -> None:
        for what in ("check", "probe"):
            task = self._tasks.pop((unit, what), None)
            if task is not None:
                task.cancel()
        self.gauges.pop(unit, None)
        self.probes.pop(unit, None)
        self._runs.pop(unit, None)
        self._seen(unit)

    def _start(self, key: Tuple[str, str], work: Coroutine[Any, Any, None]) -> None:
        self._tasks[key] = asyncio.ensure_future(work)

    def _seen(self, unit: str) -> None:
        self._unseen.discard(unit)
        if not self._unseen:
            self._settled.set()

    def _feed(self, unit: str, why: str) -> None:
        gauge = self.gauges.get(unit)
        if gauge is not None and gauge.feed(why, time.time()):
            self._changed(unit)
        self._seen(unit)

    async def _watch(self, unit: str, check: Mapping[str, Any], subject: Subject) -> None:
        interval = max(0.01, float(check.get("interval", 1.0)))
        pause = min(FIRST, interval)
        while True:
            if check.get("notify"):
                record = self._record_of(unit) or {}
                why = notify_outcome(record, check, time.time())
                if record.get("watchdog") is not None:
                    self._look_again(unit)  # the keeper does not push every watchdog message
            else:
                try:
                    await checks.run(check, subject)
                    why = ""
                except CheckFailed as e:
                    why = str(e)
                except Exception as e:  # a check that cannot be done is one that fails, not one that ends
                    why = f"check: {type(e).__name__}: {e}"
            self._feed(unit, why)
            gauge = self.gauges.get(unit)
            if gauge is not None and gauge.health == WAITING:
                await asyncio.sleep(pause)
                pause = min(pause * GROWTH, FAST, interval)
            else:
                pause = min(FIRST, interval)
                await asyncio.sleep(interval)

    async def _ask(self, unit: str, probe: Mapping[str, Any], subject: Subject) -> None:
        interval = max(0.1, float(probe.get("interval", 5.0)))
        await asyncio.sleep(min(0.2, interval))
        while True:
            try:
                found = checks.parse_probe(await checks.run({"timeout": 2.0, **probe}, subject))
            except Exception:
                found = None  # what it said last stays; its health is the check's business
            if found is not None and found != self.probes.get(unit):
                self.probes[unit] = found
                self._changed(unit)
            await asyncio.sleep(interval)


def notify_outcome(record: Record, check: Mapping[str, Any], now: float) -> str:
    """Outcome of a notify check: ready, and the watchdog, once used, not silent for too long."""
    status = str(record.get("status") or "")
    if not record.get("ready"):
        return status or "not ready yet"
    last = record.get("watchdog")
    limit = float(check.get("interval", 1.0)) * int(check.get("fall", 3))
    if isinstance(last, (int, float)) and now - last > limit:
        return f"no watchdog message for {now - last:.0f} s"
    return ""
