"""`:page` shows the whole view in $PAGER, `:save FILE` writes it: every row, not only those that fit.

Lists become tables of the columns that are shown, logs and sheets their lines. The end of the file's name says the
form: `.csv`, `.json`, anything else is text.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import SuspendNotSupported

from cockpit.plan.steps import Bad
from cockpit.programs import preferred
from screens import browser
from screens.format import cells, clean, plural
from screens.linear import data_of, lines_of, lists_of
from screens.saving import save_new
from screens.widgets.bars import Bar
from screens.widgets.grid import Grid
from screens.widgets.tree import Tree

if TYPE_CHECKING:
    from screens.app import CockpitApp
    from screens.base import ClusterScreen

FALLBACKS = ("less", "more")
LONGEST = 2000


async def go(app: CockpitApp, word: str, name: str) -> None:
    """`:page`, `:save FILE`: of the screen the line was typed on."""
    from screens.base import ClusterScreen

    screen = app.screen
    if not isinstance(screen, ClusterScreen):
        return
    if word == "page":
        await page(screen)
    elif not name:
        screen.say("save takes a file's name: `:save web.csv`; .csv, .json, anything else is text", "paused")
    else:
        await save(screen, name)


def pager(environ: Mapping[str, str]) -> list[str]:
    """Its argv, by $PAGER or what there is; never through a shell. Raises Bad."""
    if argv := preferred(environ, ("PAGER",), FALLBACKS):
        return argv
    raise Bad("no pager: set PAGER to one, or `:save FILE`")


async def page(screen: ClusterScreen) -> None:
    """The view in the pager, on the whole terminal; then back to exactly here. Data go on coming meanwhile."""
    if why := browser.refusal():
        screen.say(why)
        return
    app = screen.cockpit
    try:
        argv = pager(os.environ)
        with tempfile.NamedTemporaryFile("w", prefix="cockpit-", suffix=".txt", encoding="utf-8") as file:  # 0600
            file.write(text_of(screen))
            file.flush()
            with app.batch_update(), app.suspend(), _interrupts_are_the_pagers():
                app.away = True
                code = await (await asyncio.create_subprocess_exec(*argv, file.name)).wait()
        if code:
            screen.say(f"{Path(argv[0]).name} ended with exit {code}.")
    except SuspendNotSupported:
        screen.say("A pager needs a terminal of its own, and this screen has none; `:save FILE` writes the view.")
    except Bad as error:
        screen.say(str(error), "failed")
    except OSError as error:
        screen.say(f"The pager could not be started: {error.strerror or error}", "failed")
    finally:
        app.away = False


@contextmanager
def _interrupts_are_the_pagers() -> Iterator[None]:
    """ctrl+c reaches every program of the terminal: it stops what the pager does, and must not end the screens."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN: the pager would inherit that
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def save(screen: ClusterScreen, name: str) -> None:
    text = written(screen, name)
    try:
        path = await asyncio.to_thread(save_new, name, text)
    except OSError as error:
        screen.say(str(error), "failed")
    else:
        screen.say(f"{path} holds {plural(text.count(chr(10)), 'line')} of this view.", "ok")


def written(screen: ClusterScreen, name: str) -> str:
    """The view in the form that the end of the name stands for."""
    form = Path(name).suffix.lower()
    if form == ".json":
        head = screen.board.head
        data = {"view": screen.cockpit.address_of(screen), "cluster": head.cluster if head is not None else ""}
        return json.dumps({**data, "at": screen.board.now, **data_of(screen)}, indent=1, ensure_ascii=False) + "\n"
    if form == ".csv":
        return csv_of(screen)
    return text_of(screen)


def csv_of(screen: ClusterScreen) -> str:
    """Every list of rows, with a line of column names and the key of each row first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for widget in lists_of(screen):
        if isinstance(widget, Grid):
            writer.writerow(["key", *(c.id for c in widget.columns)])
            writer.writerows([key, *(_plain(t) for t, _ in widget.texts(key))] for key in widget.order)
        elif not isinstance(widget, Bar):
            writer.writerows([line] for line in lines_of(widget))
    return out.getvalue()


def _plain(text: str) -> str:
    """No cell becomes a formula in a spreadsheet."""
    text = clean(text, LONGEST).strip()
    return "'" + text if text[:1] in ("=", "+", "@") or (text[:1] == "-" and len(text) > 1) else text


def text_of(screen: ClusterScreen) -> str:
    """What is shown, as tables; where it was seen and when stands first."""
    head = screen.board.head
    stamp = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(screen.board.now))
    past = "  THE PAST" if screen.cockpit.travel is not None else ""
    out = [f"{head.cluster if head is not None else '?'}  {screen.cockpit.address_of(screen)}  {stamp}{past}", ""]
    for widget in lists_of(screen):
        if isinstance(widget, Bar):
            continue
        out += [*(table(widget) if isinstance(widget, Grid) else lines_of(widget)), ""]
    return "\n".join(line.rstrip() for line in out) + "\n"


def table(grid: Grid[Any]) -> list[str]:
    """Rows in columns as wide as their longest cell."""
    titles = [c.title.strip() for c in grid.columns]
    rows = [titles]
    for key in grid.order:
        pad = "  " * grid.depth.get(key, 0) if isinstance(grid, Tree) else ""
        lead = clean("".join(t for t, _ in grid.lead(key)), LONGEST)
        first, *rest = (clean(t, LONGEST).strip() for t, _ in grid.texts(key))
        rows.append([pad + lead + first, *rest])
    widths = [max(cells(row[n]) for row in rows) for n in range(len(titles))]
    return ["  ".join(t + " " * (w - cells(t)) for t, w in zip(row, widths, strict=True)) for row in rows]
