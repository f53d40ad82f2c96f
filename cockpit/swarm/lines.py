"""JSON lines on stdin and stdout: how a process of the swarm talks to the one that started it."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any, Callable, Dict

MAX_LINE = 4 * 1024 * 1024
READ = 64 * 1024


class Lines:
    """`on_doc(doc)` for each object that comes in; `ended` is set when stdin ends or what comes is no JSON."""

    def __init__(self, on_doc: Callable[[Dict[str, Any]], None], stdin: int = 0, stdout: int = 1) -> None:
        self.ended = asyncio.Event()
        self._doc = on_doc
        self._in = stdin
        self._out = stdout
        self._came = bytearray()
        self._waiting = bytearray()
        self._writing = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(stdin, False)
        os.set_blocking(stdout, False)
        self._loop.add_reader(stdin, self._read)

    def send(self, doc: Dict[str, Any]) -> None:
        """One line. Who does not read for 4 MiB of lines ends us."""
        self._waiting += json.dumps(doc, separators=(",", ":")).encode() + b"\n"
        if len(self._waiting) > MAX_LINE:
            self.ended.set()
        if not self._writing:
            self._write()

    def _write(self) -> None:
        try:
            while self._waiting:
                count = os.write(self._out, self._waiting)
                del self._waiting[:count]
        except BlockingIOError:
            pass
        except OSError:  # nobody listens any more
            self._waiting.clear()
            self.ended.set()
        if bool(self._waiting) != self._writing:
            self._writing = bool(self._waiting)
            if self._writing:
                self._loop.add_writer(self._out, self._write)
            else:
                self._loop.remove_writer(self._out)

    def _read(self) -> None:
        try:
            data = os.read(self._in, READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._came += data
        *lines, rest = bytes(self._came).split(b"\n")
        self._came = bytearray(rest)
        for line in lines:
            try:
                doc = json.loads(line)
            except (ValueError, RecursionError):
                doc = None
            if not isinstance(doc, dict):
                self._end()
                return
            self._doc(doc)
        if len(self._came) > MAX_LINE:
            self._end()

    def _end(self) -> None:
        self._loop.remove_reader(self._in)
        self.ended.set()
