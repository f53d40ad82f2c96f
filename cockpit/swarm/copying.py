"""Copying parts of files: shared blocks where the file system can, else inside the kernel, else by hand."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

BLOCK = 256 * 1024
ALIGN = 4096
WORTH_SHARING = 64 * 1024
FICLONERANGE = 0x4020940D
CANNOT = (errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EPERM)
"""What a file system says that has no such call, or not for these two files."""


class Short(OSError):
    """The source ends before the part does."""


def copy(source: int, at: int, target: int, to: int, length: int) -> None:
    """Copy `length` bytes at `at` of one open file to `to` of another. Raises Short, OSError."""
    skew = -to % ALIGN
    if length >= WORTH_SHARING and (at - to) % ALIGN == 0 and skew + ALIGN <= length:
        middle = (length - skew) // ALIGN * ALIGN
        if share(source, at + skew, target, to + skew, middle):
            _copy(source, at, target, to, skew)
            at, to, length = at + skew + middle, to + skew + middle, length - skew - middle
    _copy(source, at, target, to, length)


def share(source: int, at: int, target: int, to: int, length: int) -> bool:
    """Let both files have the same blocks (a reflink); False when that cannot be."""
    try:
        fcntl.ioctl(target, FICLONERANGE, struct.pack("=qQQQ", source, at, length, to))
    except OSError as e:
        if e.errno in CANNOT:
            return False
        raise
    return True


def _copy(source: int, at: int, target: int, to: int, length: int) -> None:
    inside = hasattr(os, "copy_file_range")
    while length:
        if inside:
            try:
                done = os.copy_file_range(source, target, length, at, to)
            except OSError as e:
                if e.errno not in CANNOT:
                    raise
                inside = False
                continue
            if not done:  # some kernels say 0 where they cannot; reading tells
                inside = False
                continue
        else:
            block = os.pread(source, min(length, BLOCK), at)
            if not block:
                raise Short(errno.ENODATA, "the file is shorter than it was")
            done = os.pwrite(target, block, to)
        at, to, length = at + done, to + done, length - done
