"""Text from a screen into a file: private, and never over one that is there."""

from __future__ import annotations

import os
from pathlib import Path

from screens import browser


def save_new(typed: str, text: str) -> Path:
    """Writes a new file, 0600; where it is. Raises OSError with a sentence for the operator."""
    if why := browser.refusal():
        raise OSError(f"{why}; `cockpit log` and `cockpit snapshot` save")
    path = Path(typed.strip())
    path = (path.expanduser() if typed.strip().startswith("~") else path).absolute()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise OSError(f"{path} is there already and was left as it is; type another name") from None
    except OSError as e:
        raise OSError(f"{path}: {e.strerror}; nothing was saved") from None
    try:
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as e:
        path.unlink()
        raise OSError(f"{path}: {e.strerror}; nothing was saved") from None
    return path


def last_that_fit(lines: list[str], most: int) -> tuple[list[str], int]:
    """The last lines with at most so many bytes in all, and how many bytes."""
    size, first = 0, len(lines)
    while first and size + len(lines[first - 1].encode("utf-8", "replace")) + 1 <= most:
        first -= 1
        size += len(lines[first].encode("utf-8", "replace")) + 1
    return lines[first:], size
