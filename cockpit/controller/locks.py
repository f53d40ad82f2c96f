"""Does another process hold a lock file, and which one? Nothing is taken by asking."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


def is_held(path: Path) -> bool:
    return _asked(path)[0]


def holder(path: Path) -> int:
    """Pid that its holder has written into it; 0 when nobody holds it."""
    held, text = _asked(path)
    with contextlib.suppress(ValueError):
        return int(text) if held else 0
    return 0


def _asked(path: Path) -> tuple[bool, bytes]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False, b""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True, os.read(fd, 32)
    finally:
        os.close(fd)
    return False, b""
