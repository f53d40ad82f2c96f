"""A ready-made line: what it shows, whether the cursor may rest on it, and where Enter leads."""

from __future__ import annotations

import msgspec

from screens.aim import NOTHING, Aim
from screens.look import Piece


class Item(msgspec.Struct, frozen=True):
    """Lines of one thing share a key; only the one with `pick` lets the cursor rest."""

    pieces: tuple[Piece, ...] = ()
    key: str = ""
    pick: bool = False
    door: tuple[str, ...] = ()
    """What Enter opens, as words of the command line: `("action", "#118")`."""
    aim: Aim = NOTHING
    """What a verb acts on here."""
    heading: bool = False


def line(*pieces: Piece) -> Item:
    return Item(pieces)


def text(words: str, style: str = "text") -> Item:
    return Item(((words, style),))


def heading(words: str) -> Item:
    return Item(((words, "head"),), heading=True)


BLANK = Item()


def indented(items: list[Item]) -> list[Item]:
    """The same lines, one cell to the right."""
    return [msgspec.structs.replace(i, pieces=((" ", "text"), *i.pieces)) if i.pieces else i for i in items]
