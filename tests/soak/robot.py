"""An operator that never sleeps: visits every screen, finds, opens, comes back. It carries out nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator

NAMES = {
    "enter": "\r", "escape": "\x1b", "tab": "\t", "space": " ", "up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C",
    "left": "\x1b[D", "pagedown": "\x1b[6~", "pageup": "\x1b[5~", "home": "\x1b[H", "end": "\x1b[F",
    "ctrl+p": "\x10", "ctrl+t": "\x14", "ctrl+w": "\x17", "ctrl+u": "\x15",
}  # fmt: skip
"""Key -> what a terminal sends for it."""

MOVES = ("down", "down", "down", "pagedown", "up", "pageup", "end", "home", "right", "left", "tab")
VISITS: dict[str, list[str]] = {
    "overview": [],
    "instances": ["i"],
    "a typed filter": ["i", "/", *"health=bad restarts>0", "enter"],
    "a fuzzy filter": ["i", "/", *"~s3h", "enter", "escape"],
    "marked rows": ["i", "space", "down", "space", "z"],
    "what needs attention": ["i", "!"],
    "sorted": ["i", "o", "o", "O"],
    "hosts": ["h"],
    "a host": ["h", "down", "enter"],
    "regions": [":", *"regions", "enter"],
    "matrix": ["M"],
    "graph": ["g"],
    "naming": ["n"],
    "actions": ["a"],
    "journal": ["J"],
    "alerts": ["N"],
    "artifacts": ["b"],
    "revisions": ["v"],
    "messages": [";"],
    "help": ["?"],
    "a node": ["i", "down", "enter"],
    "explain": [":", *"explain", "enter"],
    "explain one": ["tab", "enter"],
    "life": ["i", "down", "L"],
    "logs": ["i", "l"],
    "the past": ["T", "escape"],
    "palette": ["ctrl+p", *"s1", "down", "escape"],
    "jump mode": ["'", "escape"],
    "a second tab": ["ctrl+t", "i", "pagedown", "[", "]", "ctrl+w"],
    "a plan": ["i", "r"],
}
"""What is visited -> the keys that lead there from the overview."""


def visits(seed: int = 7) -> Iterator[tuple[str, list[str]]]:
    """Without end: every screen once in a new order, again and again, with some moves on it, and home."""
    dice = random.Random(seed)
    while True:
        names = list(VISITS)
        dice.shuffle(names)
        for name in names:
            moves = [dice.choice(MOVES) for _ in range(dice.randint(2, 8))]
            yield name, [*VISITS[name], *moves, *["escape"] * 4, ":", *"overview", "enter"]


def sent(key: str) -> bytes:
    return NAMES.get(key, key).encode()
