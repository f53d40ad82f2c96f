"""What the person's locale says can be written on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python makes of LC_CTYPE in the C locale."""
LARGEST = 1024 * 1024


def given_ctype() -> str | None:
    """LC_CTYPE in the environment that this process began with; None where that is not known."""
    try:
        with Path("/proc/self/environ").open("rb") as file:
            items = file.read(LARGEST).split(b"\0")
    except OSError:
        return None
    return next((item[9:].decode("ascii", "replace") for item in items if item.startswith(b"LC_CTYPE=")), "")


def charset(
    environ: Mapping[str, str], encoding: str, given: Callable[[], str | None] = given_ctype
) -> str:
    """The encoding that LC_ALL, LC_CTYPE or LANG name; `encoding`, which Python writes, where they say nothing, or
    where that is not UTF-8 anyway.

    In the C locale Python writes UTF-8 all the same, and sets LC_CTYPE for that: its word alone would hide `LANG=C`.
    """
    if "utf" not in encoding.lower():
        return encoding
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = environ.get(name, "")
        if name == "LC_CTYPE" and value in COERCED:
            born = given()
            value = value if born is None else born
        if value:
            language, dot, named = value.partition("@")[0].partition(".")
            return named if dot else "ascii" if language in ("C", "POSIX") else encoding
    return encoding
