"""What every suite shares: waiting for conditions, free addresses, processes that end."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import inspect
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PAUSE = 0.01
"""Seconds between two looks at a condition."""
DEAR = 0.1
"""The same where a look starts a process, or goes through all of them: it must not starve what is waited for."""
PATIENCE = 40.0
"""Seconds before a wait gives up: far beyond what a busy machine needs, and no part of what is tested."""


def wait_for(condition: Callable[[], T], timeout: float = PATIENCE, what: str = "", *, pause: float = PAUSE) -> T:
    """The first true answer of `condition`. AssertionError when there is none in `timeout` seconds.

    Less than PATIENCE counts as PATIENCE: a wait that gives up sooner fails on a busy machine and finds nothing more.
    """
    deadline = time.monotonic() + max(timeout, PATIENCE)
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(_late(condition, max(timeout, PATIENCE), what, answer))
        time.sleep(pause)
    return answer


async def until(condition: Callable[[], T | Awaitable[T]], timeout: float = PATIENCE, what: str = "") -> T:
    """`wait_for` for coroutines; the condition may be one itself."""
    deadline = time.monotonic() + max(timeout, PATIENCE)
    while True:
        found = condition()
        answer: T = await found if inspect.isawaitable(found) else found
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(_late(condition, max(timeout, PATIENCE), what, answer))
        await asyncio.sleep(PAUSE)


def _late(condition: Callable[[], Any], timeout: float, what: str, answer: object) -> str:
    name = what or getattr(condition, "__qualname__", repr(condition))
    return f"after {timeout:g} s still not: {name} (last answer: {answer!r})"


_hosts = itertools.count(1)


def loopback() -> str:
    """A loopback address that no other test of this process gets, and hardly one of another."""
    n = next(_hosts)
    return f"127.{64 + os.getpid() % 128}.{n // 250 % 250}.{n % 250 + 1}"


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at `address` now."""
    with socket.socket() as s:
        s.bind((address, 0))
        return int(s.getsockname()[1])


def answers(address: str, port: int) -> bool:
    """Does something accept connections there?"""
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((address, port)) == 0


def alive(pid: int) -> bool:
    """Does a process with this pid run? A zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def sshd_below(pid: int) -> list[int]:
    """Pids of the processes that serve connections of the sshd that listens. A login that is not root's has two, one
    below the other: a connection ends when both are killed."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().startswith("sshd"):
                found += [int(child), *sshd_below(int(child))]
    return found


def sshd_opens_terminals() -> bool:
    """An sshd that is not root's cannot give a terminal to the group tty: devpts must do that (its `gid=5`)."""
    if os.geteuid() == 0:
        return True
    try:
        ours, theirs = os.openpty()
    except OSError:
        return False
    try:
        return os.fstat(theirs).st_gid == grp.getgrnam("tty").gr_gid
    finally:
        os.close(ours)
        os.close(theirs)


@contextlib.contextmanager
def running(argv: Sequence[str], grace: float = PATIENCE, **popen: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process for the time of a `with` block: SIGTERM at its end, SIGKILL after `grace` seconds."""
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with subprocess.Popen(argv, **(quiet | popen)) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
