"""What screens and `status --json` show: rows derived from expected and actual.

A `Snapshot` is tables of rows by key; a `Delta` names the rows that changed (None: gone).
"""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.model.guard_rows import RequestRow
from cockpit.model.rehearsal_rows import Forecast, Score

# marks: one word per look, drawn as glyph + word + colour from the table in themes/
OK = "ok"
CHANGING = "changing"
DRIFT = "drift"
FAILED = "failed"
UNKNOWN = "unknown"
ABSENT = "absent"
PAUSED = "paused"
DRAINING = "draining"
MARKS = (OK, CHANGING, DRIFT, FAILED, UNKNOWN, ABSENT, PAUSED, DRAINING)
"""Calm first; the worst of a group of children is shown on the parent, by this order of badness:"""
BADNESS = {OK: 0, ABSENT: 1, PAUSED: 2, DRAINING: 3, CHANGING: 4, UNKNOWN: 5, DRIFT: 6, FAILED: 7}


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all rows. Plain data without cycles: the collector need not look at them.

    Those of a snapshot's tables take their fields by place too: the history makes them by the hundred thousand.
    """


class RunRow(Row, frozen=True, kw_only=True):
    """One unit of an instance, as a line of its history."""

    unit: str
    host: str
    run: int
    state: str
    version: str
    pid: int | None = None
    started: float | None = None
    exit: str = ""


class InstanceRow(Row, frozen=True):
    id: str
    service: str
    slot: int
    host: str
    version_expected: str
    version_actual: str
    state: str
    """Name of the State of the serving run, in capitals; `UNKNOWN` when the host is not heard."""
    desired: str
    """RUNNING or SHUTDOWN."""
    pid: int | None = None
    ports: dict[str, int] = {}
    health: str = "none"
    restarts: int = 0
    runs: tuple[RunRow, ...] = ()
    mark: str = OK
    word: str = ""
    """One short word beside the glyph: `running`, `unhealthy`, `starting`, `missing`, ..."""
    reason: str = ""
    """Why it is not ok, a whole sentence fragment; empty when it is."""
    since: float | None = None
    """When it got into the present condition."""
    started: float | None = None
    address: str = ""
    observed: float | None = None
    pinned: str = ""


class HostRow(Row, frozen=True):
    name: str
    region: str
    presence: str
    address: str
    agent_pid: int | None = None
    keeper_pid: int | None = None
    labels: dict[str, str] = {}
    instances: int = 0
    want: int = 0
    mark: str = OK
    reason: str = ""
    since: float | None = None
    seen: float | None = None
    latency: float | None = None
    boot_id: str = ""
    names_applied: int = 0
    releases: tuple[str, ...] = ()
    connection: str = "agent"
    agent_version: str = ""
    keeper_version: str = ""
    upgrading: str = ""
    path: tuple[str, ...] = ()
    """Relays between it and the controller, the nearest to the host first."""
    transport: str = ""
    missing: tuple[str, ...] = ()
    """What is not available here, in sentences."""
    trouble: tuple[str, ...] = ()
    """What its operator should know, in sentences."""


class RelayRow(Row, frozen=True):
    """A relay of the topology. One that carries artifacts only has no presence: nobody hears it."""

    name: str
    region: str
    address: str
    upstream: str = ""
    """The relay it should have above it; empty: the controller."""
    connection: str = "agent"
    links: bool = False
    """It carries agents' links."""
    presence: str = ""
    """up, suspect or unknown."""
    mark: str = OK
    reason: str = ""
    since: float | None = None
    agents: int = 0
    """Agents that are connected to it."""
    path: tuple[str, ...] = ()
    """The relays on the way to it, itself first; one: it is connected here."""
    pid: int | None = None
    version: str = ""
    started: float | None = None
    latency: float | None = None
    """Seconds, round trip all the way."""
    transport: str = ""


class NodeRow(Row, frozen=True):
    """A node of the service tree, rolled up."""

    path: str
    kind: str
    """group, cluster or service."""
    want: int = 0
    have: int = 0
    """Instances that run and are healthy, of whatever version; ended ones that should have ended too."""
    drift: int = 0
    mark: str = OK
    versions: dict[str, int] = {}
    """Actual version -> number of instances."""
    version: str = ""
    """Expected version (services only)."""
    depends: tuple[str, ...] = ()


class DriftRow(Row, frozen=True):
    """One typed difference.

    kind: missing, extra, wrong version, wrong config, wrong data, wrong host, wrong role, unhealthy,
    altered binary, undeclared dependency, slots misplaced, unknown.
    """

    kind: str
    target: str
    expected: str
    actual: str
    action: str
    """The verb that would remove it (`converge puzzle.web/2`), or empty."""
    since: float | None = None
    reason: str = ""


class EndpointRow(Row, frozen=True):
    service: str
    address: str
    port: int
    state: str
    attributes: dict[str, str] = {}
    instance: str = ""
    name: str = ""
    since: float = 0.0
    why: str = ""


class ActionRow(Row, frozen=True):
    id: str
    """`#118`."""
    verb: str
    state: str
    """running, paused, returning, done, failed, aborted, returned, interrupted (controller died)."""
    author: str
    targets: tuple[str, ...] = ()
    title: str = ""
    """`deploy sudoku 1.2.0`."""
    started: float = 0.0
    ended: float | None = None
    done: int = 0
    total: int = 0
    note: str = ""
    """What it waits for now, or why it ended."""
    gives_up: float | None = None
    eta: float | None = None
    cause: str = ""
    """Id of the action that caused this one (an automatic return)."""
    revision: int | None = None
    params: dict[str, Any] = {}
    mark: str = CHANGING


class StepRow(Row, frozen=True, kw_only=True):
    id: str
    kind: str
    text: str
    """`start sudoku/3 beside the old one on bj-2`."""
    state: str
    """waiting, running, done, failed, skipped."""
    instance: str = ""
    host: str = ""
    started: float | None = None
    ended: float | None = None
    note: str = ""
    needs: tuple[str, ...] = ()


class ActionDetail(Row, frozen=True, kw_only=True):
    row: ActionRow
    steps: tuple[StepRow, ...] = ()
    log: tuple[str, ...] = ()
    """What happened, one sentence a line, oldest first, with local time."""
    undo: str = ""
    """How to undo it now, or why it cannot be."""
    forecast: Forecast | None = None
    """What was foretold when it began, where that was done."""
    score: Score | None = None
    """Of an ended one, against that."""


class PushRow(Row, frozen=True):
    """One receiver of one push: a host, or a relay that is warmed or passes it on."""

    action: str
    """`#116`."""
    artifact: str
    """`sudoku/1.2.0`."""
    host: str
    """Name of the host or relay."""
    region: str
    relay: bool = False
    state: str = "waiting"
    """waiting, running, paused, done, failed, unknown (no answer)."""
    mark: str = CHANGING
    phase: str = ""
    """manifest, pieces, install, seed."""
    note: str = ""
    """Why it failed, is slow, or waits."""
    pieces: int = 0
    have: int = 0
    """Pieces that are there and verified, those of earlier versions included."""
    had: int = 0
    """Pieces that were there before, in earlier versions."""
    cells: str = ""
    """The pieces in at most 64 characters: `#` has, `=` had before, `+` partly, `.` missing."""
    size: int = 0
    """Bytes of the artifact."""
    to_move: int = 0
    moved: int = 0
    from_source: int = 0
    from_relay: int = 0
    from_peers: int = 0
    """Bytes that came from the controller's store, from relays, from other hosts."""
    wan: int = 0
    """Bytes that came from another region."""
    sent: int = 0
    rate: float = 0.0
    """Bytes per second now."""
    eta: float | None = None
    """Seconds until it has everything, at this rate."""
    bad: int = 0
    """Pieces that did not verify."""
    duplicates: int = 0
    fallbacks: int = 0
    """Pieces that had to be asked of the relay or the source because no host delivered them in time."""
    peers: int = 0
    started: float = 0.0
    ended: float | None = None


class ArtifactRow(Row, frozen=True, kw_only=True):
    """One version in the store."""

    id: str
    """`sudoku/1.2.0`."""
    name: str
    version: str
    platform: str = "any"
    kind: str = "release"
    """release or data."""
    sha256: str = ""
    size: int = 0
    packed: int = 0
    files: int = 0
    added: float = 0.0
    signed: tuple[str, ...] = ()
    """Roles with a valid signature of a known key."""
    missing: tuple[str, ...] = ()
    """Roles that a service demands and nobody has signed."""
    services: tuple[str, ...] = ()
    """Services whose artifact this is."""
    wanted: bool = False
    """Some service is expected to run (or use) exactly this version."""
    hosts: int = 0
    """Hosts where it is installed."""
    mark: str = OK


class ArtifactDiff(Row, frozen=True, kw_only=True):
    """What a version would change on a host that has another one."""

    artifact: str
    base: str
    """Version that is compared with; empty: with nothing."""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    to_move: int = 0
    """Bytes of new pieces on the way, packed."""
    pieces: int = 0
    """Number of new pieces."""
    patch: int | None = None
    """Bytes of the patch from `base`, when there is one."""
    size: int = 0


class ArtifactDetail(Row, frozen=True, kw_only=True):
    row: ArtifactRow
    md5: str = ""
    build: dict[str, Any] | None = None
    signatures: tuple[dict[str, Any], ...] = ()
    """`{role, key, by, time, verdict}`; verdict is `valid`, or why it is not."""
    diff: ArtifactDiff | None = None
    """Against the version that most hosts have."""
    hosts: tuple[str, ...] = ()


class AlertRow(Row, frozen=True):
    id: str
    """`a12`."""
    when: str
    """The kind of condition: crash, crash-loop, unhealthy, unknown, drift, stopped."""
    group: str
    """What its members share: a service, a region, an action."""
    state: str = "firing"
    """firing, acknowledged, silenced, ended."""
    mark: str = FAILED
    members: tuple[str, ...] = ()
    """Objects for which it holds (or held), the first one first."""
    text: str = ""
    """Of the first member: what is wrong."""
    since: float = 0.0
    ended: float | None = None
    to: tuple[str, ...] = ()
    told: float | None = None
    """When its targets were told last."""
    by: str = ""
    """Who acknowledged it."""
    note: str = ""
    """What they said, or why it is silenced."""
    trouble: tuple[str, ...] = ()
    """Targets that could not be told, in sentences."""


class Who(Row, frozen=True, kw_only=True):
    """The person behind a session and what they may do."""

    author: str
    """`li@jump-1`."""
    role: str
    """operator or viewer."""
    read_only: str = ""
    """Why nothing may be changed; empty when it may."""
    uid: int | None = None
    """Of the person on the controller's machine, by the kernel's word."""
    groups: tuple[str, ...] = ()
    """Unix groups there."""
    ops: tuple[str, ...] | None = None
    """The changing ops that exist for this person; None: all of them."""


class Head(Row, frozen=True, kw_only=True):
    """The facts of the top line."""

    cluster: str
    revision: int
    digest: str
    now: float
    names_version: int = 0
    zone: str = ""


class Snapshot(Row, frozen=True, kw_only=True):
    head: Head
    nodes: dict[str, NodeRow] = {}
    instances: dict[str, InstanceRow] = {}
    hosts: dict[str, HostRow] = {}
    drift: dict[str, DriftRow] = {}
    """Key: `<kind>|<target>`."""
    endpoints: dict[str, EndpointRow] = {}
    """Key: `<unit>|<port name>`."""
    actions: dict[str, ActionRow] = {}
    pushes: dict[str, PushRow] = {}
    """Key: `<action>|<host>`; of running pushes and the last finished ones."""
    relays: dict[str, RelayRow] = {}
    requests: dict[str, RequestRow] = {}
    """What waits for a second person, and what was decided lately."""
    alerts: dict[str, AlertRow] = {}
    notices: tuple[str, ...] = ()
    """Standing warnings for the top of the screen."""


class Delta(Row, frozen=True, kw_only=True):
    """Rows that changed since the last delta (or the snapshot); None means the row is gone."""

    head: Head
    nodes: dict[str, NodeRow | None] = {}
    instances: dict[str, InstanceRow | None] = {}
    hosts: dict[str, HostRow | None] = {}
    drift: dict[str, DriftRow | None] = {}
    endpoints: dict[str, EndpointRow | None] = {}
    actions: dict[str, ActionRow | None] = {}
    pushes: dict[str, PushRow | None] = {}
    relays: dict[str, RelayRow | None] = {}
    requests: dict[str, RequestRow | None] = {}
    alerts: dict[str, AlertRow | None] = {}
    notices: tuple[str, ...] = ()


TABLES: tuple[str, ...] = tuple(f for f in Snapshot.__struct_fields__ if f not in ("head", "notices"))
"""The tables of a snapshot, and of a delta."""


class LogLine(Row, frozen=True, kw_only=True):
    instance: str
    run: int
    stream: str
    """stdout, stderr, or `cockpit` for a remark of ours (dropped lines, end of the run)."""
    text: str
    process: str = "main"
    time: float = 0.0
    """When it was written, as well as it is known (docs/logs.md); 0: it is not."""
    mark: str = ""
    """`c`: context of a line that was looked for; `g`: the same, and lines before it are left out."""
    dropped: int = 0
    """Of a remark: lines that came faster than they could be sent, or did not fit into the answer."""


class Change(Row, frozen=True, kw_only=True):
    """One path of a patch. `old`/`new` None means absent."""

    path: tuple[str, ...]
    old: Any = None
    new: Any = None


class Diff(Row, frozen=True, kw_only=True):
    """Expected beside actual for one field of the node view."""

    field: str
    expected: str
    actual: str
    same: bool = True
    note: str = ""


class InstanceDetail(Row, frozen=True, kw_only=True):
    """Everything the node view shows."""

    row: InstanceRow
    diffs: tuple[Diff, ...] = ()
    expected_by: str = ""
    """`rev 42, li, 14:02`."""
    drift: tuple[DriftRow, ...] = ()
    depends: tuple[NodeRow, ...] = ()
    exits: tuple[str, ...] = ()
    actions: tuple[ActionRow, ...] = ()
    last_lines: tuple[str, ...] = ()
    probe: dict[str, Any] = {}


class RevisionRow(Row, frozen=True, kw_only=True):
    """One revision: a patch on its parent."""

    number: int
    mark: str
    """The stable mark: digest of the expected document at this revision."""
    author: str
    time: float
    action: str
    """Id of the action that wrote it."""
    undo: bool = False
    """Written by a rollback or an automatic return: it and what it undid cancel each other."""
    changes: tuple[Change, ...] = ()
