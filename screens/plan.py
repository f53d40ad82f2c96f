"""The picture before anything happens: what is touched, who depends on it, how long, how to undo."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.act.score import experience, last_of_kind
from cockpit.act.table import DIRECT, VERBS
from cockpit.act.timeline import verdict
from cockpit.model.changes import describe, value
from cockpit.model.rehearsal_rows import Forecast
from cockpit.model.view import ActionRow
from cockpit.plan.steps import FETCH, SIGNAL, Bad, Intent, Plan, Refused, Step
from cockpit.session.rehearse import foretold
from screens import guarded
from screens.board import ENDED, Board, Changed
from screens.command import command_of
from screens.copying import put
from screens.filled import HeadScreen
from screens.format import lasting, plural, size, wrap
from screens.item import BLANK, Item, text
from screens.keys import key
from screens.look import Look
from screens.widgets.bars import Hint
from screens.widgets.lines import Lines

DONE = {"": "what runs is what is expected", "push": "the hosts have it already"}
"""Why a plan is empty, by verb."""


def step_groups(plan: Plan) -> list[tuple[str, str, list[Step]]]:
    """Steps of one instance together, in the order in which each instance is first touched.

    Releases are pushed to hosts, for no instance: these are one group each. Returns key, heading, steps.
    """
    groups: dict[str, list[Step]] = {}
    for step in plan.steps:
        release = " ".join(str(step.args[k]) for k in ("name", "version") if k in step.args)
        what = "push" if step.kind == FETCH else step.kind
        groups.setdefault(step.instance or f"{what} {release}".rstrip(), []).append(step)
    return [(name, name, steps) for name, steps in groups.items()]


def blast(plan: Plan, board: Board, look: Look, width: int) -> list[Item]:
    """Who feels it: each service that loses instances on the way, and who depends on it. Every line is a door."""
    if not plan.ready:
        return [text("   " + ("" if n == 0 else "  ") + part) for touched in plan.touches
                for n, part in enumerate(wrap(look.text(f"Touches: {touched}"), width, 3, look.sign("more")))]
    out: list[Item] = []
    for path, (least, now) in plan.ready.items():
        worst = f"never below {least} of {now} ready" if least else f"none of its {now} will be ready meanwhile"
        words = f"   Touches: {board.short(path)}, {worst}" + ("" if board.users(path) else "; nothing depends on it")
        style = "text" if least else "drift"
        out.append(Item(((look.text(words), style),), f"touch {path}", True, ("instances", path)))
        for user in board.users(path):
            many = plural(len(board.under(user)), "instance")
            words = f"     {board.short(user)} depends on it: {many}"
            out.append(Item(((look.text(words), "text"),), f"user {path} {user}", True, ("instances", user)))
    return out


def facts(plan: Plan) -> list[str]:
    """The sentences above the steps."""
    hosts = {s.host for s in plan.steps if s.host}
    instances = {s.instance for s in plan.steps if s.instance}
    first: list[str] = []
    if instances:
        first.append(f"{plural(len(instances), 'instance')} on {plural(len(hosts), 'host')}")
    if plan.steps:
        first.append(plural(len(plan.steps), "step"))
        canary = {s.instance for s in plan.steps if s.batch == 0 and s.instance}
        if len({s.batch for s in plan.steps}) > 1 and len(canary) < len(instances):
            first.append(f"{len(canary)} first, the rest waits for {'it' if len(canary) == 1 else 'them'}")
        first.append(f"gives up after {lasting(plan.deadline)} without progress, then "
                     + {"return": "returns to what was before", "pause": "pauses"}.get(plan.on_failure, "goes on"))
    out = ["; ".join(first) + "."] if first else []
    return out


def time_items(plan: Plan, board: Board, look: Look, width: int, forecast: Forecast | None) -> list[Item]:
    """The last runs of the same kind, what to expect, and what a rehearsal says; each leads there."""
    expect = forecast.seconds if forecast is not None and forecast.outcome == "done" else plan.estimate
    last = last_of_kind(board.actions.values(), plan.intent.verb, [board.full(t) for t in plan.intent.targets])
    if plan.intent.params.get("action"):
        last = []  # of another action
    names = ", ".join(board.short(board.full(t)) for t in plan.intent.targets[:2])
    name = names + (f" and {len(plan.intent.targets) - 2} more" if len(plan.intent.targets) > 2 else "")
    words = experience(last, plan.intent.verb, name or "everything", expect)
    out = [
        Item(((("   " if n == 0 else "     ") + part, "text"),), "time", n == 0 and bool(last),
             ("action", last[0].id) if last else ())
        for n, part in enumerate(wrap(look.text(words), width, 3, look.sign("more")))
    ]
    if forecast is not None:
        good = forecast.outcome == "done"
        mark = "muted" if good else "failed"
        lead = "Rehearsed: " if good else f"{look.glyph('failed')} Rehearsed: "
        parts = wrap(look.text(lead + board.shorten(verdict(forecast))), width, 3, look.sign("more"))
        out += [Item(((("   " if n == 0 else "     ") + part, mark),), "rehearsed", n == 0)
                for n, part in enumerate(parts)]
    return out


def bytes_to_move(plan: Plan) -> str:
    """What the pushes of a plan move, where it tells; empty where it does not."""
    fetches = [s for s in plan.steps if s.kind == FETCH]
    known = [s for s in fetches if isinstance(s.args.get("to_move"), int)]
    if not known:
        return ""
    moves = [int(s.args["to_move"]) for s in known]
    whole = sum(int(s.args.get("size", 0)) for s in known)
    out = f"Moves {size(sum(moves))}" + (f" of {size(whole)}" if whole else "")
    hosts = {s.host for s in known}
    most = max(moves)
    out += f" to {plural(len(hosts), 'host')}" + (f", {size(most)} at most to one" if len(moves) > 1 else "")
    rest = len(fetches) - len(known)
    return out + (f"; what {rest} of {len(fetches)} pushes move is not known." if rest else ".")


def at_work(plan: Plan, board: Board) -> list[ActionRow]:
    """Actions that have not ended and work on what this plan would touch."""
    if VERBS[plan.intent.verb].target == "action" and plan.intent.verb != "rollback":
        return []
    found = (board.action_on(i) for i in dict.fromkeys(s.instance for s in plan.steps if s.instance))
    return list({a.id: a for a in found if a is not None and a.id not in plan.intent.targets}.values())


def control_facts(intent: Intent, board: Board) -> list[str]:
    """What a verb does to an action: these have no steps of their own."""
    out = []
    for id in intent.targets:
        row = board.actions.get(id)
        if row is None:
            continue
        title = f"{row.id} {board.shorten(row.title or row.verb)}"
        done = f" after {row.done} of {plural(row.total, 'step')}" if row.total else ""
        if intent.verb != "abort":
            out.append(f"{intent.verb} {title}, which is {row.state}{done}.")
            continue
        if row.state in ENDED:
            out.append(f"{title} has ended ({row.state}) meanwhile: there is nothing to abort.")
            continue
        at = intent.params.get("after")
        out.append(f"{title}, {row.state}{done}, ends {f'after step {at}' if at else 'where it stands'}.")
        if intent.params.get("undo"):
            out.append("Then it returns by itself to what was before.")
        else:
            out.append(f"What it changed stays. Undo: u on {row.id} returns to what was before.")
    return out


def plan_items(
    plan: Plan, board: Board, look: Look, width: int, opened: set[str], forecast: Forecast | None = None
) -> list[Item]:
    room = max(20, width - 4)
    more = look.sign("more")

    def sentence(words: str, style: str = "text", lines: int = 3, lead: str = "   ") -> list[Item]:
        parts = wrap(look.text(words), room, lines, more)
        return [text((lead if n == 0 else "     ") + part, style) for n, part in enumerate(parts)]

    out: list[Item] = []
    for warning in plan.warnings:
        out += sentence(f"{look.glyph('drift')} {warning}", "drift")
    for held in at_work(plan, board):
        title = board.shorten(held.title or held.verb)
        works = f"{held.id} {title} ({held.state}) works on the same"
        waits = any(s.kind != SIGNAL for s in plan.steps)
        works += ": until it has ended this one is refused" if waits else "; a signal does not wait for it"
        out += sentence(f"{look.glyph('drift')} {works}", "drift")
    out += guarded.guard_items(plan, look, room)
    for fact in facts(plan):
        out += sentence(fact)
    if moves := bytes_to_move(plan):
        fetch = next(s for s in plan.steps if s.kind == FETCH)
        door = ("artifact", f"{fetch.args['name']}/{fetch.args['version']}")
        out.append(Item((("   " + moves, "text"),), "moves", True, door))
    out += blast(plan, board, look, room)
    out += time_items(plan, board, look, room, forecast)
    if plan.undo:
        out += sentence(f"Undo: {plan.undo}")
    if plan.changes:
        out.append(text(" EXPECTED", "head"))
        words = describe(plan.changes, board.short, look.sign("to"))
        for each in words if "changes" in opened else words[:6]:
            out += sentence(each)
        if len(words) > 6:
            label = "fewer" if "changes" in opened else f"{len(words) - 6} more"
            out.append(Item(((f"   {look.sign('closed')} {label}", "muted"),), "changes", True))
    out.append(text(f" STEPS{'' if plan.steps else '   none: nothing has to be done on hosts'}", "head"))
    canary = len({s.batch for s in plan.steps}) > 1
    for name, heading, steps in step_groups(plan):
        is_open = name in opened
        sign = look.sign("open" if is_open else "closed")
        kinds = ", ".join(dict.fromkeys(s.kind for s in steps)) if steps[0].instance else ""
        if steps[0].kind == SIGNAL:
            kinds = f"{steps[0].args['signal']} to {steps[0].text.partition(': ')[2]}"
        hosts = list(dict.fromkeys(s.host for s in steps if s.host))
        where = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts"
        first = "  first" if canary and steps[0].batch == 0 and steps[0].instance else ""
        out.append(Item((
            (f"   {sign} ", "muted"), (board.short(heading), "strong"), (f"  on {where}" if where else "", "muted"),
            (first, "changing"), (f"   {kinds}", "muted"),
        ), name, True))
        if is_open:
            for step in steps:
                out += _step(step, plan, board, look, room, opened)
    return out


def _step(step: Step, plan: Plan, board: Board, look: Look, room: int, opened: set[str]) -> list[Item]:
    name = f"step {step.id}"
    is_open = name in opened
    words = look.text(step.text or f"{step.kind} {board.short(step.instance)} on {step.host}")
    out = [
        Item((("       " + look.sign("open" if is_open else "closed") + " ", "muted"), (words, "text")), name, True)
    ]
    if is_open:
        lines = [f"{step.kind} on {step.host}" + (f", unit {step.unit}" if step.unit else "")]
        if step.args:
            lines.append("with " + ", ".join(f"{k.replace('_', ' ')} {argument(k, v)}" for k, v in step.args.items()))
        known = {s.id: s.text or s.id for s in plan.steps}
        before = [known.get(n, n) for n in step.needs if n not in plan.gates]
        before += [f"{plural(len(g), 'step')} up to: {known.get(g[-1], g[-1])}"
                   for n in step.needs if (g := plan.gates.get(n))]
        lines.append(f"after: {'; '.join(before)}" if before else "may start at once")
        for each in lines:
            out += [
                text("           " + part, "muted") for part in wrap(look.text(each), room - 10, 3, look.sign("more"))
            ]
    return out


def argument(name: str, content: Any) -> str:
    """An argument of a step for people: bytes with their unit."""
    return size(content) if name in ("size", "to_move") and isinstance(content, int) else value(content)


class PlanScreen(HeadScreen):
    """Shows the plan of an intent; `x` carries it out, Esc does not."""

    NAME = "plan"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("x", "run_plan", "run", "Carry this plan out.", "plan.run"),
        key("h", "rehearse", "rehearse", "Its timeline on a copy of the cluster; nothing is touched.",
            "plan.rehearse"),
        key("y", "copy", "copy as command", "Put the command that does the same on the clipboard.", "plan.copy"),
    ]
    HINTS: ClassVar[tuple[str, ...]] = ("plan.run", "plan.rehearse", "open", "plan.copy", "command")
    NOT_YET = "Nothing has run yet: <plan.run> runs this plan, <back> leaves everything as it was."
    """Said to whoever presses Enter at once."""

    def __init__(self, intent: Intent) -> None:
        super().__init__()
        self.intent = intent
        self.plan: Plan | None = None
        self.forecast: Forecast | None = None
        """Of small plans: rehearsed while the plan is read."""
        self._opened: set[str] = set()
        self._read = False
        """The cursor was moved, or something was opened: Enter is not meant to run the plan."""
        self._sent = False

    def hints(self) -> list[Hint]:
        nothing = self.plan is None or self._idle(self.plan)
        off = bool(nothing or self.cockpit.read_only)
        run, *more = super().hints()
        return [(run[0], run[1], not off), *more]

    def _idle(self, plan: Plan) -> bool:
        """There is nothing to do."""
        verb = self.intent.verb
        return plan.empty and verb not in DIRECT and VERBS[verb].target != "action"

    def on_mount(self) -> None:
        super().on_mount()
        self._work_out()

    def _work_out(self) -> None:
        self.run_worker(self._ask_plan(), name="plan", exclusive=True)

    def ask_again(self) -> None:
        """The intent is another one now."""
        self._work_out()

    async def _ask_plan(self) -> None:
        """Fetch the plan; when there is none, go back and say why there."""
        try:
            with self.waiting(f"working out the plan of {self.intent.verb}"):
                plan = await self.session.plan(self.intent)
        except (Bad, Refused) as error:
            self._leave(f"{self.intent.verb}: {error}", "failed")
            return
        except ConnectionError as error:
            self._leave(
                f"{self.intent.verb}: no answer ({error or 'the controller is away'}). Nothing was done.", "unknown"
            )
            return
        self.plan, self.forecast = plan, None
        self.fill()
        self.show_bottom()
        if plan.steps:
            with contextlib.suppress(Bad, Refused, ConnectionError):  # then the plan stands without it
                self.forecast = await foretold(self.session, self.intent, quick=True)
                self.fill()

    def _leave(self, words: str, mark: str) -> None:
        if self.plan is not None:
            self.say(words, mark)
        elif self.app.screen is self:
            # not awaited: this runs in a worker of the screen that is taken away
            self.app.pop_screen()
            self.cockpit.tell(words, mark)

    def sync(self, changed: Changed) -> None:
        self.fill()

    def fill(self) -> None:
        width, look, plan = self.size.width, self.look, self.plan
        if not width:
            return
        title = look.text((plan.title if plan else "") or " ".join((self.intent.verb, *self.intent.targets)))
        first = [(" PLAN  ", "head"), (self.board.shorten(title), "strong")]
        if plan is None:
            self.head.fill([Item(tuple(first)), text(f" working it out{look.sign('more')}", "changing")])
            return
        if plan.risk == "destructive":
            first.append((f"   {look.glyph('drift')} destructive: asks for the typed name", "drift"))
        second = f"   from rev {plan.base}" + (
            f", would write rev {plan.base + 1}" if plan.changes else ", expected stays as it is")
        self.head.fill([Item(tuple(first)), text(second, "muted")])
        if self.intent.verb in DIRECT:
            self.sheet.fill(guarded.direct_items(plan, look, width - 4))
            return
        if self._idle(plan):
            self.sheet.fill(
                [
                    text(f"   Nothing to do: {DONE.get(self.intent.verb, DONE[''])}.", "ok"),
                    BLANK,
                    text("   Esc goes back.", "muted"),
                ]
            )
            return
        if VERBS[self.intent.verb].target == "action":
            about = [p for s in control_facts(self.intent, self.board) for p in wrap(look.text(s), width - 4, 3)]
            self.sheet.fill([*guarded.guard_items(plan, look, width - 4), *(text("   " + part) for part in about)])
            return
        self.sheet.fill(plan_items(plan, self.board, look, width, self._opened, self.forecast))

    def action_move(self, how: str) -> None:
        self._read = True
        super().action_move(how)

    def on_lines_opened(self, event: Lines.Opened) -> None:
        self._read = True
        super().on_lines_opened(event)

    async def action_open(self) -> None:
        item = self.sheet.current
        if not self._read and self.plan is not None and not self._idle(self.plan) and not self.cockpit.read_only:
            self._read = True  # in other programs Enter would have run it
            self.say(self.NOT_YET, "paused")
            return
        if item is not None and item.door:
            await self.cockpit.goto(item.door)
        elif item is not None and item.key == "rehearsed":
            await self.action_rehearse()
        elif item is not None:
            self._opened ^= {item.key}
            self.fill()

    async def action_rehearse(self) -> None:
        if self.plan is None:
            self.say("The plan is not there yet.")
        elif not self.plan.steps:
            self.say("There are no steps on hosts: nothing to rehearse.", "paused")
        else:
            from screens.rehearsal import RehearsalScreen

            await self.app.push_screen(RehearsalScreen(self.intent, self.plan))

    def action_side(self, way: int) -> None:
        item = self.sheet.current
        if item is not None and not item.door and (item.key in self._opened) == (way < 0):
            self._opened ^= {item.key}
            self.fill()

    def action_copy(self) -> None:
        if self.plan is None:
            self.say("The plan is not there yet.")
            return
        command = command_of(self.intent, self.plan.confirm)
        self.say(*put(self.cockpit, command, "the command"))

    async def action_run_plan(self) -> None:
        plan = self.plan
        verb = VERBS.get(self.intent.verb) or DIRECT[self.intent.verb]
        if self.cockpit.read_only:
            self.say(f"{verb.name} is off: {self.cockpit.read_only}")
        elif plan is None:
            self.say("The plan is not there yet.")
        elif self._sent:
            self.say("It was sent; waiting for the controller.")
        elif self._idle(plan):
            self.say("There is nothing to do.", "ok")
        elif await guarded.barred(self):
            pass  # it said why
        elif plan.confirm or plan.risk == "destructive":
            from screens.ask import ConfirmScreen

            name = plan.confirm or (self.intent.targets[0] if self.intent.targets else verb.name)
            about = (*plan.warnings, *plan.touches, *control_facts(self.intent, self.board))
            await self.app.push_screen(ConfirmScreen(name, plan.title or verb.name, about, self._submit))
        else:
            await self._submit("")

    async def _submit(self, typed: str) -> None:
        if not self._sent:
            self._sent = True
            self.run_worker(self._send(typed), name="submit")

    async def _send(self, typed: str) -> None:
        assert self.plan is not None
        try:
            with self.waiting(f"sending {self.plan.title or self.intent.verb}"):
                row = await self.session.submit(self.intent, digest=self.plan.digest, confirm=typed)
        except Refused as error:
            # most often the situation changed since: show the plan as it would be now
            self.say(f"Refused: {error}", "failed")
            self._work_out()
        except Bad as error:
            self.say(str(error), "failed")
        except ConnectionError as error:
            self.say(
                f"No answer: {error or 'the controller is away'}. It may or may not have begun; "
                "<go.actions> shows the actions.",
                "unknown",
            )
        else:
            if self.app.screen is self and not guarded.asked(self, row):
                from screens.action import ActionScreen

                self.app.switch_screen(ActionScreen(row.id, row))
        finally:
            self._sent = False
