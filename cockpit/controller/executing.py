"""`exec`: one program on many hosts. It lives as long as somebody reads its stream."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from cockpit.controller.direct import Word
from cockpit.controller.hosttasks import end_there
from cockpit.link.hub import Answer, Hub
from cockpit.model.constraints import host_meets
from cockpit.model.names import near
from cockpit.model.problems import Wrong
from cockpit.model.topology import Expected
from cockpit.model.view import Who
from cockpit.plan.direct import direct_plan
from cockpit.plan.steps import Bad, Intent, Plan, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

OK, FAILED, TIMED_OUT, NO_ANSWER, NOT_SENT = "ok", "failed", "timed out", "no answer", "not sent"
MAX_TIMEOUT = 24 * 3600.0
MAX_ARGV = 128 * 1024
MAX_RUNS = 20
MAX_WAITING = 4000
"""Batches of lines that may wait for a reader; what comes then is counted and left out."""
LATE = 30.0
"""Seconds beyond its timeout after which a host that is connected is counted as silent."""
LAST_LINES = 3.0


class Request(Word, frozen=True, kw_only=True):
    """`hosts`: names and constraints; see `hosts_of`."""

    argv: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    timeout: float = 60.0
    user: str = ""
    parallel: int = 200


def hosts_of(expected: Expected, on: Sequence[str]) -> tuple[str, ...]:
    """The hosts that are meant: one of the named ones (all when none is), that meets every constraint. Raises Bad."""
    names = {word for word in on if "=" not in word}
    for name in sorted(names - expected.hosts.keys()):
        raise Bad(f"no host {name!r}{near(name, expected.hosts)}; a constraint is like region=bj")
    try:
        found = tuple(
            name for name, host in expected.hosts.items() if (not names or name in names)
            and all(host_meets(name, host, word) for word in on if "=" in word)
        )
    except Wrong as e:
        raise Bad(str(e)) from None
    if not found:
        raise Bad(f"no host meets {' and '.join(on)}" if on else "the topology has no host")
    return found


class Executions:
    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self._tasks: dict[str, _Run] = {}
        """Task of each command under way -> whom it belongs to."""
        self._runs: set[_Run] = set()

    def progress(self, task: str, data: dict[str, Any]) -> bool:
        """Lines of a command; False when the task is none of ours."""
        run = self._tasks.get(task)
        if run is not None:
            run.take(task, data)
        return run is not None or task.startswith("exec-")

    def plan(self, request: Request, author: str) -> Plan:
        """What it would do, where. Raises Bad, Refused."""
        params = {"argv": list(request.argv), "user": request.user, "timeout": request.timeout}
        intent = Intent(verb="exec", targets=self._check(request), params=params, author=author)
        return direct_plan(intent, self.c.world.revision)

    async def run(self, request: Request, who: Who) -> AsyncIterator[dict[str, Any]]:
        """Items: first `{"targets":[...]}`, then `{"host","lines":[[out|err, text]...]}`, `{"host","dropped":n}` and
        for each host one `{"host","end": word,"code","signal","seconds","text"}`. Raises Bad, Refused.

        When the stream is closed every command that runs is ended.
        """
        plan = self.plan(request, who.author)
        targets = plan.intent.targets
        run = _Run(f"exec-{uuid.uuid4().hex}", request, self.c.hub)
        facts = {"id": run.id, "argv": list(request.argv), "user": request.user, "timeout": request.timeout}
        guarded = await self.c.direct.admit(plan, who, request, run.id)
        self.c.ledger.note({"kind": "exec", **facts, "author": who.author, "hosts": list(targets), **guarded})
        self._runs.add(run)
        work = [asyncio.create_task(self._one(run, host)) for host in targets]
        over = False
        try:
            yield {"targets": list(targets), "id": run.id}
            async for item in run.items(len(targets)):
                yield item
            over = True
        finally:
            self._runs.discard(run)
            for task in work:
                task.cancel()
            run.end_all()
            for name in [t for t, r in self._tasks.items() if r is run]:
                del self._tasks[name]
            words = {h: w for h, w in run.ends.items() if w != OK}
            self.c.ledger.note({
                "kind": "exec-end", "id": run.id, "stopped": not over, "ok": len(run.ends) - len(words),
                "others": words, "open": sorted(set(targets) - run.ends.keys()),
            })  # fmt: skip

    def _check(self, request: Request) -> tuple[str, ...]:
        if not request.argv or not request.argv[0] or any("\0" in a for a in request.argv):
            raise Bad("exec wants a program and its words: cockpit exec -- uptime")
        if sum(len(a.encode()) for a in request.argv) > MAX_ARGV:
            raise Bad(f"these words are longer than {MAX_ARGV} bytes")
        if not 0 < request.timeout <= MAX_TIMEOUT:
            raise Bad(f"timeout: seconds, more than 0 and at most {MAX_TIMEOUT:g}")
        if request.parallel < 1:
            raise Bad("parallel: at least 1")
        if len(self._runs) >= MAX_RUNS:
            raise Refused(f"{MAX_RUNS} others run commands already")
        return hosts_of(self.c.world.expected, request.hosts)

    async def _one(self, run: _Run, host: str) -> None:
        async with run.gate:
            if host not in self.c.hub.links:
                run.end(host, NOT_SENT, text="it is not connected")
                return
            task = f"{run.id}-{host}"
            self._tasks[task] = run
            r = run.request
            args = {"task": task, "argv": list(r.argv), "timeout": r.timeout, "user": r.user}
            run.begun[task] = host
            try:
                answer = await self.c.hub.command(host, "exec", args, task=task, timeout=r.timeout + LATE)
            except ConnectionError:
                run.end(host, NO_ANSWER, text="lost contact: the agent ends the command")
            except TimeoutError:
                run.end(host, NO_ANSWER, text="no word since its time was over")
            else:
                await run.lines_came(task, int(answer.data.get("lines") or 0))
                _conclude(run, host, answer)
            finally:
                if host in run.ends:
                    run.begun.pop(task, None)
                self._tasks.pop(task, None)


def _conclude(run: _Run, host: str, answer: Answer) -> None:
    data = answer.data
    if answer.ok and data.get("dropped"):
        run.put({"host": host, "dropped": int(data["dropped"])})
    facts = {k: data.get(k) for k in ("code", "signal", "seconds")}
    if not answer.ok:
        word = TIMED_OUT if answer.code == "timeout" else FAILED
        text = answer.text or answer.code
        if answer.code == "bad" and text.startswith("no command"):
            text = "its agent has no plug-in exec: cockpit plugin list"
        run.end(host, word, text=text, **facts)
    elif data.get("why") == "timeout":
        run.end(host, TIMED_OUT, text=f"ended after {run.request.timeout:g} s", **facts)
    elif data.get("code") == 0 and not data.get("why"):
        run.end(host, OK, **facts)
    else:
        code, number = data.get("code"), data.get("signal")
        how = "stopped" if data.get("why") else f"exit {code}" if number is None else f"signal {number}"
        run.end(host, FAILED, text=how, **facts)


class _Run:
    """One request: what it says waits here for whoever asked."""

    def __init__(self, id: str, request: Request, hub: Hub) -> None:
        self.id = id
        self.request = request
        self.gate = asyncio.Semaphore(request.parallel)
        self.begun: dict[str, str] = {}
        self.ends: dict[str, str] = {}
        self._hub = hub
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._dropped: collections.Counter[str] = collections.Counter()
        self._came: collections.Counter[str] = collections.Counter()
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()

    def take(self, task: str, data: dict[str, Any]) -> None:
        lines = data.get("lines")
        host = self.begun.get(task)
        if not isinstance(lines, list) or host is None:
            return
        self._came[task] += len(lines)
        self._moved.set()
        if len(self._waiting) >= MAX_WAITING:
            self._dropped[host] += len(lines)
        else:
            self.put({"host": host, "lines": lines})

    def put(self, item: dict[str, Any]) -> None:
        self._waiting.append(item)
        self._wake.set()

    async def lines_came(self, task: str, wanted: int) -> None:
        """The answer is faster than lines that were sent before it."""
        deadline = time.monotonic() + LAST_LINES
        while self._came[task] < wanted and (left := deadline - time.monotonic()) > 0:
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._moved.wait()

    def end(self, host: str, word: str, **facts: Any) -> None:
        self.ends[host] = word
        if dropped := self._dropped.pop(host, 0):
            self.put({"host": host, "dropped": dropped})
        self.put({"host": host, "end": word, "text": "", "code": None, "signal": None, "seconds": None, **facts})

    async def items(self, hosts: int) -> AsyncIterator[dict[str, Any]]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if len(self.ends) >= hosts:
                return
            self._wake.clear()
            await self._wake.wait()

    def end_all(self) -> None:
        """Everywhere, now."""
        for task, host in self.begun.items():
            end_there(self._hub, host, task, "unexec")
