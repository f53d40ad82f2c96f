"""Finding the screens: by entry point only, so that the engine never imports them."""

from __future__ import annotations

from typing import Any

from cockpit.cli.common import BAD, Fail


def face(name: str) -> Any:
    """The callable behind `cockpit.screens` entry point `name`. Raises Fail when it is missing."""
    from importlib.metadata import entry_points

    found = list(entry_points(group="cockpit.screens", name=name))
    if not found:
        raise Fail(BAD, f"no screens named {name!r} are installed")
    return found[0].load()
