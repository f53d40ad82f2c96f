"""Commands that start something: serve, run, attach, demo."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.cli import attaching
from cockpit.cli.common import (
    BAD,
    DONE,
    NO_ANSWER,
    READ_ONLY,
    Fail,
    add_state,
    alive,
    connect,
    drive,
    load_topology,
    say,
    state_dir,
)
from cockpit.cli.ssh import answer_prompts

if TYPE_CHECKING:
    from cockpit.controller.session import EngineSession
    from cockpit.history.writing import Limits
    from cockpit.ports import Session

START_LIMIT = 30.0
SETTLE = 3.0
"""Seconds that the screen waits for hosts entered by SSH: they may have to ask something first."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "demo", help="Run the sample cluster on this machine and open the cockpit on it.",
        epilog="Example: cockpit demo --serve --state DIR",
    )
    add_state(parser)
    parser.add_argument("--serve", action="store_true", help="no screen: keep it running until SIGTERM")
    _screen_options(parser)
    parser.set_defaults(run=demo)

    parser = commands.add_parser(
        "run", help="Start (or find) the controller for a topology file and open the cockpit on it.",
        epilog="Example: cockpit run topology.yaml",
    )
    parser.add_argument("file", metavar="FILE")
    add_state(parser)
    parser.add_argument("--embed", action="store_true", help="controller and screen in one process")
    _serve_options(parser)
    _screen_options(parser)
    parser.set_defaults(run=run)

    parser = commands.add_parser(
        "serve", help="Run the controller without a screen.",
        epilog="Example: cockpit serve topology.yaml --state DIR",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="imported when the state is empty")
    add_state(parser)
    _serve_options(parser)
    parser.set_defaults(run=serve)

    parser = commands.add_parser(
        "attach", help="Open the cockpit on a running controller.", epilog="Example: cockpit attach --state DIR"
    )
    add_state(parser)
    attaching.add_attach(parser)
    _screen_options(parser)
    parser.set_defaults(run=attach)


def _serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address agents dial")
    parser.add_argument("--port", type=int, default=0, help="port agents dial (default: the last one)")
    parser.add_argument(
        "--operators", default="", metavar="GROUP",
        help="Unix group that may submit and approve by a socket of its own, STATE.operators (docs/guards.md)",
    )
    parser.add_argument("--hosts", metavar="DIR", help="where local hosts live (default: STATE.hosts)")
    parser.add_argument(
        "--history-days", type=float, default=7.0, metavar="DAYS",
        help="how long the state history is kept (default: 7; 0: nothing is recorded)",
    )
    parser.add_argument(
        "--history-size", default="512M", metavar="SIZE", help="what it may take on disk at most (default: 512M)"
    )


def _screen_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--read-only", action="store_true", help="nothing can be changed from this screen")
    parser.add_argument(
        "--theme", default=None,
        help="dark, light, high-contrast, deuteranopia, tritanopia, ansi16, mono, transparent, or one of your own",
    )  # fmt: skip
    parser.add_argument("--ascii", action="store_true", default=None, help="plain ASCII glyphs")
    parser.add_argument(
        "--at", metavar="ADDRESS", default="",
        help="the view to begin at, as typed behind `:`: 'instances web drift' (default: where it was left)",
    )


def serve(args: argparse.Namespace) -> int:
    from cockpit.controller.serving import Options, serve_until_signal

    expected = load_topology(args.file) if args.file else None
    directory = state_dir(args, name=expected.name if expected else "")
    options = Options(
        state=directory, file=Path(args.file).name if args.file else "", address=args.listen, port=args.port,
        hosts=Path(args.hosts).absolute() if args.hosts else None, operators=args.operators,
        text=written(args.file), history=_history(args),
    )
    return drive(lambda: serve_until_signal(options, expected, say=say))


def written(file: str | None) -> str:
    """The text of a topology file that was checked, for `cockpit edit`; empty when it is gone again."""
    try:
        return Path(file).read_text(encoding="utf-8") if file else ""
    except (OSError, UnicodeDecodeError):
        return ""


def run(args: argparse.Namespace) -> int:
    expected = load_topology(args.file)
    directory = state_dir(args, name=expected.name)
    if args.embed:
        from cockpit.controller.serving import Options, serve_with_screen

        options = Options(
            state=directory, file=Path(args.file).name, address=args.listen, port=args.port,
            operators=args.operators, text=written(args.file), history=_history(args),
        )
        return drive(lambda: serve_with_screen(options, expected, lambda s: _embedded(s, args)))
    if not alive(directory):
        start_detached(args, directory)
    return _attach(args, directory)


def _history(args: argparse.Namespace) -> Limits:
    """Raises Fail."""
    from cockpit.history.writing import Limits
    from cockpit.model.problems import Wrong
    from cockpit.model.units import parse_size

    try:
        size = parse_size(args.history_size)
    except Wrong as e:
        raise Fail(BAD, f"--history-size: {e}") from None
    if not 0 <= args.history_days <= 3660:
        raise Fail(BAD, f"--history-days: {args.history_days:g} is no number of days from 0 to 3660")
    if 0 < size < 16 * 2**20:
        raise Fail(BAD, f"--history-size: {args.history_size} holds next to nothing; at least 16M, or 0 for none")
    return Limits(args.history_days, size)


def start_detached(args: argparse.Namespace, directory: Path) -> None:
    """A controller in a session of its own: it outlives this terminal."""
    from cockpit.agent.files import make_dir

    make_dir(str(directory), 0o710)
    command = [sys.executable, "-I", "-m", "cockpit.cli.main", "serve", str(Path(args.file).absolute())]
    command += ["--state", str(directory), "--listen", args.listen, "--port", str(args.port)]
    if args.operators:
        command += ["--operators", args.operators]
    command += ["--history-days", str(args.history_days), "--history-size", args.history_size]
    if args.hosts:
        command += ["--hosts", str(Path(args.hosts).absolute())]
    log = directory / "controller.log"
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/"
        )
    deadline = time.monotonic() + START_LIMIT
    while not alive(directory):
        if process.poll() is not None:
            tail = log.read_text(errors="replace").strip().splitlines()[-5:]
            raise Fail(process.returncode or BAD, "the controller did not start:\n" + "\n".join(tail))
        if time.monotonic() > deadline:
            raise Fail(NO_ANSWER, f"the controller did not answer in {START_LIMIT:.0f} s; see {log}")
        time.sleep(0.05)


def attach(args: argparse.Namespace) -> int:
    attaching.checked(args)
    if args.ssh:
        return attaching.attach(args)
    return _attach(args, state_dir(args))


def _attach(args: argparse.Namespace, directory: Path) -> int:
    return drive(lambda: _attached(args, directory))


async def _attached(args: argparse.Namespace, directory: Path) -> int:
    session = connect(args, directory=directory)
    await session.connect()
    try:
        if plain_terminal():
            from cockpit.cli.show import overview

            say(overview(await session.snapshot()))
            return DONE
        await answer_prompts(session, settle=SETTLE)
        return await _screen(session, args)
    finally:
        await session.close()


def plain_terminal() -> bool:
    """No terminal, or one that cannot move its cursor: print instead of drawing."""
    return not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "") in ("", "dumb")


async def _embedded(session: EngineSession, args: argparse.Namespace) -> int:
    """The screen on an engine in this process."""
    return await _screen(session.narrowed(READ_ONLY) if args.read_only else session, args)


async def _screen(session: Session, args: argparse.Namespace) -> int:
    from cockpit.cli.faces import face

    try:
        return int(await face("textual")(session, theme=args.theme, ascii=args.ascii, address=args.at) or 0)
    except ValueError as error:  # a theme or a file of keys that cannot be used
        raise Fail(BAD, str(error)) from None


def demo(args: argparse.Namespace) -> int:
    from cockpit.controller.demo import Demo

    given = args.state or os.environ.get("COCKPIT_STATE")
    place = Demo(Path(given).absolute() if given else None)
    screen = not args.serve and not plain_terminal()

    async def work() -> int:
        if args.serve:
            return await place.serve(say)
        if screen:
            return await place.with_screen(lambda s: _embedded(s, args), say)
        from cockpit.cli.show import overview

        return await place.once(lambda snapshot: say(overview(snapshot)), say)

    try:
        return drive(work)
    finally:
        place.clean()
