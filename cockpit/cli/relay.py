"""`cockpit relay`: join as a region's relay and run it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from cockpit.cli.common import BAD, NO_ANSWER, Fail, say


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "relay", help="Run a region's relay: its hosts' way to the controller, cache, seeder and tracker.",
        description="Run a region's relay. The token is needed once; DIR keeps identity, settings and cache. What the"
        " topology says of it comes from the controller, also while it runs; options are for before that.",
        epilog="Example: cockpit relay --dir /var/lib/cockpit-relay --join TOKEN --controller https://10.0.0.1:7700",
    )
    parser.add_argument("--dir", metavar="DIR", required=True, help="the relay's directory")
    parser.add_argument("--join", metavar="TOKEN", help="one-time token from `cockpit agent token RELAY`")
    parser.add_argument("--controller", metavar="URL", help="where the controller listens")
    parser.add_argument("--name", metavar="RELAY", help="this relay's name in the topology (default: the token's)")
    parser.add_argument("--address", metavar="IP", help="where it listens, and its source address")
    parser.add_argument("--port", metavar="N", type=int, help="where it listens for artifacts")
    parser.add_argument("--link-port", metavar="N", type=int, help="where it listens for agents (its link_port)")
    parser.add_argument(
        "--link-upstream", metavar="URL", action="append",
        help="where it dials for links: a relay above it, or the controller; may be repeated, in order",
    )
    parser.add_argument(
        "--upstream", metavar="[RELAY@]HOST:PORT", help="what it asks: a relay by name, or the controller's origin"
    )
    parser.add_argument("--cache", metavar="SIZE", help="how much it keeps (20G), least recently used goes first")
    parser.add_argument("--rate", metavar="SIZE", help="bytes per second that it sends (10M; 0 is unlimited)")
    parser.set_defaults(run=relay)


def relay(args: argparse.Namespace) -> int:
    """Options go before what the controller said at joining; both are for this run and later ones."""
    from cockpit.agent.files import make_dir, write_json
    from cockpit.agent.identity import origin
    from cockpit.model.problems import Wrong
    from cockpit.model.units import parse_size
    from cockpit.swarm.settings import BadSettings, Settings

    directory = Path(args.dir).absolute()
    make_dir(str(directory))
    told = _join(args, directory)
    given = {key: getattr(args, key) for key in ("address", "port", "upstream", "link_port")}
    try:
        given["link_upstream"] = args.link_upstream and [origin(url) for url in args.link_upstream]
        for key in ("cache", "rate"):
            size = getattr(args, key)
            given[key] = None if size is None else parse_size(size.upper())
        known = Settings.load(str(directory)) if told is None else Settings.of(told)
        settings = known.merged(given).complete()
    except (BadSettings, Wrong, ValueError) as e:
        raise Fail(BAD, str(e)) from None
    if told is not None or any(value is not None for value in given.values()):
        write_json(str(directory / "relay.json"), settings.doc())
    sys.stdout.flush()
    command = [sys.executable, "-I", "-m", "cockpit.relay", "--dir", str(directory)]
    os.execv(sys.executable, command)


def _join(args: argparse.Namespace, directory: Path) -> dict[str, Any] | None:
    """What the controller told us about ourselves; None when we had joined before."""
    from cockpit.agent.identity import Identity, IdentityError, of_another
    from cockpit.agent.join import JoinError, Unanswered, enrol

    try:
        identity = Identity.load(str(directory))
        if identity is not None and not (args.join and args.controller and of_another(identity, args.join)):
            return None
        if not args.join or not args.controller:
            raise Fail(BAD, f"{directory} has no identity: give --controller URL and --join TOKEN once")
        name, answer = enrol(
            str(directory), args.controller, args.join, args.name or "", args.address or "", "relay"
        )
    except Unanswered as e:
        raise Fail(NO_ANSWER, str(e)) from None
    except (IdentityError, JoinError) as e:
        raise Fail(BAD, str(e)) from None
    say(f"joined as relay {name}")
    told = answer.get("relay")
    return told if isinstance(told, dict) else {}
