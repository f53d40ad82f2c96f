"""The shape of a plan: an ordered graph of steps, and what it was made from."""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.model.guard_rows import Verdict
from cockpit.model.view import Change

# step kinds. Each names what the executor asks for and when it counts as done:
FETCH = "fetch"  # a release is on a host                 cmd `fetch`
WARM = "warm"  # a relay holds a release                 told by the origin
PREPARE = "prepare"  # a unit is READY on a host            cmd `prepare`
START = "start"  # its process was started                cmd `start`
HEALTHY = "healthy"  # it has been RUNNING and healthy for update.healthy_for seconds (observed)
DRAIN = "drain"  # its endpoints are draining, every subscriber applied that, connections ended
STOP = "stop"  # its process is gone                      cmd `stop`
ACTIVATE = "activate"  # a running unit has another version of its data    cmd `activate`
REMOVE = "remove"  # the keeper forgot the unit             cmd `remove`
SIGNAL = "signal"  # its process was sent a signal; of KILL: that run has ended    cmd `signal`
UPGRADE = "upgrade"  # the host is back with another agent (or keeper)    cmd `upgrade`

BULK = frozenset({FETCH, WARM})
"""Steps that move artifacts."""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for: one verb with explicit targets. All data, JSON all the way."""

    verb: str
    targets: tuple[str, ...] = ()
    """Full paths, instance ids, host names, `name/version`, or action ids, by the verb."""
    params: dict[str, Any] = {}
    author: str = ""
    cause: str = ""
    """Id of the action behind a derived one."""


class Step(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    id: str
    kind: str
    host: str
    instance: str = ""
    unit: str = ""
    needs: tuple[str, ...] = ()
    """Ids of steps that must be done first, and of gates of the plan: all their steps must be."""
    args: dict[str, Any] = {}
    """fetch: name, version, and where it is known to_move (bytes on the way) and size. warm: name, version.
    prepare: version, data {name: artifact/version} if any. drain: timeout. stop: signal, grace. activate: data
    (its name), artifact, version, signal or "". healthy: for (seconds), and after an activate data {name:
    artifact/version}: then it must stay healthy, the same run, from now on. upgrade: name, version, sha256,
    part (agent or keeper), timeout. signal: signal, process (empty: its only one, or with `all` every one and what
    they started), all, run (the one that is meant)."""
    batch: int = 0
    """0 is the canary when there is one."""
    text: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    intent: Intent
    base: int
    """Head revision it was made from."""
    changes: tuple[Change, ...] = ()
    """The patch it writes on submit; empty when expected stays as it is."""
    steps: tuple[Step, ...] = ()
    gates: dict[str, tuple[str, ...]] = {}
    """Gate id (`g1`) -> ids of steps. A need that many steps share, so that a plan of n steps has some n
    edges: the whole batch before, all instances of a callee."""
    digest: str = ""
    """Of what it saw: the expected parts and the units of its targets, and its own steps."""
    title: str = ""
    risk: str = "change"
    """observe, change or destructive."""
    confirm: str = ""
    """The name that must be typed when destructive."""
    on_failure: str = "return"
    deadline: float = 60.0
    """Seconds without progress before it counts as failed."""
    parallel: int = 16
    touches: tuple[str, ...] = ()
    """Sentences: dependents, lowest ready count, what cannot be undone."""
    ready: dict[str, tuple[int, int]] = {}
    """Service -> (instances of it that are ready at the worst moment, ready now), where it loses any."""
    warnings: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    """Instances that are not right and are left so; `warnings` say why."""
    undo: str = ""
    estimate: float | None = None
    """Seconds, from recorded runs; None when there are none."""
    locks: tuple[str, ...] = ()
    """Instances and hosts that no other action may touch meanwhile."""
    guard: Verdict | None = None
    """What the guards said when it was shown; asked again on submit."""

    @property
    def empty(self) -> bool:
        return not self.steps and not self.changes


class Bad(Exception):
    """The intent makes no sense: unknown target, wrong parameter. Exit code 2."""


class Refused(Exception):
    """It makes sense but must not happen now: read-only, conflict, unconfirmed. Exit code 3."""
