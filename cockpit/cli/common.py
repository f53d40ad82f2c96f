"""What every command shares: where the controller is, how errors end, how results are printed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cockpit.homes import state_home

if TYPE_CHECKING:
    from cockpit.act.journal import Entry
    from cockpit.model.topology import Expected
    from cockpit.ports import Session
    from cockpit.session.client import RemoteSession

T = TypeVar("T")
DONE, DIFFERS, BAD, REFUSED, NO_ANSWER = 0, 1, 2, 3, 4
"""Exit codes: done; the outcome differs from what was asked; bad input; refused; no answer."""


READ_ONLY = "you asked for --read-only"


class Fail(Exception):
    """Ends the command with a sentence and an exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def state_dir(args: argparse.Namespace, *, name: str = "") -> Path:
    """`--state`, COCKPIT_STATE, or the default for the cluster `name`; the only live one otherwise."""
    given = args.state or os.environ.get("COCKPIT_STATE")
    if given:
        return Path(given).absolute()
    if name:
        return state_home() / name
    live = sorted(p.parent for p in state_home().glob("*/view.sock"))
    if len(live) == 1:
        return live[0]
    which = "several clusters run here" if live else "no running cluster was found"
    raise Fail(BAD if live else NO_ANSWER, f"{which}: say which with --state DIR or COCKPIT_STATE")


def add_state(parser: argparse.ArgumentParser, *, ssh: bool = False) -> None:
    """`ssh`: for commands that only ask the controller, so that it may be on another machine."""
    if ssh:
        from cockpit.cli.attaching import add_ssh

        add_ssh(parser)
    parser.add_argument("--state", metavar="DIR", help="the controller's state directory (or COCKPIT_STATE)")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def print_json(value: Any) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def say(text: str) -> None:
    print(text, flush=True)


def answer(question: str) -> str:
    """A line of the person at the terminal."""
    return input(question).strip()


def warn(text: str) -> None:
    print(f"cockpit: {text}", file=sys.stderr, flush=True)


def connect(args: argparse.Namespace, *, view: bool = False, directory: Path | None = None) -> RemoteSession:
    """A session on the controller of `--state` (not yet connected).

    The view socket is taken when asked for, when `--read-only` was given, or when the control
    socket is not ours.
    """
    from cockpit.session.client import RemoteSession

    if getattr(args, "ssh", None):
        from cockpit.cli.attaching import far_session

        return far_session(args, view=view)
    directory = directory or state_dir(args)
    read_only = READ_ONLY if getattr(args, "read_only", False) else ""
    control = directory / "control.sock"
    looks = view or read_only or not os.access(control, os.R_OK | os.W_OK)
    shared = directory.with_name(directory.name + ".operators") / "control.sock"
    if looks and not (view or read_only) and os.access(shared, os.R_OK | os.W_OK):
        return RemoteSession(shared)
    if looks and os.access(directory / "view.sock", os.F_OK):
        return RemoteSession(directory / "view.sock", read_only=read_only)
    return RemoteSession(control, read_only=read_only)


async def call(args: argparse.Namespace, ask: Callable[[Session], Awaitable[T]]) -> T:
    """One question to the running controller."""
    session = connect(args)
    await session.connect()
    try:
        return await ask(session)
    finally:
        await session.close()


def alive(directory: Path, *names: str) -> bool:
    """Does a controller listen on one of these sockets (default: control.sock)?"""
    for name in names or ("control.sock",):
        with socket.socket(socket.AF_UNIX) as s, contextlib.suppress(OSError):
            s.connect(str(directory / name))
            return True
    return False


def drive(work: Callable[[], Awaitable[int]]) -> int:
    """Run a command's coroutine; turn the engine's errors into exit codes."""
    from cockpit.plan.steps import Bad, Refused

    try:
        return asyncio.run(_main(work))
    except Fail as e:
        warn(str(e))
        return e.code
    except Bad as e:
        warn(str(e))
        return BAD
    except Refused as e:
        warn(str(e))
        return REFUSED
    except BrokenPipeError:  # of our own output: a session says ConnectionError
        raise
    except (ConnectionError, TimeoutError) as e:
        warn(str(e) or "no answer")
        return NO_ANSWER
    except OSError as e:
        warn(f"{e.filename}: {e.strerror}" if e.filename else str(e))
        return BAD
    except KeyboardInterrupt:
        return 130


async def _main(work: Callable[[], Awaitable[int]]) -> int:
    return await work()


def load_topology(path: str) -> Expected:
    """A checked topology file. Raises Fail listing every problem."""
    from cockpit.model.load import load_file
    from cockpit.model.problems import BadTopology

    try:
        loaded = load_file(Path(path))
    except BadTopology as e:
        raise Fail(BAD, f"{path} was not taken; what runs is as it was\n{e}") from None
    except OSError as e:
        raise Fail(BAD, f"{path}: {e.strerror or e}") from None
    for warning in loaded.warnings:
        warn(str(warning))
    return loaded.expected


def read_journal(path: Path, *, verify: bool = False, head: str | None = None) -> list[Entry]:
    """The entries of a journal; says when the last line is torn. Raises Fail, also when it was tampered with."""
    from cockpit.act import journal

    try:
        entries, torn = journal.verify(path, head=head) if verify else journal.read(path)
    except OSError as e:
        raise Fail(BAD, f"{path}: {e.strerror}") from None
    except journal.Tampered as e:
        raise Fail(DIFFERS, f"{path}: {e}") from None
    if torn:
        warn(f"{path}: the last line is torn and was skipped")
    return entries


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Columns padded to their widest cell."""
    lines = [list(header), *[list(r) for r in rows]]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)
