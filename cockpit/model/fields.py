"""The table of the topology file: every key with its kind and its description.

The loader, the exporter and the editor schema all come from here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.model.fields_guards import GUARD
from cockpit.model.fields_places import HOSTS, REGION, RELAY, RUNTIME, SCHEDULE
from cockpit.model.kinds import (
    BAD,
    Doc,
    Either,
    Field,
    Kind,
    ListOf,
    MapOf,
    Object,
    Scalar,
    integer,
    text,
    truth,
    word,
)
from cockpit.model.nodes import LIST, MAP, Node, entries
from cockpit.model.problems import Path, Report, Wrong, nearest
from cockpit.model.scalars import (
    ABSOLUTE,
    ARGV,
    CONSTRAINT,
    DURATION,
    HOST,
    HOST_NAME,
    LABEL,
    LABEL_TEXT,
    MANY,
    NAME,
    PORT,
    SERVICE_NAME,
    SIGNAL,
    SIGNING_KEY,
    SIZE,
    SOME_TIME,
    TREE_NAME,
    USER,
    VARIABLE,
    VERSION,
    WORDS,
)
from cockpit.model.topology import (
    Check,
    Data,
    Group,
    Guard,
    Host,
    HttpGet,
    Instances,
    Limits,
    Probe,
    Region,
    Relay,
    Restart,
    Schedule,
    Secret,
    Service,
    Stop,
    Update,
)

FORMAT = 1

class Branch(msgspec.Struct, frozen=True):
    """A group as it stands in the file, with what is below it."""

    cluster: bool = False
    about: str = ""
    children: dict[str, Any] = {}
    """Name -> Branch or Service."""

    @property
    def group(self) -> Group:
        return Group(cluster=self.cluster, about=self.about)


class File(msgspec.Struct, frozen=True):
    """The file as it stands: the tree nested, dependencies as written."""

    cockpit: int = FORMAT
    name: str = ""
    regions: dict[str, Region] = {}
    hosts: dict[str, Host] = {}
    relays: dict[str, Relay] = {}
    signers: dict[str, tuple[str, ...]] = {}
    schedules: dict[str, Schedule] = {}
    guards: tuple[Guard, ...] = ()
    tree: dict[str, Any] = {}


class _Main(Kind):
    """The command of a service of one process."""

    what = ARGV.what

    def read(self, node: Node, path: Path, to: Report) -> Any:
        argv = ARGV.read(node, path, to)
        return BAD if argv is BAD else {"main": argv}

    def write(self, value: Any) -> Any:
        return ARGV.write(value["main"])

    def schema(self) -> Doc:
        return ARGV.schema()

    def fits(self, value: Any) -> bool:
        return set(value) == {"main"}


class _Processes(MapOf):
    def fits(self, value: Any) -> bool:
        return set(value) != {"main"}


class _Ports(MapOf):
    """Names to numbers, or just a list of names when all are dynamic."""

    names = ListOf(NAME, "a list of port names", unique=True)

    def read(self, node: Node, path: Path, to: Report) -> Any:
        if node.kind != LIST:
            return super().read(node, path, to)
        names = self.names.read(node, path, to)
        if names is BAD:
            return BAD
        for n, name in enumerate(names):
            to.place((*path, name), node.items[n], node.items[n])
        return dict.fromkeys(names, 0)

    def write(self, value: Any) -> Any:
        return super().write(value) if any(value.values()) else list(value)

    def schema(self) -> Doc:
        return {"anyOf": [self.names.schema(), super().schema()]}


URL_PATH = text("a path beginning with /", pattern="^/.*$")

HTTP = Object(
    HttpGet, "an HTTP request",
    (
        Field("port", NAME, "Name of the port; may be left out when the service has exactly one."),
        Field("path", URL_PATH, "Path of the request.", default="/"),
    ),
    short=(URL_PATH, "path"),
)  # fmt: skip

_COUNT, _SOME = integer("a number", 0, MANY), integer("a number", 1, MANY)
_HTTP_ABOUT = "GET this path (or {port: NAME, path: PATH}); "

CHECK = Object(
    Check, "a health check",
    (
        Field("tcp", Either(True, "", NAME), "Connect to this port (its name, or true for the only one)."),
        Field("http", HTTP, _HTTP_ABOUT + "any answer from 200 to 399 is healthy."),
        Field("exec", ARGV, "Run this on the host; exit code 0 is healthy."),
        Field("notify", truth(only_true=True), "The process reports readiness itself by sd_notify."),
        Field("interval", SOME_TIME, "Time between two checks.", default="1s"),
        Field("timeout", SOME_TIME, "A check without an answer for so long has failed.", default="1s"),
        Field("rise", _SOME, "So many good checks in a row make it healthy.", default=1),
        Field("fall", _SOME, "So many bad checks in a row make it unhealthy.", default=3),
    ),
)  # fmt: skip

PROBE = Object(
    Probe, "a probe",
    (
        Field("http", HTTP, _HTTP_ABOUT + "it answers a JSON object."),
        Field("exec", ARGV, "Run this on the host; it prints a JSON object."),
        Field("interval", SOME_TIME, "Time between two probes.", default="5s"),
        Field("timeout", SOME_TIME, "A probe without an answer for so long has failed.", default="2s"),
    ),
)  # fmt: skip

LIMITS = Object(
    Limits, "limits",
    (
        Field("open_files", _COUNT, "Open files (RLIMIT_NOFILE)."),
        Field("processes", _COUNT, "Processes and threads of the user (RLIMIT_NPROC)."),
        Field("memory", SIZE, "Address space (RLIMIT_AS)."),
        Field("core", Either("unlimited", -1, SIZE), "Size of core files; unlimited keeps them whole."),
        Field("cpu", integer("CPU seconds", 0, 10**9), "CPU seconds (RLIMIT_CPU)."),
    ),
)  # fmt: skip

_POLICY = word("always", "on-failure", "never")

RESTART = Object(
    Restart, "a restart policy",
    (
        Field("mode", _POLICY, "When the host starts a process again that ended.", default="always"),
        Field("delay", DURATION, "Pause before the second restart; then doubled.", default="200ms"),
        Field("max_delay", DURATION, "The pause never gets longer than this.", default="30s"),
        Field("attempts", _SOME, "Give up after so many restarts within `window`."),
        Field("window", SOME_TIME, "See `attempts`.", default="10m"),
        Field("reset", DURATION, "A run that lived so long ends the row of quick crashes.", default="10s"),
    ),
    short=(_POLICY, "mode"),
)  # fmt: skip

STOP = Object(
    Stop, "stop settings",
    (
        Field("signal", SIGNAL, "Signal that asks the process to end.", default="TERM"),
        Field("grace", DURATION, "Time between the signal and SIGKILL.", default="10s"),
        Field("drain", DURATION, "Longest wait for connections to end before the signal.", default="10s"),
    ),
)  # fmt: skip

UPDATE = Object(
    Update, "an update strategy",
    (
        Field(
            "order", word("start-first", "stop-first"),
            "start-first: the new run serves before the old one ends. stop-first: one after the other "
            "(needed for fixed ports).", default="start-first",
        ),
        Field("canary", _COUNT, "So many go first; the rest waits until they are healthy.", default=0),
        Field("parallel", _SOME, "So many instances at once.", default=1),
        Field("healthy_for", DURATION, "Good health this long counts as healthy.", default="1s"),
        Field("deadline", SOME_TIME, "Failed after this time without one more healthy.", default="1m"),
        Field(
            "on_failure", word("return", "pause", "continue"),
            "What a failed update does: return to the last stable version, wait, or go on.",
            default="return",
        ),
    ),
)  # fmt: skip

INSTANCES = Object(
    Instances, "instances",
    (
        Field("count", _COUNT, "How many; placed by cockpit.", default=1),
        Field("hosts", ListOf(HOST, "a list of hosts"), "Exactly here, one instance for each entry."),
        Field(
            "require", ListOf(CONSTRAINT, "a list of constraints", unique=True),
            "Hosts must meet all of these: label=value, label!=value, region=NAME, host!=NAME.",
        ),
        Field(
            "spread", text("host, region or a label", pattern=LABEL[0]),
            "Spread evenly over the values of this: host, region or a label.", default="host",
        ),
        Field("max_per_host", _SOME, "At most so many on one host."),
    ),
    short=(_COUNT, "count"),
)  # fmt: skip

SECRET = Object(
    Secret, "a secret (a reference such as {file: PATH}, never the value)",
    (
        Field(
            "file", text("an absolute path", pattern=ABSOLUTE),
            "File on the host whose content becomes the variable when the process starts.", fill="/",
        ),
    ),
)  # fmt: skip

DATA = Object(
    Data, "a data artifact",
    (
        Field("artifact", LABEL_TEXT, "Name of the artifact (kind data).", fill=""),
        Field("version", VERSION, "Version that should be active.", fill=""),
        Field(
            "on_change", word("nothing", "signal", "restart"),
            "What happens to running instances when another version becomes active.", default="nothing",
        ),
        Field("signal", SIGNAL, "The signal of `on_change: signal`.", default="HUP"),
    ),
)  # fmt: skip

class _ServiceKind(Object):
    """Exactly one of `command` and `processes`; both fill the same attribute."""

    def make(self, values: dict[str, Any], path: Path, to: Report, node: Node) -> Any:
        taken = {self.table[k].name: v for k, v in values.items() if v is not BAD}
        taken.setdefault("processes", {})
        written = [k for k in ("command", "processes") if k in values]
        if not written:
            to.problem(path, 'a service needs "command" (or "processes")')
        elif len(written) == 2:
            to.problem((*path, "processes"), "a service has either a command or processes, not both")
        return self.struct(**taken)

    def schema(self) -> Doc:
        return super().schema() | {"oneOf": [{"required": ["command"]}, {"required": ["processes"]}]}


SERVICE = _ServiceKind(
    Service, "a service",
    (
        Field("artifact", LABEL_TEXT, "What to install; without it the version is a label."),
        Field("version", VERSION, "Version that should run."),
        Field(
            "signatures", ListOf(NAME, "a list of roles", unique=True),
            "Roles that must have signed what runs here (keys: `signers` at the top).",
        ),
        Field(
            "data", MapOf(TREE_NAME, DATA, "data artifacts by name"),
            "Files with a version of their own beside the release; {data.NAME} is their directory.",
        ),
        Field(
            "command", _Main(),
            "The program and its arguments, one word each. {port}, {port.NAME}, {address}, {host} "
            "and others are filled in.", attribute="processes",
        ),
        Field(
            "processes", _Processes(TREE_NAME, ARGV, "processes by name", least=1),
            "Several processes by name, instead of a command; they live and die together.",
        ),
        Field("env", MapOf(VARIABLE, WORDS, "variables"), "Environment; templates as in the command."),
        Field("secrets", MapOf(VARIABLE, SECRET, "secrets"), "Variables from files on the host."),
        Field("directory", text("a directory"), "Working directory: inside the release, or absolute."),
        Field("user", text("the name of a user", pattern=USER), "Run as this user."),
        Field("limits", LIMITS, "Resource limits of each process."),
        Field("ports", _Ports(TREE_NAME, PORT, "ports by name"), "Ports by name: dynamic or a number."),
        Field(
            "depends", ListOf(SERVICE_NAME, "a list of services", unique=True),
            "Services that this one calls: full path or shortest unique ending.",
        ),
        Field("check", CHECK, "Health check: exactly one of tcp, http, exec, notify."),
        Field("probe", PROBE, "How the process tells its own state: http or exec."),
        Field("instances", INSTANCES, "How many and where: a number, a count with constraints, or hosts."),
        Field("restart", RESTART, "What the host does when a process ends; just a mode, or in detail."),
        Field("stop", STOP, "How it is stopped."),
        Field("update", UPDATE, "How a new version is rolled out."),
        Field("attributes", MapOf(LABEL, WORDS, "attributes"), "Free key-values beside its endpoints."),
        Field("runtime", RUNTIME, "Who runs it instead: exactly one of systemd, supervisord, pidfile."),
        Field(
            "logs", MapOf(TREE_NAME, WORDS, "log files by name"),
            "Further log files, followed and rotated like its output; templates as in the command.",
        ),
    ),
    block=True,
    refused={"children": "this has a command: it is a service, and only groups have children"},
    instead={
        "cmd": "command", "image": "artifact", "environment": "env", "depends_on": "depends",
        "healthcheck": "check", "health": "check", "replicas": "instances", "count": "instances",
        "workdir": "directory", "cwd": "directory",
    },
)  # fmt: skip


class _TreeNode(Kind):
    """A service when it has a command or processes, a group when it has children."""

    what = "a service or a group"
    name = "node"

    def kind_of(self, value: Any) -> Kind:
        return GROUP if isinstance(value, Branch) else SERVICE

    def read(self, node: Node, path: Path, to: Report) -> Any:
        if node.kind != MAP:
            return self.unexpected(node, path, to)
        keys = set(entries(node, path, Report("")))
        group = "children" in keys or keys <= {"cluster", "about"} or "children" in (
            nearest(k, [*GROUP.table, *SERVICE.table]) for k in keys - SERVICE.table.keys()
        )
        if {"command", "processes"} & keys:
            group = False
        return (GROUP if group else SERVICE).read(node, path, to)

    def write(self, value: Any) -> Any:
        return self.kind_of(value).write(value)

    def schema(self) -> Doc:
        return {"$ref": f"#/$defs/{self.name}"}


TREE_NODE = _TreeNode()
CHILDREN = MapOf(TREE_NAME, TREE_NODE, "services and groups by name", block=True)

GROUP = Object(
    Branch, "a group",
    (
        Field("cluster", truth(), "The services below form one system.", default=False),
        Field("about", text("text"), "One line about it."),
        Field("children", CHILDREN, "Services and groups below this one.", fill={}),
    ),
    block=True,
)  # fmt: skip


def _format(written: str) -> int:
    if written != str(FORMAT):
        raise Wrong(f"version {written[:20]} of the file format is not known, only {FORMAT}")
    return FORMAT


FILE = Object(
    File, "the topology file",
    (
        Field("cockpit", Scalar("the number 1", {"const": FORMAT}, types=("int",), parse=_format),
              "Version of the file format.", fill=FORMAT),
        Field("name", LABEL_TEXT, "Name of the whole.", fill=""),
        Field("regions", MapOf(TREE_NAME, REGION, "regions by name", block=True),
              "Regions: hosts that share a cheap network."),
        Field("hosts", MapOf(HOST_NAME, HOSTS, "hosts by name", block=True), "Hosts by name."),
        Field("relays", MapOf(HOST_NAME, RELAY, "relays by name", block=True),
              "Relays by name: cache, seeder and tracker of their region."),
        Field("signers", MapOf(TREE_NAME, ListOf(SIGNING_KEY, "a list of public keys", least=1, unique=True),
                               "public keys by role"),
              "Who may sign: role to Ed25519 public keys."),
        Field("schedules", MapOf(TREE_NAME, SCHEDULE, "schedules by name", block=True),
              "Commands that hosts run by the clock."),
        Field("guards", ListOf(GUARD, "a list of guards"),
              "Guard rails: the first that holds decides what an action may do."),
        Field("tree", CHILDREN, "The service tree: groups with children, services with a command."),
    ),
    block=True,
)  # fmt: skip
