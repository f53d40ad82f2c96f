"""Decoders for what comes from outside: nesting that would end the process is an error like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")


def guarded(decode: Callable[[bytes | str], T]) -> Callable[[bytes | str], T]:
    """The same decoder, which raises msgspec.DecodeError where it raised RecursionError."""

    def safely(data: bytes | str) -> T:
        try:
            return decode(data)
        except RecursionError:
            raise msgspec.DecodeError("nested too deeply") from None

    return safely
