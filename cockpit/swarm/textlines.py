"""Lines of a text that comes in blocks. Only LF ends a line."""

from __future__ import annotations

from typing import Iterable, Iterator


def lines_of(blocks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """Each with its LF; the last one may lack it. Raises ValueError for a line of more than `longest` bytes."""
    rest = b""
    for block in blocks:
        parts = block.split(b"\n")
        parts[0] = rest + parts[0]
        rest = parts.pop()
        for part in parts:
            yield part + b"\n"
        if len(rest) > longest:
            raise ValueError(f"a line of more than {longest} bytes")
    if rest:
        yield rest
