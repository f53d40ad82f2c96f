"""What the screens keep from one run to the next, per cluster: lines typed, bookmarks, tabs and where they stood.

Files of mode 0600 in $XDG_STATE_HOME/cockpit-screens/CLUSTER. Only lines that were understood are kept: a
password pasted into the wrong place is no screen and no verb. A file that cannot be read is said and ignored.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

LINES = 200
"""Lines of the command line that are kept."""
MARKS = 100
TABS = 9
MOST = 1 << 20
"""Bytes of a file; more is not ours."""

T = TypeVar("T")


class Spot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One screen of a stack, and where the operator stood on it."""

    address: str
    pane: int = 0
    key: str = ""
    """Of the line under the cursor."""
    height: int = 0
    """Lines between the top of the list and the cursor."""
    sort: str = ""
    turned: bool = False
    wide: bool = False
    state: dict[str, Any] = {}
    """What the list itself wants to keep: its `state()`."""


class Tab(msgspec.Struct, frozen=True):
    stack: tuple[Spot, ...] = ()


class Layout(msgspec.Struct, frozen=True, omit_defaults=True):
    tabs: tuple[Tab, ...] = ()
    at: int = 0


class _Kept(msgspec.Struct):
    lines: list[str] = []


def file_name(cluster: str) -> str:
    """A cluster's name as the name of a directory."""
    plain = re.sub(r"[^A-Za-z0-9._-]", lambda m: f"%{ord(m[0]):02x}", cluster)[:120]
    return plain if plain.strip(".") else "%" + plain


class Memory:
    """`base` None: nothing is read and nothing is written."""

    def __init__(self, base: Path | None = None) -> None:
        self._base = base
        self._at: Path | None = None
        self.lines: list[str] = []
        self.bookmarks: list[str] = []
        self.layout = Layout()
        self.complaints: list[str] = []
        """What could not be read or written, for the operator; emptied by whoever shows it."""

    def open(self, cluster: str) -> None:
        """Read what is kept for this cluster."""
        if self._base is None:
            return
        self._at = self._base / file_name(cluster)
        self.lines = self._read("lines.json", _Kept).lines[-LINES:]
        self.bookmarks = self._read("bookmarks.json", _Kept).lines[-MARKS:]
        self.layout = self._read("layout.json", Layout)

    def remember(self, line: str) -> None:
        """A line that was understood."""
        if self._at is not None:  # another cockpit on this cluster may have added some
            self.lines = self._read("lines.json", _Kept).lines
        self.lines = [*[each for each in self.lines if each != line], line][-LINES:]
        self._write("lines.json", _Kept(self.lines))

    def bookmark(self, address: str) -> bool:
        """Keep it, or no longer; true when it is kept now."""
        if self._at is not None:
            self.bookmarks = self._read("bookmarks.json", _Kept).lines
        there = address in self.bookmarks
        rest = [each for each in self.bookmarks if each != address]
        self.bookmarks = rest if there else [*rest, address][-MARKS:]
        self._write("bookmarks.json", _Kept(self.bookmarks))
        return not there

    def keep(self, layout: Layout) -> None:
        if layout != self.layout:
            self.layout = layout
            self._write("layout.json", layout)

    def _read(self, name: str, kind: type[T]) -> T:
        assert self._at is not None
        path = self._at / name
        try:
            with path.open("rb") as file:
                data = file.read(MOST + 1)
            if len(data) > MOST:
                raise ValueError("it is larger than anything the screens write")
            return msgspec.json.decode(data, type=kind)
        except FileNotFoundError:
            return kind()
        except (OSError, ValueError, msgspec.DecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._complain(f"{path} cannot be used ({why}): it is left out and written anew")
            return kind()

    def _write(self, name: str, content: msgspec.Struct) -> None:
        if self._at is None:
            return
        path = self._at / name
        new = path.with_name(f"{name}.{os.getpid()}")
        try:
            if not self._at.is_dir():
                # the controller's own directory when it runs here: its group may pass
                self._at.parent.mkdir(mode=0o710, parents=True, exist_ok=True)
                self._at.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(content))
            new.replace(path)
        except OSError as error:
            self._complain(f"{path} cannot be written ({error.strerror or error}): nothing is kept for next time")

    def _complain(self, words: str) -> None:
        if words not in self.complaints:
            self.complaints.append(words)
