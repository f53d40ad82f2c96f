"""Commands about identities: who joined, who is refused, which tokens are open, and how long all of it lasts."""

from __future__ import annotations

import argparse
import time
from typing import Any

from cockpit.cli.common import BAD, DONE, Fail, add_json, add_state, call, drive, print_json, say, table

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_agent(inner: Any) -> None:
    """Below `cockpit agent`."""
    child = inner.add_parser(
        "list", help="Who has joined: UUID, certificate, and who was revoked.", epilog="Example: cockpit agent list"
    )
    add_state(child)
    add_json(child)
    child.set_defaults(run=identities)
    child = inner.add_parser(
        "revoke", help="Believe a host or relay no more: its connections are cut at once, everywhere.",
        description="Believe a host or relay no more. Its connections are cut at once, its open tokens die, peers, "
        "relays and the controller refuse it. Services on it run on. It can join anew with a new token.",
        epilog="Example: cockpit agent revoke sh-4 --why 'disk was stolen'",
    )
    child.add_argument("name", metavar="NAME", help="the host or relay")
    child.add_argument("--uuid", metavar="U", default="", help="this identity, when the name had several")
    child.add_argument("--why", metavar="TEXT", default="", help="for the journal and the host's card")
    add_state(child)
    add_json(child)
    child.set_defaults(run=revoke)
    child = inner.add_parser("tokens", help="Join tokens that are open.", epilog="Example: cockpit agent tokens")
    add_state(child)
    add_json(child)
    child.set_defaults(run=tokens)


def add_token_options(child: argparse.ArgumentParser) -> None:
    """Of `cockpit agent token`."""
    child.add_argument("--ttl", metavar="TIME", default="1h", help="how long it may be used: 30m, 2h, 7d (1h)")
    child.add_argument("--withdraw", metavar="ID", help="no new token: this open one dies")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "ca", help="The cluster's authority: its fingerprint and until when it holds.", epilog="Example: cockpit ca"
    )
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=authority)


def seconds(text: str) -> float:
    """`30m`, `2h`, `7d`, `90` (seconds). Raises Fail."""
    number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1.0)
    if not number.isascii() or not number.isdigit() or not 0 < len(number) < 10 or not int(number):
        raise Fail(BAD, f"--ttl {text!r}: a time is wanted, for example 30m, 2h or 7d")
    return int(number) * unit


def token_withdrawn(args: argparse.Namespace) -> int:
    async def work() -> int:
        answer = await call(args, lambda s: s.call("token_withdraw", {"id": args.withdraw}))
        if args.json:
            print_json(answer)
        else:
            say(f"token {answer['id']}{_for(answer['host'])} was withdrawn")
        return DONE

    return drive(work)


def identities(args: argparse.Namespace) -> int:
    async def work() -> int:
        answer = await call(args, lambda s: s.call("identities"))
        if args.json:
            print_json(answer)
            return DONE
        now, texts = float(answer["now"]), answer["texts"]
        rows = [
            (
                i["name"], i["kind"], i["uuid"], i["serial"][:16] or "-", _until(i["expires"], now),
                i["revoked"] or texts.get(i["name"], ""),
            )
            for i in answer["identities"]
        ]
        rows += [(name, "-", "-", "-", "-", "has not joined") for name in answer["missing"]]
        say(table(("NAME", "KIND", "UUID", "SERIAL", "CERTIFICATE", "NOTE"), rows))
        return DONE

    return drive(work)


def revoke(args: argparse.Namespace) -> int:
    async def work() -> int:
        ask = {"name": args.name, "uuid": args.uuid, "why": args.why}
        row = await call(args, lambda s: s.call("revoke", ask))
        if args.json:
            print_json(row)
        else:
            say(f"{row['kind']} {row['name']} ({row['uuid']}) is revoked; its services run on, unseen")
            say(f"to let it in again: cockpit agent token {row['name']}")
        return DONE

    return drive(work)


def tokens(args: argparse.Namespace) -> int:
    async def work() -> int:
        found = await call(args, lambda s: s.call("tokens"))
        if args.json:
            print_json(found)
        elif not found:
            say("no token is open")
        else:
            now = time.time()
            rows = [(t["id"], t["host"] or "any host", _until(t["expires"], now), t["by"] or "-") for t in found]
            say(table(("ID", "FOR", "EXPIRES", "MADE BY"), rows))
        return DONE

    return drive(work)


def authority(args: argparse.Namespace) -> int:
    async def work() -> int:
        answer = await call(args, lambda s: s.call("authority"))
        if args.json:
            print_json(answer)
            return DONE
        now = float(answer["now"])
        say(f"authority of {answer['cluster']}, SHA-256 {answer['fingerprint']}")
        say(f"  its certificate: {_until(answer['ca']['expires'], now)}")
        if answer["controller"]:
            say(f"  the controller's: {_until(answer['controller']['expires'], now)}, renewed by itself")
        return DONE

    return drive(work)


def _for(host: str) -> str:
    return f" for {host}" if host else ""


def _until(at: float, now: float) -> str:
    """`until 2026-02-19 (89 days)`."""
    if not at:
        return "not known"
    left = at - now
    if left <= 0:
        return f"expired {time.strftime('%Y-%m-%d %H:%M', time.localtime(at))}"
    words = f"{left / 86400:.0f} days" if left >= 2 * 86400 else f"{left / 3600:.1f} h"
    return f"until {time.strftime('%Y-%m-%d %H:%M', time.localtime(at))} ({words})"
