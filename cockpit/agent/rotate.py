"""Lossless rotation: old blocks are copied into a compressed segment, then given back by a hole.

The writer holds the file open for appending and is never told. The file keeps its length, so offsets
of readers stay true; the last KEEP bytes stay in it, so that nobody who follows meets the hole.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from typing import Any, Collection, List, Optional, Tuple

from cockpit.agent.files import sync_dir
from cockpit.agent.log_marks import SUFFIX
from cockpit.agent.logs import files, segments, unit_dirs

LIMIT = 16 * 1024 * 1024
KEEP = 4 * 1024 * 1024
TOTAL = 64 * 1024 * 1024
"""Bytes of segments and old runs that are kept per unit."""
RUNS = 50
"""Runs whose files are kept per unit."""
OLD_UNITS = 3
"""Forgotten units per instance whose logs are kept."""
CHUNK = 256 * 1024
PAGE = 4096
KEEP_SIZE, PUNCH_HOLE = 0x01, 0x02

_libc: Any = None


def punch(fd: int, end: int) -> None:
    """Free the blocks of [0, end), which must be a multiple of 4096. Raises OSError."""
    global _libc
    try:
        import _cockpit  # the one-file agent has no ctypes
    except ImportError:
        import ctypes
    else:
        if end:
            _cockpit.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, end)
        return
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if end and _libc.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, end) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def rotate(path: str, last: int, *, limit: int = LIMIT, keep: int = KEEP) -> Optional[str]:
    """Move what is older than the last `keep` bytes into a segment when the file has over `limit`.

    `last` is the end of its newest segment. Returns the new segment's path.
    """
    size = os.path.getsize(path)
    if size - last <= limit:
        return None
    end = _line_end(path, last, size - keep)
    segment = f"{path}.{end}.gz"
    new = f"{segment}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(path, "rb") as source, open(fd, "wb") as raw:
        source.seek(last)
        left = end - last
        with gzip.GzipFile(filename="", mode="wb", compresslevel=3, fileobj=raw, mtime=0) as packed:
            while left:
                data = source.read(min(CHUNK, left))
                if not data:
                    break
                packed.write(data)
                left -= len(data)
        raw.flush()
        os.fsync(raw.fileno())
    os.rename(new, segment)
    sync_dir(os.path.dirname(path))
    _free(path, end)
    return segment


def _free(path: str, end: int) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        punch(fd, end // PAGE * PAGE)
    except OSError:
        pass  # a file system without holes: the disk is not relieved, but nothing is lost
    finally:
        os.close(fd)


def _line_end(path: str, begin: int, near: int) -> int:
    """The last line end before `near`, or `near` where a line is endless."""
    with open(path, "rb") as f:
        position = near
        while position > begin:
            step = min(CHUNK, position - begin)
            f.seek(position - step)
            found = f.read(step).rfind(b"\n")
            if found >= 0:
                return position - step + found + 1
            position -= step
    return near


def tidy(dir: str, live_run: Optional[int], *, total: int = TOTAL, runs: int = RUNS) -> List[str]:
    """Remove the oldest segments and files of ended runs over the limits; what was removed."""
    numbers = sorted({f.run for f in files(dir)})
    keep_from = numbers[-runs] if len(numbers) > runs else 0
    parts = segments(dir)
    found: List[Tuple[int, int, str]] = []  # run, end, path
    for file in files(dir):
        ends = parts.pop(file.path, [])
        found += [(file.run, end, path) for end, path in ends]
        if file.run != live_run:
            found.append((file.run, 1 << 62, file.path))
    for left in parts.values():  # their file is gone
        found += [(0, end, path) for end, path in left]
    found.sort()
    sizes = {path: _used(path) for _, _, path in found}
    room = sum(sizes.values())
    gone = []
    for run, _, path in found:
        if run >= keep_from and room <= total:
            break
        os.unlink(path)
        room -= sizes[path]
        gone.append(path)
    _drop_times(dir)
    return gone


def _drop_times(dir: str) -> None:
    """The times of files that are gone."""
    kept = {os.path.basename(f.path) for f in files(dir)}
    try:
        names = os.listdir(dir)
    except OSError:
        return
    for name in names:
        if name.endswith(SUFFIX) and name[: -len(SUFFIX)] not in kept:
            os.unlink(os.path.join(dir, name))


def sweep(dir: str, live_run: Optional[int]) -> None:
    """Rotate and tidy one unit's directory; for a thread."""
    for name in _leftovers(dir):
        os.unlink(os.path.join(dir, name))
    parts = segments(dir)
    for file in files(dir):
        ends = parts.get(file.path)
        try:
            rotate(file.path, ends[-1][0] if ends else 0)
        except FileNotFoundError:
            continue
    tidy(dir, live_run)


def needs_sweep(dir: str) -> bool:
    """Cheap look: is any file over the limit, or are there many?"""
    found = files(dir)
    if len(found) > 2 * RUNS:
        return True
    parts = None
    for file in found:
        try:
            size = os.path.getsize(file.path)
        except OSError:
            continue
        if size > LIMIT:
            parts = segments(dir) if parts is None else parts
            ends = parts.get(file.path)
            if size - (ends[-1][0] if ends else 0) > LIMIT:
                return True
    return len({f.run for f in found}) > RUNS


def forget_old(host_dir: str, instance: str, known: Collection[int]) -> None:
    """Remove the logs of all but the newest few units that the keeper does not know any more."""
    old = [(gen, dir) for gen, dir in unit_dirs(host_dir, instance) if gen not in known]
    for _, dir in old[:-OLD_UNITS]:
        shutil.rmtree(dir, ignore_errors=True)


def _used(path: str) -> int:
    try:
        return os.stat(path).st_blocks * 512
    except OSError:
        return 0


def _leftovers(dir: str) -> List[str]:
    try:
        return [n for n in os.listdir(dir) if re.fullmatch(r".*\.(gz|times)\.new", n)]
    except OSError:
        return []
