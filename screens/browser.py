"""What a browser may not do with the machine that its screens run on."""

from __future__ import annotations

import os


def refusal(environ: dict[str, str] | None = None) -> str:
    """Why neither files nor programs of that machine may be touched; empty: they may, it is the person's own."""
    role = (os.environ if environ is None else environ).get("COCKPIT_WEB", "")
    return "this browser may only look: it writes no files and starts no programs on the machine it looks at" if (
        role == "view"
    ) else ""
