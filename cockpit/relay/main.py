"""The relay's process: `python -I -m cockpit.relay --dir DIR`. One identity, one region, and two parts on one loop:

the swarm (artifacts), and, where `link_port` is set, the links of agents.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import resource
import signal
import ssl
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.agent.files import make_dir, write_atomic, write_json
from cockpit.agent.identity import IdentityError
from cockpit.agent.renewal import Renewal
from cockpit.swarm import tls
from cockpit.swarm.relay import Relay
from cockpit.swarm.settings import BadSettings, Settings

if TYPE_CHECKING:
    from cockpit.relay.service import LinkPart

DONE, BAD, TAKEN = 0, 2, 3
LOCK_WAIT = 2.0
"""Seconds: somebody who only looks whether a relay runs holds the lock for a moment."""
FILES = 65536
OPTIONS = ("region", "address", "port", "cache", "rate", "upstream", "link_port", "link_upstream")
SWARM = ("region", "address", "port", "cache", "rate", "upstream", "upstream_address", "upstream_port")
"""What the swarm part is made from."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is given here goes before DIR/relay.json."""
    parser.add_argument("--dir", required=True, help="the relay's directory: identity/, relay.json, cache/")
    parser.add_argument("--region", help="the region it serves")
    parser.add_argument("--address", help="where it listens")
    parser.add_argument("--port", type=int, help="where it listens for artifacts; 0 is any free port")
    parser.add_argument("--upstream", metavar="[RELAY@]HOST:PORT", help="whom it asks; without RELAY@ the origin")
    parser.add_argument("--cache", type=int, metavar="BYTES", help="how much it keeps")
    parser.add_argument("--rate", type=int, metavar="BYTES", help="what it sends a second; 0 is unlimited")
    parser.add_argument("--link-port", type=int, help="where it listens for agents; 0 is any free port")
    parser.add_argument(
        "--link-upstream", action="append", metavar="URL", help="the controller, or a relay above; may be repeated"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cockpit.relay", description="A region's relay.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM. 0 done, 2 it cannot serve so, 3 another relay serves the directory."""
    os.umask(0o077)
    directory = str(Path(args.dir).absolute())
    make_dir(directory)
    try:
        given = {name: getattr(args, name) for name in OPTIONS}
        settings = Settings.load(directory).merged(given).complete()
        identity = tls.load(str(Path(directory) / "identity"))
    except FileNotFoundError:
        return _bad(f"{directory} has no identity: join first, with `cockpit relay --dir {directory} --join TOKEN`")
    except (BadSettings, ValueError, ssl.SSLError, OSError) as e:
        return _bad(str(e))
    lock = _lock(directory)
    if lock is None:
        return _bad(f"another relay serves {directory}", TAKEN)
    try:
        asyncio.run(_serve(directory, settings, identity))
    except (OSError, IdentityError) as e:
        return _bad(str(e))
    finally:
        os.close(lock)
    return DONE


class Process:
    """The parts, and what happens to them when the controller says other settings."""

    def __init__(self, directory: str, settings: Settings, identity: tls.Identity) -> None:
        self.directory, self.settings, self.identity = directory, settings, identity
        self.port = 0
        self.swarm: Relay | None = None
        self.link: LinkPart | None = None
        self.revoked: frozenset[str] = frozenset()
        """UUIDs that nobody speaks with any more."""
        self._wanted = settings
        self._changed = asyncio.Event()
        self._renewal: Renewal | None = None
        self._work: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises OSError when it cannot listen or the cache cannot be used."""
        await self._start_swarm(self.settings)
        if self.settings.link_port is not None:
            from cockpit.relay.service import LinkPart  # aiohttp is heavy where no links are carried

            self.link = LinkPart(self.directory, self.settings, say)
            self.link.switch.on_settings = self.told
            self.link.switch.on_revoked = self._revoked
            self._keep_certificate(self.link)
            await self.link.start()

    def _keep_certificate(self, link: LinkPart) -> None:
        """It renews itself over the link; new connections of both parts show the new one."""
        mine = link.identity
        renewal = Renewal(mine.dir, mine.name, mine.uuid, partial(self._ask_renewal, link), say)
        renewal.on_renewed = link.renewed
        link.on_upstream = renewal.connected
        self._renewal = renewal
        self._work.add(asyncio.create_task(renewal.run()))

    def _ask_renewal(self, link: LinkPart, frame: dict[str, Any]) -> None:
        def answer(ok: bool, body: dict[str, Any]) -> None:
            assert self._renewal is not None
            told = {"t": "certificate", **body} if ok else {"error": str(body.get("error") or "no reason given")}
            task = asyncio.create_task(self._renewal.frame(told))
            self._work.add(task)
            task.add_done_callback(self._work.discard)

        link.switch.ask("renew", {"csr": frame["csr"]}, answer)

    def _revoked(self, uuids: frozenset[str]) -> None:
        self.revoked = uuids
        if self.swarm is not None:
            self.swarm.revoke(uuids)

    async def stop(self) -> None:
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        if self.link is not None:
            await self.link.stop()
        if self.swarm is not None:
            await self.swarm.stop()

    def told(self, doc: dict[str, Any]) -> None:
        """What relay.json should hold from now on."""
        try:
            self._wanted = Settings.of(doc).complete()
        except BadSettings as e:
            say(f"the controller's settings make no sense: {e}")
            return
        self._changed.set()

    async def follow(self) -> None:
        """Apply what was told, and keep it for the next start."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted, before = self._wanted, self.settings
            if wanted == before:
                continue
            self.settings = wanted
            troubles = []
            try:
                write_json(str(Path(self.directory) / "relay.json"), wanted.doc())
                say("the controller gave other settings")
                if any(getattr(wanted, name) != getattr(before, name) for name in SWARM):
                    await self._again(wanted, before)
            except OSError as e:
                troubles.append(str(e))
            if self.link is not None and wanted.link_port is not None:
                try:
                    await self.link.apply(wanted)
                except OSError as e:
                    troubles.append(str(e))
            elif (self.link is None) != (wanted.link_port is None):
                troubles.append("link_port: start the relay again")
            if self.link is not None:
                self.link.switch.note = "; ".join(troubles)
            for trouble in troubles:
                say(f"settings that do not do: {trouble}")

    async def _again(self, wanted: Settings, before: Settings) -> None:
        """The swarm part anew; what it was moving goes on from the cache. Raises OSError: then it is as before."""
        assert self.swarm is not None
        await self.swarm.stop()
        try:
            await self._start_swarm(wanted)
        except OSError:
            await self._start_swarm(before)
            raise

    async def _start_swarm(self, settings: Settings) -> None:
        relay = Relay(str(Path(self.directory) / "cache"), settings, self.identity, say)
        try:
            self.port = _listen(relay, self.directory, settings)
        except BaseException:
            await relay.stop()
            raise
        write_atomic(str(Path(self.directory) / "relay.port"), f"{self.port}\n".encode(), sync=False)
        relay.start()
        self.swarm = relay
        if self.revoked:
            relay.revoke(self.revoked)


async def _serve(directory: str, settings: Settings, identity: tls.Identity) -> None:
    """Raises OSError when it cannot listen or the cache cannot be used."""
    _more_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    process = Process(directory, settings, identity)
    following: asyncio.Task[None] | None = None
    try:
        await process.start()
        following = asyncio.create_task(process.follow())
        ready = {"port": process.port}
        if process.link is not None:
            ready["link_port"] = process.link.port
        sys.stdout.write(json.dumps({"ready": ready}) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
        await process.stop()


def _listen(relay: Relay, directory: str, settings: Settings) -> int:
    """With any port allowed, the one of before is tried first: that is where the region's hosts look."""
    ports = [settings.port]
    if not settings.port:
        with contextlib.suppress(OSError, ValueError):
            ports.insert(0, int((Path(directory) / "relay.port").read_text()))
    for port in ports[:-1]:
        try:
            return relay.listen(settings.address, port)
        except (OSError, OverflowError):
            continue
    return relay.listen(settings.address, ports[-1])


def _lock(directory: str) -> int | None:
    """Hold DIR/relay.lock with our pid in it for as long as we live. None when another has it."""
    fd = os.open(Path(directory) / "relay.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                os.close(fd)
                return None
            time.sleep(0.02)
            continue
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        return fd


def _more_files() -> None:
    """A large region has some connections for each host, and 1024 descriptors is what many systems begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    sys.stderr.flush()


def _bad(text: Any, code: int = BAD) -> int:
    sys.stderr.write(f"cockpit relay: {text}\n")
    sys.stderr.flush()
    return code
