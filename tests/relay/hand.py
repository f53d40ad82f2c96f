"""A switch by hand: lines that note what they are told, and the frames of an upstream."""

from __future__ import annotations

import json
from typing import Any

from cockpit.link import trunk_frames as t
from cockpit.relay.memory import Memory
from cockpit.relay.switch import Agent, Switch


class Line:
    """What was put, and why it was cut."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.why = ""

    def put(self, text: str) -> None:
        assert not self.why, "nothing is said to a line that was cut"
        self.got.append(json.loads(text))

    def cut(self, why: str) -> None:
        assert not self.why
        assert why
        self.why = why


def enc(**frame: Any) -> bytes:
    return json.dumps(frame).encode()


def switch(name: str = "a") -> Switch:
    return Switch(name, f"uuid-{name}", Memory(), begin=1000)


def drain(made: Switch, now: float | None = None) -> list[dict[str, Any]]:
    """What goes up now; without a time, all that waits."""
    found = []
    while (due := made.queue.due()) is not None:
        text = made.queue.take(due if now is None else now)
        if text is None:
            assert now is not None
            break
        found.append(json.loads(text))
    return found


def welcome(made: Switch, **facts: Any) -> None:
    made.from_above(t.text(t.Welcome("test", **facts)), 0.0)


def agent(made: Switch, host: str = "h", *, role: str = "", admitted: bool = True) -> tuple[Agent, Line]:
    line = Line()
    hello = enc(t="hello", host=host, uuid=f"u-{host}", role=role, more=1)
    found = made.connect(line, host, f"u-{host}", hello, "http2", 0.0)
    assert found is not None, line.why
    if admitted:
        made.from_above(enc(t="to", sid=found.sid, frame={"t": "welcome", "region": "sh"}), 0.0)
    return found, line


def up(frames: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(sid, frame) for f in frames if f["t"] == "up" for sid, frame in f["frames"]]


def unit(name: str, **facts: Any) -> dict[str, Any]:
    return {"unit": name, "n": 0, **facts}
