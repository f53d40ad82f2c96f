"""What is typed about logs, and text made harmless."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.session.batches import batched
from cockpit.session.log_text import Sought, Wrong, harmless, moment, pattern, sought, window

NOW = time.mktime((2026, 11, 12, 14, 30, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("", Sought()), ("!", Sought()), ("//", Sought()), ("a", Sought("a")), ("!a", Sought("a", False, True)),
        ("/a.b/", Sought("a.b", True)), ("!/x/", Sought("x", True, True)), ("/", Sought("/")), ("\\!a", Sought("!a")),
        ("\\/a/", Sought("/a/")), ("a/", Sought("a/")), ("\\d", Sought("\\d")),
    ],
)  # fmt: skip
def test_what_is_looked_for(typed: str, wanted: Sought) -> None:
    assert sought(typed) == wanted


def test_wrong_expressions_and_cases() -> None:
    with pytest.raises(Wrong, match="no regular expression"):
        sought("/(/")
    assert pattern(Sought("err")).search("ERR") and not pattern(Sought("Err")).search("err")
    assert pattern(Sought("\\S+x", True)).search("AX"), "the letter of a class says nothing about case"


@pytest.mark.parametrize(
    ("typed", "ago"),
    [("15m", 900), ("last 2h", 7200), ("1.5h", 5400), ("30 s", 30), ("14:00", 1800), ("14:29:30", 30),
     ("15:00", 23.5 * 3600), ("2026-11-12 14:00", 1800), ("2026-11-11", 38.5 * 3600)],
)  # fmt: skip
def test_moments(typed: str, ago: float) -> None:
    assert NOW - moment(typed, NOW) == pytest.approx(ago, abs=0.01)


@pytest.mark.parametrize("typed", ["soon", "25:00", "14:61", "2026-13-01", "m", "14", "-5m"])
def test_no_moments(typed: str) -> None:
    with pytest.raises(Wrong, match=r"no (such )?time"):
        moment(typed, NOW)


def test_windows() -> None:
    assert window("", NOW) == window("all", NOW) == (0.0, 0.0)
    assert window("5m", NOW) == (NOW - 300, 0.0)
    assert window("14:00 - 14:10", NOW) == window("14:00..14:10", NOW) == (NOW - 1800, NOW - 1200)
    assert window("..14:00", NOW) == (0.0, NOW - 1800) and window("14:00..now", NOW) == (NOW - 1800, 0.0)
    with pytest.raises(Wrong, match="ends before it begins"):
        window("14:10 - 14:00", NOW)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"), ("\x1b[31mred\x1b[0m", "red"), ("\x1b]0;title\x07x", "x"), ("\x1b]52;c;eA==\x1b\\x", "x"),
        ("a\x00\x07b", "a\\x00\\x07b"), ("\u202eevil", "\\u202eevil"), ("数独 é", "数独 é"), ("\x9b2K", "\\x9b2K"),
        ("a\tb", "a       b"), ("x\x1b", "x\\x1b"), ("\x1b]0;never ended", "\\x1b]0;never ended"), ("\u00a0", " "),
    ],
)  # fmt: skip
def test_harmless(text: str, wanted: str) -> None:
    assert harmless(text) == wanted


@given(st.text(max_size=200))
def test_whatever_is_written_is_printable(text: str) -> None:
    out = harmless(text)
    assert out.replace("\u3000", " ").isprintable()


def test_long_text_says_its_length() -> None:
    assert harmless("x" * 5000) == "x" * 4096 + " [cut: 5000 characters in all]"


async def test_batches_lose_nothing_and_raise_last() -> None:
    closed = []

    async def items() -> AsyncIterator[int]:
        try:
            for n in range(2500):
                if n % 7 == 0:
                    await asyncio.sleep(0)
                yield n
            raise ConnectionError("gone")
        finally:
            closed.append(True)

    out: list[int] = []
    with pytest.raises(ConnectionError, match="gone"):
        async for batch in batched(items(), most=100):
            assert 0 < len(batch) <= 100
            out += batch
    assert out == list(range(2500)) and closed
    closed.clear()
    made = batched(items())
    assert await anext(made)
    await made.aclose()
    assert closed
