"""Runs the rounds of a schedule on a field, and brings home the facts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from cockpit.agent.keeper_client import KeeperClient
from cockpit.model.view import ActionDetail
from cockpit.plan.steps import Bad, Intent, Refused
from cockpit.session.client import RemoteSession
from tests.faults import facts as f
from tests.faults.field import CARRIED, HOSTS, LINK, PORT, RELAY, Field
from tests.faults.inject import Injector
from tests.faults.schedule import MOMENTS, Fault, Round

TIME = 90.0
"""Seconds in which an action comes to an end once nothing is broken any more."""
CALM = 60.0
WANTED = "app.web"
REST = 0.05
RATE = "12"
"""Requests per second from each host."""


class Runner:
    def __init__(self, field: Field, seed: int, say: Callable[[str], None]) -> None:
        self.field = field
        self.seed = seed
        self.say = say
        self.facts = f.Facts()
        self.injector = Injector(field, self._web_pids)
        self.facts.kills, self.facts.windows = self.injector.kills, self.injector.windows
        self.session = RemoteSession(field.state / "control.sock")
        self.taps = {h: f.Tap(field.host(h) / "keeper" / "journal") for h in HOSTS}
        self.version = 1
        self.mine: list[str] = []
        """Ids of the runner's actions."""
        self._late: set[str] = set()
        self._dead: dict[str, float] = {}
        """What is to be started again, since when."""
        self._tasks: list[asyncio.Task[None]] = []

    # the whole

    async def run(self, rounds: list[Round]) -> f.Facts:
        await self._clients()
        self._tasks += [asyncio.create_task(self._always()), asyncio.create_task(self._excuses())]
        try:
            for n, one in enumerate(rounds, 1):
                await self._round(n, one)
            await self._finish()
        finally:
            self.injector.mend_all()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.session.close()
        self._collect()
        return self.facts

    async def _clients(self) -> None:
        for host in HOSTS:
            directory = self.field.host(host)
            places = [str(directory / "agent.sock"), str(directory / "names.json")]
            file = str(self.field.root / f"load-{host}")
            argv = [sys.executable, "-m", "tests.faults.load", *places, WANTED, host, file, RATE]
            self.field.run_far(host, argv, key=f"client-{host}")
        a = self.field.addresses
        places = [f"{a['ctl']}:{PORT}", f"{a[RELAY]}:7410", *([f"{a[RELAY]}:{LINK}"] if CARRIED else [])]
        self.field.run_far(
            "h1", [sys.executable, "-m", "tests.faults.garbage", str(self.seed), *places], key="garbage"
        )

    async def _always(self) -> None:
        """What goes on all the time: faults end, journals are read, the dead are started as an init system would."""
        while True:
            self.injector.tick()
            for tap in self.taps.values():
                tap.look()
            await asyncio.to_thread(self._init)
            await asyncio.sleep(REST)

    async def _excuses(self) -> None:
        """One for a host's clients holds as long as its agent has no link: on a busy machine it takes its time. An
        agent that stays away is found by `_calm`."""
        windows = self.facts.windows
        while True:
            await asyncio.sleep(0.5)
            now = time.time()
            ending = [w for w in windows if w.clients and now - 1.5 < w.end < now + 1]
            up: set[str] = set()
            if ending:
                with contextlib.suppress(ConnectionError, TimeoutError, OSError):
                    snapshot = await asyncio.wait_for(self.session.snapshot(), 1)
                    up = {h.name for h in snapshot.hosts.values() if h.presence == "up"}
            for w in ending:
                if w.host not in up:
                    windows[windows.index(w)] = replace(w, end=time.time() + 2)

    def _init(self) -> None:
        now = time.monotonic()
        process = self.field.process
        relay = self.field.far[RELAY].poll() is not None  # one that has only begun holds no lock yet
        away = {"ctl": process is not None and process.poll() is not None, RELAY: relay}
        for host in HOSTS:
            away[host] = not self._runs(host)
        for name, gone in away.items():
            if not gone:
                self._dead.pop(name, None)
            elif now - self._dead.setdefault(name, now) > (1.0 if name in ("ctl", RELAY) else 4.0):
                del self._dead[name]
                self.injector.log.append((time.time(), name, "started again", ""))
                self.field.start(from_file=False) if name == "ctl" else self.field.again(name)

    def _runs(self, host: str) -> bool:
        """Does its keeper or its agent? Either starts the other."""
        if keeper := self.field.pids(host)[0]:
            self.facts.keepers.add((host, keeper))
            return True
        process = self.field.far.get(host)
        return process is not None and process.poll() is None

    # one round

    async def _round(self, n: int, one: Round) -> None:
        began = time.time()
        self.say(f"round {n}: {one.verb}; " + ", ".join(f"{x.words()} on {x.host} at {x.moment}" for x in one.faults))
        intent = await self._intent(one)
        waiting = list(one.faults)
        injecting: list[asyncio.Task[None]] = []
        id = await self._submit(intent)
        if id:
            self.mine.append(id)
        deadline = time.monotonic() + TIME
        while time.monotonic() < deadline:
            detail = await self._detail(id) if id else None
            over = not id or (detail is not None and detail.row.state not in ("running", "returning"))
            moments = set(MOMENTS) if over else (_moments(detail) if detail is not None else set())
            for fault in [x for x in waiting if x.moment in moments or over]:
                waiting.remove(fault)
                injecting.append(asyncio.create_task(self._inject(fault, fault.moment if not over else "finish")))
            if over and not waiting:
                break
            await asyncio.sleep(REST)
        await asyncio.gather(*injecting)
        while self.injector._open:
            await asyncio.sleep(REST)
        if id:
            await self._bring_home(id)
        await self._calm()
        self.say(f"  {await self._words(id)} after {time.time() - began:.1f} s")

    async def _inject(self, fault: Fault, moment: str) -> None:
        await asyncio.sleep(fault.delay)
        await asyncio.to_thread(self.injector.inject, fault, moment)

    async def _intent(self, one: Round) -> Intent:
        chance = random.Random(one.choice)
        snapshot = await self._ask(self.session.snapshot)
        rows = sorted((r for r in snapshot.instances.values() if r.service == WANTED), key=lambda r: r.id)
        if one.verb == "deploy":
            self.version += 1
            await asyncio.to_thread(self.field.add_release, str(self.version))
            return Intent(verb="deploy", targets=(WANTED,), params={"version": str(self.version)})
        if one.verb == "migrate":
            row = chance.choice(rows)
            to = chance.choice([h for h in HOSTS if h != row.host])
            return Intent(verb="migrate", targets=(row.id,), params={"host": to})
        if one.verb == "scale":
            return Intent(verb="scale", targets=(WANTED,), params={"count": 6 if len(rows) < 6 else 4})
        return Intent(verb=one.verb, targets=(WANTED,))

    async def _submit(self, intent: Intent) -> str:
        """Id of the action; empty when it was refused. What was answered by nobody is looked for first."""
        while True:
            try:
                before = set((await self._ask(self.session.snapshot)).actions)
                row = await self.session.submit(intent, confirm=WANTED if intent.verb in ("scale", "abort") else "")
                return str(row.id)
            except (Refused, Bad) as e:
                self.injector.log.append((time.time(), "ctl", f"{intent.verb} was refused: {e}", ""))
                return ""
            except ConnectionError:
                after = (await self._ask(self.session.snapshot)).actions
                new = [a for a in after.values() if a.id not in before and a.verb == intent.verb]
                if new:
                    return str(new[-1].id)

    async def _ask(self, what: Callable[[], Awaitable[Any]]) -> Any:
        """An answer, whenever there is a controller again."""
        deadline = time.monotonic() + TIME
        while True:
            try:
                return await asyncio.wait_for(what(), 20)
            except (ConnectionError, TimeoutError, OSError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def _detail(self, id: str) -> ActionDetail | None:
        with contextlib.suppress(ConnectionError, TimeoutError, Bad):
            return await asyncio.wait_for(self.session.action(id), 5)
        return None

    async def _bring_home(self, id: str) -> None:
        """As an operator would: what was interrupted or holds is resumed, what cannot is aborted."""
        deadline = time.monotonic() + TIME
        tried = 0
        while time.monotonic() < deadline:
            rows = (await self._ask(self.session.snapshot)).actions
            family = [r for r in rows.values() if id in (r.id, r.cause)]
            stuck = [r for r in family if r.state in ("paused", "interrupted")]
            if stuck:
                tried += 1
                row = stuck[-1]
                self.injector.log.append((time.time(), "ctl", f"{row.id} {row.state}: {row.note}", ""))
                if not row.note:
                    self.facts.rest.append(f"{row.id} {row.title} is {row.state} and says no reason")
                verb, more = ("resume", {}) if tried < 4 else ("abort", {"undo": False})
                try:
                    await self.session.submit(Intent(verb=verb, targets=(row.id,), params=more), confirm=row.id[1:])
                except (Refused, Bad) as e:
                    self.injector.log.append((time.time(), "ctl", f"{verb} {row.id} was refused: {e}", ""))
                    tried = max(tried, 3)
                except ConnectionError:
                    pass
                await asyncio.sleep(0.5)
            elif all(r.state in ("done", "failed", "aborted", "returned") for r in family):
                return
            await asyncio.sleep(0.1)
        self._late.add(id)

    async def _calm(self) -> None:
        """Nothing is broken any more: all comes to rest by itself, or by `converge` where drift is left."""
        deadline = time.monotonic() + CALM
        tidied = time.monotonic() + 8
        while True:
            snapshot = await self._ask(self.session.snapshot)
            unrest = _unrest(snapshot)
            if not unrest:
                return
            now = time.monotonic()
            if now > deadline:
                self.facts.rest.append(f"not calm {CALM:g} s after all was mended: {'; '.join(unrest)[:1500]}")
                return
            if now > tidied and not any(a.state in ("running", "returning") for a in snapshot.actions.values()):
                tidied = now + 15
                with contextlib.suppress(Refused, Bad, ConnectionError):
                    row = await self.session.submit(Intent(verb="converge", targets=(WANTED,)))
                    why = "; ".join(unrest)[:200]
                    self.injector.log.append((time.time(), "ctl", f"{row.id} converge: {why}", ""))
                    self.mine.append(row.id)
            await asyncio.sleep(0.1)

    async def _words(self, id: str) -> str:
        if not id:
            return "refused"
        row = (await self._ask(self.session.snapshot)).actions[id]
        return f"{id} {row.state}" + (f": {row.note}" if row.note else "")

    # the end

    async def _finish(self) -> None:
        for service in ("app.crasher", "app.tick"):
            id = ""
            with contextlib.suppress(Refused, Bad, ConnectionError):
                id = (await self.session.submit(Intent(verb="stop", targets=(service,)), confirm=service)).id
            if id:
                await self._bring_home(id)
        await self._calm()
        for host in HOSTS:
            self.field.far[f"client-{host}"].terminate()
        for host in HOSTS:
            await asyncio.to_thread(self.field.far[f"client-{host}"].wait, 20)
        self.field.far["garbage"].terminate()
        await self._acknowledged()
        snapshot = await self._ask(self.session.snapshot)
        for row in snapshot.actions.values():
            self.facts.actions.append(f.Ended(row.id, row.title, row.state, row.note, row.id in self._late))
            detail = await self._ask(lambda id=row.id: self.session.action(id))  # type: ignore[misc]
            for s in detail.steps:
                if s.state in ("running", "done", "failed"):
                    self.facts.steps.append(f.Done(row.id, s.kind, s.instance, s.host, s.started or 0.0))
        done = await asyncio.to_thread(self.field.run, "log", "--verify")
        self.facts.journal = "" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr or done.stdout}"

    async def _acknowledged(self) -> None:
        """Every event reached the controller."""
        deadline = time.monotonic() + 20
        for host in HOSTS:
            left: list[Any] = [0]
            while left and time.monotonic() < deadline:
                with contextlib.suppress(OSError, TimeoutError), KeeperClient(self.field.host(host), 5) as keeper:
                    left = keeper.call("list")["events"]
                await asyncio.sleep(REST)
            if left:
                self.facts.rest.append(f"{host}: {len(left)} events never reached the controller: {left[:2]}")

    def _collect(self) -> None:
        for host, tap in self.taps.items():
            tap.look()
            tap.close()
            with contextlib.suppress(OSError):  # once more as a whole: a line may have been cut under the reader
                tap.lines += tap.path.read_bytes().splitlines()
            self.facts.records += f.records(host, tap.lines)
        self.facts.lives = f.lives(self.field.truth)
        for host in HOSTS:
            for line in (self.field.root / f"load-{host}").read_text().splitlines():
                doc = json.loads(line)
                if "n" in doc:
                    self.facts.requests += doc["n"]
                else:
                    self.facts.failed.append(f.Request(host, doc["begin"], doc["end"], doc["instance"], doc["why"]))
        for path, text in self.field.crashes().items():
            self.facts.rest.append(f"{path} has a traceback:\n{text}")

    def _web_pids(self, host: str) -> list[tuple[int, str]]:
        return [
            (life.pid, life.instance) for life in f.lives(self.field.truth)
            if life.host == host and life.instance.startswith(WANTED) and life.alive and not life.told_by
        ]  # fmt: skip


def _moments(detail: ActionDetail) -> set[str]:
    """Kinds of steps that run now, or are over."""
    begun = {s.kind for s in detail.steps if s.state != "waiting"}
    if "drain" in begun:
        begun.add("names")
    return begun


def _unrest(snapshot: Any) -> list[str]:
    found = [f"{h.name} is {h.presence}: {h.reason}" for h in snapshot.hosts.values() if h.presence != "up"]
    moving = ("running", "returning")
    found += [f"{a.id} {a.title} is {a.state}" for a in snapshot.actions.values() if a.state in moving]
    for row in snapshot.instances.values():
        if row.desired == "SHUTDOWN":
            if row.pid:
                found.append(f"{row.id} should be stopped and is {row.state}")
        elif row.service == WANTED and (row.state != "RUNNING" or row.reason or len(row.runs) != 1):
            found.append(f"{row.id} is {row.state} ({row.word}): {row.reason} {[r.unit for r in row.runs]}")
    return found

