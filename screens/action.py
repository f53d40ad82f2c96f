"""One action, live: its steps, what it waits for, and what happened so far."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from cockpit.act.score import sentences
from cockpit.act.spelling import command_of_row
from cockpit.model.view import ActionDetail, ActionRow, StepRow
from cockpit.plan.steps import FETCH, HEALTHY, Bad, Refused
from screens.aim import ACTION, Aim
from screens.base import ClusterScreen
from screens.board import ENDED, Changed
from screens.format import age, bar, cells, when, wrap
from screens.item import line, text
from screens.keys import key, verb_keys
from screens.look import Piece
from screens.rows import STEP_MARKS, action_mark, lead, step_columns, took
from screens.widgets.actionbar import left_text
from screens.widgets.bars import Bar, Hint
from screens.widgets.grid import Grid
from screens.widgets.sheet import Sheet

AGAIN = 0.25
"""Seconds between two looks at the steps while changes arrive."""


def unknown_step(step: StepRow) -> StepRow:
    """What ran when the controller ended may be done or not: nobody has looked since."""
    if step.state != "running":
        return step
    return msgspec.structs.replace(step, state="unknown", started=None, note="not known since the controller ended")


class ActionScreen(ClusterScreen):
    NAME = "action"
    DEFAULT_CSS = """
    ActionScreen #both { layout: vertical; }
    ActionScreen #both.wide { layout: horizontal; }
    ActionScreen #steps { height: 3fr; width: 3fr; }
    ActionScreen #happened { height: 2fr; width: 2fr; }
    ActionScreen #both.narrow #steps { width: 1fr; }
    ActionScreen #both.narrow #happened { width: 1fr; }
    """
    VERB_NAMES = ("pause", "resume", "abort", "rollback")
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_keys("pause", "resume", "abort", "rollback"),
        key("y", "copy", "copy as command", "Put the command that does the same on the clipboard.", "action.copy"),
        key("f", "follow", "follow", "Keep the running step in sight.", "action.follow"),
    ]
    HINTS = (
        "verb.pause",
        "verb.resume",
        "verb.abort",
        "verb.rollback",
        "open",
        "logs",
        "pane.next",
        "action.follow",
        "action.copy",
        "filter",
    )

    def __init__(self, id: str, row: ActionRow | None = None) -> None:
        super().__init__()
        self.action_id = id if id.startswith("#") else f"#{id}"
        self.row = row
        self.detail: ActionDetail | None = None
        self.following = True
        self._asked = 0.0
        self._asking = False

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.action_id)

    def body(self) -> ComposeResult:
        look = self.look

        def haystack(row: StepRow) -> str:
            return f"{row.text} {row.kind} {row.instance} {row.host} {row.state} {row.note}"

        self.facts = Bar(id="facts")
        self.steps: Grid[StepRow] = Grid(
            step_columns(self.board, look), haystack=haystack, title="STEPS",
            lead=lead(look, lambda r: STEP_MARKS.get(r.state, "unknown")), id="steps",
        )
        self.happened = Sheet(id="happened")
        self.panes = [self.steps, self.happened]
        yield self.facts
        yield Container(self.steps, self.happened, id="both")

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        wide = event.size.width >= 130
        both = self.query_one("#both")
        both.set_class(wide, "wide")
        both.set_class(not wide, "narrow")
        self.call_after_refresh(self.fill)

    def sync(self, changed: Changed) -> None:
        self.row = self.board.actions.get(self.action_id, self.row)
        if changed.whole or self.action_id in changed.actions:
            self.look_again()
        self.fill()

    def tick(self) -> None:
        if self.row is not None and self.row.state not in ENDED and time.monotonic() - self._asked > 1.0:
            self.look_again()
        self.fill()
        super().tick()

    def look_again(self) -> None:
        """Fetch the steps; many changes in a row are one fetch."""
        if not self._asking:
            self._asking = True
            wait = max(0.0, AGAIN - (time.monotonic() - self._asked))
            self.set_timer(wait or 0.001, self._start)

    def _start(self) -> None:
        self.run_worker(self._fetch(), name="action")

    async def _fetch(self) -> None:
        self._asked = time.monotonic()
        try:
            with self.waiting(f"asking for {self.action_id}"):
                self.detail = await self.session.action(self.action_id)
                self.row = self.detail.row
        except (Bad, Refused) as error:
            self.say(str(error), "failed")
        except ConnectionError:
            pass  # the top line says that nobody answers
        finally:
            self._asking = False
        if self.is_attached:
            self.fill()
            self.show_bottom()

    # drawing

    def fill(self) -> None:
        width = self.size.width
        if not width or not self.facts.is_mounted:
            return
        self.facts.show(self._facts(width))
        if self.detail is None:
            return
        cut_off = self.row is not None and self.row.state == "interrupted"
        steps = {s.id: unknown_step(s) if cut_off else s for s in self.detail.steps}
        if steps.keys() == self.steps.rows.keys():
            self.steps.update(steps)
        else:
            self.steps.load(steps)
        if self.following:
            self._follow()
        room = max(20, self.happened.size.width - 2)
        items = [line((" WHAT HAPPENED", "head"))]
        if not self.detail.log:
            items.append(text(" nothing to tell yet", "muted"))
        for sentence in self.detail.log:
            for number, part in enumerate(wrap(self.look.text(sentence), room - 2, 4, self.look.sign("more"))):
                items.append(text((" " if number == 0 else "   ") + part))
        if self.detail.score is not None:
            items.append(line((" SCORE, against the rehearsal", "head")))
            good = self.detail.score.as_foretold
            for words in sentences(self.detail.score):
                parts = wrap(self.look.text(self.board.shorten(words)), room - 2, 4)
                style = "text" if good else "drift"
                items += [text((" " if n == 0 else "   ") + part, style) for n, part in enumerate(parts)]
        at_end = self.happened.top >= self.happened.count() - self.happened.page - 1
        self.happened.fill(items)
        if at_end and len(items) > self.happened.page:
            self.happened.scroll_top(len(items) - self.happened.page)

    def _follow(self) -> None:
        for index, name in enumerate(self.steps.order):
            if self.steps.rows[name].state in ("running", "failed"):
                if index != self.steps.cursor:
                    self.steps.go(index)
                return

    def _facts(self, width: int) -> list[list[Piece]]:
        row, look = self.row, self.look
        if row is None:
            return [[(f" {self.action_id}", "strong"), (f"   asking{look.sign('more')}", "changing")]]
        mark = action_mark(row)
        first: list[Piece] = [
            (f" {look.glyph(mark)} ", mark),
            (f"{row.id} {self.board.shorten(look.text(row.title or row.verb))}", "strong"),
            (f"   {row.state}", mark),
        ]
        times = [(f"   {took(row, self.board.now)}", "muted")]
        if eta := left_text(row, self.board.now):
            times.append((f"   {eta}", "muted"))
        if row.total:
            first.append((f"   {row.done} of {row.total} ", "muted"))
            length = min(16, width - 1 - sum(cells(t) for t, _ in (*first, *times)))
            if length >= 4:
                first.append((bar(row.done, row.total, length, look.sign("full"), look.sign("empty")), mark))
        first += times
        now = self.board.now
        second = f"   by {row.author}, {when(row.started, now)}"
        second += f", ended {when(row.ended, now)}, {age(now - row.ended)} ago" if row.ended else ""
        second += f", rev {row.revision}" if row.revision else ""
        second += f", because of {row.cause}" if row.cause else ""
        lines: list[list[Piece]] = [first, [(second, "muted")]]
        note = look.text(row.note)
        if row.gives_up is not None and row.state == "running":
            left = max(0, int(row.gives_up - self.board.now))
            note += f"{', ' if note else ''}gives up at {when(row.gives_up, self.board.now)} (in {left}s)"
            note += "".join(f"; {why}" for why in self._held_by())
        for part in wrap(note, width - 4, 3, look.sign("more")):
            lines.append([("   " + part, "text" if row.ended is None else mark)])
        if self.detail is not None and self.detail.undo:
            lines += [[("   " + p, "muted")] for p in wrap(look.text(f"Undo: {self.detail.undo}"), width - 4, 2)]
        return lines

    def _held_by(self) -> list[str]:
        """What is heard of the instances that the running steps wait for, while it is not good."""
        steps = self.detail.steps if self.detail is not None else ()
        ids = dict.fromkeys(s.instance for s in steps if s.state == "running" and s.kind == HEALTHY and not s.note)
        rows = [row for id in ids if (row := self.board.instances.get(id)) is not None and row.reason]
        return [self.look.text(row.reason) for row in rows[:2]]

    # keys

    def aim(self) -> Aim:
        return Aim(ACTION, (self.action_id,))

    def log_instances(self) -> list[str]:
        step = self.steps.current
        if step is not None and step.instance:
            return [step.instance]
        return list(dict.fromkeys(s.instance for s in self.steps.rows.values() if s.instance))

    def door(self) -> Sequence[str]:
        if self.pane is self.happened:
            return ()
        step = self.steps.current
        if step is None:
            return ()
        if step.kind == FETCH and self.board.receivers(self.action_id):
            return ("pushes", self.action_id)
        return ("node", step.instance) if step.instance else ("hosts", step.host)

    async def action_go(self, where: str) -> None:
        mine = where == "pushes" and self.board.receivers(self.action_id)
        await self.cockpit.goto((where, self.action_id) if mine else (where,))

    def action_move(self, how: str) -> None:
        self.following = False
        super().action_move(how)

    def action_copy(self) -> None:
        if self.row is None:
            self.say("Nothing is known of it yet.")
            return
        command = command_of_row(self.row)
        self.app.copy_to_clipboard(command)
        self.say(f"Copied: {command}", "ok")

    def action_follow(self) -> None:
        self.following = True
        self._follow()
        self.say("Following the running step; moving the cursor ends that.", "changing")

    def hints(self) -> list[Hint]:
        out = super().hints()
        return [*out[:3], *self._hints(("go.pushes",)), *out[3:]] if self.board.receivers(self.action_id) else out

    def hint_label(self, id: str, label: str) -> str:
        if id == "go.pushes":
            return "pieces"
        if id == "pane.next":
            return "what happened" if self.pane is self.steps else "steps"
        if id == "open":
            door = self.door()
            return {"pushes": "pieces", "hosts": "host"}.get(door[0], "instance") if door else "instance"
        return label


