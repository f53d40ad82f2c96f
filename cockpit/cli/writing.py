"""A text file that an operator owns is written: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cockpit.cli.common import BAD, Fail


def write(path: Path, text: str, *, new: bool = False) -> None:
    """By an atomic rename, with the old file's mode. Raises Fail; with `new` also when it exists."""
    if new and path.exists():
        raise Fail(BAD, f"{path} exists: --onto {path} adds to it")
    path = path.resolve()
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as f:
                f.write(text)
                os.fchmod(f.fileno(), mode)
                f.flush()
                os.fsync(f.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as e:
        raise Fail(BAD, f"{path}: {e.strerror}") from None


def _umask() -> int:
    old = os.umask(0o077)
    os.umask(old)
    return old
