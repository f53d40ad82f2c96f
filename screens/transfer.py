"""`:cp`: one file from the host or instance under the cursor, or to it: a dialog, then its progress above the keys.

`:cp SOURCE TARGET` is the dialog filled in, with the words of `cockpit cp`; `:cp stop` ends what is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import BindingType

from cockpit.model.names import resolve
from cockpit.model.units import size_text
from cockpit.plan.steps import Bad, Refused
from cockpit.session.copying import Copy, Done, Wanted, pace, wanted
from cockpit.session.here import STANDARD
from screens import browser
from screens.aim import HOST, INSTANCE, Aim
from screens.ask import AskScreen, Question
from screens.direct import agree
from screens.format import cells, cut, drop, wrap
from screens.keys import key
from screens.look import Look, Piece
from screens.widgets.field import Field

if TYPE_CHECKING:
    from screens.app import CockpitApp
    from screens.base import ClusterScreen
    from screens.board import Board

LIMIT = 1024**3
"""Bytes of one file; `cockpit cp --limit` takes more."""
REDRAW = 0.25
STOP = "stop"


class Under:
    """The copy that is under way; one at a time from one screen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.moved = 0
        self.size: int | None = None
        self.began = time.monotonic()
        self.work: asyncio.Task[None] | None = None

    def line(self, look: Look, width: int) -> list[Piece]:
        """Above the keys of every screen."""
        hint = "  :cp stop ends it" if width >= 100 else "  :cp stop"
        told = "  " + pace(self.moved, self.size, time.monotonic() - self.began)
        room = max(8, width - 4 - cells(told) - cells(hint))
        name = cut(f"copy {look.text(self.name)}", room, look.sign("more"))
        return [(f" {look.glyph('changing')} ", "changing"), (name, "text"), (told, "text"), (hint, "dull")]


def under_cursor(aim: Aim) -> str:
    """The id of the host or the instance; a sentence in Bad when there is none, or more than one. Pure."""
    if aim.kind not in (HOST, INSTANCE) or not aim:
        raise Bad(
            "cp: put the cursor on a host or an instance "
            "(<go.hosts> lists the hosts, <go.instances> the instances)."
        )
    if len(aim.ids) > 1:
        raise Bad(f"cp: one at a time; {len(aim.ids)} are marked, <back> takes the marks away.")
    return aim.ids[0]


async def go(app: CockpitApp, rest: str) -> None:
    """`:cp`, `:cp SOURCE TARGET`, `:cp stop`: of the screen the line was typed on."""
    from screens.base import ClusterScreen

    screen = app.screen
    if not isinstance(screen, ClusterScreen):
        return
    if rest == STOP:
        stop(screen)
        return
    if app.copy is not None:
        screen.say(f"cp: one at a time; {app.copy.name} is under way, `:cp stop` ends it.")
        return
    if why := app.read_only or browser.refusal():
        screen.say(f"cp is off: {why}")
        return
    try:
        words = shlex.split(rest)
        if words:
            if len(words) != 2:
                raise Bad("cp takes a source and a target, for example `:cp web/2:app.log .`; alone it asks")
            what = wanted(*words)
            name = resolve(what.name, [*app.board.hosts, *app.board.instances], "host or instance")
        else:
            name = under_cursor(screen.aim())
            what = Wanted(name=name, path="", here="", put=False)
    except (Bad, ValueError) as error:
        screen.say(str(error))
        return
    await app.push_screen(TransferScreen(screen, name, what))


def stop(screen: ClusterScreen) -> None:
    under = screen.cockpit.copy
    if under is None or under.work is None:
        screen.say("cp: nothing is being copied from this screen.", "paused")
    else:
        under.work.cancel()


class TransferScreen(AskScreen):
    """Where there, where here, which way, and over what: with a line that says what will be done."""

    YES = "copy it"
    goes_on = False
    BINDINGS: ClassVar[list[BindingType]] = [
        key("ctrl+r", "turn", "other way", "Copy the other way round.", "cp.turn"),
        key("ctrl+o", "over", "overwrite", "Replace a file that is there, or no longer.", "cp.over"),
    ]

    def __init__(self, behind: ClusterScreen, name: str, what: Wanted) -> None:
        super().__init__(Question(title="", label=""), self._done)
        self.behind = behind
        self.thing = name
        self.put = what.put
        self.over = False
        self.fields = (Field(what.path), Field(what.here))
        self.field = self.fields[bool(what.path)]

    async def _done(self, value: str) -> None: ...

    # what was typed

    def what(self) -> Wanted:
        """Raises Bad."""
        there, here = (f.text.strip() for f in self.fields)
        if here == STANDARD:
            raise Bad("a screen has no standard input and output: name a file here")
        if here.startswith("~"):
            here = str(Path(here).expanduser())
        elif here and here[0] not in "/.":
            here = f"./{here}"
        if not here and not self.put:
            here = "."
        far = f"{self.thing}:{there}"
        if not there:
            raise Bad("Type the path there, or Esc.")
        if not here:
            raise Bad("Type the path of the file here, or Esc.")
        return wanted(here, far) if self.put else wanted(far, here)

    def _end(self, path: str, room: int) -> str:
        """What of a path fits: its end says more than its beginning."""
        over = cells(path) - room
        return path if over <= 0 else self.look.sign("more") + drop(path, over + 1)

    def preview(self, board: Board) -> str:
        try:
            what = self.what()
        except Bad as error:
            return str(error)
        name = board.short(self.thing)
        here = Path(what.here)
        if not what.put and (here.is_dir() or what.here.endswith("/")):
            here /= what.path.rpartition("/")[2]
        over = "in place of a file that may be there" if self.over else "never over a file that is there"
        begin = "" if what.path.startswith("/") or self.thing in board.hosts else ", which begins in its release"
        if what.put:
            return f"writes {what.path} of {name}{begin}, {over}"
        return f"reads {what.path} of {name}{begin}; writes {here.absolute()} on this machine, {over}"

    # drawing and keys

    def show(self) -> None:
        look, width = self.look, min(72, int(self.app.size.width * 0.96)) - 4
        if width < 10:
            return
        board = self.behind.board
        name = look.text(board.short(self.thing))
        way = f"copy to {name}" if self.put else f"copy from {name}"
        lines: list[list[Piece]] = [[(way, "strong")], []]
        labels = [f"{name}:", "here:"]
        order = (1, 0) if self.put else (0, 1)  # the source stands first
        most = max(map(cells, labels)) + 1
        for number in order:
            field, label = self.fields[number], labels[number]
            mine = field is self.field
            room = width - most - 2
            pieces = field.pieces(room) if mine else [(self._end(field.text, room), "text")]
            lines.append([(label + " " * (most - cells(label)), "key" if mine else "muted"), *pieces])
        lines.append([])
        lines += [[(line, "text")] for line in wrap(look.text(self.preview(board)), width, 3, look.sign("more"))]
        if self._busy:
            lines.append([(f"{look.glyph('changing')} reading the file here{look.sign('more')}", "changing")])
        if self.wrong:
            lines += [[(line, "drift")] for line in wrap(look.text(self.wrong), width, 4, look.sign("more"))]
        lines.append([])
        mark = "no overwrite" if self.over else "overwrite"
        lines.append([
            (self._tab(), "key"), (" next   ", "muted"),
            (self.key_of("cp.turn"), "key"), (" other way   ", "muted"),
            (self.key_of("cp.over"), "key"), (f" {mark}", "muted"),
        ])  # fmt: skip
        lines.append([
            (self.key_of("ask.yes"), "key"), (f" {self.YES}   ", "muted"), (self.key_of("ask.no"), "key"),
            (" no", "muted"),
        ])  # fmt: skip
        self._keys = lines[-1]
        items = self._framed(lines, width)
        self.box.styles.height = len(items)
        self.box.fill(items)

    def _tab(self) -> str:
        """The arrows are there too; a form is gone through with Tab."""
        names = self.keys_of("ask.next")
        return self.key_name("tab") if "tab" in names else self._arrow("ask.next")

    def action_choose(self, way: int) -> None:
        self.field = self.fields[self.field is self.fields[0]]
        self.show()

    def action_turn(self) -> None:
        self.put = not self.put
        self.show()

    def action_over(self) -> None:
        self.over = not self.over
        self.wrong = ""
        self.show()

    # sending

    async def send(self) -> None:
        if self._busy:
            return
        app, behind = self.behind.cockpit, self.behind
        kind = HOST if self.thing in behind.board.hosts else INSTANCE
        try:
            copy = Copy(self.what(), {kind: self.thing}, overwrite=self.over, limit=LIMIT)
        except Bad as error:
            self.wrong = str(error)
            self.show()
            return
        self._busy = True
        self.show()
        try:
            await copy.look()
        except (Bad, Refused) as error:
            self.wrong = str(error).replace("--overwrite", self.key_of("cp.over"))
            return
        finally:
            self._busy = False
            self.show()

        async def run(agreed: list[dict[str, Any]]) -> None:
            start(app, copy, agreed[0])

        await self.app.pop_screen()
        await agree(behind, "copy", [copy.request], run)


def start(app: CockpitApp, copy: Copy, request: dict[str, Any]) -> None:
    """In the background of every screen, until it is done, ended, or the screens are left."""
    if app.copy is not None:
        app.tell("cp: one at a time; `:cp stop` ends the one that is under way.")
        return
    under = app.copy = Under(copy.what.path.rpartition("/")[2])
    under.work = asyncio.create_task(_run(app, under, copy, request), name="copy")


async def _run(app: CockpitApp, under: Under, copy: Copy, request: dict[str, Any]) -> None:
    name = app.board.short(request.get(INSTANCE) or request[HOST])
    last = 0.0

    def told(moved: int, size: int | None) -> None:
        nonlocal last
        under.moved, under.size = moved, size
        if time.monotonic() - last >= REDRAW:
            last = time.monotonic()
            _draw(app)

    try:
        done = await copy.run(app.session, request, told)
    except asyncio.CancelledError:
        said, mark = f"copy of {under.name}: ended; nothing was written.", "paused"
    except (Bad, Refused) as error:
        why = str(error).replace("--overwrite", "`overwrite` in the dialog")
        said, mark = f"copy of {under.name}: {why}", "failed"
    except ConnectionError as error:
        said, mark = f"copy of {under.name}: {error or 'no answer from the controller'}.", "unknown"
    else:
        said, mark = told_of(done, name, copy.what.put), "paused" if done.changed else "ok"
    finally:
        app.copy = None
    if app.is_running:
        app.tell(said, mark)


def told_of(done: Done, name: str, put: bool) -> str:
    """How it ended, in a sentence. Pure."""
    there = f"{name}:{done.path}"
    way = f"{done.here} -> {there}" if put else f"{there} -> {done.here}"
    more = "; it was written to while it was read, and is as long as it was in the beginning" if done.changed else ""
    return f"copied {way}: {size_text(done.size)}, sha256 {done.sha256}{more}"


def _draw(app: CockpitApp) -> None:
    from screens.base import ClusterScreen

    for screen in reversed(app.screen_stack):
        if isinstance(screen, ClusterScreen):
            with contextlib.suppress(Exception):  # a screen that goes at this moment
                screen.show_bottom()
            break
