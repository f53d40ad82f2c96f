"""Writing files: what is exported loads as the same, and an edited file keeps its own words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cockpit.model.export import export_new, export_onto, nested, same
from cockpit.model.fields import FILE
from cockpit.model.load import load_text
from cockpit.model.problems import BadTopology
from cockpit.model.render import inline, scalar
from cockpit.model.topology import Check, Expected, Group, HttpGet, Instances, Region, Service, Update, to_doc
from tests.model.make import texts, topologies

ROOT = Path(__file__).parents[2]
SAMPLE = (ROOT / "sample_topology.yaml").read_text()
FULL = (Path(__file__).parent / "data" / "full.yaml").read_text()
replace = msgspec.structs.replace
phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
more = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=phases)


def load(text: str) -> Expected:
    return load_text(text.encode()).expected


def comments(text: str) -> list[str]:
    return [found.strip() for found in re.findall(r"(?:^|\s)(#.*)$", text, re.MULTILINE)]


def onto(text: str, wanted: Expected) -> str:
    result = export_onto(text, wanted)
    assert load(result) == wanted
    return result


def changed(path: str, **fields: Any) -> Expected:
    x = load(SAMPLE)
    return replace(x, services=x.services | {path: replace(x.services[path], **fields)})


@given(topologies())
@more
def test_a_fresh_file_loads_as_the_same(x: Expected) -> None:
    assert load(export_new(x)) == x


@given(topologies(), topologies())
@more
def test_onto_another_file(x: Expected, y: Expected) -> None:
    onto(export_new(x), y)


@given(topologies(), topologies())
@more
def test_onto_a_file_on_one_line(x: Expected, y: Expected) -> None:
    text = inline(FILE.write(nested(x))) + "\n"
    assert load(text) == x
    onto(text, y)


@given(topologies(), topologies())
@more
def test_onto_a_file_full_of_comments(x: Expected, y: Expected) -> None:
    lines = export_new(x).splitlines()
    text = "".join(f"# above {n}\n{line}  # behind {n}\n" for n, line in enumerate(lines))
    assert load(text) == x
    assert export_onto(text, x) == text
    onto(text, y)
    version = {p: replace(s, version="9.9.9") for p, s in x.services.items()}
    written = onto(text, replace(x, services=version))
    assert comments(text) == comments(written)


@given(st.data(), topologies())
@more
def test_an_edit_and_its_inverse(data: st.DataObject, x: Expected) -> None:
    text = export_new(x)
    gone = data.draw(st.sets(st.sampled_from(sorted(x.services)))) if x.services else set()
    fewer = replace(x, services={
        p: replace(s, depends=tuple(d for d in s.depends if d not in gone))
        for p, s in x.services.items() if p not in gone
    })  # fmt: skip
    onto(onto(text, fewer), x)


@given(texts | st.sampled_from(["", "yes", "No", "1.10", "0o17", "~", "a: b", "#a", "a #b", "12:30", "=", "\ufeff"]))
def test_scalars(text: str) -> None:
    line = f"cockpit: 1\nname: t\ntree: {{g: {{about: {scalar(text)}, children: {{}}}}}}\n"
    assert load(line).groups["g"].about == text


def test_what_is_plain() -> None:
    for text in ("1.0.0", "127.0.0.1", "/etc/secret", "500ms", "20000-20999", "Sudoku over HTTP", "数独", "web.py"):
        assert scalar(text) == text
    for text in ("yes", "1.10", "7", "null", "{port}", "a: b", "--port", "*", "2024-01-01", "y", "0o7", ".5"):
        assert scalar(text) == f'"{text}"'


def test_a_fresh_file_is_readable() -> None:
    x = load(SAMPLE)
    assert export_new(x) == (Path(__file__).parent / "data" / "sample_exported.yaml").read_text()
    assert export_new(to_doc(x)) == export_new(x)


def test_nothing_to_change() -> None:
    assert export_onto(SAMPLE, load(SAMPLE)) == SAMPLE
    placed = replace(load(SAMPLE), placement={"puzzle.web/0": "sh-1"}, modes={"sh-2": "draining"})
    assert export_onto(SAMPLE, to_doc(placed)) == SAMPLE


def test_a_version() -> None:
    text = onto(SAMPLE, changed("puzzle.web", version="1.1.0"))
    assert text == SAMPLE.replace("version: 1.0.0          #", "version: 1.1.0          #")


def test_a_longer_value_leaves_its_comment_in_place() -> None:
    text = onto(SAMPLE, changed("puzzle.web", version="1.1.0-rc1"))
    assert text == SAMPLE.replace("version: 1.0.0          #", "version: 1.1.0-rc1      #")


def test_counts() -> None:
    x = load(SAMPLE)
    text = onto(SAMPLE, changed("puzzle.web", instances=replace(x.services["puzzle.web"].instances, count=5)))
    assert text == SAMPLE.replace("count: 2", "count: 5")
    text = onto(SAMPLE, changed("puzzle.sudoku", instances=Instances(count=6)))
    assert text == SAMPLE.replace("instances: 4", "instances: 6")
    text = onto(SAMPLE, changed("puzzle.sudoku", instances=Instances(count=6, require=("disk=ssd",))))
    assert text == SAMPLE.replace("instances: 4", "instances: {count: 6, require: [disk=ssd]}")
    text = onto(SAMPLE, changed("puzzle.sudoku", instances=Instances()))
    assert text == SAMPLE.replace("        instances: 4\n", "")


def test_a_host_more_and_one_less() -> None:
    x = load(SAMPLE)
    new = replace(x.hosts["bj-3"], address="127.0.2.4", labels={})
    hosts = {n: h for n, h in x.hosts.items() if n != "sh-2"} | {"bj-4": new}
    text = onto(SAMPLE, replace(x, hosts=hosts))
    old = next(line for line in SAMPLE.splitlines(keepends=True) if "sh-2:" in line)
    last = next(line for line in SAMPLE.splitlines(keepends=True) if "bj-3:" in line)
    added = "  bj-4: {region: bj, address: 127.0.2.4, connection: local}\n"
    assert text == SAMPLE.replace(old, "").replace(last, last + added)


def test_a_service_more() -> None:
    x = load(SAMPLE)
    batch = Service(processes={"main": ("batch", "--all")}, depends=("puzzle.sudoku",), instances=Instances(count=3))
    text = onto(SAMPLE, replace(x, services=x.services | {"puzzle.batch": batch}))
    assert text == SAMPLE + (
        "\n      batch:\n"
        '        command: [batch, "--all"]\n'
        "        depends: [sudoku]\n"
        "        instances: 3\n"
    )  # fmt: skip


def test_a_service_less() -> None:
    x = load(SAMPLE)
    web = replace(x.services["puzzle.web"], depends=())
    text = onto(SAMPLE, replace(x, services={"puzzle.web": web}))
    assert text == SAMPLE[: SAMPLE.index("\n      sudoku:")].replace(
        re.search(r"        depends: .*\n", SAMPLE)[0], ""  # type: ignore[index]
    )


def test_the_comment_of_a_removed_service_goes_with_it() -> None:
    text = (
        "cockpit: 1\nname: t\ntree:\n  # about a and b\n  a: {command: [x], instances: 0}\n"
        "  b: {command: [x], instances: 0}\n\n  # about c\n  c: {command: [x], instances: 0}\n\n"
        "  d: {command: [x], instances: 0}\n"
    )
    x = load(text)
    fewer = replace(x, services={p: s for p, s in x.services.items() if p not in ("a", "c")})
    assert onto(text, fewer) == (
        "cockpit: 1\nname: t\ntree:\n  # about a and b\n  b: {command: [x], instances: 0}\n\n"
        "  d: {command: [x], instances: 0}\n"
    )


def test_new_keys_go_where_the_table_has_them() -> None:
    text = onto(SAMPLE, changed("puzzle.sudoku", env={"A": "b c", "B": "yes"}, attributes={"x": "1.10"}))
    assert '        command: [python3, sudoku.py]\n        env: {A: b c, B: "yes"}\n' in text
    assert text.endswith('        attributes: {x: "1.10"}\n')


def test_inside_a_nested_block() -> None:
    x = load(SAMPLE)
    update = replace(x.services["puzzle.sudoku"].update, deadline=90.0, parallel=2, canary=0)
    text = onto(SAMPLE, changed("puzzle.sudoku", update=update))
    assert "          deadline: 90s         # no progress" in text
    assert "          order: start-first\n          parallel: 2\n          healthy_for: 1s" in text


def test_a_value_becomes_a_block_and_back() -> None:
    text = (
        "cockpit: 1\nname: t\ntree:\n  a:\n    command: [x]\n"
        "    instances: 0  # none\n    env:  # of a\n      A: b\n"
    )
    x = load(text)
    many = {f"V{n}": "x" * 10 for n in range(9)}
    longer = replace(x, services={"a": replace(x.services["a"], env=many)})
    block = onto(text, longer)
    assert "    env:  # of a\n      A" not in block and "    env:  # of a\n      V0: xxx" in block
    assert "# none" in block
    listed = replace(x, services={"a": replace(x.services["a"], instances=Instances(hosts=()))})
    assert "    instances: {hosts: []}  # none\n" in onto(text, listed)


def test_a_group_becomes_a_service() -> None:
    x = load(SAMPLE)
    only = Service(processes={"main": ("x",)}, instances=Instances(count=1))
    text = onto(SAMPLE, replace(x, groups={}, services={"puzzle": only}))
    assert "  puzzle:\n    command: [x]\n    instances: 1\n" in text


def test_an_ending_that_is_no_longer_unique() -> None:
    x = load(SAMPLE)
    other = Service(processes={"main": ("x",)})
    text = onto(SAMPLE, replace(
        x, groups=x.groups | {"more": Group()}, services=x.services | {"more.sudoku": other},
    ))  # fmt: skip
    assert "depends: [puzzle.sudoku]       # found by name" in text


def test_everything_at_once() -> None:
    x = load(FULL)
    web = x.services["shop.web"]
    y = replace(
        x, name="other", regions={"sh": Region(), "bj": Region(reaches=("sh",))},
        services=x.services | {"shop.web": replace(
            web, version="1.11", check=Check(tcp="http"), probe=None, limits=replace(web.limits, core=None, cpu=61),
            instances=Instances(hosts=("sh-1",)), update=Update(order="stop-first"),
            processes={"a": ("b", "{port.admin}"), "main": ("c",)}, ports={"http": 0, "admin": 9001},
        )},
    )  # fmt: skip
    text = onto(FULL, y)
    assert "        processes: {a: [b, \"{port.admin}\"], main: [c]}" in text and "command: [python3" not in text
    assert onto(text, x)


def test_merges_and_aliases() -> None:
    text = (
        "# mine\ncockpit: 1\nname: t\nregions: {sh: }\nhosts:\n"
        "  a: &host {region: sh, address: 10.0.0.1, labels: &ssd {disk: ssd}}\n"
        "  b: {<<: *host, address: 10.0.0.2}\n  c: {region: sh, address: 10.0.0.3, labels: *ssd}\n"
    )
    x = load(text)

    def host(name: str, **fields: Any) -> Expected:
        return replace(x, hosts=x.hosts | {name: replace(x.hosts[name], **fields)})

    assert onto(text, host("b", max_instances=3)) == text.replace("10.0.0.2}", "10.0.0.2, max_instances: 3}")
    assert onto(text, host("c", labels={"disk": "hdd"})) == text.replace("*ssd", "{disk: hdd}")
    assert onto(text, host("b", labels={})).startswith("# mine\n")
    assert onto(text, host("a", labels={"disk": "hdd"})).startswith("# mine\n")
    assert onto(text, replace(x, hosts={"c": x.hosts["c"]})).startswith("# mine\n")


@pytest.mark.parametrize("end", ["\r\n", "\n", ""])
def test_line_ends_stay(end: str) -> None:
    newline = end or "\n"
    text = SAMPLE.rstrip("\n").replace("\n", newline) + end
    x = load(text)
    new = replace(x.services["puzzle.sudoku"], version="1.1.0", env={"A": "b"})
    result = onto(text, replace(x, services=x.services | {"puzzle.sudoku": new, "puzzle.more": new}))
    assert result.count("\r") == (result.count("\n") if end == "\r\n" else 0)
    assert set(comments(text.replace("\r", ""))) <= set(comments(result.replace("\r", "")))


def test_a_byte_order_mark_stays() -> None:
    text = "\ufeff" + SAMPLE
    assert onto(text, changed("puzzle.web", version="2")) == text.replace(
        "version: 1.0.0          #", 'version: "2"            #'
    )


def test_multi_line_values() -> None:
    text = (
        "cockpit: 1\nname: t\ntree:\n  g:\n    about: |\n      two\n      lines\n\n    # below\n    children:\n"
        "      s:\n        command:\n        - x\n        - y  # second\n"
        "        instances: {\n          count: 0,  # none\n        }\n"
    )
    x = load(text)
    assert x.groups["g"].about == "two\nlines\n"
    s = x.services["g.s"]
    shorter = onto(text, replace(x, groups={"g": Group(about="one")}))
    assert "    about: one\n" in shorter and "# below" in shorter
    other = replace(s, processes={"main": ("x", "z")}, instances=Instances(count=0, spread="region"))
    result = onto(text, replace(x, services={"g.s": other}))
    assert "spread: region" in result and "# none" in result
    assert onto(text, replace(x, services={"g.s": replace(s, check=Check(exec=("true",)))}))


def test_empty_sections() -> None:
    text = "cockpit: 1\nname: t\nregions:\n  sh:\nhosts: {}\ntree: {}\n# end\n"
    x = load(SAMPLE)
    result = onto(text, x)
    assert result.endswith("# end\n")
    assert same(load(onto(SAMPLE, load("cockpit: 1\nname: t\n"))), load("cockpit: 1\nname: t\n"))


def test_what_is_not_a_topology_is_refused() -> None:
    for text in ("", "a: [", "cockpit: 1\nname: t\nhots: {}\n"):
        with pytest.raises(BadTopology):
            export_onto(text, load(SAMPLE))


def test_a_head_that_does_not_hold_together_is_still_written() -> None:
    x = changed("puzzle.web", instances=Instances(count=5, max_per_host=1), ports={"http": 80}, check=Check(
        http=HttpGet(port="gone", path="/")
    ))  # fmt: skip
    x = replace(x, hosts={})
    text = export_onto(SAMPLE, x)
    with pytest.raises(BadTopology, match="there are no hosts"):
        load(text)
    assert "max_per_host: 1" in text and "# one in each region" in text
