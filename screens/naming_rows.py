"""The naming view in rows: endpoints, the services they belong to, and what each host has applied. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from cockpit.model.states import UP
from cockpit.model.view import ABSENT, BADNESS, DRAINING, DRIFT, OK, UNKNOWN, EndpointRow, HostRow
from screens.board import Board
from screens.format import since
from screens.look import Look, Piece
from screens.rows import PRESENT, endpoint_columns, heard, host_word, quiet
from screens.slices import CHUNK, Steps, sorting
from screens.widgets.columns import Column

FLAPPING = "flapping"
"""How the registry begins the reason of an endpoint that is held out until it is stable."""
MARKS = {"ready": OK, "draining": DRAINING, "gone": ABSENT, "damped": DRIFT, "weight 0": DRAINING}


def state_word(row: EndpointRow) -> str:
    """ready, draining, gone; damped: it flaps and is held out, or is only kept; `weight 0`: no new traffic."""
    if row.why.startswith(FLAPPING):
        return "damped"
    if row.state == "ready" and row.attributes.get("weight") in ("0", "0.0"):
        return "weight 0"
    return row.state


def endpoint_mark(row: EndpointRow) -> str:
    return MARKS.get(state_word(row), UNKNOWN)


class ServiceNames(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoints of one service, counted."""

    service: str
    counts: dict[str, int]
    """State word -> endpoints."""
    changed: float
    """Unix time of the last change."""
    mark: str


class Books:
    """The endpoints of each service and their counts, kept row by row."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, EndpointRow]] = {}
        """Service -> key -> row."""
        self._service: dict[str, str] = {}
        """Key -> service."""
        self._counts: dict[str, Counter[str]] = {}
        self._known: dict[str, ServiceNames] = {}
        self._stale: set[str] = set()

    def __len__(self) -> int:
        return len(self._service)

    def __contains__(self, key: str) -> bool:
        return key in self._service

    def put(self, key: str, row: EndpointRow | None) -> None:
        """A row that came, changed or went (None)."""
        service = self._service.pop(key, None)
        if service is not None:
            self._counts[service][state_word(self._of[service].pop(key))] -= 1
            self._stale.add(service)
        if row is not None:
            self._service[key] = row.service
            self._of.setdefault(row.service, {})[key] = row
            self._counts.setdefault(row.service, Counter())[state_word(row)] += 1
            self._stale.add(row.service)

    def services(self) -> dict[str, ServiceNames]:
        while self._stale:
            self._sum_up(self._stale.pop())
        return dict(sorted(self._known.items()))

    def _sum_up(self, service: str) -> None:
        rows = self._of[service]
        if not rows:
            self._known.pop(service, None)
            return
        counts = {word: count for word, count in self._counts[service].items() if count}
        mark = max((MARKS.get(word, UNKNOWN) for word in counts if word != "gone"),
                   key=lambda m: BADNESS.get(m, 0), default="failed")  # fmt: skip
        changed = max(row.since for row in rows.values())
        self._known[service] = ServiceNames(service=service, counts=counts, changed=changed, mark=mark)

    def total(self, word: str) -> int:
        return sum(counts[word] for counts in self._counts.values())

    def reading(self, rows: Mapping[str, EndpointRow]) -> Steps[dict[str, EndpointRow]]:
        """Take all of them in, in steps; the rows by service, instance and key."""
        keys = list(rows)
        for start in range(0, len(keys), CHUNK):
            for key in keys[start : start + CHUNK]:
                self.put(key, rows[key])
            yield 0.5 * start / len(keys)
        out: dict[str, EndpointRow] = {}
        for service in sorted(self._of):
            mine = self._of[service]
            order = yield from sorting(list(mine.items()), lambda item: (item[1].instance, item[0]))
            out.update(order)
            self._sum_up(service)
            yield 0.5 + 0.5 * len(out) / len(keys)
        self._stale.clear()
        return out


def behind(row: HostRow, version: int) -> int:
    """Published changes that a host has not applied; 0 for one that is not heard."""
    return max(0, version - row.names_applied) if row.presence == UP else 0


def lagging(hosts: Mapping[str, HostRow], version: int) -> list[str]:
    return sorted(n for n, h in hosts.items() if behind(h, version))


def host_mark(row: HostRow, version: int) -> str:
    return DRIFT if behind(row, version) else row.mark


def _users(board: Board, service: str) -> str:
    return ", ".join(board.short(u) for u in board.users(service))


def endpoint_grid_columns(board: Board, look: Look) -> list[Column]:
    """The columns every endpoint list has, with the state in one word, its weight, and who uses it."""

    def state(row: EndpointRow) -> Piece:
        mark = endpoint_mark(row)
        return state_word(row), "muted" if mark == OK else mark

    out = []
    for column in endpoint_columns(board, look):
        if column.id == "state":
            out += [
                Column("state", "STATE", state),
                Column("weight", "WEIGHT", lambda r: (r.attributes.get("weight", ""), "muted"), leave=6, right=True),
            ]
        elif column.id == "why":
            out += [
                Column("users", "USED BY", lambda r: (_users(board, r.service), "muted"), leave=4, most=40), column,
            ]
        else:
            out.append(column)
    return out


def service_columns(board: Board, look: Look) -> list[Column]:
    def count(word: str, title: str, leave: int) -> Column:
        mark = MARKS[word]

        def cell(row: ServiceNames) -> Piece:
            number = row.counts.get(word, 0)
            if word == "ready":
                return str(number), "text" if number else "failed"
            return str(number or ""), "muted" if mark in (OK, ABSENT) else mark

        return Column(word, title, cell, leave=leave, right=True, sort=lambda r: -r.counts.get(word, 0))

    return [
        Column("service", "SERVICE", lambda r: (board.short(r.service), quiet(r.mark)), most=44),
        count("ready", "READY", 0), count("draining", "DRAINING", 3), count("weight 0", "WEIGHT 0", 4),
        count("damped", "DAMPED", 2), count("gone", "GONE", 5),
        Column("changed", "CHANGED", lambda r: (since(r.changed or None, board.now), "muted"), leave=1, right=True,
               sort=lambda r: -r.changed),
        Column("users", "USED BY", lambda r: (_users(board, r.service) or "nobody", "muted"), leave=6, grow=True,
               least=12, most=80),
    ]  # fmt: skip


def applied_columns(board: Board, look: Look) -> list[Column]:
    def version() -> int:
        return board.head.names_version if board.head else 0

    def late(row: HostRow) -> Piece:
        number = behind(row, version())
        if number:
            return f"{look.glyph(DRIFT)} {number} behind", DRIFT
        return "" if row.names_applied else "none", "muted"

    return [
        Column("name", "HOST", lambda r: (r.name, quiet(host_mark(r, version()))), most=40),
        Column("applied", "APPLIED", lambda r: (str(r.names_applied), "muted"), right=True,
               sort=lambda r: r.names_applied),
        Column("behind", "LAG", late, sort=lambda r: -behind(r, version())),
        Column("presence", "PRESENCE", lambda r: (host_word(r), "muted" if r.mark == OK else r.mark), leave=1),
        Column("seen", "SEEN", lambda r: (heard(r, board), "muted"), leave=2, right=True,
               sort=lambda r: (r.presence not in PRESENT, -(r.seen or 0))),
        Column("region", "REGION", lambda r: (r.region, "muted"), leave=3, most=20),
    ]  # fmt: skip
