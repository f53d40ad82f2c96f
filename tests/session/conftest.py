from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.session.engine import Engine, House


@pytest.fixture
async def house(short_dir: Path) -> AsyncIterator[House]:
    Engine.open.clear()
    made = House(short_dir)
    await made.start()
    yield made
    assert made.server is not None
    await made.server.stop()
