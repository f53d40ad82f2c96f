"""The way through a terminal: the keys that are ours, the terminal given back, slow ends."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cockpit.plan.steps import Bad, Refused
from cockpit.session.escapes import Escapes
from cockpit.session.passage import End, Ends, opened
from tests.helpers import until


@pytest.mark.parametrize(("keys", "passed", "leave", "help"), [
    ([b"ls\r"], b"ls\r", False, False),
    ([b"~."], b"", True, False),
    ([b"ls\r~."], b"ls\r", True, False),
    ([b"ls\r~", b"."], b"ls\r", True, False),
    ([b"a~."], b"a~.", False, False),
    ([b"~~.x"], b"~.x", False, False),
    ([b"~?~."], b"", True, True),
    ([b"~a~."], b"~a~.", False, False),
    ([b"cd ~\r~/bin\r"], b"cd ~\r~/bin\r", False, False),
    ([b"x\x03~."], b"x\x03", True, False),
])  # fmt: skip
def test_the_keys_that_are_ours(keys: list[bytes], passed: bytes, leave: bool, help: bool) -> None:
    escapes, out, left, helped = Escapes(), b"", False, False
    for block in keys:
        more, gone, asked = escapes.feed(block)
        out, left, helped = out + more, left or gone, helped or asked
    assert (out, left, helped) == (passed, leave, help)


def test_an_end_in_words() -> None:
    assert End(code=0).words("h-1") == "ended"
    assert End(code=3).words("h-1") == "ended with exit code 3"
    assert End(signal=9).words("h-1") == "ended by SIGKILL"
    assert "contact with h-1 was lost" in End(why="lost").words("h-1")
    assert "told so" in End(why="told so").words("h-1")


class Far:
    """The other side of a session: what it says stands in `says`."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[Any] = asyncio.Queue()
        self.typed = bytearray()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.asked: dict[str, Any] = {}
        self.closed = False

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any:
        assert args is not None
        self.calls.append((op, args))
        if op == "shell_type":
            self.typed += base64.b64decode(args["data"])
        return {}

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        assert op == "shell" and args is not None
        self.asked = args
        try:
            yield {"shell": "s-1", "host": "h-1", "instance": "", "idle": 3600.0}
            yield {"begun": {"user": "root\x1b[2J", "directory": "/srv", "program": "/bin/sh", "pid": 1}}
            while True:
                item = await self.says.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed = True


class Here:
    """A terminal of ours: what a person at it would type and see."""

    def __init__(self) -> None:
        self.person, self.fd = pty.openpty()
        os.set_blocking(self.person, False)
        self.ends = Ends(self.fd, self.fd, self.fd, terminal=True)
        self.before = termios.tcgetattr(self.fd)
        self.seen = bytearray()

    def look(self) -> bytes:
        try:
            self.seen += os.read(self.person, 65536)
        except BlockingIOError:
            pass
        return bytes(self.seen)

    def resize(self, rows: int, cols: int) -> None:
        fcntl.ioctl(self.person, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.fd)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.person)


@pytest.fixture
def here() -> Any:
    here = Here()
    yield here
    here.close()


def data(raw: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(raw).decode()}


async def test_through_and_back(here: Here) -> None:
    far = Far()
    async with opened(far, {"host": "h-1", "argv": []}, here.ends) as way:
        assert way.begun.user == "root?[2J"  # nothing of the far side draws in our sentence
        assert "h-1 as root" in way.begun.head() and "Enter ~ ." in way.begun.head()
        work = asyncio.create_task(way.run())
        await until(here.is_raw)
        os.write(here.person, b"ls\x03\r")
        await until(lambda: far.typed == b"ls\x03\r")
        far.says.put_nowait(data(b"x" * 50_000))
        await until(lambda: (here.look(), ("shell_took", {"shell": "s-1", "bytes": 50_000}) in far.calls)[1])
        here.resize(33, 99)
        os.kill(os.getpid(), signal.SIGWINCH)
        await until(lambda: ("shell_resize", {"shell": "s-1", "rows": 33, "cols": 99}) in far.calls)
        far.says.put_nowait({"exit": {"code": 0, "signal": None, "why": "", "seconds": 1.0}})
        assert (await work).words("h-1") == "ended"
        assert b"\x1b[?1049l" not in here.look()
    assert far.asked["tty"] and far.asked["host"] == "h-1" and far.closed
    assert termios.tcgetattr(here.fd) == here.before


async def test_a_window_that_changed_while_the_shell_began(here: Here) -> None:
    far = Far()
    here.resize(24, 80)
    async with opened(far, {"host": "h-1"}, here.ends) as way:
        assert (far.asked["rows"], far.asked["cols"]) == (24, 80)
        here.resize(33, 99)  # nobody listens to SIGWINCH yet
        work = asyncio.create_task(way.run())
        await until(lambda: far.calls == [("shell_resize", {"shell": "s-1", "rows": 33, "cols": 99})])
        far.says.put_nowait({"exit": {"code": 0, "signal": None, "why": "", "seconds": 1.0}})
        await work


@pytest.mark.parametrize("how", ["lost", "controller gone", "left", "cancelled", "it breaks"])
async def test_the_terminal_is_given_back_whatever_happens(here: Here, how: str) -> None:
    far = Far()
    async with opened(far, {"host": "h-1"}, here.ends) as way:
        work = asyncio.create_task(way.run())
        await until(here.is_raw)
        if how == "cancelled":
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
        else:
            if how == "left":
                os.write(here.person, b"\r~.")
            else:
                gone = ConnectionError("the controller went away")
                says = {"lost": {"exit": {"why": "lost"}}, "controller gone": gone, "it breaks": {"data": "x"}}
                far.says.put_nowait(says[how])
            end = await work
            other = {"controller gone": "the controller went away", "it breaks": "what came is not understood"}
            assert end.why == other.get(how, how)
            await until(lambda: b"\x1b[?1049l" in here.look())  # what a program could not undo
    assert far.closed and termios.tcgetattr(here.fd) == here.before


@pytest.mark.parametrize("error", [Refused("no shell on h-1"), Bad("no host"), ConnectionError("no answer")])
async def test_what_was_refused_never_touches_the_terminal(here: Here, error: Exception) -> None:
    class Refusing(Far):
        async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
            raise error
            yield

    with pytest.raises(type(error), match=str(error)):
        async with opened(Refusing(), {"host": "h-1"}, here.ends):
            raise AssertionError("unreachable")
    assert termios.tcgetattr(here.fd) == here.before and here.look() == b""
