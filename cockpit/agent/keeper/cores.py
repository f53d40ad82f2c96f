"""Core files: finds the one a process left and puts it where the next run cannot overwrite it."""

from __future__ import annotations

import os
import stat

from . import proc

ELSEWHERE = "handled by system"
"""Said instead of a path when the kernel hands cores to a program."""
KEEP = 5
"""Newest cores kept per unit: a crash loop must not fill the disk."""


def pattern() -> str:
    """kernel.core_pattern, with what kernel.core_uses_pid adds."""
    try:
        text = os.fsdecode(proc.read("/proc/sys/kernel/core_pattern", 512)).rstrip("\n")
        uses_pid = proc.read("/proc/sys/kernel/core_uses_pid", 8).strip() not in (b"", b"0")
    except OSError:
        return "core"
    if uses_pid and "%p" not in text and not text.startswith("|"):
        text += ".%p"
    return text


def pieces(text: str, pid: int, number: int) -> list[str]:
    """The literal pieces of the name a core has; between two of them stands anything."""
    out = [""]
    n = 0
    while n < len(text):
        letter = text[n]
        n += 1
        if letter != "%":
            out[-1] += letter
            continue
        which = text[n : n + 1]
        n += 1
        known = {"%": "%", "p": str(pid), "P": str(pid), "i": str(pid), "I": str(pid), "s": str(number)}
        if which in known:
            out[-1] += known[which]
        elif which:
            out.append("")
    return out


def matches(name: str, wanted: list[str]) -> bool:
    """Does the name consist of the pieces, in order, with anything between them?"""
    if len(wanted) == 1:
        return name == wanted[0]
    first, last = wanted[0], wanted[-1]
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in wanted[1:-1]:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def find(text: str, cwd: str, pid: int, number: int, started: float, uid: int) -> str | None:
    """The newest core that this process can have left. None when there is none."""
    path = text if text.startswith("/") else os.path.join(cwd, text)
    directory, name = os.path.split(path)
    wanted = pieces(name, pid, number)
    best: tuple[float, str] | None = None
    try:
        names = os.listdir(directory)
    except OSError:
        return None
    for entry in names:
        if not matches(entry, wanted):
            continue
        full = os.path.join(directory, entry)
        try:
            seen = os.lstat(full)
        except OSError:
            continue
        # a regular file of the process's user with one name: nobody slips us another file
        own = seen.st_uid in (uid, 0) and seen.st_nlink == 1 and stat.S_ISREG(seen.st_mode)
        late = seen.st_size > 0 and seen.st_mtime >= started - 1
        if own and late and (best is None or seen.st_mtime > best[0]):
            best = (seen.st_mtime, full)
    return best[1] if best else None


def keep(
    core_dir: str, prefix: str, label: str, *, cwd: str, pid: int, number: int, started: float, uid: int
) -> str | None:
    """Moves the core to `core_dir/<prefix>.<label>.core` (0600) and returns where it is.

    On another file system it stays where it was written, because copying gigabytes would hold up
    every other service. `handled by system` when the kernel pipes cores into a program.
    """
    text = pattern()
    if text.startswith("|"):
        return ELSEWHERE
    found = find(text, cwd, pid, number, started, uid)
    if found is None:
        return None
    target = os.path.join(core_dir, f"{prefix}.{label}.core")
    try:
        os.makedirs(core_dir, 0o700, exist_ok=True)
        os.chmod(found, 0o600)
        os.rename(found, target)
    except OSError:
        return found
    _drop_old(core_dir, prefix + ".")
    return target


def _drop_old(core_dir: str, prefix: str) -> None:
    try:
        mine = [os.path.join(core_dir, n) for n in os.listdir(core_dir) if n.startswith(prefix)]
        mine.sort(key=os.path.getmtime)
        for path in mine[:-KEEP]:
            os.unlink(path)
    except OSError:
        pass
