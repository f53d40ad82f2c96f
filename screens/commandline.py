"""The line behind `:`: history, completion, and what becomes of a typed line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from cockpit.act.table import VERBS
from screens.command import Go, completions, help_for, parse
from screens.general import GENERAL
from screens.keys import KeyScreen
from screens.shortcuts import Shortcuts, Watched

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
        self._watched = Watched()

    def begin(self, cluster: str) -> None:
        """The person's own words and keys for this cluster."""
        self._watched.open(cluster)
        self._told()

    @property
    def own(self) -> Shortcuts:
        return self._watched.now

    def look(self) -> None:
        """Read the files again when they have changed."""
        if self._watched.look():
            self._told()

    def _told(self) -> None:
        general = {binding.id for binding in GENERAL if isinstance(binding, Binding)}
        base = self._app.screen_stack[0]
        live = base.live_bindings() if isinstance(base, KeyScreen) else []
        found = self._watched.news({key: b.description for key, b in live if b.id in general})
        for words in found[1:]:
            self._app.tell(words)
        if found:
            self._app.tell(found[0] + (f" ({len(found) - 1} more in :messages)" if found[1:] else ""))

    def past(self) -> list[str]:
        """Lines that can be had again, the latest last."""
        kept = [line for line in self._app.memory.lines if line not in self._typed]
        return [*kept, *self._typed]

    async def run(self, screen: ClusterScreen, text: str) -> None:
        text = text.strip()
        self._typed = [*[h for h in self._typed if h != text], text][-50:]
        self._recalled = 0
        if await self.carry_out(screen, text):
            self._app.memory.remember(text)
            self._app.show_complaints()

    async def carry_out(self, screen: ClusterScreen, text: str) -> bool:
        """Go there, or begin the verb; False, and a remark, when the line means nothing."""
        own = self.own
        if text in own.workspaces:
            await self._app.tabs.add([own.expand(line) for line in own.workspaces[text]])
            return True
        try:
            asked = parse(own.expand(text), self._app.board, screen.aim())
        except ValueError as error:
            screen.say(str(error))
            return False
        if isinstance(asked, Go):
            await self._app.goto(asked.words, asked.filter)
        else:
            await self._app.begin_verb(screen, asked.verb, asked.aim, asked.targets, asked.params)
        return True

    async def take(self, screen: ClusterScreen, key: str) -> bool:
        """Carry out the line that has this key; False when none has."""
        self.look()
        line = self.own.keys.get(key)
        if line is None:
            return False
        await self.carry_out(screen, line)
        return True

    def complete(self, text: str) -> list[str]:
        return [line.rpartition(" ")[2] for line in self._completions(text.lstrip())]

    def _completions(self, text: str) -> list[str]:
        """Whole lines that could follow; behind an alias, those of what it stands for."""
        own = self.own
        whole = own.expand(text)
        if text.startswith("columns "):
            from screens.owncolumns import completions as paths

            return paths(self._app.screen, text)
        if " " in text and whole != text:
            word = text.partition(" ")[0]
            return [word + line[len(own.aliases[word]):] for line in completions(whole, self._app.board)]
        words = [w for w in own.words() if w.startswith(text)] if " " not in text else []
        return [*words, *completions(text, self._app.board)]

    def help(self, text: str) -> str:
        return self.own.about(text.strip().partition(" ")[0]) or help_for(text.strip())

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
        start, at = self._completed
        found = self._completions(start) if at >= 0 else []
        if not (found and field.text == found[at % len(found)]):
            start, at = field.text, -1
            found = self._completions(start)
        if found:
            at = (at + 1) % len(found)
            field.set(found[at])
            if len(found) == 1 and " " not in found[0] and found[0] in VERBS:
                field.insert(" ")
        self._completed = (start, at)
