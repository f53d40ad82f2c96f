"""Tries a regular expression on lines, in a process of its own: one that takes for ever is killed with it.

    python -I -S .../log_match_child.py

stdin: a line of JSON `{"text","flags"}`, then lines `["line", ...]`; each is answered by a line of `0` and `1`.
"""

from __future__ import annotations

import json
import re
import resource
import sys

MEMORY = 512 * 1024 * 1024
CPU = 300


def main() -> None:
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, CPU), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(what, (most, most))
        except (OSError, ValueError):
            pass
    first = json.loads(sys.stdin.buffer.readline())
    search = re.compile(first["text"], first["flags"]).search
    out = sys.stdout.buffer
    for data in iter(sys.stdin.buffer.readline, b""):
        out.write(b"".join(b"1" if search(line) else b"0" for line in json.loads(data)) + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
