"""STATE/alerts.yaml: who is told of what. Everything wrong in it has a place."""

from __future__ import annotations

import os
import stat
from pathlib import Path as FilePath

import msgspec

from cockpit.model.kinds import BAD, Field, ListOf, MapOf, Object, Scalar, integer, text, word
from cockpit.model.nodes import compose, text_of
from cockpit.model.problems import BadTopology, Problem, Report, Wrong
from cockpit.model.scalars import ARGV, DURATION, HOST, NAME, SOME_TIME, TREE_NAME, WORDS

MOST_BYTES = 256 * 1024

CRASH, LOOP, UNHEALTHY, UNKNOWN, DRIFT, STOPPED = KINDS = (
    "crash", "crash-loop", "unhealthy", "unknown", "drift", "stopped",
)  # fmt: skip
LASTING = {CRASH: 0.0, LOOP: 0.0, UNHEALTHY: 30.0, UNKNOWN: 10.0, DRIFT: 600.0, STOPPED: 0.0}
"""Seconds for which a condition must hold before anybody is told, where a rule says nothing."""
FACILITIES = ("user", "daemon", *(f"local{n}" for n in range(8)))


class Target(msgspec.Struct, frozen=True):
    """Exactly one of `webhook`, `command` and `syslog`."""

    webhook: str = ""
    headers: dict[str, str] = {}
    command: tuple[str, ...] = ()
    syslog: str = ""
    timeout: float = 10.0

    @property
    def words(self) -> str:
        """How it is told, without what may be secret in a URL."""
        if self.webhook:
            return "webhook " + self.webhook.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return f"command {self.command[0]}" if self.command else f"syslog {self.syslog}"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    when: str
    to: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    lasting: float | None = None
    restarts: int = 3
    within: float = 60.0
    repeat: float = 4 * 3600.0

    @property
    def holds_for(self) -> float:
        return LASTING[self.when] if self.lasting is None else self.lasting


class Settings(msgspec.Struct, frozen=True):
    targets: dict[str, Target] = {}
    rules: tuple[Rule, ...] = tuple(Rule(when=k) for k in (LOOP, UNKNOWN, DRIFT, STOPPED))
    collect: float = 0.15
    again: float = 60.0


def _url(written: str) -> str:
    if not written.startswith(("http://", "https://")) or any(c.isspace() for c in written):
        raise Wrong(f'"{written[:40]}" is not an http or https URL')
    return written


_GLOBS = ListOf(text("a name or a pattern such as puzzle.*"), "a list of names or patterns", least=1)
_HEADER = (r"^[A-Za-z0-9-]{1,100}$", "the name of an HTTP header")

TARGET = Object(
    Target, "a target",
    (
        Field("webhook", Scalar("an http or https URL", {"type": "string", "format": "uri"}, parse=_url),
              "POST the alert there as JSON."),
        Field("headers", MapOf(_HEADER, WORDS, "headers"), "Sent with it, for example Authorization."),
        Field("command", ARGV, "Run this here; the alert is its input, as JSON."),
        Field("syslog", word(*FACILITIES), "Write a line to /dev/log with this facility."),
        Field("timeout", SOME_TIME, "A try that takes longer has failed.", default="10s"),
    ),
)  # fmt: skip

RULE = Object(
    Rule, "a rule",
    (
        Field("when", word(*KINDS), "The condition.", fill=CRASH),
        Field("to", ListOf(NAME, "a list of targets", unique=True), "Who is told. Nobody: the screens show it."),
        Field("services", _GLOBS, "Only these services and what is below them."),
        Field("hosts", ListOf(HOST, "a list of hosts", least=1), "Only on these hosts."),
        Field("regions", ListOf(NAME, "a list of regions", least=1), "Only in these regions."),
        Field("for", DURATION, "Only when it lasts that long.", "lasting"),
        Field("restarts", integer("a number of restarts", 2, 1000), "Of crash-loop: so many crashes ...", default=3),
        Field("within", SOME_TIME, "... within this time.", default="1m"),
        Field("repeat", SOME_TIME, "Told again after this time while nobody acknowledges it.", default="4h"),
    ),
)  # fmt: skip

FILE = Object(
    Settings, "the alerts file",
    (
        Field("targets", MapOf(TREE_NAME, TARGET, "targets"), "Names for who can be told."),
        Field("rules", ListOf(RULE, "a list of rules"), "What is told to whom; the first rule that fits."),
        Field("collect", DURATION, "What begins within this time is one alert.", default="150ms"),
        Field("again", SOME_TIME, "An alert that grows is told again at most this often.", default="1m"),
    ),
)  # fmt: skip


def load(path: FilePath) -> Settings:
    """The file's settings; the built-in ones when there is no file. Raises BadTopology with every problem."""
    try:
        with path.open("rb") as f:
            mode = stat.S_IMODE(os.fstat(f.fileno()).st_mode)
            data = f.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return Settings()
    except OSError as e:
        raise BadTopology([Problem(str(path), 0, 0, "", e.strerror or str(e))]) from None
    if len(data) > MOST_BYTES:
        raise BadTopology([Problem(str(path), 0, 0, "", f"larger than {MOST_BYTES // 1024} KiB")])
    settings = parse(data, str(path))
    if mode & 0o077 and any(t.webhook or t.headers for t in settings.targets.values()):
        raise BadTopology([Problem(str(path), 0, 0, "", "others may read it and URLs are secrets: chmod 600")])
    return settings


def parse(data: bytes, name: str = "alerts.yaml") -> Settings:
    """Raises BadTopology with every problem."""
    to = Report(name)
    read = FILE.read(compose(text_of(data, name), name), (), to)
    if read is not BAD:
        _check(read, to)
    if to.problems or read is BAD:
        raise BadTopology(to.problems)
    assert isinstance(read, Settings)
    return read


def _check(settings: Settings, to: Report) -> None:
    for name, target in settings.targets.items():
        ways = [w for w in ("webhook", "command", "syslog") if getattr(target, w)]
        if len(ways) != 1:
            to.problem(("targets", name), "a target has exactly one of webhook, command and syslog")
        if target.headers and not target.webhook:
            to.problem(("targets", name, "headers"), "only a webhook has headers")
    for n, rule in enumerate(settings.rules):
        for m, name in enumerate(rule.to):
            if name not in settings.targets:
                near = to.near(name, settings.targets)
                to.problem(("rules", str(n), "to", str(m)), f'there is no target "{name}"', near)
