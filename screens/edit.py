"""`E`: what is expected of the row under the cursor, or of what the screen is about, in the operator's own editor;
then its plan."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from textual.app import SuspendNotSupported

from cockpit.editing import piece as kinds
from cockpit.editing.edit import EMPTY, SAME, WRONG, Clashes, Edit
from cockpit.editing.editor import Draft, editor, keeping_place
from cockpit.plan.steps import Bad, Refused
from screens.aim import HOST, INSTANCE, NODE, Aim
from screens.plan import PlanScreen

if TYPE_CHECKING:
    from screens.base import ClusterScreen

KINDS = {NODE: kinds.NODE, INSTANCE: kinds.NODE, HOST: kinds.HOST, "relay": kinds.RELAY, "region": kinds.REGION}
"""Kind of aim -> kind of piece."""
NOWHERE = (
    "<edit> edits a service, a group, a host or a relay; put the cursor on one. `cockpit edit NAME` knows the rest."
)


async def begin(screen: ClusterScreen) -> None:
    """From the key to the plan of the edit; every way out says what became of the text."""
    app = screen.cockpit
    if isinstance(screen, EditPlanScreen):
        await screen.again()
        return
    if app.read_only:
        screen.say(f"edit is off: {app.read_only}")
        return
    aim = one(screen)
    if aim.kind not in KINDS:
        screen.say(NOWHERE, "paused")
        return
    if len(aim.ids) > 1:
        screen.say(f"<edit> edits one thing; {len(aim.ids)} are marked. <back> takes the marks away.", "paused")
        return
    try:
        argv = editor(os.environ)
    except Bad as error:
        screen.say(str(error), "failed")
        return
    head = await screen.ask("asking for what is expected", screen.session.call("source"))
    if head is None:
        return
    try:
        edit = Edit(str(head["text"]), int(head["revision"]), aim.ids[0], KINDS[aim.kind])
    except Bad as error:
        screen.say(str(error), "failed")
        return
    if edited(screen, argv, edit):
        await app.push_screen(EditPlanScreen(edit))


def one(screen: ClusterScreen) -> Aim:
    """What is meant: on a card its subject; on a list the row, and the subject where the row is of no such kind.

    Instances of one service are one thing: their service is what is written down.
    """
    aim, subject = screen.aim(), screen.subject()
    if subject.kind in KINDS and (screen.CARD or aim.kind not in KINDS):
        return subject
    services = dict.fromkeys(id.rpartition("/")[0] for id in aim.ids) if aim.kind == INSTANCE else {}
    return Aim(NODE, tuple(services)) if len(services) == 1 and len(aim.ids) > 1 else aim


def show(screen: ClusterScreen, draft: Draft, argv: list[str], text: str) -> str:
    """The editor on the whole terminal, and its result. Raises Refused where there is no terminal for it."""
    try:
        with screen.app.suspend():
            return draft.open(argv, text)
    except SuspendNotSupported:
        raise Refused(
            "an editor needs a terminal of its own, and this screen has none (a browser, or a recording): "
            "use `cockpit edit` in a shell"
        ) from None


def edited(screen: ClusterScreen, argv: list[str], edit: Edit) -> bool:
    """True: the text holds, `edit.intent()` is ready. Else the screen says why, and where the text is."""
    draft = Draft(edit.title)
    try:
        while True:
            word = edit.take(show(screen, draft, argv, edit.written()))
            if word == WRONG:
                continue
            if word not in (SAME, EMPTY):
                return True
            if edit.notes:
                screen.say(f"{edit.title} was left as it is. {keep(edit)}", "drift")
            else:
                screen.say(f"{edit.title}: nothing was changed.", "ok")
            return False
    except Refused as error:
        typed = edit.text != edit.piece.text
        screen.say(f"{error}. {keep(edit) if typed else ''}".strip(), "failed")
        return False
    finally:
        draft.close()


def keep(edit: Edit) -> str:
    """The text into a file that stays; a sentence that names it."""
    draft = Draft(edit.title)
    try:
        return f"What you typed is kept in {draft.keep(edit.text, keeping_place(os.environ))}"
    except OSError as error:
        return f"What you typed could not be kept: {error}"
    finally:
        draft.close()


class EditPlanScreen(PlanScreen):
    """The plan of an edit; `E` goes back into the editor, on the head as it is then."""

    NAME = "edit"
    HINTS: ClassVar[tuple[str, ...]] = ("plan.run", "edit", "open", "command")

    def __init__(self, edit: Edit) -> None:
        super().__init__(edit.intent())
        self.edit = edit
        self._kept = False

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.edit.title)

    def hint_label(self, id: str, label: str) -> str:
        return "edit again" if id == "edit" else label

    async def again(self) -> None:
        if self.cockpit.read_only:
            self.say(f"edit is off: {self.cockpit.read_only}")
            return
        try:
            argv = editor(os.environ)
        except Bad as error:
            self.say(str(error), "failed")
            return
        head = await self.ask("asking for what is expected", self.session.call("source"))
        if head is None:
            return
        if int(head["revision"]) != self.edit.revision:
            try:
                self.edit.move(str(head["text"]), int(head["revision"]))
            except Clashes as clash:
                self.say(f"Revision {head['revision']} ({head['by']}) changed the same: {clash}. {keep(self.edit)}",
                         "failed")
                self._kept = True
                return
        if edited(self, argv, self.edit):
            self._kept = False
            self.intent = self.edit.intent()
            self.ask_again()

    def _leave(self, words: str, mark: str) -> None:
        """A plan that cannot be: stay, so that the edit goes on."""
        self.edit.say(words)
        self.say(f"{words} <edit> edits again.", mark)

    async def action_back(self) -> None:
        """Left without being carried out: the text stays in a file."""
        words = "" if self._kept or self._sent or (self.plan is not None and self.plan.empty) else keep(self.edit)
        await super().action_back()
        if words:
            self.cockpit.tell(f"{self.edit.title} was left as it is. {words}", "drift")

    def action_copy(self) -> None:
        self.say(f"The command is: cockpit edit {self.edit.piece.name}", "ok")
