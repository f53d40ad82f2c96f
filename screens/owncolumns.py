"""Columns of an operator's own: a path into the rows of a list, and what it leads to. `:columns +host.labels.rack`.

A filter asks the same path. They are kept with the other columns of a view, by their path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from cockpit.model.problems import Wrong, nearest
from screens.board import Board
from screens.format import clean, since, size
from screens.query import field_of
from screens.typed import FLAG, MANY, MOMENT, NUMBER, NUMBERS, SIZE, SPAN, Field, sort_key
from screens.widgets.columns import Column, chosen, presets
from screens.widgets.grid import Grid

if TYPE_CHECKING:
    from textual.screen import Screen

    from screens.base import ClusterScreen

MOST = 12
"""Columns of one's own in one list."""
TITLE = 24
HOW = "`:columns +host.region` adds a column, `:columns -host.region` takes it away, `:columns usual` takes all away."


def said(field: Field, value: Any, now: float) -> str:
    """A value as a cell shows it."""
    kind = field.kind
    if value is None or value == "":
        return ""
    if kind == MOMENT:
        return since(value, now)
    if kind == SIZE:
        return size(value) if value >= 0 else "unlimited"
    if kind == SPAN:
        return f"{value * 1000:.3g}ms" if field.unit != 1.0 else f"{value:g}s"
    if kind == FLAG:
        return "yes" if value else "no"
    if kind in (MANY, NUMBERS):
        return " ".join(str(v) for v in islice(value, 50))
    if kind == NUMBER:
        return f"{value:g}" if isinstance(value, float) else str(value)
    return str(value)


def column_of(field: Field, every: Sequence[Column], board: Board) -> Column:
    """The column of a field; its title is the end of its path, the whole of it where another has that."""
    get = field.get
    path = field.name

    def cell(row: Any) -> tuple[str, str]:
        return clean(said(field, get(row), board.now), 200), "muted"

    title = _title(path)
    if title in {c.title for c in every}:
        title = path.upper()[-TITLE:]
    right = field.kind in (NUMBER, SIZE, SPAN, MOMENT)
    return Column(
        path, title, cell, right=right, leave=1, most=40 if field.kind == MANY else TITLE, off=True,
        sort=sort_key(field), amount=field.kind in (NUMBER, SIZE),
    )  # fmt: skip


def _title(path: str) -> str:
    for word in ("labels.", "label.", "attributes."):
        head, found, key = f".{path}".rpartition(f".{word}")
        if found:
            return key.upper()[-TITLE:]
    parts = path.upper().split(".")
    # a limit must not read like what is used: what is expected says of what it is
    two = parts[-1].isdecimal() or (len(parts) > 2 and "EXPECTED" in parts[:-2])
    return ".".join(parts[-2:] if two else parts[-1:])[-TITLE:]


def restore(pane: Grid[Any], ids: Iterable[str], board: Board) -> None:
    """Have a column for each path that was kept; what leads nowhere any more is passed over."""
    for id in ids:
        if id not in {c.id for c in pane.every}:
            try:
                have(pane, id, board)
            except Wrong:
                continue


def have(pane: Grid[Any], path: str, board: Board) -> Column:
    """The column of a path, made when there is none. Raises Wrong."""
    known = next((c for c in pane.every if c.id == path), None)
    if known is not None:
        return known
    if sum(c.id in pane.own for c in pane.every) >= MOST:
        raise Wrong(f"a list has at most {MOST} columns of your own; take one away first")
    field = field_of(path, pane.schema)
    known = next((c for c in pane.every if c.id == field.name), None)
    if known is not None:
        return known
    column = column_of(field, pane.every, board)
    pane.every = [*pane.every, column]
    pane.own.add(column.id)
    if pane.schema.field(column.id) is None:
        pane.schema = replace(pane.schema, fields=(*pane.schema.fields, field))
    return column


def drop(pane: Grid[Any], ids: Iterable[str]) -> None:
    """These columns of one's own are no more. A filter may still ask their paths."""
    gone = {id for id in ids if id in pane.own}
    pane.every = [c for c in pane.every if c.id not in gone]
    left = tuple(f for f in pane.schema.fields if f.name not in gone or "." not in f.name)
    pane.schema = replace(pane.schema, fields=left)
    pane.own -= gone


async def change(screen: ClusterScreen, words: Sequence[str]) -> None:
    """`:columns`, and `:columns +PATH -PATH`, `:columns usual`."""
    from screens import finding

    if not words:
        await finding.columns(screen)
        return
    pane = screen.pane
    if not isinstance(pane, Grid):
        screen.say("These lines have no columns; tables and trees have.", "paused")
        return
    ids: list[str] | None = [c.id for c in pane.columns]
    said: list[str] = []
    doubt = ""
    try:
        for word in words:
            if word == "usual":
                drop(pane, set(pane.own))
                ids = None
            else:
                ids = [c.id for c in chosen(pane.every, ids)]
                said.append(_turn(pane, word, ids, screen.board))
                doubt = doubt or (_doubt(screen, pane, word[1:]) if word[0] == "+" else "")
    except Wrong as error:
        drop(pane, pane.own - {c.id for c in pane.columns})
        hint = f"; the nearest is {error.hint}" if error.hint else ""
        screen.say(f"{error}{hint}", "drift")
        return
    pane.choose(ids)
    drop(pane, pane.own - {c.id for c in pane.columns})
    why = await keep(screen, pane)
    words = "The usual columns." if ids is None else ", ".join(said) + ", also next time."
    screen.say(why or doubt or words, "drift" if why or doubt else "ok")


def _turn(pane: Grid[Any], word: str, ids: list[str], board: Board) -> str:
    """Put a column into the ids, or take it out. Raises Wrong."""
    sign, path = word[:1], word[1:]
    if sign not in ("+", "-") or not path:
        raise Wrong(f'"{clean(word, 40)}" is no column to add or to take away. {HOW}')
    if sign == "+":
        column = have(pane, path, board)
        if column.id not in ids:
            ids.append(column.id)
        return f"{column.title} ({column.id}) is the last column" if ids[-1] == column.id else f"{column.id} is there"
    if path not in ids:
        raise Wrong(f'no column "{clean(path, 40)}" is shown', nearest(path, ids))
    if path == ids[0]:
        raise Wrong(f"{path} always stays: it is the name of the row")
    ids.remove(path)
    return f"{path} is taken away"


def _doubt(screen: ClusterScreen, pane: Grid[Any], path: str) -> str:
    """A label that no row has now: said, since it may be a slip; the column is there nevertheless."""
    from screens.paths import LOOKED

    rows = list(islice(pane.rows.values(), LOOKED))
    field = pane.schema.field(path)
    if not rows or field is None or any(field.get(row) is not None for row in rows):
        return ""
    near = _near_key(screen, pane, path)
    if near is None:
        return ""
    other = f"; the nearest that is there is {near}" if near else ""
    return f"No row has {path} now{other}. `:columns -{path}` takes the column away."


def _near_key(screen: ClusterScreen, pane: Grid[Any], path: str) -> str | None:
    from screens.finding import view_name
    from screens.paths import LOOKED, kinds_of, unknown_key

    rows = list(islice(pane.rows.values(), LOOKED))
    head, _, key = path.partition(".")
    labels = pane.schema.labels
    if head in ("label", "labels") and labels is not None:
        known = sorted({k for row in rows for k in labels(row)})
        near = nearest(key, known)
        return None if key in known else f"{head}.{near}" if near else ""
    return unknown_key(path, kinds_of(view_name(screen, pane), pane.rows), screen.board, rows)


async def keep(screen: ClusterScreen, pane: Grid[Any]) -> str:
    """Remember the columns that are shown; why that failed, else nothing."""
    from screens import finding

    ids = [c.id for c in pane.columns]
    usual = ids == presets(pane.every)["usual"]
    views, name = finding.views(screen), finding.view_name(screen, pane)
    return await asyncio.to_thread(views.keep, name, None if usual else ids)


def paths_of(screen: ClusterScreen, pane: Grid[Any]) -> list[str]:
    """What can become a column here and is none yet: fields, labels, paths."""
    from screens.finding import view_name
    from screens.paths import every_path, kinds_of

    shown = {c.id for c in pane.columns}
    kinds = kinds_of(view_name(screen, pane), pane.rows)
    names = [n for n in (*pane.schema.names(), *_labels(pane)) if n not in shown]
    return list(dict.fromkeys((*names, *(p for p in every_path(kinds, screen.board, pane.rows.values())
                                         if p not in shown))))  # fmt: skip


def _labels(pane: Grid[Any]) -> list[str]:
    from screens.paths import LOOKED

    labels = pane.schema.labels
    if labels is None:
        return []
    return sorted({f"labels.{key}" for row in islice(pane.rows.values(), LOOKED) for key in labels(row)})


def completions(screen: Screen[Any], text: str) -> list[str]:
    """Whole lines that `:columns ...` may become."""
    from screens.base import ClusterScreen

    head, _, last = text.rpartition(" ")
    if not isinstance(screen, ClusterScreen) or not isinstance(pane := screen.pane, Grid):
        return []
    if last[:1] == "-":
        found = [f"-{c.id}" for c in pane.columns[1:]]
    elif last[:1] == "+":
        found = [f"+{path}" for path in _one_further(screen, pane, last[1:])]
    else:
        found = ["+", "-", "usual"]
    return [f"{head} {word}" for word in found if word.startswith(last)][:200]


def _one_further(screen: ClusterScreen, pane: Grid[Any], begun: str) -> list[str]:
    from screens.finding import view_name
    from screens.paths import complete, kinds_of

    kinds = kinds_of(view_name(screen, pane), pane.rows)
    plain = [n for n in (*pane.schema.names(), *_labels(pane)) if n.startswith(begun)]
    return list(dict.fromkeys((*plain, *complete(begun, kinds, screen.board, pane.rows.values()))))


__all__ = ["change", "column_of", "completions", "have", "keep", "paths_of", "restore", "said"]
