"""Regular expressions that people type. One that could take minutes on a single line is refused before it runs."""

from __future__ import annotations

import re
import warnings
from importlib import import_module
from typing import Any

from cockpit.model.problems import Wrong

REPEATS = 3
"""Open-ended repeats that one expression may have."""
MANY = 16
"""A repeat of at most so many is as good as written out."""
_parser: Any = import_module("re._parser")


def checked(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compiled. Raises re.error (with its place), and Wrong for one that may take for ever."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sets that a later Python may read differently
            open_ended = _repeats(_parser.parse(pattern), False)
            compiled = re.compile(pattern, flags)
    except (OverflowError, RecursionError):
        raise Wrong("too large") from None
    if open_ended > REPEATS:
        raise Wrong(f"at most {REPEATS} of * + and {{n,}}, else a row could take minutes")
    return compiled


def _repeats(tree: Any, inside: bool) -> int:
    """Open-ended repeats in a parsed expression. Raises Wrong where one holds another, or a choice."""
    total = 0
    for op, args in tree:
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            many = args[1] > MANY
            if inside:
                raise Wrong("a repeat inside a repeat can take for ever")
            total += many + _repeats(args[2], many or inside)
        elif name == "BRANCH":
            if inside:
                raise Wrong("a choice inside a repeat can take for ever")
            total += sum(_repeats(branch, inside) for branch in args[1])
        elif name == "SUBPATTERN":
            total += _repeats(args[-1], inside)
        elif name in ("ASSERT", "ASSERT_NOT"):
            total += _repeats(args[1], inside)
        elif name == "ATOMIC_GROUP":
            total += _repeats(args, inside)
        elif name == "GROUPREF_EXISTS":
            total += sum(_repeats(branch, inside) for branch in args[1:] if branch)
        elif name == "GROUPREF" and inside:
            raise Wrong("a back reference inside a repeat can take for ever")
    return total
