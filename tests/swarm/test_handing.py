"""Who gets a head from whom: the decisions of one tracker."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.swarm.handing import (
    AT_ONCE,
    FAULTS,
    HELD,
    Ask,
    Decisions,
    Direct,
    Handing,
    Holder,
    Over,
    Wanted,
    patience,
    share,
)

WHOLE = Wanted("manifest", "")
SIZE = 80_000
SWARM = "s"


class Table:
    """A tracker with the shortest names: node `n`, and its questions numbered as they come."""

    def __init__(self) -> None:
        self.handing = Handing()
        self.now = 0.0
        self.asked: dict[int, str] = {}
        self.got: dict[str, str] = {}
        """Asker -> whom it was last sent to; empty: the tracker."""

    def ask(self, name: str, wanted: Wanted = WHOLE, region: str = "sh", failed: str = "") -> None:
        token = len(self.asked)
        self.asked[token] = name
        self.got.pop(name, None)
        self.take(self.handing.asked(SWARM, token, name, wanted, region, SIZE, self.now, failed))

    def holds(self, name: str, region: str = "sh", base: str = "") -> None:
        self.take(self.handing.holds(SWARM, Holder(name, "host", "127.0.0.1", 1), region, base, self.now))

    def take(self, decisions: Decisions) -> None:
        for decision in decisions:
            if isinstance(decision, Over):
                assert self.asked[decision.token] not in self.got
                continue
            assert self.asked[decision.token] not in self.got
            self.got[self.asked[decision.token]] = "" if isinstance(decision, Direct) else decision.holder.name

    def waits(self) -> set[str]:
        return set(self.asked.values()) - set(self.got)


def test_the_tracker_serves_two_and_the_rest_is_handed_on_evenly() -> None:
    table = Table()
    names = [f"h{i}" for i in range(14)]
    for name in names:
        table.ask(name)
    assert table.got == {"h0": "", "h1": ""}
    table.holds("h0")
    assert table.got == {"h0": "", "h1": "", "h2": "h0", "h3": "h0"}
    table.holds("h1")
    assert [table.got[n] for n in ("h4", "h5")] == ["h1", "h1"]
    for name in names[2:6]:
        table.holds(name)
    assert not table.waits()
    assert max(Counter(table.got.values()).values()) <= 4
    assert table.handing.counts(SWARM) == (2, 12, 0)
    assert table.handing.wake(0.0) is None


def test_who_comes_late_goes_to_the_least_used() -> None:
    table = Table()
    table.ask("h0")
    table.holds("h0")
    table.ask("h1")
    table.holds("h1")
    table.ask("h2")
    table.holds("h2")
    assert table.got == {"h0": "", "h1": "h0", "h2": "h1"}


def test_a_region_asks_its_own() -> None:
    table = Table()
    table.ask("sh-1", region="sh")
    table.holds("sh-1", region="sh")
    table.ask("bj-1", region="bj")
    assert table.got["bj-1"] == ""
    table.ask("bj-2", region="bj")
    table.ask("bj-3", region="bj")
    assert table.got["bj-2"] == "" and "bj-3" not in table.got  # two are being served, none of the region has it
    table.ask("sh-2", region="sh")
    assert table.got["sh-2"] == "sh-1"
    table.holds("bj-1", region="bj")
    assert table.got["bj-3"] == "bj-1"


def test_a_difference_comes_from_who_has_it_and_the_whole_from_anybody() -> None:
    table = Table()
    table.holds("h0", base="old")
    table.holds("h1", base="older")
    table.ask("h2", Wanted("manifest", "old"))
    table.ask("h3", Wanted("manifest", "oldest"))
    table.ask("h4", Wanted("layout", ""))
    assert table.got["h2"] == "h0" and table.got["h3"] == "" and table.got["h4"] in ("h0", "h1")


def test_who_got_nothing_is_served_by_the_tracker_and_a_liar_is_found_out() -> None:
    table = Table()
    table.holds("liar")
    table.ask("h0")
    table.ask("h1")
    assert table.got == {"h0": "liar", "h1": "liar"}
    table.ask("h0", failed="liar")
    assert table.got["h0"] == ""
    table.ask("h1", failed="liar")
    assert table.got["h1"] == ""
    table.ask("h2")
    assert "h2" not in table.got  # nobody has it any more: a place at the tracker
    table.holds("h0")
    assert table.got["h2"] == "h0"
    table.holds("liar")  # saying it again does not help
    table.holds("h1")
    for n in range(3, 6):
        table.ask(f"h{n}")
    assert table.got["h3"] in ("h0", "h1") and "liar" not in (table.got["h4"], table.got["h5"])
    assert table.handing.counts(SWARM).again == 2


def test_nobody_is_blamed_by_who_was_not_sent_there() -> None:
    table = Table()
    table.holds("good")
    for _ in range(10):
        table.ask("liar", failed="good")
        table.now += share(SIZE)
        table.take(table.handing.tick(table.now))
    table.ask("h0")
    assert table.got["h0"] == "good"


def test_a_node_that_goes_frees_those_it_blocks() -> None:
    table = Table()
    for name in ("h0", "h1", "h2", "h3"):
        table.ask(name)
    table.take(table.handing.gone("h0", table.now))
    assert table.got["h2"] == ""
    table.handing.cancelled(3)
    table.take(table.handing.gone("h3", table.now))
    table.holds("h1")
    table.holds("h2")
    for n in range(4, 9):
        table.ask(f"h{n}")
    assert table.waits() == {"h3", "h8"}  # h3 has gone
    table.take(table.handing.left(SWARM, "h4", table.now))
    assert table.got["h8"] in ("h1", "h2")
    for name in {*table.asked.values()}:
        table.take(table.handing.gone(name, table.now))
    assert table.handing.counts(SWARM) == (0, 0, 0)  # and nothing is kept


def test_who_never_says_anything_keeps_its_place_for_a_while_only() -> None:
    table = Table()
    for n in range(6):
        table.ask(f"h{n}")
    assert table.handing.wake(0.0) is not None
    table.now = share(SIZE) + 0.01
    table.take(table.handing.tick(table.now))
    assert table.got["h2"] == table.got["h3"] == "" and "h4" not in table.got
    table.holds("h0")
    assert table.got["h4"] == table.got["h5"] == "h0"
    table.ask("h6")
    assert "h6" not in table.got
    table.now += patience(SIZE)
    table.take(table.handing.tick(table.now))
    assert table.got["h6"] == "h0"


def test_a_question_that_is_asked_again_is_decided_once() -> None:
    table = Table()
    for name in ("h0", "h1", "h2", "h2"):
        table.ask(name)
    assert "h2" not in table.got
    table.holds("h0")
    assert table.got["h2"] == "h0" and table.handing.counts(SWARM) == (2, 1, 0)


def test_what_one_node_holds_has_an_end() -> None:
    handing = Handing()
    holder = Holder("h0", "host", "127.0.0.1", 1)
    for n in range(HELD):
        handing.holds(str(n), holder, "sh", "", 0.0)
    handing.holds("0", holder, "sh", "", 0.0)
    with pytest.raises(ValueError, match="more than"):
        handing.holds("one more", holder, "sh", "", 0.0)
    handing.gone("h0", 0.0)
    handing.holds("one more", holder, "sh", "", 0.0)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["ask", "holds", "fails", "gone", "tick"]), st.integers(0, 11)), max_size=80
)


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_nobody_is_crowded_and_everybody_is_served(events: list[tuple[str, int]]) -> None:
    """Whatever happens: two at once for each source, nobody sent to itself, all waiting ones served in the end."""
    table = Table()
    open_: dict[str, str] = {}
    region = ("sh", "bj")
    for op, n in events:
        name, place = f"h{n}", region[n % 2]
        before = dict(table.got)
        if op == "ask":
            table.ask(name, region=place)
            open_.pop(name, None)
            before.pop(name, None)
        elif op == "holds":
            open_.pop(name, None)
            table.holds(name, place)
        elif op == "fails" and table.got.get(name):
            failed = table.got[name]
            open_.pop(name, None)
            before.pop(name, None)
            table.ask(name, region=place, failed=failed)
        elif op == "gone":
            for token, asker in list(table.asked.items()):
                if asker == name and name not in table.got:
                    table.handing.cancelled(token)
            open_.pop(name, None)
            open_ = {asker: source for asker, source in open_.items() if source != name}
            table.take(table.handing.gone(name, table.now))
            table.got.setdefault(name, "gone")
            before[name] = table.got[name]
        else:
            table.now += patience(SIZE)
            open_.clear()
            table.take(table.handing.tick(table.now))
        for asker, source in table.got.items():
            if before.get(asker) != source and source != "gone":
                open_[asker] = source
                assert source != asker
        assert all(count <= AT_ONCE for count in Counter(open_.values()).values())
    for _ in range(20):
        table.now += patience(SIZE)
        table.take(table.handing.tick(table.now))
    assert not table.waits()
    assert table.handing.wake(table.now) is None


def test_a_thousand_come_at_once() -> None:
    """The tracker sends two copies; no node sends many; and the tree is not deep."""
    table = Table()
    names = [f"h{i}" for i in range(1000)]
    for name in names:
        table.ask(name)
    ready, rounds = set(table.got), 0
    done: set[str] = set()
    while len(done) < len(names):
        rounds += 1
        assert ready and rounds < 30
        for name in sorted(ready):
            table.holds(name)
        done |= ready
        ready = set(table.got) - done
    assert table.handing.counts(SWARM).direct == AT_ONCE
    assert max(count for source, count in Counter(table.got.values()).items() if source) <= 2 * rounds
    assert rounds <= 7 and FAULTS > 1
    assert isinstance(Ask(0, Holder("h", "host", "a", 1)).holder, Holder)
