"""What comes from a terminal, and one that is gone: it takes everything, and holds nobody up."""

from __future__ import annotations

import contextlib
import os
import threading

import pytest
from textual import constants, events
from textual.drivers._writer_thread import WriterThread

from screens.driver import Unbroken
from screens.escapes import KeyParser


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("\x1bT", ["escape", "T"]), ("\x1bj", ["escape", "j"]), ("\x1b:", ["escape", "colon"]), ("\x1b", ["escape"]),
        ("\x1b[A", ["up"]), ("\x1b[1;3A", ["alt+up"]), ("\x1bOP", ["f1"]), ("x\x1b7", ["x", "escape", "7"]),
    ],
)
def test_esc_and_the_key_behind_it_in_one_piece(sent: str, keys: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ESCAPE_DELAY", 0.0)
    parser = KeyParser()
    found = [*parser.feed(sent), *parser.tick()]
    assert [e.key for e in found if isinstance(e, events.Key)] == keys


def test_whoever_writes_to_a_terminal_that_is_gone_goes_on() -> None:
    reading, writing = os.pipe()
    file = open(writing, "w", buffering=1, closefd=False)  # noqa: SIM115 - what it holds can be written no more
    thread = WriterThread(Unbroken(file))  # type: ignore[arg-type]
    thread.start()
    thread.write("seen\n")
    assert os.read(reading, 5) == b"seen\n"
    os.close(reading)

    def much() -> None:
        for _ in range(100):
            thread.write("x" * 10_000)
        thread.stop()

    more = threading.Thread(target=much, daemon=True)
    more.start()
    more.join(60)
    assert not more.is_alive()
    with contextlib.suppress(BrokenPipeError):
        file.close()
    os.close(writing)
