"""Keys that work on every cluster screen: the one list."""

from __future__ import annotations

from textual.binding import BindingType

from screens import everywhere
from screens.keys import go_key, key

GENERAL: list[BindingType] = [
    key("up,k", "move('up')", "up", "One line up.", "move.up"),
    key("down,j", "move('down')", "down", "One line down.", "move.down"),
    key("pageup,ctrl+b", "move('pageup')", "page up", "One page up.", "move.pageup"),
    key("pagedown,ctrl+f", "move('pagedown')", "page down", "One page down.", "move.pagedown"),
    key("home", "move('home')", "first", "To the first line.", "move.home"),
    key("end,G", "move('end')", "last", "To the last line.", "move.end"),
    key("left", "side(-1)", "close", "Close a node, or scroll to the left.", "side.left"),
    key("right", "side(1)", "open", "Open a node, or scroll to the right.", "side.right"),
    key("enter", "open", "open", "Open what is under the cursor.", "open"),
    key("space", "mark", "mark", "Mark the row for a verb; Esc takes marks away.", "mark"),
    key("escape", "back", "back", "Back to exactly where you were.", "back"),
    key("tab", "pane(1)", "other side", "To the next list on this screen.", "pane.next"),
    key("shift+tab", "pane(-1)", "other side", "To the list before on this screen.", "pane.back"),
    key("/", "filter", "filter", "Show only rows with this text; !text: rows without it.", "filter"),
    key(":", "command", "go to", "Type a screen or a verb: `instances web`, `deploy sudoku 1.1.0`.", "command"),
    key("?", "go('help')", "help", "All keys that work here, and all verbs.", "go.help"),
    key("e", "explain", "explain", "Why the row is not well; of one that is: expected beside actual.", "explain"),
    key("l", "logs", "log", "Log of the selection, as it comes.", "logs"),
    key("o", "sort", "sort", "Sort by the next column.", "sort"),
    key("O", "sort(True)", "turn", "Turn the sort direction around.", "sort.turn"),
    key("w", "wide", "wide", "All columns, scrolled by left and right; again: those that fit.", "wide"),
    go_key("g", "graph", "Who calls whom."),
    go_key("i", "instances", "All instances."),
    go_key("h", "hosts", "All hosts."),
    go_key("n", "naming", "Endpoints in the registry."),
    go_key("v", "revisions", "Revisions of what is expected."),
    go_key("a", "actions", "Actions, running and ended."),
    go_key("b", "artifacts", "Builds: versions in the store, their signatures, where they are."),
    go_key("B", "pushes", "The push that runs: pieces per host."),
    *everywhere.bindings(),
    key("q", "quit", "quit", "Leave; the cluster and its actions go on.", "quit"),
]
