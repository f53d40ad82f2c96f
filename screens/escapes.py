"""Esc and the key behind it, when both come in one piece.

Over a slow line, or on a busy machine, Esc and the key that was pressed after it arrive together. Textual takes that
for Alt and the key: the step back is lost, and in a line that is typed the letter is put in. No key of ours is with
Alt, so it is what was typed: Esc, then the key.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual._xterm_parser import XTermParser

BEGIN = frozenset("[]OP_^")
"""With these begin the sequences of terminals; one that nobody understood is no Esc."""

KNOWN = frozenset("0123456789-=bf")
"""Behind Esc these are other characters on some keyboards, or words further: nothing that a key of ours is."""


class KeyParser(XTermParser):
    """Textual's parser, which tells Esc and a key apart."""

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        if len(sequence) == 2 and sequence[0] == "\x1b" and sequence[1] in KNOWN:
            sequence, alt = sequence[1], True
        if alt and len(sequence) == 1 and sequence.isprintable() and sequence not in BEGIN:
            yield events.Key("escape", "\x1b")
            alt = False
        yield from super()._sequence_to_key_events(sequence, alt)
