"""What needs the operator, what runs, what just happened: the right side of the overview. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from cockpit.explain.wrong import CALM
from cockpit.model.alert_rows import FIRING
from cockpit.model.guard_rows import RequestRow
from cockpit.model.view import BADNESS, DRIFT, OK, PAUSED, UNKNOWN, ActionRow, HostRow
from cockpit.model.why_rows import Finding
from screens.aim import ACTION, HOST, INSTANCE, NODE, NOTHING, Aim
from screens.board import Board
from screens.format import age, bar, cells, cut, plural, since, when, wrap
from screens.item import Item
from screens.look import Look, Piece
from screens.rows import action_door, action_mark, instance_word, took

if TYPE_CHECKING:
    from cockpit.explain.facts import Facts

SHARE = 20
"""So many times as long as it took, it is not worked out again: a twentieth of the time at most."""
MOST = 60
"""Lines of NEEDS YOU."""
HERE = {"running": "runs here", "interrupted": "was interrupted here"}
RELAY, REGION = "relay", "region"
"""Kinds of aim that no verb is for."""


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
    alert: bool = False
    """It stands here until somebody acknowledges it among the alerts."""


def facts_of(board: Board) -> Facts:
    """What the engine can be told from the board alone. Nothing is copied."""
    from cockpit.explain.facts import Facts

    return Facts(
        now=board.now, wrong=board.wrong, instances=board.instances, hosts=board.hosts, relays=board.relays,
        nodes=board.nodes, drift=board.drift, actions=board.actions, short=board.short,
    )  # fmt: skip


def _findings(board: Board) -> tuple[list[Finding], int]:
    """Root causes. Where nothing is wrong the first picture does not wait for what looks for them."""
    if board.wrong.nothing and not board.running() and all(relay.mark in CALM for relay in board.relays.values()):
        return [], 0
    from cockpit.explain.asked import needs_you

    return needs_you(facts_of(board), MOST)


def needs(board: Board) -> list[Need]:
    """Root causes: worst first, then the latest. What hangs on one of them is told by its line."""
    stuck: list[Need] = []
    out: list[Need] = []
    told, more = _findings(board)
    for found in told:
        if found.kind == "action":
            if found.word == "interrupted" or found.perhaps:
                stuck.append(_stuck(found, board))
        elif found.kind == HOST and found.name in board.hosts:
            row = board.hosts[found.name]
            if found.count > 1:
                out.append(_hosts(found))
            elif found.word == "trouble" and row.trouble:
                out.append(_trouble(row))
            else:
                out.append(_host(row, board, found))
        else:
            out.append(_need(found, board))
    out.sort(key=lambda n: (-BADNESS.get(n.mark, 0), -(n.since or 0), n.name))
    if more:
        text = "what is worst and oldest is told first; explain has them in their order"
        out.append(Need(mark=DRIFT, name=f"and {more} more", word="troubles", reason=text, since=None, aim=NOTHING,
                        door=("explain",)))  # fmt: skip
    # what an interrupted action left behind is put right by deciding about the action
    asks = [_request(r) for r in board.requests.values() if r.state == "waiting"]
    told_of = {name for need in (*stuck, *out) for name in need.aim.ids}
    return asks + stuck + out + _alerted(board, told_of)


OVER = {"crash": "crashed", "crash-loop": "crash loop", "stopped": "stopped"}
"""Alerts of what the tables do not show any more: it runs again, or has ended."""


def _alerted(board: Board, told: set[str]) -> list[Need]:
    """What fires and nobody has, of things that look well by now; the latest first."""
    out: list[Need] = []
    loops = {m for row in board.alerts.values() if row.when == "crash-loop" for m in row.members}
    for row in sorted(board.alerts.values(), key=lambda r: (-r.since, r.id)):
        about = tuple(m for m in row.members if m not in told)
        if row.state != FIRING or row.when not in OVER or not about or (row.when == "crash" and loops >= {*about}):
            continue
        first = about[0]
        action = board.actions.get(first)
        if action is not None:
            out.append(Need(
                mark=row.mark, name=f"{action.id} {action.title}", word=action.state, reason="", since=row.since,
                aim=Aim(ACTION, (action.id,)), door=("action", action.id), verbs=(), alert=True,
            ))  # fmt: skip
            continue
        one = board.instances.get(first) if len(about) == 1 else None
        reason = board.shorten(row.text)
        if one is not None and one.mark == OK:
            reason += f"; runs again for {since(one.started, board.now)}, {plural(one.restarts, 'restart')}"
        out.append(Need(
            mark=row.mark, name=first if len(about) == 1 else row.group,
            word=f"{OVER[row.when]}{f' of {len(about)}' if len(about) > 1 else ''}", reason=reason, since=row.since,
            aim=Aim(INSTANCE, about) if first in board.instances else NOTHING, logs=first in board.instances,
            door=("life", first) if one is not None else ("alerts",), alert=True,
        ))  # fmt: skip
    return out


def _request(row: RequestRow) -> Need:
    return Need(
        mark=PAUSED, name=f"{row.id} {row.title}", word="needs a second person", since=row.asked,
        reason=f"{row.author} asks ({row.rule}: {row.reason})", aim=NOTHING, door=("approvals", row.id),
    )


def _need(found: Finding, board: Board) -> Need:
    if found.kind == "relay":
        reason = found.reason + (f"; {plural(found.hosts, 'host')} behind it" if found.hosts else "")
        return Need(
            mark=found.mark, name=f"relay {found.name}", word=found.word, since=found.since,
            reason=reason + _perhaps(found), aim=Aim(RELAY, (found.name,)), door=("relays",),
        )  # fmt: skip
    if found.kind == "region":
        reason = found.reason + (f"; {plural(found.silent, 'instance')} there" if found.silent else "")
        return Need(
            mark=found.mark, name=f"region {found.name}", word=found.word, since=found.since,
            reason=reason + _perhaps(found), aim=Aim(REGION, (found.name,)), door=("explain",),
        )  # fmt: skip
    row = board.instances.get(found.name)
    if found.count == 1 and row is not None:
        unwell = found.word in ("unhealthy", "failed", "starting")
        verbs = ("restart", "migrate") if unwell else ("converge", "restart")
        if found.word == "rejected":  # it never ran there: elsewhere it may
            verbs = ("migrate", "restart")
        return Need(
            mark=found.mark, name=row.id, word=instance_word(row), reason=found.reason + _perhaps(found),
            since=found.since, aim=Aim(INSTANCE, (row.id,)), door=("explain", row.id), verbs=verbs, logs=True,
        )  # fmt: skip
    if found.count > 1:
        many = f"{found.count} {found.word}"
        what = found.what if found.kind == INSTANCE else found.reason
        return Need(
            mark=found.mark, name=found.name, word=many, reason=what + _perhaps(found), since=found.since,
            aim=Aim(NODE, (found.name,)), door=("instances", found.name), verbs=("converge", "restart"),
        )  # fmt: skip
    kind = NODE if found.name in board.nodes else INSTANCE
    return Need(
        mark=found.mark, name=found.name, word=found.word, since=found.since, reason=found.reason,
        aim=Aim(kind, (found.name,)), door=found.door, verbs=("converge", "adopt"),
    )  # fmt: skip


def _perhaps(found: Finding) -> str:
    return f"; perhaps because of it {plural(found.perhaps, 'instance')} unwell" if found.perhaps else ""


def _host(host: HostRow, board: Board, found: Finding) -> Need:
    on_it = max(host.want, host.instances, found.silent)
    silent = since(host.seen, board.now)
    reason = host.reason
    if silent and (host.mark == UNKNOWN or not reason):
        reason += f"{', ' if reason else ''}last heard {silent} ago"
    reason = reason or "never heard"
    return Need(
        mark=found.mark,
        name=f"host {host.name}",
        word=host.presence,
        since=host.since,
        reason=reason + (f"; {plural(on_it, 'instance')} there" if on_it else "") + _perhaps(found),
        aim=Aim(HOST, (host.name,)),
        door=("instances", host.name) if on_it else ("hosts", host.name),
        verbs=("drain",),
    )


def _hosts(found: Finding) -> Need:
    """Many hosts that are silent for the same reason."""
    there = f"; {plural(found.silent, 'instance')} there" if found.silent else ""
    return Need(
        mark=found.mark, name=found.what.partition(" do")[0].partition(" are")[0], word=found.word,
        since=found.since, reason=found.reason + there + _perhaps(found), aim=Aim(HOST, found.objects),
        door=("hosts",),
    )  # fmt: skip


def _trouble(host: HostRow) -> Need:
    """It is heard, and something there will not stay well."""
    more = f" ({len(host.trouble) - 1} more)" if len(host.trouble) > 1 else ""
    return Need(
        mark=DRIFT, name=f"host {host.name}", word="trouble", since=None, reason=host.trouble[0] + more,
        aim=Aim(HOST, (host.name,)), door=("host", host.name),
    )


def _stuck(found: Finding, board: Board) -> Need:
    row, differ = board.actions[found.name], found.perhaps
    left = f"; {plural(differ, 'instance')} {'differs' if differ == 1 else 'differ'} until then" if differ else ""
    return Need(
        mark=PAUSED, name=f"{row.id} {row.title}", word=row.state, since=None, reason=row.note + left,
        aim=Aim(ACTION, (row.id,)), door=("action", row.id), verbs=("resume", "abort"),
    )


def _title(board: Board, look: Look, name: str) -> str:
    return board.shorten(look.text(name)) if " " in name else board.short(name)


class Kept:
    """NEEDS YOU of a board that changes all the time: worked out again when that costs little of the time."""

    def __init__(self) -> None:
        self._needs: list[Need] | None = None
        self._cost = self._at = 0.0

    def of(self, board: Board) -> list[Need]:
        began = time.monotonic()
        if self._needs is None or began - self._at >= SHARE * self._cost:
            self._needs = needs(board)
            self._at = time.monotonic()
            self._cost = self._at - began
        return self._needs


def need_items(
    board: Board, look: Look, width: int, read_only: str = "", hints: int = 3, found: list[Need] | None = None,
    keys: Callable[[str], str | None] = lambda id: None,
) -> list[Item]:
    """NEEDS YOU, without its heading. `keys`: id of a binding -> the key it has now; without one there is no hint."""
    out: list[Item] = []
    more = look.sign("more")
    for number, need in enumerate(needs(board) if found is None else found):
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
            out.append(Item(tuple(_hint(need, look, read_only, keys)), key))
    return out


def _hint(need: Need, look: Look, read_only: str, keys: Callable[[str], str | None]) -> Iterable[Piece]:
    door = "explain" if need.door[0] == "explain" else "open"
    others = [("open", door), *([("logs", "log")] if need.logs else [])]
    if need.alert:
        others.append(("go.alerts", "alerts"))
    if not read_only:
        others += [(f"verb.{name}", name) for name in need.verbs]
    gap = ""
    yield "    ", "text"
    for id, label in others:
        pressed = keys(id)
        if pressed is None:
            continue
        yield gap + (look.sign("enter") if pressed == "Enter" else pressed), "key"
        if pressed != f":{label}":
            yield f" {label}", "muted"
        gap = "   "


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
        end = f"gives up at {when(row.gives_up, board.now)}"
        note = f"{note}, {end}" if note else end
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
                (when(event.at, board.now, 11) + " ", "muted"),
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
