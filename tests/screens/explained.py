"""Answers of the ops that explain, for the canned session."""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.explain.asked import explain
from cockpit.explain.facts import More
from cockpit.model.view import Change, Snapshot
from cockpit.model.why_rows import JournalLine, JournalPage, Life, Moment
from screens.board import Board
from screens.explain import kind_of
from screens.summary import facts_of
from tests.screens.canned import NOW, CannedSession
from tests.screens.puzzle import snapshot

MOMENTS = (
    Moment(at=NOW - 3900, kind="action", kinds=("instance", "puzzle.sudoku/3"), text="#115 deploy sudoku 1.2.0 began",
           source="actions", door=("action", "#115")),
    Moment(at=NOW - 1800, kind="gap", text="no data since 21:40:00 while no controller watched", mark="unknown",
           source="watched"),
    Moment(at=NOW - 48, kind="revision", kinds=("service", "puzzle.sudoku"), source="revisions",
           text="rev 42 by li@jump-1: sudoku version 1.1.0 → 1.2.0", door=("revision", "42")),
    Moment(at=NOW - 20, kind="presence", kinds=("host", "bj-2"), text="bj-2: suspect → up", source="watched",
           door=("host", "bj-2")),
    Moment(at=NOW - 14, kind="state", kinds=("instance", "puzzle.sudoku/3"), mark="drift", source="watched",
           text="running → unhealthy: tcp 127.0.2.4:20013 refused", door=("node", "puzzle.sudoku/3")),
)  # fmt: skip
"""Of sudoku/3, oldest first."""


def lines(first: int, last: int) -> tuple[JournalLine, ...]:
    kinds = ("intent", "gate", "outcome", "refused")
    return tuple(
        JournalLine(
            seq=n, time=NOW - 1000 + n, kind=kinds[n % 4], text=f"entry {n} tells", author="li@jump-1",
            action="#118" if n % 4 < 3 else "", mark="failed" if n % 4 == 3 else "ok", hash=f"{n:064x}",
        )
        for n in range(first, last + 1)
    )  # fmt: skip


class Journal:
    """A journal of so many entries; an entry is one byte."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.whole = True

    def __call__(self, args: dict[str, Any]) -> Any:
        limit = args["limit"]
        if args["after"] >= 0:
            start, end = args["after"], min(self.count, args["after"] + limit)
        else:
            end = self.count if args["before"] < 0 else args["before"]
            start = max(0, end - limit)
        said = f"{self.count} entries, chain whole" if self.whole else "entry 7 (line 7): was altered"
        return msgspec.to_builtins(JournalPage(
            lines=lines(start + 1, end), start=start, end=end, count=self.count,
            whole=self.whole if args["verify"] else None, said=said if args["verify"] else "",
        ))  # fmt: skip


def session(first: Snapshot | None = None, **options: Any) -> CannedSession:
    """One that explains what is on its board, with log lines of sudoku/3."""
    made = CannedSession(first or snapshot(), **options)

    def explaining(args: dict[str, Any]) -> Any:
        board = Board(lambda: NOW)
        board.load(made.data)
        facts = facts_of(board)
        facts.more = {"puzzle.sudoku/3": More(lines=("OSError: [Errno 98] Address already in use",))}
        return msgspec.to_builtins(explain(facts, kind_of(board, args["name"]), args["name"]))

    def then(args: dict[str, Any]) -> Any:
        old = args["revision"] and args["revision"] < 42
        service = {"version": "1.1.0" if old else "1.2.0", "processes": {"main": ["./sudoku"]}, "ports": {"main": 0}}
        return {"instance": args["instance"], "revision": args["revision"] or 42, "service": service, "host": "bj-2",
                "stopped": False}  # fmt: skip

    change = Change(path=("services", "puzzle.sudoku", "version"), old="1.1.0", new="1.2.0")
    made.answers |= {
        "explain": explaining,
        "timeline": lambda args: msgspec.to_builtins(
            Life(kind="instance", name=args["name"], now=NOW, moments=MOMENTS, left_out=2)
        ),
        "journal": Journal(700),
        "revision_diff": lambda args: {
            "from": args["from"] or 42, "to": args["to"] or 42, "sentences": ["sudoku version 1.1.0 → 1.2.0"],
            "changes": msgspec.to_builtins([change]), "left_out": 0,
        },
        "instance_at": then,
    }  # fmt: skip
    return made
