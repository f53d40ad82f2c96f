"""Pictures of a rehearsal, well and with a failure."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from screens.widgets.lines import Lines
from tests.screens.drive import SMALL, Driver, make_app, until
from tests.screens.test_acting import Rehearsing, to_plan

SIZES = {"80x24": SMALL, "120x40": (120, 40)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["rehearsed", "fails"])
def test_picture(snap_compare: Any, name: str, size: str) -> None:
    async def run(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        d = Driver(app, pilot, app.session)
        await until(lambda: app.screen.panes and app.screen.panes[0].count())
        await to_plan(d)
        await d.press("h")
        await until(lambda: getattr(app.screen, "forecast", None), "the rehearsal")
        if name == "fails":
            await d.press("end", "f")
            await until(lambda: app.screen.faults and app.screen.working is None, "the second rehearsal")
            await d.press("home")
        await d.settled()
        await until(lambda: not any(lines._timer_on for lines in app.screen.query(Lines)), "the last repaint")
        await pilot.pause()

    assert snap_compare(make_app(Rehearsing()), run_before=run, terminal_size=SIZES[size])
