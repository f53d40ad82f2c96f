"""Random topologies that hold together, for round trips."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cockpit.model.topology import (
    Check,
    Data,
    Expected,
    Group,
    Host,
    HttpGet,
    Instances,
    Limits,
    Probe,
    Region,
    Relay,
    Restart,
    Runtime,
    Schedule,
    Secret,
    Service,
    Ssh,
    Stop,
    Update,
)
from cockpit.model.units import SIGNALS

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,5}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0{"), max_size=12)
labels = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,5}", fullmatch=True).filter(lambda k: k not in ("host", "region")),
    texts, max_size=3,
)  # fmt: skip
times = st.one_of(st.integers(1, 7200).map(float), st.sampled_from([0.001, 0.2, 0.25, 1.5, 90.0, 3600.0, 0.0125]))
numbers = st.integers(1, 1000)
maybe = st.none() | numbers
argvs = st.lists(texts | st.sampled_from(["{{", "{host}", "yes", "1.10", "~", "- x", "a: b"]), min_size=1, max_size=4)
versions = st.sampled_from(["", "1.0.0", "1.10", "1e3", "v2", "2024-01-01", "0x1F", "no", "1_000"])


def some(struct: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The struct with any of its fields left at the default."""
    return st.fixed_dictionaries({}, optional=fields).map(lambda values: struct(**values))


limits = some(
    Limits, open_files=numbers, processes=numbers, memory=st.integers(0, 2**40),
    core=st.integers(-1, 2**30), cpu=numbers,
)  # fmt: skip
restarts = some(
    Restart, mode=st.sampled_from(["always", "on-failure", "never"]), delay=times, max_delay=times,
    attempts=maybe, window=times, reset=times,
)  # fmt: skip
stops = some(Stop, signal=st.sampled_from(SIGNALS), grace=times, drain=times)
rates = st.none() | st.integers(16 * 1024, 10**9)
datas = st.dictionaries(
    names,
    st.builds(
        Data, artifact=st.sampled_from(["words", "geo"]), version=versions.filter(bool),
        on_change=st.sampled_from(["nothing", "signal", "restart"]), signal=st.sampled_from(SIGNALS),
    ),
    max_size=2,
)  # fmt: skip
KEY = "ed25519:" + "A" * 43 + "="
updates = some(
    Update, canary=st.integers(0, 3), parallel=numbers, healthy_for=times, deadline=times,
    on_failure=st.sampled_from(["return", "pause", "continue"]),
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn, ports: list[str]) -> HttpGet:
    port = draw(st.sampled_from(ports)) if len(ports) > 1 else draw(st.sampled_from([None, *ports]))
    return HttpGet(port=port, path="/" + draw(st.from_regex(r"[a-z ?=#]{0,6}", fullmatch=True)))


@st.composite
def checks(draw: st.DrawFn, ports: list[str]) -> Check | None:
    kind = draw(st.sampled_from(["none", "exec", "notify", "http", "tcp"] if ports else ["none", "exec", "notify"]))
    if kind == "none":
        return None
    choice: dict[str, Any] = {
        "exec": lambda: tuple(draw(argvs)),
        "notify": lambda: True,
        "http": lambda: draw(requests(ports)),
        "tcp": lambda: draw(st.sampled_from(ports)) if len(ports) > 1 else draw(st.sampled_from(["", *ports])),
    }
    optional = {"interval": times, "timeout": times, "rise": numbers}
    fields: dict[str, Any] = {kind: choice[kind](), **draw(st.fixed_dictionaries({}, optional=optional))}
    return Check(**fields)


@st.composite
def services(draw: st.DrawFn, hosts: list[str], number: int, others: list[str], roles: list[str]) -> Service:
    ports = draw(st.lists(names, max_size=3, unique_by=lambda n: n.replace("-", "_")))
    fixed = bool(ports) and draw(st.booleans())
    update = draw(updates)
    if fixed:
        update = Update(order="stop-first", canary=update.canary, deadline=update.deadline)
    if not hosts:
        instances = Instances(count=0)
    elif draw(st.booleans()):
        listed = draw(st.lists(st.sampled_from(hosts), unique=fixed, max_size=4))
        instances = Instances(hosts=tuple(listed))
    else:
        count = draw(st.none() | st.integers(0, len(hosts)))
        require = (f"host={hosts[0]}",) if count in (None, 1) and draw(st.booleans()) else ()
        instances = Instances(count=count, require=require, max_per_host=draw(maybe), spread=draw(
            st.sampled_from(["host", "region"])
        ))  # fmt: skip
    processes = {"main": tuple(draw(argvs))}
    if draw(st.booleans()):
        processes = draw(st.dictionaries(names, argvs.map(tuple), min_size=1, max_size=3))
    variable = st.from_regex(r"[A-Z_]{1,4}", fullmatch=True)
    env = draw(st.dictionaries(variable, texts, max_size=3))
    secret = draw(st.dictionaries(variable, st.just(Secret(file="/etc/a b")), max_size=2))
    probe = draw(st.none() | requests(ports).map(lambda r: Probe(http=r))) if ports else None
    version = draw(versions)
    artifact = draw(st.sampled_from([None, "web"])) if version else None
    data = draw(datas)
    signed = bool(artifact or data) and bool(roles) and draw(st.booleans())
    return Service(
        processes=processes, version=version, artifact=artifact, data=data,
        signatures=tuple(draw(st.lists(st.sampled_from(roles), unique=True))) if signed else (),
        env=env, secrets={k: v for k, v in secret.items() if k not in env},
        directory=draw(st.sampled_from(["", "sub", "/srv", "a b"])),
        user=draw(st.sampled_from(["", "nobody", "1000"])),
        limits=draw(limits), ports={p: 1000 + number * 10 + n if fixed else 0 for n, p in enumerate(ports)},
        depends=tuple(draw(st.lists(st.sampled_from(others), unique=True, max_size=2))) if others else (),
        check=draw(checks(ports)), probe=probe, instances=instances, restart=draw(restarts), stop=draw(stops),
        update=update, attributes=draw(labels),
        runtime=draw(st.sampled_from([None, Runtime(systemd="web@{slot}"), Runtime(pidfile="/run/x.pid")])),
        logs=draw(st.sampled_from([{}, {"access": "/var/log/{instance}.log"}])),
    )  # fmt: skip


TIDY = Schedule(cron="*/5 * * * *", argv=("x", "y"), hosts=("region!=x",))
ways = st.sampled_from([
    {"connection": "agent"}, {"connection": "local"}, {"connection": "ssh"},
    {"connection": "ssh", "ssh": Ssh(user="ops", jump=("li@bastion:2222", "b"), directory="/srv/x")},
    {"connection": "agent", "ssh": Ssh(address="h.example", port=2200, listen=7700, listen_origin=7701)},
])
"""How the controller reaches a host."""


@st.composite
def relays(draw: st.DrawFn, regions: list[str]) -> dict[str, Relay]:
    """At most two; the second may ask the first."""
    found: dict[str, Relay] = {}
    for n in range(draw(st.integers(0, 2))):
        found[f"relay-{n}.x"] = Relay(
            region=draw(st.sampled_from(regions)), address=f"10.0.1.{n + 1}", port=draw(st.integers(1, 65535)),
            upstream=draw(st.sampled_from(["", *found])), cache=draw(st.integers(1, 2**40)), push_rate=draw(rates),
            connection=draw(st.sampled_from(["agent", "local"])),
        )
    return found


@st.composite
def topologies(draw: st.DrawFn) -> Expected:
    regions = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    hosts = draw(st.lists(st.from_regex(r"[a-z]([a-z0-9.]{0,4}[a-z])?", fullmatch=True), max_size=4, unique=True))
    roles = draw(st.lists(names, max_size=2, unique=True))
    groups: dict[str, Group] = {}
    found: dict[str, Service] = {}
    allowed = st.fixed_dictionaries({"shell": st.booleans()})
    for number in range(draw(st.integers(0, 3))):
        above = draw(st.sampled_from(["", *groups]))
        path = f"{above}.{draw(names)}".removeprefix(".")
        if path in found:
            continue
        if path not in groups:
            groups[path] = Group(cluster=draw(st.booleans()), about=draw(texts))
        inner = f"{path}.{draw(names)}"
        if inner not in groups and inner not in found:
            found[inner] = draw(services(hosts, number, list(found), roles))
    return Expected(
        name=draw(st.from_regex(r"[a-z0-9][A-Za-z0-9_.-]{0,6}", fullmatch=True)),
        regions={
            r: Region(
                reaches=draw(st.sampled_from([None, tuple(regions)])), push_rate=draw(rates),
                transports=draw(st.sampled_from([(), ("polling", "http2")])),
                proxy=draw(st.sampled_from(["", "http://10.0.0.9:3128"])), **draw(allowed),
            )
            for r in regions
        },
        schedules=draw(st.sampled_from([{}, {"tidy": TIDY}])),
        relays=draw(relays(regions)), signers={role: (KEY,) for role in roles},
        hosts={
            h: Host(
                region=draw(st.sampled_from(regions)), address=f"10.0.0.{n + 1}", labels=draw(labels),
                **draw(ways), **draw(allowed),
                port_range=draw(st.sampled_from([(20000, 20999), (30000, 40000)])),
                max_instances=draw(st.none() | st.integers(12, 20)), push_rate=draw(rates),
            )
            for n, h in enumerate(hosts)
        },
        groups=groups, services=found,
    )  # fmt: skip
