"""Does this terminal draw our glyphs one cell wide? Asked once, before the screens start."""

from __future__ import annotations

import os
import re
import select
import sys
import time

GLYPHS = "●▲"
WAIT = 0.15
"""Seconds to wait for the terminal's answer; one that does not answer is taken as narrow."""


def wide_glyphs() -> bool:
    """True when status glyphs take two cells, as terminals for East Asian text may draw them.

    Writes the glyphs at the start of the line, asks for the cursor's column, and wipes the line.
    """
    try:
        terminal, keys = sys.__stderr__, sys.__stdin__
        if terminal is None or keys is None or not (terminal.isatty() and keys.isatty()):
            return False
        out, source = terminal.fileno(), keys.fileno()
        GLYPHS.encode(terminal.encoding)
        import termios
        import tty
    except (ImportError, OSError, ValueError):
        return False
    saved = termios.tcgetattr(source)
    try:
        tty.setcbreak(source, termios.TCSANOW)
        os.write(out, f"\r{GLYPHS}\x1b[6n".encode())
        return _column(source) == 2 * len(GLYPHS) + 1
    finally:
        os.write(out, b"\r\x1b[K")
        termios.tcsetattr(source, termios.TCSANOW, saved)


def _column(source: int) -> int:
    answer = b""
    end = time.monotonic() + WAIT
    while (left := end - time.monotonic()) > 0 and len(answer) < 64:
        if not select.select([source], [], [], left)[0]:
            break
        answer += os.read(source, 32)
        found = re.search(rb"\x1b\[\d+;(\d+)R", answer)
        if found:
            return int(found.group(1))
    return 0
