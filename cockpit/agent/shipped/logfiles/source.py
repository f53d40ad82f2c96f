"""One log file of a program, copied onward byte by byte; nothing that was written is left out.

The program may reopen its file (it was renamed), or have it copied and truncated by others. The old file of a rename
is read on until it is quiet; what was written between our last look and a truncation is looked for in the copy.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

BLOCK = 256 * 1024
ROUND = 8 * 1024 * 1024
"""Bytes of one file in one round, so that no file waits for another."""
PRINT = 256
"""Bytes before our place that are compared to know a file again."""
QUIET = 5.0
"""Seconds without a word after which a renamed file is left."""
FIRST = 1024 * 1024
"""Bytes of a file that was there before us which are still taken."""
PUNCH, KEEP = 16 * 1024 * 1024, 4 * 1024 * 1024
PAGE = 4096
MAX_OLD = 5

Sink = Callable[[bytes], None]
State = Dict[str, Any]


class Source:
    """`path` is followed; `state` is what `state()` gave the last time, or empty."""

    def __init__(self, path: str, state: State, punch: Optional[Callable[[int, int], None]] = None) -> None:
        self.path = path
        self.wrong = ""
        """Why it cannot be read now."""
        self._fd = -1
        self._id: Tuple[int, int] = (0, 0)
        self._offset = 0
        self._print = b""
        self._punched = 0
        self._old: List[List[Any]] = []
        """[fd, offset, when it last said something] of renamed files."""
        self._ended_line = True
        self._punch = punch
        if state:
            self._id = (int(state["dev"]), int(state["ino"]))
            self._offset, self._print = int(state["offset"]), bytes.fromhex(state["print"])
            self._ended_line = bool(state["whole"])

    def state(self) -> State:
        return {
            "dev": self._id[0], "ino": self._id[1], "offset": self._offset, "print": self._print.hex(),
            "whole": self._ended_line,
        }

    def advance(self, count: int) -> None:
        """So many bytes after `state` are known to have been copied."""
        self._offset += count
        self._print = b""

    def close(self) -> None:
        for fd in [self._fd, *(o[0] for o in self._old)]:
            if fd >= 0:
                os.close(fd)
        self._fd, self._old = -1, []

    def read(self, sink: Sink, now: Optional[float] = None) -> int:
        """Give what is new to `sink`; how many bytes."""
        now = time.monotonic() if now is None else now
        total = self._read_old(sink, now)
        try:
            at = os.stat(self.path)
        except OSError as e:
            self.wrong = "" if isinstance(e, FileNotFoundError) and self._fd >= 0 else e.strerror or str(e)
            return total + (self._current(sink, now)[0] if self._fd >= 0 else 0)
        if self._fd < 0:
            self._open_first(at, sink)
        elif (at.st_dev, at.st_ino) != self._id:
            total += self._current(sink, now)[0]
            self._old.append([self._fd, self._offset, now])
            while len(self._old) > MAX_OLD:
                os.close(self._old.pop(0)[0])
            self._finish_line(sink)
            self._open(at, 0)
        if self._fd >= 0:
            total += self._current(sink, now)[0]
        return total

    def _open_first(self, at: os.stat_result, sink: Sink) -> None:
        known = self._id != (0, 0)
        if known and (at.st_dev, at.st_ino) == self._id:
            self._open(at, self._offset)
        elif known:  # it was rotated while nobody looked
            self._rest_of_renamed(sink)
            self._finish_line(sink)
            self._open(at, 0)
        else:
            self._open(at, max(0, at.st_size - FIRST))
            if self._fd >= 0 and self._offset:
                block = os.pread(self._fd, BLOCK, self._offset)
                self._offset += block.find(b"\n") + 1

    def _open(self, at: os.stat_result, offset: int) -> None:
        self._fd, self._punched = -1, 0
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as e:
            self.wrong = e.strerror or str(e)
            return
        found = os.fstat(self._fd)
        if not found.st_mode & 0o100000:
            os.close(self._fd)
            self._fd, self.wrong = -1, "it is no plain file"
            return
        self.wrong = ""
        if (found.st_dev, found.st_ino) != (at.st_dev, at.st_ino):
            offset = 0
        self._id, self._offset = (found.st_dev, found.st_ino), offset
        if not offset:
            self._print = b""

    def _current(self, sink: Sink, now: float) -> Tuple[int, bool]:
        size = os.fstat(self._fd).st_size
        lost = self._print and os.pread(self._fd, len(self._print), self._offset - len(self._print)) != self._print
        if size < self._offset or lost:  # truncated in place, perhaps written to since
            found = self._rest_of_copy(sink)
            self._finish_line(sink)
            self._offset, self._print, self._punched = 0, b"", 0
            return found + self._copy(self._fd, sink)[0], True
        count, _ = self._copy(self._fd, sink)
        self._release()
        return count, False

    def _copy(self, fd: int, sink: Sink) -> Tuple[int, int]:
        """From our place to the end, a round at most."""
        total = 0
        while total < ROUND:
            data = os.pread(fd, BLOCK, self._offset)
            if not data:
                break
            sink(data)
            self._ended_line = data.endswith(b"\n")
            self._offset += len(data)
            self._print = (self._print + data)[-PRINT:]
            total += len(data)
        return total, self._offset

    def _finish_line(self, sink: Sink) -> None:
        if not self._ended_line:
            sink(b"\n")
            self._ended_line = True

    def _read_old(self, sink: Sink, now: float) -> int:
        total = 0
        for old in list(self._old):
            data = os.pread(old[0], ROUND, old[1])
            if data:
                self._finish_line(sink)
                sink(data if data.endswith(b"\n") else data + b"\n")
                old[1] += len(data)
                old[2] = now
                total += len(data)
            elif now - old[2] > QUIET:
                os.close(old[0])
                self._old.remove(old)
        return total

    def _rest_of_copy(self, sink: Sink) -> int:
        """What was written before the truncation and not read yet stands in the copy that was made."""
        return self._rest(sink, lambda at: (at.st_dev, at.st_ino) != self._id and bool(self._print))

    def _rest_of_renamed(self, sink: Sink) -> int:
        return self._rest(sink, lambda at: (at.st_dev, at.st_ino) == self._id)

    def _rest(self, sink: Sink, fits: Callable[[os.stat_result], bool]) -> int:
        directory, base = os.path.split(self.path)
        found = []
        try:
            for name in os.listdir(directory):
                path = os.path.join(directory, name)
                if name.startswith(base) and name != base:
                    at = os.stat(path)
                    if at.st_mode & 0o100000 and at.st_size >= self._offset and fits(at):
                        found.append((at.st_mtime, path))
        except OSError:
            pass
        for _, path in sorted(found, reverse=True):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                if os.pread(fd, len(self._print), self._offset - len(self._print)) == self._print:
                    return self._copy(fd, sink)[0]
            finally:
                os.close(fd)
        return 0

    def _release(self) -> None:
        """Give back the blocks of what was copied long ago; the file keeps its length."""
        end = (self._offset - KEEP) // PAGE * PAGE
        if self._punch is None or end - self._punched < PUNCH - KEEP:
            return
        self._punched = end
        try:
            fd = os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            self._punch(fd, end)
        except OSError:
            pass  # a file system without holes
        finally:
            os.close(fd)
