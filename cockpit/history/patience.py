"""A long look at many rows without the cyclic collector."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_lock = threading.Lock()
_inside = 0
_was_on = False


def calm(question: Callable[[], T]) -> T:
    """Without the cyclic collector: it would look at a hundred thousand new rows over and over; none has cycles."""
    with resting():
        return question()


@contextmanager
def resting() -> Iterator[None]:
    """The same around more than one call."""
    global _inside, _was_on
    with _lock:  # several threads may look at once: the last one out turns it on again
        if not _inside:
            _was_on = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _was_on:
                gc.enable()
