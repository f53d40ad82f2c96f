"""One file from a host or to it: one stream is one copy, and lives as long as somebody reads it.

What goes over the link (`copy`, `copy-end`, `input` frames) is in docs/protocols.md; what each op takes and answers
is at `operations` and `streams`. Bytes pass through: the controller keeps at most a window of them, and none in the
journal, which has who, which host, path, direction, size, digest and how it ended.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import posixpath
import re
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.controller.direct import Word
from cockpit.controller.hosttasks import Talk, host_of, mine, seen, size_of
from cockpit.controller.shells import forbidden
from cockpit.link.hub import Answer
from cockpit.model.view import Who
from cockpit.plan.direct import direct_plan
from cockpit.plan.steps import Bad, Intent, Plan, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

WINDOW = 256 * 1024
"""Bytes of a file that may be on their way: a heartbeat behind them still comes in time on a slow line."""
MAX_BLOCK = 48 * 1024
LIMIT = 1024**3
"""Bytes of one file, where nothing else is said."""
MOST = 64 * 1024**3
MAX_PATH = 4096
STALL = 300.0
"""Seconds in which something must move."""
LIFE = 24 * 3600.0
LATE = 60.0
PER_PERSON, PER_HOST, IN_ALL = 4, 4, 16
SHA256 = re.compile(r"[0-9a-f]{64}")
REFUSED = ("exists", "denied", "kind", "limit")
"""What the host answers when it could, and does not want to."""


class Request(Word, frozen=True, kw_only=True):
    """`host` or `instance`, and the path there: from / on a host; else from where its shell begins. `put`: to there;
    `size` and `sha256` of what is sent where they are known beforehand, `mode` its permissions."""

    host: str = ""
    instance: str = ""
    path: str = ""
    put: bool = False
    overwrite: bool = False
    size: int | None = None
    sha256: str = ""
    mode: int = 0o600
    limit: int = LIMIT


class Copies:
    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self._open: dict[str, _Copy] = {}
        """Task -> copy. The task is the id that its person knows, and nobody else."""

    def operations(self) -> dict[str, Any]:
        """`copy_send {copy, data: base64}`, or at last `{copy, eof: true, size, sha256}`, answers when there is room
        for more; `copy_took {copy, bytes}`: so much was written here; `copy_end {copy}`."""

        async def copy_send(who: Who, args: dict[str, Any]) -> Any:
            copy = self._mine(who, args)
            text = str(args.get("data") or "")
            try:
                count = len(base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                raise Bad("copy_send: data is base64") from None
            if count > MAX_BLOCK:
                raise Bad(f"copy_send: at most {MAX_BLOCK} bytes at once")
            end = None
            if args.get("eof"):
                sha256 = str(args["sha256"])
                if not SHA256.fullmatch(sha256):
                    raise Bad("copy_send: sha256 is 64 small hexadecimal digits")
                end = {"eof": True, "size": int(args["size"]), "sha256": sha256}
            await copy.send(text, count, end)
            return {}

        async def copy_took(who: Who, args: dict[str, Any]) -> Any:
            self._mine(who, args).taken(int(args.get("bytes") or 0))
            return {}

        async def copy_end(who: Who, args: dict[str, Any]) -> Any:
            self._mine(who, args).end()
            return {}

        return {"copy_send": copy_send, "copy_took": copy_took, "copy_end": copy_end}

    def streams(self) -> dict[str, Any]:
        """`copy` (see Request): {"copy": id,"host","instance","path"}, then {"begun": {"user","path","size","mode",
        "replaces"}}, then {"data": base64} of a file from there, at last {"done": {"path","size","sha256","changed",
        "seconds"}}. How it fails is said as an error."""

        def copy(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
            return self.run(msgspec.convert(args, Request), who)

        return {"copy": copy}

    def progress(self, task: str, data: dict[str, Any]) -> bool:
        """From the host; False when the task is none of ours."""
        copy = self._open.get(task)
        if copy is not None:
            copy.take(data)
        return copy is not None or task.startswith("copy-")

    async def run(self, request: Request, who: Who) -> AsyncIterator[dict[str, Any]]:
        """See `streams`. Raises Bad, Refused, ConnectionError. When it is closed the copy is ended."""
        plan = self.plan(request, who)
        (host,) = plan.intent.targets
        copy = _Copy(self.c, request, host, who)
        guarded = await self.c.direct.admit(plan, who, request, copy.task[:13])
        self._open[copy.task] = copy
        facts = {
            "id": copy.task[:13], "host": host, "instance": request.instance, "path": request.path,
            "way": "to" if request.put else "from", "author": who.author,
        }  # the whole id lets somebody write, and the journal is read by many
        known = {k: v for k, v in (("size", request.size), ("sha256", request.sha256)) if v not in (None, "")}
        self.c.ledger.note({"kind": "copy", **facts, **known, "overwrite": request.overwrite, **guarded})
        began = time.monotonic()
        end: dict[str, Any] = {"why": "stopped"}
        work = asyncio.create_task(copy.command())
        try:
            yield {"copy": copy.task, "host": host, "instance": request.instance, "path": request.path}
            async for item in copy.items(work):
                yield item
            try:
                done = copy.conclude(await work)
            except TimeoutError:
                raise ConnectionError(f"{host}: no answer in time") from None
            end = {"why": "", **{k: done[k] for k in ("size", "sha256", "path")}}
            yield {"done": {**done, "seconds": round(time.monotonic() - began, 3)}}
        except (Bad, Refused, ConnectionError) as e:
            end = {"why": str(e), "size": copy.moved}
            raise
        finally:
            del self._open[copy.task]
            copy.closed()
            if not work.done():
                copy.end()
                work.cancel()
            work.add_done_callback(seen)
            if end["why"] == "stopped":
                end["size"] = copy.moved
            self.c.ledger.note({
                "kind": "copy-end", **facts, **end, "user": copy.user, "seconds": round(time.monotonic() - began, 3),
            })  # fmt: skip

    def plan(self, request: Request, who: Who) -> Plan:
        """What would be copied, where. Raises Bad, Refused, ConnectionError."""
        host = self._check(request, who)
        params = {k: getattr(request, k) for k in ("instance", "path", "put", "overwrite", "size", "sha256")}
        intent = Intent(verb="copy", targets=(host,), params=params, author=who.author)
        return direct_plan(intent, self.c.world.revision)

    def _check(self, request: Request, who: Who) -> str:
        """The host. Raises Bad, Refused, ConnectionError."""
        path = request.path
        host = host_of(self.c.world, request.host, request.instance, "copy")
        if not path or len(path.encode("utf-8", "replace")) > MAX_PATH or not path.isprintable():
            raise Bad(f"copy: a path of printable characters is wanted, at most {MAX_PATH} bytes")
        if request.host and not path.startswith("/"):
            raise Bad(f"{path}: a path on a host begins with /; one of an instance may begin in its release")
        if posixpath.basename(path) in ("", ".", ".."):
            raise Bad(f"{path} names a directory: one file at a time; a whole tree is for cockpit push")
        if request.sha256 and not SHA256.fullmatch(request.sha256):
            raise Bad("copy: sha256 is 64 small hexadecimal digits")
        if not 0 < request.limit <= MOST:
            raise Bad(f"copy: the limit is 1 to {MOST} bytes")
        if request.size is not None and not 0 <= request.size <= request.limit:
            raise Refused(f"{request.size} bytes are more than the limit of {request.limit}")
        if why := forbidden(self.c.world.expected, host):
            raise Refused(why.replace("no shell", "no shell, so no copy either,", 1))
        open = list(self._open.values())
        if len(open) >= IN_ALL:
            raise Refused(f"{IN_ALL} copies are under way already: wait for one")
        if sum(c.who.author == who.author for c in open) >= PER_PERSON:
            raise Refused(f"{who.author} has {PER_PERSON} copies under way already: wait for one")
        if sum(c.host == host for c in open) >= PER_HOST:
            raise Refused(f"{PER_HOST} copies are under way with {host} already: wait for one")
        if host not in self.c.hub.links:
            raise ConnectionError(f"no answer from {host}: nothing can be copied now")
        return host

    def _mine(self, who: Who, args: dict[str, Any]) -> _Copy:
        """Raises Bad, Refused."""
        return mine(self._open, args.get("copy"), who, "copy")


class _Copy(Talk):
    kind = "copy"
    LAST_BYTES = 5.0

    def __init__(self, controller: Controller, request: Request, host: str, who: Who) -> None:
        super().__init__(controller, host, who)
        self.request = request
        self.moved = 0
        """Bytes that came, or were sent."""
        self._ahead = 0
        """Bytes that were sent and the host's file does not have yet."""

    async def command(self) -> Answer:
        """Raises ConnectionError, TimeoutError."""
        r = self.request
        return await self.run({
            "instance": r.instance, "path": r.path, "put": r.put, "limit": r.limit, "overwrite": r.overwrite,
            "size": r.size, "sha256": r.sha256, "mode": r.mode & 0o777, "credit": WINDOW, "stall": STALL,
            "timeout": LIFE,
        }, LIFE + LATE)  # fmt: skip

    def _whole(self, wanted: int) -> bool:
        if wanted >= 0 and (self.request.put or self.moved >= wanted):
            return True
        if self._over:
            raise ConnectionError(f"{self.host} sends what nobody asked for: the copy was ended")
        return False

    def _cut_off(self) -> None:
        raise ConnectionError(f"{self.host} did not send all of {self.request.path}")

    def conclude(self, answer: Answer) -> dict[str, Any]:
        """What was copied. Raises Bad, Refused, ConnectionError when it was not."""
        if answer.ok:
            return {
                "path": str(answer.data.get("path") or "")[: 2 * MAX_PATH], "size": int(answer.data.get("size") or 0),
                "sha256": str(answer.data.get("sha256") or "")[:64], "changed": bool(answer.data.get("changed")),
            }
        text = f"{self.host}: {answer.text or answer.code}"
        if answer.code == "bad" and answer.text.startswith("no command"):
            raise Bad(f"{self.host}: its agent is too old for copies: cockpit upgrade")
        if answer.code == "exists":
            raise Refused(f"{text}; --overwrite replaces it")
        if answer.code in REFUSED:
            raise Refused(text)
        if answer.code in ("lost", "unreachable"):
            raise ConnectionError(text)
        raise Bad(text)

    # from the host

    def take(self, data: dict[str, Any]) -> None:
        begun = data.get("begun")
        if isinstance(begun, dict) and not self._begun.is_set():
            self.user = str(begun.get("user", ""))[:100]
            size = begun.get("size")
            self._waiting.append({"begun": {
                "user": self.user, "path": str(begun.get("path", ""))[: 2 * MAX_PATH],
                "size": size if isinstance(size, int) else None, "mode": int(begun.get("mode") or 0) & 0o777,
                "replaces": bool(begun.get("replaces")),
            }})  # fmt: skip
            self._begun.set()
        text = data.get("data")
        if isinstance(text, str) and not self.request.put:
            size = size_of(text)
            self.moved += size
            self._held += size
            self._waiting.append({"data": text})
            if self._held > 2 * WINDOW:
                self._waiting.clear()
                self._over = True
                self.end()
        if isinstance(data.get("took"), int):
            self._ahead = max(0, self._ahead - int(data["took"]))
            self._room.set()
        self._wake.set()

    # from the person

    async def send(self, text: str, count: int, end: dict[str, Any] | None) -> None:
        """Returns when there is room for more. Raises Bad, Refused."""
        async with self._turn:
            if not self.request.put:
                raise Bad("copy_send: this copy comes from there")
            await self._begun.wait()
            if self.moved + count > self.request.limit:
                raise Refused(f"more than the limit of {self.request.limit} bytes")
            self.moved += count
            self._ahead += count
            if text:
                self.tell({"data": text})
            if end is not None:
                self.tell(end)
            while self._ahead >= WINDOW and not self._over:
                self._room.clear()
                await self._room.wait()
