"""Solves Sudoku: constraint propagation, and search where that is not enough.

A cell's candidates are nine bits. Setting a cell strikes its digit from its peers; a cell with one
candidate left is set, and so is a digit with one place left in a unit (naked and hidden singles).
When nothing follows any more, the cell with the fewest candidates is tried. Standard library,
Python 3.9.
"""

from __future__ import annotations

MAX_STEPS = 10_000
"""Guesses after which a puzzle is given up; the hardest known proper ones need a few hundred."""

_ALL = 0b111111111
_ROWS = [[r * 9 + c for c in range(9)] for r in range(9)]
_COLUMNS = [[r * 9 + c for r in range(9)] for c in range(9)]
_CORNERS = [r * 9 + c for r in (0, 3, 6) for c in (0, 3, 6)]
_BOXES = [[corner + r * 9 + c for r in range(3) for c in range(3)] for corner in _CORNERS]
UNITS = _ROWS + _COLUMNS + _BOXES
_UNITS_OF = [[u for u in UNITS if cell in u] for cell in range(81)]
_PEERS = [sorted({p for u in units for p in u} - {cell}) for cell, units in enumerate(_UNITS_OF)]
_BITS = [[d for d in range(9) if mask >> d & 1] for mask in range(512)]
_COUNT = [len(bits) for bits in _BITS]


class Unsolvable(ValueError):
    """Not a puzzle, contradictory, or too hard; the message says which."""


def solve(puzzle: str) -> tuple[str, int]:
    """A solution of 81 digits and the number of guesses. `0` and `.` are empty cells, row by row.

    Of several solutions it is always the same one. Raises Unsolvable.
    """
    cells = [_ALL] * 81
    for cell, digit in enumerate(parse(puzzle)):
        if digit and not _set(cells, cell, 1 << digit - 1):
            at = f"row {cell // 9 + 1}, column {cell % 9 + 1}"
            raise Unsolvable(f"no solution: the digit {digit} at {at} clashes with those before it")
    guesses = [0]
    solved = _search(cells, guesses)
    if solved is None:
        raise Unsolvable("no solution")
    return "".join(str(_BITS[mask][0] + 1) for mask in solved), guesses[0]


def parse(puzzle: str) -> list[int]:
    """Digits of the 81 cells, 0 for empty. Raises Unsolvable."""
    if len(puzzle) != 81:
        raise Unsolvable(f"a puzzle has 81 cells, this has {len(puzzle)}")
    for n, letter in enumerate(puzzle):
        if letter not in ".0123456789":
            raise Unsolvable(f"cell {n + 1} is {letter!r}: digits are wanted, 0 or . for an empty cell")
    return [0 if letter == "." else int(letter) for letter in puzzle]


def is_solution(puzzle: str, solution: str) -> bool:
    """Is it a full grid by the rules that agrees with the puzzle?"""
    if len(puzzle) != 81 or len(solution) != 81 or set(solution) != set("123456789"):
        return False
    if any(puzzle[cell] not in (".", "0", solution[cell]) for cell in range(81)):
        return False
    return all(len({solution[cell] for cell in unit}) == 9 for unit in UNITS)


def difficulty(steps: int) -> str:
    """A word for the number of guesses."""
    return "easy" if steps == 0 else "medium" if steps < 10 else "hard" if steps < 100 else "fiendish"


def _set(cells: list[int], cell: int, bit: int) -> bool:
    """Put a digit and all that follows from it. False: a contradiction."""
    others = cells[cell] & ~bit
    if not cells[cell] & bit:
        return False
    return all(_strike(cells, cell, 1 << d) for d in _BITS[others])


def _strike(cells: list[int], cell: int, bit: int) -> bool:
    if not cells[cell] & bit:
        return True
    left = cells[cell] = cells[cell] & ~bit
    if not left:
        return False
    if not left & (left - 1):
        for peer in _PEERS[cell]:
            if cells[peer] & left and not _strike(cells, peer, left):
                return False
    for unit in _UNITS_OF[cell]:
        places = [c for c in unit if cells[c] & bit]
        if not places:
            return False
        if len(places) == 1 and cells[places[0]] != bit and not _set(cells, places[0], bit):
            return False
    return True


def _search(cells: list[int], guesses: list[int]) -> list[int] | None:
    fewest, at = 10, -1
    for cell, mask in enumerate(cells):
        if 1 < _COUNT[mask] < fewest:
            fewest, at = _COUNT[mask], cell
            if fewest == 2:
                break
    if at < 0:
        return cells
    for digit in _BITS[cells[at]]:
        guesses[0] += 1
        if guesses[0] > MAX_STEPS:
            raise Unsolvable(f"given up after {MAX_STEPS} guesses")
        copy = cells.copy()
        if _set(copy, at, 1 << digit):
            solved = _search(copy, guesses)
            if solved is not None:
                return solved
    return None
