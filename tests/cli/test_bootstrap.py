"""What `bootstrap` asks of the controller."""

from __future__ import annotations

from pathlib import Path

from cockpit.cli.bootstrap import Controller
from cockpit.controller.serving import here
from tests.controller.fakes import engine


async def test_a_host_that_is_an_agents_already_is_not_switched_again(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        side = Controller(c.session(here()))
        await side.load()
        (host, *_) = side.expected.hosts
        assert side.expected.hosts[host].connection == "agent"
        assert await side.switch(host) == "the topology says so already"
