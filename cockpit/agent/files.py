"""Small files: atomic, private, never half there."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Optional

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


def flat(name: str) -> str:
    """An instance or unit id as one path component: `/` and `:` become `_`."""
    return name.replace("/", "_").replace(":", "_")


def write_atomic(path: str, data: bytes, mode: int = 0o600, sync: bool = True) -> None:
    """Write beside, then rename; readers see the old content or the new one."""
    new = f"{path}.new.{os.getpid()}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with open(fd, "wb") as f:
            os.fchmod(fd, mode)
            f.write(data)
            f.flush()
            if sync:
                os.fsync(fd)
        os.replace(new, path)
    except BaseException:
        try:
            os.unlink(new)
        except OSError:
            pass
        raise
    if sync:
        sync_dir(os.path.dirname(path) or ".")


def write_json(path: str, doc: Any, mode: int = 0o600, sync: bool = True) -> None:
    write_atomic(path, json.dumps(doc, separators=(",", ":")).encode(), mode, sync)


def read_json(path: str, limit: int = 64 * 1024 * 1024) -> Optional[Any]:
    """The document, or None when there is none, or it cannot be read as one."""
    try:
        with open(path, "rb") as f:
            data = f.read(limit + 1)
        return json.loads(data) if len(data) <= limit else None
    except (OSError, ValueError):
        return None


def sync_dir(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_dir(path: str, mode: int = 0o700) -> None:
    """The directory and its parents; a new leaf gets exactly this mode, whatever the umask."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        make_dir(parent)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    os.chmod(path, mode)
