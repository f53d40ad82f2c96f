"""What lies beside an installed release DIR/releases/NAME/VERSION: its two records.

.VERSION.json      `{"sha256", "kind", "size", "files": {path: [sha256, dev, inode, size, mtime_ns, ctime_ns]},
                   "links": {path: target}}`; a release is installed when it and the directory are there
.VERSION.manifest  zlib'ed text of the manifest
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from typing import Iterable, Iterator, List

from cockpit.swarm.manifest import MAX_LINE, MAX_TEXT, Manifest, ManifestError, parse
from cockpit.swarm.textlines import lines_of

BLOCK = 64 * 1024
MAX_FACTS = 64 * 1024 * 1024
HEAD = re.compile(rb'\{"sha256": ?"([0-9a-f]{64})"')
"""Of a file: SHA-256 (hex), device, inode, size, mtime_ns, ctime_ns."""


def facts_path(host_dir: str, name: str, version: str) -> str:
    return os.path.join(host_dir, "releases", name, f".{version}.json")


def manifest_path(host_dir: str, name: str, version: str) -> str:
    return os.path.join(host_dir, "releases", name, f".{version}.manifest")


def release_path(host_dir: str, name: str, version: str) -> str:
    return os.path.join(host_dir, "releases", name, version)


def sha256_of(path: str) -> str:
    """The digest that a .VERSION.json names, usually at its beginning; empty when it does not. Raises OSError."""
    with open(path, "rb") as f:
        found = HEAD.match(f.read(100))
        if found:
            return found[1].decode()
        f.seek(0)
        try:
            return str(json.loads(f.read(MAX_FACTS))["sha256"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return ""


def identity(path: str) -> List[int]:
    """[dev, inode, size, mtime_ns, ctime_ns] of a file. Raises OSError."""
    s = os.lstat(path)
    return [s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns]


def manifest_lines(path: str) -> Iterator[bytes]:
    """Lines of the manifest text in a .VERSION.manifest. Raises ManifestError when it is broken, OSError."""
    with open(path, "rb") as f:
        yield from unzipped_lines(iter(lambda: f.read(BLOCK), b""))


def unzipped_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of a zlib'ed manifest text that comes in blocks. Raises ManifestError."""
    try:
        yield from lines_of(_unzipped(blocks), MAX_LINE)
    except (ValueError, zlib.error) as e:
        raise ManifestError(f"the packed manifest is broken: {e}") from None


def _unzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    total = 0
    for packed in blocks:
        while packed:
            if unpacker.eof:
                raise ValueError("something follows its end")
            block = unpacker.decompress(packed, BLOCK)
            packed = unpacker.unconsumed_tail or unpacker.unused_data
            total += len(block)
            if total > MAX_TEXT:
                raise ValueError(f"it has more than {MAX_TEXT} bytes")
            yield block
    yield unpacker.flush()
    if not unpacker.eof:
        raise ValueError("it is cut off")


def read_manifest(host_dir: str, name: str, version: str, sha256: str = "") -> Manifest:
    """The manifest beside an installed release. Raises ManifestError (also for another digest), OSError."""
    manifest = parse(manifest_lines(manifest_path(host_dir, name, version)))
    if sha256 and manifest.sha256 != sha256:
        raise ManifestError(f"the manifest beside {name}/{version} is another one")
    return manifest


def write_manifest(path: str, lines: Iterable[bytes]) -> str:
    """Write the zlib'ed text to a new file (0600, synced); SHA-256 (hex) of the text. Raises OSError."""
    packer = zlib.compressobj(6)
    sha = hashlib.sha256()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as f:
        for line in lines:
            sha.update(line)
            f.write(packer.compress(line))
        f.write(packer.flush())
        f.flush()
        os.fsync(fd)
    return sha.hexdigest()
