"""A moment in words: what is of another day never reads like today's."""

from __future__ import annotations

import time

import pytest

from cockpit.times import when


def at(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


NOW = at("2026-11-21 00:10:00")


@pytest.mark.parametrize(
    ("moment", "room", "words"),
    [
        ("2026-11-21 00:03:22", 19, "00:03:22"), ("2026-11-21 00:03:22", 8, "00:03:22"),
        ("2026-11-20 23:59:59", 19, "2026-11-20 23:59:59"), ("2026-11-20 23:59:59", 11, "11-20 23:59"),
        ("2026-11-20 23:59:59", 10, "2026-11-20"), ("2025-11-21 00:03:22", 11, "2025-11-21"),
        ("2026-11-22 09:00:00", 19, "2026-11-22 09:00:00"), ("2025-11-21 00:03:22", 19, "2025-11-21 00:03:22"),
    ],
)  # fmt: skip
def test_the_day_is_said_unless_it_is_today(moment: str, room: int, words: str) -> None:
    assert when(at(moment), NOW, room) == words
