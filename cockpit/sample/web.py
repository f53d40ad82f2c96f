"""The `web` service of the sample: a page with a form, which asks `sudoku` for the solution.

It finds `sudoku` by name, and asks another endpoint when one refuses, breaks off or fails: solving
changes nothing, so asking twice is safe. Feature `steps`: show how hard the puzzle was.
"""

from __future__ import annotations

import argparse
import html
import http.client
import json
import os
import sys
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

if __package__:
    from cockpit.naming.client import Names, Unresolved
    from cockpit.sample import serve
else:  # in a release, the modules lie beside this file
    import serve  # type: ignore[import-not-found,no-redef]
    from names import Names, Unresolved  # type: ignore[import-not-found,no-redef]

CONNECT = 1.0
"""Seconds for a connection to one endpoint."""
READ = 5.0
"""Seconds for its answer."""
DEADLINE = 8.0
"""Seconds in which some endpoint must answer."""
REST = 1.0
"""Seconds in which an endpoint that failed is asked last."""

At = tuple[str, int]
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sudoku</title><style>
body {{ font: 16px sans-serif; margin: 2em auto; width: 30em }}
table {{ border-collapse: collapse; margin: 1em 0 }}
td {{ border: 1px solid #999; width: 1.8em; height: 1.8em; text-align: center }}
td:nth-child(3n) {{ border-right: 2px solid #000 }} tr:nth-child(3n) td {{ border-bottom: 2px solid #000 }}
input {{ font-family: monospace; width: 100% }}
</style></head><body><h1>Sudoku</h1>
<form action="/"><p><label>81 digits, row by row, 0 for an empty cell:
<input name="puzzle" maxlength="81" value="{puzzle}"></label></p><p><button>Solve</button></p></form>
{answer}
<p><small>web {version} {instance}</small></p></body></html>
"""


class AllFailed(Exception):
    """No endpoint answered in time; the message has the last reason."""


class Upstream:
    """One service found by name, asked by GET, one connection per request."""

    def __init__(self, names: Names, service: str) -> None:
        self.names = names
        self.service = service
        self._failed: dict[At, float] = {}
        """Endpoint -> when it failed last."""

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status (below 500) and JSON of the first endpoint that answers. Raises AllFailed."""
        deadline = time.monotonic() + DEADLINE
        pause = 0.02
        why = ""
        while True:
            try:
                order = self.names.order(self.service)
                why = why if order else f"{self.service}: no endpoint is ready"
            except Unresolved as e:
                order, why = [], str(e)
            now = time.monotonic()
            order.sort(key=lambda at: now - self._failed.get(at, 0.0) < REST)
            for at in order:
                try:
                    return self._ask(at, path)
                except (OSError, http.client.HTTPException, ValueError) as e:
                    self._failed[at] = time.monotonic()
                    why = f"{at[0]}:{at[1]}: {e or type(e).__name__}"
                    serve.complain(f"{self.service} at {why}; asking another")
                if time.monotonic() > deadline:
                    break
            if time.monotonic() + pause > deadline:
                raise AllFailed(why)
            time.sleep(pause)  # the registry may know better in a moment
            pause = min(pause * 2, 0.5)

    @staticmethod
    def _ask(at: At, path: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(*at, timeout=CONNECT)
        try:
            connection.connect()
            connection.sock.settimeout(READ)
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read()
            if response.status >= 500:
                raise http.client.HTTPException(f"status {response.status}")
            answer = json.loads(body)
            if not isinstance(answer, dict):
                raise ValueError("not a JSON object")
            return response.status, answer
        finally:
            connection.close()


class Web:
    def __init__(self, release: serve.Release, upstream: Upstream) -> None:
        self.release = release
        self.upstream = upstream
        self.started = time.time()

    def health(self, _: Mapping[str, str]) -> serve.Answer:
        """Its own health only: when `sudoku` is away, taking `web` out too would help nobody."""
        return serve.as_json(200, status="ok", version=self.release.version)

    def info(self, _: Mapping[str, str]) -> serve.Answer:
        try:
            endpoints = self.upstream.names.resolve(self.upstream.service)
        except Unresolved:
            endpoints = []
        where = ("cluster", "service", "host", "region")
        env = {word: os.environ.get(f"COCKPIT_{word.upper()}", "") for word in where}
        return serve.as_json(
            200, version=self.release.version, instance=self.release.instance, pid=os.getpid(),
            started=self.started, features=self.release.features, sudoku=endpoints, **env,
        )  # fmt: skip

    def solve(self, query: Mapping[str, str]) -> serve.Answer:
        status, fields = self._solve(query.get("puzzle", ""))
        return serve.as_json(status, **fields)

    def page(self, query: Mapping[str, str]) -> serve.Answer:
        puzzle, answer, status = query.get("puzzle", ""), "", 200
        if puzzle:
            status, fields = self._solve(puzzle)
            answer = _grid(fields) if status == 200 else f"<p>{html.escape(str(fields.get('error')))}</p>"
        page = PAGE.format(
            puzzle=html.escape(puzzle), answer=answer, version=html.escape(self.release.version),
            instance=html.escape(self.release.instance),
        )  # fmt: skip
        return serve.Answer(status, page.encode(), "text/html; charset=utf-8")

    def _solve(self, puzzle: str) -> tuple[int, dict[str, Any]]:
        me = {"version": self.release.version, "instance": self.release.instance}
        try:
            status, answer = self.upstream.get("/solve?" + urllib.parse.urlencode({"puzzle": puzzle}))
        except AllFailed as e:
            return 503, {"error": f"no sudoku answers: {e}", **me}
        wanted = ["solution", "error"]
        if self.release.features.get("steps"):
            wanted += ["steps", "difficulty"]
        fields = {name: answer[name] for name in wanted if name in answer}
        sudoku = {"version": answer.get("version"), "instance": answer.get("instance")}
        return status, {**fields, **me, "sudoku": sudoku}


def _grid(fields: Mapping[str, Any]) -> str:
    solution = html.escape(str(fields["solution"]))
    rows = (solution[n : n + 9] for n in range(0, 81, 9))
    table = "".join("<tr>" + "".join(f"<td>{digit}</td>" for digit in row) + "</tr>" for row in rows)
    sudoku = fields["sudoku"]
    by = f"Solved by sudoku {sudoku['version']} {sudoku['instance']}"
    hard = f", {fields['difficulty']}: {fields['steps']} guesses" if "difficulty" in fields else ""
    return f"<table>{table}</table><p>{html.escape(by + hard)}</p>"


def main() -> int:
    parser = argparse.ArgumentParser(description="A web page that solves Sudoku.")
    parser.add_argument("--sudoku", default="sudoku", help="name of the service that solves")
    at = serve.where("", parser)
    release = serve.release(__file__)
    with Names() as names:
        web = Web(release, Upstream(names, at.sudoku))
        routes = {"/": web.page, "/solve": web.solve, "/health": web.health, "/info": web.info}
        return serve.run(routes, at.address, at.port, f"web/{release.version}")


if __name__ == "__main__":
    sys.exit(main())
