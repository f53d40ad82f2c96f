"""The registry by table: what passes, what the floor keeps, what survives a restart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cockpit.model.actual import Exit, Unit
from cockpit.model.states import State
from cockpit.naming.registry import DRAINING, GONE, READY, Registry

SUDOKU = "puzzle.sudoku"


def unit(slot: int = 0, gen: int = 1, **facts: Any) -> Unit:
    instance = f"{facts.pop('service', SUDOKU)}/{slot}"
    facts.setdefault("ports", {"http": 20000 + slot})
    return Unit(
        **{
            "unit": f"{instance}:{gen}", "instance": instance, "gen": gen, "state": State.RUNNING,
            "wanted": True, "run": 1, "health": "ok", **facts,
        }
    )  # fmt: skip


class Books:
    """A registry, and hosts `h0`, `h1`.. that report one unit each unless said otherwise."""

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = registry or Registry()
        self.now = 1000.0

    def see(
        self, u: Unit, host: str = "", attributes: dict[str, str] | None = None, after: float = 1.0
    ) -> bool:
        self.now += after
        host = host or f"h{u.instance.rpartition('/')[2]}"
        service = u.instance.rpartition("/")[0]
        return self.registry.observe(u, host, f"127.0.0.{host[1:]}", service, attributes or {}, self.now)

    def up(self, count: int) -> Books:
        for n in range(count):
            self.see(unit(n))
        return self

    def ready(self, service: str = SUDOKU) -> list[str]:
        return [e["instance"].rpartition("/")[2] for e in self.listed(service) if e["state"] == READY]

    def listed(self, service: str = SUDOKU) -> list[dict[str, Any]]:
        return self.registry.services().get(service, [])

    def row(self, slot: int = 0, gen: int = 1) -> Any:
        return self.registry.endpoints[f"{SUDOKU}/{slot}:{gen}", "http"]


def failing(slot: int, **facts: Any) -> Unit:
    return unit(slot, health="failing", health_reason=f"tcp 127.0.0.{slot}:{20000 + slot} refused", **facts)


def crashed(slot: int, **facts: Any) -> Unit:
    return unit(slot, state=State.FAILED, exit=Exit(run=1, signal=9), **facts)


# what is published


def test_a_healthy_unit_is_published() -> None:
    books = Books()
    assert books.see(unit(3), attributes={"weight": "2"})
    assert books.registry.services() == {
        SUDOKU: [
            {
                "address": "127.0.0.3", "port": 20003, "name": "http", "state": "ready",
                "instance": "puzzle.sudoku/3", "attributes": {"weight": "2"},
            }
        ]
    }  # fmt: skip
    assert books.row(3).host == "h3" and books.row(3).since == books.now


@pytest.mark.parametrize(
    "facts",
    [
        {"state": State.PREPARING}, {"state": State.READY}, {"state": State.STARTING, "health": "starting"},
        {"state": State.STARTING}, {"health": "failing"}, {"health": "starting"}, {"state": State.FAILED},
        {"state": State.REJECTED}, {"state": State.COMPLETE}, {"state": State.SHUTDOWN},
        {"state": State.ORPHANED}, {"ports": {}},
    ],
    ids=str,
)  # fmt: skip
def test_a_unit_that_never_was_healthy_is_not(facts: dict[str, Any]) -> None:
    books = Books()
    assert not books.see(unit(**facts))
    assert books.ready() == [] and books.registry.endpoints == {}


def test_without_a_check_running_is_enough() -> None:
    books = Books()
    books.see(unit(health="none"))
    assert books.ready() == ["0"]


def test_every_port_is_an_endpoint() -> None:
    books = Books()
    books.see(unit(ports={"http": 80, "admin": 81}))
    assert [(e["name"], e["port"]) for e in books.listed()] == [("admin", 81), ("http", 80)]
    books.see(unit(ports={"http": 80}))
    assert [e["name"] for e in books.listed()] == ["http"]


def test_order_is_by_slot() -> None:
    books = Books()
    for slot in (10, 2, 1):
        books.see(unit(slot))
    assert books.ready() == ["1", "2", "10"]


def test_the_same_report_changes_nothing() -> None:
    books = Books().up(2)
    version = books.registry.version
    assert not books.see(unit(1, observed=5.0, connections=7, pid=3))
    assert books.registry.version == version


def test_new_attributes_are_published_and_keep_since() -> None:
    books = Books().up(1)
    since, version = books.row().since, books.registry.version
    assert books.see(unit(), attributes={"weight": "0"})
    assert books.listed()[0]["attributes"] == {"weight": "0"}
    assert books.row().since == since and books.registry.version > version


# the three states


def test_an_exit_confirmed_by_a_keeper_passes_even_for_the_last() -> None:
    books = Books().up(2)
    books.see(crashed(0))
    assert books.see(crashed(1))
    assert books.ready() == []
    assert (books.row(1).state, books.row(1).why, books.row(1).by) == (GONE, "signal 9", "keeper")


ENDS = [State.COMPLETE, State.SHUTDOWN, State.FAILED, State.REJECTED, State.REMOVE]


@pytest.mark.parametrize("state", ENDS)
def test_every_end_passes(state: State) -> None:
    books = Books().up(1)
    books.see(unit(state=state, wanted=False))
    assert books.listed() == []


def test_a_new_run_that_is_not_healthy_yet_is_out_though_the_exit_was_not_seen() -> None:
    books = Books().up(1)
    books.see(unit(run=2, state=State.STARTING, health="starting"))
    assert books.ready() == [] and books.row().state == GONE
    books.see(unit(run=2))
    assert books.ready() == ["0"] and books.row().why == ""


def test_a_draining_unit_is_listed_as_draining() -> None:
    books = Books().up(1)
    assert books.registry.drain("puzzle.sudoku/0:1", "li", "deploy #3", 2000.0)
    assert [e["state"] for e in books.listed()] == [DRAINING]
    row = books.row()
    assert (row.state, row.by, row.why, row.since) == (DRAINING, "li", "deploy #3", 2000.0)
    assert not books.registry.drain("puzzle.sudoku/0:1", "wang", "again", 2001.0)
    books.see(failing(0))
    books.see(unit(0))
    assert books.row().state == DRAINING
    assert books.registry.undrain("puzzle.sudoku/0:1", 2002.0)
    assert books.ready() == ["0"] and books.row().since == 2002.0


def test_drain_before_the_unit_is_healthy_holds_it_out() -> None:
    books = Books()
    books.registry.drain("puzzle.sudoku/0:1", "li", "not yet", 900.0)
    books.see(unit())
    assert [e["state"] for e in books.listed()] == [DRAINING]


def test_a_drained_unit_that_ends_is_gone_by_the_one_who_drained_it() -> None:
    books = Books().up(1)
    books.registry.drain("puzzle.sudoku/0:1", "li", "deploy #3", 2000.0)
    books.see(unit(state=State.SHUTDOWN, wanted=False, exit=Exit(run=1, code=0)))
    assert (books.row().state, books.row().by, books.row().why) == (GONE, "li", "exit 0")


def test_forget_and_expire() -> None:
    books = Books().up(1)
    assert books.registry.forget("puzzle.sudoku/0:1", 2000.0)
    assert books.registry.services() == {SUDOKU: []} and books.row().state == GONE
    assert not books.registry.expire(2059.9)
    version, rows = books.registry.version, books.registry.rows
    assert books.registry.expire(2060.0)
    assert books.registry.endpoints == {} and books.registry.services() == {}
    assert books.registry.version == version and books.registry.rows > rows
    assert not books.registry.forget("puzzle.sudoku/0:1")


def test_a_gone_endpoint_keeps_its_first_reason() -> None:
    books = Books().up(1)
    books.see(crashed(0))
    since = books.row().since
    books.see(unit(run=2, state=State.STARTING))
    assert (books.row().why, books.row().since) == ("signal 9", since)


# the floor


@pytest.mark.parametrize(
    ("count", "floor", "left"),
    [(1, 0.5, 1), (2, 0.5, 1), (3, 0.5, 2), (4, 0.5, 2), (5, 0.5, 3), (10, 0.9, 9), (10, 0.0, 1)],
)
def test_failed_health_removes_down_to_the_floor(count: int, floor: float, left: int) -> None:
    books = Books(Registry(floor=floor)).up(count)
    for slot in range(count):
        books.see(failing(slot))
    assert len(books.ready()) == left
    # those that failed last stay: what they answered is the newest good answer
    assert books.ready() == [str(n) for n in range(count - left, count)]
    assert "refused; kept" in books.row(count - 1).why


def test_a_kept_endpoint_goes_when_others_are_back() -> None:
    books = Books().up(2)
    books.see(failing(0))
    books.see(failing(1))
    assert books.ready() == ["1"]
    books.see(unit(0))
    assert books.ready() == ["0"] and books.row(1).by == "health check"


def test_healed_endpoints_return() -> None:
    books = Books().up(4)
    books.see(failing(2))
    assert books.ready() == ["0", "1", "3"] and "refused" in books.row(2).why
    books.see(unit(2))
    assert books.ready() == ["0", "1", "2", "3"]


def test_crashed_ones_still_count_for_the_floor() -> None:
    books = Books().up(4)
    books.see(crashed(0))
    books.see(crashed(1))
    books.see(failing(2))
    assert books.ready() == ["2", "3"]


def test_those_that_an_operator_took_out_do_not_count() -> None:
    """From 60 to 4: the floor follows, or a sick endpoint would stay for ever."""
    books = Books().up(60)
    for slot in range(4, 60):
        books.registry.drain(f"{SUDOKU}/{slot}:1", "li", "scale to 4", books.now)
        books.see(unit(slot, state=State.SHUTDOWN, wanted=False))
    books.see(failing(0))
    assert books.ready() == ["1", "2", "3"]


def test_drain_passes_below_the_floor() -> None:
    books = Books().up(2)
    for slot in range(2):
        books.registry.drain(f"{SUDOKU}/{slot}:1", "li", "stop", books.now)
    assert books.ready() == [] and len(books.listed()) == 2


# contact


def test_lost_contact_removes_nothing() -> None:
    books = Books().up(3)
    before = books.registry.dump()["endpoints"]
    for host in ("h0", "h1", "h2"):
        books.registry.host_lost(host)
    books.registry.expire(books.now + 1e6)
    assert books.registry.dump()["endpoints"] == before
    assert not books.see(unit(0, state=State.ORPHANED))
    assert books.ready() == ["0", "1", "2"]


def test_endpoints_that_nobody_hears_do_not_make_room_for_removing_others() -> None:
    books = Books().up(4)
    books.registry.host_lost("h0")
    books.registry.host_lost("h1")
    books.see(failing(2))
    books.see(failing(3))
    assert books.ready() == ["0", "1", "2", "3"]
    books.see(unit(0))
    books.see(unit(1))
    assert books.ready() == ["0", "1"]


def test_an_agent_that_began_anew_brings_no_news() -> None:
    books = Books().up(1)
    for facts in ({"state": State.STARTING, "health": "starting"}, {"health": "starting"}, {}):
        books.see(unit(**facts))
        assert books.ready() == ["0"]
    books.see(unit(health="starting"))
    books.see(crashed(0))
    assert books.ready() == []


def test_a_full_report_takes_out_what_it_does_not_name() -> None:
    books = Books()
    for slot in range(3):
        books.see(unit(slot), host="h1")
    books.see(unit(3), host="h2")
    assert books.registry.full_report("h1", [f"{SUDOKU}/1:1"], books.now)
    assert books.ready() == ["1", "3"]
    assert books.row(0).why == "no longer on h1"
    assert not books.registry.full_report("h1", [f"{SUDOKU}/1:1"], books.now)


# flapping


def flap(books: Books, slot: int, times: int) -> None:
    for _ in range(times):
        books.see(failing(slot))
        books.see(unit(slot))


def test_a_flapping_endpoint_is_held_out_until_it_is_stable() -> None:
    books = Books().up(4)
    flap(books, 0, 3)
    assert "0" in books.ready()
    flap(books, 0, 1)
    assert "0" not in books.ready()
    assert books.row(0).why.startswith("flapping: 4 failures")
    good_since = books.now
    assert not books.registry.expire(good_since + 9.9)
    assert books.registry.expire(good_since + 10)
    assert "0" in books.ready()
    books.now = good_since + 10
    flap(books, 0, 1)
    assert "0" in books.ready(), "the count began anew"


def test_slow_flapping_is_not_held_out() -> None:
    books = Books().up(4)
    for _ in range(8):
        books.see(failing(0), after=20)
        books.see(unit(0))
    assert "0" in books.ready()


def test_crashes_count_as_flaps_also_when_only_the_new_run_was_seen() -> None:
    books = Books().up(4)
    for run in range(2, 6):
        books.see(unit(0, run=run))
    assert "0" not in books.ready()


def test_an_operators_restarts_are_no_flaps() -> None:
    books = Books().up(4)
    for run in range(2, 8):
        books.registry.drain(f"{SUDOKU}/0:1", "li", "restart", books.now)
        books.see(unit(0, run=run - 1, state=State.SHUTDOWN, wanted=False))
        books.registry.undrain(f"{SUDOKU}/0:1", books.now)
        books.see(unit(0, run=run))
    assert "0" in books.ready()


def test_a_flapping_one_is_kept_when_too_few_others_are_ready() -> None:
    books = Books().up(2)
    flap(books, 0, 4)
    assert books.ready() == ["1"]
    books.see(failing(1))
    assert books.ready() == ["0"], "the one that is good now serves, the failing one is not needed"
    assert "kept" in books.row(0).why


# versions


def test_deltas_carry_only_what_changed() -> None:
    books = Books().up(2)
    books.see(unit(0, service="puzzle.web"))
    version, _ = books.registry.delta_since(0)
    assert books.registry.delta_since(version) == (version, {})
    books.see(failing(1))
    new, changed = books.registry.delta_since(version)
    assert new > version and list(changed) == [SUDOKU] and len(changed[SUDOKU]) == 1
    assert books.registry.delta_since(0)[1] == books.registry.services()


def test_a_service_that_became_empty_is_in_the_delta() -> None:
    books = Books().up(1)
    version = books.registry.version
    books.see(crashed(0))
    assert books.registry.delta_since(version)[1] == {SUDOKU: []}


def test_a_version_from_lost_books_gets_everything_and_the_next_is_larger() -> None:
    books = Books().up(1)
    version, changed = books.registry.delta_since(500)
    assert version < 500 and changed == books.registry.services()
    books.registry.at_least(500)
    assert books.registry.version > 500
    assert books.registry.delta_since(500)[1] == books.registry.services()
    books.registry.at_least(3)
    assert books.registry.version > 500


# restart of the controller


def reload(registry: Registry) -> Registry:
    return Registry.load(json.loads(json.dumps(registry.dump())))


def test_the_last_known_good_survives_a_restart() -> None:
    books = Books().up(3)
    books.registry.drain(f"{SUDOKU}/1:1", "li", "deploy #3", books.now)
    books.see(failing(2))
    again = reload(books.registry)
    assert again.dump() == reload(again).dump()
    assert again.services() == books.registry.services()
    assert again.version == books.registry.version and again.endpoints == books.registry.endpoints
    again.settle(["h0", "h1", "h2"])
    assert again.waiting == {"h0", "h1", "h2"}
    again.expire(books.now + 1)
    assert again.services() == books.registry.services()
    again.full_report("h0", [], books.now)
    assert again.waiting == {"h1", "h2"}
    assert [e["state"] for e in again.services()[SUDOKU]] == [DRAINING]


def test_after_a_restart_the_floor_and_drains_still_hold() -> None:
    books = Books().up(4)
    books.registry.drain(f"{SUDOKU}/0:1", "li", "deploy #3", books.now)
    after = Books(reload(books.registry))
    after.now = books.now
    for slot in (1, 2, 3):
        after.see(failing(slot))
    assert len(after.ready()) == 2
    after.see(unit(0))
    assert after.row(0).state == DRAINING


@pytest.mark.parametrize("doc", [{}, {"version": "x"}, Registry().dump() | {"tracks": [{}]}])
def test_damaged_books_are_an_error(doc: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="kept names are damaged"):
        Registry.load(doc)
