"""Keys that work on every screen of the cluster and are no verb: one line each.

What a key does is one coroutine function of the screen that has it, in a module of its own that is
imported when the key is first pressed: `async def begin(screen: ClusterScreen) -> None`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from textual.binding import BindingType

from screens.keys import key

if TYPE_CHECKING:
    from screens.base import ClusterScreen


class Everywhere(NamedTuple):
    id: str
    keys: str
    label: str
    tip: str
    run: str
    """`module:function`."""


_ALL: tuple[Everywhere, ...] = (
    Everywhere("edit", "E", "edit", "Edit what is expected of the row in your editor.", "screens.edit:begin"),
    Everywhere(
        "go.running", "#", "what runs", "The action on the line above the keys.", "screens.widgets.actionbar:begin"
    ),
    Everywhere("user", "U", "own actions", "Actions of your own, from actions.toml.", "screens.usermenu:begin"),
    Everywhere("palette", "ctrl+p", "find", "Find a screen, a verb, an instance, a host by parts of its name.",
               "screens.palette:begin"),
    Everywhere("jump", "'", "jump", "Letters on everything in sight; press one to go there.", "screens.jump:begin"),
    Everywhere("copy", "y", "copy", "Copy the id, the row, the command or the address of this view.",
               "screens.copying:begin"),
    Everywhere("tab.new", "ctrl+t", "new tab", "A new tab, beginning at the overview.", "screens.tabs:begin_new"),
    Everywhere("tab.close", "ctrl+w", "close tab", "Close this tab.", "screens.tabs:begin_close"),
    Everywhere("tab.before", "[", "tab before", "To the tab before this one.", "screens.tabs:begin_before"),
    Everywhere("tab.after", "]", "next tab", "To the tab after this one.", "screens.tabs:begin_after"),
    Everywhere("tab.number", "1,2,3,4,5,6,7,8,9", "tab 1 to 9", "To the tab with this number.",
               "screens.tabs:begin_number"),
    Everywhere("bookmark", "*", "bookmark", "Keep the address of this view, or keep it no longer.",
               "screens.palette:begin_bookmark"),
    Everywhere("bookmarks", "\"", "bookmarks", "Go to an address that was kept.", "screens.palette:begin_bookmarks"),
    Everywhere("messages", ";", "messages", "Remarks and errors of the last hour again, with time and place.",
               "screens.messages:begin"),
    Everywhere("go.alerts", "N", "alerts", "What needs somebody, who was told, who has it.", "screens.alerts:begin"),
    Everywhere(
        "shell", "S", "shell", "A shell on the host, or in the release of the instance, under the cursor.",
        "screens.shell:begin",
    ),
    Everywhere("forward", "f", "forward", "A port of the instance under the cursor, on this machine.",
               "screens.forwarding:begin"),
    Everywhere("go.matrix", "M", "matrix", "Hosts against services.", "screens.matrix:begin"),
    Everywhere(
        "life", "L", "life", "What happened to the thing under the cursor: states, runs, actions, revisions.",
        "screens.life:begin",
    ),
    Everywhere("journal", "J", "journal", "Every entry of the journal, refusals too.", "screens.journal:begin"),
    Everywhere("past", "T", "past", "Every screen at a past moment; there: type another one.", "screens.past:begin"),
    Everywhere("filter.sticky", "F", "keep filter", "This filter holds on every list; again: no longer.",
               "screens.finding:sticky"),
    Everywhere("filter.needy", "!", "trouble", "Only what needs attention; again: all rows.",
               "screens.finding:only_needy"),
    Everywhere("filter.marked", "z", "marked", "Only the marked rows; again: all rows.",
               "screens.finding:only_marked"),
    Everywhere("columns", "C", "columns", "Choose the columns of this list and their order.",
               "screens.finding:columns"),
    Everywhere("watch", "Y", "watch", "Tell me when this changes, on every screen; again: no longer.",
               "screens.watch:begin"),
    Everywhere("redraw", "ctrl+l", "redraw", "Draw everything anew, when another program wrote over it.",
               "screens.sent:begin"),
)  # fmt: skip
KEYS = {each.id: each for each in _ALL}


def bindings() -> list[BindingType]:
    return [key(each.keys, f"everywhere('{each.id}')", each.label, each.tip, each.id) for each in KEYS.values()]


async def carry_out(id: str, screen: ClusterScreen) -> None:
    module, _, name = KEYS[id].run.partition(":")
    await getattr(import_module(module), name)(screen)
