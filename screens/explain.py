"""Why something is not as it should be: root causes first, each line a door, with the verbs that may help."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.explain.asked import explain as explain_rows
from cockpit.explain.wrong import BAD
from cockpit.model.view import OK
from cockpit.model.why_rows import BECAUSE, Evidence, Finding, Findings
from cockpit.model.why_rows import explain as ask
from cockpit.plan.steps import Bad, Refused
from screens.aim import ACTION, HOST, INSTANCE, NODE, NOTHING, Aim
from screens.base import ClusterScreen
from screens.board import ENDED, Board, Changed
from screens.filled import FactsScreen
from screens.format import fit, plural, since, when, wrap
from screens.item import BLANK, Item, text
from screens.keys import verb_keys
from screens.look import Look, Piece
from screens.overview import VERB_NAMES
from screens.rows import lately_unwell, quiet
from screens.sentences import key_for
from screens.summary import facts_of
from screens.widgets.bars import Hint

AGAIN = 5.0
"""Seconds between two questions while nothing changes: log lines come without a change of the board."""
SOON = 0.5
"""Seconds between two at least."""
LABEL = 10
WHICH = 12
"""Names that are written out."""
TABLES = ("instances", "hosts", "relays", "actions", "drift")


def kind_of(board: Board, name: str) -> str:
    """What a name is on the board; empty when nothing there has it."""
    if not name:
        return "cluster"
    if name.startswith("#"):
        return "action" if name in board.actions else ""
    for table, kind in ((board.hosts, "host"), (board.relays, "relay"), (board.instances, "instance")):
        if name in table:
            return kind
    node = board.nodes.get(name)
    return "" if node is None else "service" if node.kind == "service" else "group"


def unwell(board: Board, kind: str, name: str) -> bool:
    """Is there something to explain about it?"""
    tables: dict[str, Mapping[str, Any]] = {
        "instance": board.instances, "node": board.nodes, "service": board.nodes, "group": board.nodes,
        "host": board.hosts, "relay": board.relays,
    }  # fmt: skip
    row = tables.get(kind, {}).get(name)
    if kind == "action":
        action = board.actions.get(name)
        return action is not None and action.state not in ("done", "running", "returning")
    if row is None:
        return kind in ("region", "cluster")
    return row.mark in BAD or bool(kind == "host" and (row.trouble or name in board.wrong.silent))


def aim_of(kind: str, ids: tuple[str, ...]) -> Aim:
    kinds = {"instance": INSTANCE, "service": NODE, "group": NODE, "node": NODE, "host": HOST, "action": ACTION}
    return Aim(kinds[kind], ids) if kind in kinds and ids else NOTHING


def finding_aim(found: Finding) -> Aim:
    """What a verb acts on when the cursor is on a finding."""
    return aim_of(found.kind, (found.name,))


def findings_items(
    answer: Findings, board: Board, look: Look, width: int, read_only: str = "",
    keys: Callable[[str], str | None] = lambda id: key_for(id, {}),
) -> list[Item]:
    """`keys`: id of a binding -> the key it has now."""
    out: list[Item] = []
    roots = [f for f in answer.findings if f.root]
    for found in answer.findings:
        if found is answer.findings[0]:
            one = "ROOT CAUSE" if len(roots) == 1 else f"{len(roots)} ROOT CAUSES"
            out.append(text(f" {one}" if found.causes == () else " WHY", "head"))
        elif not found.root and found is next(f for f in answer.findings if not f.root):
            out.append(text(" WHAT COMES OF IT", "head"))
        out += _finding(found, board, look, width, read_only, keys)
        out.append(BLANK)
    if answer.left_out:
        out.append(text(f" and {answer.left_out} more", "muted"))
    if answer.unknown:
        out.append(text(" NOT KNOWN", "head"))
        for words in answer.unknown:
            out += [text("   " + part, "unknown") for part in wrap(look.text(words), width - 4, 2)]
    return out


def _finding(
    found: Finding, board: Board, look: Look, width: int, read_only: str, keys: Callable[[str], str | None]
) -> list[Item]:
    aim, key, more = finding_aim(found), found.key, look.sign("more")
    old = since(found.since, board.now)
    what = wrap(look.text(found.what), max(20, width - 12), 3, more)
    out = [Item((
        (f" {look.glyph(found.mark)} ", found.mark), (what[0], "strong"), (f"  {old}" if old else "", found.mark),
    ), key, True, found.door, aim)]  # fmt: skip
    out += [Item((("   " + part, "strong"),), key) for part in what[1:]]

    def fact(label: str, words: str, id: str, style: str, door: Sequence[str], to: Aim = aim, at: str = "") -> None:
        parts = wrap(look.text(words), max(20, width - LABEL - 6 - len(at)), 4, more) or [""]
        first: tuple[Piece, ...] = ((f"     {fit(label, LABEL)}", "muted"), (at, "muted"), (parts[0], style))
        out.append(Item(first, f"{key} {id}", bool(door) or bool(to), tuple(door), to))
        pad = " " * (5 + LABEL + len(at))
        out.extend(Item(((pad + part, style),), f"{key} {id}") for part in parts[1:])

    if found.count > 1 and found.objects:
        names = ", ".join(board.short(o) for o in found.objects[:WHICH])
        rest = f" and {found.count - min(WHICH, len(found.objects))} more" if found.count > WHICH else ""
        fact("which", names + rest, "which", "text", found.door)
    for words, id, door in _hanging(found):
        fact("hangs", words, id, found.mark, door)
    for n, cause in enumerate(found.causes):
        sure = cause.how == BECAUSE
        words = cause.text if sure else f"because {cause.text}"
        fact("because" if sure else "perhaps", words, f"cause {n}", "strong", ("cause", cause.finding))
    for n, proof in enumerate(found.evidence):
        at = f"{moment(proof.at, board.now)} " if proof.at is not None else ""
        fact(proof.kind, proof.text, f"fact {n}", _style(proof), proof.door, at=at)
    for n, suspect in enumerate(found.suspects):
        to = Aim(ACTION, (suspect.door[1],)) if suspect.door[:1] == ("action",) else aim
        fact("suspect", suspect.text, f"suspect {n}", "changing", suspect.door, to)
    if not read_only:
        for n, remedy in enumerate(r for r in found.remedies if r.verb):
            to = aim_of(remedy.kind, remedy.targets)
            names = " ".join(board.short(t) for t in remedy.targets[:3])
            pressed = keys(f"verb.{remedy.verb}") or ""
            verb = pressed if pressed == f":{remedy.verb}" else f"{pressed} {remedy.verb}".lstrip()
            words = f"{verb} {names}" + (f": {remedy.text}" if remedy.text != remedy.verb else "")
            fact("try", words, f"try {n}", "key", ("verb", remedy.verb), to)
    for n, remedy in enumerate(r for r in found.remedies if not r.verb):
        fact("look", remedy.text, f"look {n}", "text", remedy.door)
    return out


def moment(at: float, now: float) -> str:
    """The time of day, with the day where that is another one."""
    return when(at, now, 11)


def _lately(answer: Findings, look: Look, width: int) -> list[Item]:
    """What happened to something that is well again."""
    out = [BLANK, text(" WITHIN THE LAST DAY", "head")] if answer.lately else []
    for number, each in enumerate(answer.lately):
        at = f"   {when(each.at, answer.now, 11):<11}  "
        parts = wrap(look.text(each.text), max(20, width - len(at) - 4), 3, look.sign("more")) or [""]
        first = ((at, "muted"), (f"{look.glyph(each.mark)} ", each.mark), (parts[0], quiet(each.mark)))
        out.append(Item(first, f"lately {number}", bool(each.door), each.door))
        out += [Item(((" " * (len(at) + 2) + part, "text"),), f"lately {number}") for part in parts[1:]]
    return out


def _style(proof: Evidence) -> str:
    return quiet(proof.mark) if proof.kind != "log" else "text"


def _hanging(found: Finding) -> list[tuple[str, str, tuple[str, ...]]]:
    parts: list[tuple[str, str, tuple[str, ...]]] = []
    if found.hosts:
        parts.append((f"{plural(found.hosts, 'host')} not heard because of it", "hosts", ("hosts",)))
    if found.silent:
        door = ("instances", found.name) if found.kind == "host" else ("instances",)
        parts.append((f"{plural(found.silent, 'instance')} of which nothing is known", "silent", door))
    if found.perhaps:
        words = f"{plural(found.perhaps, 'instance')} unwell, perhaps because of it"
        parts.append((words, "perhaps", ("instances",)))
    return parts


class ExplainScreen(FactsScreen):
    """`name` is an instance, a node of the tree, a host, a relay or an action; nothing: the whole cluster."""

    NAME = "explain"
    VERB_NAMES = (*VERB_NAMES, "resume", "abort", "pause")
    BINDINGS: ClassVar[list[BindingType]] = verb_keys(*VERB_NAMES)
    HINTS = ("open", "logs", "verb.restart", "verb.migrate", "verb.rollback", "verb.converge", "command")

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.object = name
        self.answer: Findings | None = None
        self._asked = 0.0
        self._stale = True
        self._alone = ""
        """Why the answer is made of the board only."""

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.object) if self.object else (self.NAME,)

    # what is known

    def sync(self, changed: Changed) -> None:
        if self.answer is None:
            self._from_board()
        if changed.whole or any(getattr(changed, table) for table in TABLES):
            self._stale = True
        self._look()
        self.fill()

    def tick(self) -> None:
        self._look()
        self.fill()
        super().tick()

    def _from_board(self) -> None:
        """At once, and when nobody answers: the same engine on what the screens know."""
        kind = kind_of(self.board, self.object)
        if kind and self.board.head is not None:
            self.answer = explain_rows(facts_of(self.board), kind, self.object)

    def _look(self) -> None:
        quiet_for = time.monotonic() - self._asked
        if quiet_for > (SOON if self._stale else AGAIN):
            self._asked, self._stale = time.monotonic(), False
            self.run_worker(self._fetch(), name="explain", exclusive=True)

    async def _fetch(self) -> None:
        try:
            with self.waiting("asking for log lines"):
                self.answer = await ask(self.session, self.object)
            self._alone = ""
        except (Bad, Refused, ConnectionError) as error:
            self._alone = str(error) or "the controller does not answer"
            self._from_board()
        if self.is_attached:
            self.fill()

    # what is shown

    def fill(self) -> None:
        width = self.size.width
        if not width or not self.facts.is_mounted:
            return
        self.facts.show([self._title()])
        answer, look = self.answer, self.look
        if answer is None:
            words = self._alone or f"asking{look.sign('more')}"
            self.sheet.fill([text(f" {look.text(words)}", "failed" if self._alone else "changing")])
            return
        items = findings_items(
            answer, self.board, look, width, self.cockpit.read_only,
            lambda id: key_for(id, self.cockpit.own_keys, self.keys_of),
        )
        if not answer.findings:
            door = self._calm_door()
            first, *more = wrap(look.text(answer.calm), max(20, width - 4), 5, look.sign("more"))
            calm = ((f" {look.glyph(OK)} ", OK), (first, "text"))
            told = [Item((("   " + part, "text"),), "calm") for part in more]
            items = [Item(calm, "calm", True, door), *told, *_lately(answer, look, width), *items]
        if self._alone:
            items.append(text(f" from the board only: {look.text(self._alone)}", "muted"))
        self.sheet.fill(items)

    def _calm_door(self) -> tuple[str, ...]:
        kind = kind_of(self.board, self.object)
        return {
            "instance": ("node", self.object), "host": ("host", self.object), "action": ("action", self.object),
            "relay": ("relays",), "cluster": ("instances",),
        }.get(kind, ("instances", self.object))

    def _title(self) -> list[Piece]:
        name = self.board.short(self.object) if self.object else "the cluster"
        out: list[Piece] = [(" WHY ", "head"), (self.look.text(name), "strong")]
        if self.answer is None:
            return out
        count = len(self.answer.findings)
        if count:
            out.append((f"   {plural(count, 'finding')}, root causes first", "muted"))
        return out

    # what keys mean

    def subject(self) -> Aim:
        kind = kind_of(self.board, self.object)
        return aim_of(kind, (self.object,)) if kind else NOTHING

    def aim(self) -> Aim:
        item = self.sheet.current
        if item is not None and item.aim:
            return item.aim
        kind = kind_of(self.board, self.object)
        return aim_of(kind, (self.object,)) if kind else NOTHING

    def door(self) -> Sequence[str]:
        item = self.sheet.current
        return item.door if item else ()

    async def action_open(self) -> None:
        words = self.door()
        if words[:1] == ("verb",):
            await self.action_verb(words[1])
        elif words[:1] == ("cause",):
            here = next((n for n, i in enumerate(self.sheet.items) if i.key == words[1] and i.pick), None)
            if here is not None:
                self.sheet.go(here)
        else:
            await super().action_open()

    async def action_explain(self) -> None:
        """Deeper: what the line under the cursor speaks of, when that is something else."""
        aim = self.aim()
        if len(aim.ids) == 1 and aim.ids[0] != self.object:
            await self.cockpit.goto(("explain", aim.ids[0]))
        else:
            self.say("This is the explanation; <open> opens what a line speaks of.", "paused")

    def hints(self) -> list[Hint]:
        """What may help with the finding under the cursor stands first."""
        item = self.sheet.current
        found = None
        if item is not None and self.answer is not None:
            found = next((f for f in self.answer.findings if item.key.startswith(f.key)), None)
        offered = [f"verb.{r.verb}" for r in found.remedies if r.verb] if found is not None else []
        if found is None:
            return super().hints()
        return self._hints((*offered, *(i for i in self.HINTS if not i.startswith("verb."))))


async def begin(screen: ClusterScreen) -> None:
    """`e`: why the thing under the cursor is as it is; what is well is shown expected beside actual."""
    aim = screen.aim()
    if not aim:
        item = getattr(screen.pane, "current", None)
        door = getattr(item, "door", ())
        if door[:1] in (("relays",), ("explain",)) or not item:
            await screen.cockpit.goto(("explain",))
        else:
            screen.say("There is nothing under the cursor to explain.")
        return
    name, board = aim.ids[0], screen.board
    if aim.kind == "region":
        await screen.cockpit.goto(("explain",))
    elif unwell(board, aim.kind, name) or (aim.kind == INSTANCE and lately_unwell(board, name)):
        await screen.cockpit.goto(("explain", name))
    else:
        places = {INSTANCE: ("node", name), NODE: ("instances", name), HOST: ("host", name), ACTION: ("action", name)}
        if aim.kind in places:
            await screen.cockpit.goto(places[aim.kind])
        elif not await _opened(screen):
            return
        running = aim.kind == ACTION and name in board.actions and board.actions[name].state not in ENDED
        if not running:
            screen.cockpit.tell(f"{board.short(name)}: nothing to explain, it is as expected", "ok")


async def _opened(screen: ClusterScreen) -> bool:
    words = screen.door()
    if not words:
        screen.say("There is nothing under the cursor to explain.")
    else:
        await screen.cockpit.goto(words)
    return bool(words)

