"""Reading the file: YAML itself, limits, keys, types, units."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model import nodes, units
from cockpit.model.load import load_file, load_text, parse_topology
from cockpit.model.problems import MOST, BadTopology, Wrong, nearest
from cockpit.model.topology import Check, Expected, Host, HttpGet, Instances, Limits, Region, Restart, Secret
from tests.model.snippets import HEAD, expect, problems, tree

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["C", "Python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds with both parsers of PyYAML."""
    import yaml

    monkeypatch.setattr(nodes, "_LOADER", yaml.CSafeLoader if request.param == "C" else yaml.SafeLoader)


def test_every_key_of_the_file() -> None:
    loaded = load_file(DATA / "full.yaml")
    x = loaded.expected
    assert loaded.warnings == []
    assert x.regions == {"sh": Region(reaches=("bj",)), "bj": Region()}
    assert x.hosts["sh-1"] == Host(
        region="sh", address="10.0.1.1", labels={"disk": "ssd", "rack": "7"}, connection="local",
        port_range=(21000, 21999), max_instances=20,
    )  # fmt: skip
    assert x.hosts["db.bj-1"] == Host(region="bj", address="fd00::1")
    assert {p: g.cluster for p, g in x.groups.items()} == {"shop": True, "shop.store": True, "shop.jobs": False}
    web = x.services["shop.web"]
    assert web.processes == {"main": ("python3", "web.py", "--port", "{port.http}", "{{}", "8")}
    assert (web.artifact, web.version, web.directory, web.user) == ("web", "1.10", "sub", "nobody")
    assert web.env == {"DEBUG": "1", "AT": "{address}:{port.http}", "ON": "yes"}
    assert web.secrets == {"DB_PASSWORD": Secret(file="/etc/secret")}
    assert web.limits == Limits(open_files=1024, memory=512 * 2**20, core=-1, processes=100, cpu=60)
    assert web.ports == {"http": 0, "admin": 9000}
    assert web.depends == ("shop.store.cache", "shop.jobs.group")
    assert web.check == Check(http=HttpGet(port="http", path="/health"), interval=1.5, timeout=0.5, rise=2, fall=4)
    assert web.probe is not None and web.probe.http == HttpGet(port="admin", path="/info")
    assert web.instances == Instances(count=1, require=("region=sh", "disk=ssd"), spread="disk", max_per_host=1)
    assert web.restart == Restart(mode="on-failure", delay=0.2, max_delay=60, attempts=5, window=600, reset=3600)
    assert (web.stop.signal, web.stop.grace, web.stop.drain) == ("QUIT", 10.0, 0.0)
    assert (web.update.order, web.update.canary, web.update.on_failure) == ("stop-first", 1, "pause")
    assert web.attributes == {"role": "front", "weight": "10"}
    cache = x.services["shop.store.cache"]
    assert cache.check == Check(tcp="") and cache.restart == Restart(mode="never")
    assert cache.instances == Instances(hosts=("sh-1", "db.bj-1")) and cache.instances.size == 2
    group = x.services["shop.jobs.group"]
    assert group.processes == {"front": ("./front",), "side": ("./side", "-v")}
    assert group.check == Check(notify=True) and group.instances == Instances()
    assert (x.placement, x.stopped, x.modes) == ({}, {}, {})


def test_the_sample() -> None:
    loaded = load_file(ROOT / "sample_topology.yaml")
    x = loaded.expected
    assert loaded.warnings == []
    assert x.name == "puzzle-prod" and x.groups["puzzle"].cluster
    assert {h: v.address for h, v in x.hosts.items()} == {
        f"{r}-{n}": f"127.0.{k}.{n}" for k, r in ((1, "sh"), (2, "bj")) for n in (1, 2, 3)
    }
    assert {p: s.instances.size for p, s in x.services.items()} == {"puzzle.web": 2, "puzzle.sudoku": 4}
    assert x.services["puzzle.web"].depends == ("puzzle.sudoku",)


SYNTAX = [
    ("cockpit: 1\nname: a¦: b\n", "not valid YAML: mapping values are not allowed"),
    ("cockpit: 1\n¦\tname: a\n", "not valid YAML"),
    ("¦", "the file is empty"),
    ("¦# only a comment\n", "the file is empty"),
    ("cockpit: 1\nname: t\n¦---\ncockpit: 1\n", "a second document starts here"),
    ("cockpit: 1\nname: ¦!!python/object:os.system {}\n", 'tag "!!python/object:os.system" is not allowed'),
    ("cockpit: 1\nname: ¦!secret x\n", 'tag "!secret" is not allowed'),
    ("cockpit: 1\nname: ¦*nobody\n", "alias *nobody has no anchor"),
    ("cockpit: 1\ntree: &t {a: ¦*t}\n", "alias *t refers to what it stands in"),
    ("¦[cockpit, 1]\n", "expected the topology file, found a list"),
    ("cockpit: 1\nname: t\n¦[a]: b\n", "a list cannot be a key"),
]


@pytest.mark.parametrize(("marked", "fragment"), SYNTAX, ids=lambda v: v[:24])
def test_syntax(marked: str, fragment: str) -> None:
    expect(marked, fragment)


@pytest.mark.parametrize(
    "text", ["name: [1\ntree: {}\n", "cockpit: 1\n\tname: a\n", "name: 'a\nb\n", 'a: "\\q"\n', "%YAML 9\n"]
)
def test_other_syntax_errors_have_a_place(text: str) -> None:
    (problem,) = problems(text)
    assert "not valid YAML" in problem.text and problem.line >= 1 and problem.column >= 1


def test_not_utf8() -> None:
    (problem,) = problems("cockpit: 1\nname: ü".encode() + b"\xff\xfe\n")
    assert (problem.line, problem.column) == (2, 8) and "not UTF-8: byte 0xff" in problem.text
    (problem,) = problems("cockpit: 1\n".encode("utf-16"))
    assert (problem.line, problem.column) == (1, 1) and "not UTF-8" in problem.text


def test_control_characters() -> None:
    (problem,) = problems("cockpit: 1\nname: a\x00b\n")
    assert (problem.line, problem.column) == (2, 8) and "U+0000" in problem.text


def test_a_byte_order_mark_is_no_problem() -> None:
    assert load_text(b"\xef\xbb\xbf" + b"cockpit: 1\nname: t\n").expected == Expected(name="t")
    (problem,) = problems(b"\xef\xbb\xbfcockpit: 1\nnam: t\nname: t\n")
    assert (problem.line, problem.column, problem.hint) == (2, 1, "name")


BOMBS = {
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
    "merges": "a: &a {x: 1}\n"
    + "".join(f"{b}: &{b} {{<<: [{','.join([f'*{a}'] * 40)}]}}\n" for a, b in zip("abcde", "bcdef", strict=True)),
    "deep": "a: " + "[" * 100_000,
    "deep blocks": "".join(" " * n + "a:\n" for n in range(300)),
    "wide": "a: [" + "x," * 200_000 + "]\n",
    "large": "a: " + "x" * (4 * 2**20),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    (problem,) = problems(BOMBS[name])  # would not end if it were expanded first
    assert any(word in problem.text for word in ("more than 200000 values", "levels deep", "larger than 4 MiB"))


def test_a_file_full_of_mistakes_is_cut() -> None:
    text = "cockpit: 1\nname: t\nhosts:\n" + "".join(f"  h{n}: {{rgion: x}}\n" for n in range(2000))
    found = problems(text)
    assert len(found) == MOST + 1 and "more problems follow" in "".join(p.text for p in found)


KEYS = [
    ("¦cockpit: 1\nregions: {}\n", ['the topology file needs "name"']),
    ("¦name: t\n", ['needs "cockpit"']),
    ("cockpit: ¦2\nname: t\n", ["version 2 of the file format is not known, only 1"]),
    ("cockpit: 1\nname: t\n¦host: {}\n", ['unknown key "host" in the topology file (did you mean "hosts"?)']),
    ("cockpit: 1\nname: t\n¦name: u\n", ['"name" is here twice, first in line 2']),
    ("cockpit: 1\n¦name: \n", ["found nothing"]),
    ("cockpit: 1\nname: ¦5\n", ["found the number 5"]),
    ("cockpit: 1\nname: ¦a b\n", ['"a b" is not a name']),
    ("cockpit: 1\nname: t\nregions: ¦[sh]\n", ["expected regions by name, found a list"]),
    ("cockpit: 1\nname: t\nregions:\n  ¦Sh: {}\n", ['"Sh" is not a name']),
    ("cockpit: 1\nname: t\nregions:\n  sh: {}\n  ¦sh: {}\n", ['"sh" is here twice, first in line 4']),
    (
        "cockpit: 1\nname: t\nhosts: {¦a_.: {region: ¦sh, address: 10.0.0.1}}\n",
        ["is not a host name", "unknown region"],
    ),
    ("cockpit: 1\nname: t\nhosts:\n  ¦a:\n    address: 10.0.0.1\n", ['a host needs "region"']),
]  # fmt: skip


@pytest.mark.parametrize(("marked", "fragments"), KEYS, ids=[k[1][0][:30] for k in KEYS])
def test_keys(marked: str, fragments: list[str]) -> None:
    expect(marked, *fragments)


HOSTS = [
    ("address: ¦10.0.0", '"10.0.0" is not an IP address'),
    ("address: ¦10.0.0.300", "is not an IP address"),
    ("address: ¦web.example", "is not an IP address"),
    ("address: ¦0.0.0.0", "is not the address of a host"),
    ("address: 10.0.0.9, ¦lables: {}", 'unknown key "lables" in a host (did you mean "labels"?)'),
    ("address: 10.0.0.9, labels: ¦[ssd]", "expected labels, found a list"),
    ("address: 10.0.0.9, labels: {disk: ¦[ssd]}", "expected text, found a list"),
    ("address: 10.0.0.9, labels: {¦region: x}", '"region" cannot be a label'),
    ("address: 10.0.0.9, connection: ¦smoke", "is not one of agent, local, ssh"),
    ("address: 10.0.0.9, connection: ¦locl", '(did you mean "local"?)'),
    ("address: 10.0.0.9, ports: ¦20000", "expected a range of ports"),
    ("address: 10.0.0.9, ports: ¦20999-20000", "smaller one first"),
    ("address: 10.0.0.9, ports: ¦1-70000", "between 1 and 65535"),
    ("address: 10.0.0.9, max_instances: ¦-1", "between 0 and"),
    ("address: 10.0.0.9, max_instances: ¦'2'", "expected a number, found the text"),
    ("address: 10.0.0.9, max_instances: ¦0x10", "plain decimal number"),
]


@pytest.mark.parametrize(("marked", "fragment"), HOSTS, ids=[h[1][:30] for h in HOSTS])
def test_hosts(marked: str, fragment: str) -> None:
    expect(f"cockpit: 1\nname: t\nregions: {{sh: }}\nhosts:\n  a: {{region: sh, {marked}}}\n", fragment)


SERVICES = [
    ("{command: ¦python3 web.py}", "expected a list of words such as [python3, web.py], found the text"),
    ("{command: ¦[]}", "found an empty list"),
    ("{command: [x, ¦[y]]}", "expected text, found a list"),
    ("{command: [x], processes: ¦{a: [y]}}", "not both"),
    ("{processes: ¦{}}", "found an empty mapping"),
    ("{processes: {¦A B: [x]}}", '(did you mean "a-b"?)'),
    ("{command: [x], ¦replicas: 3}", '(did you mean "instances"?)'),
    ("{command: [x], ¦image: a}", '(did you mean "artifact"?)'),
    ("{command: [x], env: ¦[A=b]}", "expected variables, found a list"),
    ("{command: [x], env: {¦A-B: b}}", "name of an environment variable"),
    ("{command: [x], env: {¦A: }}", "found nothing"),
    ("{command: [x], env: {¦COCKPIT_HOST: b}}", "is set for every process"),
    ("{command: [x], env: {¦COCKPIT_PORT_HTTP: b}}", "is set for every process"),
    ("{command: [x], env: {A: b}, secrets: {¦A: {file: /x}}}", '"A" is in env too'),
    ("{command: [x], secrets: {A: ¦hunter2}}", "a reference such as {file: PATH}, never the value"),
    ("{command: [x], secrets: {A: ¦{}}}", 'needs "file"'),
    ("{command: [x], secrets: {A: {file: ¦x}}}", "is not an absolute path"),
    ("{command: [x], version: ¦[1]}", "expected a version, found a list"),
    ("{command: [x], version: ¦'a b'}", "is not a version"),
    ("{command: [x], artifact: ¦web}", "a service with an artifact needs a version"),
    ("{command: [x], directory: ¦../x}", "must stay inside the release"),
    ("{command: [x], user: ¦'a:b'}", "is not the name of a user"),
    ("{command: [x], limits: {memory: ¦512X}}", "is not a size; write 512M"),
    ("{command: [x], limits: {memory: ¦0.3}}", "expected a size"),
    ("{command: [x], limits: {core: ¦unlimted}}", '(did you mean "unlimited"?)'),
    ("{command: [x], limits: {core: ¦true}}", "expected unlimited or a size"),
    ("{command: [x], limits: {¦openfiles: 3}}", '(did you mean "open_files"?)'),
    ("{command: [x], ports: ¦8080}", "expected ports by name, found the number 8080"),
    ("{command: [x], ports: {http: ¦dynamc}}", '(did you mean "dynamic"?)'),
    ("{command: [x], ports: {http: ¦0}}", "between 1 and 65535"),
    ("{command: [x], ports: {¦http: }}", "expected dynamic or a port number, found nothing"),
    ("{command: [x], ports: [a, ¦a]}", '"a" is listed twice'),
    ("{command: [x], ports: [¦A]}", "is not a name"),
    ("{command: [x], ports: [a-b, ¦a_b]}", "would be the same variable"),
    ("{command: [x], check: ¦http}", "expected a health check, found the text"),
    ("{command: [x], ports: [h], check: {tcp: true, interval: ¦soon}}", '"soon" is not a duration; write 500ms'),
    ("{command: [x], ports: [h], check: {tcp: true, interval: ¦0}}", "too short"),
    ("{command: [x], ports: [h], check: {tcp: true, timeout: ¦1:30}}", "is not a duration"),
    ("{command: [x], ports: [h], check: {tcp: true, timeout: ¦900000h}}", "longer than a year"),
    ("{command: [x], ports: [h], check: {tcp: true, rise: ¦0}}", "between 1 and"),
    ("{command: [x], ports: [h], check: {tcp: ¦false}}", "expected true or"),
    ("{command: [x], ports: [h], check: {http: ¦health}}", "a path beginning with /"),
    ("{command: [x], check: {notify: ¦false}}", "say true, or leave it out"),
    ("{command: [x], check: {notify: ¦yes}}", '(did you mean "true"?)'),
    ("{command: [x], instances: ¦many}", "expected a number, found the text"),
    ("{command: [x], instances: ¦-1}", "between 0 and"),
    ("{command: [x], instances: ¦[a]}", "expected instances, found a list"),
    ("{command: [x], instances: {hosts: ¦a}}", "expected a list of hosts"),
    ("{command: [x], instances: {require: [¦ssd]}}", "is not a constraint; write label=value"),
    ("{command: [x], restart: ¦allways}", '(did you mean "always"?)'),
    ("{command: [x], restart: {attempts: ¦0}}", "between 1 and"),
    ("{command: [x], stop: {signal: ¦TRM}}", 'unknown signal "TRM" (did you mean "TERM"?)'),
    ("{command: [x], stop: {signal: ¦15}}", "expected the name of a signal"),
    ("{command: [x], update: {order: ¦canary}}", "is not one of start-first, stop-first"),
    ("{command: [x], update: {¦canry: 1}}", '(did you mean "canary"?)'),
    ("{command: [x], attributes: {a: ¦{}}}", "expected text, found a mapping"),
    ("{command: [x], ¦children: {}}", "it is a service, and only groups have children"),
    ("¦5", "expected a service or a group, found the number 5"),
    ("{cluster: ¦yes, children: {}}", '(did you mean "true"?)'),
    ("{cluster: ¦2, children: {}}", "expected true or false, found the number 2"),
    ("¦{version: 1.0}", 'a service needs "command" (or "processes")'),
    ("¦{about: x}", 'a group needs "children"'),
]


@pytest.mark.parametrize(("marked", "fragment"), SERVICES, ids=lambda v: v[:60])
def test_services(marked: str, fragment: str) -> None:
    expect(tree(f"s: {marked}"), fragment)


def test_a_misspelt_command() -> None:
    expect(tree("s: {¦comand: [x]}"), '(did you mean "command"?)')


def test_what_depends_on_a_misspelt_key_is_not_complained_about() -> None:
    expect(tree("s: {command: [x], ports: {p: 80}, ¦updte: {order: stop-first}}"), '(did you mean "update"?)')


def test_misspelt_children() -> None:
    expect(tree("s: {¦childern: {}}"), '(did you mean "children"?)')


@pytest.mark.parametrize("name", ["Web", "we b", "-web", "wéb", "web.x", "a/b", "x" * 64])
def test_bad_tree_names(name: str) -> None:
    expect(tree(f'¦"{name}": {{command: [x]}}'), "is not a name of a-z")


def test_a_trailing_line_break_is_part_of_a_name() -> None:
    expect(tree('¦"web\\n": {command: [x]}'), "is not a name of a-z")


def test_everything_in_one_pass() -> None:
    expect(
        (DATA / "wrong.yaml").read_text(),
        'unknown key "nmae" in the topology file (did you mean "name"?)',
        'unknown region "gz"',
        'unknown region "shh" (did you mean "sh"?)',
        "is not an IP address",
        '"512Q" is not a size',
        'unknown service "sudku" (did you mean "sudoku"?)',
        'unknown host "sh-9"',
        'unknown key "chek" in a service (did you mean "check"?)',
        '"command" is here twice',
    )


def test_how_problems_read() -> None:
    (first, second) = problems(HEAD + "¦tre: {}\nhosts: {}\n".replace("¦", ""))
    assert str(first) == 't.yaml:5:1: unknown key "tre" in the topology file (did you mean "tree"?)'
    assert (first.path, first.hint) == ("tre", "tree")
    assert str(second).startswith('t.yaml:6:1: "hosts" is here twice')


def test_merge_keys_and_aliases() -> None:
    x = load_text(
        b"""\
cockpit: 1
name: t
regions: {sh: }
hosts:
  a: &host {region: sh, address: 10.0.0.1, labels: &ssd {disk: ssd}}
  b: {<<: *host, address: 10.0.0.2}
  c: {<<: [{address: 10.0.0.3, labels: {disk: hdd}}, *host]}
  d: {region: sh, address: 10.0.0.4, labels: *ssd}
"""
    ).expected
    assert {n: (h.address[-1], h.labels["disk"]) for n, h in x.hosts.items()} == {
        "a": ("1", "ssd"), "b": ("2", "ssd"), "c": ("3", "hdd"), "d": ("4", "ssd"),
    }  # fmt: skip
    host = "{region: sh, address: 10.0.0.1, <<: ¦5}"
    expect(f"cockpit: 1\nname: t\nregions: {{sh: }}\nhosts:\n  a: {host}\n", "<< merges mappings, found the number 5")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, text in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "directory")):
        with pytest.raises(BadTopology) as caught:
            load_file(path)
        (problem,) = caught.value.problems
        assert text in str(problem) and str(problem).startswith(f"{path}: ")


def test_plain_data() -> None:
    x = parse_topology({"cockpit": 1, "name": "t", "tree": {"a": {"command": ["x", 1, 2.5, True], "instances": 0}}})
    assert x.services["a"].processes == {"main": ("x", "1", "2.5", "true")}
    with pytest.raises(BadTopology, match="found nothing"):
        parse_topology({"cockpit": 1, "name": None})


def test_nearest() -> None:
    assert nearest("Sudku", ["web", "sudoku"]) == "sudoku"
    assert nearest("zzz", ["web", "sudoku"]) == "" == nearest("x" * 100, ["x" * 99])


@given(st.one_of(st.floats(0, units.LONGEST), st.integers(0, 10**7).map(float)))
def test_durations(seconds: float) -> None:
    text = units.format_duration(seconds)
    if len(text) <= 40:
        assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [("500ms", 0.5, "500ms"), ("0.2s", 0.2, "200ms"), ("90", 90.0, "90s"), ("1.5m", 90.0, "90s"),
     ("60s", 60.0, "1m"), ("1h", 3600.0, "1h"), ("0", 0.0, "0s"), ("300ms", 0.3, "300ms")],
)  # fmt: skip
def test_duration_forms(text: str, value: float, shown: str) -> None:
    assert units.parse_duration(text) == value and units.format_duration(value) == shown


@given(st.integers(0, units.LARGEST))
def test_sizes(size: int) -> None:
    assert units.parse_size(units.format_size(size)) == size


@pytest.mark.parametrize("text", ["", "1s ", "-1s", "1d", "1e3", "١s", "9" * 400])
def test_no_durations(text: str) -> None:
    with pytest.raises(Wrong):
        units.parse_duration(text)


@given(st.binary(max_size=200) | st.text(alphabet="ab:[]{}&*<>!|- \n\t\"'#%,?1", max_size=60).map(str.encode))
def test_whatever_it_is_given_it_answers(data: bytes) -> None:
    try:
        load_text(data)
    except BadTopology as e:
        assert e.problems
