"""What is expected, as typed immutable data. The loader makes it, planning reads it.

An `Expected` is one revision's whole content. Its canonical form is a plain JSON document
(`to_doc`), because revisions are patches on that document; `from_doc` gives the typed view.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every node of the expected document."""


class Region(Spec, frozen=True, kw_only=True):
    reaches: tuple[str, ...] | None = None
    """Regions this one can open connections to (itself always); None means all."""
    push_rate: int | None = None
    """Bytes per second that pushes may take on the way into the region; None is unlimited."""
    transports: tuple[Literal["websocket", "http2", "polling"], ...] = ()
    """In which order agents here try them; empty: as they stand in the type."""
    proxy: str = ""
    """`http://HOST:PORT` that agents here go through (CONNECT)."""
    shell: bool = True
    """May operators open shells on hosts here?"""


class Ssh(Spec, frozen=True, kw_only=True):
    """How the controller enters a machine. What is left out comes from the user's ssh_config."""

    address: str = ""
    """Empty: the host's own."""
    port: int = 22
    user: str = ""
    jump: tuple[str, ...] = ()
    """`[user@]host[:port]`, in the order they are passed."""
    listen: int = 0
    """Port on the far side's loopback where the controller's link appears, for its agent; 0: none."""
    listen_origin: int = 0
    """The same for artifacts."""
    directory: str = ""
    """Where releases and records lie on a host without an agent; empty: ~/.cockpit."""


class Relay(Spec, frozen=True, kw_only=True):
    """Cache, seeder and tracker of a region, and its agents' way to the controller."""

    region: str
    address: str
    port: int = 0
    """It listens here; 0: any free port (`connection: local` only, where the controller reads it)."""
    link_port: int | None = None
    """It listens for agents here; 0: any free port (`connection: local` only); None: it carries no links."""
    upstream: str = ""
    """The relay it asks; empty: the controller."""
    ssh: Ssh | None = None
    """The controller enters by SSH, because nothing there can reach it."""
    cache: int = 20 * 1024**3
    """Bytes of artifacts it keeps, least recently used first to go."""
    push_rate: int | None = None
    """Bytes per second it sends; None is unlimited."""
    connection: Literal["agent", "local"] = "agent"
    """`agent` runs on its own machine with `cockpit relay`; `local` is started by the controller."""


class Host(Spec, frozen=True, kw_only=True):
    region: str
    address: str
    labels: dict[str, str] = {}
    connection: Literal["agent", "local", "ssh"] = "agent"
    """`agent` dials in by itself; `local` is started by the controller on this machine; `ssh` has no agent."""
    ssh: Ssh | None = None
    """The controller enters by SSH: to act there, or to open the way for its agent (`listen`)."""
    port_range: tuple[int, int] = (20000, 20999)
    """First and last dynamic port, inclusive."""
    max_instances: int | None = None
    push_rate: int | None = None
    """Bytes per second that pushes may receive here, and as many that they may send; None is unlimited."""
    shell: bool = True
    """May operators open a shell here?"""


class Group(Spec, frozen=True, kw_only=True):
    """An inner node of the service tree; `cluster` marks the ones that form one system."""

    cluster: bool = False
    about: str = ""


class HttpGet(Spec, frozen=True, kw_only=True):
    port: str | None = None
    """Name of the port; None when the service has exactly one."""
    path: str = "/"


class Check(Spec, frozen=True, kw_only=True):
    """Health check. Exactly one of tcp, http, exec, notify; times in seconds."""

    tcp: str | None = None
    """Port name; the empty string is the service's only port."""
    http: HttpGet | None = None
    exec: tuple[str, ...] | None = None
    notify: bool = False
    interval: float = 1.0
    timeout: float = 1.0
    rise: int = 1
    fall: int = 3


class Probe(Spec, frozen=True, kw_only=True):
    """How a process tells its own state: returns a JSON object (role, slots, version)."""

    http: HttpGet | None = None
    exec: tuple[str, ...] | None = None
    interval: float = 5.0
    timeout: float = 2.0


class Limits(Spec, frozen=True, kw_only=True):
    open_files: int | None = None
    processes: int | None = None
    memory: int | None = None
    """Address space in bytes (RLIMIT_AS)."""
    core: int | None = None
    """Core file size in bytes; -1 is unlimited."""
    cpu: int | None = None
    """CPU seconds."""


Mode = Literal["always", "on-failure", "never"]


class Restart(Spec, frozen=True, kw_only=True):
    """Keeper's restart policy. The first restart is at once, then back-off doubles."""

    mode: Mode = "always"
    delay: float = 0.2
    """Seconds before the second restart in a row; doubles each time."""
    max_delay: float = 30.0
    attempts: int | None = None
    """Give up (FAILED) after so many restarts within `window`; None never gives up."""
    window: float = 600.0
    reset: float = 10.0
    """A run that lived this long ends the row of quick crashes."""


class Stop(Spec, frozen=True, kw_only=True):
    signal: str = "TERM"
    grace: float = 10.0
    """Seconds between the signal and SIGKILL."""
    drain: float = 10.0
    """At most so many seconds are spent waiting for connections to end before the signal."""


class Update(Spec, frozen=True, kw_only=True):
    order: Literal["start-first", "stop-first"] = "start-first"
    canary: int = 0
    """This many instances go first, and the rest waits for them."""
    parallel: int = 1
    healthy_for: float = 1.0
    """An instance counts as healthy after this many seconds of good health."""
    deadline: float = 60.0
    """Seconds without any newly healthy instance before the update counts as failed."""
    on_failure: Literal["return", "pause", "continue"] = "return"


class Secret(Spec, frozen=True, kw_only=True):
    file: str
    """Path on the host, read when the process starts. The value is never stored elsewhere."""


class Data(Spec, frozen=True, kw_only=True):
    """Small files that change often, with a version of their own, beside a running release."""

    artifact: str
    version: str = ""
    on_change: Literal["nothing", "signal", "restart"] = "nothing"
    """What happens to running instances once the new version is active on their host."""
    signal: str = "HUP"


class Runtime(Spec, frozen=True, kw_only=True):
    """Who runs the processes when the keeper does not. Exactly one; templates as in the command."""

    systemd: str | None = None
    """Name of the unit."""
    supervisord: str | None = None
    """`program` or `group:program`."""
    pidfile: str | None = None
    """The program writes it."""


class Schedule(Spec, frozen=True, kw_only=True):
    """A command that hosts run by the clock."""

    cron: str
    """Five fields in the host's local time, or `@hourly` and the like."""
    argv: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    """Constraints on hosts, as of instances; empty: all."""
    timeout: float = 60.0
    user: str = ""
    overlap: Literal["skip", "allow"] = "skip"
    """What happens when the one before still runs."""


class Instances(Spec, frozen=True, kw_only=True):
    """Either a count with constraints, or an explicit host list (one slot each, in order)."""

    count: int | None = None
    hosts: tuple[str, ...] | None = None
    require: tuple[str, ...] = ()
    """`label=value`, `label!=value`, `region=sh`, `host!=a`."""
    spread: str = "host"
    """`host`, `region` or a label: slots are spread evenly over its values."""
    max_per_host: int | None = None

    @property
    def size(self) -> int:
        return len(self.hosts) if self.hosts is not None else (1 if self.count is None else self.count)


class Service(Spec, frozen=True, kw_only=True):
    """A leaf of the service tree. Its path (`puzzle.web`) is its key in `Expected.services`."""

    processes: dict[str, tuple[str, ...]]
    """Process name -> argv template. One entry named `main` unless it is a process group."""
    version: str = ""
    artifact: str | None = None
    """Name of the artifact; None: `version` is a label and a deploy restarts."""
    signatures: tuple[str, ...] = ()
    """Roles (`build`, `qa`) that must have signed what runs here, releases and data alike."""
    data: dict[str, Data] = {}
    """Data artifacts by name; `{data.NAME}` is the directory of the active version."""
    env: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    directory: str = ""
    """Working directory: relative to the release (or the instance's own directory), or absolute."""
    user: str = ""
    limits: Limits = Limits()
    ports: dict[str, int] = {}
    """Port name -> number; 0 is dynamic (the host picks one from its range)."""
    depends: tuple[str, ...] = ()
    """Full paths of services this one calls."""
    check: Check | None = None
    probe: Probe | None = None
    instances: Instances = Instances()
    restart: Restart = Restart()
    stop: Stop = Stop()
    update: Update = Update()
    attributes: dict[str, str] = {}
    runtime: Runtime | None = None
    """None: the keeper; on a host without an agent a pid file of ours."""
    logs: dict[str, str] = {}
    """Further log files by name, followed and rotated like its output."""


class Window(Spec, frozen=True, kw_only=True):
    """Times of the week. One that ends before it begins runs over midnight and belongs to the day it begins on."""

    days: tuple[str, ...] = ()
    """`mon`, `mon-fri`; empty: every day."""
    start: str = "00:00"
    end: str = "24:00"
    """Not in it any more."""
    zone: str = ""
    """Name in the time zone database; empty: the controller's own time."""


class Guard(Spec, frozen=True, kw_only=True):
    """One guard rail. It holds when all that it says of an action is true; the first that holds decides.

    `cockpit.guard.decide` gives it its meaning.
    """

    name: str
    verbs: tuple[str, ...] = ()
    """Empty: every one but `pause` and `abort`."""
    targets: tuple[str, ...] = ()
    """Names or patterns; a tree node means everything below it, too."""
    regions: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Constraints that a touched host meets, all of them."""
    risk: tuple[Literal["change", "destructive"], ...] = ()
    authors: tuple[str, ...] = ()
    """`li` or `li@jump-1`, patterns too."""
    groups: tuple[str, ...] = ()
    """Unix groups of the author on the controller's machine."""
    over_instances: int | None = None
    """More instances than this are touched."""
    over_hosts: int | None = None
    below: str = ""
    """`2` or `50%`: fewer instances of a touched service would be ready at the worst moment."""
    inside: Window | None = None
    outside: Window | None = None
    effect: Literal["allow", "confirm", "approve", "deny"] = "allow"
    max: int | None = None
    """At most so many instances (hosts, where no instance is touched) at once, whatever the effect."""
    expires: float = 14400.0
    """Seconds that a request for approval waits."""
    break_glass: bool = False
    """It may be passed with a reason that is written down."""
    reason: str = ""


class Expected(Spec, frozen=True, kw_only=True):
    """The content of one revision."""

    name: str
    regions: dict[str, Region] = {}
    hosts: dict[str, Host] = {}
    relays: dict[str, Relay] = {}
    signers: dict[str, tuple[str, ...]] = {}
    """Role -> Ed25519 public keys (`ed25519:BASE64`) that may sign for it."""
    schedules: dict[str, Schedule] = {}
    guards: tuple[Guard, ...] = ()
    """In the order in which they are asked."""
    groups: dict[str, Group] = {}
    """Inner nodes by full path."""
    services: dict[str, Service] = {}
    """Leaves by full path."""
    placement: dict[str, str] = {}
    """Instance id (`puzzle.web/2`) -> host name. One entry for every slot that should exist."""
    stopped: dict[str, bool] = {}
    """Instance ids whose desired state is SHUTDOWN (only true values are kept)."""
    modes: dict[str, Literal["draining", "maintenance"]] = {}
    """Hosts that take no new instances."""

    def service_of(self, instance: str) -> Service:
        """Raises KeyError for an instance of a service that is not declared."""
        return self.services[instance.rpartition("/")[0]]

    def cluster_of(self, path: str) -> str:
        """The nearest enclosing group that is a cluster, or the first name of the path."""
        parts = path.split(".")
        for n in range(len(parts) - 1, 0, -1):
            group = self.groups.get(".".join(parts[:n]))
            if group is not None and group.cluster:
                return ".".join(parts[:n])
        return parts[0]


Doc = dict[str, Any]


def to_doc(expected: Expected) -> Doc:
    """The canonical JSON document of a revision: defaults are left out, tuples are lists."""
    doc = msgspec.json.decode(msgspec.json.encode(expected))  # `to_builtins` would keep tuples
    assert isinstance(doc, dict)
    return doc


def from_doc(doc: Doc) -> Expected:
    """Raises msgspec.ValidationError when the document does not have the shape above."""
    return msgspec.convert(doc, Expected)


def revised(doc: Doc, before: Doc, expected: Expected) -> Expected:
    """`from_doc` of what became of `before`, whose typed view is `expected`: it shares every section that is the
    same object in both, as `patch.apply` leaves those that it does not touch."""
    shared = {k: getattr(expected, k) for k, v in doc.items() if isinstance(v, dict) and v is before.get(k)}
    return msgspec.structs.replace(from_doc({k: v for k, v in doc.items() if k not in shared}), **shared)


def digest(doc: Doc) -> str:
    """SHA-256 (hex) over the canonical encoding, keys sorted."""
    return hashlib.sha256(msgspec.json.encode(doc, order="sorted")).hexdigest()


def slot_of(instance: str) -> int:
    return int(instance.rpartition("/")[2])


def service_path(instance: str) -> str:
    return instance.rpartition("/")[0]
