"""The store of artifacts: versions that never change, over a flat space of objects (docs/artifacts.md).

Its methods block and may be called from several threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cockpit.artifacts.incoming import tree_of
from cockpit.artifacts.make import EARLIER, Source, Table, describe, groups, write_pack
from cockpit.artifacts.packed import Damaged, Pack, parse_table
from cockpit.artifacts.tree import scan
from cockpit.ports import ObjectStore
from cockpit.swarm.layout import MAX_BYTES as MAX_LAYOUT
from cockpit.swarm.layout import Layout, LayoutError, layout, parse_layout, pieces
from cockpit.swarm.manifest import HEX, KINDS, MAX_TEXT, Chunks, Manifest, ManifestError, parse, text
from cockpit.swarm.records import unzipped_lines, write_manifest

WORD = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._+-]*")
LONGEST = 100
MAX_RECORD = 1024 * 1024
MAX_TABLE = 32 * 1024 * 1024
MAX_SIGNATURES = 1000
LEFTOVER = 86400.0
"""Seconds after which unfinished work and objects that nothing names are remains, not somebody's work."""
FIELDS = {
    "name": str, "version": str, "platform": str, "kind": str, "sha256": str, "layout": str, "size": int,
    "packed": int, "files": int, "chunks": int, "md5": str,
}  # fmt: skip

Record = dict[str, Any]


ADDED = tuple(kind for kind in KINDS if kind != "patch")
"""Kinds that can be added; patches are made."""


class Exists(Exception):
    """This version exists with other content. A version is never changed: give it a new number."""


class Files(NamedTuple):
    """What the origin serves, as local files that are only read. `manifest` is named by its digest, and those
    of earlier versions may lie beside it."""

    manifest: Path
    layout: Path
    pack: Path
    table: Path


class Kept(NamedTuple):
    layout: str
    """SHA-256 of the layout."""
    packed: int
    """Bytes of the pack."""


def check_word(what: str, word: str) -> str:
    """A name, version or platform that is safe as a file name. Raises ValueError."""
    if not WORD.fullmatch(word) or len(word) > LONGEST:
        raise ValueError(
            f"{what} {word[:LONGEST]!r}: letters, digits and . _ + - are allowed, a letter or digit first,"
            f" at most {LONGEST}"
        )
    return word


class Store:
    """`work` is a directory for unfinished files (made with mode 0700), best on the file system of the objects."""

    def __init__(self, objects: ObjectStore, work: Path) -> None:
        self.objects = objects
        self.work = work
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.lock = threading.RLock()
        """Held while versions are added or deleted."""
        self._records: dict[str, Record] = {}
        """By id; a record never changes."""

    def add(
        self, source: Path, name: str, version: str, *, platform: str = "any", kind: str = "release",
        build: dict[str, Any] | None = None, now: float | None = None,
    ) -> Record:
        """Take in a directory, an archive or a single file. The same content again returns the first record.

        Raises Exists, tree.TreeError for what cannot become an artifact, ValueError for a bad word, Damaged, OSError.
        """
        _check(name, version, platform, kind)
        with tree_of(source, self.work) as root:
            manifest, sums = describe(root, scan(root), name, version, platform, kind)
            return self.put(root, manifest, sums, build=build, now=now)

    def put(
        self, root: Path, manifest: Manifest, sums: str, *, build: dict[str, Any] | None = None,
        now: float | None = None,
    ) -> Record:
        """Keep a version whose files lie below `root`; `sums` is its list of MD5 sums. Raises as `add` does."""
        _check(manifest.name, manifest.version, manifest.platform, manifest.kind)
        with self.lock:
            old = self.find(manifest.name, manifest.version)
            if old is not None:
                if old["sha256"] != manifest.sha256:
                    raise _exists(old, manifest.sha256)
                self._mend(root, manifest, old)
                return old
            kept = self.keep(root, manifest, self._earlier(manifest))
            record: Record = {
                "name": manifest.name, "version": manifest.version, "platform": manifest.platform,
                "kind": manifest.kind, "sha256": manifest.sha256, "layout": kept.layout, "size": manifest.size,
                "packed": kept.packed, "files": manifest.files, "chunks": len(manifest.chunks),
                "added": time.time() if now is None else now,
                "md5": hashlib.md5(sums.encode(), usedforsecurity=False).hexdigest(), "build": build,
            }  # fmt: skip
            if not self.objects.put_once(_index(manifest.name, manifest.version), _json(record)):
                old = self.find(manifest.name, manifest.version)  # somebody else added it just now
                if old is None or old["sha256"] != manifest.sha256:
                    raise _exists(old or record, manifest.sha256)
                return old
            self._mend(root, manifest, record)  # what a collection elsewhere took meanwhile
            return record

    def keep(self, root: Path, manifest: Manifest, earlier: Sequence[Chunks] = ()) -> Kept:
        """Manifest, layout and pack of any manifest whose files lie below `root`, without a record."""
        plan = layout(manifest.sha256, groups(manifest.chunks, earlier))
        return self._keep(root, manifest, plan)

    def _keep(self, root: Path, manifest: Manifest, plan: Layout) -> Kept:
        with tempfile.TemporaryDirectory(prefix=".pack-", dir=self.work) as directory:
            packed = Path(directory) / "pack"
            with os.fdopen(os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                table = write_pack(Source(root, manifest), pieces(plan, manifest.chunks), out)
            size = packed.stat().st_size
            whole = Path(directory) / "manifest"
            write_manifest(str(whole), text(manifest))
            pack = _pack(manifest.sha256, plan.sha256)
            # the table belongs to the bytes of its pack, which another zlib may have made: both or none
            if self.objects.size(pack) is None:
                self.objects.delete(f"{pack}.table")
            self.objects.put_once(f"{pack}.table", json.dumps(table, separators=(",", ":")).encode())
            if not self.objects.put_once(pack, packed):
                size = self.objects.size(pack) or size
            self.objects.put_once(f"layouts/{plan.sha256}", plan.data)
            self.objects.put_once(f"manifests/{manifest.sha256}", whole)
        return Kept(plan.sha256, size)

    def find(self, name: str, version: str) -> Record | None:
        """The record of a version, or None. Raises ValueError for a bad word, Damaged, OSError."""
        id = f"{check_word('name', name)}/{check_word('version', version)}"
        if id not in self._records:
            with contextlib.suppress(FileNotFoundError):
                self._records[id] = self._read(id)
        return self._records.get(id)

    def listing(self) -> dict[str, Record]:
        """`name/version` -> record, sorted. Raises Damaged, OSError."""
        ids = [o.key.removeprefix("index/").removesuffix(".json") for o in self.objects.list("index/")]
        found = {}
        for id in sorted(ids):
            name, _, version = id.partition("/")
            if WORD.fullmatch(name) and WORD.fullmatch(version) and (record := self.find(name, version)):
                found[id] = record
        for id in set(self._records) - set(found):
            del self._records[id]
        return found

    def manifest(self, sha256: str) -> Manifest:
        """Raises Damaged, FileNotFoundError, OSError."""
        key = f"manifests/{_hex(sha256)}"
        try:
            manifest = parse(unzipped_lines([self.objects.get(key, MAX_TEXT)]))
        except ManifestError as e:
            raise Damaged(f"{key}: {e}") from None
        if manifest.sha256 != sha256:
            raise Damaged(f"{key} has the digest {manifest.sha256}")
        return manifest

    def layout(self, manifest: Manifest, sha256: str) -> Layout:
        """Raises Damaged, FileNotFoundError, OSError."""
        key = f"layouts/{_hex(sha256)}"
        try:
            plan = parse_layout(self.objects.get(key, MAX_LAYOUT), manifest.sha256, len(manifest.chunks))
        except LayoutError as e:
            raise Damaged(f"{key}: {e}") from None
        if plan.sha256 != sha256:
            raise Damaged(f"{key} has the digest {plan.sha256}")
        return plan

    def table(self, manifest: Manifest, plan: Layout) -> Table:
        """Raises Damaged, FileNotFoundError, OSError."""
        key = f"{_pack(manifest.sha256, plan.sha256)}.table"
        try:
            return parse_table(self.objects.get(key, MAX_TABLE), pieces(plan, manifest.chunks))
        except Damaged as e:
            raise Damaged(f"{key}: {e}") from None

    @contextlib.contextmanager
    def pack(self, sha256: str, layout_sha256: str) -> Iterator[Pack]:
        """The open pack of a manifest and a layout. Raises Damaged, FileNotFoundError, OSError."""
        manifest = self.manifest(sha256)
        plan = self.layout(manifest, layout_sha256)
        table = self.table(manifest, plan)
        key = _pack(sha256, layout_sha256)
        try:
            pack = Pack(self.objects.file(key), table, plan, manifest)
            with contextlib.closing(pack):
                yield pack
        except Damaged as e:
            raise Damaged(f"{key}: {e}") from None

    def files(self, sha256: str, layout_sha256: str) -> Files:
        """What serving needs, as local files. Raises Damaged, FileNotFoundError, ValueError, OSError."""
        pack = _pack(_hex(sha256), _hex(layout_sha256))
        return Files(
            self.objects.file(f"manifests/{sha256}"), self.objects.file(f"layouts/{layout_sha256}"),
            self.objects.file(pack), self.objects.file(f"{pack}.table"),
        )

    def md5_list(self, name: str, version: str) -> str:
        """What `md5sum` prints of the version's files. Raises FileNotFoundError, Damaged, OSError."""
        record = self.need(name, version)
        with self.pack(record["sha256"], record["layout"]) as pack:
            return pack.md5_list()

    def need(self, name: str, version: str) -> Record:
        """As `find`, but FileNotFoundError when there is none."""
        record = self.find(name, version)
        if record is None:
            raise FileNotFoundError(f"the store has no artifact {name}/{version}")
        return record

    # signatures and patches: who makes them checks them

    def signatures(self, name: str, version: str) -> list[dict[str, Any]]:
        """The signature records of a version, unchecked. Raises ValueError, Damaged, OSError."""
        found: list[dict[str, Any]] = []
        for item in self.objects.list(f"signatures/{check_word('name', name)}/{check_word('version', version)}/"):
            if len(found) < MAX_SIGNATURES:
                found.append(_object(item.key, self.objects.get(item.key, MAX_RECORD)))
        return found

    def add_signature(self, name: str, version: str, role: str, key_digest: str, record: dict[str, Any]) -> bool:
        """False when this role has one of this key already. Raises ValueError, OSError."""
        place = f"signatures/{check_word('name', name)}/{check_word('version', version)}"
        return self.objects.put_once(
            f"{place}/{check_word('role', role)}-{check_word('key', key_digest)}.json", _json(record)
        )

    def patch(self, base: str, sha256: str) -> dict[str, Any] | None:
        """{sha256, layout, size} of the patch's manifest between two manifests. Raises Damaged, OSError."""
        key = f"patches/{_hex(base)}-{_hex(sha256)}.json"
        try:
            return _object(key, self.objects.get(key, MAX_RECORD))
        except FileNotFoundError:
            return None

    def add_patch(self, base: str, sha256: str, record: dict[str, Any]) -> bool:
        return self.objects.put_once(f"patches/{_hex(base)}-{_hex(sha256)}.json", _json(record))

    def versions(self, name: str) -> list[Record]:
        """Of one name, newest first."""
        found = [r for r in self.listing().values() if r["name"] == name]
        return sorted(found, key=lambda r: (r["added"], r["version"]), reverse=True)

    def _earlier(self, manifest: Manifest) -> list[Chunks]:
        found = []
        for record in self.versions(manifest.name):
            if record["platform"] == manifest.platform and record["version"] != manifest.version:
                with contextlib.suppress(Damaged, FileNotFoundError):  # only the grouping gets worse
                    found.append(self.manifest(record["sha256"]).chunks)
            if len(found) == EARLIER:
                break
        return found

    def _mend(self, root: Path, manifest: Manifest, record: Record) -> None:
        """Put back objects of a record that are missing or cut off."""
        pack = _pack(record["sha256"], record["layout"])
        keys = (f"manifests/{record['sha256']}", f"layouts/{record['layout']}", f"{pack}.table")
        if self.objects.size(pack) == record["packed"] and all(self.objects.size(k) is not None for k in keys):
            return
        try:
            plan = self.layout(manifest, record["layout"])
        except FileNotFoundError:
            plan = layout(manifest.sha256, groups(manifest.chunks, self._earlier(manifest)))
            if plan.sha256 != record["layout"]:
                raise Damaged(
                    f"layouts/{record['layout']} of {record['name']}/{record['version']} is lost: add the content"
                    " as a new version"
                ) from None
        self.objects.delete(pack)
        self._keep(root, manifest, plan)

    def _read(self, id: str) -> Record:
        key = f"index/{id}.json"
        record = _object(key, self.objects.get(key, MAX_RECORD))
        try:
            for field, kind in FIELDS.items():
                if not isinstance(record.get(field), kind):
                    raise ValueError(f"`{field}` is missing or wrong")
            if not isinstance(record.get("added"), (int, float)):
                raise ValueError("`added` is missing or wrong")
            if not HEX.fullmatch(record["sha256"]) or not HEX.fullmatch(record["layout"]):
                raise ValueError("a digest is wrong")
            if f"{record['name']}/{record['version']}" != id:
                raise ValueError("it describes something else")
        except ValueError as e:
            raise Damaged(f"{key} is damaged: {e}") from None
        return record


def clear_work(work: Path, now: float) -> None:
    """Remove what broken-off work left behind; it is remade where it is needed."""
    for path in work.iterdir():
        with contextlib.suppress(OSError):
            if now - path.stat().st_mtime > LEFTOVER:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check(name: str, version: str, platform: str, kind: str) -> None:
    check_word("name", name)
    check_word("version", version)
    check_word("platform", platform)
    if kind not in ADDED:
        raise ValueError(f"kind {kind!r} is not one of {', '.join(ADDED)}")


def _exists(old: Record, sha256: str) -> Exists:
    return Exists(
        f"{old['name']}/{old['version']} exists with other content: the store has {old['sha256']},"
        f" this is {sha256}; give it a new version"
    )


def _index(name: str, version: str) -> str:
    return f"index/{name}/{version}.json"


def _pack(manifest: str, layout_sha256: str) -> str:
    return f"packs/{manifest}-{layout_sha256}"


def _hex(sha256: str) -> str:
    if not HEX.fullmatch(sha256):
        raise ValueError(f"{sha256[:80]!r} is not a SHA-256")
    return sha256


def _json(doc: dict[str, Any]) -> bytes:
    return json.dumps(doc, sort_keys=True).encode() + b"\n"


def _object(key: str, data: bytes) -> dict[str, Any]:
    try:
        doc = json.loads(data)
    except (ValueError, RecursionError):
        doc = None
    if not isinstance(doc, dict):
        raise Damaged(f"{key} is damaged: it is not a JSON object")
    return doc

