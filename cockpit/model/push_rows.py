"""From what a receiver tells of a push to the row that screens show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cockpit.model.pushes import HAD, HAS, MARKS, MISSING, PARTLY, rescale
from cockpit.model.topology import Expected
from cockpit.model.view import PushRow

CELLS = 64
KNOWN = HAS + HAD + PARTLY + MISSING
SUMMED = (
    "pieces", "have", "had", "size", "to_move", "moved", "from_source", "from_relay", "from_peers", "wan", "sent",
    "rate", "bad", "duplicates", "fallbacks",
)
WORDS = ("manifest", "pieces", "install", "seed", "")


def in_state(row: PushRow, state: str, *, note: str | None = None, ended: float | None = None) -> PushRow:
    """The row in another state; a state that is over has no rate."""
    over = state in ("done", "failed")
    return msgspec.structs.replace(
        row, state=state, mark=MARKS[state], note=row.note if note is None else note,
        rate=row.rate if state == "running" else 0.0, eta=row.eta if state == "running" else None,
        ended=ended if over else None,
    )


def with_facts(row: PushRow, facts: Mapping[str, Any], expected: Expected) -> PushRow:
    """Take in FACTS of docs/artifacts.md. What is malformed counts as nothing: it is only shown."""
    came = facts.get("from")
    shares = {str(k): number(v) for k, v in came.items()} if isinstance(came, dict) else {}
    relays, hosts = expected.relays, expected.hosts
    from_relay = sum(n for name, n in shares.items() if name in relays)
    from_peers = sum(n for name, n in shares.items() if name and name not in relays)
    wan = 0
    for name, n in shares.items():
        where = relays[name].region if name in relays else hosts[name].region if name in hosts else ""
        wan += n if where != row.region else 0
    rate = float(number(facts.get("rate")))
    to_move, moved = number(facts.get("to_move")), number(facts.get("moved"))
    left = max(0, to_move - moved)
    phase = str(facts.get("phase", ""))
    return msgspec.structs.replace(
        row, pieces=number(facts.get("pieces")), have=number(facts.get("have")), had=number(facts.get("had")),
        cells="".join(c for c in str(facts.get("cells", "")) if c in KNOWN)[:CELLS], to_move=to_move, moved=moved,
        from_source=shares.get("", 0), from_relay=from_relay, from_peers=from_peers, wan=wan,
        sent=number(facts.get("sent")), rate=rate, eta=left / rate if rate > 0 and left else None,
        bad=number(facts.get("bad")), duplicates=number(facts.get("duplicates")),
        fallbacks=number(facts.get("fallbacks")), peers=number(facts.get("peers")),
        phase=phase if phase in WORDS else "", note=str(facts.get("note", ""))[:200] or row.note,
    )


ORDER = ("failed", "unknown", "paused", "running", "waiting", "done")
"""States of a receiver of several artifacts: the first that one of them is in."""


def merged(rows: Sequence[PushRow]) -> PushRow:
    """One row of a receiver that gets several artifacts in one action."""
    if len(rows) == 1:
        return rows[0]
    leading = min(rows, key=lambda r: ORDER.index(r.state))
    pieces = sum(r.pieces for r in rows)
    sums = {name: sum(getattr(r, name) for r in rows) for name in SUMMED}
    etas = [r.eta for r in rows if r.eta is not None]
    ended = None if any(r.ended is None for r in rows) else max(r.ended or 0.0 for r in rows)
    cells = ""
    if pieces and all(r.cells for r in rows):
        cells = "".join(rescale(r.cells, CELLS * r.pieces // pieces) for r in rows)
    return msgspec.structs.replace(
        leading, artifact=", ".join(sorted(r.artifact for r in rows)), cells=cells,
        eta=sum(etas) if etas else None, peers=max(r.peers for r in rows),
        started=min(r.started for r in rows), ended=ended, **sums,
    )


def number(value: Any) -> int:
    """A count that was sent to us: never negative, never a surprise."""
    return max(0, int(value)) if isinstance(value, (int, float)) and value == value and value < 1e18 else 0
