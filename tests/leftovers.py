"""Finds processes that a test session started and did not end.

A session puts a mark into its environment, which children inherit. The keeper gives services an
environment of their own, so a process also counts when its environment, working directory or
arguments mention one of the session's directories.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "COCKPIT_TEST_MARK"


def find(mark: str, directories: Iterable[Path] = ()) -> dict[int, str]:
    """Pid -> command line of every process, this one apart, that carries the mark or a directory."""
    wanted = [f"{VARIABLE}={mark}".encode(), *(os.fsencode(d) for d in directories)]
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            facts = (entry / "environ").read_bytes() + b"\0" + command
            facts += b"\0" + os.fsencode(os.readlink(entry / "cwd")) + b"/"
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if any(w in facts for w in wanted):
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found
