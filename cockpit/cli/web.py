"""`cockpit web`: the screens in a browser, on loopback, read-only unless asked otherwise."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from cockpit.cli.common import BAD, DONE, Fail, add_state, connect, drive, say, state_dir, warn
from cockpit.cli.snapshot import write_private

PORT = 8377
SESSIONS, MOST = 4, 64
CONTROL = (
    "--control: whoever opens the link can change the cluster as you, start your own actions and write your files. "
    "End it when you are done."
)


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "web", help="Serve the screens to a browser, on loopback, read-only.",
        description="Prints a link that works once; the next one is printed when it was used. From another machine: "
        "ssh -L 8377:127.0.0.1:8377 HOST. Ends with Ctrl+C, and its screens with it.",
        epilog="Example: cockpit web --listen 127.0.0.1:8377",
    )
    parser.add_argument(
        "--listen", default=f"127.0.0.1:{PORT}", metavar="ADDRESS:PORT", help=f"a loopback address (127.0.0.1:{PORT})"
    )
    parser.add_argument("--control", action="store_true", help="the browser may change things: as you, without more")
    parser.add_argument("--sessions", type=int, default=SESSIONS, metavar="N", help="screens at once (default: 4)")
    parser.add_argument(
        "--origin", action="append", default=[], metavar="URL", help="a proxy's: https://cockpit.example.org"
    )
    parser.add_argument("--link-file", metavar="FILE", default="", help="write the link there (0600) instead")
    parser.add_argument("--theme", default=None, help="dark, light, ansi16 or mono")
    add_state(parser, ssh=False)
    parser.set_defaults(run=run, ssh=None)


def run(args: argparse.Namespace) -> int:
    address, port = listen(args.listen)
    if not 1 <= args.sessions <= MOST:
        raise Fail(BAD, f"--sessions: {args.sessions} is no number from 1 to {MOST}")
    if not args.link_file and not sys.stdout.isatty():
        raise Fail(BAD, "stdout is no terminal, and a log is no place for a link: say --link-file FILE")
    state = state_dir(args)
    return drive(lambda: _serve(args, address, port, state))


def listen(text: str) -> tuple[str, int]:
    """Address and port. Raises Fail for what others could reach."""
    found = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]]*)):(?P<port>\d{1,5})", text)
    if not found or int(found["port"]) > 65535:
        raise Fail(BAD, f"--listen: {text!r} is no ADDRESS:PORT; for example 127.0.0.1:{PORT}")
    name = found["six"] or found["name"] or "127.0.0.1"
    try:
        address = ipaddress.ip_address("127.0.0.1" if name == "localhost" else name)
    except ValueError:
        raise Fail(BAD, f"--listen: {name!r} is no address; for example 127.0.0.1:{found['port']}") from None
    if not address.is_loopback:
        raise Fail(
            BAD, f"--listen: {address} can be reached by others, and this server has no TLS: listen on 127.0.0.1, "
            "and use ssh -L, or a proxy with TLS and --origin https://NAME",
        )
    return str(address), int(found["port"])


async def _serve(args: argparse.Namespace, address: str, port: int, state: Path) -> int:
    from aiohttp import web

    from cockpit.web.gate import COOKIE, Gate, allowed
    from cockpit.web.server import WebServer

    probe = connect(args, view=not args.control, directory=state)
    await probe.connect()  # rather now than in every browser
    await probe.close()
    if args.control and probe.who.read_only:
        raise Fail(BAD, f"--control: {probe.who.read_only}; without --control the browser looks")
    argv = [sys.executable, "-I", "-m", "cockpit.cli.webchild", "--state", str(state), "--parent", str(os.getpid())]
    argv += ["--control"] if args.control else []
    argv += ["--theme", args.theme] if args.theme else []
    gate = Gate(frozenset(), frozenset())
    at = ""

    def link(token: str) -> None:
        if args.link_file:
            write_private(Path(args.link_file), f"{at}/?token={token}\n".encode())
        else:
            say(f"open, once: {at}/?token={token}")

    server = WebServer(
        gate, argv, role="control" if args.control else "view", sessions=args.sessions, say=warn, link=link,
        secure=bool(args.origin) and all(o.startswith("https:") for o in args.origin),
    )  # fmt: skip
    runner = web.AppRunner(server.application(), access_log=None, handle_signals=False, shutdown_timeout=5.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        try:
            await site.start()
        except OSError as e:
            raise Fail(BAD, f"--listen {args.listen}: {e.strerror or e}") from None
        port = runner.addresses[0][1]
        try:
            gate.hosts, gate.origins = allowed(address, port, args.origin)
            gate.cookie = f"{COOKIE}_{port}"  # cookies know no ports
        except ValueError as e:
            raise Fail(BAD, f"--origin: {e}") from None
        name = f"[{address}]" if ":" in address else address
        at = args.origin[0].rstrip("/") if args.origin else f"http://{name}:{port}"
        if args.control:
            warn(CONTROL)
        link(gate.new_link())
        say(f"{state.name}: {'with control' if args.control else 'read-only'} at {at}"
            + (f", the link is in {args.link_file}" if args.link_file else "") + "; Ctrl+C ends it")
        await _ended()
    finally:
        await runner.cleanup()
        if args.link_file:
            Path(args.link_file).unlink(missing_ok=True)
    return DONE


async def _ended() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(each, stop.set)
    await stop.wait()
