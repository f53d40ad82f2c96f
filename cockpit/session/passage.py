"""A terminal here and a shell far away: keys one way, output the other, and the terminal as it was in the end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import msgspec

from cockpit.model.asking import Caller
from cockpit.plan.steps import Bad, Refused
from cockpit.session.escapes import HELP, Escapes

BLOCK = 16 * 1024
ACK = 16 * 1024
"""Bytes shown after which the far side is told that there is room."""
MAX_WAITING = 64 * 1024
"""Keys that may wait here; then the terminal keeps them."""
CALM = b"".join(b"\x1b[?%dl" % mode for mode in (1049, 1000, 1002, 1003, 1006, 1004, 2004, 1))
CALM += b"\x1b>\x1b[?25h\x1b[0m\r\n"
"""What a full-screen program that was killed could not undo any more."""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is, as whom."""

    host: str
    instance: str
    user: str
    directory: str
    program: str
    idle: float

    def head(self) -> str:
        """What stands before it: where, as whom, that it is recorded, how to leave."""
        where = f"{self.instance} on {self.host}" if self.instance else self.host
        return (
            f"{where} as {self.user}: {self.program} in {self.directory}\r\n"
            f"The journal records who is here, from when to when; not what is typed or shown.\r\n"
            f"Leave with exit, or with Enter ~ . if nothing answers; {self.idle / 60:.0f} minutes without a key "
            "end it.\r\n\r\n"
        )


class End(msgspec.Struct, frozen=True, kw_only=True):
    """`why` is empty when the program ended by itself."""

    code: int | None = None
    signal: int | None = None
    why: str = ""
    seconds: float = 0.0

    def words(self, host: str) -> str:
        """How it ended, as half a sentence."""
        match self.why:
            case "":
                if self.signal is not None:
                    return f"ended by {_signal_name(self.signal)}"
                return "ended" if self.code == 0 else f"ended with exit code {self.code}"
            case "left" | "stopped":
                return "left: what ran in it was ended"
            case "idle":
                return "ended: no key for too long"
            case "lost":
                return f"ended: contact with {host} was lost"
            case "replaced":
                return f"ended: the agent of {host} was replaced, open it again"
            case "timeout":
                return "ended: it was open for a day"
            case "flooded":
                return "ended: the program did not read what was typed"
        return f"ended: {self.why}"


class Ends:
    """Descriptors of this side. `tty`: both are a terminal, which becomes the far program's."""

    def __init__(self, keys: int, shown: int, wrong: int, *, terminal: bool) -> None:
        self.keys = keys
        self.shown = shown
        self.wrong = wrong
        self.tty = terminal

    def size(self) -> tuple[int, int]:
        """(rows, columns)."""
        try:
            size = os.get_terminal_size(self.shown)
        except OSError:
            return 24, 80
        return size.lines or 24, size.columns or 80


@contextlib.asynccontextmanager
async def opened(session: Caller, request: dict[str, Any], ends: Ends) -> AsyncIterator[Way]:
    """A shell that has begun; when the block is left it has been ended. `request` names host or instance, and argv.

    Raises Bad, Refused, ConnectionError when there is none.
    """
    rows, cols = ends.size()
    asked = {
        **request, "tty": ends.tty, "rows": rows, "cols": cols, "term": os.environ.get("TERM", "") or "xterm",
    }  # fmt: skip
    items = session.stream("shell", asked)
    try:
        first: dict[str, Any] = await anext(items)
        facts: dict[str, Any] = dict(await anext(items)).get("begun") or {}
        begun = Begun(
            host=str(first["host"]), instance=str(first["instance"]), idle=float(first["idle"]),
            **{k: _plain(str(facts.get(k, ""))) for k in ("user", "directory", "program")},
        )
        yield Way(session, str(first["shell"]), ends, begun, items, (rows, cols))
    except StopAsyncIteration:
        raise ConnectionError("the controller began no shell and did not say why") from None
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


class Way:
    """A shell that has begun, and this side of it. `told`: (rows, columns) it has begun with."""

    def __init__(
        self, session: Caller, shell: str, ends: Ends, begun: Begun, items: AsyncIterator[Any], told: tuple[int, int]
    ) -> None:
        self.begun = begun
        self._items = items
        self._told = told
        self._session = session
        self._shell = shell
        self.ends = ends
        self._escapes = Escapes()
        self._left = asyncio.Event()
        self._waiting = bytearray()
        self._eof = False
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._sized = asyncio.Event()

    async def run(self, *, signals: bool = False) -> End:
        """To its end. With `signals` SIGTERM and SIGHUP of this process end it too, and raise CancelledError."""
        me = asyncio.current_task()
        assert me is not None
        end = End(why="left")
        with contextlib.ExitStack() as stack:
            if self.ends.tty:
                stack.enter_context(raw(self.ends.keys))
                stack.enter_context(_handled(signal.SIGWINCH, self._sized.set))
            if signals:
                for number in (signal.SIGTERM, signal.SIGHUP):
                    stack.enter_context(_handled(number, me.cancel))
            work = {asyncio.create_task(w) for w in (self._read(), self._type(), self._resize())}
            show = asyncio.create_task(self._show())
            left = asyncio.create_task(self._left.wait())
            try:
                await asyncio.wait({show, left}, return_when=asyncio.FIRST_COMPLETED)
                if show.done():
                    end = show.result()
            finally:
                for task in (*work, show, left):
                    task.cancel()
                await asyncio.gather(*work, show, left, return_exceptions=True)
                if self.ends.tty and (end.why or end.signal is not None):
                    with contextlib.suppress(OSError):
                        os.write(self.ends.shown, CALM)
        return end

    async def _show(self) -> End:
        """What comes, on the terminal. The end of the controller is an end like others."""
        shown = 0
        try:
            async for item in self._items:
                if "exit" in item:
                    return msgspec.convert(item["exit"], End)
                if "data" in item:
                    data = base64.b64decode(item["data"])
                    await write(self.ends.wrong if item.get("err") else self.ends.shown, data)
                    shown += len(data)
                    if shown >= ACK:
                        await self._call("shell_took", {"bytes": shown})
                        shown = 0
        except ConnectionError as e:
            return End(why=str(e) or "the controller does not answer")
        except (ValueError, TypeError):
            return End(why="what came is not understood")
        except BrokenPipeError:  # whoever read our output has gone
            return End(why="left")
        return End(why="lost")

    async def _call(self, op: str, args: dict[str, Any]) -> None:
        """What the shell's own end says, need not be said twice."""
        with contextlib.suppress(Bad, Refused, ConnectionError):
            await self._session.call(op, {"shell": self._shell, **args})

    async def _read(self) -> None:
        async with contextlib.aclosing(blocks(self.ends.keys)) as found:
            async for keys in found:
                if self.ends.tty:
                    keys, leave, help = self._escapes.feed(keys)
                    if help:
                        await write(self.ends.shown, HELP.encode())
                    if leave:
                        self._left.set()
                        return
                self._waiting += keys
                self._more.set()
                while len(self._waiting) >= MAX_WAITING:
                    self._room.clear()
                    await self._room.wait()
        if self.ends.tty:  # the terminal itself is gone
            self._left.set()
        self._eof = True
        self._more.set()

    async def _type(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting or self._eof:
                data = bytes(self._waiting[:BLOCK])
                del self._waiting[:BLOCK]
                self._room.set()
                last = self._eof and not self._waiting
                await self._call("shell_type", {"data": base64.b64encode(data).decode(), "eof": last})
                if last:
                    return

    async def _resize(self) -> None:
        while True:
            size = self.ends.size()  # at first too: it may have changed before anybody listened
            if size != self._told:
                self._told = size
                await self._call("shell_resize", {"rows": size[0], "cols": size[1]})
            await self._sized.wait()
            self._sized.clear()


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """The terminal gives every key as it is; afterwards it is as it was."""
    try:
        before = termios.tcgetattr(fd)
    except termios.error as e:
        raise ConnectionError(f"the terminal does not answer: {e.args[-1]}") from None
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _handled(number: int, function: Callable[[], Any]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    before = signal.getsignal(number)
    loop.add_signal_handler(number, function)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)
        if before is not None:
            signal.signal(number, before)


def _plain(text: str) -> str:
    """A name from outside, safe to write to a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


async def write(fd: int, data: bytes) -> None:
    """All of it. A slow terminal holds up nobody but this shell. Raises OSError."""
    await asyncio.get_running_loop().run_in_executor(None, _write_all, fd, data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


async def blocks(fd: int) -> AsyncGenerator[bytes, None]:
    """What can be read, until its end. A thread of its own reads: any kind of file will do, none is made non-blocking
    for the other programs that have it, and one that says nothing keeps no loop from ending."""
    loop = asyncio.get_running_loop()
    found: asyncio.Queue[bytes] = asyncio.Queue(1)
    over = threading.Event()
    wake, woken = os.pipe()

    def read() -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(wake, select.POLLIN)
        data = b"."
        while data and not over.is_set():
            poll.poll()
            if over.is_set():
                break
            try:
                data = os.read(fd, BLOCK)
            except OSError:  # a terminal that was hung up
                data = b""
            try:
                asyncio.run_coroutine_threadsafe(found.put(data), loop).result()
            except BaseException:  # the loop has ended, or nobody wants it
                break
        os.close(wake)

    thread = threading.Thread(target=read, name="keys", daemon=True)
    thread.start()
    try:
        while data := await found.get():
            yield data
    finally:
        over.set()
        os.close(woken)
        while not found.empty():
            found.get_nowait()


def standard(*, terminal: bool | None = None) -> Ends:
    """Standard input and output of this process; a terminal when both are."""
    is_one = os.isatty(0) and os.isatty(1) if terminal is None else terminal
    sys.stdout.flush()
    return Ends(0, 1, 2, terminal=is_one)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
