"""The way out of a shell that does not answer: `~` at the beginning of a line, as with ssh. Pure."""

from __future__ import annotations

START, INSIDE, HELD = "start", "inside", "held"
ENDS = b"\r\n\x03"
"""After these keys a new line begins."""
HELP = (
    "\r\n~.  leave: everything that runs in this shell is ended\r\n~~  a ~ for the program\r\n~?  this\r\n"
    "Only after Enter.\r\n"
)


class Escapes:
    """Eats the keys that are for us."""

    def __init__(self) -> None:
        self._state = START

    def feed(self, keys: bytes) -> tuple[bytes, bool, bool]:
        """(what goes to the program, leave, show the help)."""
        out, help = bytearray(), False
        for n in range(len(keys)):
            key = keys[n : n + 1]
            if self._state == HELD:
                self._state = INSIDE
                if key == b".":
                    return bytes(out), True, help
                if key == b"?":
                    help = True
                    self._state = START
                    continue
                if key != b"~":
                    out += b"~"
            elif self._state == START and key == b"~":
                self._state = HELD
                continue
            out += key
            self._state = START if key in ENDS else INSIDE
        return bytes(out), False, help
