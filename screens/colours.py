"""What the terminal can show: how many colours, on which ground. Pure: the environment comes in.

Order of the number of colours: NO_COLOR takes all; FORCE_COLOR says 0, 1, 2, 3 (none, 16, 256, 24 bit); then
COLORTERM; then TERM. Order of the theme: NO_COLOR; what was asked for; what was chosen last time; the ground.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

NONE, SIXTEEN, MANY, TRUE = 0, 16, 256, 1 << 24
_FORCED = {"0": NONE, "false": NONE, "1": SIXTEEN, "2": MANY, "3": TRUE}
_MANY = ("256color", "256colour")
_REPLY = re.compile(r"rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})")
SYSTEMS = {NONE: None, SIXTEEN: "STANDARD", MANY: "EIGHT_BIT", TRUE: "TRUECOLOR"}
"""Depth -> the name that Rich has for it."""


def dumb(env: Mapping[str, str]) -> bool:
    """No cursor, no colour: plain text is all it can take."""
    return env.get("TERM", "") in ("", "dumb", "unknown")


def depth(env: Mapping[str, str]) -> int:
    """How many colours may be sent."""
    if env.get("NO_COLOR"):
        return NONE
    term = env.get("TERM", "").lower()
    found = SIXTEEN
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit") or term.endswith("-direct"):
        found = TRUE
    elif any(word in term for word in _MANY) or env.get("COLORTERM") or term in ("alacritty", "xterm-kitty"):
        found = MANY
    elif term in ("vt100", "vt102", "vt220", "xterm-mono", "ansi-m", "screen-mono") or term.endswith("-m"):
        found = NONE
    if env.get("TERM_PROGRAM") == "Apple_Terminal" and found == TRUE and "256" in term:
        found = MANY  # it says 24 bit in some versions, and shows something else
    forced = env.get("FORCE_COLOR", "").lower()
    if forced:
        return _FORCED.get(forced, max(found, SIXTEEN))
    return found


def light_ground(env: Mapping[str, str]) -> bool | None:
    """What COLORFGBG says; None: nothing."""
    ground = env.get("COLORFGBG", "").rpartition(";")[2]
    if not ground.isdigit():
        return None
    return ground in ("7", "15")


def ground_of(reply: str) -> bool | None:
    """Is the ground light, by the terminal's answer `rgb:ffff/ffff/ffff`? None: it cannot be read."""
    found = _REPLY.match(reply)
    if found is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    return bool(0.299 * red + 0.587 * green + 0.114 * blue > 0.5)


def choose(
    asked: str | None, env: Mapping[str, str], check: Callable[[str], object], remembered: str = ""
) -> tuple[str, bool]:
    """The theme, and whether it was a guess about the ground that an answer of the terminal may correct.

    `check` raises ValueError for a theme that cannot be used; a remembered one is then passed over.
    """
    colours = depth(env)
    if colours == NONE:
        return "mono", False
    name = asked or env.get("COCKPIT_THEME", "")
    if name:
        check(name)
        return name, False
    if remembered:
        try:
            check(remembered)
            return remembered, False
        except ValueError:
            pass
    if colours == SIXTEEN:
        return "ansi16", False
    light = light_ground(env)
    return ("light" if light else "dark"), light is None
