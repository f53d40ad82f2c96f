"""Copies of a file on a host without an agent: SFTP, with the words and frames of the plug-in `copy`.

The controller sees no difference: what is read waits for its credit, what is written is told as `took` when the host
has it, and nothing has its name until all of it is there.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import hashlib
import posixpath
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from backends.ssh.farfile import Source, Target
from backends.ssh.lasting import Open
from backends.ssh.look import place_of
from backends.ssh.pool import NotConnected
from backends.ssh.sftp import Gone, User, session
from cockpit.agent.prepare import instance_dir
from cockpit.agent.shipped.copy.child import Trouble
from cockpit.agent.shipped.copy.main import ENDS, MAX_PATH, RELEASE
from cockpit.agent.shipped.copy.pump import BLOCK, MAX_PENDING
from cockpit.agent.tasks import CommandError, Data, Progress

if TYPE_CHECKING:
    import asyncssh

    from backends.ssh.host import Host

LOOK = 0.5
END_WAIT = 10.0
GONE = "the host's sftp-server ended before the copy did; nothing was written"
GONE_NAMING = "the host's sftp-server ended while the file got its name: look whether it is there"
OURS = "this is Cockpit's own and is not for copies"


class Copies(Open["_Copy"]):
    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._lives: set[asyncio.Task[Data]] = set()
        self._left: list[str] = []
        """Names on the host that are nobody's: of copies that were cut off with the connection."""

    async def close(self) -> None:
        """What was begun is taken away while there is still a connection."""
        self.end_all("lost")
        if self._lives:
            await asyncio.wait(self._lives, timeout=END_WAIT)

    async def tidy(self) -> None:
        """There is a connection again: what the one before left. Raises NotConnected, CommandError."""
        left, self._left = self._left, []
        if left:
            try:
                await self._host.program(["rm", "-f", "--", *left])
            except (NotConnected, CommandError):
                self._left += left
                raise

    async def copy(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """As the plug-in's. Raises CommandError, NotConnected."""
        task, path, instance = str(args.get("task") or ""), args.get("path"), str(args.get("instance") or "")
        if not task or not isinstance(path, str) or not path or "\0" in path or len(path) > MAX_PATH:
            raise CommandError("bad", f"copy: task and a path of at most {MAX_PATH} characters are wanted")
        if not instance and not path.startswith("/"):
            raise CommandError("bad", "copy: a path on a host begins with /")
        user, directory = self._place(instance)
        copy = self._open[task] = _Copy(args, progress, posixpath.join(directory, path), user)
        life = asyncio.create_task(self._life(task, copy, instance or self._host.name))
        self._lives.add(life)
        life.add_done_callback(self._over)
        try:
            return await asyncio.shield(life)
        except asyncio.CancelledError:
            copy.end("lost")  # it goes on until nothing of it is left there
            raise

    def _over(self, life: asyncio.Task[Data]) -> None:
        self._lives.discard(life)
        if not life.cancelled():
            life.exception()  # seen

    async def _life(self, task: str, copy: _Copy, what: str) -> Data:
        """Raises CommandError, NotConnected."""
        began = time.monotonic()
        work = asyncio.create_task(self._work(copy, what))
        try:
            await copy.watched(work)
            try:
                done = work.result()
            except Trouble as e:
                raise CommandError(e.code, str(e)) from None
            except Gone:
                if self._host.kept.conn is not copy.conn:
                    raise
                raise CommandError("failed", GONE_NAMING if copy.naming else GONE) from None
            return {**done, "seconds": round(time.monotonic() - began, 3), "bytes": copy.sent}
        except asyncio.CancelledError:
            if copy.why in ENDS:
                raise CommandError(copy.why, ENDS[copy.why]) from None
            if copy.why == "gone":
                raise CommandError("failed", GONE) from None
            raise CommandError("stopped", "the copy was ended; nothing was written") from None
        finally:
            del self._open[task]
            if self._host.kept.conn is copy.conn:  # the sftp-server died, and only that
                with contextlib.suppress(NotConnected, CommandError):
                    await self.tidy()

    async def _work(self, copy: _Copy, what: str) -> Data:
        copy.conn = self._host.kept.conn
        async with session(self._host, copy.user, what) as sftp, ending(sftp, copy):
            if not copy.put:
                return await copy.get_it(sftp, self._closed(copy))
            target = Target(sftp, copy.path, overwrite=copy.overwrite)
            try:
                return await copy.put_it(target, self._closed(copy))
            finally:
                await target.drop(self._left.append)

    def _place(self, instance: str) -> tuple[User, str]:
        """As whom, and where a path begins. Raises CommandError."""
        host, kept = self._host, self._host.kept
        login = str(kept.conn.get_extra_info("username") or "") if kept.conn is not None else ""
        if not instance:
            return User(login), "/"
        record = host.newest(instance)
        directory = place_of(record, host.dir, host.address).release or instance_dir(host.dir, instance)
        if record.get("uid") in (None, host.uid):
            return User(login), directory
        return User(str(record["spec"].get("user")), int(record["uid"]), int(record["gid"])), directory

    def _closed(self, copy: _Copy) -> dict[str, str]:
        """For `shut`, as on a host with an agent, which this may have been."""
        top = self._host.dir
        if not copy.put:
            return {f"{top}/identity": OURS}
        own = instance_dir(top, copy.instance or "INSTANCE")
        return {top: OURS, f"{top}/releases": RELEASE.format(own), f"{top}/instances": ""}


@contextlib.asynccontextmanager
async def ending(sftp: asyncssh.SFTPClient, copy: _Copy) -> AsyncIterator[None]:
    """A copy that waits for its person hears it, too, when its session is over."""
    closed = asyncio.create_task(sftp.wait_closed())
    closed.add_done_callback(lambda done: None if done.cancelled() else copy.end("gone"))
    try:
        yield
    finally:
        closed.cancel()


class _Copy:
    def __init__(self, args: Mapping[str, Any], progress: Progress, path: str, user: User) -> None:
        """`path`: from the root."""
        self.path = path
        self.user = user
        self.instance = str(args.get("instance") or "")
        self.put = bool(args.get("put"))
        self.overwrite = bool(args.get("overwrite"))
        self.why = ""
        self.sent = 0
        """Bytes that were handed over."""
        self.conn: asyncssh.SSHClientConnection | None = None
        self._given = str(args.get("path"))
        self._limit = int(args["limit"])
        self._size = int(args.get("size") or 0)
        self._mode = int(args.get("mode") or 0o600)
        self._sha256 = str(args.get("sha256") or "")
        self._credit = max(0, int(args.get("credit") or 0))
        self._stall = float(args.get("stall") or 300.0)
        self._life = float(args.get("timeout") or 86400.0)
        self._progress = progress
        self._blocks: collections.deque[bytes] = collections.deque()
        self._pending = 0
        """Bytes that came and the host does not have yet."""
        self._commit: tuple[int, str] | None = None
        self._moved = time.monotonic()
        self.naming = False
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()

    # from the controller

    def take(self, data: dict[str, Any]) -> None:
        self._moved = time.monotonic()
        if "credit" in data:
            self._credit += max(0, int(data["credit"]))
        if "data" in data and self.put:
            self._blocks.append(base64.b64decode(str(data["data"])))
            self._pending += len(self._blocks[-1])
            if self._pending > MAX_PENDING:
                self.end("flooded")
        if data.get("eof") and self.put:  # what was announced, where it was
            self._commit = (int(data["size"]), self._sha256 or str(data.get("sha256")))
        self._wake.set()

    def end(self, why: str) -> None:
        self.why = self.why or why
        self._ended.set()

    async def watched(self, work: asyncio.Task[Data]) -> None:
        """Until it is over, or was ended and has cleared up. What is getting its name is not ended any more."""
        began = time.monotonic()
        over = asyncio.create_task(self._ended.wait())
        try:
            while not work.done() and not over.done():
                await asyncio.wait({work, over}, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
                if time.monotonic() - self._moved > self._stall:
                    self.end("stalled")
                elif time.monotonic() - began > self._life:
                    self.end("timeout")
            if not self.naming:
                work.cancel()
            await asyncio.wait({work})
        finally:
            over.cancel()
            work.cancel()
            await asyncio.gather(over, work, return_exceptions=True)

    # from the host

    async def get_it(self, sftp: asyncssh.SFTPClient, closed: dict[str, str]) -> Data:
        """Raises Trouble, NotConnected."""
        source = Source(sftp, self._given, self.path, self._limit)
        await source.open(closed)
        facts = source.facts
        self._begun({"path": source.path, "size": facts.st_size, "mode": facts.st_mode & 0o777})
        size, digest = 0, hashlib.sha256()
        ahead: collections.deque[tuple[int, asyncio.Task[bytes]]] = collections.deque()
        asked = room = 0
        try:
            while True:
                room = self._credit - sum(count for count, _ in ahead)
                if asked < source.most and room > 0 and (facts.st_size or not ahead):
                    count = min(BLOCK, room, source.most - asked)
                    ahead.append((count, asyncio.create_task(source.read(asked, count))))
                    asked += count
                elif ahead:
                    count, reading = ahead.popleft()
                    data = await reading
                    size += len(data)
                    digest.update(data)
                    self._tell_data(data)
                    if len(data) < count:
                        break
                elif asked >= source.most:
                    break
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            for _, reading in ahead:
                reading.cancel()
            await asyncio.gather(*(reading for _, reading in ahead), return_exceptions=True)
        changed = await source.ended(size)
        return {"path": source.path, "size": size, "sha256": digest.hexdigest(), "changed": changed}

    def _begun(self, facts: Data) -> None:
        self._moved = time.monotonic()
        self._progress({"begun": {**facts, "user": self.user.name}})

    def _tell_data(self, data: bytes) -> None:
        if data:
            self._moved = time.monotonic()
            self._credit -= len(data)
            self.sent += len(data)
            self._progress({"data": base64.b64encode(data).decode()})

    # to the host

    async def put_it(self, target: Target, closed: dict[str, str]) -> Data:
        """Raises Trouble, NotConnected."""
        await target.open(self._size, closed)
        self._begun({"path": target.path, "replaces": target.before is not None})
        size, sha256 = await self._written(target)
        if (size, sha256) != self._commit:
            text = f"{target.path}: what came is not what was announced; nothing was written there"
            raise Trouble("digest", text)
        await target.whole(self._mode, size)
        self.naming = True
        await target.name()
        return {"path": target.path, "size": size, "sha256": sha256, "changed": False}

    async def _written(self, target: Target) -> tuple[int, str]:
        """All that comes, as it comes: several blocks are on their way at once."""
        size, digest = 0, hashlib.sha256()
        ahead: collections.deque[tuple[int, asyncio.Task[None]]] = collections.deque()
        woken = asyncio.create_task(self._wake.wait())
        try:
            while self._commit is None or self._blocks or ahead:
                self._wake.clear()
                while self._blocks:
                    data = self._blocks.popleft()
                    if size + len(data) > self._limit:
                        raise Trouble("limit", f"more than the limit of {self._limit} bytes were sent")
                    digest.update(data)
                    ahead.append((len(data), asyncio.create_task(target.write(size, data))))
                    size += len(data)
                if woken.done():
                    woken = asyncio.create_task(self._wake.wait())
                waiting = {woken, ahead[0][1]} if ahead else {woken}
                if self._commit is None or ahead:
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                while ahead and ahead[0][1].done():
                    count, writing = ahead.popleft()
                    writing.result()
                    self._moved = time.monotonic()
                    self._pending -= count
                    self._progress({"took": count})
            return size, digest.hexdigest()
        finally:
            woken.cancel()
            for _, writing in ahead:
                writing.cancel()
            await asyncio.gather(woken, *(writing for _, writing in ahead), return_exceptions=True)
