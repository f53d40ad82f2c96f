"""The append-only journal of actions: JSON lines, each entry chained to the one before by its hash.

A line is canonical JSON (keys sorted, no spaces) with `v`, `seq` (from 1), `time`, `kind`, `body`,
`prev` (hash of the entry before, 64 zeros for the first) and `hash` (SHA-256 over the line without
it). A cleanly cut file still verifies as far as it goes, so its head and count are kept elsewhere
too and passed to `verify` and `open`.

Kinds that the engine writes: `intent`, `gate` (the observation that decided a step), `pause`,
`resume`, `abort` (anchored to a step), `outcome`, `ctl` (somebody acted on the host itself), `request`,
`approve`, `refuse` and `expire` (a second person), `glass` (a guard was passed with a reason). Bodies
hold references to secrets, never values.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from cockpit.model.actual import Unit
from cockpit.model.rehearsal_rows import Score
from cockpit.plan.steps import Intent, Plan, Step

VERSION = 1
START = "0" * 64
MAX_LINE = 16 * 1024 * 1024

INTENT = "intent"
GATE = "gate"
OUTCOME = "outcome"
CTL = "ctl"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    v: int = VERSION
    seq: int
    time: float
    kind: str
    body: dict[str, Any]
    prev: str
    hash: str = ""


class Tampered(Exception):
    """The journal is not what was written. `seq` and `line` say where (line from 1)."""

    def __init__(self, text: str, *, seq: int, line: int) -> None:
        super().__init__(f"entry {seq} (line {line}): {text}")
        self.seq = seq
        self.line = line


class Journal:
    """An open journal. One writer; `append` returns when the entry is on disk."""

    def __init__(self, file: IO[bytes], head: str, count: int, torn: str | None) -> None:
        self._file = file
        self.head = head
        """Hash of the last entry."""
        self.count = count
        self.torn = torn
        """The torn last line that was cut off when the journal was opened."""

    @classmethod
    def open(cls, path: Path, *, head: str | None = None, count: int | None = None) -> Journal:
        """Open or create (0600). A torn last line is cut off; what was known to be written must be there.

        The file may be ahead of `head` and `count` (it is written first), never behind. Raises
        Tampered, OSError.
        """
        new = not path.exists()
        entries, torn = verify(path, head=head, count=count) if not new or count else ([], None)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        file = os.fdopen(fd, "r+b", buffering=0)
        size = sum(len(encode(e)) for e in entries)
        if file.seek(0, os.SEEK_END) != size:
            file.truncate(size)
            if torn is None and entries:  # only the last newline was missing
                file.truncate(size - 1)
                file.write(b"\n")
            os.fsync(fd)
        if new:
            _sync_directory(path.parent)
        return cls(file, entries[-1].hash if entries else START, len(entries), torn)

    def append(self, body: Mapping[str, Any], *, now: float) -> Entry:
        """Write one entry; its kind is `body["kind"]`. Synced to disk. Raises OSError."""
        return self.extend([body], now=now)[0]

    def extend(self, bodies: list[Mapping[str, Any]], *, now: float) -> list[Entry]:
        """Several entries with one sync: all of them, or (after an OSError) none that counts."""
        entries: list[Entry] = []
        head = self.head
        for body in bodies:
            rest = msgspec.to_builtins({k: v for k, v in body.items() if k != "kind"})
            seq, kind = self.count + len(entries) + 1, str(body["kind"])
            entry = seal(Entry(seq=seq, time=now, kind=kind, body=rest, prev=head))
            entries.append(entry)
            head = entry.hash
        data = b"".join(encode(e) for e in entries)
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(data) != len(data):
                raise OSError("short write to the journal")
            os.fdatasync(self._file.fileno())
        except OSError:
            self._file.truncate(end)
            raise
        self.head, self.count = head, self.count + len(entries)
        return entries

    def close(self) -> None:
        self._file.close()


def seal(entry: Entry) -> Entry:
    """The entry with its hash."""
    return msgspec.structs.replace(entry, hash=_hash(entry))


def encode(entry: Entry) -> bytes:
    """Its line, newline included."""
    return msgspec.json.encode(entry, order="sorted") + b"\n"


def _hash(entry: Entry) -> str:
    doc = msgspec.to_builtins(entry)
    del doc["hash"]
    return hashlib.sha256(msgspec.json.encode(doc, order="sorted")).hexdigest()


def read(path: Path) -> tuple[list[Entry], str | None]:
    """All entries, checked as a chain, and the torn last line if there is one.

    Raises Tampered when an entry was altered, cut out, swapped or put in; OSError.
    """
    entries: list[Entry] = []
    prev = START
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
            whole = line.endswith(b"\n")
            try:
                entry = _check(line, len(entries) + 1, number, prev)
            except Tampered:
                if whole or len(line) >= MAX_LINE:
                    raise
                return entries, line.decode(errors="replace")
            entries.append(entry)
            prev = entry.hash
    return entries, None


def _check(line: bytes, seq: int, number: int, prev: str) -> Entry:
    try:
        entry = msgspec.json.decode(line, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        listed = "; `cockpit log --json` prints a list, a journal is the journal.jsonl of a state directory"
        hint = listed if line.lstrip().startswith(b"[") else ""
        raise Tampered(f"is no journal entry: {e}{hint}", seq=seq, line=number) from None
    if entry.v != VERSION:
        raise Tampered(f"has version {entry.v}, this program reads {VERSION}", seq=seq, line=number)
    if entry.seq != seq:
        kind = "entries before it are missing" if entry.seq > seq else "it stands in the wrong place"
        raise Tampered(f"has number {entry.seq}: {kind}", seq=seq, line=number)
    if entry.prev != prev:
        raise Tampered("does not follow the entry before it", seq=seq, line=number)
    if entry.hash != _hash(entry) or encode(entry).rstrip(b"\n") != line.rstrip(b"\n"):
        raise Tampered("was altered: its hash does not fit", seq=seq, line=number)
    return entry


def verify(
    path: Path, *, head: str | None = None, count: int | None = None
) -> tuple[list[Entry], str | None]:
    """`read`, and the entries known to be written must be there.

    With `count`, entry number `count` must have the hash `head`; more may follow. With `head` alone
    the last entry must have it.
    """
    if not path.exists() and count:
        raise Tampered(f"the journal is gone; {count} entries were written", seq=1, line=1)
    entries, torn = read(path)
    have = len(entries)
    if count is not None and have < count:
        text = f"is missing: {count} entries were written, {have} are left"
        raise Tampered(text, seq=have + 1, line=have + 1)
    at = have if count is None else count
    if head is not None and (entries[at - 1].hash if at else START) != head:
        raise Tampered("has another hash than the one that was kept", seq=at, line=at)
    return entries, torn


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# bodies


def intent(
    action: str, intent: Intent, plan: Plan, *, revision: int | None, mark: str = "", uid: int | None = None
) -> dict[str, Any]:
    """Somebody's (or, with a cause, a derived) intent, with the plan it became and where it put things."""
    return {
        "kind": INTENT, "action": action, "verb": intent.verb, "targets": list(intent.targets),
        "params": intent.params, "author": intent.author, "uid": uid, "cause": intent.cause,
        "plan": plan.digest, "base": plan.base, "revision": revision, "mark": mark, "title": plan.title,
        "placement": placement(plan),
    }


def placement(plan: Plan) -> dict[str, str]:
    """Instance -> host of every unit that the plan prepares."""
    return {s.instance: s.host for s in plan.steps if s.kind == "prepare"}


def gate(action: str, step: Step, state: str, note: str = "", seen: Unit | None = None) -> dict[str, Any]:
    """A step ended, and the observation that decided it."""
    observed = None
    if seen is not None:
        observed = {
            "unit": seen.unit, "state": seen.state.name, "run": seen.run, "restarts": seen.restarts,
            "version": seen.version, "health": seen.health, "reason": seen.health_reason,
            "exit": seen.exit.words() if seen.exit is not None else "", "observed": seen.observed,
        } | ({"data": seen.data} if seen.data else {})
    return {
        "kind": GATE, "action": action, "step": step.id, "what": step.kind, "instance": step.instance,
        "host": step.host, "state": state, "note": note, "observed": observed,
    } | ({"data": step.args["data"]} if step.args.get("data") else {})


def control(
    action: str, what: str, step: str, by: str, reason: str = "", *, undo: bool = False,
    at: Step | None = None,
) -> dict[str, Any]:
    """A pause, resume or abort took effect; `step` is the last one that had started. No `by`: by rule.

    `at` is that step: a replay finds it by kind and instance, whatever its id is then.
    """
    body = {"kind": what, "action": action, "step": step, "by": by, "reason": reason, "undo": undo}
    return body | ({"what": at.kind, "instance": at.instance, "host": at.host} if at is not None else {})


def outcome(
    action: str, word: str, reason: str, versions: Mapping[str, str], *, failed: str = "",
    seconds: float = 0.0, score: Score | None = None,
) -> dict[str, Any]:
    """How an action ended; `versions` of its instances then; `score` against what was foretold."""
    return {
        "kind": OUTCOME, "action": action, "outcome": word, "reason": reason, "failed": failed,
        "versions": dict(versions), "seconds": round(seconds, 3),
    } | ({"score": score} if score is not None else {})


def ctl(host: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Somebody acted over the keeper's socket on a host."""
    return {"kind": CTL, "host": host, **{k: event.get(k) for k in ("uid", "op", "unit", "at")}}
