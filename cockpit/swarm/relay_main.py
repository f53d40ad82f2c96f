"""The relay's process: one identity, one region, one upstream, and the parts that live on them.

Today the swarm is its only part.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import resource
import signal
import ssl
import sys
import time
from typing import Any, List, Optional

from cockpit.agent.files import make_dir, write_atomic
from cockpit.swarm import tls
from cockpit.swarm.relay import Relay
from cockpit.swarm.settings import BadSettings, Settings

DONE, BAD, TAKEN = 0, 2, 3
LOCK_WAIT = 2.0
"""Seconds: somebody who only looks whether a relay runs holds the lock for a moment."""
FILES = 65536
OPTIONS = ("region", "address", "port", "cache", "rate", "upstream")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is given here goes before DIR/relay.json."""
    parser.add_argument("--dir", required=True, help="the relay's directory: identity/, relay.json, cache/")
    parser.add_argument("--region", help="the region it serves")
    parser.add_argument("--address", help="where it listens")
    parser.add_argument("--port", type=int, help="where it listens; 0 is any free port")
    parser.add_argument("--upstream", metavar="[RELAY@]HOST:PORT", help="whom it asks; without RELAY@ the origin")
    parser.add_argument("--cache", type=int, metavar="BYTES", help="how much it keeps")
    parser.add_argument("--rate", type=int, metavar="BYTES", help="what it sends a second; 0 is unlimited")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM. 0 done, 2 it cannot serve so, 3 another relay serves the directory."""
    os.umask(0o077)
    directory = os.path.abspath(args.dir)
    make_dir(directory)
    try:
        given = {name: getattr(args, name) for name in OPTIONS}
        settings = Settings.load(directory).merged(given).complete()
        identity = tls.load(os.path.join(directory, "identity"))
    except FileNotFoundError:
        return _bad(f"{directory} has no identity: join first, with `cockpit relay --dir {directory} --join TOKEN`")
    except (BadSettings, ValueError, ssl.SSLError, OSError) as e:
        return _bad(str(e))
    lock = _lock(directory)
    if lock is None:
        return _bad(f"another relay serves {directory}", TAKEN)
    try:
        asyncio.run(_serve(directory, settings, identity))
    except OSError as e:
        return _bad(str(e))
    finally:
        os.close(lock)
    return DONE


async def _serve(directory: str, settings: Settings, identity: tls.Identity) -> None:
    """Raises OSError when it cannot listen or the cache cannot be used."""
    _more_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    relay = Relay(os.path.join(directory, "cache"), settings, identity, _say)
    try:
        port = _listen(relay, directory, settings)
        write_atomic(os.path.join(directory, "relay.port"), f"{port}\n".encode(), sync=False)
        relay.start()
        print(json.dumps({"ready": {"port": port}}), flush=True)
        await stop.wait()
    finally:
        await relay.stop()


def _listen(relay: Relay, directory: str, settings: Settings) -> int:
    """With any port allowed, the one of before is tried first: that is where the region's hosts look."""
    ports: List[int] = [settings.port]
    if not settings.port:
        try:
            with open(os.path.join(directory, "relay.port")) as f:
                ports.insert(0, int(f.read(16)))
        except (OSError, ValueError):
            pass
    for port in ports[:-1]:
        try:
            return relay.listen(settings.address, port)
        except (OSError, OverflowError):
            continue
    return relay.listen(settings.address, ports[-1])


def _lock(directory: str) -> Optional[int]:
    """Hold DIR/relay.lock with our pid in it for as long as we live. None when another has it."""
    fd = os.open(os.path.join(directory, "relay.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _bad(text: Any, code: int = BAD) -> int:
    print(f"cockpit relay: {text}", file=sys.stderr, flush=True)
    return code
