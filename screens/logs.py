"""The log of one or more instances, merged as it comes."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from cockpit.model.view import LogLine
from cockpit.plan.steps import Bad, Refused
from screens.aim import INSTANCE, Aim
from screens.base import ClusterScreen
from screens.board import Changed
from screens.format import plural
from screens.keys import key
from screens.look import Piece
from screens.widgets.bars import Bar
from screens.widgets.log import Entry, Log

BATCH = 0.1
"""Seconds of lines that are added at once."""
MOST = 200
"""Instances whose logs are merged; more cannot be read."""


class LogsScreen(ClusterScreen):
    NAME = "logs"
    DEFAULT_CSS = "LogsScreen #title { height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("f", "follow", "follow", "Stay at the end, or stand still.", "logs.follow"),
    ]
    HINTS = ("filter", "logs.follow", "move.pageup", "move.end", "side.right", "command")

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        self.ended = ""
        self._pending: list[Entry] = []

    def address(self) -> tuple[str, ...]:
        return (self.NAME, *self.names)

    def body(self) -> ComposeResult:
        self.title_bar = Bar(id="title")
        self.log_list = Log(id="log")
        self.panes = [self.log_list]
        yield self.title_bar
        yield self.log_list

    def on_mount(self) -> None:
        super().on_mount()
        self.run_worker(self._read(), name="logs")
        self.set_interval(BATCH, self._flush)

    def instances(self) -> list[str]:
        """The instances meant: a service or a group stands for all of its own."""
        board = self.board
        out: list[str] = []
        for name in self.names or ("",):
            out += [name] if name in board.instances else board.under(name)
        return list(dict.fromkeys(out))

    async def _read(self) -> None:
        wanted = self.instances()
        if not wanted:
            self.ended = "no such instance"
            self.sync(Changed())
            return
        again = False
        while True:
            try:
                # after a gap only what is new is asked for
                async for entry in self.session.logs(wanted[:MOST], lines=0 if again else 200, follow=True):
                    self.ended = ""
                    self._pending.append(self._entry(entry))
                self.ended = "the log has ended"
                break
            except (Bad, Refused) as error:
                self.ended = str(error)
                break
            except ConnectionError as error:
                self.ended = f"no answer: {error}"
                again = True
                self._remark_line(f"no answer ({error}); lines of the meantime may be missing here")
                await asyncio.sleep(1.0)
                while self.board.lost is not None:
                    await asyncio.sleep(0.2)
        self.sync(Changed())

    def _entry(self, entry: LogLine) -> Entry:
        name = self.board.short(entry.instance)
        if entry.process != "main":
            name += f" {entry.process}"
        return Entry(name, entry.stream, self.look.text(entry.text))

    def _remark_line(self, words: str) -> None:
        self._pending.append(Entry("", "cockpit", words))

    def _flush(self) -> None:
        if self._pending:
            lines, self._pending = self._pending, []
            self.log_list.add(lines)
            self.show_title()

    def sync(self, changed: Changed) -> None:
        self.show_title()

    def show_title(self) -> None:
        log = self.log_list
        wanted = self.instances()
        name = ", ".join(self.board.short(n) for n in wanted[:3])
        if len(wanted) > 3:
            name += f" and {len(wanted) - 3} more"
        pieces: list[Piece] = [
            (" LOG ", "strong"),
            (name, "text"),
            (f"   {plural(len(log.entries), 'line')}", "muted"),
        ]
        if len(wanted) > MOST:
            pieces.append((f"   only the first {MOST} instances", "drift"))
        if log.sieve.text:
            pieces += [(f"   /{log.sieve.text}", "strong"), (f"  {len(log.shown)} of {len(log.entries)}", "muted")]
        if self.ended:
            pieces.append((f"   {self.look.text(self.ended)}", "unknown"))
        elif log.following:
            pieces.append(("   following", "changing"))
        else:
            pieces += [
                ("   standing still", "paused"),
                (f", {log.missed} new below" if log.missed else "", "changing"),
            ]
        self.title_bar.show([pieces])

    def aim(self) -> Aim:
        return Aim(INSTANCE, tuple(self.names))

    def set_filter(self, text: str) -> None:
        self.log_list.filter(text)
        self.show_title()

    def filter_text(self) -> str:
        return self.log_list.sieve.text

    def action_filter(self) -> None:
        self.begin_field("filter", self.filter_text())

    def field_note(self) -> str:
        if self._field_kind == "filter":
            return f"{len(self.log_list.shown)} of {len(self.log_list.entries)}   Enter keep   Esc all"
        return super().field_note()

    def action_follow(self) -> None:
        self.log_list.follow(not self.log_list.following)
        self.show_title()

    def action_move(self, how: str) -> None:
        super().action_move(how)
        self.show_title()

    def hint_label(self, id: str, label: str) -> str:
        if id == "logs.follow":
            return "stand still" if self.log_list.following else "follow"
        return {"side.right": "scroll", "move.end": "last"}.get(id, label)
