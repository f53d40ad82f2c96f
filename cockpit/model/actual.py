"""What agents observed. The hub decodes reports straight into these.

All are plain data without cycles, and there may be many: the collector need not look at them (`gc=False`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from cockpit.model.states import NO_CHECK, UNKNOWN, State

_RUNNING = State.RUNNING  # looking a member up costs more than comparing it
_SERVES = ("ok", NO_CHECK)


class Exit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a run ended. `code` and `signal` both None means nobody knows: never guessed."""

    run: int
    code: int | None = None
    signal: int | None = None
    core: str | None = None
    """Path of the kept core file, when one was dumped."""
    reason: str = ""
    """Why it could not run (`exec: ENOENT ./x`), or who ended it (`stopped`)."""
    started: float = 0.0
    ended: float = 0.0
    peak_rss: int = 0
    """KiB."""
    process: str = "main"

    def words(self) -> str:
        """`exit 1`, `signal 9`, `exit unknown`, or the reason it never ran."""
        if self.signal is not None:
            return f"signal {self.signal}"
        if self.code is not None:
            return f"exit {self.code}"
        return self.reason or "exit unknown"


class Unit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One wanted run of an instance on one host, and the run it has now.

    `unit` is `<instance>:<gen>` (`puzzle.web/2:5`). During a start-first update an instance has
    two units. The keeper may start a unit many times; `run` counts its starts.
    """

    unit: str
    instance: str
    gen: int
    version: str = ""
    sha256: str | None = None
    config: str = ""
    """Digest of the spec it was prepared from (see plan.unitspec.config_digest)."""
    state: State = State.NEW
    wanted: bool = False
    """True: the keeper keeps it running (desired RUNNING)."""
    run: int = 0
    restarts: int = 0
    """Restarts of this unit by the keeper's policy."""
    pid: int | None = None
    pids: dict[str, int] = {}
    started: float | None = None
    """Unix time of the present run's start."""
    ports: dict[str, int] = {}
    health: str = NO_CHECK
    """ok, failing, starting, or none when the service has no check."""
    health_since: float | None = None
    health_reason: str = ""
    exit: Exit | None = None
    """The last exit."""
    next_start: float | None = None
    """Unix time of the next try when the keeper backs off."""
    connections: int | None = None
    pinned: str = ""
    """Who stopped or started it on the host itself (`uid 1000 14:03 stop`); empty otherwise."""
    altered: str = ""
    """Why the binary was refused (digest or file identity changed)."""
    probe: dict[str, Any] = {}
    data: dict[str, str] = {}
    """Data name -> version it was given; `4 (5 is linked)` and the like when the host shows another one."""
    observed: float = 0.0
    """Unix time of the observation on the host."""

    @property
    def serving(self) -> bool:
        """Running, and healthy as far as anybody checks."""
        return self.state == _RUNNING and self.health in _SERVES


class HostActual(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    name: str
    presence: str = UNKNOWN
    uuid: str = ""
    boot_id: str = ""
    agent_pid: int | None = None
    keeper_pid: int | None = None
    agent_version: str = ""
    since: float | None = None
    """When the presence last changed."""
    seen: float | None = None
    """When the last frame arrived."""
    latency: float | None = None
    """Seconds, round trip of the last ping."""
    names_applied: int = 0
    releases: tuple[str, ...] = ()
    """`name/version` of every installed release."""
    reason: str = ""
    path: tuple[str, ...] = ()
    """Relays between it and the controller, the nearest to the host first."""
    transport: str = ""
    """What its link is: websocket, http2, polling, or ssh without an agent."""
    keeper_version: str = ""
    upgrading: str = ""
    """The agent version that is being started beside the present one."""
    missing: tuple[str, ...] = ()
    """What is not available here, in sentences (without an agent)."""
    trouble: tuple[str, ...] = ()
    """What its operator should know: a certificate that ends soon, a full disk, a broken plug-in."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One ip:port of a service in the naming registry."""

    service: str
    instance: str
    unit: str
    host: str
    name: str
    """Port name."""
    address: str
    port: int
    state: str
    """ready, draining or gone."""
    attributes: dict[str, str] = {}
    since: float = 0.0
    why: str = ""
    by: str = ""


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a version in the store."""

    size: int
    """Unpacked."""
    whole: int
    """On the way to a host that has no earlier version."""
    after: dict[str, int] = {}
    """On the way to a host with this `name/version`, where that is known."""

    def to_host(self, releases: Iterable[str]) -> int:
        """On the way to a host with these releases."""
        return min((self.after[r] for r in releases if r in self.after), default=self.whole)


class Actual(msgspec.Struct, frozen=True, kw_only=True):
    """Everything observed, at one moment."""

    hosts: dict[str, HostActual] = {}
    units: dict[str, tuple[Unit, ...]] = {}
    """Instance id -> its units, ascending gen."""
    where: dict[str, str] = {}
    """Unit id -> host name that reported it."""
    endpoints: tuple[Endpoint, ...] = ()
    artifacts: dict[str, str] = {}
    """`name/version` -> sha256 of what the store holds."""
    kinds: dict[str, str] = {}
    """`name/version` -> kind of what the store holds that is not a release (`data`)."""
    moves: dict[str, Moves] = {}
    """`name/version` -> what a push of it moves."""


def serving_unit(units: tuple[Unit, ...]) -> Unit | None:
    """The unit whose row is shown: serving first, then alive, then the newest."""
    if len(units) < 2:
        return units[0] if units else None
    return max(units, key=lambda u: (u.serving, u.state in (State.STARTING, State.RUNNING), u.gen))
