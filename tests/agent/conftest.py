"""Fixtures: a fake controller, and an agent (with its keeper) that dials in to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agent.fake import AgentProcess, FakeController
from tests.helpers import loopback


@pytest.fixture
async def controller(tmp_path: Path) -> AsyncIterator[FakeController]:
    fake = FakeController(tmp_path, loopback())
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def agent(short_dir: Path, controller: FakeController) -> AsyncIterator[AgentProcess]:
    """A joined agent that is connected."""
    process = AgentProcess(short_dir / "h", controller)
    process.enroll()
    first = await process.start()
    try:
        await controller.connected()
        yield process
    finally:
        await process.end()
        if first.returncode is None:
            await first.wait()
