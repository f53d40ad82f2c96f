"""Shells on a host without an agent: a session of SSH, with the words and frames of the plug-in `shell`.

What an agent ends, sshd only hangs up: a program that ignores that runs on (docs/shell.md).
"""

from __future__ import annotations

import asyncio
import base64
import shlex
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.ssh import scripts
from backends.ssh.lasting import Open
from backends.ssh.look import place_of
from backends.ssh.pool import NotConnected
from cockpit.agent.plugins.facts import HINTS, MARK
from cockpit.agent.prepare import environment, instance_dir, template_values
from cockpit.agent.tasks import CommandError, Data, Progress

if TYPE_CHECKING:
    pass

MOST = 2
"""At once on one host: sshd's MaxSessions is 10, and looking needs sessions too."""
BLOCK = 16 * 1024
MAX_PENDING = 256 * 1024
LOOK = 0.5
NOT_OURS = ("COCKPIT_AGENT_SOCKET", "COCKPIT_NAMES_CACHE", MARK)
END_WAIT = 5.0


class Shells(Open["_Shell"]):
    async def shell(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """As the plug-in's. Raises CommandError, NotConnected."""
        import asyncssh

        host, task = self._host, str(args.get("task") or "")
        if len(self._open) >= MOST:
            raise CommandError("busy", f"{MOST} shells are open on {host.name} already, and it has no agent for more")
        argv = [str(a) for a in args.get("argv") or ()]
        command, directory = self._command(str(args.get("instance") or ""), argv)
        shell = self._open[task] = _Shell(args, progress)
        began = time.monotonic()
        try:
            async with host.kept.channel(lasting=True) as conn:
                terminal: dict[str, Any] = {}
                if shell.tty:
                    size = (int(args.get("cols") or 80), int(args.get("rows") or 24))
                    terminal = {"term_type": str(args.get("term") or "xterm"), "term_size": size}
                try:
                    process = await conn.create_process(command, encoding=None, **terminal)
                except asyncssh.ChannelOpenError as e:
                    raise CommandError("failed", f"it opens no session: {e.reason}") from None
                progress({"begun": {
                    "pid": None, "user": str(conn.get_extra_info("username") or ""), "directory": directory,
                    "program": argv[0] if argv else "the login shell",
                }})  # fmt: skip
                try:
                    await shell.run(process)
                except (asyncssh.Error, OSError) as e:
                    raise NotConnected(f"the connection broke: {e}") from None
        finally:
            del self._open[task]
        return {**shell.how(process), "seconds": round(time.monotonic() - began, 3), "bytes": shell.sent}

    def _command(self, instance: str, argv: list[str]) -> tuple[str | None, str]:
        """(what SSH carries: None is the login shell, where it begins). Raises CommandError."""
        if not instance:
            return (shlex.join(argv) if argv else None), "its home"
        host = self._host
        record = host.newest(instance)
        spec, place = record["spec"], place_of(record, host.dir, host.address)
        own = instance_dir(host.dir, instance)
        env = environment(spec, place, None, template_values(spec, place, own))
        words = ["env", *(f"{k}={v}" for k, v in env.items() if k.startswith(HINTS) and k not in NOT_OURS)]
        if record.get("uid") is not None:
            words += [f"HOME={record.get('home') or '/'}", "setpriv", f"--reuid={record['uid']}"]
            words += [f"--regid={record['gid']}", "--init-groups", "--"]
            argv = argv or ["/bin/sh"]
        directory = place.release or own
        return scripts.command(scripts.ENTER, directory, "given" if argv else "login", *words, *argv), directory


class _Shell:
    def __init__(self, args: Mapping[str, Any], progress: Progress) -> None:
        self.tty = bool(args.get("tty", True))
        self.sent = 0
        self.why = ""
        self._credit = max(0, int(args.get("credit") or 0))
        self._idle = float(args.get("idle") or 3600.0)
        self._life = float(args.get("timeout") or 86400.0)
        self._progress = progress
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._pending = 0
        self._typed = time.monotonic()
        self._room = asyncio.Event()
        self._ended = asyncio.Event()

    def take(self, data: dict[str, Any]) -> None:
        if "credit" in data:
            self._credit += max(0, int(data["credit"]))
            self._room.set()
        if "data" in data:
            self._typed = time.monotonic()
            self._pending += len(str(data["data"]))
        if self._pending > MAX_PENDING:
            self.end("flooded")
        else:
            self._waiting.put_nowait(data)

    def end(self, why: str) -> None:
        self.why = self.why or why
        self._ended.set()

    async def run(self, process: Any) -> None:
        """Until the far program has ended, or must. Raises asyncssh.Error, OSError."""
        began = time.monotonic()
        typing = asyncio.create_task(self._type(process))
        reads = [asyncio.create_task(self._read(process.stdout, "out"))]
        if not self.tty:
            reads.append(asyncio.create_task(self._read(process.stderr, "err")))
        closed = asyncio.create_task(process.wait_closed())
        over = asyncio.create_task(self._ended.wait())
        try:
            while not closed.done() and not self._ended.is_set():
                await asyncio.wait({closed, over}, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
                if self.tty and time.monotonic() - self._typed > self._idle:
                    self.end("idle")
                elif time.monotonic() - began > self._life:
                    self.end("timeout")
            if self._ended.is_set():
                process.send_signal("HUP")
                process.close()
                await asyncio.wait({closed}, timeout=END_WAIT)
            else:
                await asyncio.gather(*reads)
        finally:
            process.close()
            for task in (typing, *reads, closed, over):
                task.cancel()
            await asyncio.gather(typing, *reads, closed, over, return_exceptions=True)

    async def _read(self, reader: Any, name: str) -> None:
        while True:
            while self._credit <= 0:
                self._room.clear()
                await self._room.wait()
            data = await reader.read(min(BLOCK, self._credit))
            if not data:
                return
            self._credit -= len(data)
            self.sent += len(data)
            self._progress({name: base64.b64encode(data).decode()})

    async def _type(self, process: Any) -> None:
        while True:
            data = await self._waiting.get()
            if "rows" in data and self.tty:
                process.change_terminal_size(int(data["cols"]), int(data["rows"]))
            if "data" in data:
                self._pending -= len(str(data["data"]))
                raw = base64.b64decode(str(data["data"]))
                try:
                    process.stdin.write(raw)
                    await process.stdin.drain()
                except (BrokenPipeError, ConnectionError):
                    pass  # nobody reads any more
                self._progress({"took": len(raw)})
            if data.get("eof") and not self.tty:
                process.stdin.write_eof()

    def how(self, process: Any) -> Data:
        """{"code","signal","why"}"""
        given = process.exit_signal
        number = getattr(signal, f"SIG{given[0]}", None) if given else None
        code = process.exit_status if process.exit_status is not None and process.exit_status >= 0 else None
        if code is None and number is None and not self.why:
            self.why = "lost"
        return {"code": code, "signal": int(number) if number is not None else None, "why": self.why}
