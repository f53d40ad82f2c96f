"""Cron arithmetic against a slow oracle that knows wall clocks only through zoneinfo."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.agent.shipped.schedule.cron import BadCron, Cron, Local, Wall, matches, next_after, parse

BERLIN, HOWE, CAIRO = "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo"
ZONES = (BERLIN, HOWE, CAIRO, "America/New_York", "Asia/Shanghai", "Pacific/Apia")


def local_of(zone: str) -> Local:
    tz = ZoneInfo(zone)

    def local(t: int) -> Wall:
        d = datetime.fromtimestamp(t, tz)
        offset = d.utcoffset()
        assert offset is not None
        return Wall(d.year, d.month, d.day, d.hour, d.minute, d.isoweekday() % 7, int(offset.total_seconds()))

    return local


def naive(at: datetime) -> Wall:
    return Wall(at.year, at.month, at.day, at.hour, at.minute, at.isoweekday() % 7, 0)


def oracle(cron: Cron, begin: datetime, days: int, zone: str) -> list[int]:
    """Every moment in some days after `begin` (UTC), by going through all minutes."""
    tz, local, found = ZoneInfo(zone), local_of(zone), set()
    first = int(begin.timestamp()) // 60 * 60
    around = range(first // 900 * 900 - 4 * 86400, first + (days + 4) * 86400, 900)
    changes = [u for u in around if local(u).offset > local(u - 60).offset]
    if cron.elapsed:
        found |= {t for t in range(first, first + days * 86400, 60) if matches(cron, local(t))}
    wall = datetime.fromtimestamp(first, tz).replace(tzinfo=None) - timedelta(days=2)
    for n in range((days + 4) * 1440):
        at = wall + timedelta(minutes=n)
        if not matches(cron, naive(at)):
            continue
        t = int(at.replace(tzinfo=tz).timestamp())
        if datetime.fromtimestamp(t, tz).replace(tzinfo=None) == at:
            if not cron.elapsed:
                found.add(t)
            continue
        change = next(  # it does not exist: when do the clocks change?
            u for u in changes
            if datetime.fromtimestamp(u - 60, tz).replace(tzinfo=None) < at
            < datetime.fromtimestamp(u, tz).replace(tzinfo=None)
        )
        if not cron.elapsed or local(change).offset - local(change - 60).offset < 3600:
            found.add(change)
    return sorted(t for t in found if first < t < first + days * 86400)


CHANGES = [
    (BERLIN, datetime(2026, 3, 28, 20, tzinfo=UTC)), (BERLIN, datetime(2026, 10, 24, 20, tzinfo=UTC)),
    (HOWE, datetime(2026, 4, 4, 10, tzinfo=UTC)), (HOWE, datetime(2026, 10, 3, 10, tzinfo=UTC)),
    (CAIRO, datetime(2026, 4, 23, 10, tzinfo=UTC)), ("America/New_York", datetime(2026, 11, 1, 0, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 29, 20, tzinfo=UTC)), ("Asia/Shanghai", datetime(2026, 2, 28, 3, tzinfo=UTC)),
]


@st.composite
def fields(draw: st.DrawFn) -> str:
    minute = draw(st.sampled_from(["*", "*/15", "0", "30", "5-40/7", "0,29,59"]))
    hour = draw(st.sampled_from(["*", "*/2", "0", "1", "2", "2,3", "0-4", "23"]))
    day = draw(st.sampled_from(["*", "*", "*/2", "29", "1,30,31"]))
    month = draw(st.sampled_from(["*", "*", "3,4,10-12", "feb-apr"]))
    weekday = draw(st.sampled_from(["*", "*", "sun", "5-7", "mon-fri/2"]))
    return f"{minute} {hour} {day} {month} {weekday}"


@settings(max_examples=40, deadline=None)
@given(fields(), st.sampled_from(CHANGES), st.integers(0, 36 * 60))
def test_as_the_oracle_says_when_clocks_change(text: str, change: tuple[str, datetime], minutes: int) -> None:
    zone, around = change
    cron, begin = parse(text), around + timedelta(minutes=minutes, seconds=17)
    found, at, end = [], begin.timestamp(), begin.timestamp() // 60 * 60 + 2 * 86400
    while (nxt := next_after(cron, at, local_of(zone))) is not None and nxt < end and len(found) < 300:
        found.append(nxt)
        at = nxt
    expected = oracle(cron, begin, 2, zone)
    assert found == expected[:300]


@pytest.mark.parametrize(("text", "after", "expected"), [
    ("30 2 * * *", "2026-03-28 12:00", "2026-03-29 03:00"),  # 02:30 does not exist
    ("30 2 * * *", "2026-10-25 00:00", "2026-10-25 02:30"),
    ("0 0 29 2 *", "2026-01-01 00:00", "2028-02-29 00:00"),
    ("0 12 13 * fri", "2026-02-01 00:00", "2026-02-06 12:00"),  # either of the two days
    ("@monthly", "2026-01-31 23:59", "2026-02-01 00:00"),
    ("15 10 * jan 7", "2026-02-01 00:00", "2027-01-03 10:15"),
])  # fmt: skip
def test_the_next_time_in_berlin(text: str, after: str, expected: str) -> None:
    tz = ZoneInfo(BERLIN)
    found = next_after(parse(text), datetime.fromisoformat(after).replace(tzinfo=tz).timestamp(), local_of(BERLIN))
    assert found is not None
    assert datetime.fromtimestamp(found, tz).strftime("%Y-%m-%d %H:%M") == expected


def test_a_repeated_hour_runs_a_fixed_time_once_and_every_hour_twice() -> None:
    local, begin = local_of(BERLIN), int(datetime(2026, 10, 24, 23, tzinfo=UTC).timestamp())

    def count(text: str) -> int:
        cron, at, n = parse(text), float(begin), 0
        while (nxt := next_after(cron, at, local)) is not None and nxt < begin + 6 * 3600:
            at, n = nxt, n + 1
        return n

    assert count("30 2 * * *") == 1
    assert count("30 * * * *") == 6


@pytest.mark.parametrize("text", [
    "", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *",
    "@reboot", "a * * * *", "0 0 31 2 *", "0 0 30,31 feb *", "1--2 * * * *", "* * * * * *", "*-3 * * * *",
])  # fmt: skip
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(BadCron):
        parse(text)
