"""The matrix's books, kept change by change, are those that would be made from scratch."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from screens.cells import Cells, worst
from tests.screens.puzzle import instance

REGIONS = {"a-1": "a", "a-2": "a", "b-1": "b"}
CHANGES = st.lists(st.tuples(
    st.sampled_from(["s", "t"]), st.integers(0, 3), st.sampled_from(["a-1", "a-2", "b-1", "elsewhere", "", None]),
    st.sampled_from(["ok", "drift", "failed"]),
), max_size=40)  # fmt: skip


@given(CHANGES)
def test_change_by_change(changes: list[tuple[str, int, str | None, str]]) -> None:
    kept = Cells(REGIONS)
    rows = {}
    for service, slot, host, mark in changes:
        id = f"{service}/{slot}"
        if host is None:
            rows.pop(id, None)
        else:
            rows[id] = instance(service, slot, host, "1", mark=mark)
        before = {h: kept.cell(h, service) for h in ("a-1", "a-2", "b-1", "elsewhere", "")}
        before = {h: dict(c) for h, c in before.items()}
        touched = kept.put(id, rows.get(id))
        assert {h for h, c in before.items() if dict(kept.cell(h, service)) != c} <= touched
    fresh = Cells(REGIONS, rows.values())
    assert kept.by_host.keys() >= fresh.by_host.keys()
    for host in kept.by_host:
        for service in ("s", "t"):
            assert kept.cell(host, service) == fresh.cell(host, service)
    for region in ("a", "b", ""):
        for service in ("s", "t"):
            assert Counter(kept.total(region, service)) == Counter(fresh.total(region, service))
    assert kept.services() == fresh.services() == {r.service for r in rows.values()}
    assert kept.troubled_services() == {r.service for r in rows.values() if r.mark != "ok"}
    assert kept.troubled_hosts() == {r.host for r in rows.values() if r.mark != "ok"}


def test_the_worst() -> None:
    assert worst([]) == "ok" and worst(["ok", "failed", "drift"]) == "failed"
