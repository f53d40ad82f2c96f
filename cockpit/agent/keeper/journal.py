"""What is on disk: specs and wanted flags, a file each; starts and exits, an append-only journal.

A journal line is a JSON object. Lines with a `seq` are events: they are pushed to subscribers once
they are on disk, and stay until acknowledged. The others are the keeper's own: `fork` (who a child is,
written before it may exec), `unit` (a checkpoint of one unit), `boot`, `ack` and `reserve`.
"""

from __future__ import annotations

import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Doc = dict[str, Any]

SLACK = 256 * 1024
"""Bytes of settled lines that are worth a rewrite."""
RESERVE = 256
EVENT = b'{"seq":'


def write_file(path: str, data: bytes) -> None:
    """Replaces a file as a whole, durably: a reader sees the old content or the new. Raises OSError."""
    temporary = path + ".new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path))


def write_doc(path: str, doc: Doc) -> None:
    write_file(path, json.dumps(doc, separators=(",", ":")).encode() + b"\n")


def read_doc(path: str) -> Doc | None:
    """None when the file is missing or holds no object."""
    try:
        with open(path, "rb") as f:
            doc = json.loads(f.read())
    except (OSError, ValueError):
        return None
    return doc if isinstance(doc, dict) else None


def sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Journal:
    """Lines go to a buffer, from there to the file (`write`), and to the disk (`commit`)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seq = 0
        self.acked = 0
        self.damaged = 0
        """Lines that could not be read."""
        self.trouble = ""
        """Why the disk does not take what is to be written."""
        self._reserved = 0
        self._buffer = bytearray()
        self._outbox: list[Doc] = []
        self._dirty = False
        self._base = 0
        """Size after the last rewrite."""
        fresh = not os.path.exists(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if fresh:
            sync_directory(os.path.dirname(path))

    def load(self, apply: Callable[[Doc], None]) -> None:
        """Replays the file. What a crash left of a last line is cut off, other damage is counted."""
        good = 0
        for end, doc in self._lines():
            if doc is None:
                self.damaged += 1
            else:
                self.seq = max(self.seq, _int(doc, "seq"))
                self.acked = max(self.acked, _int(doc, "acked"))
                self._reserved = max(self._reserved, _int(doc, "reserved"))
                apply(doc)
            good = end
        if good < os.fstat(self._fd).st_size:
            self.damaged += 1
            os.ftruncate(self._fd, good)
        self.seq = max(self.seq, self._reserved)
        self._base = 0

    def _lines(self) -> Iterator[tuple[int, Doc | None]]:
        """(offset of its end, content or None) of each complete line."""
        at = 0
        with open(self.path, "rb") as f:
            for line in f:
                if not line.endswith(b"\n"):
                    return
                at += len(line)
                try:
                    doc = json.loads(line)
                except (ValueError, RecursionError):
                    doc = None
                yield at, doc if isinstance(doc, dict) else None

    def event(self, kind: str, **fields: object) -> Doc:
        """An event for subscribers, in the buffer."""
        self.seq += 1
        doc = {"seq": self.seq, "at": round(time.time(), 6), "event": kind, **fields}
        self.note(doc)
        self._outbox.append(doc)
        return doc

    def passing(self, kind: str, **fields: object) -> Doc:
        """An event that nobody needs after a crash: pushed in its order, never written."""
        if self.seq >= self._reserved:
            self._reserved = self.seq + RESERVE  # its number must not come again either
            self.note({"reserved": self._reserved})
        self.seq += 1
        doc = {"seq": self.seq, "at": round(time.time(), 6), "event": kind, **fields}
        self._outbox.append(doc)
        return doc

    def note(self, doc: Doc) -> None:
        """A line of the keeper's own, in the buffer."""
        self._buffer += json.dumps(doc, separators=(",", ":")).encode() + b"\n"

    def write(self) -> bool:
        """Buffer to file: after this the line survives the keeper. False on trouble (kept, tried again)."""
        while self._buffer:
            try:
                done = os.write(self._fd, self._buffer)
            except OSError as e:
                self.trouble = f"{self.path}: {e.strerror}"
                return False
            self._dirty = True
            del self._buffer[:done]
        return True

    def commit(self) -> list[Doc]:
        """File to disk: after this lines survive the host. Returns the events that may be pushed now."""
        if not self.write():
            return []
        if self._dirty:
            try:
                os.fdatasync(self._fd)
            except OSError as e:
                self.trouble = f"{self.path}: {e.strerror}"
                return []
            self._dirty = False
        self.trouble = ""
        out, self._outbox = self._outbox, []
        return out

    def unacked(self, limit: int, since: int = 0) -> tuple[list[bytes], bool]:
        """The oldest events on disk that nobody acknowledged, after `since` and up to `limit` bytes,
        as JSON; are there more?

        Read from the file: a host whose agent is away for weeks must not hold them in memory.
        """
        found: list[bytes] = []
        since = max(since, self.acked)
        if since >= self.seq:
            return found, False
        size = 0
        with open(self.path, "rb") as f:
            for line in f:
                if _seq(line) > since and line.endswith(b"}\n"):
                    size += len(line)
                    if size > limit and found:
                        return found, True
                    found.append(line[:-1])
        return found, False

    def ack(self, seq: int) -> None:
        if seq > self.acked:
            self.acked = seq
            self.note({"acked": seq})

    def worth_rewriting(self) -> bool:
        return os.fstat(self._fd).st_size > 2 * self._base + SLACK

    def rewrite(self, checkpoint: Iterable[Doc]) -> None:
        """Leaves out what is acknowledged. `checkpoint` is the state that replaces it.

        The checkpoint stands after the events: reading them again first changes nothing.
        """
        self.write()
        temporary = self.path + ".new"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            with open(self.path, "rb") as f:
                for line in f:
                    if _seq(line) > self.acked and line.endswith(b"}\n"):
                        _write_all(fd, line)
            head = {"acked": self.acked, "reserved": max(self._reserved, self.seq)}
            lines = [json.dumps(d, separators=(",", ":")).encode() for d in (head, *checkpoint)]
            _write_all(fd, b"\n".join(lines) + b"\n")
            os.fsync(fd)
            os.rename(temporary, self.path)
            sync_directory(os.path.dirname(self.path))
        except OSError as e:
            os.close(fd)
            self.trouble = f"{temporary}: {e.strerror}"
            return
        os.close(self._fd)
        self._fd = fd
        self._base = os.fstat(fd).st_size
        self._dirty = False

    def close(self) -> None:
        os.close(self._fd)


def _seq(line: bytes) -> int:
    """The number of an event's line, 0 for any other: `note` writes it first."""
    if not line.startswith(EVENT):
        return 0
    digits = line[len(EVENT) : line.find(b",")]
    return int(digits) if digits.isdigit() else 0


def _int(doc: Doc, key: str) -> int:
    value = doc.get(key, 0)
    return value if isinstance(value, int) else 0
