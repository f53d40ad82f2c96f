"""Remarks and errors of the last hour, with time and place; Enter goes where it was said."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult

from screens.base import ClusterScreen
from screens.board import Changed
from screens.format import plural, when, wrap
from screens.item import Item, text
from screens.remarks import Message
from screens.widgets.bars import Bar, said_glyph
from screens.widgets.sheet import Sheet


async def begin(screen: ClusterScreen) -> None:
    await screen.cockpit.goto(("messages",))


class MessagesScreen(ClusterScreen):
    NAME = "messages"
    HINTS: ClassVar[tuple[str, ...]] = ("open", "copy", "move.pagedown", "command")

    def body(self) -> ComposeResult:
        self.facts = Bar(id="facts")
        self.sheet = Sheet(id="sheet")
        self.panes = [self.sheet]
        self._fresh = {id(m) for m in self.cockpit.messages.all() if not m.read}
        self._shown: dict[str, Message] = {}
        yield self.facts
        yield self.sheet

    def sync(self, changed: Changed) -> None:
        self.fill()

    def tick(self) -> None:
        self.fill()
        super().tick()

    def fill(self) -> None:
        width, look = self.size.width, self.look
        if not width or not self.facts.is_mounted:
            return
        found = self.cockpit.messages.all()
        fresh = sum(id(m) in self._fresh for m in found)
        self.cockpit.messages.read_all()
        new = f", {plural(fresh, 'error')} not looked at before" if fresh else ""
        self.facts.show([[(" MESSAGES", "strong"), (f"   {len(found)} in the last hour{new}", "muted")]])
        items: list[Item] = []
        self._shown = {}
        for message in found:
            key = f"{message.begun}"
            self._shown[key] = message
            parts = wrap(look.text(message.text), max(20, width - 24), 6, look.sign("more"))
            times = f"  {message.times} times" if message.times > 1 else ""
            word = {"ok": "done", "paused": "note"}.get(message.mark, message.mark)
            at = when(message.at, self.board.now, 11)
            head = (
                (f" {at}  ", "muted"), (f"{said_glyph(message.mark, look)} {word:<9} ", message.mark),
                (parts[0] if parts else "", "text"), (times, "muted"),
            )
            items.append(Item(head, key=key, pick=True))
            items += [text(" " * 22 + part) for part in parts[1:]]
            items.append(text(" " * 22 + "on " + look.text(message.where), "muted"))
        self.sheet.fill(items or [text("   Nothing was said in the last hour.", "muted")])

    async def action_open(self) -> None:
        item = self.sheet.current
        if item is not None and item.key in self._shown:
            await self.cockpit.open(self._shown[item.key].where)
