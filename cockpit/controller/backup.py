"""Backups of a state directory: made beside a running controller, checked, and put back.

The state file is opened read-only and copied by SQLite itself, without asking the controller: a backup must also be
possible when the controller hangs or is not there. The copy is one moment of the store, and it says how long the
journal was then (the journal is always written first): the journal is cut there, and its hash proves that both fit.

A backup is a tar: `COCKPIT-BACKUP` (what it is), the files, and `MANIFEST.json` with the size and SHA-256 of each.
It holds the cluster's private keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from cockpit import __version__
from cockpit.act import journal
from cockpit.agent.files import make_dir, sync_dir
from cockpit.controller.locks import is_held
from cockpit.controller.sealed import MAGIC, BrokenSeal, Sealer, Unsealer, WrongPassphrase
from cockpit.link.pki import Authority
from cockpit.plan.steps import Bad, Refused

FIRST, LAST = "COCKPIT-BACKUP", "MANIFEST.json"
FORMAT = 1
SMALL = re.compile(r"ca/[a-z][a-z0-9-]{0,40}\.pem|store\.toml|journal\.jsonl|state\.db")
ARTIFACT = re.compile(r"artifacts(/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+-]{1,200}){1,6}")
NEEDED = ("ca/ca.pem", "ca/ca-key.pem", "state.db", "journal.jsonl")
MAX_HEAD = 64 * 1024
MAX_MANIFEST = 256 * 1024 * 1024
BLOCK = 1024 * 1024


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. `made` is Unix time, `bytes` those of all files."""

    cluster: str
    made: float
    version: str
    revision: int
    entries: int
    """Of the journal."""
    hosts: int
    files: int
    bytes: int
    artifacts: bool
    sealed: bool


def backup(state: Path, target: Path, *, passphrase: str = "", artifacts: bool = False) -> Summary:
    """Write TARGET (0600) as a whole or not at all. The controller may run.

    Raises Bad, Refused, OSError.
    """
    if not (state / "state.db").is_file():
        raise Bad(f"{state} holds no state (no state.db): which directory is the controller's?")
    if target.resolve().is_relative_to(state.resolve()):
        raise Bad(f"{target} lies in the state directory: a backup belongs elsewhere")
    if target.is_dir():
        raise Bad(f"{target} is a directory: a file is wanted")
    if target.exists() and not _ours(target):
        raise Refused(f"{target} exists and is not a backup of ours: it was left alone")
    if not target.parent.is_dir():
        raise Bad(f"{target.parent} is no directory: make it first")
    work = Path(tempfile.mkdtemp(prefix=".cockpit-backup.", dir=target.parent))  # 0700
    try:
        snapshot = work / "state.db"
        _copy_database(state / "state.db", snapshot)
        with open(os.open(work / "out", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            sealer = Sealer(out, passphrase) if passphrase else None
            _write(sealer or out, state, snapshot, artifacts)
            if sealer is not None:
                sealer.finish()
            out.flush()
            os.fsync(out.fileno())
        summary = check(work / "out", passphrase=passphrase)
        (work / "out").replace(target)
        sync_dir(str(target.parent))
        return summary
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check(source: Path, *, passphrase: str = "") -> Summary:
    """Read and verify all of a backup. Raises Bad when it is not whole, OSError."""
    with tempfile.TemporaryDirectory(prefix=".cockpit-check.", dir=source.parent) as work:  # 0700
        return _unpack(source, Path(work), passphrase, keep_artifacts=False)


def restore(source: Path, state: Path, *, passphrase: str = "") -> Summary:
    """Make the state directory from a backup; nothing is there before all was verified.

    Raises Bad, Refused, OSError.
    """
    if is_held(state / "controller.lock"):
        raise Refused(f"a controller runs on {state}")
    if state.exists() and (not state.is_dir() or any(state.iterdir())):
        raise Refused(f"{state} is not empty: a backup goes into a new or empty directory")
    make_dir(str(state.parent))
    work = Path(tempfile.mkdtemp(prefix=".cockpit-restore.", dir=state.parent))
    try:
        summary = _unpack(source, work, passphrase, keep_artifacts=True)
        _sync(work)
        work.chmod(0o710)  # as the controller makes it: the group reaches the view socket
        work.rename(state)  # raises when something came into the directory meanwhile
        sync_dir(str(state.parent))
        return summary
    finally:
        shutil.rmtree(work, ignore_errors=True)


def is_sealed(source: Path) -> bool:
    with source.open("rb") as f:
        return f.read(len(MAGIC)) == MAGIC


# writing


def _copy_database(source: Path, target: Path) -> None:
    target.touch(0o600)
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as db,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            db.backup(copy)
            copy.execute("pragma journal_mode=delete")
    except sqlite3.Error as e:
        raise Bad(f"{source}: {e}") from None


def _write(out: Any, state: Path, snapshot: Path, artifacts: bool) -> None:
    doc, count, head = _facts(snapshot)
    about = {"format": FORMAT, "version": __version__, "made": time.time(), "cluster": doc, "artifacts": artifacts}
    digests: dict[str, list[Any]] = {}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, FIRST, io.BytesIO(json.dumps(about).encode()), {})
        for path in sorted((state / "ca").glob("*.pem")):
            with path.open("rb") as f:
                _add(tar, f"ca/{path.name}", f, digests)
        if (state / "store.toml").exists():
            with (state / "store.toml").open("rb") as f:
                _add(tar, "store.toml", f, digests)
        with snapshot.open("rb") as f:
            _add(tar, "state.db", f, digests)
        with (state / "journal.jsonl").open("rb") as f:
            _add(tar, "journal.jsonl", f, digests, _cut(f, count))
        if artifacts:
            for path in _artifacts(state / "artifacts"):
                name = path.relative_to(state).as_posix()
                try:
                    with path.open("rb") as f:
                        _add(tar, name, f, digests)
                except FileNotFoundError:
                    raise Bad(f"{path} went while the backup was made: try again") from None
        _add(tar, LAST, io.BytesIO(json.dumps({"journal": head, "files": digests}).encode()), {})


def _artifacts(root: Path) -> Iterator[Path]:
    """Records before what they name: what a record names was there before the record."""
    paths = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink() and ".work" not in p.parts]
    paths = [p for p in paths if ARTIFACT.fullmatch("artifacts/" + p.relative_to(root).as_posix())]
    yield from sorted(paths, key=lambda p: ("index" not in p.parts, p))


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes], digests: dict[str, list[Any]], size: int = -1) -> None:
    info = tarfile.TarInfo(name)
    if size < 0:
        size = file.seek(0, os.SEEK_END)
    file.seek(0)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    reader = _Hashing(file, size)
    tar.addfile(info, reader)  # type: ignore[arg-type]
    digests[name] = [size, reader.hash.hexdigest()]


class _Hashing:
    """Reads `size` bytes of a file and hashes them on the way."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.hash = hashlib.sha256()
        self._file = file
        self._left = size

    def read(self, count: int) -> bytes:
        data = self._file.read(min(count, self._left))
        self._left -= len(data)
        self.hash.update(data)
        return data


def _cut(file: IO[bytes], count: int) -> int:
    """Bytes of the first `count` lines. Raises Bad when there are fewer."""
    size = 0
    for _ in range(count):
        line = file.readline(journal.MAX_LINE + 1)
        if not line.endswith(b"\n"):
            raise Bad(f"the journal has fewer entries than the {count} that the state knows: cockpit log --verify")
        size += len(line)
    return size


def _facts(database: Path) -> tuple[str, int, str]:
    """(cluster, entries and head hash of the journal) as the store knows them."""
    meta = _meta(database)
    known = meta.get("journal") or {}
    head = meta.get("head") or {}
    return (
        str((head.get("doc") or {}).get("name", "")), int(known.get("count", 0)),
        str(known.get("hash", journal.START)),
    )


def _meta(database: Path) -> dict[str, Any]:
    try:
        with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as db:
            broken = db.execute("pragma quick_check").fetchone()
            if broken != ("ok",):
                raise Bad(f"the state file is damaged: {broken[0]}")
            rows = db.execute("select key, value from state where kind='meta'").fetchall()
            hosts = db.execute("select count(*) from state where kind in ('host', 'relay')").fetchone()[0]
        return {"hosts": hosts} | {k: json.loads(v) for k, v in rows}
    except (sqlite3.Error, ValueError, RecursionError) as e:
        raise Bad(f"the state file cannot be read: {e}") from None


# reading


def _unpack(source: Path, work: Path, passphrase: str, *, keep_artifacts: bool) -> Summary:
    """Everything into the private directory WORK, verified. Raises Bad."""
    sealed = is_sealed(source)
    if sealed and not passphrase:
        raise Bad(f"{source} is sealed with a passphrase: give --passphrase-file FILE")
    try:
        with source.open("rb") as f:
            reader: Any = Unsealer(f, passphrase) if sealed else f
            about, manifest, found = _members(reader, work, keep_artifacts)
            if sealed:
                reader.read()  # to the end: that nothing is missing is proven there
        summary = _verify(work, about, manifest, found, sealed)
    except (tarfile.ReadError, tarfile.HeaderError) as e:
        raise Bad(f"{source} is not a backup of ours, or is damaged: {e}") from None
    except (tarfile.TarError, EOFError, BrokenSeal, WrongPassphrase, journal.Tampered) as e:
        raise Bad(f"{source}: {e}") from None
    except (KeyError, TypeError, ValueError, RecursionError) as e:
        raise Bad(f"{source} is not a backup of ours: {e}") from None
    return summary


def _members(
    reader: Any, work: Path, keep_artifacts: bool
) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[Any]]]:
    about: dict[str, Any] | None = None
    manifest: dict[str, Any] | None = None
    found: dict[str, list[Any]] = {}
    with tarfile.open(fileobj=reader, mode="r|") as tar:
        for member in tar:
            data = tar.extractfile(member) if member.isreg() and not member.issparse() else None
            if data is None:
                raise ValueError(f"{member.name!r:.80} is not a plain file")
            if about is None:
                if member.name != FIRST or member.size > MAX_HEAD:
                    raise ValueError(f"it does not begin with {FIRST}")
                about = json.loads(data.read())
            elif manifest is not None:
                raise ValueError(f"{member.name!r:.80} comes after the manifest")
            elif member.name == LAST:
                if member.size > MAX_MANIFEST:
                    raise ValueError("its manifest is too long")
                manifest = json.loads(data.read())
            else:
                artifact = ARTIFACT.fullmatch(member.name) is not None
                if not artifact and not SMALL.fullmatch(member.name) or member.name in found:
                    raise ValueError(f"{member.name!r:.80} does not belong into a backup")
                place = work / member.name if keep_artifacts or not artifact else None
                found[member.name] = _take(data, place, work)
    if about is None or manifest is None:
        raise ValueError("its end is missing")
    return about, manifest, found


def _take(data: IO[bytes], place: Path | None, work: Path) -> list[Any]:
    """[size, SHA-256] of what was read, and written when there is a place for it."""
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        out: IO[bytes] | None = None
        if place is not None:
            for parent in reversed([p for p in place.parents if p != work and p.is_relative_to(work)]):
                parent.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            out = stack.enter_context(open(fd, "wb"))
        while block := data.read(BLOCK):
            digest.update(block)
            size += len(block)
            if out is not None:
                out.write(block)
    return [size, digest.hexdigest()]


def _verify(
    work: Path, about: dict[str, Any], manifest: dict[str, Any], found: dict[str, list[Any]], sealed: bool
) -> Summary:
    if about["format"] != FORMAT:
        raise ValueError(f"its format is {about['format']!r:.20}, this release reads {FORMAT}")
    files = manifest["files"]
    if files != found:
        wrong = sorted(n for n in {*files, *found} if files.get(n) != found.get(n))
        raise ValueError(f"{wrong[0]} is not what the manifest says")
    if missing := [n for n in NEEDED if n not in found]:
        raise ValueError(f"{missing[0]} is missing")
    cluster, count, head = _facts(work / "state.db")
    entries, torn = journal.verify(work / "journal.jsonl", head=head, count=count)
    if torn is not None or len(entries) != count or manifest["journal"] != head:
        raise ValueError("its journal does not fit its state")
    authority = Authority.load(work / "ca")
    meta = _meta(work / "state.db")
    return Summary(
        cluster=cluster or authority.cluster, made=float(about["made"]), version=str(about["version"]),
        revision=int((meta.get("head") or {}).get("revision", 0)), entries=count, hosts=int(meta["hosts"]),
        files=len(found), bytes=sum(int(size) for size, _ in found.values()), artifacts=bool(about["artifacts"]),
        sealed=sealed,
    )


def _ours(path: Path) -> bool:
    with path.open("rb") as f:
        start = f.read(max(len(MAGIC), len(FIRST) + 1))
    return start.startswith((MAGIC, FIRST.encode() + b"\0"))


def _sync(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
