"""Which lines fit a pattern. Plain text is looked for here; a regular expression is tried by a process of its own,
because one line can keep an expression busy for hours, and the agent must not wait."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from typing import List, Optional, Sequence

from cockpit.agent import own
from cockpit.agent.log_query import Pattern

PATIENCE = 3.0
"""Seconds for one batch."""
BATCH = 1000
BATCH_TEXT = 1024 * 1024


class TooSlow(Exception):
    """The expression takes too long; the text is a sentence."""


class Matcher:
    """`fits` blocks: for a thread. To be closed."""

    def __init__(self, pattern: Optional[Pattern]) -> None:
        self.pattern = pattern
        self._plain = pattern.plain() if pattern is not None and not pattern.regex else None
        self._child: "Optional[subprocess.Popen[bytes]]" = None
        self._closed = False

    def fits(self, texts: Sequence[str]) -> List[bool]:
        """Raises TooSlow, OSError."""
        if self.pattern is None:
            return [True] * len(texts)
        if self._plain is not None:
            return [self._plain(text) for text in texts]
        found: List[bool] = []
        batch: List[str] = []
        size = 0
        for text in texts:
            batch.append(text)
            size += len(text)
            if len(batch) >= BATCH or size >= BATCH_TEXT:
                found += self._ask(batch)
                batch, size = [], 0
        return found + (self._ask(batch) if batch else [])

    def close(self) -> None:
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        pass

    def _ask(self, batch: List[str]) -> List[bool]:
        child = self._child or self._begin()
        assert child.stdin is not None and child.stdout is not None and self.pattern is not None
        wanted = not self.pattern.inverse
        answer = b""
        try:
            child.stdin.write(json.dumps(batch).encode() + b"\n")
            child.stdin.flush()
            deadline = time.monotonic() + PATIENCE
            while not answer.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
                    break
                data = os.read(child.stdout.fileno(), 64 * 1024)
                if not data:
                    break
                answer += data
        except OSError:
            pass
        if len(answer) != len(batch) + 1:
            self.close()
            raise TooSlow(
                f"the expression {self.pattern.text!r} took over {PATIENCE:.0f} s for {len(batch)} lines: "
                "a simpler one is wanted, or plain text"
            )
        return [(c == 49) is wanted for c in answer[:-1]]

    def _begin(self) -> "subprocess.Popen[bytes]":
        if self._closed or self.pattern is None:
            raise TooSlow("the search was ended")
        child = subprocess.Popen(
            own.script_argv("log_match_child.py"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, cwd="/", env={"PATH": "/usr/bin:/bin"},
        )
        assert child.stdin is not None
        try:
            child.stdin.write(
                json.dumps({"text": self.pattern.text, "flags": int(self.pattern.compiled().flags)}).encode() + b"\n"
            )
        except OSError:
            pass  # it ended: the first answer tells
        self._child = child
        return child
