"""The journal for people: pages of it, what comes next, whether its chain is whole; and what was refused."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.act import journal
from cockpit.act.journal import Entry
from cockpit.act.telling import told
from cockpit.model.view import DRIFT, FAILED, OK, PAUSED, Who
from cockpit.model.why_rows import JournalLine, JournalPage
from cockpit.plan.steps import Bad, Intent, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller
    from cockpit.controller.operations import Op

BLOCK = 256 * 1024
MOST = 2000
"""Entries of one page."""
BYTES = 8 * 1024 * 1024
"""Of one page."""
REFUSED = "refused"
AGAIN = 60.0
"""Seconds in which the same refusal is written once only, and in which so many of all may be written:"""
REFUSALS = 30
_OUTCOMES = {"done": OK, "failed": FAILED, "aborted": FAILED, "returned": FAILED}
_MARKS = {"pause": PAUSED, "abort": FAILED, "ctl": DRIFT, REFUSED: FAILED, "revoked": DRIFT}


def operations(c: Controller) -> dict[str, Op]:
    async def page(who: Who, args: dict[str, Any]) -> Any:
        before, after = int(args.get("before", -1)), int(args.get("after", -1))
        limit = max(1, min(MOST, int(args.get("limit", 300))))
        path = c.state / "journal.jsonl"
        head, count = c.journal.head, c.journal.count
        try:
            made = await asyncio.to_thread(pages, path, before, after, limit)
        except OSError as e:
            raise Bad(f"the journal cannot be read: {e.strerror or e}") from None
        made = msgspec.structs.replace(made, count=count, head=head)
        if args.get("verify"):
            whole, said = await asyncio.to_thread(chain, path, head, count)
            made = msgspec.structs.replace(made, whole=whole, said=said)
        return made

    return {"journal": page}


def pages(path: Path, before: int, after: int, limit: int) -> JournalPage:
    """The page that ends at byte `before` (-1: the end), or the one that begins at `after`. Raises Bad, OSError."""
    if after >= 0:
        entries, start, end = read_on(path, after, limit)
    else:
        entries, start, end = read_back(path, end=before, limit=limit)
    return JournalPage(lines=tuple(line_of(e) for e in entries), start=start, end=end)


def chain(path: Path, head: str, count: int) -> tuple[bool, str]:
    """Is every entry as it was written, and every one there?"""
    try:
        entries, torn = journal.verify(path, head=head, count=count)
    except journal.Tampered as e:
        return False, str(e)
    except OSError as e:
        return False, f"it cannot be read: {e.strerror or e}"
    more = "; the last line is torn" if torn else ""
    return True, f"{len(entries)} entries, chain whole{more}"


def read_back(
    path: Path, *, end: int = -1, limit: int = MOST, most: int = BYTES
) -> tuple[list[Entry], int, int]:
    """The last whole entries before byte `end`, in their order, and where they begin and end.

    Raises Bad when `end` is no end of a line; OSError.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if end < 0 or end > size:
            end = size
        at = end
        parts: deque[bytes] = deque()
        lines = 0
        while at > 0 and lines <= limit and end - at < most:
            step = min(BLOCK, at)
            at -= step
            file.seek(at)
            block = file.read(step)
            if not parts and end < size and not block.endswith(b"\n"):
                raise Bad(f"no entry of the journal ends at byte {end}")
            parts.appendleft(block)
            lines += block.count(b"\n")
    data = b"".join(parts)
    if data and not data.endswith(b"\n"):  # it is being written, or torn
        data = data[: data.rfind(b"\n") + 1]
        end = at + len(data)
    if at > 0:
        cut = data.find(b"\n") + 1
        data, at = data[cut:], at + cut
    raw = data.splitlines(keepends=True)
    left = raw[:-limit] if len(raw) > limit else []
    at += sum(len(line) for line in left)
    return [e for e in map(_entry, raw[len(left):]) if e is not None], at, end


def read_on(path: Path, start: int, limit: int) -> tuple[list[Entry], int, int]:
    """Whole entries from byte `start` on. Raises Bad when no entry begins there; OSError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if start > size:
            raise Bad(f"the journal has {size} bytes: no entry begins at {start}")
        if start > 0:
            file.seek(start - 1)
            if file.read(1) != b"\n":
                raise Bad(f"no entry of the journal begins at byte {start}")
        file.seek(start)
        data = file.read(BYTES)
    raw = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)[:limit]
    end = start + sum(len(line) for line in raw)
    return [e for e in map(_entry, raw) if e is not None], start, end


def _entry(line: bytes) -> Entry | None:
    try:
        return msgspec.json.decode(line, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # the chain's verification says what is wrong with it


def line_of(entry: Entry) -> JournalLine:
    body = entry.body
    mark = _MARKS.get(entry.kind, OK)
    if entry.kind == "outcome":
        mark = _OUTCOMES.get(str(body.get("outcome")), DRIFT)
    elif entry.kind == "gate" and body.get("state") == "failed":
        mark = FAILED
    author = body.get("author") or body.get("by") or ""
    return JournalLine(
        seq=entry.seq, time=entry.time, kind=entry.kind, text=told(entry)[:4000], mark=mark, hash=entry.hash,
        action=str(body.get("action") or ""), author=str(author),
    )  # fmt: skip


class Refusals:
    """Notes what was refused to somebody who may change things; a flood of it does not fill the disk.

    Read-only people write nothing, not even here.
    """

    def __init__(self, c: Controller) -> None:
        self.c = c
        self._late: dict[tuple[str, ...], float] = {}

    def note(self, intent: Intent, who: Who, refused: Refused) -> None:
        if who.read_only or who.role == "viewer":
            return
        now = time.monotonic()
        self._late = {k: t for k, t in self._late.items() if now - t < AGAIN}
        key = (who.author, intent.verb, *intent.targets, str(refused))
        if key in self._late or len(self._late) >= REFUSALS:
            return
        self._late[key] = now
        self.c.ledger.note({
            "kind": REFUSED, "verb": intent.verb[:100], "targets": [t[:200] for t in intent.targets[:20]],
            "author": who.author, "reason": str(refused)[:1000],
        })  # fmt: skip
