"""What changed, in words."""

from __future__ import annotations

import msgspec

from cockpit.history.words import mark_of, name_of, told
from cockpit.model.view import AlertRow


def test_an_alert_is_told_by_what_it_is_about_and_one_that_ended_does_not_look_like_trouble() -> None:
    row = AlertRow(id="a5", when="crash-loop", group="shop.web", members=("shop.web/0",), text="signal 9")
    ended = msgspec.structs.replace(row, state="ended", ended=5.0)
    assert name_of("alerts", "a5", row) == "shop.web crash-loop"
    assert told("alerts", row, ended) == ("changed", "firing", "ended")
    assert told("alerts", None, row) == ("new", "", "signal 9, firing")
    marks = [mark_of("alerts", msgspec.structs.replace(row, state=s)) for s in ("firing", "acknowledged", "ended")]
    assert marks == ["failed", "paused", "absent"]
