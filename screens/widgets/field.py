"""A one-line editor without a widget of its own: keys go in, pieces come out.

The app hands keys to the field of the active screen one after the other, before it looks at the
next key; so nothing typed right after `/` can reach a verb.
"""

from __future__ import annotations

from screens.format import cells, clean
from screens.look import Piece

LIMIT = 400


class Field:
    """Text with a cursor. `take` says whether it used the key."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.at = len(text)

    def set(self, text: str) -> None:
        self.text = text
        self.at = len(text)

    def insert(self, text: str) -> None:
        text = clean(text, LIMIT)[: LIMIT - len(self.text)]
        self.text = self.text[: self.at] + text + self.text[self.at:]
        self.at += len(text)

    def paste(self, text: str) -> None:
        """Only the first line: a line break in a paste never sends anything."""
        self.insert(text.strip().splitlines()[0] if text.strip() else "")

    def take(self, key: str, character: str | None) -> bool:
        text, at = self.text, self.at
        if key in ("backspace", "ctrl+h"):
            self.text, self.at = text[: max(0, at - 1)] + text[at:], max(0, at - 1)
        elif key == "delete":
            self.text = text[:at] + text[at + 1:]
        elif key == "ctrl+u":
            self.text, self.at = text[at:], 0
        elif key == "ctrl+k":
            self.text = text[:at]
        elif key == "ctrl+w":
            start = len(text[:at].rstrip().rpartition(" ")[0])
            self.text, self.at = text[:start] + text[at:], start
        elif key == "left":
            self.at = max(0, at - 1)
        elif key == "right":
            self.at = min(len(text), at + 1)
        elif key in ("home", "ctrl+a"):
            self.at = 0
        elif key in ("end", "ctrl+e"):
            self.at = len(text)
        elif character and character.isprintable():
            self.insert(character)
        else:
            return False
        return True

    def pieces(self, width: int) -> list[Piece]:
        """The text with its cursor, moved so that the cursor is seen."""
        start = 0
        while cells(self.text[start: self.at]) > max(1, width - 2):
            start += 1
        under = self.text[self.at: self.at + 1] or " "
        return [(self.text[start: self.at], "strong"), (under, "caret"), (self.text[self.at + 1:], "strong")]
