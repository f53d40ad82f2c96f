"""What a state directory of this machine tells without its controller: its log, and the journal as it lies there."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cockpit.act import journal
from cockpit.controller.journals import line_of, read_back
from cockpit.incident.about import facts
from cockpit.incident.collect import MOST_ENTRIES, Collected, Piece

LOG = "controller.log"
LOG_BYTES = 1024 * 1024


def add_log(out: Collected, state: Path) -> None:
    """The end of the controller's own log, where it may be read."""
    path = state / LOG
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            lines = file.read(LOG_BYTES).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        out.leave("the controller's log", f"{path} does not exist: it writes elsewhere")
    except OSError as e:
        out.leave("the controller's log", f"{path}: {e.strerror or e}")
    else:
        out.pieces.append(Piece(LOG, "the end of the controller's log", lines=lines, tail=True))


def without_controller(state: Path, since: float, now: float, why: str) -> Collected:
    """A bundle when nobody answers. Raises OSError when there is no journal to read."""
    entries, _, _ = read_back(state / "journal.jsonl", limit=MOST_ENTRIES)
    out = Collected(cluster=state.name, now=now)
    out.leave("state, topology, causes, logs and everything else that only the controller knows", why)
    try:
        every, torn = journal.verify(state / "journal.jsonl")
        out.journal = f"{len(every)} entries, chain whole{'; the last line is torn' if torn else ''}"
    except journal.Tampered as e:
        out.journal = f"the chain is broken: {e}"
    rows = [msgspec.to_builtins(line_of(e)) for e in entries if e.time >= since]
    out.pieces.append(Piece("journal.jsonl", "entries as sentences", rows=rows, tail=True))
    out.pieces.append(Piece("versions.json", "of this machine", data={"here": facts(state)}))
    add_log(out, state)
    return out
