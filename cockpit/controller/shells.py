"""Shells on hosts: one stream is one shell, and lives as long as somebody reads it.

What goes over the link (`shell`, `shell-end`, `input` frames) is in docs/protocols.md; what each op takes and answers
is at `operations` and `streams`. The journal has who, where, when, and how it ended; never what was typed or shown.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.controller.direct import Word
from cockpit.controller.hosttasks import Talk, host_of, mine, seen, size_of
from cockpit.link.hub import Answer
from cockpit.model.topology import Expected
from cockpit.model.view import Who
from cockpit.plan.direct import direct_plan
from cockpit.plan.steps import Bad, Intent, Plan, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

WINDOW = 64 * 1024
"""Bytes of output that may be on their way: little enough that Ctrl-C is soon seen on a slow line."""
MAX_TYPED = 64 * 1024
"""Bytes of input that the far side has not taken yet; more waits at the person's."""
RATE, BURST = 128 * 1024.0, 256 * 1024.0
"""Bytes of input per second, and at once."""
IDLE = 3600.0
"""Seconds without a key after which a shell at a terminal is ended."""
LIFE = 24 * 3600.0
PER_PERSON, PER_HOST = 10, 20
LATE = 30.0
MAX_ARGV = 128 * 1024
MAX_SIDE = 1000


class Request(Word, frozen=True, kw_only=True):
    """`host` or `instance`. Without `argv` it is the login shell; without `tty` its input and output are pipes."""

    host: str = ""
    instance: str = ""
    argv: tuple[str, ...] = ()
    tty: bool = True
    rows: int = 24
    cols: int = 80
    term: str = "xterm"


def forbidden(expected: Expected, host: str) -> str:
    """Why the topology allows no shell there, as a sentence; empty where it does. Pure."""
    entry = expected.hosts.get(host)
    if entry is None:
        return f"{host} is not declared"
    if not entry.shell:
        return f"no shell on {host}: the topology says `shell: false` for the host"
    region = expected.regions.get(entry.region)
    if region is not None and not region.shell:
        return f"no shell on {host}: the topology says `shell: false` for region {entry.region}"
    return ""


class Shells:
    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self._open: dict[str, _Shell] = {}
        """Task -> shell. The task is the id that its person knows, and nobody else."""

    def operations(self) -> dict[str, Any]:
        """`shell_type {shell, data: base64, eof}` answers when there is room for more; `shell_took {shell, bytes}`:
        so much of its output was shown; `shell_resize {shell, rows, cols}`; `shell_end {shell}`."""

        async def shell_type(who: Who, args: dict[str, Any]) -> Any:
            shell = self._mine(who, args)
            try:
                raw = base64.b64decode(str(args.get("data") or ""), validate=True)
            except (binascii.Error, ValueError):
                raise Bad("shell_type: data is base64") from None
            if len(raw) > MAX_TYPED:
                raise Bad(f"shell_type: at most {MAX_TYPED} bytes at once")
            await shell.type(raw, bool(args.get("eof")))
            return {}

        async def shell_took(who: Who, args: dict[str, Any]) -> Any:
            self._mine(who, args).taken(int(args.get("bytes") or 0))
            return {}

        async def shell_resize(who: Who, args: dict[str, Any]) -> Any:
            rows, cols = (max(1, min(MAX_SIDE, int(args[side]))) for side in ("rows", "cols"))
            self._mine(who, args).tell({"rows": rows, "cols": cols})
            return {}

        async def shell_end(who: Who, args: dict[str, Any]) -> Any:
            self._mine(who, args).end()
            return {}

        return {
            "shell_type": shell_type, "shell_took": shell_took, "shell_resize": shell_resize, "shell_end": shell_end,
        }

    def streams(self) -> dict[str, Any]:
        """`shell` (see Request): {"shell": id,"host","instance","idle"}, then {"begun": {"user","directory",
        "program","pid"}}, then {"data": base64, "err": true where it is standard error}, at last
        {"exit": {"code","signal","why","seconds"}}. `why` is empty when the program ended by itself."""

        def shell(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
            return self.run(msgspec.convert(args, Request), who)

        return {"shell": shell}

    def progress(self, task: str, data: dict[str, Any]) -> bool:
        """From the host; False when the task is none of ours."""
        shell = self._open.get(task)
        if shell is not None:
            shell.take(data)
        return shell is not None or task.startswith("shell-")

    async def run(self, request: Request, who: Who) -> AsyncIterator[dict[str, Any]]:
        """See `streams`. Raises Bad, Refused, ConnectionError. When it is closed the shell is ended."""
        plan = self.plan(request, who)
        (host,) = plan.intent.targets
        shell = _Shell(self.c, request, host, who)
        guarded = await self.c.direct.admit(plan, who, request, shell.task[:14])
        self._open[shell.task] = shell
        # the id lets nobody type, and the journal is read by many: it gets only the beginning
        facts = {"id": shell.task[:14], "host": host, "instance": request.instance, "author": who.author}
        self.c.ledger.note({"kind": "shell", **facts, "argv": list(request.argv), **guarded})
        began, end = time.monotonic(), {"code": None, "signal": None, "why": "left"}
        work = asyncio.create_task(shell.command())
        try:
            yield {"shell": shell.task, "host": host, "instance": request.instance, "idle": IDLE}
            async for item in shell.items(work):
                yield item
            try:
                end = shell.conclude(await work)
            except (ConnectionError, TimeoutError):
                if not shell.begun:
                    raise
                end = {"code": None, "signal": None, "why": "lost"}
            yield {"exit": {**end, "seconds": round(time.monotonic() - began, 3)}}
        except (Bad, ConnectionError) as e:
            end = {"code": None, "signal": None, "why": str(e)}
            raise
        finally:
            del self._open[shell.task]
            shell.closed()
            if not work.done():
                shell.end()
                work.cancel()
            work.add_done_callback(seen)
            self.c.ledger.note({
                "kind": "shell-end", **facts, **end, "user": shell.user,
                "seconds": round(time.monotonic() - began, 3),
            })  # fmt: skip

    def plan(self, request: Request, who: Who) -> Plan:
        """What would be opened, where. Raises Bad, Refused, ConnectionError."""
        host = self._check(request, who)
        params = {"instance": request.instance, "argv": list(request.argv)}
        intent = Intent(verb="shell", targets=(host,), params=params, author=who.author)
        return direct_plan(intent, self.c.world.revision)

    def _check(self, request: Request, who: Who) -> str:
        """The host. Raises Bad, Refused, ConnectionError."""
        host = host_of(self.c.world, request.host, request.instance, "shell")
        if request.argv and (not request.argv[0] or any("\0" in a for a in request.argv)):
            raise Bad("shell: the command begins with a program")
        if sum(len(a.encode()) for a in request.argv) > MAX_ARGV:
            raise Bad(f"these words are longer than {MAX_ARGV} bytes")
        if why := forbidden(self.c.world.expected, host):
            raise Refused(why)
        open = list(self._open.values())
        if sum(s.who.author == who.author for s in open) >= PER_PERSON:
            raise Refused(f"{who.author} has {PER_PERSON} shells open already: leave one")
        if sum(s.host == host for s in open) >= PER_HOST:
            raise Refused(f"{PER_HOST} shells are open on {host} already")
        if host not in self.c.hub.links:
            raise ConnectionError(f"no answer from {host}: no shell can be opened on it now")
        return host

    def _mine(self, who: Who, args: dict[str, Any]) -> _Shell:
        """Raises Bad, Refused."""
        return mine(self._open, args.get("shell"), who, "shell")


class _Shell(Talk):
    kind = "shell"
    LAST_BYTES = 3.0

    def __init__(self, controller: Controller, request: Request, host: str, who: Who) -> None:
        super().__init__(controller, host, who)
        self.request = request
        self._came = 0
        self._typed = 0
        """Bytes that the far side has not taken yet."""
        self._tokens, self._at = BURST, time.monotonic()
        self._flooded = False

    async def command(self) -> Answer:
        """Raises ConnectionError, TimeoutError."""
        r = self.request
        return await self.run({
            "instance": r.instance, "argv": list(r.argv), "tty": r.tty, "rows": r.rows, "cols": r.cols,
            "term": r.term, "credit": WINDOW, "idle": IDLE, "timeout": LIFE,
        }, LIFE + LATE)  # fmt: skip

    def _whole(self, wanted: int) -> bool:
        return self._came >= wanted >= 0 or self._flooded

    def conclude(self, answer: Answer) -> dict[str, Any]:
        """How it ended. Raises Bad when it never began."""
        if not answer.ok:
            text = answer.text or answer.code
            if answer.code == "bad" and text.startswith("no command"):
                text = "its agent is too old for shells: cockpit upgrade"
            if answer.code == "timeout":
                return {"code": None, "signal": None, "why": "timeout"}
            raise Bad(f"{self.host}: {text}")
        return {k: answer.data.get(k) for k in ("code", "signal")} | {"why": str(answer.data.get("why") or "")}

    # from the host

    def take(self, data: dict[str, Any]) -> None:
        begun = data.get("begun")
        if isinstance(begun, dict) and not self._begun.is_set():
            self.user = str(begun.get("user", ""))[:100]
            facts = {k: str(begun.get(k, ""))[:4096] for k in ("user", "directory", "program")}
            self._waiting.append({"begun": {**facts, "pid": begun.get("pid")}})
            self._begun.set()
        for name in ("out", "err"):
            text = data.get(name)
            if isinstance(text, str):
                size = size_of(text)
                self._came += size
                self._held += size
                self._waiting.append({"data": text, "err": True} if name == "err" else {"data": text})
        if self._held > 4 * WINDOW:  # it sends what nobody has asked for
            self._flooded = True
            self.end()
        if isinstance(data.get("took"), int):
            self._typed = max(0, self._typed - int(data["took"]))
            self._room.set()
        self._wake.set()

    # from the person

    async def type(self, raw: bytes, eof: bool) -> None:
        """Returns when there is room for more."""
        async with self._turn:
            await self._begun.wait()
            now = time.monotonic()
            self._tokens = min(BURST, self._tokens + (now - self._at) * RATE) - len(raw)
            self._at = now
            if self._tokens < 0:
                await asyncio.sleep(-self._tokens / RATE)
            self._typed += len(raw)
            self.tell({"data": base64.b64encode(raw).decode(), **({"eof": True} if eof else {})})
            while self._typed >= MAX_TYPED and not self._over:
                self._room.clear()
                await self._room.wait()
