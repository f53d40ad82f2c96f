"""What is written in pieces is what the encoder writes in one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cockpit.model.view import Head, HostRow, NodeRow, Snapshot
from cockpit.plan.steps import Intent, Plan, Step
from cockpit.session.spelling import PIECE, spelled


class Renamed(msgspec.Struct, frozen=True):
    here: list[int] = msgspec.field(name="import")
    left: str = ""


class Brief(msgspec.Struct, frozen=True, omit_defaults=True):
    here: list[int] = []
    left: str = ""


class Tagged(msgspec.Struct, frozen=True, tag="t"):
    here: list[int] = []


MANY = PIECE * 2 + 7
HEAD = Head(cluster="c", revision=1, digest="d", now=1.5)
STEPS = tuple(Step(id=f"s{n}", kind="stop", text='say "é"\n', host="h") for n in range(MANY))
VALUES: list[Any] = [
    None, 1, "x", [], {}, {"a": ()}, list(range(PIECE)), list(range(PIECE + 1)), tuple(range(MANY)),
    {str(n): n for n in range(MANY)}, {"id": 7, "ok": True, "result": {"a": [[]], "b": list(range(MANY)), "c": {}}},
    {n: n for n in range(MANY)}, [{"a": [{"b": list(range(MANY))}]}], [[[[[[[list(range(MANY))]]]]]]],
    Renamed(list(range(MANY))), Brief(list(range(MANY))), Tagged(list(range(MANY))),
    Plan(intent=Intent(verb="deploy", author="li"), base=1, title="t", risk="change", steps=STEPS),
    {"id": None, "item": Snapshot(
        head=HEAD, nodes={str(n): NodeRow(path=str(n), kind="service") for n in range(PIECE)},
        hosts={str(n): HostRow(name=str(n), region="é", presence="up", address="10.0.0.1") for n in range(MANY)},
    )},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_pieces_are_the_whole(value: Any) -> None:
    assert b"".join(spelled(value)) == msgspec.json.encode(value)


def test_what_is_long_comes_in_pieces_and_what_is_short_does_not() -> None:
    assert len(list(spelled({"result": {"rows": list(range(MANY))}}))) > 3
    assert len(list(spelled({"result": {"rows": list(range(PIECE))}}))) == 1
