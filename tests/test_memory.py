"""Freed memory is given back."""

from __future__ import annotations

import subprocess
import sys

HELD = """
import os
from cockpit.memory import trim

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20

blocks = [bytearray(b"x" * 60_000) for _ in range(2_000)]
del blocks[: len(blocks) - 1]  # the last one keeps the heap from shrinking by itself
before = resident()
trim()
print(before - resident(), "MiB were given back")
"""


def test_gaps_between_what_is_in_use_go_back_to_the_system() -> None:
    said = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True, timeout=60).stdout
    assert int(said.split()[0]) >= 50, said
