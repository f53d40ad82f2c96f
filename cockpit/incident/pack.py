"""A bundle as a file: redacted, bounded, with a manifest of digests; and reading one back.

A tar in gzip: `MANIFEST.json` first, then the files by name. The same data gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from pathlib import Path
from typing import Any

import msgspec

from cockpit import __version__
from cockpit.incident.collect import Collected, Piece, files
from cockpit.incident.redact import Redactor
from cockpit.plan.steps import Bad

MANIFEST = "MANIFEST.json"
FORMAT = 1
MOST_FILE = 8 * 1024 * 1024
MOST = 64 * 1024 * 1024
"""Bytes of one file, and of all, before compression."""
MOST_FILES = 2000
ROOM = 4 * 1024 * 1024
"""Of the manifest, when one is read."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    size: int
    sha256: str
    about: str = ""
    cut: str = ""
    """What of it was left out because it was too long."""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    what: str
    why: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    cockpit: str
    cluster: str
    revision: int
    made: float
    """Unix time, by the controller's clock."""
    since: float
    by: str
    journal: str
    """What the verification of the journal's chain said."""
    files: tuple[Entry, ...]
    left_out: tuple[Left, ...] = ()
    redacted: dict[str, int] = {}
    """Rule -> how often something was taken out."""


def pack(found: Collected, since: float) -> tuple[bytes, Manifest]:
    """The whole file and its manifest. Learns secrets from everything before it cleans anything."""
    redactor = Redactor()
    for piece in found.pieces:
        for each in (piece.data, piece.rows, piece.lines):
            # texts may hold `password=...` too, but lines of a log are no command: one by one
            for item in each if isinstance(each, list) else [each]:
                redactor.learn(item)
    entries: list[Entry] = []
    contents: list[tuple[str, bytes]] = []
    left = [Left(what=redactor.text(w), why=redactor.text(y)) for w, y in found.left_out]
    room = MOST
    for piece in files(found.pieces):
        content, cut = _content(piece, redactor, min(MOST_FILE, room))
        if content is None:
            left.append(Left(what=redactor.text(piece.name), why=cut))
            continue
        room -= len(content)
        name = redactor.text(piece.name)
        contents.append((name, content))
        entries.append(Entry(
            name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest(),
            about=redactor.text(piece.about), cut=cut,
        ))  # fmt: skip
    manifest = Manifest(
        format=FORMAT, cockpit=__version__, cluster=redactor.text(found.cluster), revision=found.revision,
        made=found.now, since=since, by=redactor.text(found.who), journal=redactor.text(found.journal),
        files=tuple(entries), left_out=tuple(left),
        redacted={rule: n for rule, n in sorted(redactor.counts.items()) if n},
    )  # fmt: skip
    raw = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    return _tar([(MANIFEST, raw), *contents], int(found.now)), manifest


def _content(piece: Piece, redactor: Redactor, room: int) -> tuple[bytes | None, str]:
    """Its bytes and what was cut; None and the reason when it cannot be cut and does not fit."""
    if piece.data is not None:
        raw = msgspec.json.format(msgspec.json.encode(redactor.data(piece.data)), indent=1) + b"\n"
        if len(raw) > room:
            return None, f"{len(raw)} bytes, and {room} were left"
        return raw, ""
    if piece.rows is not None:
        lines = [msgspec.json.encode(redactor.data(row)) for row in piece.rows]
    else:
        lines = [line.encode("utf-8", "backslashreplace") for line in redactor.lines(piece.lines or [])]
    return _fitting(lines, room, piece.tail)


def _fitting(lines: list[bytes], room: int, tail: bool) -> tuple[bytes, str]:
    used, kept = 0, 0
    for line in reversed(lines) if tail else lines:
        if used + len(line) + 1 > room:
            break
        used += len(line) + 1
        kept += 1
    chosen = (lines[len(lines) - kept:] if tail else lines[:kept]) if kept < len(lines) else lines
    cut = f"{len(lines) - kept} of {len(lines)} lines, the {'first' if tail else 'last'}" if kept < len(lines) else ""
    return b"".join(line + b"\n" for line in chosen), cut


def _tar(contents: list[tuple[str, bytes]], made: int) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=made, compresslevel=6) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, content in contents:
                info = tarfile.TarInfo(name)
                info.size, info.mode, info.mtime = len(content), 0o600, made
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def listing(path: Path) -> tuple[Manifest, list[str]]:
    """The manifest of a bundle, and what in it is not as the manifest says. Nothing is unpacked.

    Raises Bad when it is no bundle, OSError when it cannot be read.
    """
    wrong: list[str] = []
    seen: dict[str, tuple[int, str]] = {}
    manifest: Manifest | None = None
    try:
        with tarfile.open(path, mode="r|gz") as tar:
            total = 0
            for member in tar:
                total += member.size
                if total > MOST + ROOM or len(seen) > MOST_FILES:
                    raise Bad(f"{path}: it is larger than a bundle can be")
                file = tar.extractfile(member) if member.isreg() else None
                if manifest is None:
                    if member.name != MANIFEST or file is None or member.size > ROOM:
                        raise Bad(f"{path}: this is no incident bundle: it does not begin with {MANIFEST}")
                    manifest = msgspec.json.decode(file.read(), type=Manifest)
                elif file is None or member.name in seen:
                    wrong.append(f"{_plain(member.name)}: it does not belong here")
                else:
                    seen[member.name] = (member.size, hashlib.file_digest(file, "sha256").hexdigest())  # type: ignore[arg-type]
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, msgspec.MsgspecError) as e:
        raise Bad(f"{path}: this is no incident bundle, or it is damaged: {e}") from None
    if manifest is None:
        raise Bad(f"{path}: this is no incident bundle: it is empty")
    for entry in manifest.files:
        if seen.pop(entry.name, None) != (entry.size, entry.sha256):
            wrong.append(f"{_plain(entry.name)}: missing, or not as it was written")
    wrong += [f"{_plain(name)}: the manifest does not name it" for name in seen]
    return manifest, wrong


def _plain(name: str) -> str:
    return json.dumps(name)[1:-1][:200]


def described(manifest: Manifest) -> dict[str, Any]:
    plain = msgspec.to_builtins(manifest)
    assert isinstance(plain, dict)
    return plain
