"""Replays a journal on a target: the twin, a live session, or as plans only.

What somebody asked for is submitted again, one action after the other (those that overlapped had
different targets). What followed by itself (entries with a cause) is only compared. Pauses and
aborts take effect at the step where they did; hosts are matched by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from cockpit.act import journal
from cockpit.act.followup import RETURNED, conclude
from cockpit.act.journal import Entry
from cockpit.act.messages import ABORT, ABORTED, DONE, FAILED, PAUSE, RESUME
from cockpit.plan.steps import Bad, Intent, Plan, Refused

CONTROLS = (PAUSE, RESUME, ABORT)
PAUSED = "paused"


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded pause, resume or abort."""

    what: str
    step: str
    """Id of the last step that had started, in the recorded plan."""
    by: str
    """Empty: the action paused by its own rule; that is not repeated, it happens again."""
    at: float
    undo: bool = False
    kind: str = ""
    instance: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded action."""

    seq: int
    action: str
    at: float
    intent: Intent
    title: str = ""
    placement: dict[str, str] = {}
    holds: tuple[Hold, ...] = ()
    outcome: str = ""
    """done, failed or aborted; empty when the journal ends before."""
    ended: float = 0.0
    reason: str = ""
    versions: dict[str, str] = {}
    derived: tuple[Item, ...] = ()

    @property
    def word(self) -> str:
        """The state word that the action ended in, its automatic return included."""
        return conclude(self.outcome, self.derived[-1].outcome if self.derived else None)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an action of the target ended, what followed by itself included."""

    outcome: str
    """done, failed, returned, aborted, or paused when it waits for somebody."""
    reason: str = ""


class ReplayTarget(Protocol):
    """Where actions are carried out. Raises Bad, Refused, ConnectionError."""

    async def plan(self, intent: Intent) -> Plan: ...

    async def submit(self, plan: Plan, holds: Sequence[Hold]) -> str:
        """Begin, with pauses and aborts to take effect once their step has started; returns the id."""
        ...

    async def paused(self, id: str) -> bool:
        """Wait until it is paused (True) or ended (False)."""
        ...

    async def resume(self, id: str) -> None: ...

    async def ended(self, id: str, derived: bool) -> Ended:
        """Wait for the end (or a pause); with `derived` also for what follows by itself."""
        ...

    async def versions(self, instances: Iterable[str]) -> dict[str, str]:
        """Actual version of each instance that exists."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one entry."""

    seq: int
    action: str
    title: str
    recorded: str
    now: str
    same: bool
    note: str = ""
    plan: Plan | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    lines: tuple[Line, ...] = ()
    differs: str = ""
    """The first difference as a sentence; empty when there was none."""
    stopped: bool = False
    """Somebody said no."""


def schedule(entries: Iterable[Entry], first: int | None = None, last: int | None = None) -> list[Item]:
    """The actions of a journal whose intent is between the entries `first` and `last`, in order.

    Derived actions are attached to their cause. Raises Bad for an intent that cannot be read.
    """
    intents: dict[str, Entry] = {}
    holds: dict[str, list[Hold]] = {}
    ends: dict[str, Entry] = {}
    for entry in entries:
        action = entry.body.get("action", "")
        if entry.kind == journal.INTENT:
            if entry.body.get("verb") not in CONTROLS:
                intents[action] = entry
        elif entry.kind in CONTROLS and "step" in entry.body:
            holds.setdefault(action, []).append(_hold(entry))
        elif entry.kind == journal.OUTCOME:
            ends[action] = entry
    items: dict[str, Item] = {}
    for action, entry in reversed(intents.items()):
        # later ones first: what a cause led to is complete when the cause is looked at
        derived = tuple(i for i in reversed(items.values()) if i.intent.cause == action)
        items[action] = _item(entry, holds.get(action, ()), ends.get(action), derived)
    return [
        i for i in sorted(items.values(), key=lambda i: i.seq)
        if not i.intent.cause and (first is None or i.seq >= first) and (last is None or i.seq <= last)
    ]


def _hold(entry: Entry) -> Hold:
    body = entry.body
    return Hold(
        what=entry.kind, step=str(body["step"]), by=str(body.get("by") or ""), at=entry.time,
        undo=bool(body.get("undo")), kind=str(body.get("what") or ""), instance=str(body.get("instance") or ""),
    )


def _item(entry: Entry, holds: Iterable[Hold], end: Entry | None, derived: tuple[Item, ...]) -> Item:
    body = entry.body
    try:
        intent = msgspec.convert(
            {k: body[k] for k in ("verb", "targets", "params", "author", "cause") if body.get(k) is not None},
            Intent,
        )
    except msgspec.ValidationError as e:
        raise Bad(f"entry {entry.seq} holds no intent: {e}") from None
    last = end.body if end is not None else {}
    return Item(
        seq=entry.seq, action=str(body.get("action", "")), at=entry.time, intent=intent,
        title=str(body.get("title", "")), placement=body.get("placement") or {}, holds=tuple(holds),
        outcome=str(last.get("outcome", "")), ended=end.time if end is not None else entry.time,
        reason=str(last.get("reason", "")), versions=last.get("versions") or {}, derived=derived,
    )


def intent_of(item: Item, ids: Mapping[str, str] | None = None) -> Intent:
    """The intent to submit: as recorded, with the host that placement chose then.

    `ids` maps recorded action ids to those of the replay.
    """
    params = dict(item.intent.params)
    if item.intent.verb == "migrate" and not params.get("host") and item.placement:
        params["host"] = next(iter(item.placement.values()))
    if item.intent.verb == "rollback" and params.get("action"):
        id = "#" + str(params["action"]).lstrip("#")
        params["action"] = (ids or {}).get(id, id)
    return msgspec.structs.replace(item.intent, params=params)


def anchored(hold: Hold, plan: Plan) -> Hold:
    """The hold with the id that its step has in today's plan (empty: at once)."""
    if hold.kind:
        for step in plan.steps:
            if (step.kind, step.instance) == (hold.kind, hold.instance):
                return msgspec.structs.replace(hold, step=step.id)
    return hold


async def dry_run(
    items: Iterable[Item], plan: Callable[[Intent], Awaitable[Plan]],
    say: Callable[[Line], None] | None = None,
) -> Report:
    """The plan each entry would have today. Changes nothing."""
    lines: list[Line] = []
    for item in items:
        made, note = None, ""
        try:
            made = await plan(intent_of(item))
            now = f"{len(made.steps)} steps" if made.steps else "nothing to do" if made.empty else "no steps"
        except (Bad, Refused) as e:
            now, note = "refused" if isinstance(e, Refused) else "impossible", str(e)
        lines.append(Line(
            seq=item.seq, action=item.action, title=item.title, recorded=item.word, now=now,
            same=not note, note=note, plan=made,
        ))  # fmt: skip
        if say is not None:
            say(lines[-1])
    return Report(lines=tuple(lines))


async def replay(
    items: Sequence[Item], target: ReplayTarget, *, speed: float = 0.0,
    ask: Callable[[Item, Plan], Awaitable[bool]] | None = None, say: Callable[[Line], None] | None = None,
) -> Report:
    """Carry the actions out and compare; stops at the first that ends otherwise than recorded.

    `speed` 1 keeps the recorded pauses between actions, 2 halves them, 0 leaves them out. `ask` is
    awaited before each action; when it says no the replay stops there.
    """
    lines: list[Line] = []
    ids: dict[str, str] = {}
    before: Item | None = None
    for item in items:
        if before is not None and speed > 0:
            await target.sleep(max(0.0, item.at - before.ended) / speed)
        before = item
        try:
            plan = await target.plan(intent_of(item, ids))
            if ask is not None and not await ask(item, plan):
                return Report(lines=tuple(lines), stopped=True)
            now, why = await _carry_out(item, plan, target, speed, ids)
        except (Bad, Refused) as e:
            now, why = "refused", f"it is refused now: {e}"
        lines.append(Line(
            seq=item.seq, action=item.action, title=item.title, recorded=item.word, now=now, same=not why,
            note=why,
        ))  # fmt: skip
        if say is not None:
            say(lines[-1])
        if why:
            return Report(lines=tuple(lines), differs=f"entry {item.seq}, {item.action} {item.title}: {why}")
    return Report(lines=tuple(lines))


async def _carry_out(
    item: Item, plan: Plan, target: ReplayTarget, speed: float, ids: dict[str, str]
) -> tuple[str, str]:
    """(state word now, the difference or empty)."""
    if plan.empty:
        same = item.outcome in (DONE, "")
        return DONE, "" if same else f"there is nothing to do; recorded was {item.word}"
    moved = _placed_elsewhere(item, plan)
    if moved:
        return "", moved
    holds = [anchored(h, plan) for h in item.holds]
    id = ids[item.action] = await target.submit(plan, [h for h in holds if h.what != RESUME and h.by])
    for n, hold in enumerate(holds):
        if hold.what == RESUME:
            if not await target.paused(id):
                break
            if speed > 0 and n:
                await target.sleep(max(0.0, hold.at - holds[n - 1].at) / speed)
            await target.resume(id)
    end = await target.ended(id, bool(item.derived))
    if not item.outcome:
        return end.outcome, ""  # the journal does not tell how it ended
    return end.outcome, await _difference(item, end, target)


def _placed_elsewhere(item: Item, plan: Plan) -> str:
    now = journal.placement(plan)
    for instance, host in sorted(item.placement.items()):
        if now.get(instance, host) != host:
            return f"{instance} would be placed on {now[instance]}; recorded was {host}"
    return ""


async def _difference(item: Item, end: Ended, target: ReplayTarget) -> str:
    if end.outcome != item.word:
        why = f" ({end.reason})" if end.reason else ""
        return f"it is {end.outcome or 'unfinished'} now{why}; recorded was {item.word}"
    if end.outcome == ABORTED:
        return ""  # how far an unfinished instance had come is a matter of milliseconds
    recorded = (item.derived[-1] if item.derived else item).versions
    now = await target.versions(recorded)
    for instance, version in sorted(recorded.items()):
        if now.get(instance, "") != version:
            return f"{instance} runs {now.get(instance) or 'nothing'} now; recorded was {version or 'nothing'}"
    return ""


def final_word(own: str, derived: str | None) -> str:
    """`conclude` for a target that may have said `returned` already."""
    return conclude(FAILED if own == RETURNED else own, derived) if derived is not None else own
