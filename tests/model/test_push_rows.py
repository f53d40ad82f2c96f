"""Facts of a receiver become a row; what is malformed is never shown as more than nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.push_rows import CELLS, in_state, merged, with_facts
from cockpit.model.topology import Expected, Host, Region, Relay
from cockpit.model.view import PushRow

EXPECTED = Expected(
    name="x", regions={"sh": Region(), "bj": Region()},
    hosts={
        "sh-1": Host(region="sh", address="127.0.1.1"), "sh-2": Host(region="sh", address="127.0.1.2"),
        "bj-1": Host(region="bj", address="127.0.2.1"),
    },
    relays={"relay-sh": Relay(region="sh", address="127.0.1.9"), "relay-bj": Relay(region="bj", address="127.0.2.9")},
)  # fmt: skip
ROW = PushRow(action="#1", artifact="web/1.0", host="sh-1", region="sh", state="running", size=1000)


def test_shares_by_where_they_came_from() -> None:
    facts = {
        "pieces": 10, "have": 6, "had": 2, "cells": "##==++....", "to_move": 800, "moved": 400, "rate": 100.0,
        "from": {"relay-sh": 100, "sh-2": 200, "bj-1": 60, "": 40}, "sent": 7, "bad": 1, "duplicates": 2,
        "fallbacks": 3, "peers": 4, "phase": "pieces",
    }
    row = with_facts(ROW, facts, EXPECTED)
    assert (row.from_source, row.from_relay, row.from_peers) == (40, 100, 260)
    assert row.wan == 100, "the source, and a host of another region"
    assert (row.pieces, row.have, row.had, row.cells) == (10, 6, 2, "##==++....")
    assert (row.eta, row.rate, row.moved, row.to_move) == (4.0, 100.0, 400, 800)
    assert (row.bad, row.duplicates, row.fallbacks, row.peers, row.sent) == (1, 2, 3, 4, 7)


def test_a_relay_of_another_region_counts_as_wan() -> None:
    assert with_facts(ROW, {"from": {"relay-bj": 5}}, EXPECTED).wan == 5


@pytest.mark.parametrize(("facts", "eta"), [({"to_move": 5, "moved": 5, "rate": 9}, None), ({"to_move": 5}, None)])
def test_no_guess_without_need_or_rate(facts: dict[str, Any], eta: float | None) -> None:
    assert with_facts(ROW, facts, EXPECTED).eta == eta


def test_states() -> None:
    busy = with_facts(ROW, {"rate": 5, "to_move": 10}, EXPECTED)
    held = in_state(busy, "paused", note="")
    assert (held.mark, held.rate, held.eta, held.ended) == ("paused", 0.0, None, None)
    over = in_state(busy, "failed", note="no room", ended=7.0)
    assert (over.mark, over.note, over.ended, over.rate) == ("failed", "no room", 7.0, 0.0)
    assert in_state(over, "running", ended=9.0).ended is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = ("pieces", "have", "had", "cells", "to_move", "moved", "rate", "from", "sent", "bad", "phase", "note")


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING))
def test_whatever_a_receiver_says(facts: dict[str, Any]) -> None:
    row = with_facts(ROW, facts, EXPECTED)
    assert len(row.cells) <= CELLS and set(row.cells) <= set("#=+.")
    assert min(row.pieces, row.have, row.had, row.to_move, row.moved, row.sent, row.bad, row.wan) >= 0
    assert row.rate >= 0 and (row.eta is None or row.eta >= 0)
    assert len(row.note) <= 200 and row.phase in ("manifest", "pieces", "install", "seed", "")


def test_a_receiver_of_several_artifacts_has_one_row() -> None:
    one = with_facts(ROW, {"pieces": 1, "have": 1, "cells": "#", "to_move": 5, "moved": 5, "from": {"": 5}}, EXPECTED)
    one = in_state(one, "done", ended=9.0)
    other = msgspec.structs.replace(ROW, artifact="db/2", size=3000)
    other = with_facts(other, {"pieces": 3, "have": 0, "cells": "...", "to_move": 9, "rate": 3.0}, EXPECTED)
    row = merged([one, other])
    assert (row.artifact, row.state, row.pieces, row.have, row.size) == ("db/2, web/1.0", "running", 4, 1, 4000)
    assert (row.to_move, row.moved, row.from_source, row.eta, row.ended) == (14, 5, 5, 3.0, None)
    assert set(row.cells[:16]) == {"#"} and set(row.cells[16:]) == {"."} and len(row.cells) == CELLS
    assert merged([one]) == one
    assert merged([one, in_state(other, "failed", note="no room", ended=12.0)]).note == "no room"
    assert merged([one, in_state(other, "done", ended=12.0)]).ended == 12.0
