"""`cockpit artifact build`: run a recipe on a host, watch it, and have the result in the store."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from cockpit.cli.common import (
    BAD,
    DIFFERS,
    DONE,
    NO_ANSWER,
    Fail,
    add_json,
    add_state,
    alive,
    connect,
    drive,
    print_json,
    say,
    state_dir,
    warn,
)
from cockpit.cli.direct import add_ways, agreed


def add(inner: Any) -> None:
    child = inner.add_parser(
        "build", help="Run a build recipe on a host and add what it makes to the store.",
        epilog="Example: cockpit artifact build recipe.yaml --name web --version 1.2.0 --host b-1",
    )
    child.add_argument(
        "recipe", metavar="RECIPE", help="a YAML file: argv, inputs, outputs, host, env, timeout, platform"
    )
    child.add_argument("--name", required=True, help="of the artifact")
    child.add_argument("--version", required=True, help="a version is never changed: each content has its own")
    child.add_argument("--host", default="", help="build here (default: the recipe's host)")
    add_ways(child)
    add_state(child)
    add_json(child)
    child.set_defaults(run=build)


def build(args: argparse.Namespace) -> int:
    """Exit 1 when the build, or taking in its outputs, failed. The build ends when this command does."""
    from cockpit.artifacts.building import InputError, pack_inputs
    from cockpit.artifacts.recipe import load_recipe
    from cockpit.model.problems import BadTopology

    try:
        loaded = load_recipe(Path(args.recipe))
    except BadTopology as e:
        raise Fail(BAD, str(e)) from None
    recipe = loaded.recipe
    host = args.host or recipe.host
    if not host:
        raise Fail(BAD, f"say where to build: --host HOST, or host: HOST in {args.recipe}")
    if not alive(state_dir(args)):
        raise Fail(NO_ANSWER, "no controller answers: a build runs on one of its hosts")

    async def work() -> int:
        with tempfile.TemporaryDirectory(prefix="cockpit-inputs-") as directory:
            archive = Path(directory) / "inputs"
            try:
                sha256, size = pack_inputs(loaded.files, archive)
            except InputError as e:
                raise Fail(BAD, str(e)) from None
            request = {
                "name": args.name, "version": args.version, "host": host, "argv": recipe.argv,
                "outputs": recipe.outputs, "env": recipe.env, "timeout": recipe.timeout, "platform": recipe.platform,
                "inputs": str(archive), "sha256": sha256, "size": size,
            }  # fmt: skip
            last = await _watch(args, request)
        if "record" not in last:
            warn(str(last.get("failed") or "the build ended without a word"))
            if args.json:
                print_json(last)
            return DIFFERS
        record = last["record"]
        if args.json:
            print_json(record)
        else:
            say(
                f"{args.name}/{args.version}  sha256 {record['sha256'][:16]}  {record['size']} bytes in"
                f" {record['files']} files, built on {host} in {_seconds(record)}"
            )
        return DONE

    return drive(work)


async def _watch(args: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """Print what the build says; its last item."""
    session = connect(args)
    await session.connect()
    last: dict[str, Any] = {}
    try:
        async for item in session.stream("artifact_build", await agreed(session, "artifact-build", request, args)):
            for stream, text in item.get("lines", ()):
                out = sys.stdout if stream == "out" and not args.json else sys.stderr
                print(plain(str(text)), file=out, flush=True)
            if "dropped" in item:
                warn(f"{item['dropped']} lines are left out: they came faster than they could be printed")
            last = item
    finally:
        await session.close()
    return last


def plain(text: str) -> str:
    """A line that cannot command the terminal."""
    return "".join(c if c == "\t" or c.isprintable() else "\ufffd" for c in text)


def _seconds(record: dict[str, Any]) -> str:
    built = record.get("build") or {}
    return f"{float(built.get('ended') or 0) - float(built.get('started') or 0):.1f} s"
