"""The naming view: states in one word, services in counts, hosts that lag, doors between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from cockpit.model.view import EndpointRow
from screens.naming_rows import Books, ServiceNames, endpoint_mark, lagging, state_word
from screens.slices import at_once
from tests.screens.canned import CannedSession, snapshot
from tests.screens.drive import driven, until


def endpoint(service: str, slot: int, state: str = "ready", why: str = "", **attributes: str) -> EndpointRow:
    return EndpointRow(service=service, instance=f"{service}/{slot}", address="127.0.1.1", port=20000 + slot,
                       state=state, why=why, attributes=attributes, name="http", since=1000.0 + slot)  # fmt: skip


FLAPS = "flapping: 4 failures, held out until stable for 10 s by registry"
ROWS = {
    f"{r.instance}:1|http": r for r in (
        endpoint("puzzle.sudoku", 0), endpoint("puzzle.sudoku", 1, weight="0"),
        endpoint("puzzle.sudoku", 2, "gone", FLAPS), endpoint("puzzle.sudoku", 3, "draining", "migrate by li"),
        endpoint("puzzle.web", 0, weight="3"), endpoint("puzzle.web", 1, "gone", "exit 1 by keeper"),
    )
}  # fmt: skip


@pytest.mark.parametrize(("row", "word", "mark"), [
    (endpoint("s", 0), "ready", "ok"), (endpoint("s", 0, weight="0"), "weight 0", "draining"),
    (endpoint("s", 0, weight="5"), "ready", "ok"), (endpoint("s", 0, "gone", "exit 1"), "gone", "absent"),
    (endpoint("s", 0, "gone", FLAPS), "damped", "drift"),
    (endpoint("s", 0, "ready", "flapping; kept: too few others are ready"), "damped", "drift"),
    (endpoint("s", 0, "draining", "", weight="0"), "draining", "draining"),
    (endpoint("s", 0, "odd"), "odd", "unknown"),
])  # fmt: skip
def test_one_word_for_a_state(row: EndpointRow, word: str, mark: str) -> None:
    assert (state_word(row), endpoint_mark(row)) == (word, mark)


def service_names(rows: Iterable[EndpointRow]) -> dict[str, ServiceNames]:
    books = Books()
    at_once(books.reading({f"{n}": row for n, row in enumerate(rows)}))
    return books.services()


def test_services_in_counts() -> None:
    found = service_names(ROWS.values())
    assert found["puzzle.sudoku"].counts == {"ready": 1, "weight 0": 1, "damped": 1, "draining": 1}
    assert found["puzzle.sudoku"].mark == "drift" and found["puzzle.sudoku"].changed == 1003.0
    assert found["puzzle.web"].mark == "ok"
    assert service_names([endpoint("s", 0, "gone")])["s"].mark == "failed"


def session() -> CannedSession:
    first = snapshot()
    hosts = {n: msgspec.structs.replace(h, names_applied=first.head.names_version) for n, h in first.hosts.items()}
    hosts["bj-2"] = msgspec.structs.replace(hosts["bj-2"], presence="up", names_applied=first.head.names_version - 3)
    hosts["bj-3"] = msgspec.structs.replace(hosts["bj-3"], presence="unknown", names_applied=0, mark="unknown")
    assert lagging(hosts, first.head.names_version) == ["bj-2"]
    return CannedSession(msgspec.structs.replace(first, endpoints=ROWS, hosts=hosts))


async def test_from_services_to_endpoints_to_instances_and_back() -> None:
    async with driven((120, 30), session()) as d:
        await d.press("n")
        await d.sees("1 host behind: bj-2")
        await d.sees("1 damped")
        await d.sees("weight 0")
        await d.press("tab")
        await d.sees("NAMING by service")
        await d.press("down", "enter")
        await d.sees("/puzzle.web/")
        screen: Any = d.app.screen
        assert {r.service for r in (screen.grid.rows[k] for k in screen.grid.order)} == {"puzzle.web"}
        await d.press("enter")
        await d.sees("web/0 on sh-1")
        await d.press("escape", "escape")
        await d.sees("NAMING by service")
        await d.press("tab")
        await d.sees("3 behind")
        await d.press("/", *"lagging", "enter")
        await until(lambda: screen.grid.order == ["bj-2"])
        await d.press("enter")
        await d.at("HostScreen")


async def test_endpoints_are_found_by_who_uses_them_and_follow_changes() -> None:
    async with driven((120, 30), session()) as d:
        await d.press(":", *"naming damped", "enter")
        await d.sees("1 of 6")
        key = "puzzle.sudoku/2:1|http"
        d.session.push(endpoints={key: endpoint("puzzle.sudoku", 2)})
        await d.press("escape")
        await until(lambda: "damped" not in d.text())
        await d.press("tab")
        await d.sees("NAMING by service")
        screen: Any = d.app.screen
        assert screen.grid.rows["puzzle.sudoku"].counts["ready"] == 2
