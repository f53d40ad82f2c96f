"""The inputs of a build as one archive, the same bytes for the same content."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

MAX_INPUT_BYTES = 1024 * 1024 * 1024
READ = 1024 * 1024


class InputError(ValueError):
    """The inputs cannot be packed; the message names the file."""


def pack_inputs(files: Mapping[str, Path], out: Path, *, limit: int = MAX_INPUT_BYTES) -> tuple[str, int]:
    """Write a gzipped tar of `path in the build -> file or directory`; returns (sha256, bytes).

    Owner, times and modes are left out but the executable bit. Raises InputError, OSError.
    """
    total = 0
    with out.open("xb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for name, path in files.items():
                info = tarfile.TarInfo(name)
                if path.is_dir():
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(info)
                    continue
                with path.open("rb") as f:
                    at = os.fstat(f.fileno())
                    info.size, info.mode = at.st_size, 0o755 if at.st_mode & 0o111 else 0o644
                    total += at.st_size
                    if total > limit:
                        raise InputError(f"{name}: the inputs are larger than {limit} bytes together")
                    try:
                        tar.addfile(info, f)
                    except OSError as e:
                        if e.errno is None:  # tarfile's own: it became shorter
                            raise InputError(f"{name}: it changed while it was packed") from None
                        raise
    with out.open("rb") as f:
        return digest(f), out.stat().st_size


def digest(f: IO[bytes]) -> str:
    """SHA-256 (hex) of the rest of a file."""
    sha = hashlib.sha256()
    while block := f.read(READ):
        sha.update(block)
    return sha.hexdigest()
