#!/usr/bin/env python3
"""Write today's keys into docs/keys.md; a test says when that is needed.

    python tools/keys.py
"""

from __future__ import annotations

import os
from pathlib import Path

from screens import keymap

BEGIN, END = "<!-- cockpit keys -->\n```\n", "```\n"


def main() -> None:
    os.environ["XDG_CONFIG_HOME"] = os.devnull  # nobody's own keys
    path = Path(__file__).resolve().parent.parent / "docs" / "keys.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(before + BEGIN + keymap.listing() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
