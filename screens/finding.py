"""What every list has for finding: its fields, the sticky filter, only trouble, only marked, chosen columns."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from screens.fields import schema_of
from screens.format import plural, wrap
from screens.look import Piece
from screens.views import Views
from screens.widgets.grid import Grid

if TYPE_CHECKING:
    from screens.base import ClusterScreen

ADVICE_LINES = 3


def begin(screen: ClusterScreen) -> None:
    """Give the lists of a new screen their fields, the columns that were chosen, and the sticky filter."""
    for pane in screen.panes:
        if isinstance(pane, Grid):
            view = view_name(screen, pane)
            made = schema_of(view, screen.board, pane.every, lambda pane=pane: pane.rows)  # type: ignore[misc]
            pane.schema = replace(pane.schema, path=made.path) if pane.schema.fields else made
            ids = views(screen).columns(view)
            if ids is not None:
                if not {c.id for c in pane.every}.issuperset(ids):
                    from screens import owncolumns

                    owncolumns.restore(pane, ids, screen.board)
                pane.choose(ids)
    stick(screen)


def views(screen: ClusterScreen) -> Views:
    head = screen.board.head
    return Views(head.cluster if head is not None else "")


def view_name(screen: ClusterScreen, pane: Grid[object]) -> str:
    """What chosen columns are kept under."""
    first = next((p for p in screen.panes if isinstance(p, Grid)), pane)
    return screen.NAME if pane is first else f"{screen.NAME}.{pane.id}"


def stick(screen: ClusterScreen) -> None:
    """Put the sticky filter on the lists; one that cannot be asked there does not hold there, and that is said."""
    text = screen.cockpit.sticky
    for pane in screen.panes:
        if isinstance(pane, Grid) and (text or pane.sticky.text):
            why = pane.stick(text)
            if why and pane is screen.pane:
                screen.say(f"The sticky filter {text} does not hold here: {why}", "paused")


def advice(screen: ClusterScreen, text: str, width: int) -> list[list[Piece]]:
    """Lines below a filter that is being typed."""
    pane = screen.pane
    if not isinstance(pane, Grid):
        return []
    style = "drift" if pane.wrong else "muted"
    more = screen.look.sign("more")
    return [[(" " + line, style)] for line in wrap(pane.advice(text), width - 2, ADVICE_LINES, more)]


def ended(screen: ClusterScreen) -> None:
    """The filter's line was left: say so when what stood there is not in force."""
    pane = screen.pane
    if isinstance(pane, Grid) and pane.wrong:
        still = f"The filter is still {pane.sieve.text}" if pane.sieve.text else "There is no filter"
        screen.say(f"{still}: {pane.wrong}")
        pane.wrong = ""


def let_go(screen: ClusterScreen) -> bool:
    """Show all rows again; false when all are shown."""
    pane = screen.pane
    if not isinstance(pane, Grid) or not (pane.only_needy or pane.only_marked):
        return False
    pane.only(needy=False, marked=False)
    screen.show_bottom()
    return True


def _grid(screen: ClusterScreen) -> Grid[object] | None:
    pane = screen.pane
    if isinstance(pane, Grid):
        return pane
    screen.say("These lines cannot be filtered; tables and trees can.", "paused")
    return None


async def sticky(screen: ClusterScreen) -> None:
    """Make the filter of this list hold everywhere, or let the one that holds go."""
    pane = _grid(screen)
    if pane is None:
        return
    text, app = pane.sieve.text, screen.cockpit
    if text:
        app.sticky = text
        pane.filter("")
        stick(screen)
        screen.say(f"{text} holds on every list from now on; <filter.sticky> lets it go.", "ok")
    elif app.sticky:
        screen.say(f"{app.sticky} holds no longer.", "ok")
        app.sticky = ""
        stick(screen)
    else:
        screen.say("There is no filter to keep: type one with <filter> first.", "paused")


async def only_needy(screen: ClusterScreen) -> None:
    pane = _grid(screen)
    if pane is None:
        return
    if pane.schema.mark is None:
        screen.say("Nothing here is ever in trouble: these rows have no mark.", "paused")
        return
    pane.only(needy=not pane.only_needy)
    if pane.only_needy and not pane.order and not pane.busy:
        screen.say("Nothing here needs attention. <filter.needy> shows all rows again.", "ok")
    screen.show_bottom()


async def only_marked(screen: ClusterScreen) -> None:
    pane = _grid(screen)
    if pane is None:
        return
    if not pane.marked and not pane.only_marked:
        screen.say("No row is marked: <mark> marks the one under the cursor.", "paused")
        return
    pane.only(marked=not pane.only_marked)
    screen.show_bottom()


async def columns(screen: ClusterScreen) -> None:
    pane = _grid(screen)
    if pane is None:
        return
    if len(pane.every) < 2:
        screen.say("This list has one column.", "paused")
        return
    from screens.choose import ChooseScreen

    async def keep(ids: list[str] | None) -> None:
        why = await asyncio.to_thread(views(screen).keep, view_name(screen, pane), ids)
        count = plural(len(pane.columns), "column")
        words = "The usual columns." if ids is None else f"{count} in this order, also next time."
        screen.say(why or words, "drift" if why else "ok")

    await screen.app.push_screen(ChooseScreen(pane, screen, keep))
