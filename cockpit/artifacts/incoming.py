"""What somebody hands in (a directory, a tar, a wheel or zip, one program) as a directory tree.

Archives are unpacked by our own hand into a private temporary directory and refused whole when one member
is not what belongs into an artifact. Nothing of them is believed but what was read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cockpit.artifacts.tree import TreeError, kind_of
from cockpit.artifacts.unpack import Unpacking
from cockpit.artifacts.untar import is_tar, untar
from cockpit.artifacts.unzip import is_zip, unzip
from cockpit.swarm.manifest import MAX_ENTRIES, MAX_TOTAL

COPY = 1024 * 1024


@contextlib.contextmanager
def tree_of(
    source: Path, work: Path, *, max_bytes: int = MAX_TOTAL, max_entries: int = MAX_ENTRIES
) -> Iterator[Path]:
    """A directory with the content of `source`: itself, or a private one below `work` that goes with the context.

    Raises TreeError for a source or an archive that is refused, and OSError.
    """
    try:
        mode = source.stat().st_mode
    except OSError as e:
        raise TreeError(f"{source}: {e.strerror}") from None
    if stat.S_ISDIR(mode):
        if work.resolve().is_relative_to(source.resolve()):
            raise TreeError(f"{source}: the store lies inside of it")
        yield source
        return
    if not stat.S_ISREG(mode):
        raise TreeError(f"{source}: a {kind_of(mode)} cannot be an artifact")
    root = Path(tempfile.mkdtemp(prefix=".incoming-", dir=work))  # 0700
    try:
        if is_tar(source):
            untar(source, Unpacking(root, max_bytes, max_entries))
        elif is_zip(source):
            unzip(source, Unpacking(root, max_bytes, max_entries))
        else:
            _single(source, root, max_bytes)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _single(source: Path, root: Path, max_bytes: int) -> None:
    """One file, under its own name (also when it is named by a link)."""
    source = source.resolve()
    with source.open("rb") as f:
        at = os.fstat(f.fileno())
        if at.st_size > max_bytes:
            raise TreeError(f"{source}: more than {max_bytes} bytes")
        target = root / source.name
        with target.open("xb") as out:
            left = at.st_size
            while left and (block := f.read(min(COPY, left))):
                if block.count(0) == len(block):  # what is nothing is not written out
                    out.seek(len(block), os.SEEK_CUR)
                else:
                    out.write(block)
                left -= len(block)
            out.truncate(at.st_size)
        if left:
            raise TreeError(f"{source}: it changed while it was added")
        target.chmod(0o755 if at.st_mode & 0o111 else 0o644)
