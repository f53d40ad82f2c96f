"""A plan on the simulated copy, before it runs: its timeline, and what a failure would lead to."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.act import timeline
from cockpit.model.rehearsal_rows import Bar, Fault, Forecast
from cockpit.model.units import seconds_text
from cockpit.plan.steps import HEALTHY, Bad, Intent, Plan, Refused
from cockpit.session.rehearse import Working, rehearse
from screens.board import Board, Changed
from screens.filled import HeadScreen
from screens.format import bar as gauge
from screens.format import cells, fit, plural, wrap
from screens.item import BLANK, Item, text
from screens.keys import key
from screens.look import Look, Piece

STYLES = {
    "f": "muted", "p": "muted", "s": "changing", "h": "ok", "d": "draining", "x": "muted", "a": "changing",
    "u": "changing", timeline.FAIL: "failed", timeline.CUT: "unknown", timeline.IDLE: "dull",
}
BATCHES = 4
"""Batches that are listed before they are opened."""


def drawn(bar: Bar, whole: float, width: int) -> list[Piece]:
    return [(c.letter * c.width, STYLES.get(c.letter, "text")) for c in timeline.cells(bar.parts, whole, width)]


def items(
    forecast: Forecast, faults: tuple[Fault, ...], plan: Plan, board: Board, look: Look, width: int, opened: set[str]
) -> list[Item]:
    """The whole page. Bars, batches and steps can be picked."""
    more, room = look.sign("more"), max(20, width - 4)
    out: list[Item] = []
    good = forecast.outcome == "done"
    mark = "ok" if good else "failed" if forecast.outcome in ("failed", "returned") else "paused"
    for n, part in enumerate(wrap(look.text(board.shorten(timeline.verdict(forecast))), room, 4, more)):
        lead = f"   {look.glyph(mark)} " if n == 0 else "     "
        out.append(text(lead + part, mark))
    for words in timeline.consequences(forecast):
        service = words.partition(":")[0]
        door = ("instances", service) if service in board.nodes else ()
        for n, part in enumerate(wrap(look.text(board.short(service) + words[len(service):]), room - 2, 3, more)):
            out.append(Item((("     " + part, "text"),), f"says {words}", n == 0 and bool(door), door))
    steps = {s.id: s for s in plan.steps}
    if faults:
        out.append(text(" WHAT GOES WRONG HERE", "head"))
    for fault in faults:
        step = steps.get(fault.step)
        what = f"{board.shorten(step.text or step.id)} fails" if step else f"{fault.host} falls silent"
        key_ = f"fault {fault.step or fault.host}"
        out.append(Item(((f"   {look.glyph('failed')} {look.text(what)}", "failed"),), key_, True))
    if forecast.batches:
        out.append(text(" BATCHES", "head"))
        shown = forecast.batches if "batches" in opened else forecast.batches[:BATCHES]
        for batch in shown:
            words = f"{board.short(batch.service)} {timeline.batch_words(batch)}" + (", return" if batch.back else "")
            never = batch.begin is None
            out.append(Item(
                ((f"   {look.text(words)}", "muted" if never else "text"),),
                f"batch {batch.service} {batch.number} {batch.back}", True, ("instances", batch.service),
            ))
        if len(forecast.batches) > BATCHES:
            left = "fewer" if "batches" in opened else f"{len(forecast.batches) - BATCHES} more"
            out.append(Item(((f"   {look.sign('closed')} {left}", "muted"),), "batches", True))
    return out + _timeline(forecast, steps, board, look, width, opened)


def _timeline(
    forecast: Forecast, steps: dict[str, Any], board: Board, look: Look, width: int, opened: set[str]
) -> list[Item]:
    out = [text(" TIMELINE", "head")]
    names = {id(b): _name(b, board) for b in forecast.bars}
    longest = max((cells(n) for n in names.values()), default=0)
    names_width = min(longest, max(16, width // 2 - 6))
    room = max(10, width - names_width - 8)
    back = False
    for number, bar in enumerate(forecast.bars):
        if bar.back and not back:
            back = True
            out.append(text("   then the automatic return", "changing"))
        name = f"bar {number}"
        sign = look.sign("open" if name in opened else "closed")
        label = fit(look.text(names[id(bar)]), names_width, look.sign("more")) if longest > names_width else fit(
            look.text(names[id(bar)]), names_width)
        out.append(Item(
            ((f"   {sign} ", "muted"), (label + "  ", "text"), *drawn(bar, forecast.whole, room)), name, True
        ))
        if name in opened:
            for part in bar.parts:
                step = steps.get(part.step) if not bar.back else None
                words = board.shorten(step.text) if step is not None and step.text else f"{part.kind} on {bar.host}"
                state = "" if part.state == "done" else f"  {part.state}"
                out.append(Item((
                    (f"       {seconds_text(part.begin):>8} +{seconds_text(part.end - part.begin):<8} ", "muted"),
                    (look.text(words), "text"), (state, "failed" if part.state == "failed" else "unknown"),
                ), f"part {number} {part.step}", True))
    if forecast.left_out:
        out.append(text(f"   and {plural(forecast.left_out, 'more line')}, all of them without a failure", "muted"))
    pad = " " * (names_width + 7)
    out.append(text(pad + timeline.axis(forecast.whole, room), "muted"))
    out.append(text("   " + timeline.legend(forecast), "muted"))
    return out


def _name(bar: Bar, board: Board) -> str:
    return f"{bar.name} to {bar.host}" if bar.name.startswith("push ") else board.short(bar.name)


class RehearsalScreen(HeadScreen):
    """Rehearses at once; `f` and `H` let things go wrong and rehearse again. Nothing here touches the cluster."""

    NAME = "rehearsal"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("f", "fail", "fails", "Let the step under the cursor fail, or no longer.", "rehearsal.fail"),
        key("H", "silent", "host silent", "Let the host of this line fall silent, or no longer.", "rehearsal.silent"),
        key("0", "clear", "all well", "Take every failure away.", "rehearsal.clear"),
        key("y", "copy", "copy as command", "Put the command that rehearses the same on the clipboard.",
            "rehearsal.copy"),
    ]
    HINTS = ("open", "rehearsal.fail", "rehearsal.silent", "rehearsal.clear", "rehearsal.copy")

    def __init__(self, intent: Intent, plan: Plan) -> None:
        super().__init__()
        self.intent = intent
        self.plan = plan
        self.faults: tuple[Fault, ...] = ()
        self.forecast: Forecast | None = None
        self.working: Working | None = Working()
        self.wrong = ""
        self._opened: set[str] = set()

    def on_mount(self) -> None:
        super().on_mount()
        self.again()

    def again(self) -> None:
        """Rehearse; what runs is ended by that."""
        self.working, self.wrong = Working(), ""
        self.run_worker(self._rehearse(), name="rehearsal", exclusive=True)
        self.fill()

    async def _rehearse(self) -> None:
        try:
            async for found in rehearse(self.session, self.intent, self.faults):
                if isinstance(found, Forecast):
                    self.forecast, self.working = found, None
                else:
                    self.working = found
                self.fill()
            if self.working is not None:
                self.wrong = "The rehearsal ended without a word."
        except (Bad, Refused) as error:
            self.wrong = f"It cannot be rehearsed: {error}"
        except ConnectionError as error:
            self.wrong = f"No answer: {error or 'the controller is away'}."
        if self.wrong:
            self.working = None
        self.fill()
        self.show_bottom()

    def sync(self, changed: Changed) -> None:
        self.fill()

    def fill(self) -> None:
        width, look = self.size.width, self.look
        if not width or not self.head.is_mounted:
            return
        title = look.text(self.board.shorten(self.plan.title or self.intent.verb))
        first: list[Piece] = [(" REHEARSAL  ", "head"), (title, "strong"), ("   nothing is touched", "muted")]
        self.head.fill([Item(tuple(first)), Item(tuple(self._second(width)))])
        if self.wrong:
            words = [text("   " + part, "failed") for part in wrap(look.text(self.wrong), max(20, width - 4), 5)]
            self.sheet.fill([*words, BLANK, text("   Esc goes back to the plan.", "muted")])
        elif self.forecast is not None:
            self.sheet.fill(items(self.forecast, self.faults, self.plan, self.board, look, width, self._opened))

    def _second(self, width: int) -> list[Piece]:
        look, work = self.look, self.working
        if work is None:
            changed = self.forecast is not None and self.forecast.digest not in ("", self.plan.digest)
            if changed:
                return [("   the cluster has changed since the plan was shown: Esc, and look at it again", "drift")]
            return [("   on a copy of the cluster as it is now, with recorded times", "muted")]
        if work.waiting:
            return [(f"   others are rehearsed first{look.sign('more')}  Esc ends it", "changing")]
        if not work.total:
            return [(f"   rehearsing{look.sign('more')}  Esc ends it", "changing")]
        drawn_bar = gauge(work.over, work.total, 16, look.sign("full"), look.sign("empty"))
        return [(f"   {drawn_bar} {work.over} of {plural(work.total, 'step')}, {seconds_text(work.seconds)} in"
                 f" virtual time   Esc ends it", "changing")]

    # keys

    async def action_open(self) -> None:
        item = self.sheet.current
        if item is None:
            return
        if item.door:
            await self.cockpit.goto(item.door)
        elif item.key.startswith(("bar ", "batches")):
            self._opened ^= {item.key}
            self.fill()

    def action_side(self, way: int) -> None:
        item = self.sheet.current
        if item is not None and item.key.startswith("bar ") and (item.key in self._opened) == (way < 0):
            self._opened ^= {item.key}
            self.fill()

    def _bar(self) -> tuple[Bar | None, str]:
        """The line under the cursor, and the step when one is opened there."""
        item = self.sheet.current
        words = item.key.split(" ") if item is not None else []
        if self.forecast is None or len(words) < 2 or words[0] not in ("bar", "part"):
            return None, ""
        bar = self.forecast.bars[int(words[1])]
        return bar, words[2] if words[0] == "part" else ""

    def _toggle(self, fault: Fault) -> None:
        had = fault in self.faults
        self.faults = tuple(f for f in self.faults if f != fault) if had else (*self.faults, fault)
        self.again()

    def action_fail(self) -> None:
        item = self.sheet.current
        if item is not None and item.key.startswith("fault "):
            self._undo(item.key)
            return
        bar, step = self._bar()
        if bar is None:
            self.say("Put the cursor on a line of the timeline; Enter shows its steps, f lets one fail.")
            return
        if bar.back:
            self.say("The automatic return follows from what fails; choose a step of the plan itself.")
            return
        healthy = next((p.step for p in bar.parts if p.kind == HEALTHY), bar.parts[0].step)
        self._toggle(Fault(step=step or healthy))

    def action_silent(self) -> None:
        item = self.sheet.current
        if item is not None and item.key.startswith("fault "):
            self._undo(item.key)
            return
        bar, _ = self._bar()
        if bar is None:
            self.say("Put the cursor on a line of the timeline; H lets its host fall silent.")
        elif not bar.host:
            self.say("This line belongs to no host.")
        else:
            self._toggle(Fault(host=bar.host))

    def _undo(self, name: str) -> None:
        what = name.removeprefix("fault ")
        self.faults = tuple(f for f in self.faults if what not in (f.step, f.host))
        self.again()

    def action_clear(self) -> None:
        if self.faults:
            self.faults = ()
            self.again()
        else:
            self.say("Nothing goes wrong here as it is; f on a line lets its step fail.", "paused")

    def action_copy(self) -> None:
        from screens.command import command_of

        words = "".join(f" --fail {f.step or f.host}" for f in self.faults)
        command = f"{command_of(self.intent)} --rehearse{words}"
        self.app.copy_to_clipboard(command)
        self.say(f"Copied: {command}", "ok")
