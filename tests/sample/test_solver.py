"""The solver: right answers by table and property, and clear words for what has none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.sample.client import puzzles
from cockpit.sample.solver import UNITS, Unsolvable, difficulty, is_solution, parse, solve

FULL = "".join(str((r * 3 + r // 3 + c) % 9 + 1) for r in range(9) for c in range(9))
HARD = "4.....8.5.3..........7......2.....6.....8.4......1.......6.3.7.5..2.....1.4......"
HOPELESS = ".....5.8....6.1.43..........1.5........1.6...3.......553.....61........4........."


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_every_generated_puzzle_is_solved(seed: int) -> None:
    [puzzle] = puzzles(1, seed)
    solution, steps = solve(puzzle)
    assert is_solution(puzzle, solution) and steps >= 0
    assert solve(puzzle.replace("0", ".")) == (solution, steps)


def test_a_hard_one_needs_guesses_and_an_easy_one_none() -> None:
    solution, steps = solve(HARD)
    assert is_solution(HARD, solution) and steps > 0
    assert solve("0" + FULL[1:]) == (FULL, 0)
    empty, _ = solve("." * 81)
    assert is_solution("." * 81, empty)


@pytest.mark.parametrize(
    ("puzzle", "why"),
    [
        ("", "has 81 cells, this has 0"),
        ("1" * 82, "this has 82"),
        ("x" + "0" * 80, "cell 1 is 'x'"),
        ("٣" + "0" * 80, "digits are wanted"),
        ("11" + "0" * 79, "digit 1 at row 1, column 2 clashes"),
        ("123456780" + "0" * 71 + "9", "clashes"),
        (HOPELESS, "no solution|given up"),
    ],
)
def test_what_has_no_solution(puzzle: str, why: str) -> None:
    with pytest.raises(Unsolvable, match=why):
        solve(puzzle)


@given(st.integers(0, 80), st.sampled_from("0123456789"))
def test_a_changed_cell_is_no_solution(cell: int, digit: str) -> None:
    changed = FULL[:cell] + digit + FULL[cell + 1 :]
    assert is_solution("0" * 81, changed) == (changed == FULL)
    assert is_solution(FULL, FULL) and is_solution("." * 81, FULL)


def test_a_solution_of_another_puzzle_is_none() -> None:
    other = FULL.translate(str.maketrans("123456789", "234567891"))
    assert is_solution("0" * 81, other) and not is_solution(FULL[:5] + "0" * 76, other)
    assert not is_solution("0" * 80, FULL) and not is_solution("0" * 81, FULL[:80])


def test_units_and_words() -> None:
    assert len(UNITS) == 27 and all(len(set(u)) == 9 for u in UNITS)
    assert sorted(cell for u in UNITS for cell in u) == sorted(list(range(81)) * 3)
    assert [difficulty(n) for n in (0, 1, 10, 100)] == ["easy", "medium", "hard", "fiendish"]
    assert parse("." + FULL[1:])[0] == 0
