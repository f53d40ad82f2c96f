"""The overview as plain text: for `status`, for terminals without screens, and for pipes.

Made from the same columns and the same summary as the screen; it imports no Textual.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cockpit.model.view import BADNESS, InstanceRow, NodeRow, Snapshot
from screens.board import Board
from screens.format import cells, clock, cut, fit, plural, zone
from screens.item import Item
from screens.look import Look, Piece
from screens.rows import tree_columns
from screens.summary import lately_items, need_items, running_items
from screens.widgets.columns import GAP, place


def overview_text(
    snapshot: Snapshot, width: int = 100, ascii: bool = False, colour: bool = False, theme: str = "ansi16"
) -> str:
    """Top line, tree, NEEDS YOU, RUNNING, LATELY. Ends with a newline; no line is wider than `width`.

    With `colour`, styles are written as SGR codes of the sixteen colours.
    """
    board = Board(lambda: snapshot.head.now)
    board.load(snapshot)
    look = Look(theme=theme, ascii=ascii)
    lines: list[list[Piece]] = [_top(board, look, width)]
    lines += [[(look.glyph("drift") + " ", "drift"), (look.text(n), "text")] for n in board.notices]
    lines.append([])
    lines += _tree(board, look, width)
    for title, items in (
        ("NEEDS YOU", need_items(board, look, width, read_only="plain", hints=0)),
        ("RUNNING", running_items(board, look, width)),
        ("LATELY", lately_items(board, look, width, 5)),
    ):
        if items or title == "NEEDS YOU":
            lines += [[], [(title, "head")]]
            lines += _items(items) if items else [[("  nothing", "muted")]]
    return "".join(_line(pieces, width, look, colour) + "\n" for pieces in lines)


def _top(board: Board, look: Look, width: int) -> list[Piece]:
    head = board.head
    assert head is not None
    out: list[Piece] = [
        (head.cluster, "strong"), (f"  rev {head.revision}", "text"),
        (f"   {plural(len(board.hosts), 'host')}  {plural(len(board.instances), 'instance')}", "text"),
    ]
    counts = board.counts()
    for mark in sorted(counts, key=lambda m: -BADNESS.get(m, 0)):
        out.append((f"  {look.glyph(mark)} {counts[mark]} {mark}", mark))
    if not counts:
        out.append((f"  {look.glyph('ok')} all as expected", "ok"))
    out.append((f"  {clock(head.now)} {zone(head.now)}", "muted"))
    if sum(cells(text) for text, _ in out) > width:
        del out[2]
    return out


def _walk(board: Board, path: str, depth: int) -> Iterable[tuple[int, NodeRow | InstanceRow]]:
    for child in board.children(path):
        yield depth, board.nodes[child]
        yield from _walk(board, child, depth + 1)
        for key in board.slots(child):
            yield depth + 1, board.instances[key]


def _tree(board: Board, look: Look, width: int) -> list[list[Piece]]:
    columns = tree_columns(board, look)
    rows: list[list[Piece]] = []
    wants: dict[str, int] = {}
    for depth, row in _walk(board, "", 0):
        cells_of = [c.cell(row) for c in columns]
        sign = look.glyph(row.mark) if isinstance(row, InstanceRow) else look.sign("open")
        cells_of[0] = ("  " * depth + f"{sign} " + cells_of[0][0], cells_of[0][1])
        for column, (text, _) in zip(columns, cells_of, strict=True):
            wants[column.id] = max(wants.get(column.id, 0), cells(text))
        rows.append(cells_of)
    placed = place(columns, wants, width)
    ids = [c.id for c in columns]
    out: list[list[Piece]] = [_join([(fit(c.title if n else "SERVICE TREE", w, "", c.right), "head")
                                     for n, (c, w) in enumerate(placed)])]
    for cells_of in rows:
        pieces: list[Piece] = []
        for column, room in placed:
            text, word = cells_of[ids.index(column.id)]
            pieces.append((fit(text, room, look.sign("more"), column.right), word))
        out.append(_join(pieces))
    return out


def _join(pieces: Sequence[Piece]) -> list[Piece]:
    out: list[Piece] = []
    for number, piece in enumerate(pieces):
        if number:
            out.append((" " * GAP, "text"))
        out.append(piece)
    return out


def _items(items: Sequence[Item]) -> list[list[Piece]]:
    return [list(item.pieces) for item in items]


def _line(pieces: Sequence[Piece], width: int, look: Look, colour: bool) -> str:
    room = width
    kept: list[Piece] = []
    for text, word in pieces:
        text = cut(text, room)
        room -= cells(text)
        kept.append((text, word))
    while kept and not kept[-1][0].strip():
        kept.pop()
    if kept:
        kept[-1] = (kept[-1][0].rstrip(), kept[-1][1])
    return "".join(look.style(word).render(text) if colour and text else text for text, word in kept)
