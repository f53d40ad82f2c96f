"""What can be asked of the rows of each table: its typed fields, in one place beside its columns (screens/rows.py).

Columns that are not declared here can be asked by their text; see `schema_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cockpit.model.view import InstanceRow
from screens.board import Board
from screens.rows import action_mark, artifact_mark, endpoint_mark, instance_word
from screens.typed import AUTO, FLAG, MANY, MOMENT, NUMBER, NUMBERS, PATH, SIZE, SPAN, VERSION, Field, Schema
from screens.widgets.columns import Column


def _instances(board: Board) -> Schema:
    def region(row: Any) -> str:
        host = board.hosts.get(row.host)
        return host.region if host is not None else ""

    def labels(row: Any) -> Mapping[str, str]:
        host = board.hosts.get(row.host)
        return host.labels if host is not None else {}

    return Schema(
        (
            Field("name", lambda r: r.id, PATH, "its whole path"),
            Field("service", lambda r: r.service, PATH),
            Field("slot", lambda r: r.slot, NUMBER),
            Field("host", lambda r: r.host),
            Field("region", region, about="of its host"),
            Field("state", lambda r: (instance_word(r), r.state), MANY),
            Field("desired", lambda r: r.desired),
            Field("version", lambda r: r.version_actual, VERSION, "that runs"),
            Field("expected", lambda r: r.version_expected, VERSION),
            Field("restarts", lambda r: r.restarts, NUMBER),
            Field("age", lambda r: r.started, MOMENT, "since it was started"),
            Field("since", lambda r: r.since, MOMENT, "since it came into this condition"),
            Field("started", lambda r: r.started, MOMENT),
            Field("observed", lambda r: r.observed, MOMENT, "since it was last heard of"),
            Field("health", lambda r: r.health),
            Field("pid", lambda r: r.pid, NUMBER),
            Field("port", lambda r: r.ports.values(), NUMBERS),
            Field("ports", lambda r: r.ports, MANY, "their names"),
            Field("address", lambda r: r.address),
            Field("pinned", lambda r: r.pinned),
            Field("why", lambda r: r.reason),
        ),
        name=lambda r: r.id, mark=lambda r: r.mark, labels=labels,
    )  # fmt: skip


def _tree(board: Board) -> Schema:
    """Nodes and instances together: what one of them lacks has no value."""
    leaf = _instances(board)

    def of_leaf(field: Field) -> Field:
        get = field.get
        return Field(field.name, lambda r: get(r) if isinstance(r, InstanceRow) else None, field.kind, field.about)

    def name(row: Any) -> str:
        return row.id if isinstance(row, InstanceRow) else row.path

    def of_node(name: str) -> Callable[[Any], Any]:
        return lambda r: getattr(r, name, None)

    def version(row: Any) -> str:
        return row.version_actual if isinstance(row, InstanceRow) else row.version

    assert leaf.labels is not None
    labels = leaf.labels
    own = (
        Field("name", name, PATH),
        Field("version", version, VERSION),
        Field("kind", of_node("kind")),
        Field("want", of_node("want"), NUMBER),
        Field("have", of_node("have"), NUMBER),
        Field("differences", of_node("drift"), NUMBER),
    )
    mine = {f.name for f in own}
    return Schema(
        (*own, *(of_leaf(f) for f in leaf.fields if f.name not in mine)),
        name=name, mark=lambda r: r.mark,
        labels=lambda r: labels(r) if isinstance(r, InstanceRow) else {},
    )  # fmt: skip


def _hosts(board: Board) -> Schema:
    return Schema(
        (
            Field("name", lambda r: r.name),
            Field("host", lambda r: r.name),
            Field("region", lambda r: r.region),
            Field("presence", lambda r: r.presence),
            Field("address", lambda r: r.address),
            Field("want", lambda r: r.want, NUMBER),
            Field("have", lambda r: r.instances, NUMBER),
            Field("seen", lambda r: r.seen, MOMENT, "since it was last heard"),
            Field("since", lambda r: r.since, MOMENT),
            Field("latency", lambda r: r.latency, SPAN, unit=0.001),
            Field("ping", lambda r: r.latency, SPAN, unit=0.001),
            Field("names", lambda r: r.names_applied, NUMBER),
            Field("releases", lambda r: r.releases, MANY),
            Field("connection", lambda r: r.connection),
            Field("transport", lambda r: r.transport),
            Field("relay", lambda r: r.path, MANY),
            Field("agent", lambda r: r.agent_version, VERSION),
            Field("keeper", lambda r: r.keeper_version, VERSION),
            Field("upgrading", lambda r: r.upgrading, VERSION),
            Field("missing", lambda r: r.missing, MANY),
            Field("trouble", lambda r: r.trouble, MANY),
            Field("why", lambda r: r.reason),
        ),
        name=lambda r: r.name, mark=lambda r: r.mark, labels=lambda r: r.labels,
    )  # fmt: skip


def _relays(board: Board) -> Schema:
    return Schema(
        (
            Field("name", lambda r: r.name),
            Field("region", lambda r: r.region),
            Field("presence", lambda r: r.presence),
            Field("address", lambda r: r.address),
            Field("agents", lambda r: r.agents, NUMBER),
            Field("above", lambda r: r.path[1:] or (r.upstream,), MANY),
            Field("links", lambda r: r.links, FLAG, "it carries agents' links"),
            Field("since", lambda r: r.since, MOMENT),
            Field("started", lambda r: r.started, MOMENT),
            Field("latency", lambda r: r.latency, SPAN, unit=0.001),
            Field("transport", lambda r: r.transport),
            Field("version", lambda r: r.version, VERSION),
            Field("pid", lambda r: r.pid, NUMBER),
            Field("why", lambda r: r.reason),
        ),
        name=lambda r: r.name, mark=lambda r: r.mark,
    )  # fmt: skip


def _artifacts(board: Board) -> Schema:
    return Schema(
        (
            Field("id", lambda r: r.id),
            Field("name", lambda r: r.name),
            Field("version", lambda r: r.version, VERSION),
            Field("kind", lambda r: r.kind),
            Field("platform", lambda r: r.platform),
            Field("size", lambda r: r.size, SIZE),
            Field("packed", lambda r: r.packed, SIZE),
            Field("files", lambda r: r.files, NUMBER),
            Field("age", lambda r: r.added or None, MOMENT, "since it was added"),
            Field("signed", lambda r: r.signed, MANY, "roles"),
            Field("missing", lambda r: r.missing, MANY, "roles that nobody signed for"),
            Field("service", lambda r: r.services, MANY),
            Field("wanted", lambda r: r.wanted, FLAG),
            Field("hosts", lambda r: r.hosts, NUMBER),
            Field("sha256", lambda r: r.sha256),
        ),
        name=lambda r: r.id, mark=artifact_mark,
    )  # fmt: skip


def _actions(board: Board) -> Schema:
    def took(row: Any) -> float:
        return float((row.ended or board.now) - row.started)

    return Schema(
        (
            Field("id", lambda r: r.id),
            Field("verb", lambda r: r.verb),
            Field("state", lambda r: r.state),
            Field("author", lambda r: r.author),
            Field("target", lambda r: r.targets, MANY),
            Field("title", lambda r: r.title),
            Field("age", lambda r: r.started, MOMENT, "since it began"),
            Field("ended", lambda r: r.ended, MOMENT),
            Field("took", took, SPAN),
            Field("done", lambda r: r.done, NUMBER),
            Field("total", lambda r: r.total, NUMBER, "steps"),
            Field("eta", lambda r: r.eta, SPAN),
            Field("revision", lambda r: r.revision, NUMBER),
            Field("cause", lambda r: r.cause),
            Field("note", lambda r: r.note),
        ),
        name=lambda r: r.title or r.verb, mark=action_mark,
    )  # fmt: skip


def _naming(board: Board) -> Schema:
    return Schema(
        (
            Field("service", lambda r: r.service, PATH),
            Field("address", lambda r: r.address),
            Field("port", lambda r: r.port, NUMBER),
            Field("state", lambda r: r.state),
            Field("instance", lambda r: r.instance, PATH),
            Field("name", lambda r: r.name, about="of the port"),
            Field("since", lambda r: r.since or None, MOMENT),
            Field("why", lambda r: r.why),
        ),
        name=lambda r: f"{r.service} {r.address}:{r.port}", mark=endpoint_mark, labels=lambda r: r.attributes,
    )  # fmt: skip


def _revisions(board: Board) -> Schema:
    return Schema(
        (
            Field("number", lambda r: r.number, NUMBER),
            Field("rev", lambda r: r.number, NUMBER),
            Field("author", lambda r: r.author),
            Field("action", lambda r: r.action),
            Field("age", lambda r: r.time, MOMENT),
            Field("changes", lambda r: len(r.changes), NUMBER),
            Field("path", lambda r: [".".join(c.path) for c in r.changes], MANY, "that it changed"),
            Field("undo", lambda r: r.undo, FLAG),
            Field("digest", lambda r: r.mark),
        ),
        name=lambda r: " ".join(".".join(c.path) for c in r.changes),
    )  # fmt: skip


SCHEMAS: dict[str, Callable[[Board], Schema]] = {
    "overview": _tree, "instances": _instances, "hosts": _hosts, "relays": _relays, "artifacts": _artifacts,
    "actions": _actions, "naming": _naming, "revisions": _revisions,
}
"""Name of the screen -> the fields of its table."""


def schema_of(
    name: str, board: Board, columns: Sequence[Column] = (), rows: Callable[[], Mapping[str, Any]] = dict,
) -> Schema:
    """The schema of a screen's table; columns it does not know are fields by what they show.

    `rows`: those it has now. Where a table has no type of its own they tell what a path may ask.
    """

    def path(words: str) -> Field:
        from screens.paths import field_of, kinds_of

        return field_of(words, kinds_of(name, rows()), board)

    make = SCHEMAS.get(name)
    known = make(board) if make is not None else Schema()
    names = set(known.names())
    return Schema(
        (*known.fields, *(shown(c) for c in columns if c.id not in names)),
        name=known.name, mark=known.mark, labels=known.labels, now=lambda: board.now,
        path=path,
    )  # fmt: skip


def shown(column: Column) -> Field:
    """A column as a field by its text."""
    cell = column.cell
    return Field(column.id, lambda r: cell(r)[0], AUTO)
