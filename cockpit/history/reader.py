"""Reads the history in a process of its own: a hundred thousand rows at a time are no work for the controller, and
their memory goes with the process.

`python -m cockpit.history.reader DIRECTORY`, JSON lines both ways: `{"op", "args"}` in; `{"item"}` lines out, then
`{"end": true}` or `{"wrong": SENTENCE}`. It ends when its standard input does.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from cockpit.history.questions import answer
from cockpit.history.reading import History
from cockpit.plan.steps import Bad


class Question(msgspec.Struct):
    op: str
    args: dict[str, Any] = {}


def main() -> int:
    gc.disable()  # rows have no cycles, and there is nobody else here
    source, out = sys.stdin.buffer, sys.stdout.buffer
    history = History(Path(sys.argv[1]))
    try:
        for line in source:
            asked = msgspec.json.decode(line, type=Question)
            try:
                for item in answer(history, asked.op, asked.args):
                    out.write(msgspec.json.encode({"item": item}) + b"\n")
                last: dict[str, Any] = {"end": True}
            except Bad as e:
                last = {"wrong": str(e)}
            out.write(msgspec.json.encode(last) + b"\n")
            out.flush()
            gc.collect()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
