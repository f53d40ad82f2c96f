"""`cockpit ssh`: how the ways in by SSH stand, and what they ask: passwords, second factors, passphrases."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import DIFFERS, DONE, Fail, add_json, add_state, connect, drive, print_json, say

if TYPE_CHECKING:
    from cockpit.ports import Session

SETTLE = 8.0
"""Seconds that a screen waits for the first handshakes: they may have to ask something."""
LOOK = 0.2
WORDS = {"waiting": "waits for an answer", "failed": "no way in"}


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "ssh", help="Show how hosts are entered by SSH, and answer what they ask.",
        description="Hosts without an agent, and those whose agents are reached by SSH. Asked for a password or a "
        "second factor, answers go to the controller's memory only.",
        epilog="Example: cockpit ssh",
    )
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=lambda args: drive(lambda: _ssh(args)))


async def _ssh(args: argparse.Namespace) -> int:
    session = connect(args)
    await session.connect()
    try:
        if sys.stdin.isatty() and not args.json:
            await answer_prompts(session, settle=SETTLE)
        found = await session.call("ssh", {})
        if args.json:
            print_json(found)
        else:
            show(found)
        return DONE if all(s.get("state") == "connected" for s in found["states"].values()) else DIFFERS
    finally:
        await session.close()


def show(found: dict[str, Any]) -> None:
    if not found["states"]:
        say("nothing is entered by SSH: no host or relay of the topology says so")
    width = max((len(name) for name in found["states"]), default=0)
    for name, state in sorted(found["states"].items()):
        text = f": {state['text']}" if state.get("text") else ""
        say(f"{name:{width}}  {WORDS.get(str(state.get('state')), str(state.get('state')))}{text}")
    for prompt in found["prompts"].values():
        say(f"{prompt['host']} asks: {prompt['text']} (answer on a terminal: cockpit ssh)")


async def answer_prompts(session: Session, *, settle: float = 0.0) -> None:
    """Ask on this terminal what the ways in ask, until nothing is asked any more and none is being tried,
    or `settle` seconds are over. Whoever may only look is not asked."""
    if session.who.read_only:
        return
    until = time.monotonic() + settle
    while True:
        found = await session.call("ssh", {})
        for id, prompt in found["prompts"].items():
            text = await asyncio.to_thread(_ask, f"{prompt['host']}: {prompt['text'].rstrip()} ", prompt["secret"])
            await session.call("ssh_answer", {"prompt": id, "text": text})
            until = time.monotonic() + settle
        trying = any(s.get("state") in ("connecting", "waiting") for s in found["states"].values())
        if not trying or time.monotonic() > until:
            return
        await asyncio.sleep(LOOK)


def _ask(text: str, secret: bool) -> str:
    import getpass

    try:
        return getpass.getpass(text) if secret else input(text)
    except (EOFError, KeyboardInterrupt):
        raise Fail(DIFFERS, "not answered: those hosts stay unknown (cockpit ssh asks again)") from None
