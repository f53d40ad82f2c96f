"""Changes shortly before: deploys, restarts, revisions, new agents, boots, clocks. Suspicions only."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from cockpit.explain.facts import Facts, covers
from cockpit.model.units import shorten
from cockpit.model.view import ActionRow, Change, RevisionRow
from cockpit.model.why_rows import CLUSTER, HOST, RELAY, Suspect

WINDOW = 600.0
"""Seconds before a trouble in which a change is worth naming."""
SLACK = 2.0
MOST = 3
LOOKED_AT = 200
"""Revisions, latest first."""
END = {"returned": "was taken back", "failed": "failed", "aborted": "was aborted"}
CHANGES = frozenset({"agent", "boot", "clock", "version"})


def lasting(seconds: float) -> str:
    """`34 s`, `3 min`, `2 h`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


def suspects(
    facts: Facts, since: float | None, instances: Iterable[str], hosts: Iterable[str], *, relays: Iterable[str] = ()
) -> tuple[Suspect, ...]:
    """What changed shortly before `since` and touches one of these, the nearest first; no `since`: none."""
    if since is None:
        return ()
    ids, places = dict.fromkeys(instances), {*hosts}
    services = {i.rpartition("/")[0] for i in ids}
    some = frozenset(islice(ids, 50))
    theirs = {i.rpartition("/")[0] for i in some}
    found: list[Suspect] = []
    told: set[int] = set()
    for action in facts.actions.values():
        before = _before(action, since)
        if before is None:
            continue
        named = not places.isdisjoint(action.targets) or not some.isdisjoint(action.targets)
        if not named and not any(covers(action, s) for s in theirs):
            continue
        if action.revision is not None:
            told.add(action.revision)
        found.append(_of_action(facts, action, since, before))
    for revision in sorted(facts.revisions, key=lambda r: -r.number)[:LOOKED_AT]:
        before = since - revision.time
        if revision.number in told or not -SLACK <= before <= WINDOW:
            continue
        hit = next((c for c in revision.changes if _hits(c, services, ids, places)), None)
        if hit is not None:
            found.append(_of_revision(facts, revision, hit, since))
    away = {*relays}
    for moment in facts.moments:
        before = since - moment.at
        kind, name = moment.kinds
        near = (kind == HOST and name in places) or (kind == RELAY and name in away) or kind == CLUSTER
        if moment.kind in CHANGES and near and -SLACK <= before <= WINDOW:
            text = f"{moment.text}, {when(before)}"
            found.append(Suspect(text=text, at=moment.at, before=max(0.0, before), door=moment.door))
    found.sort(key=lambda s: (s.before, s.text))
    return tuple(found[:MOST])


def when(before: float) -> str:
    return f"{lasting(before)} before" if before >= 1 else "at the same moment"


def _before(action: ActionRow, since: float) -> float | None:
    """Seconds from its beginning to the trouble when it worked then or shortly before; else None."""
    end = action.ended if action.ended is not None else since
    if action.started > since + SLACK or since - end > WINDOW:
        return None
    return since - action.started


def _of_action(facts: Facts, action: ActionRow, since: float, before: float) -> Suspect:
    what = shorten(action.title or action.verb, facts.short)
    revision = f", rev {action.revision}" if action.revision is not None else ""
    if action.ended is not None and action.ended <= since:
        end = END.get(action.state, "ended")
        text = f"{what} ({action.id}{revision}) by {action.author} {end} {when(since - action.ended)}"
        before = since - action.ended
    else:
        text = f"{what} ({action.id}{revision}) by {action.author} began {when(before)}"
    return Suspect(text=text, at=action.started, before=max(0.0, before), door=("action", action.id))


def _of_revision(facts: Facts, revision: RevisionRow, hit: Change, since: float) -> Suspect:
    path = " ".join(facts.short(p) for p in hit.path[1:]) or hit.path[0]
    before = since - revision.time
    did = "added" if hit.old is None else "removed" if hit.new is None else "changed"
    text = f"rev {revision.number} by {revision.author} {did} {path}, {when(before)}"
    return Suspect(text=text, at=revision.time, before=max(0.0, before), door=("revision", str(revision.number)))


def _hits(change: Change, services: set[str], ids: Collection[str], hosts: set[str]) -> bool:
    table, *rest = change.path
    name = rest[0] if rest else ""
    if table == "services":
        return name in services
    if table in ("placement", "stopped"):
        return name in ids
    return table in ("hosts", "modes") and name in hosts
