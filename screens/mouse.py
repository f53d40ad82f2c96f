"""The mouse: clicks and the wheel, no movement. On unless COCKPIT_MOUSE=0; nothing needs it.

Terminals select text for themselves while shift is held (option or fn on some); `mouse` in the palette gives it
back to them altogether. Reports of every movement would go over a slow link for nothing: they are turned off again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from screens.app import CockpitApp
    from screens.base import ClusterScreen

NO_MOVEMENT = "\x1b[?1003l\x1b[?1000h\x1b[?1006h"
OFF = "\x1b[?1003l\x1b[?1000l\x1b[?1006l"


def wanted(environ: Mapping[str, str]) -> bool:
    return environ.get("COCKPIT_MOUSE", "") not in ("0", "no", "off")


def _driven(app: CockpitApp) -> bool:
    return bool(getattr(app._driver, "_mouse", False)) and not app.is_headless


def quiet(app: CockpitApp) -> None:
    """Ask the terminal for clicks and the wheel only."""
    if _driven(app) and app._driver is not None:
        app._driver.write(OFF if app.mouse_off else NO_MOVEMENT)


async def begin_toggle(screen: ClusterScreen) -> None:
    """Give the mouse back to the terminal, or take it again."""
    app = screen.cockpit
    app.mouse_off = not app.mouse_off
    if app._driver is not None and not app.is_headless:
        app._driver.write(OFF if app.mouse_off else NO_MOVEMENT)
    screen.say(
        "The mouse is the terminal's: it selects text. The same again gives it back." if app.mouse_off
        else "The mouse clicks here; with shift held it selects text.", "ok",
    )
