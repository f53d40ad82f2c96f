"""`cockpit artifact patch`: a shorter way from one version to the next."""

from __future__ import annotations

import argparse
from typing import Any

from cockpit.cli.common import BAD, DONE, Fail, add_json, add_state, call, drive, print_json, say


def add(inner: Any) -> None:
    parser = inner.add_parser(
        "patch", help="Make a patch from an earlier version; pushes use it where it is smaller.",
        epilog="Example: cockpit artifact patch web/1.2.0 --base 1.1.0",
    )
    parser.add_argument("artifact", metavar="NAME/VERSION", help="where the patch leads to")
    parser.add_argument(
        "--base", default="", metavar="VERSION", help="from this version (default: what most hosts have)"
    )
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if "/" not in args.artifact:
        raise Fail(BAD, f"{args.artifact}: NAME/VERSION is wanted")

    async def work() -> int:
        made = await call(args, lambda s: s.call("artifact_patch", {"artifact": args.artifact, "base": args.base}))
        if args.json:
            print_json(made)
        else:
            use = "used" if made["packed"] < made["chunks"] else "not used: the chunks are smaller"
            say(
                f"patch {made['base']} to {args.artifact}: {made['packed']} bytes, where the chunks are"
                f" {made['chunks']}; {use}"
            )
        return DONE

    return drive(work)
