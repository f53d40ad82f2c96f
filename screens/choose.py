"""The dialog for the columns of a list: on or off, their order, presets. The list behind it follows at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from cockpit.model.problems import Wrong
from screens.ask import AskScreen, Box, Option, Question
from screens.format import cells, cut, fit
from screens.item import Item, text
from screens.keys import KeyScreen, key
from screens.look import Piece
from screens.widgets.columns import presets
from screens.widgets.grid import Grid

if TYPE_CHECKING:
    from screens.base import ClusterScreen

WIDTH = 48


class PathScreen(AskScreen):
    YES = "add it"


class ChooseScreen(ModalScreen[None], KeyScreen[None], inherit_bindings=False):
    """`keep` is called with the ids after Enter; None: the usual ones, nothing is to be remembered."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("up,k", "step(-1)", "up", "One column up.", "choose.up"),
        key("down,j", "step(1)", "down", "One column down.", "choose.down"),
        key("space", "turn", "on, off", "Show this column or not.", "choose.turn"),
        key("left,K", "shift(-1)", "earlier", "Move this column to the left.", "choose.earlier"),
        key("right,J", "shift(1)", "later", "Move this column to the right.", "choose.later"),
        key("1", "preset('narrow')", "narrow", "Few columns, for a narrow terminal.", "choose.narrow"),
        key("2", "preset('usual')", "usual", "The columns that are on by themselves.", "choose.usual"),
        key("3", "preset('all')", "all", "Every column; w scrolls through them.", "choose.all"),
        key("r", "reset", "reset", "The usual columns again, in their usual order.", "choose.reset"),
        key("a,+", "add", "add", "A column of your own: a path such as host.labels.rack.", "choose.add"),
        key("enter", "keep", "keep", "Keep these columns, also for the next time.", "choose.keep"),
        key("escape", "no", "as it was", "Close; the columns are as before.", "choose.no"),
    ]
    DEFAULT_CSS = """
    ChooseScreen { align: center middle; background: transparent; }
    ChooseScreen Box { width: 52; }
    """

    def __init__(
        self, grid: Grid[Any], screen: ClusterScreen, keep: Callable[[list[str] | None], Awaitable[None]]
    ) -> None:
        super().__init__()
        self.grid = grid
        self.under = screen
        self.view = screen.NAME
        self.keep = keep
        self.before = [c.id for c in grid.columns]
        self.order: list[str] = []
        self.on: set[str] = set()
        self.at = 1
        self._lay(self.before)
        self.box = Box()

    def _lay(self, ids: list[str]) -> None:
        """These are on, in this order; the others come after them."""
        self.on = set(ids)
        self.order = [*ids, *(c.id for c in self.grid.every if c.id not in self.on)]

    def compose(self) -> ComposeResult:
        yield self.box

    def on_mount(self) -> None:
        self.box.in_use = True
        self.show()

    def on_resize(self, event: events.Resize) -> None:
        self.show()

    def ids(self) -> list[str]:
        return [id for id in self.order if id in self.on]

    def show(self) -> None:
        look, width = self.look, WIDTH
        more = look.sign("more")
        titles = {c.id: c.title for c in self.grid.every}
        seen = max(3, min(len(self.order), self.app.size.height - 8))
        first = max(0, min(self.at - seen // 2, len(self.order) - seen))
        lines: list[list[Piece]] = [[(f"columns of {self.view}", "strong")]]
        for number in range(first, first + seen):
            id = self.order[number]
            here, on = number == self.at, id in self.on
            lines.append([
                (look.sign("head") + " " if here else "  ", "picked"),
                ("[x] " if on else "[ ] ", "key" if on else "muted"),
                (titles[id], "strong" if here else "text" if on else "muted"),
                (f" {cut(id, WIDTH - 10 - cells(titles[id]), more)}" if id in self.grid.own else "", "muted"),
                (" always first" if number == 0 else "", "muted"),
            ])
        rest = len(self.order) - first - seen
        lines.append([(f"  {rest} more below" if rest > 0 else "", "muted")])
        lines.append([("space", "key"), (" on, off  ", "muted"), ("left right", "key"), (" move  ", "muted"),
                      ("a", "key"), (" add  ", "muted"), ("r", "key"), (" reset", "muted")])
        lines.append([("1", "key"), (" narrow ", "muted"), ("2", "key"), (" usual ", "muted"), ("3", "key"),
                      (" all  ", "muted"), (look.sign("enter"), "key"), (" keep  ", "muted"), ("Esc", "key"),
                      (" no", "muted")])
        edge = look.sign("rule") * (width + 2)
        top, end = ("+", "+") if look.ascii else ("┌", "┐")
        low, low_end = ("+", "+") if look.ascii else ("└", "┘")
        side = look.sign("bar")
        items = [text(top + edge + end, "head")]
        for pieces in lines:
            used = sum(cells(words) for words, _ in pieces)
            items.append(Item(((side + " ", "head"), *pieces, (fit("", width - used), "text"), (" " + side, "head"))))
        items.append(text(low + edge + low_end, "head"))
        self.box.styles.height = len(items)
        self.box.fill(items)

    def _changed(self) -> None:
        self.grid.choose(self.ids())
        self.show()

    def action_step(self, way: int) -> None:
        self.at = max(1, min(len(self.order) - 1, self.at + way))
        self.show()

    def action_turn(self) -> None:
        self.on ^= {self.order[self.at]}
        self.action_step(1)
        self._changed()

    def action_shift(self, way: int) -> None:
        to = self.at + way
        if 1 <= to < len(self.order):
            self.order[self.at], self.order[to] = self.order[to], self.order[self.at]
            self.at = to
            self._changed()

    def action_preset(self, name: str) -> None:
        self._lay(presets(self.grid.every)[name])
        self._changed()

    def action_reset(self) -> None:
        self.action_preset("usual")

    async def action_add(self) -> None:
        """Ask for a path; its column is on, and under the cursor."""
        from screens import owncolumns

        def check(path: str) -> str:
            try:
                owncolumns.have(self.grid, path, self.board)
            except Wrong as error:
                return f"{error}; the nearest is {error.hint}" if error.hint else f"{error}"
            return ""

        async def done(path: str) -> None:
            on = [*(id for id in self.ids() if id != path), path]
            self._lay(on)
            self.at = len(on) - 1
            self._changed()

        options = [Option(path, path) for path in owncolumns.paths_of(self.under, self.grid)]
        await self.app.push_screen(PathScreen(Question(
            title=f"a column for {self.view}", label="path:", options=options, check=check,
            about=("A field of the row, or of what it leads to: host.labels.rack, expected.limits.memory.",),
        ), done))  # fmt: skip

    async def action_keep(self) -> None:
        from screens import owncolumns

        ids = self.ids()
        usual = ids == presets(self.grid.every)["usual"]
        owncolumns.drop(self.grid, self.grid.own.difference(ids))
        await self.app.pop_screen()
        await self.keep(None if usual else ids)

    async def action_no(self) -> None:
        from screens import owncolumns

        self.grid.choose(self.before)
        owncolumns.drop(self.grid, self.grid.own.difference(self.before))
        await self.app.pop_screen()
