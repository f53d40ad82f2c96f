"""`S`: what it says when there can be no shell. The shell itself: tests/e2e/test_shell.py."""

from __future__ import annotations

import pytest

from screens.aim import Aim
from screens.shell import wanted
from tests.screens.canned import CannedSession
from tests.screens.drive import driven


@pytest.mark.parametrize(("aim", "said"), [
    (Aim("host", ("bj-1",)), {"host": "bj-1"}),
    (Aim("instance", ("puzzle.web/2",)), {"instance": "puzzle.web/2"}),
    (Aim("node", ("puzzle.web",)), "put the cursor on a host or an instance"),
    (Aim(), "put the cursor on a host or an instance"),
    (Aim("host", ("a", "b")), "2 are marked"),
])  # fmt: skip
def test_where(aim: Aim, said: object) -> None:
    found = wanted(aim)
    assert found == said or isinstance(said, str) and said in found


async def test_read_only_has_none() -> None:
    session = CannedSession(read_only="this is a view-only socket")
    async with driven(session=session) as d:
        await d.press("h")
        await d.at("HostsScreen")
        await d.press("S")
        await d.sees("shell is off: this is a view-only socket")
    assert not [op for op, _ in session.called if op == "shell"]


async def test_a_screen_without_a_terminal_says_so() -> None:
    session = CannedSession()
    async with driven(session=session) as d:
        await d.press("h")
        await d.at("HostsScreen")
        await d.press("S")
        await d.sees("this screen has no terminal of its own")
    assert not [op for op, _ in session.called if op == "shell"]
