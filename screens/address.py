"""A view as a line of text: screen, its arguments, then a filter. `instances web version!=1.4`. Pure but for the
import of the screen's class, whose parameters say how many words are arguments.

Where the first word of a filter would be taken for an argument, a lone `/` stands before it.
"""

from __future__ import annotations

import inspect
import re
import shlex
from functools import cache

import msgspec

from screens.board import Board
from screens.places import PLACES, made_by

LIMIT = 400
"""Characters of an address; longer ones are refused."""
MARK = "/"
_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")
_CONDITION = re.compile(r"^[!~/].|.[=<>~]")


class Address(msgspec.Struct, frozen=True):
    words: tuple[str, ...]
    filter: str = ""


class Shape(msgspec.Struct, frozen=True):
    """Arguments of a screen: how many it needs, how many it can take, and which of these must name something."""

    least: int = 0
    most: int = 0
    scope: int = -1


@cache
def shape(name: str) -> Shape:
    """Read from the class behind a name of `places.PLACES`."""
    if name == "past":
        return Shape(0, 2)  # a day and a time
    if name == "help" or not PLACES[name].where:
        return Shape()
    parameters = list(inspect.signature(made_by(name).__init__).parameters.values())[1:]
    least = sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    plain = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    scope = next((n for n, p in enumerate(plain) if p.name == "scope"), -1)
    # words behind a scope are a filter, not names
    many = scope < 0 and any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return Shape(least, 1000 if many else len(plain), scope)


def known(word: str, board: Board) -> bool:
    """Is it the name of a node, an instance, a host or an action?"""
    name = board.full(word)
    return name in board.nodes or name in board.instances or name in board.hosts or name in board.actions


def _unquoted(word: str) -> str:
    return "".join(shlex.split(word)) if "'" in word or '"' in word else word


def read(name: str, rest: str, board: Board) -> Address:
    """What follows the name of a screen. Raises ValueError with a sentence."""
    if len(rest) > LIMIT:
        raise ValueError(f"an address has at most {LIMIT} characters, this one {len(rest)}")
    here = shape(name)
    args: list[str] = []
    at = 0
    for found in _WORD.finditer(rest):
        if rest[at:found.start()].strip():
            break
        word = found[0]
        if word == MARK:
            at = found.end()
            return Address((name, *args), rest[at:].strip())
        given = _unquoted(word)
        number = len(args)
        wanted = number < here.least or (
            number < here.most and not _CONDITION.search(word) and (number != here.scope or known(given, board))
        )
        if not wanted:
            break
        # versions in the store have names of their own: `web/1.1.0` is no instance of `shop.web`
        args.append(given if name == "artifact" else board.full(given))
        at = found.end()
    left = rest[at:].strip()
    if left.count("'") % 2 or left.count('"') % 2:
        raise ValueError(f"{name} {rest.strip()}: a quotation mark is not closed")
    return Address((name, *args), left)


def write(address: Address, board: Board) -> str:
    """The line that leads here again; names as short as they are unique."""
    name, *args = address.words
    words = [name, *(shlex.quote(a if name == "artifact" else board.short(a)) for a in args)]
    line = " ".join(words)
    if not address.filter:
        return line
    plain = f"{line} {address.filter}"
    try:
        again = read(name, plain.partition(" ")[2], board)
    except (ValueError, KeyError):
        again = None
    return plain if again == address else f"{line} {MARK} {address.filter}"
