"""What differs between two revisions, in words and path by path; and one instance as it was expected to be then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from textual.binding import BindingType

from cockpit.model.changes import value
from cockpit.model.patch import dotted
from cockpit.model.view import Change
from screens.aim import INSTANCE, NODE, NOTHING, Aim
from screens.board import Board, Changed
from screens.filled import FilledScreen
from screens.format import cells, cut, fit, plural, wrap
from screens.item import BLANK, Item, line, text
from screens.keys import key
from screens.look import Look

PATHS = 500


def number(word: str) -> int:
    """Of `41`, `rev 41`; 0 (the head) of `now` and of nothing. Raises ValueError."""
    return 0 if word in ("", "now", "head") else int(word.removeprefix("rev").strip())


def subject(path: Sequence[str], board: Board) -> tuple[tuple[str, ...], Aim]:
    """Door and aim of what a path speaks of, when it is still there."""
    table, name = path[0], path[1] if len(path) > 1 else ""
    if table == "services" and name in board.nodes:
        return ("instances", name), Aim(NODE, (name,))
    if table in ("placement", "stopped") and name in board.instances:
        return ("node", name), Aim(INSTANCE, (name,))
    if table in ("hosts", "modes") and name in board.hosts:
        return ("host", name), NOTHING
    return (), NOTHING


def compare_items(answer: dict[str, Any], board: Board, look: Look, width: int) -> list[Item]:
    more, to = look.sign("more"), look.sign("to")
    words = [look.text(str(s), 20_000) for s in answer["sentences"]]
    out = [text(" WHAT DIFFERS", "head")]
    if not words:
        out.append(text("   nothing: both expect the same", "muted"))
    for n, sentence in enumerate(words):
        parts = wrap(sentence.replace("→", to), max(20, width - 6), 8, more)
        out.append(Item((("   " + parts[0], "text"),), f"words {n}", True))
        out += [Item((("     " + part, "text"),), f"words {n}") for part in parts[1:]]
    changes = msgspec.convert(answer["changes"], list[Change])
    if changes:
        out += [BLANK, text(" PATH BY PATH", "head")]
    for change in changes[:PATHS]:
        door, aim = subject(change.path, board)
        old = "absent" if change.old is None else value(change.old)
        new = "absent" if change.new is None else value(change.new)
        path = look.text(dotted(change.path))
        room = max(10, width - 4)
        whole = f"{path}   {look.text(old)} {to} {look.text(new)}"
        if cells(whole) <= room:
            pieces = (("   " + path, "muted"), (f"   {look.text(old)} {to} ", "muted"), (look.text(new), "text"))
            out.append(Item(pieces, dotted(change.path), True, door, aim))
            continue
        out.append(Item((("   " + cut(path, room, more), "muted"),), dotted(change.path), True, door, aim))
        for sign, words_of, style in (("-", old, "muted"), ("+", new, "text")):
            for part in wrap(look.text(words_of, 20_000), max(20, width - 9), 6, more):
                out.append(line((f"     {sign} ", "muted"), (part, style)))
                sign = " "
    left = int(answer.get("left_out", 0)) + max(0, len(changes) - PATHS)
    if left:
        out.append(text(f"   and {plural(left, 'more path')}", "muted"))
    return out


class CompareScreen(FilledScreen):
    """Two revisions; `now` is the head."""

    NAME = "compare"
    HINTS = ("open", "compare.turn", "command")
    BINDINGS: ClassVar[list[BindingType]] = [
        key("=", "turn", "turn", "The other way round: what would undo it.", "compare.turn"),
    ]

    def __init__(self, first: str, last: str = "now") -> None:
        super().__init__()
        self.first, self.last = first, last
        self.answer: dict[str, Any] | None = None
        self._head = -1
        self._why = ""

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.first, self.last)

    def sync(self, changed: Changed) -> None:
        head = self.board.head.revision if self.board.head else 0
        if head != self._head and (self._head < 0 or 0 in (number_or(self.first), number_or(self.last))):
            self._ask()
        self._head = head
        self.fill()

    def _ask(self) -> None:
        self.run_worker(self._fetch(), name="compare", exclusive=True)

    async def _fetch(self) -> None:
        try:
            args = {"from": number(self.first), "to": number(self.last)}
        except ValueError:
            self._why = f"compare takes numbers of revisions, or now: not {self.first} {self.last}"
            self.fill()
            return
        found = await self.ask("comparing the revisions", self.session.call("revision_diff", args))
        if found is not None:
            self.answer = found
        elif self.answer is None:
            self._why = "there was no answer"
        if self.is_attached:
            self.fill()

    def fill(self) -> None:
        width = self.size.width
        if not width or not self.sheet.is_mounted:
            return
        if self.answer is None:
            waiting = self._why or f"asking{self.look.sign('more')}"
            self.sheet.fill([text(f" {waiting}", "failed" if self._why else "changing")])
            return
        head = self.board.head.revision if self.board.head else 0
        first, last = self.answer["from"], self.answer["to"]
        now = " (now)" if last == head else ""
        title = line((f" FROM REV {first}{' (now)' if first == head else ''} TO REV {last}{now}", "strong"))
        self.sheet.fill([title, *compare_items(self.answer, self.board, self.look, width)])

    def action_turn(self) -> None:
        self.first, self.last = self.last, self.first
        self._ask()

    def aim(self) -> Aim:
        item = self.sheet.current
        return item.aim if item else NOTHING

    def door(self) -> Sequence[str]:
        item = self.sheet.current
        return item.door if item else ()


def number_or(word: str) -> int:
    try:
        return number(word)
    except ValueError:
        return -1


def fields(then: dict[str, Any]) -> dict[str, str]:
    """What was expected of an instance, field by field, in words."""
    service = then.get("service")
    if service is None:
        return {}
    out = {"host": str(then["host"]), "state": "SHUTDOWN" if then.get("stopped") else "RUNNING"}
    for name in ("version", "artifact"):
        if service.get(name):
            out[name] = str(service[name])
    for process, argv in (service.get("processes") or {}).items():
        out["command" if process == "main" else f"command {process}"] = " ".join(map(str, argv))
    for name, thing in service.items():
        if name not in ("version", "artifact", "processes"):
            out[name] = value(thing)
    return out


class ThenScreen(FilledScreen):
    """One instance as it was expected to be at a revision, beside what is expected now."""

    NAME = "then"
    HINTS = ("side.left", "side.right", "open", "command")

    def __init__(self, id: str, revision: str = "") -> None:
        super().__init__()
        self.instance = id
        self.at = number_or(revision)
        self.then: dict[str, Any] | None = None
        self.now: dict[str, Any] | None = None

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.instance, str(self.at))

    def sync(self, changed: Changed) -> None:
        head = self.board.head.revision if self.board.head else 0
        if self.at <= 0 and head:
            self.at = max(1, head - 1)
        if self.then is None and head:
            self._ask()
        self.fill()

    def _ask(self) -> None:
        self.run_worker(self._fetch(), name="then", exclusive=True)

    async def _fetch(self) -> None:
        for attribute, revision in (("then", self.at), ("now", 0)):
            args = {"instance": self.instance, "revision": revision}
            found = await self.ask("asking for the revision", self.session.call("instance_at", args))
            if found is None:
                return
            setattr(self, attribute, found)
        if self.is_attached:
            self.fill()

    def fill(self) -> None:
        width, look = self.size.width, self.look
        if not width or not self.sheet.is_mounted:
            return
        name = look.text(self.board.short(self.instance))
        if self.then is None or self.now is None:
            self.sheet.fill([text(f" {name} asking{look.sign('more')}", "changing")])
            return
        then, now = fields(self.then), fields(self.now)
        half = max(20, (width - 18) // 2)
        out = [
            line((f" {name}", "strong"), ("   as it was expected, beside what is expected now", "muted")),
            line((" " * 16, "head"), (fit(f"REV {self.then['revision']}", half), "head"),
                 (f"NOW (REV {self.now['revision']})", "head")),
        ]  # fmt: skip
        if not then:
            out.append(text(f"   it was not expected at rev {self.then['revision']}", "muted"))
        for field in dict.fromkeys((*then, *now)):
            old, new = look.text(then.get(field, "-")), look.text(now.get(field, "-"))
            same = old == new
            mark = " " if same else look.glyph("changing")
            out.append(Item((
                (f" {mark} ", "changing"), (fit(field, 13, look.sign("more")), "muted"),
                (fit(old, half - 2, look.sign("more")) + "  ", "muted" if same else "text"),
                (cut(new, half, look.sign("more")), "muted" if same else "changing"),
            ), f"field {field}", True, ("compare", str(self.then["revision"]), "now"),
                Aim(INSTANCE, (self.instance,))))  # fmt: skip
        self.sheet.fill(out)

    def action_side(self, way: int) -> None:
        """The revision before, or after."""
        head = self.board.head.revision if self.board.head else 0
        at = max(1, min(head, self.at + way))
        if at == self.at:
            self.say(f"rev {at} is the {'first' if way < 0 else 'newest'}", "paused")
            return
        self.at = at
        self._ask()

    def hint_label(self, id: str, label: str) -> str:
        return {"side.left": "revision before", "side.right": "after"}.get(id, label)

    def aim(self) -> Aim:
        return Aim(INSTANCE, (self.instance,)) if self.instance in self.board.instances else NOTHING

    def door(self) -> Sequence[str]:
        item = self.sheet.current
        return item.door if item else ()
