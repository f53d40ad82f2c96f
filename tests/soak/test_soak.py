"""A soak of 20 seconds, and what its numbers say. Nothing is judged by its duration here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.bench.terminal import ROOT
from tests.soak.__main__ import Seen, report
from tests.soak.figures import Sample, cause, growth, quantile
from tests.soak.robot import NAMES, VISITS, sent


def line(first: float, step: float, seconds: int) -> list[Sample]:
    return [Sample(at, first + step * at / 60) for at in range(60, seconds + 1, 60)]


def seen(memory: list[Sample], frames: list[float], slow: list[dict[str, object]] | None = None) -> Seen:
    return Seen(
        3600, {"screen": memory}, {"screen": 9.0}, frames, 200.0, slow or [], 1, 1, Counter({"hosts": 1}),
        Counter({"HostsScreen": 1}), 1, 1, (0.0, 0.0),
    )  # fmt: skip


def test_memory_counts_from_minute_ten_on() -> None:
    filling = [Sample(60.0, 10), Sample(300.0, 40)]
    assert growth([*filling, *line(50, 0, 3600)[9:]], 3600) == pytest.approx((0, 50, 50))
    assert growth(line(50, 0.1, 3600), 3600).percent == pytest.approx(5 / 51 * 100)
    with pytest.raises(ValueError, match="too few"):
        growth(filling, 3600)


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([1.0] * 999 + [500], 0.999) == 1
    assert quantile([1.0] * 998 + [500, 500], 0.999) == 500
    assert quantile([3], 0.999) == 3


def test_growing_memory_and_slow_pictures_fail_it() -> None:
    flat, frames = line(50, 0, 3600), [2.0] * 5000
    assert report(seen(flat, frames))[1]
    assert not report(seen(line(50, 0.2, 3600), frames))[1]
    assert not report(seen(flat, [*frames, *[101.0] * 6]))[1]
    assert not report(seen(flat, []))[1]


def test_every_longer_picture_is_listed_with_its_cause() -> None:
    slow = {
        "at": 0, "ms": 140.0, "screen": "GraphScreen", "keys": ["g"], "modules": 4,
        "phases": {"layout": 20.0, "gc2": 80.0, "other": 40.0},
    }  # fmt: skip
    assert cause(slow).startswith("garbage collected (all) 80 ms, keys and messages handled 40 ms; first visit, 4")
    lines, good = report(seen(line(50, 0, 3600), [*[2.0] * 5000, 140.0], [slow]))
    assert good and any("140 ms" in text and "GraphScreen" in text and "garbage" in text for text in lines)


def test_the_robot_knows_its_keys() -> None:
    for way in VISITS.values():
        assert all(len(key) == 1 or key in NAMES for key in way)
    assert sent("enter") == b"\r" and sent("i") == b"i"


@pytest.mark.timeout(300)
def test_twenty_seconds() -> None:
    env = os.environ | {"COCKPIT_SOAK": "20", "COCKPIT_SOAK_HOSTS": "20", "COCKPIT_SOAK_CHANGES": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak"], cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "memory of the screen" in done.stdout and "CPU of a picture" in done.stdout
    counts = done.stdout.partition("pictures by screen: ")[2].partition("\n")[0].split(", ")
    assert len(counts) >= 4, "the robot came nowhere"
    assert " 0 deltas" not in done.stdout
