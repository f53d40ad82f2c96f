"""The keys that work on the screen one came from, and all verbs: read from the bindings and the table."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding

from cockpit.act.table import VERBS
from cockpit.model.view import MARKS
from screens.aim import why_not
from screens.base import ClusterScreen
from screens.board import Changed
from screens.filled import SheetScreen
from screens.format import cells, fit, wrap
from screens.item import BLANK, Item, line, text
from screens.keys import NO_KEY, key_name
from screens.look import Look
from screens.places import PLACES

MEANINGS = {
    "ok": "as expected",
    "changing": "an action is at work here",
    "drift": "differs from what is expected",
    "failed": "ended or gave up",
    "unknown": "not heard: neither dead nor healthy",
    "absent": "not there, or stopped on purpose",
    "paused": "held until somebody lets it go on",
    "draining": "takes no new work",
}


def key_rows(
    bindings: list[tuple[str, Binding]], prefix: str, say: Callable[[str], str] = str
) -> list[tuple[str, str]]:
    """Keys and what they do, one row per binding."""
    rows: dict[str, tuple[list[str], str]] = {}
    for name, binding in bindings:
        id = binding.id or ""
        if id.startswith("verb.") != (prefix == "verb."):
            continue
        tip = f"{say(binding.description)}: {say(binding.tooltip)}" if prefix else say(binding.tooltip)
        rows.setdefault(id, ([], tip))[0].append(key_name(name))
    return [(", ".join(_run(names)), tip) for names, tip in rows.values()]


def _run(names: list[str]) -> list[str]:
    """`1 2 3 4` as `1-4`."""
    digits = [n for n in names if n.isdigit()]
    if len(digits) < 3:
        return names
    return [f"{digits[0]}-{digits[-1]}", *(n for n in names if not n.isdigit())]


def typed(example: str) -> str:
    """An example of the shell as it is typed behind `:`, where the name is asked for in a dialog."""
    return re.sub(r" --confirm \S+", "", example.removeprefix("cockpit "))


def marks_items(look: Look) -> list[Item]:
    return [
        line((f"   {look.glyph(m)} ", m), (fit(m, 11), m), (MEANINGS[m], "text")) for m in MARKS
    ]


class HelpScreen(SheetScreen):
    NAME = "help"
    HINTS: ClassVar[tuple[str, ...]] = ("filter", "move.pagedown", "command")
    LAST = ()

    def __init__(self, origin: object = None) -> None:
        super().__init__()
        self.origin = origin if isinstance(origin, ClusterScreen) else None
        self._wanted = ""

    def sync(self, changed: Changed) -> None:
        width = max(40, self.size.width)
        look, board, read_only = self.look, self.board, self.cockpit.read_only
        origin = self.origin or self
        live = [
            (name, binding) for name, found in origin.bound_now().items() for binding in found if name != NO_KEY
        ]
        items: list[Item] = [line((f" KEYS on {origin.NAME}", "strong"))]
        rows = key_rows(live, "verb.", look.words.say)
        if rows:
            items.append(text(" VERBS: each shows its plan first; nothing runs without it", "head"))
            for name, tip in rows:
                items += self._row(name, tip, width)
        items.append(text(" MOVING AND LOOKING", "head"))
        for name, tip in key_rows(live, "", look.words.say):
            items += self._row(name, tip, width)
        own = self.cockpit.line.own
        rows = [(key_name(k), line) for k, line in own.keys.items()] + [(w, own.about(w)) for w in own.words()]
        if rows:
            items += [BLANK, text(" YOURS, from shortcuts.toml: keys, and words for the line behind :", "head")]
        for name, tip in rows:
            items += self._row(name, tip, width)
        items.append(BLANK)
        items.append(text(" ALL VERBS, for the line behind :", "head"))
        for verb in VERBS.values():
            if verb.target == "topology":
                continue
            why = why_not(verb, origin.aim(), board, read_only) if read_only else ""
            items += self._row(typed(verb.example), verb.help, width, 34, "dull" if why else "key")
        if read_only:
            items.append(text(f"   Verbs that change something are off: {look.text(read_only)}", "drift"))
        items.append(BLANK)
        items.append(text(" SCREENS, for the line behind :", "head"))
        for name, (tip, _) in PLACES.items():
            items += self._row(name, tip, width)
        items.append(BLANK)
        items.append(text(" MARKS", "head"))
        items += marks_items(look)
        self.sheet.fill(self._kept(items))

    def _kept(self, items: list[Item]) -> list[Item]:
        """Headings, and the rows that hold what is looked for."""
        wanted = self._wanted.lower()
        if not wanted:
            return items
        out: list[Item] = []
        row: list[Item] = []
        for item in [*items, BLANK]:
            words = "".join(t for t, _ in item.pieces)
            if row and words.startswith("     "):  # goes on with the row before
                row.append(item)
                continue
            if wanted in " ".join("".join(t for t, _ in i.pieces) for i in row).lower():
                out += row
            row = [] if any(style in ("head", "strong") for _, style in item.pieces[:1]) else [item]
            if not row:
                if out and out[-1].pieces and out[-1].pieces[0][1] in ("head", "strong"):
                    out.pop()  # nothing stood below that heading
                out.append(item)
        if out and out[-1].pieces and out[-1].pieces[0][1] in ("head", "strong"):
            out.pop()
        return out or [text(f"   No key and no verb with {self._wanted!r}; Esc shows all.", "muted")]

    def set_filter(self, text: str) -> None:
        self._wanted = text
        self.sync(Changed(whole=True))
        self.sheet.scroll_top(0)

    def filter_text(self) -> str:
        return self._wanted

    def action_filter(self) -> None:
        self.begin_field("filter", self.filter_text())

    def _row(self, name: str, tip: str, width: int, column: int = 15, style: str = "key") -> list[Item]:
        parts = wrap(self.look.words.say(tip), max(20, width - column - 4), 3, self.look.sign("more"))
        head = fit(name, column) if cells(name) <= column else name + " "
        out = [line(("   " + head, style), (parts[0] if parts else "", "text"))]
        out += [text(" " * (column + 3) + part) for part in parts[1:]]
        return out
