"""The life of one object, from everything that remembers: journal, revisions, actions, exits, what was watched.

A source is one function in SOURCES; whoever remembers more adds one. What no source covers is shown as a gap.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cockpit.act.journal import Entry
from cockpit.act.telling import told
from cockpit.controller.journals import read_back
from cockpit.model.changes import describe
from cockpit.model.history_rows import Gap, LifeEvent
from cockpit.model.states import State
from cockpit.model.units import shorten
from cockpit.model.view import DRIFT, FAILED, OK, PAUSED, UNKNOWN, Who
from cockpit.model.why_rows import ACTION, CLUSTER, GROUP, HOST, INSTANCE, RELAY, SERVICE, Life, Moment
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

JOURNAL = 4 * 1024 * 1024
"""Bytes at the end of the journal that a timeline is made from."""
MARKS = {"done": OK, "failed": FAILED, "aborted": FAILED, "returned": FAILED, "paused": PAUSED, "interrupted": PAUSED}
ENGINE = Who(author="controller", role="viewer", read_only="it asks for a timeline")
HEADLINE = 3
"""Changes of a revision that are told."""


PIECE = 2000
"""Moments or units that are looked at in one turn of the loop."""


class About(NamedTuple):
    """The object whose life is told, and what belongs to it."""

    kind: str
    name: str
    host: str = ""
    """Of an instance: where it is."""

    def instance(self, id: str) -> bool:
        return bool(id) and (
            self.kind == CLUSTER or (self.kind == INSTANCE and id == self.name)
            or (self.kind in (SERVICE, GROUP) and self.path(id.rpartition("/")[0]))
        )  # fmt: skip

    def path(self, path: str) -> bool:
        """Is it the node itself, or below it?"""
        if self.kind == INSTANCE:
            return path == self.name.rpartition("/")[0]
        return self.kind == CLUSTER or (self.kind in (SERVICE, GROUP) and _under(path, self.name))

    def place(self, host: str) -> bool:
        return bool(host) and (self.kind == CLUSTER or (self.kind == HOST and host == self.name))


def _under(path: str, node: str) -> bool:
    return path == node or path.startswith(node + ".")


Source = Callable[["Controller", About], Awaitable[list[Moment]]]


async def life_of(c: Controller, kind: str, name: str, limit: int) -> Life:
    """Moments of one object, oldest first; the latest `limit` of them."""
    row = c.board.tables["instances"].get(name) if kind == INSTANCE else None
    about = About(kind, name, row.host if row is not None else "")
    every: list[Moment] = []
    unknown: list[str] = []
    for word, source in SOURCES.items():
        try:
            every += await source(c, about)
        except (OSError, Bad) as e:
            unknown.append(f"{word} could not be read: {e}")
    every += _gaps(c, every)
    every = await asyncio.to_thread(_once, every) if len(every) > PIECE else _once(every)
    left = max(0, len(every) - limit)
    return Life(
        kind=kind, name=name, now=time.time(), moments=tuple(every[left:]), left_out=left, unknown=tuple(unknown)
    )


def _once(every: list[Moment]) -> list[Moment]:
    """In order, and each only once."""
    every.sort(key=lambda m: m.source, reverse=True)
    # the same fact is kept in several places: who watched tells it
    firsts = {(round(m.at, 2), m.kinds, m.text): m for m in reversed(every)}
    every = sorted(firsts.values(), key=lambda m: (m.at, m.source, m.text))
    seen = {(m.kinds, int(m.at) + d, "ended" in m.text) for m in every if m.source == "watched" and m.kind == "run"
            for d in (-1, 0, 1)}  # fmt: skip
    return [
        m for m in every
        if m.source != "exits" or (m.kinds, int(m.at), "started" not in m.text) not in seen
    ]  # fmt: skip


def _gaps(c: Controller, moments: list[Moment]) -> list[Moment]:
    """The time in which no controller watched, as far as it is known."""
    began = c.watching.began
    if any(m.source == "history" for m in moments):
        return []  # whoever records history marks its own gaps
    before = max((m.at for m in moments if m.at < began), default=None)
    if before is None:
        return []
    text = (
        f"no data since {_date(before)} while no controller watched; before this only what journal, revisions, "
        "actions and exit records tell"
    )
    return [Moment(at=began, kind="gap", kinds=(CLUSTER, ""), text=text, mark=UNKNOWN, source="watched")]


async def _watched(c: Controller, about: About) -> list[Moment]:
    out = []
    for number, moment in enumerate(list(c.watching.moments), 1):
        kind, name = moment.kinds
        near = (
            (kind == INSTANCE and about.instance(name))
            or (kind == HOST and (about.place(name) or (about.host and name == about.host)))
            or (kind == RELAY and about.kind in (RELAY, CLUSTER) and name == (about.name or name))
            or kind == CLUSTER
        )
        if near:
            out.append(_named(c, about, moment))
        if number % PIECE == 0:
            await asyncio.sleep(0)
    return out


def _named(c: Controller, about: About, moment: Moment) -> Moment:
    """With the name in front where it is not the object that was asked about."""
    kind, name = moment.kinds
    if (kind, name) == (about.kind, about.name) or kind == CLUSTER or moment.text.startswith(name):
        return moment
    return msgspec.structs.replace(moment, text=f"{c.short(name)}: {moment.text}")


async def _revisions(c: Controller, about: About) -> list[Moment]:
    out = []
    for revision in c.ledger.revisions:
        mine = tuple(change for change in revision.changes if _concerns(about, change.path))
        if not mine:
            continue
        words = describe(mine, c.short)
        more = f", and {len(words) - HEADLINE} more" if len(words) > HEADLINE else ""
        kind = "data" if any("data" in ch.path[2:3] for ch in mine) else "config" if _config(mine) else "revision"
        text = f"rev {revision.number} by {revision.author}: {'; '.join(words[:HEADLINE])}{more}"
        out.append(Moment(
            at=revision.time, kind=kind, kinds=(about.kind, about.name), text=text, source="revisions",
            door=("revision", str(revision.number)),
        ))  # fmt: skip
    return out


def _config(changes: tuple[Any, ...]) -> bool:
    return all(c.path[0] == "services" and c.path[2:3] not in ((), ("version",), ("instances",)) for c in changes)


def _concerns(about: About, path: tuple[str, ...]) -> bool:
    table, name = path[0], path[1] if len(path) > 1 else ""
    if table == "services":
        return about.path(name)
    if table in ("placement", "stopped"):
        return about.instance(name)
    if table in ("hosts", "modes"):
        return about.place(name) or bool(about.host and name == about.host)
    if table == "relays":
        return about.kind == CLUSTER or (about.kind == RELAY and name == about.name)
    return about.kind == CLUSTER or (about.kind == GROUP and _under(name, about.name))


async def _actions(c: Controller, about: About) -> list[Moment]:
    out, looked = [], 0
    for record in list(c.ledger.actions.values()):
        row = record.row
        looked += len(record.steps)
        if looked >= PIECE:
            looked = 0
            await asyncio.sleep(0)
        steps = [
            s for s in record.steps.values()
            if about.kind not in (CLUSTER, ACTION) and (about.instance(s.instance) or about.place(s.host))
        ]  # fmt: skip
        if about.kind == ACTION:
            mine = row.id == about.name or row.cause == about.name
            steps = list(record.steps.values()) if row.id == about.name else []
        else:
            mine = bool(steps) or any(_target(about, t) for t in row.targets)
        if not mine:
            continue
        door = ("action", row.id)
        title = shorten(row.title or row.verb, c.short)
        out.append(_m("action", about, row.started, f"{row.id} {title} began, by {row.author}", OK, door))
        if row.ended is not None:
            text = f"{row.id} {title} {row.state}" + (f": {row.note}" if row.note else "")
            out.append(_m("action", about, row.ended, text, MARKS.get(row.state, row.mark), door))
        for step in steps:
            if step.started is not None and step.ended is not None:
                note = f": {step.note}" if step.note else ""
                mark = FAILED if step.state == "failed" else OK
                text = f"{row.id} {step.text or step.kind} {step.state}{note}"
                out.append(_m("step", about, step.ended, text, mark, door))
    return out


def _target(about: About, target: str) -> bool:
    if about.kind == INSTANCE:
        return about.name == target or _under(about.name.rpartition("/")[0], target)
    if about.kind in (SERVICE, GROUP):
        return _under(target.partition("/")[0], about.name) or _under(about.name, target)
    return about.kind == CLUSTER or target == about.name


def _m(kind: str, about: About, at: float, text: str, mark: str, door: tuple[str, ...]) -> Moment:
    return Moment(
        at=at, kind=kind, kinds=(about.kind, about.name), text=text, mark=mark, source="actions", door=door
    )


async def _exits(c: Controller, about: About) -> list[Moment]:
    """Runs with their ends, as the keepers keep them: they reach back before this controller."""
    from cockpit.controller.core import exit_line

    out = []
    if about.kind == CLUSTER:
        return []
    for number, (id, units) in enumerate(list(c.world.units.items()), 1):
        if number % 2000 == 0:
            await asyncio.sleep(0)
        mine = about.instance(id)
        for unit in list(units.values()):
            host = c.world.where.get(unit.unit, "")
            if not mine and not about.place(host):
                continue
            name = "" if about.kind == INSTANCE else f"{c.short(id)}: "
            kinds, door = (INSTANCE, id), ("node", id)
            if unit.started:
                pid = f", pid {unit.pid}" if unit.pid else ""
                text = f"{name}run {unit.run} of {unit.version} started on {host or 'a host'}{pid}"
                out.append(Moment(at=unit.started, kind="run", kinds=kinds, text=text, source="exits", door=door))
            if unit.exit is not None and unit.exit.ended:
                mark = OK if unit.state in (State.COMPLETE, State.SHUTDOWN) or unit.exit.code == 0 else FAILED
                at, text = unit.exit.ended, f"{name}run {exit_line(unit)}"
                out.append(Moment(at=at, kind="run", kinds=kinds, text=text, mark=mark, source="exits", door=door))
    return out


async def _journal(c: Controller, about: About) -> list[Moment]:
    """What stands only there: acts on the hosts themselves, refusals, commands, pauses and aborts."""
    entries = await asyncio.to_thread(_late, c.state / "journal.jsonl")
    out = []
    for entry in entries:
        if entry.kind in ("intent", "outcome", "gate") or not _entry_of(about, entry):
            continue
        mark = FAILED if entry.kind == "refused" else DRIFT if entry.kind == "ctl" else OK
        action = str(entry.body.get("action", ""))
        out.append(Moment(
            at=entry.time, kind="note", kinds=(about.kind, about.name), text=f"{entry.kind} {told(entry)}", mark=mark,
            source="journal", door=("action", action) if action.startswith("#") else ("journal",),
        ))  # fmt: skip
    return out


def _late(path: Path) -> list[Entry]:
    return read_back(path, most=JOURNAL)[0]


def _entry_of(about: About, entry: Entry) -> bool:
    body = entry.body
    unit = str(body.get("unit") or "").rpartition(":")[0] or str(body.get("instance") or "")
    if unit and about.instance(unit):
        return True
    hosts = [str(h) for h in body.get("hosts") or ()] + [str(body.get("host") or "")]
    if any(about.place(h) for h in hosts):
        return True
    if any(_target(about, str(t)) for t in body.get("targets") or ()):
        return True
    return about.kind == CLUSTER or (about.kind == ACTION and body.get("action") == about.name)


KEPT_KINDS = (INSTANCE, HOST, SERVICE, RELAY, ACTION)
"""Kinds whose changes the history can tell."""
TOLD = 500
"""The latest changes of the history that a timeline takes."""


async def _history(c: Controller, about: About) -> list[Moment]:
    """What was recorded before this controller began to watch."""
    if about.kind not in KEPT_KINDS:
        return []
    asked = {"kind": about.kind, "name": about.name, "end": c.watching.began, "limit": TOLD}
    answer = await c.operations["lives"](ENGINE, asked)
    events, gaps = msgspec.convert(answer["events"], list[LifeEvent]), msgspec.convert(answer["gaps"], list[Gap])
    return [
        Moment(at=e.at, kind="state", kinds=(about.kind, about.name), text=_changed(e, about), mark=e.mark,
               source="history")
        for e in events
    ] + [
        Moment(at=g.start, kind="gap", kinds=(CLUSTER, ""), mark=UNKNOWN, source="history",
               text=f"nothing was recorded until {_date(g.end)}: {g.why}")
        for g in gaps
    ]  # fmt: skip


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _changed(e: LifeEvent, about: About) -> str:
    words = f"{e.before} → {e.after}" if e.before and e.after else e.after or e.before
    text = f"{e.how}: {words}" if e.how != "changed" and words else words or e.how
    return text if e.name == about.name or e.table == "instances" else f"{e.name}: {text}"


SOURCES: dict[str, Source] = {
    "what was watched": _watched, "the revisions": _revisions, "the actions": _actions, "the exit records": _exits,
    "the journal": _journal, "the history": _history,
}  # fmt: skip
