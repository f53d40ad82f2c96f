"""Small dialogs that ask for one value, keyed by the verb's name. Their default does nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from cockpit.model.problems import Wrong
from cockpit.model.signals import SIGNALS, signal_of
from cockpit.model.states import UP
from cockpit.plan.steps import Bad, Refused
from screens.aim import INSTANCE, Aim
from screens.format import cells, cut, fit, plural, size, wrap
from screens.item import Item, text
from screens.keys import KeyScreen, key
from screens.look import Piece
from screens.widgets.bars import piece_at
from screens.widgets.field import Field
from screens.widgets.sheet import Sheet

if TYPE_CHECKING:
    from screens.app import CockpitApp

SHOWN = 8
"""Options listed at once."""


@dataclass(frozen=True)
class Option:
    value: str
    text: str
    off: bool = False
    """Drawn as what does not work here; choosing it says why."""


@dataclass
class Question:
    title: str
    label: str
    about: tuple[str, ...] = ()
    options: list[Option] = field(default_factory=list)
    free: bool = True
    """May something be typed that is not in the list?"""
    fits: bool = False
    """Is the only value of the list that has what was typed in it the one that is meant?"""
    load: Callable[[], Awaitable[list[Option]]] | None = None
    """Fetches options after the dialog is shown."""
    check: Callable[[str], str] = lambda value: "" if value else "Type a value, or Esc."
    """What is wrong with a value; empty when nothing is."""
    answer: Callable[[str], dict[str, Any]] = lambda value: {}
    """Parameters of the intent; `targets` among them replaces the targets."""


class Box(Sheet):
    DEFAULT_CSS = "Box { width: 72; max-width: 96%; height: auto; }"


class AskScreen(ModalScreen[None], KeyScreen[None], inherit_bindings=False):
    """Asks the question; `done` is called with the value after the dialog is gone."""

    TYPING = True
    BINDINGS: ClassVar[list[BindingType]] = [
        key("enter", "send", "go on", "Take what is chosen or typed.", "ask.yes"),
        key("escape", "no", "no", "Close without doing anything.", "ask.no"),
        key("down,tab", "choose(1)", "next", "To the next in the list.", "ask.next"),
        key("up,shift+tab", "choose(-1)", "before", "To the one before in the list.", "ask.before"),
    ]
    SHOWN: ClassVar[int] = SHOWN
    YES: ClassVar[str] = "go on to the plan"
    STEADY: ClassVar[bool] = False
    """Does the box keep its height, however many options fit?"""
    DEFAULT_CSS = """
    AskScreen { align: center middle; background: transparent; }
    """

    def __init__(self, question: Question, done: Callable[[str], Awaitable[None]]) -> None:
        super().__init__()
        self.question = question
        self.done = done
        self.field = Field()
        self.chosen = -1 if question.free else 0
        self.wrong = ""
        self._keys: list[Piece] = []
        self.box = Box()

    def compose(self) -> ComposeResult:
        yield self.box

    def on_mount(self) -> None:
        self.box.in_use = True
        self.show()
        if self.question.load is not None:
            self.run_worker(self._load(), exclusive=True)

    def on_resize(self, event: events.Resize) -> None:
        self.show()

    async def _load(self) -> None:
        assert self.question.load is not None
        self._busy = True
        self.show()
        try:
            self.question.options = await self.question.load()
            if self.chosen < 0:
                self._begin()
        except (Bad, Refused, ConnectionError) as error:
            self.wrong = f"no list: {error}"
        finally:
            self._busy = False
        self.show()

    _busy = False
    _rows = (0, 0)
    """Line of the first option in the box, and its number."""

    def matching(self) -> list[Option]:
        assert self.field is not None
        typed = self.field.text.lower()
        return [o for o in self.question.options if typed in o.value.lower() or typed in o.text.lower()]

    def _begin(self) -> None:
        """Something was typed: what is chosen now."""
        assert self.field is not None
        typed, found = self.field.text.strip().lower(), self.matching()
        meant = self.question.fits and len(found) == 1 and typed and typed in found[0].value.lower()
        self.chosen = 0 if meant or not self.question.free else -1

    def show(self) -> None:
        assert self.field is not None
        look = self.look
        width = min(72, int(self.app.size.width * 0.96)) - 4
        if width < 10:
            return
        lines: list[list[Piece]] = [[(self.question.title, "strong")]]
        for part in self.question.about:
            lines += [[(line, "text")] for line in wrap(look.text(part), width, 4, look.sign("more"))]
        lines.append([])
        lines.append([(self.question.label + " ", "key"), *self.field.pieces(width - len(self.question.label) - 2)])
        found = self.matching()
        self.chosen = min(self.chosen, len(found) - 1)
        most = self.most()
        first = max(0, min(self.chosen - most + 1, len(found) - most))
        self._rows = (len(lines) + 1, first)
        for number, option in enumerate(found[first: first + most], first):
            on = number == self.chosen
            style = "dull" if option.off else "strong" if on else "text"
            lines.append([(look.sign("head") + " " if on else "  ", "picked"), (look.text(option.text), style)])
        if self.STEADY:
            lines += [[] for _ in range(most - len(found[first: first + most]))]
        if len(found) > most:
            lines.append([(f"  {len(found)} in all; type to narrow", "muted")])
        elif self.STEADY:
            lines.append([])
        if self._busy:
            lines.append([(f"{look.glyph('changing')} asking the controller{look.sign('more')}", "changing")])
        if self.wrong:
            lines += [[(line, "drift")] for line in wrap(self.wrong, width, 3, look.sign("more"))]
        lines.append([])
        keys = [(self.key_of("ask.yes"), "key"), (f" {self.YES}   ", "muted")]
        if found:
            both = self._arrow("ask.before") + self._arrow("ask.next")
            keys += [(both, "key"), (" choose   ", "muted")]
        lines.append([*keys, (self.key_of("ask.no"), "key"), (" no", "muted")])
        self._keys = lines[-1]
        items = self._framed(lines, width)
        self.box.styles.height = len(items)
        self.box.fill(items)

    def _arrow(self, id: str) -> str:
        name = (self.keys_of(id) or [""])[0]
        return self.look.sign(name) if name in ("up", "down") else self.key_name(name)

    def most(self) -> int:
        """Options that have room."""
        return max(3, min(self.SHOWN, self.app.size.height - 9))

    def _framed(self, lines: list[list[Piece]], width: int) -> list[Item]:
        """A frame drawn with the glyph set, so that it holds on every terminal."""
        side = self.look.sign("bar")
        out = [text(self._edge(True, width), "head")]
        out += [Item(((side + " ", "head"), *_pad(pieces, width), (" " + side, "head"))) for pieces in lines]
        return [*out, text(self._edge(False, width), "head")]

    def _edge(self, top: bool, width: int) -> str:
        rule = self.look.sign("rule") * (width + 2)
        if self.look.ascii:
            return "+" + rule + "+"
        return ("┌" + rule + "┐") if top else ("└" + rule + "┘")

    async def take_key(self, event: events.Key) -> bool:
        assert self.field is not None
        if event.key in ("ctrl+c", "ctrl+q"):
            return False
        self.wrong = ""
        if any(name == event.key for name, _ in self.live_bindings()):
            return False
        if self.field.take(event.key, event.character):
            self._begin()
        self.show()
        return True

    def action_choose(self, way: int) -> None:
        last = len(self.matching()) - 1
        self.chosen = max(-1 if self.question.free else 0, min(last, self.chosen + way))
        self.show()

    async def action_send(self) -> None:
        await self.send()

    def on_click(self, event: events.Click) -> None:
        x, y = event.screen_x - self.box.region.x - 2, event.screen_y - self.box.region.y
        # in its turn behind the keys, and not by this screen itself: it may go away
        self.app.call_later(self._clicked, x, y, event.chain)

    async def _clicked(self, x: int, y: int, chain: int) -> None:
        """A click chooses, a second one takes it; the keys at the foot can be clicked."""
        if self.app.screen is not self:
            return
        number = y - self._rows[0] + self._rows[1]
        if self._rows[1] <= number < min(len(self.matching()), self._rows[1] + self.most()) and x >= 0:
            again = number == self.chosen
            self.chosen = number
            self.show()
            if again or chain > 1:
                await self.send()
        elif y == self.box.size.height - 2:
            piece = piece_at(self._keys, x)
            if piece in (0, 1):
                await self.send()
            elif piece >= len(self._keys) - 2:
                await self.action_no()

    def typed(self) -> None:
        self.show()

    async def send(self) -> None:
        assert self.field is not None
        found = self.matching()
        value = found[self.chosen].value if 0 <= self.chosen < len(found) else self.field.text.strip()
        if not self.question.free and not 0 <= self.chosen < len(found):
            self.wrong = "Nothing in the list fits; Esc closes."
        else:
            self.wrong = self.question.check(value)
        if self.wrong:
            self.show()
            return
        await self.app.pop_screen()
        await self.done(value)

    async def action_no(self) -> None:
        await self.app.pop_screen()


class ConfirmScreen(AskScreen):
    """Asks for the typed name of what will be destroyed."""

    YES = "do it"

    def __init__(self, name: str, title: str, about: tuple[str, ...], done: Callable[[str], Awaitable[None]]) -> None:
        def check(value: str) -> str:
            # an action is `#4` everywhere else
            same = value == name or (name.isdigit() and value == f"#{name}")
            return "" if same else f"That is not {name}. Nothing was done."

        async def agreed(value: str) -> None:
            await done(name)

        super().__init__(
            Question(title=title, label=f"type {name} to go on:", about=about, check=check), agreed
        )


def _pad(pieces: list[Piece], width: int) -> list[Piece]:
    out: list[Piece] = []
    room = width
    for words, style in pieces:
        words = cut(words, room)
        room -= cells(words)
        out.append((words, style))
    return [*out, (" " * room, "text")]


def _deploy(app: CockpitApp, aim: Aim) -> Question:
    service = aim.ids[0].partition("/")[0]
    row = app.board.nodes[service]
    running = ", ".join(f"{v or '-'} on {n}" for v, n in sorted(row.versions.items()))

    async def load() -> list[Option]:
        known = await app.session.artifacts()
        name = service.rpartition(".")[2]
        keys = sorted(known, key=lambda k: known[k].get("added", 0), reverse=True)
        mine = [k for k in keys if k.partition("/")[0] == name] or keys
        out = []
        for each in mine:
            version = each.partition("/")[2]
            now = "  expected now" if version == row.version else ""
            weight = known[each].get("size")
            out.append(Option(version, fit(version, 14) + (size(weight) if weight else "") + now))
        return out

    return Question(
        title=f"deploy {app.board.short(service)}", label="version:", fits=True,
        about=(f"expected {row.version or '-'}, running {running or 'nowhere'}",), load=load,
        check=lambda value: "" if value else "Type or choose a version, or Esc.",
        answer=lambda value: {"version": value},
    )


def _scale(app: CockpitApp, aim: Aim) -> Question:
    service = aim.ids[0].partition("/")[0]
    row = app.board.nodes[service]

    def check(value: str) -> str:
        if not value.isdigit() or len(value) > 6:
            return "A number of instances: 0, 1, 2 and so on."
        return f"It is {value} already." if int(value) == row.want else ""

    return Question(
        title=f"scale {app.board.short(service)}",
        label="instances:",
        about=(f"{row.want} now, {row.have} of them healthy",),
        check=check,
        answer=lambda value: {"count": int(value)},
    )


def _migrate(app: CockpitApp, aim: Aim) -> Question:
    row = app.board.instances[aim.ids[0]]
    look = app.look
    options = [Option("", "let placement choose")]
    for name, host in sorted(app.board.hosts.items()):
        if name == row.host:
            continue
        word = "" if host.presence == UP else f"  {look.glyph(host.mark)} {host.presence}"
        options.append(Option(name, f"{fit(name, 16)}{fit(host.region, 10)}"
                                    f"{plural(host.instances, 'instance')}{word}"))
    return Question(
        title=f"migrate {app.board.short(row.id)}", label="to:", about=(f"it is on {row.host or 'no host'}",),
        options=options, free=False, check=lambda value: "",
        answer=lambda value: {"host": value} if value else {},
    )


def _push(app: CockpitApp, aim: Aim) -> Question:
    name = aim.ids[0].partition("/")[0].rpartition(".")[2] if aim and aim.kind in ("node", INSTANCE) else ""

    async def load() -> list[Option]:
        known = await app.session.artifacts()
        keys = sorted(known, key=lambda k: (k.partition("/")[0] != name, -known[k].get("added", 0)))
        return [Option(k, fit(k, 28) + size(known[k].get("size", 0))) for k in keys]

    return Question(
        title="push an artifact", label="name/version:", fits=True, about=("To the hosts where its services run.",),
        load=load,
        check=lambda value: "" if "/" in value else "name/version, for example sudoku/1.1.0",
        answer=lambda value: {"targets": (value,)},
    )


def _abort(app: CockpitApp, aim: Aim) -> Question:
    return Question(
        title=f"abort {aim.ids[0]}", label="then:", free=False, check=lambda value: "",
        options=[Option("", "end it where it stands"), Option("undo", "end it and return to what was before")],
        answer=lambda value: {"undo": True} if value else {},
    )


def _signal(app: CockpitApp, aim: Aim) -> Question:
    short = app.board.short
    rows = [app.board.instances[i] for i in aim.ids if i in app.board.instances]
    if len(aim.ids) == 1 and rows:
        about = f"pid {rows[0].pid} on {rows[0].host}" if rows[0].pid else f"on {rows[0].host}, no process is known"
    else:
        below = aim.ids if aim.kind == INSTANCE else [i for each in aim.ids for i in app.board.under(each)]
        about = f"to {plural(len(set(below)), 'instance')}"

    def check(value: str) -> str:
        if not value:
            return "Type or choose a signal, or Esc."
        try:
            signal_of(value)
        except Wrong as wrong:
            return f"{wrong}" + (f"; did you mean {wrong.hint}?" if wrong.hint else "")
        return ""

    return Question(
        title=f"signal {', '.join(short(i) for i in aim.ids[:3])}" + (" ..." if len(aim.ids) > 3 else ""),
        label="signal:", about=(about,),
        options=[Option(s.name, fit(s.name, 7) + s.about) for s in SIGNALS.values()],
        check=check, answer=lambda value: {"signal": signal_of(value).name},
    )


QUESTIONS: dict[str, Callable[[CockpitApp, Aim], Question]] = {
    "deploy": _deploy, "scale": _scale, "migrate": _migrate, "push": _push, "abort": _abort,
    "signal": _signal,
}
"""What a verb asks before its plan is made; the others ask nothing."""
