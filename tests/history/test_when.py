"""Moments as they are typed."""

from __future__ import annotations

import time

import pytest

from cockpit.history.when import moment

NOW = time.mktime((2026, 11, 20, 14, 30, 0, 0, 0, -1))


def at(*when: int) -> float:
    year, month, day, hour, minute, second = (*when, 0, 0, 0)[:6] if len(when) < 6 else when
    return time.mktime((year, month, day, hour, minute, second, 0, 0, -1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14:02", at(2026, 11, 20, 14, 2)),
        ("14:02:33", at(2026, 11, 20, 14, 2, 33)),
        ("15:00", at(2026, 11, 19, 15)),
        ("-15m", NOW - 900),
        ("15m", NOW - 900),
        ("-1h30m", NOW - 5400),
        ("2d", NOW - 2 * 86400),
        ("2026-11-20 03:00", at(2026, 11, 20, 3)),
        ("2026-11-20T03:00", at(2026, 11, 20, 3)),
        ("2026-11-19", at(2026, 11, 19)),
        ("11-19 23:59", at(2026, 11, 19, 23, 59)),
        ("yesterday 14:02", at(2026, 11, 19, 14, 2)),
        ("today 03:00", at(2026, 11, 20, 3)),
        ("#118", 1234.0),
        ("now", NOW),
        (" 14:02 ", at(2026, 11, 20, 14, 2)),
    ],
)
def test_moments(text: str, expected: float) -> None:
    assert moment(text, NOW, {"#118": 1234.0}.get) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a moment is wanted"), ("tea", "is no moment; write 14:02"), ("25:00", "no such day or time"),
        ("2026-02-30", "that month has no such day"), ("2027-01-01", "still to come"), ("#9", "no action #9"),
        ("14:02 2026", "is no moment"), ("x" * 100, "a moment is wanted"), ("-", "is no moment"),
    ],
)  # fmt: skip
def test_what_is_no_moment(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        moment(text, NOW, {"#118": 1234.0}.get)
