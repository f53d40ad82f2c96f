"""The columns of every table: one place that says how a row reads, for screens and plain output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cockpit.model.states import DRAINING as DRAINED
from cockpit.model.states import MAINTENANCE, UP
from cockpit.model.states import OK as HEALTHY
from cockpit.model.view import (
    ABSENT,
    CHANGING,
    DRAINING,
    DRIFT,
    FAILED,
    OK,
    PAUSED,
    UNKNOWN,
    ActionRow,
    ArtifactRow,
    EndpointRow,
    HostRow,
    InstanceRow,
    NodeRow,
    StepRow,
)
from screens.board import Board
from screens.format import age, date, latency, pairs, ports, since, size, span
from screens.loading import load_columns
from screens.look import Look, Piece
from screens.widgets.columns import Column

DAY = 86400.0
STEP_MARKS = {"waiting": ABSENT, "running": CHANGING, "done": OK, "failed": FAILED, "skipped": ABSENT}
ENDPOINT_MARKS = {"ready": OK, "draining": DRAINING, "gone": ABSENT}
ACTION_MARKS = {
    "running": CHANGING, "returning": CHANGING, "paused": PAUSED, "interrupted": PAUSED, "done": OK, "failed": FAILED,
    "aborted": FAILED, "returned": FAILED, "refused": FAILED,
}


def action_mark(row: ActionRow) -> str:
    return ACTION_MARKS.get(row.state, row.mark)


def action_door(row: ActionRow, board: Board) -> tuple[str, ...]:
    """Where Enter on an action leads: a push is looked at by its receivers, where some are known."""
    return ("pushes" if row.verb == "push" and board.receivers(row.id) else "action", row.id)


def quiet(mark: str) -> str:
    """The style of words that only deserve colour when something is wrong."""
    return "text" if mark == OK else mark


def instance_word(row: InstanceRow) -> str:
    return row.word or row.state.lower()


def lately_unwell(board: Board, name: str) -> bool:
    """Is an instance well only since its keeper started it again, within the last day?"""
    row = board.instances.get(name)
    return row is not None and bool(row.restarts) and board.now - (row.started or 0.0) < DAY


def version_cell(row: InstanceRow, look: Look) -> Piece:
    """The version that runs; with the expected one when it is another."""
    actual, expected = row.version_actual, row.version_expected
    if actual == expected or row.desired == "SHUTDOWN":
        return actual or expected, "muted"
    return f"{actual or '-'} {look.sign('to')} {expected}", row.mark if row.mark != OK else DRIFT


PRESENT = (UP, DRAINED, MAINTENANCE)
"""Presences in which reports arrive."""


def heard(row: HostRow | None, board: Board) -> str:
    """How fresh what a host says is: `live` while it is present, else the age of its last word."""
    if row is not None and row.presence in PRESENT and board.lost is None:
        return "live"
    return since(row.seen, board.now) if row is not None else ""


def host_word(row: HostRow) -> str:
    return row.presence


def lead(look: Look, mark: Callable[[Any], str]) -> Callable[[Any], tuple[Piece, ...]]:
    """Glyph in front of the name."""
    return lambda row: ((look.glyph(m := mark(row)) + " ", m),)


def tree_columns(board: Board, look: Look) -> list[Column]:
    """Columns over nodes and instances together."""

    def name(row: NodeRow | InstanceRow) -> Piece:
        if isinstance(row, InstanceRow):
            return board.short(row.id), quiet(row.mark)
        parent = row.path.rpartition(".")[0]
        label = row.path.removeprefix(parent + ".") if parent in board.nodes else row.path
        return label, "strong"

    def host(row: NodeRow | InstanceRow) -> Piece:
        return (row.host, "muted") if isinstance(row, InstanceRow) else ("", "text")

    def port(row: NodeRow | InstanceRow) -> Piece:
        return (ports(row.ports), "muted") if isinstance(row, InstanceRow) else ("", "text")

    def want(row: NodeRow | InstanceRow) -> Piece:
        return ("", "text") if isinstance(row, InstanceRow) else (str(row.want), "muted")

    def have(row: NodeRow | InstanceRow) -> Piece:
        if isinstance(row, InstanceRow):
            return "", "text"
        return str(row.have), "muted" if row.have >= row.want else (row.mark if row.mark != OK else DRIFT)

    def old(row: NodeRow | InstanceRow) -> Piece:
        if not isinstance(row, InstanceRow):
            return "", "text"
        moment = row.started if row.mark == OK else (row.since or row.started)
        return since(moment, board.now), "muted" if row.mark == OK else row.mark

    def version(row: NodeRow | InstanceRow) -> Piece:
        if isinstance(row, InstanceRow):
            return version_cell(row, look)
        return row.version, "muted"

    def state(row: NodeRow | InstanceRow) -> Piece:
        if isinstance(row, InstanceRow):
            return instance_word(row), "muted" if row.mark == OK else row.mark
        if row.mark == OK:
            return "", "text"
        glyph = look.glyph(row.mark)
        if row.mark == FAILED:
            return f"{glyph} 1 failed" if row.drift <= 1 else f"{glyph} failed, {row.drift} unwell", row.mark
        return f"{glyph} {f'{row.drift} ' if row.drift else ''}{row.mark}", row.mark

    return [
        Column("name", "NAME", name, most=44),
        Column("host", "HOST", host, leave=4, most=24),
        Column("port", "PORT", port, leave=6, right=True, most=24),
        Column("want", "WANT", want, leave=2, right=True, amount=True),
        Column("have", "HAVE", have, leave=1, right=True, amount=True),
        Column("age", "AGE", old, leave=5, right=True),
        Column("version", "VERSION", version, leave=3, most=22),
        Column("state", "STATE", state, grow=True, most=24),
    ]


def _host(row: InstanceRow, board: Board, what: str) -> str:
    """Region or labels of the host an instance is on."""
    host = board.hosts.get(row.host)
    if host is None:
        return ""
    return host.region if what == "region" else pairs(host.labels)


def instance_columns(board: Board, look: Look) -> list[Column]:
    def runs(row: InstanceRow) -> Piece:
        return (
            (str(row.restarts), DRIFT if row.restarts and row.mark != OK else "muted")
            if row.restarts
            else ("", "muted")
        )

    def health(row: InstanceRow) -> Piece:
        return ("" if row.health == "none" else row.health), "muted" if row.health in (HEALTHY, "none") else row.mark

    def old(row: InstanceRow) -> Piece:
        return since(row.started if row.mark == OK else (row.since or row.started), board.now), (
            "muted" if row.mark == OK else row.mark
        )

    def why(row: InstanceRow) -> Piece:
        return look.text(row.reason), "muted" if row.mark == OK else row.mark

    return [
        Column("name", "INSTANCE", lambda r: (board.short(r.id), quiet(r.mark)), most=44,
               sort=lambda r: (r.service, r.slot)),
        Column("state", "STATE", lambda r: (instance_word(r), "muted" if r.mark == OK else r.mark), most=16),
        Column("host", "HOST", lambda r: (r.host, "muted"), leave=1, most=24),
        Column("port", "PORT", lambda r: (ports(r.ports), "muted"), leave=6, right=True, most=24,
               sort=lambda r: min(r.ports.values(), default=0)),
        Column("version", "VERSION", lambda r: version_cell(r, look), leave=2, most=24),
        Column("age", "AGE", old, leave=3, right=True, sort=lambda r: -(r.started or 0)),
        Column("health", "HEALTH", health, leave=7, most=10),
        Column("pid", "PID", lambda r: (str(r.pid or ""), "muted"), leave=8, right=True, sort=lambda r: r.pid or 0),
        Column("restarts", "RESTARTS", runs, leave=5, right=True, sort=lambda r: r.restarts, amount=True),
        Column("why", "WHY", why, leave=4, grow=True, least=30, most=120),
        *load_columns(board, "instance"),
        Column("service", "SERVICE", lambda r: (board.short(r.service), "muted"), leave=9, most=44, off=True),
        Column("region", "REGION", lambda r: (_host(r, board, "region"), "muted"), leave=9, most=20, off=True),
        Column("address", "ADDRESS", lambda r: (r.address, "muted"), leave=9, most=40, off=True),
        Column("expected", "EXPECTED", lambda r: (r.version_expected, "muted"), leave=9, most=24, off=True),
        Column("since", "SINCE", lambda r: (since(r.since, board.now), "muted"), leave=9, right=True, off=True,
               sort=lambda r: -(r.since or 0)),
        Column("started", "STARTED", lambda r: (date(r.started) if r.started else "", "muted"), leave=9, off=True,
               sort=lambda r: r.started or 0),
        Column("observed", "HEARD", lambda r: (since(r.observed, board.now), "muted"), leave=9, right=True, off=True,
               sort=lambda r: -(r.observed or 0)),
        Column("pinned", "PINNED", lambda r: (r.pinned, "muted"), leave=9, most=24, off=True),
        Column("labels", "LABELS", lambda r: (_host(r, board, "labels"), "muted"), leave=9, most=40, off=True),
    ]


def host_columns(board: Board, look: Look) -> list[Column]:
    def seen(row: HostRow) -> Piece:
        return heard(row, board), "muted" if row.mark == OK or row.presence in PRESENT else row.mark

    def names(row: HostRow) -> Piece:
        want = board.head.names_version if board.head else 0
        behind = row.presence == UP and row.names_applied < want
        return str(row.names_applied) if row.names_applied else "", DRIFT if behind else "muted"

    def ping(row: HostRow) -> Piece:
        """Of a host that is not heard the last one says nothing."""
        return latency(row.latency) if row.presence in PRESENT else "", "muted"

    def link(row: HostRow) -> Piece:
        """The relay nearest to it, and the transport where that is not the usual one."""
        first = row.path[0] if row.path else "direct" if row.transport else ""
        return f"{first} {row.transport if row.transport != 'websocket' else ''}".strip(), "muted"

    def agent(row: HostRow) -> Piece:
        if row.upgrading:
            return f"{row.agent_version} {look.sign('to')} {row.upgrading}", CHANGING
        return (row.agent_version or ("none" if row.connection == "ssh" else "")), "muted"

    def have(row: HostRow) -> Piece:
        return str(row.instances), "muted" if row.instances == row.want else (row.mark if row.mark != OK else DRIFT)

    def why(row: HostRow) -> Piece:
        words = row.reason
        if not words and row.presence == DRAINED and not row.instances:
            words = "nothing is left on it"
        return look.text(words), "muted" if row.mark == OK else row.mark

    return [
        Column("name", "HOST", lambda r: (r.name, quiet(r.mark)), most=40),
        Column("presence", "PRESENCE", lambda r: (host_word(r), "muted" if r.mark == OK else r.mark)),
        Column("region", "REGION", lambda r: (r.region, "muted"), leave=2, most=20),
        Column("want", "WANT", lambda r: (str(r.want), "muted"), leave=3, right=True, sort=lambda r: r.want,
               amount=True),
        Column("have", "HAVE", have, leave=1, right=True, sort=lambda r: r.instances, amount=True),
        Column("address", "ADDRESS", lambda r: (r.address, "muted"), leave=6, most=40),
        Column("seen", "SEEN", seen, leave=4, right=True, sort=lambda r: (r.presence not in PRESENT, -(r.seen or 0))),
        Column("latency", "PING ms", ping, leave=7, right=True,
               sort=lambda r: r.latency or 0, amount=True),
        Column("names", "NAMES", names, leave=8, right=True, sort=lambda r: r.names_applied),
        Column("releases", "RELEASES", lambda r: (str(len(r.releases) or ""), "muted"), leave=9, right=True,
               sort=lambda r: len(r.releases)),
        Column("link", "LINK", link, leave=8, most=40),
        Column("agent", "AGENT", agent, leave=9, most=24),
        Column("labels", "LABELS", lambda r: (pairs(r.labels), "muted"), leave=10, most=40),
        Column("why", "WHY", why, leave=5, grow=True, least=30, most=120),
        *load_columns(board, "host"),
        Column("since", "SINCE", lambda r: (since(r.since, board.now), "muted"), leave=10, right=True, off=True,
               sort=lambda r: -(r.since or 0)),
        Column("keeper", "KEEPER", lambda r: (r.keeper_version, "muted"), leave=10, most=24, off=True),
        Column("pid", "AGENT PID", lambda r: (str(r.agent_pid or ""), "muted"), leave=10, right=True, off=True,
               sort=lambda r: r.agent_pid or 0),
        Column("trouble", "TROUBLE", lambda r: (look.text("; ".join((*r.missing, *r.trouble))), "muted"), leave=10,
               most=80, off=True),
    ]


def endpoint_columns(board: Board, look: Look) -> list[Column]:
    return [
        Column("service", "SERVICE", lambda r: (board.short(r.service), "text"), most=44),
        Column(
            "address",
            "ADDRESS",
            lambda r: (f"{r.address}:{r.port}", "text"),
            most=48,
            sort=lambda r: (r.address, r.port),
        ),
        Column(
            "state",
            "STATE",
            lambda r: (r.state, "muted" if r.state == "ready" else ENDPOINT_MARKS.get(r.state, UNKNOWN)),
        ),
        Column("instance", "INSTANCE", lambda r: (board.short(r.instance), "muted"), leave=1, most=44),
        Column("name", "PORT", lambda r: (r.name, "muted"), leave=4, most=16),
        Column(
            "since",
            "SINCE",
            lambda r: (since(r.since or None, board.now), "muted"),
            leave=2,
            right=True,
            sort=lambda r: -r.since,
        ),
        Column("attributes", "ATTRIBUTES", lambda r: (pairs(r.attributes), "muted"), leave=5, most=40),
        Column("why", "WHY", lambda r: (look.text(r.why), "muted"), leave=3, grow=True, least=30, most=100),
    ]


def endpoint_mark(row: EndpointRow) -> str:
    return ENDPOINT_MARKS.get(row.state, UNKNOWN)


def took(row: ActionRow, now: float) -> str:
    """How long it ran: a running clock, or the whole time once it ended."""
    return span(now - row.started) if row.ended is None else span(row.ended - row.started)


def action_columns(board: Board, look: Look) -> list[Column]:
    def done(row: ActionRow) -> Piece:
        return (f"{row.done}/{row.total}" if row.total else ""), "muted"

    def state(row: ActionRow) -> Piece:
        mark = action_mark(row)
        return row.state, "muted" if mark == OK else mark

    return [
        Column("id", "ACTION", lambda r: (r.id, "strong" if r.ended is None else "text"), sort=lambda r: -r.started),
        Column("state", "STATE", state),
        Column(
            "title",
            "WHAT",
            lambda r: (board.shorten(look.text(r.title or r.verb)), "text"),
            grow=True,
            least=26,
            most=60,
        ),
        Column("done", "STEPS", done, leave=3, right=True, sort=lambda r: r.done),
        Column(
            "took",
            "TOOK",
            lambda r: (took(r, board.now), "muted"),
            leave=2,
            right=True,
            sort=lambda r: (r.ended or board.now) - r.started,
        ),
        Column(
            "age",
            "AGE",
            lambda r: (age(board.now - r.started), "muted"),
            leave=1,
            right=True,
            sort=lambda r: -r.started,
        ),
        Column("author", "BY", lambda r: (r.author, "muted"), leave=4, most=24),
        Column("revision", "REV", lambda r: (str(r.revision or ""), "muted"), leave=6, right=True),
        Column("note", "NOTE", lambda r: (look.text(r.note), "muted"), leave=5, grow=True, least=30, most=100),
        Column("started", "STARTED", lambda r: (date(r.started), "muted"), leave=9, off=True,
               sort=lambda r: r.started),
        Column("cause", "CAUSE", lambda r: (r.cause, "muted"), leave=9, off=True),
    ]


def step_columns(board: Board, look: Look) -> list[Column]:
    def state(row: StepRow) -> Piece:
        mark = STEP_MARKS.get(row.state, UNKNOWN)
        return row.state, "muted" if row.state in ("done", "waiting", "skipped") else mark

    def length(row: StepRow) -> Piece:
        if row.started is None:
            return "", "muted"
        return span((row.ended or board.now) - row.started), "muted"

    return [
        Column("text", "STEP", lambda r: (look.text(r.text or f"{r.kind} {r.instance}"),
                                          "muted" if r.state in ("waiting", "skipped") else "text"), grow=True,
               least=40, most=80),
        Column("state", "STATE", state),
        Column("took", "TOOK", length, leave=1, right=True),
        Column("host", "HOST", lambda r: (r.host, "muted"), leave=4, most=24),
        Column("note", "NOTE", lambda r: (look.text(r.note), "muted" if r.state != "failed" else FAILED), leave=3,
               grow=True, least=30, most=120),
    ]


def artifact_mark(row: ArtifactRow) -> str:
    """A version that lacks a signature is only trouble where somebody wants it."""
    if row.mark != OK:
        return row.mark
    return DRIFT if row.missing and row.wanted else OK


def artifact_columns(board: Board, look: Look) -> list[Column]:
    def missing(row: ArtifactRow) -> Piece:
        return " ".join(row.missing), DRIFT if row.wanted else "muted"

    return [
        Column("id", "ARTIFACT", lambda r: (r.id, quiet(artifact_mark(r))), most=44,
               sort=lambda r: (r.name, -r.added)),
        Column("kind", "KIND", lambda r: (r.kind, "muted"), leave=5),
        Column("platform", "PLATFORM", lambda r: (r.platform, "muted"), leave=9, most=20),
        Column("size", "SIZE", lambda r: (size(r.size), "muted"), leave=4, right=True, sort=lambda r: r.size),
        Column("packed", "PACKED", lambda r: (size(r.packed) if r.packed else "", "muted"), leave=8, right=True,
               sort=lambda r: r.packed),
        Column("wanted", "WANTED", lambda r: ("wanted" if r.wanted else "", "text"), leave=1,
               sort=lambda r: (not r.wanted, r.id)),
        Column("hosts", "HOSTS", lambda r: (str(r.hosts or ""), "muted"), leave=2, right=True,
               sort=lambda r: -r.hosts),
        Column("signed", "SIGNED", lambda r: (" ".join(r.signed), "muted"), leave=6, most=30),
        Column("missing", "MISSING", missing, leave=0, most=30, sort=lambda r: (not r.missing, r.id)),
        Column("age", "AGE", lambda r: (since(r.added or None, board.now), "muted"), leave=3, right=True,
               sort=lambda r: -r.added),
        Column("services", "FOR", lambda r: (", ".join(board.short(s) for s in r.services), "muted"), leave=10,
               grow=True, least=12, most=60),
        Column("files", "FILES", lambda r: (str(r.files), "muted"), leave=11, right=True, off=True,
               sort=lambda r: r.files),
        Column("sha256", "SHA256", lambda r: (r.sha256[:16], "muted"), leave=11, off=True),
    ]  # fmt: skip
