"""Where things are, and how bundles are started in tests."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def oldest_python() -> str:
    """The oldest one on the PATH that is 3.9 or newer and has ssl; else the one of these tests."""
    for minor in range(9, sys.version_info.minor):
        found = shutil.which(f"python3.{minor}")
        code = "import ssl, sys; print(sys.executable)"
        if found:
            done = subprocess.run([found, "-I", "-c", code], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return done.stdout.strip()
    return sys.executable


def start(argv: list[str], into: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a bundle to its end, with nothing of our environment but what a host has."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COCKPIT_UNPACK": str(into), **more}
    env = {name: value for name, value in env.items() if value}
    return subprocess.run(argv, env=env, capture_output=True, text=True, cwd="/", timeout=60, check=False)


def left(directory: Path) -> list[str]:
    """What is in the directory beside lock files."""
    return sorted(p.name for p in directory.iterdir() if not p.name.endswith(".lock"))


FULL = 'mount -t tmpfs -o size=$1,mode=0700 none "$2" && shift 2 && exec "$@"'


def on_small_disk(size: str, into: Path, argv: list[str]) -> list[str]:
    """The argv that runs another one with a file system of this size at `into` (root)."""
    return ["unshare", "--mount", "sh", "-ec", FULL, "sh", size, str(into), *argv]
