"""`cockpit snapshot`: any view of the screens as text, data or a picture, without a terminal."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from cockpit.cli.common import BAD, DIFFERS, DONE, READ_ONLY, Fail, add_state, connect, drive, warn
from cockpit.history.when import BACKWARDS, EXAMPLES

FORMATS = ("text", "json", "svg", "html")
NARROW, WIDE, LOW, HIGH = 40, 500, 10, 300
WAIT = 10.0


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "snapshot", help="Print a view of the screens as text, JSON, SVG or HTML.",
        description="VIEW is an address as it is typed behind `:`, with its words and its filter. Text and JSON hold "
        "every row; the pictures hold what fits on a screen of --size. Exit 1: not everything came in time.",
        epilog="Example: cockpit snapshot instances web 'version!=1.4' --format svg -o web.svg",
    )
    parser._negative_number_matcher = BACKWARDS
    parser.add_argument("view", metavar="VIEW", nargs="+", help="overview, instances, 'node web/0', ...")
    parser.add_argument("--format", choices=FORMATS, default=None, help="default: by the name of FILE, else text")
    parser.add_argument("--size", metavar="WxH", default="120x40", help="of a picture, in cells (default: 120x40)")
    parser.add_argument("--theme", default=None, help="of a picture (default: dark)")
    parser.add_argument("--ascii", action="store_true", help="of a picture: plain ASCII glyphs")
    parser.add_argument("--at", metavar="MOMENT", default="", help=f"as it was then: {EXAMPLES}")
    parser.add_argument("--wait", type=float, default=WAIT, metavar="SECONDS", help="for its data (default: 10)")
    parser.add_argument("-o", dest="file", metavar="FILE", default="", help="write there (0600) instead of printing")
    add_state(parser, ssh=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    size = size_of(args.size)
    if not 0.1 <= args.wait <= 600:
        raise Fail(BAD, f"--wait: {args.wait:g} is no number of seconds from 0.1 to 600")
    format = args.format or next((f for f in FORMATS if args.file.endswith("." + f)), "text")
    return drive(lambda: _taken(args, format, size))


def size_of(text: str) -> tuple[int, int]:
    """`120x40` as cells. Raises Fail."""
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (NARROW <= width <= WIDE and LOW <= height <= HIGH):
        raise Fail(BAD, f"--size: {text!r} is no size from {NARROW}x{LOW} to {WIDE}x{HIGH}; for example 120x40")
    return width, height


def address(words: list[str]) -> str:
    """The words of the shell as one line; one with blanks inside stays one, unless it is all there is."""
    if len(words) == 1:
        return words[0]
    return " ".join(f'"{w}"' if " " in w and not {'"', "'"} & set(w) else w for w in words)


async def _taken(args: argparse.Namespace, format: str, size: tuple[int, int]) -> int:
    from cockpit.cli.faces import face

    session = connect(args, view=True)
    if not session.read_only:
        session.read_only = READ_ONLY
    await session.connect()
    try:
        # a picture is for a file, not for this terminal
        theme = args.theme or (None if os.environ.get("NO_COLOR") else "dark")
        taken = await face("snapshot")(
            session, address(args.view), format=format, size=size, theme=theme, ascii=args.ascii, at=args.at,
            wait=args.wait,
        )
    except ValueError as e:
        raise Fail(BAD, str(e)) from None
    finally:
        await session.close()
    if args.file:
        write_private(Path(args.file), taken.text.encode())
    else:
        sys.stdout.write(taken.text)
    if taken.wanting:
        warn(f"not everything came within {args.wait:g} s: {taken.wanting}; --wait gives it longer")
        return DIFFERS
    return DONE


def write_private(path: Path, content: bytes) -> None:
    """Readable by its owner only, whole or not at all; an older file of that name is replaced. Raises Fail."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(content)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as e:
        raise Fail(BAD, f"{path}: {e.strerror or e}; nothing was written") from None
