"""The line behind `:`: history, completion, and what becomes of a typed line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cockpit.act.table import VERBS
from screens.command import Go, completions, help_for, parse

if TYPE_CHECKING:
    from screens.app import CockpitApp
    from screens.base import ClusterScreen
    from screens.widgets.field import Field


class CommandLine:
    def __init__(self, app: CockpitApp) -> None:
        self._app = app
        self._typed: list[str] = []
        """Lines of this run, also those that meant nothing: they can be mended, and are not kept."""
        self._recalled = 0
        self._completed: tuple[str, int] = ("", -1)

    def past(self) -> list[str]:
        """Lines that can be had again, the latest last."""
        kept = [line for line in self._app.memory.lines if line not in self._typed]
        return [*kept, *self._typed]

    async def run(self, screen: ClusterScreen, text: str) -> None:
        text = text.strip()
        self._typed = [*[h for h in self._typed if h != text], text][-50:]
        self._recalled = 0
        try:
            asked = parse(text, self._app.board, screen.aim())
        except ValueError as error:
            screen.say(str(error))
            return
        self._app.memory.remember(text)
        self._app.show_complaints()
        if isinstance(asked, Go):
            await self._app.goto(asked.words, asked.filter)
        else:
            await self._app.begin_verb(screen, asked.verb, asked.aim, asked.targets, asked.params)

    def complete(self, text: str) -> list[str]:
        return [line.rpartition(" ")[2] for line in completions(text.lstrip(), self._app.board)]

    def help(self, text: str) -> str:
        return help_for(text.strip())

    def recall(self, field: Field, how: str) -> None:
        """`complete` goes over and over through what fits; `older` and `newer` go through history."""
        if how == "complete":
            self._complete(field)
            return
        past = self.past()
        step = 1 if how == "older" else -1
        self._recalled = max(0, min(len(past), self._recalled + step))
        field.set(past[-self._recalled] if self._recalled else "")

    def _complete(self, field: Field) -> None:
        board = self._app.board
        start, at = self._completed
        found = completions(start, board) if at >= 0 else []
        if not (found and field.text == found[at % len(found)]):
            start, at = field.text, -1
            found = completions(start, board)
        if found:
            at = (at + 1) % len(found)
            field.set(found[at])
            if len(found) == 1 and " " not in found[0] and found[0] in VERBS:
                field.insert(" ")
        self._completed = (start, at)
