"""Time windows of the week."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cockpit.model.topology import Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def moment(now: float, zone: str) -> datetime:
    """Local time there. Raises KeyError for a zone that this machine does not know."""
    return datetime.fromtimestamp(now, ZoneInfo(zone)) if zone else datetime.fromtimestamp(now).astimezone()


def holds(window: Window, now: float) -> bool:
    """Is this moment (Unix time) inside? By the wall clock there, so that summer time changes nothing."""
    here = moment(now, window.zone)
    start, end = _minutes(window.start), _minutes(window.end)
    minute = here.hour * 60 + here.minute
    today, yesterday = here.weekday(), (here - timedelta(days=1)).weekday()
    if start < end:
        return _on(window, today) and start <= minute < end
    return _on(window, today) and minute >= start or _on(window, yesterday) and minute < end


def words(window: Window) -> str:
    """`mon-fri 09:00-18:00 Asia/Shanghai`."""
    days = " ".join(window.days) or "every day"
    return f"{days} {window.start}-{window.end}" + (f" {window.zone}" if window.zone else "")


def now_words(window: Window, now: float) -> str:
    """`sat 23:10`, in the window's zone."""
    here = moment(now, window.zone)
    return f"{DAYS[here.weekday()]} {here:%H:%M}"


def _minutes(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


def _on(window: Window, day: int) -> bool:
    if not window.days:
        return True
    for each in window.days:
        first, dash, last = each.partition("-")
        low = DAYS.index(first)
        high = DAYS.index(last) if dash else low
        if (low <= day <= high) if low <= high else (day >= low or day <= high):
            return True
    return False
