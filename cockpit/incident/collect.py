"""What goes into a bundle: asked of a session, by ops that only look, each source on its own.

A source that does not answer, or may not be seen, is left out with the reason; the others still come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cockpit.model import history_rows
from cockpit.model.metrics_rows import numbers
from cockpit.model.view import BADNESS, OK, TABLES, LogLine, Snapshot
from cockpit.model.why_rows import explain, journal_page
from cockpit.plan.steps import Bad, Refused
from cockpit.ports import Session

PATIENCE = 20.0
"""Seconds for one source."""
LOG_PATIENCE, LOGS_PATIENCE = 10.0, 60.0
"""Of one log, and of all."""
MOST_LOGS = 40
"""Instances whose logs are taken."""
MOST_ACTIONS = 60
MOST_HOSTS = 300
"""Hosts whose facts are asked for."""
MOST_ENTRIES = 2000


@dataclass(frozen=True)
class Wish:
    """What is asked for. Without hosts and services: what is unhealthy."""

    since: float = 0.0
    """Unix time."""
    lines: int = 300
    """Of each log."""
    hosts: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Full paths of services, groups or instances."""


@dataclass
class Piece:
    """One file: data (JSON), rows (JSON lines), or lines of text. Not redacted yet."""

    name: str
    about: str
    data: Any = None
    rows: list[Any] | None = None
    lines: list[str] | None = None
    tail: bool = False
    """Of what is too long, the end is kept."""


@dataclass
class Collected:
    pieces: list[Piece] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """What, and why."""
    cluster: str = ""
    revision: int = 0
    now: float = 0.0
    who: str = ""
    journal: str = ""
    """What the verification of its chain said."""

    def leave(self, what: str, why: str) -> None:
        self.left_out.append((what, why))


async def collect(session: Session, wish: Wish, told: Callable[[Any], list[str]]) -> Collected:
    """Everything. `told` makes lines of findings. Raises ConnectionError when not even the state comes."""
    out = Collected()
    async with asyncio.timeout(PATIENCE):
        snapshot = await session.snapshot()
    out.cluster, out.revision, out.now = snapshot.head.cluster, snapshot.head.revision, snapshot.head.now
    out.who = session.who.author
    _state(out, snapshot, session)
    about = _chosen(snapshot, wish)
    await _each(out, "the topology", lambda: _topology(out, session))
    await _each(out, "the controller's versions and limits", lambda: _about(out, session, snapshot))
    await _each(out, "what explains it", lambda: _explain(out, session, wish, told))
    await _each(out, "alerts and silences", lambda: _alerts(out, session))
    await _each(out, "the journal", lambda: _journal(out, session, wish))
    await _each(out, "the state history", lambda: _history(out, session, wish))
    await _each(out, "the revisions", lambda: _revisions(out, session, wish))
    await _actions(out, session, snapshot, wish)
    await _facts(out, session, snapshot)
    await _logs(out, session, about, wish)
    return out


async def _each(out: Collected, what: str, ask: Callable[[], Awaitable[None]], patience: float = PATIENCE) -> None:
    try:
        async with asyncio.timeout(patience):
            await ask()
    except TimeoutError:
        out.leave(what, f"no answer in {patience:g} s")
    except (Bad, Refused, ConnectionError, msgspec.ValidationError) as e:
        out.leave(what, str(e) or "no answer")


def _state(out: Collected, snapshot: Snapshot, session: Session) -> None:
    head = {"head": snapshot.head, "notices": snapshot.notices, "who": session.who,
            "rows": {t: len(getattr(snapshot, t)) for t in TABLES}}  # fmt: skip
    out.pieces.append(Piece("state/head.json", "cluster, revision, who asked", data=msgspec.to_builtins(head)))
    for table in TABLES:
        found = getattr(snapshot, table)
        # the worst first: what does not fit is what is well
        keys = sorted(found, key=lambda k: (-BADNESS.get(getattr(found[k], "mark", OK), 0), k))
        rows = [{"key": k, **msgspec.to_builtins(found[k])} for k in keys]
        out.pieces.append(Piece(f"state/{table}.jsonl", f"every row of {table}, the worst first", rows=rows))


def _chosen(snapshot: Snapshot, wish: Wish) -> list[str]:
    """Instances whose logs are taken, the worst first."""
    rows = list(snapshot.instances.values())
    if wish.hosts or wish.services:
        rows = [r for r in rows if r.host in wish.hosts or any(_under(r.id, s) for s in wish.services)]
    else:
        rows = [r for r in rows if r.mark != OK]
    return [r.id for r in sorted(rows, key=lambda r: (-BADNESS.get(r.mark, 0), r.id))]


def _under(instance: str, path: str) -> bool:
    service = instance.partition("/")[0]
    return instance == path or service == path or service.startswith(path + ".")


async def _topology(out: Collected, session: Session) -> None:
    document = await session.call("export")
    out.pieces.append(Piece("topology.json", "what is expected, the head revision", data=document))


async def _about(out: Collected, session: Session, snapshot: Snapshot) -> None:
    hosts = {
        h.name: {"agent": h.agent_version, "keeper": h.keeper_version, "connection": h.connection,
                 "transport": h.transport, "path": list(h.path), "boot": h.boot_id}
        for h in snapshot.hosts.values()
    }  # fmt: skip
    relays = {r.name: {"version": r.version, "transport": r.transport} for r in snapshot.relays.values()}
    data = {"controller": await session.call("about"), "hosts": hosts, "relays": relays}
    out.pieces.append(Piece("versions.json", "of controller, agents and relays; the controller's limits", data=data))


async def _explain(
    out: Collected, session: Session, wish: Wish, told: Callable[[Any], list[str]]
) -> None:
    names = [*wish.services, *wish.hosts] or [""]
    answers = []
    lines: list[str] = []
    for name in names:
        answer = await explain(session, name)
        answers.append(msgspec.to_builtins(answer))
        lines += [f"== {name or 'the whole cluster'}", *told(answer), ""]
    out.pieces.append(Piece("explain.json", "findings, root causes first", data=answers))
    out.pieces.append(Piece("explain.txt", "the same for people", lines=lines))


async def _alerts(out: Collected, session: Session) -> None:
    out.pieces.append(Piece("alerts.json", "alerts, silences, who was told", data=await session.call("alerts")))


async def _journal(out: Collected, session: Session, wish: Wish) -> None:
    page = await journal_page(session, limit=MOST_ENTRIES, verify=True)
    lines = list(page.lines)
    while page.start > 0 and lines and lines[0].time > wish.since and len(lines) < MOST_ENTRIES:
        page = await journal_page(session, before=page.start, limit=MOST_ENTRIES - len(lines))
        lines = [*page.lines, *lines]
        out.journal = out.journal or page.said
    whole = await journal_page(session, limit=1, verify=True)
    out.journal = whole.said
    rows = [msgspec.to_builtins(line) for line in lines if line.time >= wish.since]
    out.pieces.append(Piece("journal.jsonl", f"entries as sentences, {whole.said}", rows=rows, tail=True))
    if page.start > 0 and lines and lines[0].time > wish.since:
        out.leave("older journal entries", f"the bundle takes the last {MOST_ENTRIES}")


async def _history(out: Collected, session: Session, wish: Wish) -> None:
    found = await history_rows.between(session, wish.since, out.now)
    out.pieces.append(
        Piece("history/between.json", "what differs between --since and now", data=msgspec.to_builtins(found))
    )
    when = await history_rows.moments(session, wish.since, out.now, max(1.0, (out.now - wish.since) / 500))
    out.pieces.append(Piece("history/moments.json", "when what changed", data=msgspec.to_builtins(when)))


async def _revisions(out: Collected, session: Session, wish: Wish) -> None:
    rows = [msgspec.to_builtins(r) for r in await session.revisions(50) if r.time >= wish.since]
    out.pieces.append(Piece("revisions.jsonl", "changes of what is expected since then", rows=rows))


async def _actions(out: Collected, session: Session, snapshot: Snapshot, wish: Wish) -> None:
    recent = [a for a in snapshot.actions.values() if a.ended is None or a.ended >= wish.since]
    recent.sort(key=lambda a: -a.started)
    for row in recent[:MOST_ACTIONS]:
        name = f"actions/{row.id.lstrip('#')}.json"

        async def one(id: str = row.id, name: str = name, title: str = row.title) -> None:
            detail = await session.action(id)
            out.pieces.append(Piece(name, f"{title}: every step", data=msgspec.to_builtins(detail)))

        await _each(out, f"action {row.id}", one)
    if len(recent) > MOST_ACTIONS:
        out.leave(f"{len(recent) - MOST_ACTIONS} older actions", f"the bundle takes the last {MOST_ACTIONS}")


async def _facts(out: Collected, session: Session, snapshot: Snapshot) -> None:
    hosts = sorted(snapshot.hosts.values(), key=lambda h: (-BADNESS.get(h.mark, 0), h.name))
    rows: list[Any] = []

    async def ask() -> None:
        for host in hosts[:MOST_HOSTS]:
            found = await numbers(session, "host", host.name)
            rows.append({"host": host.name, "facts": found.facts, "latest": found.latest, "limits": found.limits,
                         "note": found.note})  # fmt: skip

    await _each(out, "facts of some hosts", ask)
    if rows:
        out.pieces.append(Piece("hosts.jsonl", "facts and latest numbers of hosts", rows=rows))
    if len(hosts) > MOST_HOSTS:
        out.leave(f"facts of {len(hosts) - MOST_HOSTS} hosts", f"the bundle takes {MOST_HOSTS}, the worst first")


async def _logs(out: Collected, session: Session, ids: list[str], wish: Wish) -> None:
    if not wish.lines:
        if ids:
            out.leave("logs", "--logs 0")
        return
    end = asyncio.get_running_loop().time() + LOGS_PATIENCE
    for id in ids[:MOST_LOGS]:
        if asyncio.get_running_loop().time() > end:
            out.leave(f"log of {id}", f"the logs before it took {LOGS_PATIENCE:g} s")
            continue
        lines: list[str] = []

        async def one(id: str = id, lines: list[str] = lines) -> None:
            async for line in session.logs([id], lines=wish.lines, follow=False, since=0.0):
                lines.append(_line(line))

        await _each(out, f"log of {id}", one, LOG_PATIENCE)
        if lines:
            name = "logs/" + id.replace("/", "-") + ".log"
            out.pieces.append(Piece(name, f"the last lines of {id}", lines=lines[-wish.lines:], tail=True))
    if len(ids) > MOST_LOGS:
        out.leave(f"logs of {len(ids) - MOST_LOGS} instances", f"the bundle takes {MOST_LOGS}, the worst first")


def _line(line: LogLine) -> str:
    from datetime import UTC, datetime

    when = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds") if line.time else "?"
    return f"{when} {line.run} {line.stream} {line.text}"


def files(pieces: Iterable[Piece]) -> list[Piece]:
    """In the order of the bundle: always the same."""
    return sorted(pieces, key=lambda p: p.name)
