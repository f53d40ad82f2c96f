"""The Sudoku system that `cockpit demo` runs."""
