"""Copying: a small menu of what can be copied, and the clipboard of the operator's own terminal (OSC 52)."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from textual import events

from cockpit.plan.steps import Intent
from screens.aim import ACTION, Aim
from screens.ask import AskScreen, Option, Question
from screens.base import ClusterScreen
from screens.command import command_of
from screens.format import cut, plural, size
from screens.widgets.grid import Grid
from screens.widgets.sheet import Sheet

if TYPE_CHECKING:
    from screens.app import CockpitApp

CAP = 64 * 1024
"""Bytes sent to the terminal: as base64 they stay below the 100,000 that many accept."""
ROWS = 1000


class Copy(NamedTuple):
    """One thing that can be copied, and the letter that does."""

    letter: str
    label: str
    text: str


def put(app: CockpitApp, text: str, what: str = "", environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Send it to the terminal's clipboard. A sentence for the operator, and its mark."""
    length = len(text.encode())
    name = what or "it"
    if length > CAP:
        return f"{name} is {size(length)}; terminals take {size(CAP)} at most. Nothing was copied.", "failed"
    if environ.get("TERM", "") == "linux":
        return "This console has no clipboard. Nothing was copied.", "failed"
    app.copy_to_clipboard(text)
    if environ.get("TMUX"):
        doubt = "tmux hands it on only with `set -g set-clipboard on`"
    elif environ.get("STY"):
        doubt = "screen does not hand it on"
    else:
        doubt = "a terminal that does not allow OSC 52 drops it without a word"
    first = text.partition("\n")[0]
    more = f" and {plural(text.count(chr(10)), 'more line')}" if "\n" in text else ""
    return f"Copied: {cut(first, 160, app.look.sign('more'))}{more} ({doubt})", "ok"


def copies(screen: ClusterScreen) -> list[Copy]:
    """What there is to copy here. A screen of its own adds to it by `more_copies() -> list[Copy]`."""
    out: list[Copy] = []
    aim = screen.aim()
    if aim:
        out.append(Copy("i", "id" if len(aim.ids) == 1 else f"{len(aim.ids)} ids", "\n".join(aim.ids)))
    rows = _rows(screen)
    if rows:
        out.append(Copy("r", "row" if len(rows) == 1 else f"{len(rows)} rows", "\n".join(rows)))
    address = screen.cockpit.address_of(screen)
    out.append(Copy("c", "command", _command(screen, aim, address)))
    out.append(Copy("a", "address", address))
    more: Any = getattr(screen, "more_copies", None)
    return [*out, *(more() if more is not None else ())]


def _rows(screen: ClusterScreen) -> list[str]:
    pane = screen.pane
    if isinstance(pane, Grid):
        keys = [k for k in pane.order if k in pane.marked][:ROWS] or [k for k in (pane.key,) if k]
        return ["  ".join(words for words, _ in pane.texts(k) if words) for k in keys]
    if isinstance(pane, Sheet):
        item = pane.current
        whole = [i for i in pane.items if item is not None and (i is item or (item.key and i.key == item.key))]
        return ["".join(words for words, _ in i.pieces).strip() for i in whole]
    return []


def _command(screen: ClusterScreen, aim: Aim, address: str) -> str:
    """The shell command that does what this row says: an action again; else this view."""
    row = screen.board.actions.get(aim.ids[0]) if aim.kind == ACTION and len(aim.ids) == 1 else None
    if row is not None:
        try:
            return command_of(Intent(verb=row.verb, targets=row.targets, params=row.params, author=""))
        except KeyError:
            pass
    return f"cockpit attach --at {shlex.quote(address)}"


class CopyScreen(AskScreen):
    YES: ClassVar[str] = "copy"

    def __init__(self, origin: ClusterScreen, found: list[Copy]) -> None:
        super().__init__(Question(title="Copy", label="letter:", free=False), self._done)
        self.origin = origin
        self._found = found

    def matching(self) -> list[Option]:
        room = min(72, int(self.app.size.width * 0.96)) - 24
        more = self.look.sign("more")
        return [
            Option(c.letter, f"{c.letter}  {c.label:<12}{cut(c.text.partition(chr(10))[0], room, more)}")
            for c in self._found
        ]

    async def take_key(self, event: events.Key) -> bool:
        if event.key in ("ctrl+c", "ctrl+q") or any(name == event.key for name, _ in self.live_bindings()):
            return False
        for number, each in enumerate(self._found):
            if each.letter == event.character:
                self.chosen = number
                await self.send()
                return True
        self.wrong = "A letter from the list, or Esc."
        self.show()
        return True

    def take_paste(self, text: str) -> None:
        """Nothing can be pasted into a menu."""

    async def _done(self, letter: str) -> None:
        chosen = next(c for c in self._found if c.letter == letter)
        self.origin.say(*put(self.origin.cockpit, chosen.text, chosen.label))


async def begin(screen: ClusterScreen) -> None:
    await screen.app.push_screen(CopyScreen(screen, copies(screen)))
