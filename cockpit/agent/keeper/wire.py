"""JSON lines on the keeper's socket: cutting, decoding, encoding. No I/O."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_LINE = 1024 * 1024
"""Longest line in either direction, with its newline."""


class Reject(Exception):
    """A request that is answered with an error.

    Codes: bad, exists, missing, busy, exec, altered.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class TooLong(Exception):
    """A line over the limit: nothing after it can be understood."""


class Lines:
    """Cuts a byte stream into lines of at most `limit` bytes."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self.limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, without their newlines. Raises TooLong."""
        searched = len(self._held)
        self._held += data
        lines = []
        begin = 0
        while (end := self._held.find(b"\n", max(begin, searched))) >= 0:
            if end - begin >= self.limit:
                raise TooLong
            lines.append(bytes(self._held[begin:end]))
            begin = end + 1
        del self._held[:begin]
        if len(self._held) >= self.limit:
            raise TooLong
        return lines


def encode(doc: dict[str, Any]) -> bytes:
    """One line, with its newline."""
    return json.dumps(doc, separators=(",", ":")).encode() + b"\n"


class Raw:
    """An answer with lists whose items are JSON already."""

    __slots__ = ("doc", "lists")

    def __init__(self, doc: dict[str, Any], lists: dict[str, list[bytes]]) -> None:
        self.doc = doc
        self.lists = lists


def answer(id: object, reply: dict[str, Any] | Raw) -> bytes:
    """The line that answers request `id`; `ok` is true unless the reply says otherwise."""
    doc = reply.doc if isinstance(reply, Raw) else reply
    line = encode({"id": id, "ok": True, **doc})
    if isinstance(reply, Raw):
        parts = [b',"' + key.encode() + b'":[' + b",".join(items) + b"]" for key, items in reply.lists.items()]
        line = line[:-2] + b"".join(parts) + b"}\n"
    return line


def decode(line: bytes) -> dict[str, Any]:
    """Raises Reject for anything but a JSON object."""
    try:
        doc = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise Reject("bad", f"not JSON: {e}") from None
    if not isinstance(doc, dict):
        raise Reject("bad", "a request is a JSON object")
    return doc


def text(doc: dict[str, Any], key: str, default: str | None = None, limit: int = 4096) -> str:
    """A string field of a request. Raises Reject."""
    value = doc.get(key, default)
    if not isinstance(value, str) or len(value) > limit or "\0" in value:
        raise Reject("bad", f"{key}: a string of at most {limit} characters is wanted")
    return value


def number(doc: dict[str, Any], key: str, default: float | None = None) -> float:
    """A finite number >= 0 in a request. Raises Reject."""
    value = doc.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e18:
        raise Reject("bad", f"{key}: a number of at least 0 is wanted")
    return value


def strings(value: object, where: str) -> list[str]:
    """A list of strings without NUL. Raises Reject."""
    if not isinstance(value, list) or not all(isinstance(v, str) and "\0" not in v for v in value):
        raise Reject("bad", f"{where}: a list of strings is wanted")
    return value
