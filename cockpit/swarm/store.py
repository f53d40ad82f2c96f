"""The directory store: releases by name and version, blobs by digest, both for ever.

    ROOT/blobs/ab/abcd...       the archives, named by their SHA-256, 0600
    ROOT/index/NAME/VERSION.json   one record each, written once
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.swarm.pack import pack

if TYPE_CHECKING:
    from aiohttp import web

WORD = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9._+-]*$")
LONGEST = 100
SHA256 = re.compile(r"^[0-9a-f]{64}$")
FIELDS = {"name": str, "version": str, "sha256": str, "size": int, "files": int}


class Exists(Exception):
    """This version exists with other content. A version is never changed: give it a new number."""


class StoreError(Exception):
    """The store's own files are damaged."""


def check_word(what: str, word: str) -> str:
    """A name or version that is safe as a file name. Raises ValueError."""
    # `$` also matches before a newline at the end, so the whole word is asked for
    if not WORD.fullmatch(word) or len(word) > LONGEST:
        raise ValueError(
            f"{what} {word[:LONGEST]!r}: letters, digits and . _ + - are allowed, a letter or digit first,"
            f" at most {LONGEST}"
        )
    return word


class DirectoryStore:
    """`cockpit.ports.ArtifactStore` in a directory of its own (made with mode 0700)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for directory in (root, root / "blobs", root / "index"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def add(self, source: Path, name: str, version: str, *, now: float | None = None) -> dict[str, Any]:
        """Pack a file or directory and keep it: {name, version, sha256, size, files, added}.

        `added` is `now`, or else the time of the blob's file. The same content again returns the
        first record. Raises Exists, pack.PackError, ValueError for a bad name, StoreError, OSError.
        """
        index = self._index(name, version)
        fd, packed = tempfile.mkstemp(prefix=".new-", dir=self.root / "blobs")
        os.close(fd)
        try:
            facts = pack(source, Path(packed))
            blob = self._blob(facts["sha256"])
            old = self.find(name, version)
            if old is not None and old["sha256"] != facts["sha256"]:
                raise self._exists(old, facts["sha256"])
            if not blob.is_file() or blob.stat().st_size != facts["size"]:
                blob.parent.mkdir(mode=0o700, exist_ok=True)
                Path(packed).rename(blob)
                _sync(blob.parent)
        finally:
            Path(packed).unlink(missing_ok=True)
        if old is not None:
            return old
        added = blob.stat().st_mtime if now is None else now
        record = {"name": name, "version": version, **facts, "added": added}
        index.parent.mkdir(mode=0o700, exist_ok=True)
        if not _write_once(index, json.dumps(record, sort_keys=True).encode() + b"\n"):
            old = self._read(index, name, version)  # somebody else added it just now
            if old["sha256"] != facts["sha256"]:
                raise self._exists(old, facts["sha256"])
            return old
        return record

    def find(self, name: str, version: str) -> dict[str, Any] | None:
        """The record of a version, or None. Raises ValueError for a bad name, StoreError."""
        index = self._index(name, version)
        return self._read(index, name, version) if index.is_file() else None

    def listing(self) -> dict[str, dict[str, Any]]:
        """`name/version` -> record, sorted. Raises StoreError."""
        records = {}
        for path in sorted((self.root / "index").glob("*/*.json")):
            name, version = path.parent.name, path.name.removesuffix(".json")
            if WORD.fullmatch(name) and WORD.fullmatch(version):
                records[f"{name}/{version}"] = self._read(path, name, version)
        return records

    def blob(self, sha256: str) -> Path | None:
        """The file with this digest, or None."""
        if not SHA256.fullmatch(sha256):
            return None
        path = self._blob(sha256)
        return path if path.is_file() else None

    def _blob(self, sha256: str) -> Path:
        return self.root / "blobs" / sha256[:2] / sha256

    def _index(self, name: str, version: str) -> Path:
        return self.root / "index" / check_word("name", name) / f"{check_word('version', version)}.json"

    @staticmethod
    def _exists(old: dict[str, Any], sha256: str) -> Exists:
        return Exists(
            f"{old['name']}/{old['version']} exists with other content: the store has {old['sha256']},"
            f" this is {sha256}; give it a new version"
        )

    @staticmethod
    def _read(path: Path, name: str, version: str) -> dict[str, Any]:
        try:
            record = json.loads(path.read_bytes())
            if not isinstance(record, dict):
                raise ValueError("not an object")
            for field, kind in FIELDS.items():
                if not isinstance(record.get(field), kind):
                    raise ValueError(f"`{field}` is missing or wrong")
            if not isinstance(record.get("added"), (int, float)) or not SHA256.fullmatch(record["sha256"]):
                raise ValueError("`added` or `sha256` is wrong")
            if (record["name"], record["version"]) != (name, version):
                raise ValueError("it describes something else")
        except ValueError as e:
            raise StoreError(f"{path} is damaged: {e}") from None
        return record


async def serve_blob(request: web.Request, store: DirectoryStore) -> web.StreamResponse:
    """`GET /artifacts/{sha256}`, with Range; a blob never changes, so an offset is enough to resume."""
    from aiohttp import web

    sha256 = request.match_info["sha256"]
    path = store.blob(sha256)
    if path is None:
        raise web.HTTPNotFound(text=f"no artifact has the digest {sha256[:64]}\n")
    return web.FileResponse(
        path,
        headers={
            "Content-Type": "application/gzip",
            "Cache-Control": "private, max-age=31536000, immutable",
            "X-Content-SHA256": sha256,
        },
    )


def _write_once(path: Path, data: bytes) -> bool:
    """Make a file whole or not at all; False when it exists."""
    fd, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        _sync(path.parent)
        return True
    finally:
        Path(temporary).unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
