"""One edit from the first look to the intent: what is shown, what is wrong, what became of the head. Pure."""

from __future__ import annotations

import msgspec

from cockpit.editing.piece import WHOLE, Piece, find, put
from cockpit.model.export import export_onto
from cockpit.model.load import load_text
from cockpit.model.patch import apply as patched
from cockpit.model.patch import dotted, three_way
from cockpit.model.problems import BadTopology
from cockpit.model.topology import Doc, to_doc
from cockpit.plan.steps import Bad, Intent

NOTE = "#| "
"""Begins the lines that we put above the text; they are taken away again."""
GOOD, SAME, EMPTY, WRONG = "good", "same", "empty", "wrong"
SHOWN = 12


class Clashes(Exception):
    """Both changed the same, differently: a sentence for each path."""


class Edit:
    """The state of one edit. `source` is the head's text, `revision` its number."""

    def __init__(self, source: str, revision: int, name: str, kind: str = "") -> None:
        """Raises Bad when nothing is called so."""
        self.source = source
        self.revision = revision
        self.piece: Piece = find(source, name, kind)
        self.text = self.piece.text
        """As it was saved last, without our lines."""
        self.notes: list[str] = []
        self.whole = source
        self._merged = False

    @property
    def title(self) -> str:
        return "the topology" if self.piece.name == WHOLE else self.piece.name

    def written(self) -> str:
        """What the editor is to show."""
        first = [
            f"{self.title}, from revision {self.revision}. Save and leave to see the plan; nothing runs before.",
            "Unchanged or empty changes nothing. Lines like these are taken away.",
        ]
        return "".join(f"{NOTE}{line}\n" for line in [*first, *self.notes]) + self.text

    def take(self, saved: str) -> str:
        """What the editor left: good (`intent` is ready), same, empty, or wrong (`notes` say where)."""
        lines = [line for line in saved.splitlines() if not line.startswith(NOTE.rstrip())]
        text = "".join(line.rstrip() + "\n" for line in lines)
        if not text.strip():
            return EMPTY
        if text == self.text and not self._merged and (self.notes or text == self.piece.text):
            return SAME
        self._merged = False
        self.text = text
        self.whole, piece = put(self.source, self.piece, text)
        try:
            load_text(self.whole.encode())
        except BadTopology as e:
            self.notes = self._wrong(e, piece)
            return WRONG
        self.notes = []
        return GOOD

    def say(self, *notes: str) -> None:
        """Something that is to stand above the text when it is shown again."""
        self.notes = [part for note in notes for part in note.splitlines()]

    def _wrong(self, error: BadTopology, piece: Piece) -> list[str]:
        """Places in the piece as the editor will count its lines, our own above it included."""
        problems = error.problems
        above = 2 + min(len(problems), SHOWN) + 1 + (len(problems) > SHOWN)
        out = ["It was not taken:"]
        for each in problems[:SHOWN]:
            at = piece.within(each.line, each.column)
            near = f' (did you mean "{each.hint}"?)' if each.hint else ""
            where = f"line {at[0] + above}, column {at[1]}" if at else f"elsewhere, {each.path or 'in the topology'}"
            out.append(f"  {where}: {' '.join(each.text.split())}{near}")
        return [*out, f"  and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else out

    def intent(self) -> Intent:
        """The edit as an action: one revision. Valid after `take` said good."""
        params = {
            "document": self._doc(self.whole), "source": f"edit {self.title}", "base": self.revision,
            "text": self.whole,
        }
        return Intent(verb="apply", params=params)

    def move(self, source: str, revision: int) -> None:
        """The head is another one now: what was edited goes onto it. Raises Clashes, and stays as it was."""
        base, head, mine = self._doc(self.source), self._doc(source), self._doc(self.whole)
        take, clashes = three_way(base, head, mine)
        if clashes:
            raise Clashes("; ".join(
                f"{dotted(c.path)}: was {_word(c.base)}, is {_word(c.head)} now, in your edit {_word(c.theirs)}"
                for c in clashes[:SHOWN]
            ))
        whole = export_onto(self.whole, patched(head, take))
        try:
            load_text(whole.encode())
            was = find(source, self.piece.name, self.piece.kind)
            now = find(whole, self.piece.name, self.piece.kind)
        except (BadTopology, Bad) as e:
            raise Clashes(f"both together do not hold: {e}") from None
        if put(source, was, now.text)[0] != whole:  # it reaches further than its piece: the whole file from here on
            was, now = find(source, WHOLE), find(whole, WHOLE)
        self.source, self.revision, self.piece, self.text, self.whole = source, revision, was, now.text, whole
        self._merged = True
        self.say(f"Revision {revision} came meanwhile; your edit stands on it now. Look at it again.")

    @staticmethod
    def _doc(text: str) -> Doc:
        return to_doc(load_text(text.encode()).expected)


def _word(value: object) -> str:
    text = "absent" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
