"""Finding the screens: by entry point only, so that the engine never imports them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from cockpit.cli.common import BAD, Fail

GROUP = "cockpit.screens"
OURS = "cockpit_ops-"
"""How the directory begins in which our own installation keeps its entry points."""


def face(name: str) -> Any:
    """The callable behind `cockpit.screens` entry point `name`. Raises Fail when it is missing."""
    if found := _own(name):
        module, _, attribute = found.partition(":")
        return getattr(import_module(module), attribute)
    from importlib.metadata import entry_points

    everywhere = list(entry_points(group=GROUP, name=name))
    if not everywhere:
        raise Fail(BAD, f"no screens named {name!r} are installed")
    return everywhere[0].load()


def _own(name: str) -> str:
    """What our own installation names; empty when it is not found.

    `importlib.metadata` and the entry points of everything that is installed take a tenth of the time
    until the screens are there.
    """
    for place in map(Path, sys.path):
        try:
            if text := next((each for each in place.iterdir() if each.name.startswith(OURS)), None):
                return _named((text / "entry_points.txt").read_text("utf-8"), name)
        except OSError:  # an archive, or a directory that is not there
            continue
    return ""


def _named(text: str, name: str) -> str:
    """The value of an entry point of our group in the text of an `entry_points.txt`."""
    group = ""
    for line in text.splitlines():
        if line.startswith("["):
            group = line.strip()
        key, sign, value = line.partition("=")
        if group == f"[{GROUP}]" and sign and key.strip() == name:
            return value.strip()
    return ""
