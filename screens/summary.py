"""What needs the operator, what runs, what just happened: the right side of the overview. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cockpit.act.table import VERBS
from cockpit.model.guard_rows import RequestRow
from cockpit.model.states import UP
from cockpit.model.view import (
    BADNESS,
    CHANGING,
    DRAINING,
    DRIFT,
    OK,
    PAUSED,
    UNKNOWN,
    ActionRow,
    DriftRow,
    HostRow,
    InstanceRow,
    RelayRow,
)
from screens.aim import ACTION, HOST, INSTANCE, NODE, NOTHING, Aim
from screens.board import Board
from screens.format import age, bar, cells, clock, cut, plural, since, wrap
from screens.item import Item
from screens.look import Look, Piece
from screens.rows import action_door, action_mark, instance_word, took

FOLD = 4
"""More instances of one service with the same trouble than this are one line."""
HERE = {"running": "runs here", "interrupted": "was interrupted here"}
HALF_DONE = frozenset({"wrong version", "wrong config", "wrong host", "missing", "extra"})
"""Differences that an action which was cut off leaves behind."""
CALM = frozenset({OK, CHANGING, PAUSED, DRAINING})


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that wants a decision."""

    mark: str
    name: str
    word: str
    reason: str
    since: float | None
    aim: Aim
    door: tuple[str, ...]
    verbs: tuple[str, ...] = ()
    logs: bool = False


def needs(board: Board) -> list[Need]:
    """Worst first, then the latest. Instances of a host that is not heard are told by its line, and hosts behind a
    relay that is not heard by the relay's."""
    out: list[Need] = []
    lost: set[str] = set()
    behind: dict[str, int] = {r.name: 0 for r in board.relays.values() if r.links and r.mark not in CALM}
    for host in board.hosts.values():
        if host.presence != UP and host.mark not in CALM:
            lost.add(host.name)
            relay = next((r for r in reversed(host.path) if r in behind), "") if host.mark == UNKNOWN else ""
            if relay:
                behind[relay] += 1
            else:
                out.append(_host(host, board))
        elif host.trouble:
            out.append(_trouble(host))
    out += [_relay(board.relays[name], hosts) for name, hosts in behind.items()]
    cut_off = {row.id: row for row in board.running() if row.state == "interrupted"}
    told = dict.fromkeys(cut_off, 0)
    singles: dict[tuple[str, str], list[Need]] = {}
    seen: set[str] = set()
    for drift in board.drift.values():
        row = board.instances.get(drift.target)
        if drift.target in seen or drift.target in board.hosts:
            continue
        if row is not None and (row.mark in CALM or (row.host in lost and row.mark == UNKNOWN)):
            continue
        seen.add(drift.target)
        cause = board.action_on(drift.target) if cut_off and drift.kind in HALF_DONE else None
        if cause is not None and cause.id in told:
            told[cause.id] += 1
            continue
        need = _drift(drift, row, board)
        singles.setdefault((drift.target.rpartition("/")[0], need.word), []).append(need)
    wrong = sorted(key for mark in ("failed", DRIFT, UNKNOWN) for key in board.marked.get(mark, ()))
    for row in (board.instances[key] for key in wrong):
        if row.id in seen or row.mark not in ("failed", DRIFT, UNKNOWN) or (row.host in lost and row.mark == UNKNOWN):
            continue
        singles.setdefault((row.service, instance_word(row)), []).append(
            _instance(row, row.reason, instance_word(row))
        )
    for (service, word), group in singles.items():
        out += [_many(service, word, group)] if len(group) > FOLD and service else group
    out.sort(key=lambda n: (-BADNESS.get(n.mark, 0), -(n.since or 0), n.name))
    # what an interrupted action left behind is put right by deciding about the action
    asks = [_request(r) for r in board.requests.values() if r.state == "waiting"]
    return asks + [_interrupted(row, told[id]) for id, row in cut_off.items()] + out


def _request(row: RequestRow) -> Need:
    return Need(
        mark=PAUSED, name=f"{row.id} {row.title}", word="needs a second person", since=row.asked,
        reason=f"{row.author} asks ({row.rule}: {row.reason})", aim=NOTHING, door=("approvals", row.id),
    )


def _host(host: HostRow, board: Board) -> Need:
    on_it = max(host.want, host.instances)
    silent = since(host.seen, board.now)
    reason = host.reason or (f"last heard {silent} ago" if silent else "never heard")
    return Need(
        mark=host.mark,
        name=f"host {host.name}",
        word=host.presence,
        since=host.since,
        reason=reason + (f"; {plural(on_it, 'instance')} there" if on_it else ""),
        aim=Aim(HOST, (host.name,)),
        door=("instances", host.name) if on_it else ("hosts", host.name),
        verbs=("drain",),
    )


def _trouble(host: HostRow) -> Need:
    """It is heard, and something there will not stay well."""
    more = f" ({len(host.trouble) - 1} more)" if len(host.trouble) > 1 else ""
    return Need(
        mark=DRIFT, name=f"host {host.name}", word="trouble", since=None, reason=host.trouble[0] + more,
        aim=Aim(HOST, (host.name,)), door=("host", host.name),
    )


def _relay(relay: RelayRow, hosts: int) -> Need:
    return Need(
        mark=relay.mark, name=f"relay {relay.name}", word=relay.presence or "unknown", since=relay.since,
        reason=(relay.reason or "never heard") + (f"; {plural(hosts, 'host')} behind it" if hosts else ""),
        aim=NOTHING, door=("relays",),
    )


def _interrupted(row: ActionRow, differ: int) -> Need:
    left = f"; {plural(differ, 'instance')} {'differs' if differ == 1 else 'differ'} until then" if differ else ""
    return Need(
        mark=PAUSED, name=f"{row.id} {row.title}", word="interrupted", since=None, reason=row.note + left,
        aim=Aim(ACTION, (row.id,)), door=("action", row.id), verbs=("resume", "abort"),
    )


def _drift(drift: DriftRow, row: InstanceRow | None, board: Board) -> Need:
    reason = drift.reason or f"expected {drift.expected or 'nothing'}, found {drift.actual or 'nothing'}"
    if row is not None:
        word = instance_word(row) if drift.kind in ("unhealthy", "unknown") else drift.kind
        return _instance(row, row.reason or reason, word, drift)
    kind = NODE if drift.target in board.nodes else INSTANCE
    return Need(
        mark=UNKNOWN if drift.kind == "unknown" else DRIFT,
        name=drift.target,
        word=drift.kind,
        since=drift.since,
        reason=reason,
        aim=Aim(kind, (drift.target,)),
        door=("instances", drift.target.rpartition("/")[0] or drift.target),
        verbs=("converge", "adopt"),
    )


def _instance(row: InstanceRow, reason: str, word: str, drift: DriftRow | None = None) -> Need:
    verbs = ("restart", "migrate") if word in ("unhealthy", "failed", "starting") else ("converge", "restart")
    return Need(
        mark=row.mark, name=row.id, word=word, since=row.since or (drift.since if drift else None), reason=reason,
        aim=Aim(INSTANCE, (row.id,)), door=("node", row.id), verbs=verbs, logs=True,
    )


def _many(service: str, word: str, group: list[Need]) -> Need:
    worst = max(group, key=lambda n: BADNESS.get(n.mark, 0))
    moments = [n.since for n in group if n.since is not None]
    return Need(
        mark=worst.mark, name=service, word=f"{len(group)} {word}", since=max(moments, default=None),
        reason=group[0].reason, aim=Aim(NODE, (service,)), door=("instances", service), verbs=("converge", "restart"),
    )


def _title(board: Board, look: Look, name: str) -> str:
    return board.shorten(look.text(name)) if " " in name else board.short(name)


def need_items(board: Board, look: Look, width: int, read_only: str = "", hints: int = 3) -> list[Item]:
    """NEEDS YOU, without its heading."""
    out: list[Item] = []
    more = look.sign("more")
    for number, need in enumerate(needs(board)):
        key = f"need {need.name}"
        old = since(need.since, board.now)
        first: list[Piece] = [
            (look.glyph(need.mark) + " ", need.mark), (_title(board, look, need.name), "strong"),
            (f"  {need.word}{' ' + old if old else ''}", need.mark),
        ]
        used = sum(cells(t) for t, _ in first)
        reason = look.text(need.reason)
        rest: list[str] = []
        if reason and used + 3 + cells(reason) <= width:
            first.append(("   " + reason, "text"))
        elif reason:
            rest = wrap(reason, max(10, width - 4), 3, more)
        out.append(Item(tuple(first), key, True, need.door, need.aim))
        out += [Item((("    " + part, "text"),), key) for part in rest]
        action = board.action_on(need.aim.ids[0]) if need.aim.kind == INSTANCE else None
        if action is not None:
            what = f"{action.id} {_title(board, look, action.title)}"
            does = HERE.get(action.state, f"is {action.state} here")
            out.append(Item(((f"    {what} {does}", "muted"),), key))
        if number < hints:
            out.append(Item(tuple(_hint(need, look, read_only)), key))
    return out


def _hint(need: Need, look: Look, read_only: str) -> Iterable[Piece]:
    yield "    ", "text"
    yield look.sign("enter"), "key"
    yield " explain" if need.door[0] == "node" else " open", "muted"
    if need.logs:
        yield "   l", "key"
        yield " log", "muted"
    if not read_only:
        for name in need.verbs:
            yield f"   {VERBS[name].key}", "key"
            yield f" {name}", "muted"


def running_items(board: Board, look: Look, width: int) -> list[Item]:
    """RUNNING, without its heading."""
    out: list[Item] = []
    for row in board.running():
        if row.state != "interrupted":
            out += action_items(row, board, look, width)
    return out


def action_items(row: ActionRow, board: Board, look: Look, width: int) -> list[Item]:
    """One unfinished action: title, bar, clock; then what it waits for and when it gives up."""
    mark = action_mark(row)
    key = f"action {row.id}"
    state = "" if row.state == "running" else f"  {row.state}"
    tail = f" {took(row, board.now)}"
    count = f"  {row.done} of {row.total}  " if row.total else "  "
    room = width - cells(count) - cells(tail)
    title = f"{row.id} {_title(board, look, row.title or row.verb)}"
    length = min(16, room - cells(title) - cells(state) - 2) if row.total else 0
    gauge = bar(row.done, row.total, length, look.sign("full"), look.sign("empty")) if length >= 5 else ""
    room -= cells(gauge)
    title = cut(title, room - 2 - cells(state), look.sign("more"))
    pad = " " * max(0, room - 2 - cells(title) - cells(state))
    first = (
        (look.glyph(mark) + " ", mark), (title, "strong"), (state, mark), (pad, "text"), (count, "muted"),
        (gauge, mark), (tail, "muted"),
    )
    out = [Item(first, key, True, action_door(row, board), Aim(ACTION, (row.id,)))]
    note = look.text(row.note)
    if row.gives_up is not None and row.state == "running":
        note = f"{note}, gives up at {clock(row.gives_up)}" if note else f"gives up at {clock(row.gives_up)}"
    out += [Item((("    " + part, "muted"),), key) for part in wrap(note, max(10, width - 4), 2, look.sign("more"))]
    return out


def lately_items(board: Board, look: Look, width: int, limit: int = 12) -> list[Item]:
    """LATELY, without its heading: actions that ended and hosts that came and went, latest first."""
    entries: list[tuple[float, list[Item]]] = []
    for row in board.ended()[:limit]:
        entries.append((row.ended or row.started, _ended(row, board, look, width)))
    for event in list(board.events)[:limit]:
        item = Item(
            (
                (look.glyph(event.mark) + " ", event.mark),
                (clock(event.at) + " ", "muted"),
                (look.text(event.text), "text"),
            ),
            f"event {event.at} {event.host}",
            True,
            ("hosts", event.host),
            Aim(HOST, (event.host,)),
        )
        entries.append((event.at, [item]))
    entries.sort(key=lambda e: e[0], reverse=True)
    return [item for _, items in entries[:limit] for item in items]


def _ended(row: ActionRow, board: Board, look: Look, width: int) -> list[Item]:
    mark = action_mark(row)
    key = f"action {row.id}"
    word = "" if row.state == "done" else f"  {row.state}"
    ago = age(board.now - (row.ended or row.started))
    title = f"{row.id} {_title(board, look, row.title or row.verb)}"
    tails = [f"  {took(row, board.now)}", f"  {row.author.partition('@')[0]}", f"  {ago} ago"]
    # a name is worth more than who and how long: the action's own screen tells these
    while len(tails) > 1 and 2 + cells(title) + cells(word) + cells("".join(tails)) > width:
        tails.pop(-2)
    tail = "".join(tails)
    title = cut(title, max(12, width - 2 - cells(word) - cells(tail)), look.sign("more"))
    first = ((look.glyph(mark) + " ", mark), (title, "text"), (word, mark), (tail, "muted"))
    items = [Item(first, key, True, action_door(row, board), Aim(ACTION, (row.id,)))]
    if mark != OK and row.note:
        items += [
            Item((("    " + p, "muted"),), key)
            for p in wrap(look.text(row.note), max(10, width - 4), 2, look.sign("more"))
        ]
    return items
