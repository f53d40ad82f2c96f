"""The changes of one object: its own row, its drift, its endpoints, and the actions on it."""

from __future__ import annotations

import time

from cockpit.history.loaded import Loaded
from cockpit.history.reading import History, event_of, gaps
from cockpit.model.history_rows import Life, LifeEvent
from cockpit.plan.steps import Bad

KINDS = {"instance": "instances", "host": "hosts", "service": "nodes", "relay": "relays", "action": "actions"}
LONGEST = 5.0
"""Seconds of looking; what lies further back is not told then, and the answer's `start` says so."""


def life(
    history: History, kind: str, name: str, *, start: float = 0.0, end: float | None = None, limit: int = 500
) -> Life:
    """Newest segments first, until `limit` events are found. Raises Bad."""
    if kind not in KINDS:
        raise Bad(f"a {kind} has no life here; known are {', '.join(KINDS)}")
    spans = history.spans()
    oldest, newest = spans[0].start, spans[-1].seen.last
    end = newest if end is None else end
    start = max(start, oldest)
    until = time.monotonic() + LONGEST
    events: list[LifeEvent] = []
    left_out, reached = 0, end
    for span in reversed(spans):
        if span.start > end:
            continue
        if span.end < start or len(events) >= limit:
            break
        if time.monotonic() > until:
            start = reached
            break
        events = [e for e in _in(history.load(span.path), kind, name) if start <= e.at <= end and e.at < span.end
                  ] + events
        reached = span.start
    if len(events) > limit:
        left_out = len(events) - limit
        events = events[-limit:]
    return Life(
        kind=kind, name=name, start=start, end=end, events=tuple(events), left_out=left_out, oldest=oldest,
        gaps=gaps(spans, start, end),
    )


def _in(loaded: Loaded, kind: str, name: str) -> list[LifeEvent]:
    """Events of one segment, in their order."""
    changed = {k: None for c in loaded.whole() for p in c.patches for k in [(p[0], p[1])]}
    mine = {k for k in changed if _belongs(loaded, k, kind, name)}
    if not mine:
        return []
    out: list[LifeEvent] = []
    for number, change in enumerate(loaded.changes):
        for patch in change.patches:
            if (patch[0], patch[1]) in mine:
                event = event_of(loaded, patch[0], patch[1], number, number + 1, change.at)
                if event is not None and _matters(event, kind):
                    out.append(event)
    return out


def _matters(event: LifeEvent, kind: str) -> bool:
    # an action counts its steps; in the life of something else only its beginning and end are told
    return not (event.table == "actions" and kind != "action" and event.how == "changed" and "steps" in event.after
                and event.before.count(",") == event.after.count(",") == 0)


def _belongs(loaded: Loaded, key: tuple[str, str], kind: str, name: str) -> bool:
    table, id = key
    if table == KINDS[kind]:
        return id == name
    if table == "drift":
        target = id.partition("|")[2]
        return target == name or (kind == "service" and (target.startswith((name + "/", name + "."))))
    if table == "actions" and kind in ("instance", "host", "service", "relay"):
        row = loaded.row(table, id, len(loaded.changes)) or loaded.row(table, id, 0)
        targets = row.targets if row is not None else ()
        service = name.rpartition("/")[0] if kind == "instance" else name
        return any(
            t == name or (kind == "instance" and (t == service or service.startswith(t + "."))) for t in targets
        )
    if table == "endpoints" and kind == "instance":
        return id.partition("|")[0].rpartition(":")[0] == name
    return False
