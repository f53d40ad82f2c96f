"""The one-file agent: a small static program with an interpreter and the agent behind it.

The layout is in tools/agent/stub.c, which unpacks it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

MAGIC = b"COCKPIT1"
DIRECTORY, REGULAR = 0o040000, 0o100000
MAX_NAME = 1023
Files = Mapping[str, tuple[int, bytes]]
"""name -> (permission bits, content). Directories come by themselves; a name that ends with `/` is an empty one."""


@dataclass(frozen=True)
class OneFile:
    """One made file."""

    data: bytes
    digest: str
    """32 hex digits: the name of the directory it unpacks into."""
    unpacked: int
    """Bytes."""


def archive(files: Files) -> bytes:
    """Directories before what is in them, in the order of names. Raises ValueError on a name that may not be."""
    directories = {name.rstrip("/") for name in files if name.endswith("/")}
    for name in files:
        directories.update(p.as_posix() for p in PurePosixPath(name).parents if p.as_posix() != ".")
    entries = {name: (DIRECTORY | 0o700, b"") for name in directories}
    entries.update({n: (REGULAR | mode, data) for n, (mode, data) in files.items() if not n.endswith("/")})
    parts = []
    for name in sorted(entries, key=lambda n: n.split("/")):
        mode, data = entries[name]
        raw = name.encode()
        if not raw or len(raw) > MAX_NAME or raw.startswith(b"/") or b".." in raw or b"\0" in raw:
            raise ValueError(f"{name!r} cannot be in an archive")
        parts += [struct.pack("<IIQ", mode, len(raw), len(data)), raw, data]
    return b"".join(parts)


def assemble(stub: bytes, files: Files) -> OneFile:
    """The same files and stub give the same bytes, with the same zlib."""
    plain = archive(files)
    digest = sha256(plain).hexdigest()[:32]
    packed = zlib.compress(plain, 9)
    tail = struct.pack("<QQQ", len(stub), len(packed), len(plain)) + digest.encode() + MAGIC
    return OneFile(stub + packed + tail, digest, len(plain))
