"""Signals that an operator sends to a process: their names, and what a program does that was not made for them."""

from __future__ import annotations

import msgspec

from cockpit.model.problems import Wrong, nearest


class Signal(msgspec.Struct, frozen=True):
    name: str
    number: int
    """On Linux, on every architecture that Cockpit runs on."""
    about: str
    """One line for a menu."""
    takes: bool = False
    """Is the process expected not to serve any more? Such a signal asks for the typed name."""
    deadly: bool = False
    """Does a program end that was not made for it?"""


_ALL = (
    Signal("HUP", 1, "read the configuration anew, by custom", deadly=True),
    Signal("USR1", 10, "the program's own, often: open the log files anew", deadly=True),
    Signal("USR2", 12, "the program's own, often: become the new binary", deadly=True),
    Signal("WINCH", 28, "the program's own, others take no notice"),
    Signal("CONT", 18, "go on after STOP"),
    Signal("TERM", 15, "end, and tidy up first", takes=True, deadly=True),
    Signal("INT", 2, "end, as by Ctrl-C", takes=True, deadly=True),
    Signal("QUIT", 3, "end, often with a core (a JVM writes its threads)", takes=True, deadly=True),
    Signal("KILL", 9, "ends at once and can tidy up nothing", takes=True, deadly=True),
    Signal("STOP", 19, "frozen until CONT: nothing is answered", takes=True),
)

SIGNALS: dict[str, Signal] = {s.name: s for s in _ALL}
"""By name, in the order of a menu: what is safest comes first."""


def signal_of(text: str) -> Signal:
    """`hup`, `SIGHUP`, `HUP` -> HUP. Raises Wrong; a number is told its name: a slip of a digit sends nothing."""
    word = text.strip().lstrip("-").upper()
    name = word.removeprefix("SIG")
    if name in SIGNALS:
        return SIGNALS[name]
    shown = word if len(word) <= 40 else word[:37] + "..."
    if word.isascii() and word.isdigit():
        meant = next((s.name for s in SIGNALS.values() if str(s.number) == word.lstrip("0")), "")
        raise Wrong(f"signals go by name: {shown} is {meant}" if meant else f"signals go by name, not {shown}", meant)
    hint = nearest(name, SIGNALS)
    raise Wrong(f'unknown signal "{shown}"' + ("" if hint else f"; known are {', '.join(SIGNALS)}"), hint)
