"""The process behind one browser: `cockpit web` starts it. The screens, on Textual's web driver."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys

from cockpit.cli.common import add_state, connect, drive

READ_ONLY = "this browser may only look (cockpit web --control allows more)"
PR_SET_PDEATHSIG = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="cockpit-web-screen")
    add_state(parser, ssh=True)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--theme", default=None)
    parser.add_argument("--parent", type=int, required=True)
    args = parser.parse_args()
    # a server that was killed leaves no screen behind
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != args.parent:
        return 1
    return drive(lambda: _shown(args))


async def _shown(args: argparse.Namespace) -> int:
    from cockpit.cli.faces import face

    session = connect(args, view=not args.control)
    if not args.control:
        session.read_only = READ_ONLY
    await session.connect()
    try:
        return int(await face("textual")(session, theme=args.theme, ascii=False, address="") or 0)
    finally:
        await session.close()


if __name__ == "__main__":
    sys.exit(main())
