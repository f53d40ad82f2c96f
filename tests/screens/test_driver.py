"""A terminal that is gone takes everything, and holds nobody up."""

from __future__ import annotations

import contextlib
import os
import threading

from textual.drivers._writer_thread import WriterThread

from screens.driver import Unbroken


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
