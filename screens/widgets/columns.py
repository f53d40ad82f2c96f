"""Columns of a grid: what they show, which leave first when it gets narrow. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from screens.format import cells, drop, fit
from screens.look import Piece
from screens.words import Words

GAP = 2


@dataclass(frozen=True)
class Column:
    id: str
    title: str
    cell: Callable[[Any], Piece]
    """Row -> text and style word."""
    right: bool = False
    leave: int = 0
    """0 never leaves; of the others the highest goes first."""
    grow: bool = False
    """Takes the room that is left."""
    least: int = 12
    """Cells it makes do with, when it grows."""
    sort: Callable[[Any], Any] | None = None
    """Row -> sort key; None: by the text of the cell."""
    most: int = 60
    """Cells it may take at most."""
    paint: Callable[[Any, int], Sequence[Piece]] | None = None
    """Row and cells -> what it shows in just that room; `cell` then only says how much it would like."""
    off: bool = False
    """Only shown when the operator chose it."""
    there: Callable[[], bool] | None = None
    """Is there anything to show in it? While there is not, it stands nowhere."""
    amount: bool = False
    """A number of which larger and smaller mean something: a change is marked with its direction."""


Placed = tuple[Column, int]


def present(columns: Sequence[Column]) -> Sequence[Column]:
    """Those that have something to show."""
    return [c for c in columns if c.there is None or c.there()]


def titled(columns: Sequence[Column], words: Words) -> Sequence[Column]:
    """The same columns with their titles in the operator's language."""
    return [replace(c, title=words.title(c.title)) for c in columns] if words.on else columns


def row_cells(columns: Sequence[Column], row: Any, words: Words) -> tuple[Piece, ...]:
    """What a row shows; the first column is its name and stays as it is."""
    if not words.on:
        return tuple([column.cell(row) for column in columns])
    return tuple([words.cell(c.id, c.cell(row)) if n else c.cell(row) for n, c in enumerate(columns)])


def place(columns: Sequence[Column], wants: Mapping[str, int], room: int) -> list[Placed]:
    """The columns that fit into `room` cells, in their order, with their widths.

    Whoever grows is asked for little first: it shrinks to its title before others have to leave.
    The first column never leaves; when nothing else is left it takes what there is.
    """
    kept = list(columns)

    def least(column: Column) -> int:
        want = min(column.most, max(cells(column.title), wants.get(column.id, 0)))
        return min(want, max(column.least, cells(column.title))) if column.grow else want

    while len(kept) > 1 and sum(least(c) + GAP for c in kept) - GAP > room:
        leavers = [c for c in kept if c.leave]
        if not leavers:
            break
        kept.remove(max(leavers, key=lambda c: c.leave))
    widths = [least(c) for c in kept]
    spare = room - sum(widths) - GAP * (len(kept) - 1)
    for index, column in enumerate(kept):
        if column.grow and spare > 0:
            want = min(column.most, wants.get(column.id, 0))
            more = min(spare, max(0, want - widths[index]))
            widths[index] += more
            spare -= more
    if spare < 0:
        widths[0] = max(1, widths[0] + spare)
    return list(zip(kept, widths, strict=True))


def chosen(every: Sequence[Column], ids: Sequence[str] | None) -> list[Column]:
    """The columns to show: those of `ids` in that order, the first of all always first; None: those not off.

    Ids that no column has are passed over: a file may be older than the columns.
    """
    if ids is None:
        return [c for c in every if not c.off]
    known = {c.id: c for c in every}
    first = every[0].id
    return [every[0], *(known[id] for id in dict.fromkeys(ids) if id in known and id != first)]


def renewed(
    columns: Sequence[Column], every: Sequence[Column], shown: Sequence[Column], own: set[str],
) -> tuple[list[Column], list[Column]]:
    """Other columns instead of `every`, the operator's own behind them; and those to show, as they were chosen."""
    whole = [*columns, *(c for c in every if c.id in own)]
    ids = [c.id for c in shown]
    return whole, chosen(whole, None if ids == [c.id for c in every if not c.off] else ids)


def presets(every: Sequence[Column]) -> dict[str, list[str]]:
    """Name -> ids: what fits beside another window, what is usual, everything."""
    usual = [c.id for c in every if not c.off]
    narrow = [c.id for c in every if not c.off and (c.leave <= 3 or c is every[0])]
    return {"narrow": narrow, "usual": usual, "all": [c.id for c in every]}


def header(placed: Sequence[Placed], title: str, sort_by: str, sign: str, left: int) -> list[Piece]:
    """The titles; what follows the first is moved to the left by so many cells.

    The sign of the order stands in front of its title; where the column has no room for it, in the gap.
    """
    pieces: list[Piece] = []
    rest: list[Piece] = []
    for number, (column, room) in enumerate(placed):
        name = (title or column.title) if number == 0 else column.title
        gap = " " * (GAP if number else 1)
        if column.id == sort_by:
            if cells(sign + name) <= room:
                name = sign + name
            else:
                gap = gap[: -cells(sign)] + sign
        (rest if number else pieces).extend([(gap, "head"), (fit(name, room, "", column.right), "head")])
    if left:
        rest = [(drop("".join(text for text, _ in rest), left), "head")]
    return [*pieces, *rest]
