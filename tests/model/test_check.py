"""What must hold between the parts: names, ports, checks, templates, cycles, reach, room."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.model.check import spot
from cockpit.model.constraints import (
    Requirement,
    eligible_hosts,
    host_meets,
    parse_requirement,
)
from cockpit.model.load import load_text, parse_topology
from cockpit.model.problems import Wrong
from cockpit.model.room import Demand, shortage
from cockpit.model.templates import VARIABLES, check_template, variables
from cockpit.model.topology import Expected, Host, Instances, Service
from tests.model.snippets import expect, tree

STOP_FIRST = "update: {order: stop-first}"

TABLE = {
    # dependencies
    "unknown": ("s: {command: [x], depends: [¦t]}\nu: {command: [x]}", 'unknown service "t"'),
    "near": ("web: {command: [x], depends: [¦sudku]}\nsudoku: {command: [x]}", '(did you mean "sudoku"?)'),
    "group": ("g: {children: {}}\ns: {command: [x], depends: [¦g]}", '"g" is a group'),
    "ambiguous": (
        "g: {children: {t: {command: [x]}}}\nh: {children: {t: {command: [x]}}}\ns: {command: [x], depends: [¦t]}",
        '"t" may be g.t or h.t; write more of the path',
    ),
    "twice": ("g: {children: {t: {command: [x]}}}\ns: {command: [x], depends: [t, ¦g.t]}", "g.t is listed twice"),
    "itself": ("s: {command: [x], depends: [¦s]}", "s depends on itself"),
    "cycle": (
        "a: {command: [x], depends: [¦b]}\nb: {command: [x], depends: [c]}\nc: {command: [x], depends: [a]}",
        "dependency cycle: a -> b -> c -> a",
    ),
    "reach": (
        "s: {command: [x], depends: [¦t], instances: {hosts: [b]}}\nt: {command: [x], instances: {hosts: [a]}}",
        "s may run in region bj, which reaches none of the regions of t (sh)",
    ),
    "reach of a count": (
        "s: {command: [x], depends: [¦t], instances: 1}\nt: {command: [x], instances: {require: [region=sh]}}",
        "s may run in region bj",
    ),
    # ports
    "one number twice": (
        f"s: {{command: [x], {STOP_FIRST}, ports: {{a: 80, b: ¦80}}}}", 'is taken by "a" of the same service',
    ),
    "fixed with start-first": ("s: {command: [x], ports: {a: ¦80}}", "write update: {order: stop-first}"),
    "clash on a host": (
        f"s: {{command: [x], {STOP_FIRST}, ports: {{a: 80}}, instances: {{hosts: [a, b]}}}}\n"
        f"t: {{command: [x], {STOP_FIRST}, ports: {{b: ¦80}}, instances: {{hosts: [b]}}}}",
        "port 80 on b is taken by s",
    ),
    "clash with itself": (
        f"s: {{command: [x], {STOP_FIRST}, ports: {{a: ¦80}}, instances: {{hosts: [a, a]}}}}",
        "one instance fits on a, and it is listed twice",
    ),
    "clash of counts": (
        f"s: {{command: [x], {STOP_FIRST}, ports: {{a: 80}}, instances: 1}}\n"
        f"t: {{command: [x], {STOP_FIRST}, ports: {{b: ¦80}}, instances: 2}}",
        "port 80 is fixed here and in s: too few hosts to be apart",
    ),
    "clash of a count with a list": (
        f"s: {{command: [x], {STOP_FIRST}, ports: {{a: 80}}, instances: {{hosts: [a]}}}}\n"
        f"t: {{command: [x], {STOP_FIRST}, ports: {{b: ¦80}}, instances: {{require: [host=a]}}}}",
        "port 80 is fixed here and in s",
    ),
    "dynamic range": (
        f"s: {{command: [x], {STOP_FIRST}, ports: {{a: ¦20005}}}}",
        "port 20005 is among the dynamic ports 20000-20999 of host a and 1 more",
    ),
    # checks and probes
    "no way": ("s: {command: [x], ports: [p], check: ¦{interval: 1s}}", "one of tcp, http, exec, notify; found none"),
    "two ways": ("s: {command: [x], ports: [p], check: ¦{tcp: true, http: /}}", "found tcp and http"),
    "no port": ("s: {command: [x], check: {http: ¦/}}", "this needs a port, and the service has none"),
    "no port for tcp": ("s: {command: [x], check: {tcp: ¦true}}", "this needs a port"),
    "which port": ("s: {command: [x], ports: [p, q], check: {tcp: ¦true}}", "which port? name one of p, q"),
    "which port of http": ("s: {command: [x], ports: [p, q], check: {http: ¦{path: /}}}", "which port?"),
    "other port": ("s: {command: [x], ports: [http], check: {tcp: ¦htp}}", '(did you mean "http"?)'),
    "other port of http": ("s: {command: [x], ports: [p], check: {http: {port: ¦q}}}", 'unknown port "q"'),
    "probe": ("s: {command: [x], ports: [p], probe: ¦{interval: 1s}}", "a probe is either http or exec; found none"),
    "both probes": ("s: {command: [x], ports: [p], probe: ¦{http: /, exec: [x]}}", "found both"),
    "port of a probe": ("s: {command: [x], ports: [p], probe: {http: {port: ¦q}}}", 'unknown port "q"'),
    # templates
    "variable": ("s: {command: [x, '¦{hots}']}".replace("'¦", "¦'"), 'unknown variable {hots}; write {{ for a brace'),
    "variable of env": ("s: {command: [x], env: {A: ¦'{regon}'}}", '(did you mean "region"?)'),
    "variable of processes": ("s: {processes: {a: [x], b: [x, ¦'{zzz}']}}", "unknown variable {zzz}"),
    "variable of a check": ("s: {command: [x], check: {exec: [x, ¦'{hst}']}}", '(did you mean "host"?)'),
    "variable of a probe": ("s: {command: [x], probe: {exec: [¦'{hst}']}}", '(did you mean "host"?)'),
    "brace": ("s: {command: [awk, ¦'{ print }']}", "write {{ for a brace"),
    "no ports": ("s: {command: [x, ¦'{port}']}", "this service has none"),
    "several ports": ("s: {command: [x, ¦'{port}'], ports: [p, q]}", "has 2, write {port.p} or {port.q}"),
    "port name": ("s: {command: [x, ¦'{port.htp}'], ports: [http]}", '(did you mean "http"?)'),
    # instances
    "host": ("s: {command: [x], instances: {hosts: [a, ¦c]}}", 'unknown host "c"'),
    "beside a list": ("s: {command: [x], instances: {hosts: [a], count: ¦1}}", '"count" has no meaning beside'),
    "label": (
        "s: {command: [x], instances: {require: [¦dsk=ssd]}}",
        'no host has the label "dsk" (did you mean "disk"?)',
    ),
    "value": (
        "s: {command: [x], instances: {require: [¦disk=sdd]}}",
        'no host meets disk=sdd (did you mean "ssd"?)',
    ),
    "region": (
        "s: {command: [x], instances: {require: [¦region=bjj]}}",
        'unknown region "bjj" (did you mean "bj"?)',
    ),
    "host of a constraint": ("s: {command: [x], instances: {require: [¦host!=c]}}", 'unknown host "c"'),
    "together": (
        "s: {command: [x], instances: {require: ¦[disk=ssd, region=bj]}}", "no host meets disk=ssd and region=bj",
    ),
    "spread": (
        "s: {command: [x], instances: {spread: ¦dsk}}",
        'no host has the label "dsk" (did you mean "disk"?)',
    ),
    "max_per_host": (
        "s: {command: [x], instances: {count: ¦5, max_per_host: 2}}",
        "5 instances, but 2 hosts allow 4 (max_per_host 2)",
    ),
    "fixed port": (
        f"s: {{command: [x], {STOP_FIRST}, ports: {{a: 80}}, instances: ¦3}}",
        "3 instances, but 2 hosts allow 2 (one for each address because of a fixed port)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_services(name: str) -> None:
    marked, fragment = TABLE[name]
    expect(tree(marked), fragment)


def test_every_cycle_is_named_once() -> None:
    expect(
        tree(
            """
            a: {command: [x], depends: [¦b]}
            b: {command: [x], depends: [a, c]}
            c: {command: [x], depends: [¦d]}
            d: {command: [x], depends: [c]}
            """
        ),
        "dependency cycle: a -> b -> a",
        "dependency cycle: c -> d -> c",
    )


HOSTS = {
    "unknown region": ("a: {region: ¦shh, address: 10.0.0.1}", 'unknown region "shh" (did you mean "sh"?)'),
    "one address": (
        "a: {region: sh, address: 10.0.0.1}\nb: {region: sh, address: ¦10.0.0.1}",
        "b has the address of a (10.0.0.1), and their port ranges overlap",
    ),
    "one address, other spelling": (
        "a: {region: sh, address: '::1'}\nb: {region: sh, address: ¦'0:0::1', ports: 20999-30000}", "ranges overlap",
    ),
}  # fmt: skip


def hosts(marked: str, services: str = "") -> str:
    inner = "".join(f"\n  {line}" for line in marked.split("\n")) if marked else " {}"
    rest = "".join(f"  {line}\n" for line in services.split("\n")) if services else ""
    return f"cockpit: 1\nname: t\nregions: {{sh: }}\nhosts:{inner}\n" + (f"tree:\n{rest}" if rest else "")


@pytest.mark.parametrize("name", HOSTS)
def test_hosts(name: str) -> None:
    marked, fragment = HOSTS[name]
    expect(hosts(marked), fragment)


def test_one_address_with_ranges_apart() -> None:
    load_text(hosts(
        "a: {region: sh, address: 10.0.0.1, ports: 20000-20499}\n"
        "b: {region: sh, address: 10.0.0.1, ports: 20500-20999}"
    ).encode())  # fmt: skip


SMALL = (
    "a: {region: sh, address: 10.0.0.1, max_instances: 2}\n"
    "b: {region: sh, address: 10.0.0.2, max_instances: 1}"
)  # fmt: skip

ROOM = {
    "alone": (SMALL, "s: {command: [x], instances: ¦4}", "4 instances, but 2 hosts allow 3 (max_instances)"),
    "together": (
        SMALL, "s: {command: [x], instances: 2}\nt: {command: [x], instances: ¦2}",
        "no room for 1 of the instances of s, t (max_instances of their hosts)",
    ),
    "the ones that compete": (
        SMALL,
        "s: {command: [x], instances: {count: 2, require: [host=a]}}\nt: {command: [x], instances: {count: 0}}\n"
        "u: {command: [x], instances: ¦{count: 1, require: [host=a]}}", "no room for 1 of the instances of s, u",
    ),
    "beside listed ones": (
        SMALL, "s: {command: [x], instances: {hosts: [a, a]}}\nt: {command: [x], instances: ¦2}",
        "no room for 1 of the instances of t",
    ),
    "listed": (SMALL, "s: {command: [x], instances: {hosts: [b, a, ¦b]}}", "host b takes at most 1 (max_instances)"),
    "no hosts": ("", "s: {command: [x], instances: ¦1}", "there are no hosts to run on"),
    "two hosts of one address": (
        "a: {region: sh, address: 10.0.0.1, ports: 20000-20499}\n"
        "b: {region: sh, address: 10.0.0.1, ports: 20500-20999}",
        f"s: {{command: [x], {STOP_FIRST}, ports: {{p: ¦80}}, instances: {{hosts: [a, b]}}}}",
        "port 80 on b is taken by s: a has the same address",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROOM)
def test_room(name: str) -> None:
    marked, services, fragment = ROOM[name]
    expect(hosts(marked, services), fragment)


def test_what_just_fits() -> None:
    for services in (
        "s: {command: [x], instances: 3}",
        "s: {command: [x], instances: {count: 2, require: [host=a]}}\nt: {command: [x], instances: {hosts: [b]}}",
        "s: {command: [x], instances: {count: 1, max_per_host: 1}}\nt: {command: [x], instances: 2}",
        f"s: {{command: [x], {STOP_FIRST}, ports: {{p: 80}}, instances: 1}}\n"
        f"t: {{command: [x], {STOP_FIRST}, ports: {{p: 80}}, instances: {{hosts: [a]}}}}",
    ):
        load_text(hosts(SMALL, services).encode())


def test_room_is_not_judged_by_hosts_that_are_wrong() -> None:
    marked = "a: {region: sh, address: ¦10.0.0}"
    expect(hosts(marked, "s: {command: [x], instances: {count: 9, max_per_host: 1}}"), "is not an IP address")


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sets(st.sampled_from("abcd"), min_size=1), st.integers(1, 3)), max_size=3
    ),
    st.tuples(*[st.integers(0, 3)] * 4),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_shortage_against_trying_everything(raw: list[tuple[int, set[str], int]], caps: tuple[int, ...]) -> None:
    room = dict(zip("abcd", caps, strict=True))
    demands = [Demand(str(n), c, tuple(sorted(b)), e) for n, (c, b, e) in enumerate(raw)]

    def best(left: list[Demand], free: dict[str, int]) -> int:
        if not left:
            return 0
        first, most = left[0], 0
        for split in itertools.product(*(range(min(first.each, free[b]) + 1) for b in first.bins)):
            if sum(split) <= first.count:
                after = free | {b: free[b] - n for b, n in zip(first.bins, split, strict=True)}
                most = max(most, sum(split) + best(left[1:], after))
        return most

    missing, names = shortage(demands, room)
    assert missing == sum(d.count for d in demands) - best(demands, room)
    assert bool(names) == bool(missing)


def test_warnings() -> None:
    text = tree(
        """
        s: {command: [x, "{release}"], instances: {count: 2, require: [region=sh, rack!=7]}, update: {canary: 2}}
        """
    )
    warnings = [str(w) for w in load_text(text.encode(), "t").warnings]
    assert [w.partition(" ")[2] for w in warnings] == [
        "no service may run on host b",
        "{release} is empty: the service has no artifact",
        'no host has the label "rack"',
        "the canary is all of the 2 instances",
    ]
    assert warnings[0].startswith("t:4:")


def test_constraints() -> None:
    host = Host(region="sh", address="10.0.0.1", labels={"disk": "ssd", "zone": "a=b"})
    table = {
        "disk=ssd": True, "disk=hdd": False, "disk!=ssd": False, "disk!=hdd": True, "gpu=yes": False,
        "gpu!=yes": True, "region=sh": True, "region!=sh": False, "host=h": True, "host!=h": False, "zone=a=b": True,
    }  # fmt: skip
    assert {text: host_meets("h", host, text) for text in table} == table
    assert parse_requirement("a!=b") == Requirement("a", "b", equal=False)
    assert all(str(parse_requirement(text)) == text for text in table)
    for wrong in ("", "=", "a", "a=", "=b", "a = b", "!=b", "a=\n"):
        with pytest.raises(Wrong):
            parse_requirement(wrong)


def test_eligible_hosts() -> None:
    x = Expected(name="t", hosts={n: Host(region=r, address="") for n, r in (("a", "sh"), ("b", "bj"), ("c", "sh"))})
    service = Service(processes={}, instances=Instances(count=1, require=("region=sh", "host!=a")))
    assert eligible_hosts(x, service) == ("c",)
    assert eligible_hosts(x, Service(processes={}, instances=Instances(hosts=("c", "a", "c")))) == ("c", "a")


def test_templates() -> None:
    assert variables("{port.http}-{{x}-{host}") == ["port.http", "host"]
    for name in VARIABLES:
        check_template(f"a{{{name}}}b", ["http"])
    check_template("{port.b}}", ["a", "b"])
    for wrong in ("{", "{}", "{ host }", "{Host}", "{port.}", "{{{x"):
        with pytest.raises(Wrong):
            check_template(wrong, ["http"])


def test_places() -> None:
    assert spot("a") == ("tree", "a")
    assert spot("a.b.c") == ("tree", "a", "children", "b", "children", "c")


def test_dependencies_become_full_paths() -> None:
    x = parse_topology({"cockpit": 1, "name": "t", "regions": {"r": None}, "tree": {
        "web": {"command": ["x"], "depends": ["b.web", "api"], "instances": 0},
        "b": {"children": {"web": {"command": ["x"], "instances": 0}, "api": {"command": ["x"], "instances": 0}}},
    }})  # fmt: skip
    assert x.services["web"].depends == ("b.web", "b.api")
