"""Commands about the store of artifacts."""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cockpit.cli.common import (
    BAD,
    DIFFERS,
    DONE,
    REFUSED,
    Fail,
    add_json,
    add_state,
    alive,
    call,
    drive,
    print_json,
    say,
    state_dir,
    table,
)

if TYPE_CHECKING:
    from cockpit.artifacts.store import Record, Store
    from cockpit.model.view import ArtifactDetail

T = TypeVar("T")
SOCKETS = ("control.sock", "view.sock")
MORE = ("signing", "building", "patching")
"""Modules of this package with further sub-commands; each has `add(subparsers)`."""
SHOWN = 20
"""Paths of each sort that a diff prints; `--json` has all."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "artifact", help="Add artifact versions to the store, list, compare and verify them.",
        epilog="Example: cockpit artifact add build/ --name web --version 1.2.0",
    )
    inner = parser.add_subparsers(dest="what", metavar="COMMAND", required=True)
    child = _command(
        inner, "add", artifact_add, "Take a directory, archive or single program as one immutable version.",
        "build/ --name web --version 1.2.0",
    )
    child.add_argument("source", metavar="PATH", help="a directory, a tar (also gz, bz2, xz), a wheel or zip, a file")
    child.add_argument("--name", required=True, help="of the artifact")
    child.add_argument("--version", required=True, help="a version is never changed: each content has its own")
    child.add_argument("--platform", default="any", help="the kind of machine it is for (default: any)")
    child.add_argument(
        "--kind", default="release", choices=("release", "data", "plugin"),
        help="data: pushed beside a running release; plugin: for cockpit plugin push",
    )
    _command(inner, "list", artifact_list, "What the store holds.", "")
    child = _command(inner, "show", artifact_show, "Everything about one version.", "web/1.2.0")
    _id(child)
    child = _command(
        inner, "diff", artifact_diff, "What a version changes: files, and bytes to move.", "web/1.2.0 1.1.0"
    )
    _id(child)
    child.add_argument(
        "base", metavar="BASE", nargs="?", default="", help="version to compare with (default: what hosts have)"
    )
    child = _command(
        inner, "md5", artifact_md5, "The MD5 list of a version's files, as md5sum prints it.", "web/1.2.0"
    )
    _id(child)
    _command(inner, "check", artifact_check, "Read the whole store and verify every byte.", "")
    child = _command(
        inner, "collect", artifact_collect, "Delete old versions that no host has and nothing could roll back to.",
        "--dry-run",
    )
    child.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    child.add_argument("--newest", type=int, metavar="N", help="versions of each name that stay (default: 5)")
    child.add_argument("--days", type=float, metavar="D", help="younger versions stay (default: 30)")
    for module in MORE:
        importlib.import_module(f"cockpit.cli.{module}").add(inner)


def _command(
    inner: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, example: str
) -> argparse.ArgumentParser:
    child: argparse.ArgumentParser = inner.add_parser(
        name, help=text, epilog=f"Example: cockpit artifact {name} {example}".rstrip()
    )
    add_state(child)
    add_json(child)
    child.set_defaults(run=run)
    return child


def _id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", metavar="NAME/VERSION", help="as `artifact list` prints it")


def artifact_add(args: argparse.Namespace) -> int:
    """Through the controller when one runs; straight into the store when none does."""
    source = Path(args.source).absolute()
    if not source.exists():
        raise Fail(BAD, f"{args.source}: no such file or directory")
    directory = state_dir(args)
    words = {"name": args.name, "version": args.version, "platform": args.platform, "kind": args.kind}

    async def work() -> int:
        if alive(directory, *SOCKETS):
            record = await call(args, lambda s: s.call("artifact_add", {"path": str(source), **words}))
        else:
            record = reading(directory, lambda store: store.add(source, **words), make=True)
        if args.json:
            print_json(record)
        else:
            say(
                f"{args.name}/{args.version}  sha256 {record['sha256'][:16]}  {record['size']} bytes in"
                f" {record['files']} files, {record['packed']} packed"
            )
        return DONE

    return drive(work)


def artifact_list(args: argparse.Namespace) -> int:
    directory = state_dir(args)

    async def work() -> int:
        listing: dict[str, Any] = {}
        if alive(directory, *SOCKETS):
            listing = await call(args, lambda s: s.artifacts())
        elif directory.is_dir():
            listing = reading(directory, lambda store: store.listing())
        if args.json:
            print_json(listing)
        elif not listing:
            say("the store is empty: cockpit artifact add DIR --name NAME --version VERSION")
        else:
            rows = [
                (k, v["platform"], v["kind"], str(v["files"]), str(v["size"]), str(v["packed"]), v["sha256"][:16])
                for k, v in sorted(listing.items())
            ]
            say(table(("ARTIFACT", "PLATFORM", "KIND", "FILES", "BYTES", "PACKED", "SHA256"), rows))
        return DONE

    return drive(work)


def artifact_show(args: argparse.Namespace) -> int:
    return drive(lambda: _detailed(args, "", _print_detail))


def artifact_diff(args: argparse.Namespace) -> int:
    return drive(lambda: _detailed(args, args.base, _print_diff))


async def _detailed(args: argparse.Namespace, base: str, show: Callable[[Any], None]) -> int:
    """A running controller knows the hosts and whose signatures count; the store alone the rest."""
    name, version = parts(args.artifact)
    directory = state_dir(args)
    if alive(directory, *SOCKETS):
        detail = await call(args, lambda s: s.artifact(args.artifact, base))
    else:
        detail = reading(directory, lambda store: _detail(store, name, version, base))
    if args.json:
        print_json(detail if show is _print_detail else detail.diff)
    else:
        show(detail)
    return DONE


def _detail(store: Store, name: str, version: str, base: str) -> ArtifactDetail:
    from cockpit.artifacts.details import before, detail

    record = found(store, name, version)
    if base:
        found(store, name, base)
    return detail(store, record, base or before(store, record))


def _print_detail(detail: ArtifactDetail) -> None:
    row = detail.row
    rows = [
        ("sha256", row.sha256), ("md5", detail.md5), ("platform", row.platform), ("kind", row.kind),
        ("size", f"{row.size} bytes in {row.files} files, {row.packed} packed"),
        ("added", time.strftime("%Y-%m-%d %H:%M", time.localtime(row.added))),
    ]
    if detail.build:
        rows += [(f"build {key}", str(value)) for key, value in detail.build.items()]
    for s in detail.signatures:
        verdict = f": {s['verdict']}" if "verdict" in s else ""
        rows.append(("signed", f"{s.get('role')} by {s.get('by') or s.get('key')}{verdict}"))
    rows += [("missing", role) for role in row.missing]
    if detail.hosts:
        rows.append(("hosts", ", ".join(detail.hosts)))
    say(table((row.id, ""), rows))
    if detail.diff is not None and detail.diff.base:
        say(_moves(detail.diff))


def _print_diff(detail: ArtifactDetail) -> None:
    diff = detail.diff
    if diff is None:
        say("there is nothing to compare with")
        return
    for sign, paths in (("+", diff.added), ("-", diff.removed), ("~", diff.changed)):
        for path in paths[:SHOWN]:
            say(f"{sign} {path}")
        if len(paths) > SHOWN:
            say(f"{sign} and {len(paths) - SHOWN} more")
    say(_moves(diff))


def _moves(diff: Any) -> str:
    against = f"from {diff.base}" if diff.base else "to a host without any version"
    patch = f"; as a patch {diff.patch} bytes" if diff.patch is not None else ""
    return (
        f"{against}: {len(diff.added)} files added, {len(diff.removed)} removed, {len(diff.changed)} changed;"
        f" {diff.to_move} of {diff.size} bytes to move in {diff.pieces} pieces{patch}"
    )


def artifact_md5(args: argparse.Namespace) -> int:
    name, version = parts(args.artifact)
    directory = state_dir(args)

    async def work() -> int:
        text = reading(directory, lambda store: (found(store, name, version), store.md5_list(name, version))[1])
        if args.json:
            print_json([line.split("  ", 1)[::-1] for line in text.splitlines()])
        else:
            print(text, end="", flush=True)
        return DONE

    return drive(work)


def artifact_check(args: argparse.Namespace) -> int:
    from cockpit.artifacts.care import verify

    directory = state_dir(args)

    async def work() -> int:
        findings = reading(directory, lambda store: list(verify(store)))
        if args.json:
            print_json([f._asdict() for f in findings])
        else:
            for finding in findings:
                if finding.why:
                    say(f"{finding.id}: {finding.why}")
            bad = sum(1 for f in findings if f.why)
            say(f"{len(findings)} versions, {bad} damaged" if bad else f"{len(findings)} versions, all sound")
        return DIFFERS if any(f.why for f in findings) else DONE

    return drive(work)


def artifact_collect(args: argparse.Namespace) -> int:
    directory = state_dir(args)
    if not alive(directory, *SOCKETS):
        raise Fail(REFUSED, "no controller runs: only it knows which versions the hosts still have")
    words = {k: v for k, v in (("newest", args.newest), ("days", args.days)) if v is not None}

    async def work() -> int:
        answer = await call(args, lambda s: s.call("artifact_collect", {"dry_run": args.dry_run, **words}))
        if args.json:
            print_json(answer)
            return DONE
        for id in answer["versions"]:
            say(id)
        would = "would be deleted" if args.dry_run else "deleted"
        say(f"{len(answer['versions'])} versions {would}, {answer['bytes']} bytes in {answer['objects']} objects")
        return DONE

    return drive(work)


def parts(id: str) -> tuple[str, str]:
    """Raises Fail when it is not NAME/VERSION."""
    name, slash, version = id.partition("/")
    if not slash or not name or not version or "/" in version:
        raise Fail(BAD, f"{id!r}: NAME/VERSION is wanted, for example web/1.2.0")
    return name, version


def found(store: Store, name: str, version: str) -> Record:
    """The record. Raises Fail with the nearest that there is."""
    from cockpit.model.names import near

    record = store.find(name, version)
    if record is None:
        known = list(store.listing())
        raise Fail(BAD, f"the store has no artifact {name}/{version}" + near(f"{name}/{version}", known))
    return record


def reading(directory: Path, work: Callable[[Store], T], *, make: bool = False) -> T:
    """Do something with the store of a state directory, which is made only on demand. Raises Fail."""
    from cockpit.artifacts.opening import open_store
    from cockpit.artifacts.packed import Damaged
    from cockpit.artifacts.store import Exists

    if make:
        from cockpit.agent.files import make_dir

        make_dir(str(directory), 0o710)
    elif not directory.is_dir():
        raise Fail(BAD, f"{directory}: there is no state")
    try:
        return work(open_store(directory))
    except (Exists, Damaged, ValueError) as e:
        raise Fail(BAD, str(e)) from None
    except OSError as e:
        raise Fail(BAD, f"{e.filename}: {e.strerror}" if e.filename else str(e)) from None
