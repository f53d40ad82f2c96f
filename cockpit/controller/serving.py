"""Running a controller as a process: its lock, its sockets, its signals."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from cockpit.act.journal import Tampered
from cockpit.agent.files import make_dir
from cockpit.agent.keeper_client import answers
from cockpit.artifacts.packed import Damaged
from cockpit.controller.collecting import Collecting
from cockpit.controller.core import Controller, open_backend
from cockpit.history.writing import Limits
from cockpit.memory import one_arena
from cockpit.model.topology import Expected, to_doc
from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Intent, Refused
from cockpit.session.server import SessionServer, user_groups, user_name

LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path."""
HOSTS_LIMIT = 30.0
"""Seconds to wait for the hosts of this machine before starting on those that answer."""


class Options(msgspec.Struct, kw_only=True):
    state: Path
    file: str = ""
    address: str = "127.0.0.1"
    port: int = 0
    hosts: Path | None = None
    text: str = ""
    """The file as it was written, for its comments and its order."""
    backend: str = "sqlite"
    operators: str = ""
    """Unix group of people who may submit and approve, by a socket of their own; empty: there is none."""
    history: Limits = Limits()


def here() -> Who:
    """The person who started this process, with control."""
    uid = os.getuid()
    return Who(
        author=f"{user_name(uid)}@{os.uname().nodename}", role="operator", uid=uid, groups=user_groups(uid)
    )


@contextlib.contextmanager
def lock(state: Path) -> Iterator[None]:
    """One controller per state directory. Raises Refused when another one has it."""
    make_dir(str(state), 0o710)  # the group reaches the view socket
    path = state / "controller.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(fd, 32).decode(errors="replace").strip()
            raise Refused(f"a controller already runs on {state} (pid {pid or 'unknown'})") from None
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        yield
    finally:
        os.close(fd)


@contextlib.asynccontextmanager
async def controller(options: Options, expected: Expected | None) -> AsyncIterator[Controller]:
    """A started controller with its sockets. An empty state imports `expected` and starts it all.

    Raises Refused when another controller has the state, the port is taken, or the state is not sound;
    Bad when the sockets cannot have their place.
    """
    if len(os.fsencode(options.state / "control.sock")) > LONGEST_SOCKET:
        raise Bad(
            f"{options.state}: this path is too long for Unix sockets (at most {LONGEST_SOCKET} bytes with"
            " /control.sock): choose a shorter one with --state DIR"
        )
    one_arena()
    with lock(options.state):
        store = open_backend("cockpit.state", options.backend)(options.state)
        try:
            c = Controller(options.state, store, hosts=options.hosts, history=options.history)
            await c.start(expected.name if expected else "cluster", address=options.address, port=options.port)
        except (OSError, Tampered, ValueError, Damaged) as e:
            await store.close()
            raise Refused(f"the controller cannot start: {_trouble(e, options.state)}") from None
        server = SessionServer(options.state, c.session, operators=options.operators)
        collecting = Collecting()
        collecting.start()
        try:
            if c.world.revision == 0:
                lost_state(options.state, c.hosts_root)
            await server.start()
            if c.world.revision == 0 and expected is not None:
                await first_import(c, expected, options.file, options.text)
            yield c
        finally:
            collecting.stop()
            await server.stop()
            await c.stop()


def lost_state(state: Path, hosts: Path) -> None:
    """Raises Refused when the state is empty but hosts of this machine run by a head revision: a file would
    be older than what it starts from."""
    held = sorted(p.parent for p in hosts.glob("*/head.json") if answers(p.parent))
    if held:
        raise Refused(
            f"{state} is empty, but hosts in {hosts} ({', '.join(h.name for h in held[:3])}) run by an earlier "
            f"state: get it back with cockpit recover --state {state}"
        )


def _trouble(e: Exception, state: Path) -> str:
    if isinstance(e, Tampered):
        return f"{state / 'journal.jsonl'}: {e}"
    if isinstance(e, OSError) and e.strerror:
        return f"{e.filename}: {e.strerror}" if e.filename else e.strerror
    return str(e)


async def first_import(c: Controller, expected: Expected, source: str, text: str = "") -> None:
    """The first revision is the file, and it is carried out: nothing else was ever asked for."""
    session = c.session(here())
    written = {"text": text} if text else {}
    intent = Intent(verb="apply", params={"document": to_doc(expected), "source": source, **written})
    row = await session.submit(intent)
    c.runner.spawn(start_all(c, row.id))


async def start_all(c: Controller, cause: str) -> None:
    """Once the hosts of this machine answer, start what the first revision expects."""
    local = {n for n, h in c.world.expected.hosts.items() if h.connection == "local"}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HOSTS_LIMIT):
            while not local <= set(c.world.up()):
                await asyncio.sleep(0.05)
    try:
        await c.desk.derived(Intent(verb="converge", author=here().author, cause=cause))
    except (Bad, Refused) as e:
        if not c.runner.running:  # otherwise somebody was faster: what is left shows as drift
            c.hint = f"nothing was started: {e}"


def on_signals(stop: asyncio.Event) -> None:
    """SIGTERM, SIGINT and a closed terminal set `stop`."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)


async def either(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(e.wait()) for e in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def serve_until_signal(
    options: Options, expected: Expected | None, *, say: Callable[[str], None]
) -> int:
    """`cockpit serve`. Exit 0 on a signal, 1 when the controller had to stop by itself."""
    stop = asyncio.Event()
    async with controller(options, expected) as c:
        on_signals(stop)
        name, rev = c.world.expected.name, c.world.revision
        say(f"controller of {name} listens on {c.url}, state {options.state}, rev {rev}")
        if c.world.revision == 0:
            say("no topology yet: cockpit apply FILE")
        await either(stop, c.ended)
        if c.why:
            say(c.why)
        return 1 if c.lost else 0


async def serve_with_screen(
    options: Options, expected: Expected | None, screen: Callable[[Any], Awaitable[int]]
) -> int:
    """`cockpit run --embed`: everything in one process; services outlive it."""
    async with controller(options, expected) as c:
        return await shown(c, screen)


async def shown(c: Controller, screen: Callable[[Any], Awaitable[int]]) -> int:
    """Show a screen until it closes, a signal comes (a closed terminal too), or the controller ends."""

    async def code() -> int:
        return await screen(c.session(here()))

    stop = asyncio.Event()
    on_signals(stop)
    face, ended = asyncio.create_task(code()), asyncio.create_task(either(stop, c.ended))
    await asyncio.wait([face, ended], return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if not face.done():
        face.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await face
    return 0
