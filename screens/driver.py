"""How the screens read from and write to a terminal: Textual's way, with three differences."""

from __future__ import annotations

from types import FunctionType
from typing import IO, Any, cast

from textual import constants
from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver
from textual.drivers.linux_driver import LinuxDriver

from screens.escapes import KeyParser
from screens.grounds import AnswerParser


class Unbroken:
    """A file that takes everything: what is written to a terminal that is gone goes nowhere.

    Textual's thread that writes would end at the first error, and whoever writes next but some would wait for it for
    ever: a program that has more to do than to draw could then not even be told to end.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError:
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _reading_with(parser: type[XTermParser]) -> Any:
    """Textual's own input loop, with another parser in it."""
    loop = cast(FunctionType, LinuxDriver.run_input_thread)
    return FunctionType(loop.__code__, {**vars(linux_driver), "XTermParser": parser}, loop.__name__)


class TerminalDriver(LinuxDriver):
    run_input_thread = _reading_with(KeyParser)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._file = cast(Any, Unbroken(self._file)) if self._file is not None else None


class AskingDriver(TerminalDriver):
    """One that asks for the colour of the ground."""

    run_input_thread = _reading_with(AnswerParser)


def driver(asking: bool) -> type[LinuxDriver] | None:
    """None where another one was chosen (a browser, tests)."""
    if constants.DRIVER:
        return None
    return AskingDriver if asking else TerminalDriver
