"""The card of a host: how it is reached, what it lacks, and the difference between unknown and down."""

from __future__ import annotations

import msgspec
import pytest

from cockpit.model.view import HostRow
from tests.screens.canned import NOW, CannedSession, snapshot
from tests.screens.drive import LARGE, SMALL, driven

RELAYED = {
    "path": ("relay-2", "relay-1"), "transport": "http2", "agent_version": "1.4.0", "upgrading": "1.5.0",
    "keeper_version": "1.4.0",
}  # fmt: skip
AGENTLESS = {
    "connection": "ssh", "transport": "ssh", "agent_pid": None, "keeper_pid": None,
    "missing": ("Crashed services are not restarted within milliseconds: nobody on the host waits for them.",),
    "trouble": ("The key of its sshd is not in known_hosts.",),
}  # fmt: skip
UNKNOWN = {"presence": "unknown", "mark": "unknown", "reason": "relay-1 does not answer", "seen": NOW - 75}
DOWN = {"presence": "down", "mark": "failed", "reason": "the machine was shut down", "seen": NOW - 75}


def session(**facts: object) -> CannedSession:
    first = snapshot()
    row: HostRow = msgspec.structs.replace(first.hosts["bj-1"], **facts)
    return CannedSession(msgspec.structs.replace(first, hosts={**first.hosts, "bj-1": row}))


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, ("its agent dials in", "live, ping 31 ms", "INSTANCES   2 here, 2 wanted", "RELEASES", "web/1.1.0")),
        (RELAYED, ("http2 through relay-2, then relay-1", "1.4.0 → 1.5.0 is being started")),
        (AGENTLESS, ("no agent: entered by SSH", "1 trouble", "NOT AVAILABLE HERE", "known_hosts", "milliseconds")),
        (UNKNOWN, ("? unknown for", "relay-1 does not answer", "last 1m ago")),
        (DOWN, ("✖ down for", "the machine was shut down")),
    ],
)
async def test_what_the_card_says(size: tuple[int, int], facts: dict[str, object], words: tuple[str, ...]) -> None:
    async with driven(size, session(**facts), address="host bj-1") as d:
        await d.at("HostScreen")
        for each in words:
            await d.sees(each)


async def test_from_the_list_to_the_card_to_an_instance_and_back() -> None:
    async with driven(LARGE, session(**RELAYED)) as d:
        await d.press("h")
        await d.at("HostsScreen")
        await d.sees("relay-2 http2")
        await d.sees("1.4.0 → 1.5.0")
        await d.press("e")
        await d.at("HostScreen")
        await d.sees("through relay-2, then relay-1")
        screen = d.app.screen
        assert screen.sheet.items  # type: ignore[attr-defined]
        at = next(i for i, item in enumerate(screen.sheet.items) if item.door[:1] == ("node",))  # type: ignore[attr-defined]
        screen.sheet.go(at)  # type: ignore[attr-defined]
        await d.press("enter")
        await d.at("NodeScreen")
        await d.press("escape", "escape")
        await d.at("HostsScreen")


async def test_an_unknown_name_is_said() -> None:
    async with driven(SMALL, address="host nowhere") as d:
        await d.sees("is not a host of this cluster")
