"""A process of its own for bsdiff: `python -I -m cockpit.artifacts.bsdiff OLD NEW OUT`.

It takes 17 times the size of OLD and 3 times that of NEW in memory, which goes back when it ends, and on some inputs
far too long, so that whoever started it may end it. OUT gets what `bsdiff4.diff` gives, tried out before.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(old: str, new: str, out: str) -> None:
    import bsdiff4

    os.nice(10)
    before, after = Path(old).read_bytes(), Path(new).read_bytes()
    made = bsdiff4.diff(before, after)
    if bsdiff4.patch(before, made) != after:
        raise SystemExit("bsdiff4 made a patch that does not lead there")
    Path(out).write_bytes(made)


if __name__ == "__main__":
    main(*sys.argv[1:4])
