"""The `sudoku` service of the sample: GET /solve?puzzle=<81 digits>, GET /health.

Features of a release: `steps` adds the number of guesses and a word for it to the answers;
`patterns` names a table of known puzzles (JSON, puzzle -> solution) without which the program is
not ready.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

if __package__:
    from cockpit.sample import serve, solver
else:  # in a release, the modules lie beside this file
    import serve  # type: ignore[import-not-found,no-redef]
    import solver  # type: ignore[import-not-found,no-redef]

REMIND = 5.0
"""Seconds between two lines that say why it is not ready."""


class Sudoku:
    def __init__(self, release: serve.Release) -> None:
        self.release = release
        self.patterns: dict[str, str] = {}
        self.missing = ""
        """Why it is not ready."""
        self._said = 0.0
        self.warm_up()

    def warm_up(self) -> None:
        """Load the table of patterns, when this release wants one and it is there."""
        table = self.release.features.get("patterns")
        if not table or self.patterns:
            return
        try:
            self.patterns = json.loads((self.release.directory / table).read_bytes())
            self.missing = ""
        except (OSError, ValueError) as e:
            why = e.strerror if isinstance(e, OSError) else f"damaged, {e}"
            self.missing = f"warming up: table of patterns is missing ({table}: {why})"
            if time.monotonic() - self._said > REMIND or not self._said:
                self._said = time.monotonic()
                serve.complain(self.missing)

    def health(self, _: Mapping[str, str]) -> serve.Answer:
        self.warm_up()
        if self.missing:
            return serve.as_json(503, status=self.missing, version=self.release.version)
        return serve.as_json(200, status="ok", version=self.release.version)

    def solve(self, query: Mapping[str, str]) -> serve.Answer:
        if self.missing:
            return serve.as_json(503, error=self.missing)
        puzzle = query.get("puzzle", "")
        me = {"version": self.release.version, "instance": self.release.instance}
        try:
            known = self.patterns.get(puzzle)
            solution, steps = (known, 0) if known else solver.solve(puzzle)
        except solver.Unsolvable as e:
            return serve.as_json(422, error=str(e), **me)
        more: dict[str, Any] = {}
        if self.release.features.get("steps"):
            more = {"steps": steps, "difficulty": solver.difficulty(steps)}
        return serve.as_json(200, solution=solution, **me, **more)


def main() -> int:
    at = serve.where("Solves Sudoku over HTTP.")
    release = serve.release(__file__)
    sudoku = Sudoku(release)
    routes = {"/health": sudoku.health, "/solve": sudoku.solve}
    return serve.run(routes, at.address, at.port, f"sudoku/{release.version}")


if __name__ == "__main__":
    sys.exit(main())
