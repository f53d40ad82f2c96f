"""One version: its record, who signed it, how it was built, what it would change, where it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType

from cockpit.model.changes import value
from cockpit.model.view import ArtifactDetail, ArtifactDiff
from cockpit.plan.steps import Bad, Refused
from screens.aim import ARTIFACT, HOST, Aim
from screens.board import ENDED, Board, Changed
from screens.filled import FactsScreen
from screens.format import cells, cut, date, fit, plural, since, size, wrap
from screens.item import BLANK, Item, line, text
from screens.keys import key, verb_keys
from screens.look import Look, Piece
from screens.rows import artifact_mark, quiet

AGAIN = 5.0
"""Seconds between two looks into the store while the screen is open."""
FEW = 6
"""Files of one kind that are listed before the rest is folded."""
FIELD = 10
"""Cells of the names of fields."""


def approve_command(id: str, role: str) -> str:
    """What gives a version the signature it lacks."""
    return f"cockpit artifact approve {id} --role {role} --key FILE"


def detail_items(detail: ArtifactDetail, board: Board, look: Look, width: int, opened: set[str]) -> list[Item]:
    out = _missing(detail, look, width)
    out += _record(detail, board, look, width)
    out += _signatures(detail, look, width)
    if detail.diff is not None:
        out += _diff(detail.diff, look, width, opened)
    else:
        out += [text(" WHAT IT WOULD CHANGE", "head"), text("   no other version of it is in the store", "muted")]
    out += _hosts(detail, board, look)
    out += _build(detail, look, width)
    return out


def _missing(detail: ArtifactDetail, look: Look, width: int) -> list[Item]:
    row = detail.row
    mark = "drift" if row.wanted else "paused"
    out: list[Item] = []
    for role in row.missing:
        words = ((f" {look.glyph(mark)} ", mark), (f"the role {role} has not signed it", mark),
                 (": it is not deployed without", "muted"))  # fmt: skip
        out.append(Item(words, f"missing {role}", True))
        command = approve_command(row.id, role)
        out += [text("     " + part, "strong") for part in wrap(look.text(command), max(20, width - 6), 3)]
    return out


def _field(name: str, words: str, look: Look, width: int, style: str = "text") -> list[Item]:
    parts = wrap(look.text(words), max(20, width - FIELD - 4), 4, look.sign("more")) or [""]
    out = [Item((("   " + fit(name, FIELD), "muted"), (parts[0], style)), f"field {name}", True)]
    return out + [line((" " * (FIELD + 3), "muted"), (part, style)) for part in parts[1:]]


def _record(detail: ArtifactDetail, board: Board, look: Look, width: int) -> list[Item]:
    row = detail.row
    out = [text(" RECORD", "head")]
    packed = f", {size(row.packed)} packed" if row.packed else ""
    out += _field("size", f"{size(row.size)} in {plural(row.files, 'file')}{packed}", look, width)
    out += _field("kind", f"{row.kind}, platform {row.platform}", look, width)
    out += _field("sha256", row.sha256 or "not known", look, width)
    if detail.md5:
        out += _field("md5", f"{detail.md5}, of the list that cockpit artifact md5 {row.id} prints", look, width)
    if row.added:
        out += _field("added", f"{date(row.added)}, {since(row.added, board.now)} ago", look, width)
    services = ", ".join(board.short(s) for s in row.services)
    if services:
        out += _field("for", services + (", wanted now" if row.wanted else ", not wanted now"), look, width)
    return out


def _signatures(detail: ArtifactDetail, look: Look, width: int) -> list[Item]:
    out = [text(" SIGNATURES", "head")]
    if not detail.signatures:
        out.append(text("   none", "muted"))
    for number, each in enumerate(detail.signatures):
        verdict = str(each.get("verdict", ""))
        mark = "ok" if verdict == "valid" else "failed"
        when = each.get("time")
        role, by = look.text(str(each.get("role", ""))), look.text(str(each.get("by") or "nobody named"))
        by += f", {date(when)}" if isinstance(when, int | float) else ""
        head: list[Piece] = [
            (f"   {look.glyph(mark)} ", mark), (fit(role, max(FIELD, cells(role) + 1)), "text"),
            (verdict if mark == "ok" else "not valid", mark), (f"   by {by}", "muted"),
        ]  # fmt: skip
        key = look.text(str(each.get("key", "")))
        used = sum(cells(t) for t, _ in head)
        if used + 3 + cells(key) <= width:
            head.append(("   " + key, "muted"))
            key = ""
        out.append(Item(tuple(head), f"signed {role} {number}", True))
        if mark != "ok":
            out += [text("     " + part, mark) for part in wrap(look.text(verdict), max(20, width - 6), 3)]
        if key:
            out.append(text(f"     {cut(key, width - 6, look.sign('more'))}", "muted"))
    return out


def _diff(diff: ArtifactDiff, look: Look, width: int, opened: set[str]) -> list[Item]:
    against = f"compared with {diff.base}" if diff.base else "on a host that has no other version"
    out = [line((" WHAT IT WOULD CHANGE", "head"), (f"   {against}", "muted"))]
    part = f" ({diff.to_move / diff.size:.1%} of it)" if diff.size and diff.to_move else ""
    moves = f"{size(diff.to_move)} to move in {plural(diff.pieces, 'piece')}{part}"
    if not diff.to_move:
        moves = "nothing to move"
    if diff.patch is not None:
        moves += f"; as a patch {size(diff.patch)}"
    out.append(line(("   ", "text"), (moves, "strong")))
    if not (diff.added or diff.removed or diff.changed):
        out.append(text("   the files are the same", "muted"))
    kinds = (("~", "changed", diff.changed), ("+", "added", diff.added), ("-", "removed", diff.removed))
    for sign, word, files in kinds:
        if not files:
            continue
        out.append(text(f"   {len(files)} {word}", "muted"))
        whole = f"diff {word}" in opened
        for name in files if whole else files[:FEW]:
            out.append(line((f"     {sign} ", "muted"), (cut(look.text(name), width - 8, look.sign("more")), "text")))
        if len(files) > FEW:
            label = look.sign("open") + " fewer" if whole else f"{look.sign('closed')} {len(files) - FEW} more"
            out.append(Item(((f"     {label}", "muted"),), f"diff {word}", True))
    return out


def _hosts(detail: ArtifactDetail, board: Board, look: Look) -> list[Item]:
    count = len(detail.hosts)
    have = f"{plural(count, 'host')} {'has' if count == 1 else 'have'} it" if count else "none has it"
    out = [line((" HOSTS", "head"), (f"   {have}", "muted"))]
    for name in detail.hosts:
        host = board.hosts.get(name)
        mark = host.mark if host is not None else "absent"
        region = f"   {host.region}   {host.presence}" if host is not None else "   not declared any more"
        out.append(Item((
            (f"   {look.glyph(mark)} ", mark), (fit(name, max(FIELD, cells(name))), quiet(mark)), (region, "muted"),
        ), f"host {name}", True, ("hosts", name), Aim(HOST, (name,))))  # fmt: skip
    return out


def _build(detail: ArtifactDetail, look: Look, width: int) -> list[Item]:
    out = [text(" BUILD", "head")]
    if not detail.build:
        return [*out, text("   added as it is: there is no build record", "muted")]
    for name, content in detail.build.items():
        out += _field(cut(look.text(name), FIELD - 1), value(content), look, width)
    return out


class ArtifactScreen(FactsScreen):
    """`base` is the version it is compared with; the one that most hosts have when it is empty."""

    NAME = "artifact"
    VERB_NAMES = ("push",)
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_keys("push"),
        key("c", "compare", "compare with", "Compare with the next other version in the store.", "artifact.compare"),
    ]
    HINTS = ("verb.push", "artifact.compare", "open", "go.pushes", "command")

    def __init__(self, id: str, base: str = "") -> None:
        super().__init__()
        self.artifact_id = id
        self.base = base.rpartition("/")[2]
        self.detail: ArtifactDetail | None = None
        self._opened: set[str] = set()
        self._asked = 0.0
        self._gone = ""

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.artifact_id, self.base) if self.base else (self.NAME, self.artifact_id)

    def sync(self, changed: Changed) -> None:
        ended = any((row := self.board.actions.get(id)) is not None and row.state in ENDED for id in changed.actions)
        if changed.whole or ended:
            self._look_again()
        self.fill()

    def tick(self) -> None:
        if time.monotonic() - self._asked > AGAIN and self.board.lost is None:
            self._look_again()
        self.fill()
        super().tick()

    def _look_again(self) -> None:
        self._asked = time.monotonic()
        self.run_worker(self._fetch(), name="artifact", exclusive=True)

    async def _fetch(self) -> None:
        try:
            with self.waiting(f"looking up {self.artifact_id}"):
                self.detail = await self.session.artifact(self.artifact_id, self.base)
            self._gone = ""
        except (Bad, Refused) as error:
            self._gone = str(error)
        except ConnectionError:
            return  # the top line says that nobody answers
        if self.is_attached:
            self.fill()
            self.show_bottom()

    def fill(self) -> None:
        width = self.size.width
        if not width or not self.facts.is_mounted:
            return
        self.facts.show([self._facts()])
        if self._gone:
            why = wrap(self.look.text(self._gone), width - 2, 4)
            self.sheet.fill([BLANK, *(text(" " + part, "failed") for part in why)])
        elif self.detail is not None:
            self.sheet.fill(detail_items(self.detail, self.board, self.look, width, self._opened))

    def _facts(self) -> list[Piece]:
        out: list[Piece] = [(f" ARTIFACT {self.look.text(self.artifact_id)}", "strong")]
        if self.detail is None:
            return out if self._gone else [*out, (f"   asking{self.look.sign('more')}", "changing")]
        row = self.detail.row
        mark = artifact_mark(row)
        words = f"{plural(len(row.missing), 'signature')} missing" if row.missing else ""
        if words:
            out.append((f"   {self.look.glyph('drift')} {words}", mark if mark != "ok" else "muted"))
        elif row.signed:
            out.append((f"   signed by {', '.join(row.signed)}", "muted"))
        out.append(("   wanted" if row.wanted else "   not wanted now", "text" if row.wanted else "muted"))
        out.append((f"   on {plural(row.hosts, 'host')}", "muted"))
        return out

    # what keys mean here

    def aim(self) -> Aim:
        return Aim(ARTIFACT, (self.artifact_id,))

    def door(self) -> Sequence[str]:
        item = self.sheet.current
        return item.door if item else ()

    async def action_open(self) -> None:
        item = self.sheet.current
        if item is not None and item.key.startswith("diff "):
            self._opened ^= {item.key}
            self.fill()
        else:
            await super().action_open()

    async def action_compare(self) -> None:
        rows = await self.ask("looking into the store", self.session.artifact_rows())
        if rows is None:
            return
        name, _, version = self.artifact_id.rpartition("/")
        others = [r.version for r in sorted(rows, key=lambda r: -r.added) if r.name == name and r.version != version]
        if not others:
            self.say(f"{name} has no other version in the store.", "paused")
            return
        shown = self.detail.diff.base if self.detail is not None and self.detail.diff is not None else ""
        self.base = others[(others.index(shown) + 1) % len(others)] if shown in others else others[0]
        self._opened.clear()
        self._look_again()
        self.say(f"Compared with {self.base}.", "ok")

    async def action_explain(self) -> None:
        self.say("This is all that is known of it.", "paused")

    def hint_label(self, id: str, label: str) -> str:
        return "the push" if id == "go.pushes" else label
