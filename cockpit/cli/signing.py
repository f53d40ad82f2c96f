"""Commands about sign-off: keys, signatures, and whether they are enough.

The private key is only ever read here: what goes to the controller is the signature.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import (
    BAD,
    DIFFERS,
    DONE,
    Fail,
    add_json,
    add_state,
    alive,
    call,
    drive,
    load_topology,
    print_json,
    say,
    state_dir,
    table,
    warn,
)

if TYPE_CHECKING:
    from cockpit.artifacts.store import Store
    from cockpit.model.topology import Expected


def add(inner: Any) -> None:
    child = inner.add_parser(
        "keygen", help="Make a key to sign for a role; print its line for the topology.",
        epilog="Example: cockpit artifact keygen qa --out ~/.config/cockpit/qa.pem",
    )
    child.add_argument("role", metavar="ROLE", help="for example build or qa")
    child.add_argument("--out", metavar="FILE", required=True, help="a new file (PEM, mode 0600)")
    add_json(child)
    child.set_defaults(run=keygen)
    child = inner.add_parser(
        "approve", help="Sign a version of the store for a role.",
        epilog="Example: cockpit artifact approve web/1.2.0 --role qa --key ~/.config/cockpit/qa.pem",
    )
    child.add_argument("artifact", metavar="NAME/VERSION", help="as `artifact list` prints it")
    child.add_argument("--role", required=True, help="the role to sign for")
    child.add_argument("--key", metavar="FILE", required=True, help="the role's private key, from `artifact keygen`")
    child.add_argument("--sha256", metavar="HEX", default="", help="refuse when the version is not this one")
    add_state(child)
    add_json(child)
    child.set_defaults(run=approve)
    child = inner.add_parser(
        "verify", help="Who signed a version, which signatures count, and which are missing.",
        epilog="Example: cockpit artifact verify web/1.2.0",
    )
    child.add_argument("artifact", metavar="NAME/VERSION", help="as `artifact list` prints it")
    child.add_argument("--topology", metavar="FILE", help="where keys and demands are named, when no controller runs")
    add_state(child)
    add_json(child)
    child.set_defaults(run=verify)


def keygen(args: argparse.Namespace) -> int:
    from cockpit.artifacts.sign import KeyTrouble, check_role
    from cockpit.artifacts.sign import keygen as make

    path = Path(args.out).expanduser().absolute()
    try:
        check_role(args.role)
        key = make(path)
    except (KeyTrouble, ValueError) as e:
        raise Fail(BAD, str(e)) from None
    except OSError as e:
        raise Fail(BAD, f"{path}: {e.strerror}") from None
    if args.json:
        print_json({"role": args.role, "key": key, "file": str(path)})
    else:
        say(f"{path} holds the private key of {args.role}. In the topology:")
        say(f"signers:\n  {args.role}: [{key}]")
    return DONE


def approve(args: argparse.Namespace) -> int:
    from cockpit.artifacts import sign
    from cockpit.cli.artifacts import SOCKETS, found, parts, reading
    from cockpit.controller.serving import here

    name, version = parts(args.artifact)
    path = Path(args.key).expanduser()
    try:
        key = sign.read_key(path)
        sign.check_role(args.role)
        if loose := sign.loose(path):
            warn(loose)
    except (sign.KeyTrouble, ValueError) as e:
        raise Fail(BAD, str(e)) from None
    except OSError as e:
        raise Fail(BAD, f"{path}: {e.strerror}") from None
    directory = state_dir(args)
    running = alive(directory, *SOCKETS)

    def signature(record: Any) -> dict[str, Any]:
        if args.sha256 and args.sha256.lower() != record["sha256"]:
            raise Fail(DIFFERS, f"{args.artifact} is {record['sha256']}, not {args.sha256}: it is not signed")
        return sign.approve(record, args.role, key, by=here().author, now=time.time())

    async def work() -> int:
        counts: bool | None = None
        if running:
            listing = await call(args, lambda s: s.artifacts())
            if args.artifact not in listing:
                from cockpit.model.names import near

                raise Fail(BAD, f"the store has no artifact {args.artifact}{near(args.artifact, listing)}")
            made = signature(listing[args.artifact])
            words = {"name": name, "version": version, "signature": made}
            kept = await call(args, lambda s: s.call("artifact_sign", words))
            counts = kept.pop("counts")
        else:
            kept = reading(directory, lambda store: sign.take(
                store, name, version, signature(found(store, name, version)), by=here().author
            ))  # fmt: skip
        if args.json:
            print_json(kept)
        else:
            say(f"{args.artifact} ({kept['of']['sha256'][:16]}) is signed by {args.role}, {kept['key']}")
        if counts is False:
            warn(f"this key is not under `signers: {args.role}:` of the topology, so it does not count there")
        return DONE

    return drive(work)


def verify(args: argparse.Namespace) -> int:
    """Exit 1 when a demanded signature is missing, or one does not fit the artifact."""
    from cockpit.cli.artifacts import SOCKETS, parts, reading

    name, version = parts(args.artifact)
    directory = state_dir(args)
    running = alive(directory, *SOCKETS)
    if args.topology and running:
        raise Fail(BAD, "a controller runs: its topology counts; leave --topology out")
    expected = load_topology(args.topology) if args.topology else None

    async def work() -> int:
        if running:
            detail = await call(args, lambda s: s.artifact(args.artifact))
            answer = {
                "artifact": args.artifact, "sha256": detail.row.sha256, "md5": detail.md5,
                "signatures": list(detail.signatures), "missing": list(detail.row.missing),
            }  # fmt: skip
        else:
            answer = reading(directory, lambda store: _offline(store, name, version, expected))
        if args.json:
            print_json(answer)
        else:
            _print(answer, known=running or expected is not None)
        bad = [s for s in answer["signatures"] if s["verdict"] != "valid"]
        return DIFFERS if answer["missing"] or bad else DONE

    return drive(work)


def _offline(store: Store, name: str, version: str, expected: Expected | None) -> dict[str, Any]:
    """By the store and a topology file; without one: whether the signatures are those of their own keys."""
    from cockpit.artifacts.sign import judged, subject
    from cockpit.cli.artifacts import found
    from cockpit.plan.signing import Signed, missing
    from cockpit.swarm.signatures import genuine

    record = found(store, name, version)
    records = store.signatures(name, version)
    good = [s for s in records if genuine(s, subject(record))]
    own: dict[str, tuple[str, ...]] = {}
    for s in good:
        own[s["role"]] = (*own.get(s["role"], ()), s["key"])
    signers = expected.signers if expected is not None else own
    id = f"{name}/{version}"
    signed = {id: tuple(Signed(s["role"], s["key"], str(s.get("by", ""))) for s in good)}
    return {
        "artifact": id, "sha256": record["sha256"], "md5": record["md5"],
        "signatures": judged(record, records, signers),
        "missing": list(missing(expected, id, signed)) if expected is not None else [],
    }  # fmt: skip


def _print(answer: dict[str, Any], *, known: bool) -> None:
    say(f"{answer['artifact']}  sha256 {answer['sha256']}  md5 {answer['md5']}")
    rows = [
        (
            str(s.get("role")), str(s.get("by") or ""),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(float(s.get("time") or 0))), s["verdict"],
        )
        for s in answer["signatures"]
    ]  # fmt: skip
    if rows:
        say(table(("ROLE", "BY", "TIME", "VERDICT"), rows))
    else:
        say("nobody has signed it")
    for role in answer["missing"]:
        say(f"missing: {role}  (cockpit artifact approve {answer['artifact']} --role {role} --key FILE)")
    if not known:
        warn("no controller runs: say --topology FILE to see whose signatures count and which are missing")
