"""Settings by host, targets, and what is noted of schedules: the pure parts."""

from __future__ import annotations

import pytest

from cockpit.controller.executing import hosts_of
from cockpit.controller.plugins import schedule_end, settings_of
from cockpit.model.topology import Expected, Host, Region, Schedule, Service
from cockpit.plan.steps import Bad

EXPECTED = Expected(
    name="box", regions={"bj": Region(), "sh": Region()},
    hosts={
        "bj-1": Host(region="bj", address="10.0.0.1", labels={"disk": "ssd"}),
        "bj-2": Host(region="bj", address="10.0.0.2"), "sh-1": Host(region="sh", address="10.1.0.1"),
    },
    schedules={
        "all": Schedule(cron="@daily", argv=("true",)),
        "fast": Schedule(cron="@daily", argv=("true",), hosts=("region=bj", "disk=ssd")),
    },
    services={
        "box.web": Service(processes={"main": ("true",)}, logs={"access": "{directory}/a.log"}),
        "box.db": Service(processes={"main": ("true",)}),
    },
    placement={"box.web/0": "bj-2", "box.db/0": "bj-1"},
)  # fmt: skip


def test_settings_are_what_concerns_the_host() -> None:
    assert set(settings_of(EXPECTED, "bj-1")["schedule"]["schedules"]) == {"all", "fast"}
    assert set(settings_of(EXPECTED, "sh-1")["schedule"]["schedules"]) == {"all"}
    assert settings_of(EXPECTED, "bj-2")["logfiles"] == {"services": {"box.web": {"access": "{directory}/a.log"}}}
    assert "logfiles" not in settings_of(EXPECTED, "bj-1")
    assert settings_of(EXPECTED, "nobody") == {}


@pytest.mark.parametrize(("on", "expected"), [
    ((), ("bj-1", "bj-2", "sh-1")), (("bj-2", "sh-1"), ("bj-2", "sh-1")), (("region=bj",), ("bj-1", "bj-2")),
    (("region=bj", "disk!=ssd"), ("bj-2",)), (("sh-1", "bj-1", "region=bj"), ("bj-1",)),
])  # fmt: skip
def test_any_of_the_hosts_and_all_of_the_constraints(on: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert hosts_of(EXPECTED, on) == expected


@pytest.mark.parametrize(("on", "says"), [
    (("bj-9",), "bj-1"), (("region=moon",), "no host meets"), (("=x",), "constraint"),
])  # fmt: skip
def test_nobody_is_meant(on: tuple[str, ...], says: str) -> None:
    with pytest.raises(Bad, match=says):
        hosts_of(EXPECTED, on)


def test_the_journal_entry_of_a_schedule_is_short() -> None:
    entry = schedule_end("bj-1", "all", {"code": 1, "last": ["x" * 9999] * 20, "why": ""})
    assert entry["kind"] == "schedule" and [len(line) for line in entry["last"]] == [500] * 5
