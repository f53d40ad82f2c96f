"""An action of the operator's own, running: what it says as it says it, and how it ended."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any, ClassVar

from msgspec.structs import replace
from textual.binding import BindingType

from cockpit.model.units import seconds_text
from cockpit.plan.steps import Bad, Refused
from cockpit.useractions.config import UserAction
from cockpit.useractions.run import Ended, Job, Said, run
from screens.board import Changed
from screens.direct import agree
from screens.filled import HeadScreen
from screens.format import cells, fit, plural
from screens.item import Item, text
from screens.keys import key
from screens.look import Piece
from screens.usermenu import spelled

KEPT = 5000
"""Lines that are kept; of more the newest."""
MARKS = {"ok": "ok", "failed": "failed", "timed out": "failed", "no answer": "unknown", "not sent": "absent",
         "stopped": "paused"}
FILL_EVERY = 0.1


class UserRunScreen(HeadScreen):
    """Observing ones run at once; others show their commands first and wait for `x`. Leaving ends what runs."""

    NAME = "user"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("x", "begin", "run", "Run these commands.", "user.run"),
        key("X", "cancel", "cancel", "End everything that runs.", "user.cancel"),
        key("y", "copy", "copy as command", "Put the commands on the clipboard.", "user.copy"),
    ]

    def __init__(self, action: UserAction, jobs: list[Job], at_once: bool) -> None:
        super().__init__()
        self.user_action = action
        self.jobs = jobs
        self.at_once = at_once
        self.state = "ready"
        """ready, running or ended."""
        self.lines: deque[Said] = deque(maxlen=KEPT)
        self.left_out = 0
        self.ends: list[Ended] = []
        self.wrong = ""
        self._dirty = False
        self._work: Any = None

    @property
    def HINTS(self) -> tuple[str, ...]:  # type: ignore[override]
        return {"ready": ("user.run", "user.copy"), "running": ("user.cancel", "user.copy")}.get(
            self.state, ("user.copy",)
        )

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(FILL_EVERY, self._paint)
        if self.at_once:
            self.call_later(self._agree)

    async def _agree(self) -> None:
        """What runs on hosts passes the guards first."""
        if self.user_action.where != "hosts":
            self.begin()
            return
        mine = [{
            "argv": list(j.argv), "hosts": list(j.hosts), "timeout": self.user_action.timeout,
            "user": self.user_action.user,
        } for j in self.jobs]  # fmt: skip

        async def go(agreed: list[dict[str, Any]]) -> None:
            self.jobs = [
                replace(j, agreed={k: r[k] for k in ("confirm", "digest", "break_glass") if k in r})
                for j, r in zip(self.jobs, agreed, strict=True)
            ]
            self.begin()

        await agree(self, "exec", mine, go, name=self.user_action.name)

    def begin(self) -> None:
        if self.state == "ready":
            self.state = "running"
            self._work = self.run_worker(self._run(), name="user")
            self.fill()
            self.show_bottom()

    async def _run(self) -> None:
        try:
            async with contextlib.aclosing(run(self.user_action, self.jobs, self.session)) as items:
                async for item in items:
                    if isinstance(item, Said):
                        self.left_out += len(self.lines) == KEPT
                        self.lines.append(item)
                    else:
                        self.ends.append(item)
                    self._dirty = True
        except (Bad, Refused) as error:
            self.wrong = f"It was not run: {error}"
        except ConnectionError as error:
            self.wrong = f"No answer: {error or 'the controller is away'}."
        finally:
            self.state = "ended"
            self._dirty = True
            if self.is_attached:
                self.show_bottom()

    def _paint(self) -> None:
        if self._dirty:
            self._dirty = False
            self.fill()

    def sync(self, changed: Changed) -> None:
        self.fill()

    # drawing

    def fill(self) -> None:
        look, action = self.look, self.user_action
        if not self.size.width or not self.head.is_mounted:
            return
        first: list[Piece] = [(f" {action.name.upper()}  ", "head"), (look.text(action.about), "strong")]
        self.head.fill([Item(tuple(first)), Item(tuple(self._summary()))])
        out: list[Item] = []
        if self.state == "ready":
            where = "here, on this machine" if action.where == "here" else "on hosts, through their agents"
            out.append(text(f"   {plural(len(self.jobs), 'command')}, {where}:"))
            out += [text(f"   {look.text(spelled(j))}", "strong") for j in self.jobs[:200]]
            if len(self.jobs) > 200:
                out.append(text(f"   and {len(self.jobs) - 200} more", "muted"))
        if self.wrong:
            out.append(text(f"   {look.glyph('failed')} {look.text(self.wrong)}", "failed"))
        several = len(self.jobs) > 1 or len(self.jobs[0].hosts) > 1
        names = {j.label for j in self.jobs} | {h for j in self.jobs for h in j.hosts} if several else set()
        width = min(28, max((cells(self.board.short(n)) for n in names), default=0))
        if self.left_out:
            out.append(text(f"   {self.left_out} earlier lines were left out", "muted"))
        for said in self.lines:
            lead = ((fit(self.board.short(said.label), width) + " ", "muted"),) if several else ()
            style = {"err": "drift", "note": "muted"}.get(said.stream, "text")
            out.append(Item(((" ", "text"), *lead, (look.text(said.text), style))))
        for end in self.ends:
            if several or end.word != "ok":
                mark = MARKS.get(end.word, "unknown")
                words = f" {look.glyph(mark)} {self.board.short(end.label)} {end.word}"
                words += f", {end.text}" if end.text else ""
                out.append(text(f"{look.text(words)} after {seconds_text(end.seconds)}", mark))
        at_end = self.sheet.top >= self.sheet.count() - self.sheet.page - 1
        self.sheet.fill(out)
        if at_end and len(out) > self.sheet.page:
            self.sheet.scroll_top(len(out) - self.sheet.page)

    def _summary(self) -> list[Piece]:
        total = sum(max(1, len(j.hosts)) for j in self.jobs)
        if self.state == "ready":
            return [("   nothing has run yet: x runs, Esc does not", "changing")]
        bad = [e for e in self.ends if e.word != "ok"]
        if self.state == "running":
            failed: Piece = (f"   {len(bad)} not ok", "failed") if bad else ("", "text")
            return [(f"   {self.look.glyph('changing')} runs: {len(self.ends)} of {total} ended", "changing"), failed]
        if len(self.ends) < total and not self.wrong:
            return [(f"   {self.look.glyph('paused')} ended by you: {len(self.ends)} of {total} had ended", "paused")]
        if self.wrong or bad:
            one = bad[0].text if len(bad) == 1 and total == 1 else f"{len(bad)} of {total} not ok"
            return [(f"   {self.look.glyph('failed')} {one if bad else 'not run'}", "failed")]
        took = max((e.seconds for e in self.ends), default=0.0)
        how = "exit 0" if total == 1 else f"ok, all {total}"
        return [(f"   {self.look.glyph('ok')} {how} after {seconds_text(took)}", "ok")]

    # keys

    async def action_begin(self) -> None:
        if self.cockpit.read_only and self.user_action.risk != "observe":
            self.say(f"{self.user_action.name} is off: {self.cockpit.read_only}")
        elif self.state == "ready":
            await self._agree()
        else:
            self.say("It runs already." if self.state == "running" else "It has ended; U starts it again.", "paused")

    def action_cancel(self) -> None:
        if self.state != "running":
            self.say("Nothing runs here.", "paused")
            return
        self._work.cancel()
        self.say("Asked to end.", "paused")

    def action_copy(self) -> None:
        command = "\n".join(spelled(j) for j in self.jobs)
        self.app.copy_to_clipboard(command)
        self.say(f"Copied: {command if len(self.jobs) == 1 else plural(len(self.jobs), 'command')}", "ok")
