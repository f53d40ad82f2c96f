"""The line of keys at the foot of a screen: those that work here and now, and which binding each stands for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.binding import Binding

from cockpit.act.table import VERBS
from screens.aim import why_not
from screens.look import Piece
from screens.widgets.bars import Hint, key_line

if TYPE_CHECKING:
    from screens.base import ClusterScreen


def hints(screen: ClusterScreen, ids: Iterable[str]) -> list[Hint]:
    """Of the bindings with these ids, the keys as they are now. A verb that has no object here is left out."""
    bound: dict[str, tuple[str, Binding]] = {}
    for name, binding in screen.live_bindings():
        bound.setdefault(binding.id or "", (name, binding))
    out: list[Hint] = []
    say = screen.look.words.label
    aim = screen.aim()
    for id in ids:
        if id not in bound or (screen.cockpit.travel is not None and id in ("logs", "go.hosts")):
            continue  # in the past these keys step through time
        name, binding = bound[id]
        label = binding.description
        if not id.startswith("verb."):
            out.append((screen.key_name(name), say(screen.hint_label(id, label)), True))
            continue
        why = why_not(VERBS[label], aim, screen.board, screen.cockpit.read_only)
        if not why:
            out.append((screen.key_name(name), say(label), True))
        elif screen.cockpit.read_only or screen.board.lost is not None:
            out.append((screen.key_name(name), say(label), False))
    return out


def last_hints(screen: ClusterScreen) -> list[Hint]:
    """Those that always stand at the end: errors nobody looked at, back, help."""
    unread = screen.cockpit.messages.unread
    found = hints(screen, ("messages",)) if unread else []
    say = screen.look.words.say
    last = hints(screen, (*(() if screen.app.screen_stack[0] is screen else ("back",)), *screen.LAST))
    return [*((name, say(f"{unread} unread"), True) for name, _, _ in found), *last]


def keys(screen: ClusterScreen, width: int) -> tuple[list[Piece], dict[int, str]]:
    """The line, and what a click on each of its pieces does."""
    pieces = key_line(screen.hints(), screen.last_hints(), width, screen.look)
    ids = {screen.key_name(name): binding.id for name, binding in screen.live_bindings()}
    doors: dict[int, str] = {}
    for number, (text, style) in enumerate(pieces):
        if style in ("key", "dull") and text in ids:
            doors |= dict.fromkeys((number, number + 1), f"press:{ids[text]}")
    return pieces, doors


async def open_door(screen: ClusterScreen, what: str) -> None:
    """Carry out what a click means: `go:ADDRESS`, `tab:NUMBER` or `press:ID`."""
    kind, _, rest = what.partition(":")
    if kind == "go":
        await screen.cockpit.open(rest)
    elif kind == "tab":
        await screen.cockpit.tabs.show(int(rest))
    else:
        for name, binding in screen.live_bindings():
            if binding.id == rest:
                screen.pressed = name
                await screen.run_action(binding.action)
                break
