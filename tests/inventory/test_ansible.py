"""Ansible inventories, against what `ansible-inventory --list` of ansible-core 2.19 said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cockpit.inventory import ansible
from cockpit.inventory.ansible_read import read_tree
from cockpit.inventory.ansible_tree import Hidden, groups_of, variables_of
from cockpit.inventory.build import Options, build
from cockpit.inventory.found import BadSource
from cockpit.inventory.text import fresh
from cockpit.model.load import load_text

DATA = Path(__file__).parent / "data" / "ansible"
SETS = [("small", "hosts.ini"), ("vars", "inventory"), ("yamls", "hosts.yaml")]


@pytest.mark.parametrize(("name", "file"), SETS)
def test_hosts_groups_and_variables_are_those_of_ansible(name: str, file: str) -> None:
    want: dict[str, Any] = json.loads((DATA / name / "list.json").read_text())
    tree = read_tree(DATA / name / file)
    groups = groups_of(tree)
    meta = want.pop("_meta")["hostvars"]
    for host, own in tree.hosts.items():
        merged = variables_of(tree, groups[host], own)
        plain = {k: v for k, (v, _) in merged.items() if not isinstance(v, Hidden)}
        assert json.loads(json.dumps(plain)) == meta.get(host, {}), host
    members = {g: set(v.get("hosts", [])) for g, v in want.items() if v.get("hosts")}
    found = {g: set(v.hosts) for g, v in tree.groups.items() if v.hosts}
    assert {g: h for g, h in found.items() if g != "all"} == {g: h for g, h in members.items() if g != "all"}
    children = {g: set(v["children"]) for g, v in want.items() if v.get("children")}
    assert {g: set(v.children) for g, v in tree.groups.items() if v.children} == children


@pytest.mark.parametrize(("name", "file"), SETS)
def test_the_listing_says_the_same_as_the_inventory(name: str, file: str) -> None:
    """`ansible-inventory --list | cockpit import ansible -`."""
    of_file = ansible.read_path(DATA / name / file)
    of_list = ansible.read_stream((DATA / name / "list.json").read_text())
    assert {m.name: (m.address, m.port, m.user, m.jump) for m in of_list.machines} == {
        m.name: (m.address, m.port, m.user, m.jump) for m in of_file.machines
    }


@pytest.mark.parametrize(("name", "file"), SETS)
def test_no_secret_comes_through_and_the_result_loads(name: str, file: str) -> None:
    found = ansible.read_path(DATA / name / file)
    names = {m.address or m.name for m in found.machines}
    built = build(found, Options(), {n: f"10.77.0.{i}" for i, n in enumerate(sorted(names), 1)})
    text = fresh(built, found.title)
    loaded = load_text(text.encode())
    assert loaded.expected == built.expected and loaded.expected.hosts
    for secret in ("hunter2", "s3cr3t", "abc\n", "6162"):
        assert secret not in text
    assert len(fresh(built, found.title)) == len(text)


def test_ways_in() -> None:
    found = {m.name: m for m in ansible.read_path(DATA / "small" / "hosts.ini").machines}
    assert (found["mail.example"].address, found["mail.example"].port, found["mail.example"].user) == (
        "10.0.0.9", 2222, "ops",
    )  # fmt: skip
    assert found["jumper"].port == 5522
    assert found["db-b"].jump == ("ops@bastion:2200",) and found["db-b"].user == "postgres"
    assert found["db-b"].notes[0].startswith("ansible_ssh_common_args: -o StrictHostKeyChecking is not taken")
    assert any("ansible_password was left out" in n for n in found["db-b"].notes)
    assert found["db-02-x.example"].labels["weight"] == "3"
    other = {m.name: m for m in ansible.read_path(DATA / "yamls" / "hosts.yaml").machines}
    assert other["here"].local and "db1" not in other
    assert other["web1.example"].address == "10.3.1.5"
    assert {m.name: m.address for m in ansible.read_path(DATA / "vars" / "inventory").machines} == {
        "w1": "10.2.0.1", "w2": "10.2.0.2", "w3": "w3.example.net",
    }  # fmt: skip


def test_places_and_vaults_are_named() -> None:
    remarks = [str(r) for r in ansible.read_path(DATA / "vars" / "inventory").remarks]
    assert any("vault.yml: a vault: none of its values was read" in r for r in remarks)
    assert any("w1.yaml:4: secret_thing is in a vault: not read (w1)" in r for r in remarks)
    assert any("all.yml:3: api_token was left out" in r and "(3 hosts)" in r for r in remarks)


def test_labels_and_regions_by_wish() -> None:
    found = ansible.read_path(DATA / "vars" / "inventory", ["zone", "api_token"], "dc")
    by_name = {m.name: m for m in found.machines}
    assert by_name["w1"].labels["zone"] == "7" and "api_token" not in by_name["w1"].labels
    assert {n: m.region for n, m in by_name.items()} == {"w1": "east", "w2": "west", "w3": "north"}


@pytest.mark.parametrize(
    ("args", "jump", "left"),
    [
        ("-J a,b@c:22", ("a", "b@c:22"), []),
        ("-Ja", ("a",), []),
        ("-o ProxyJump=none", (), []),
        ("-oProxyJump=x -C", ("x",), ["-C"]),
        ("-o 'ProxyCommand=ssh -p 2200 -W %h:%p me@gate'", ("me@gate:2200",), []),
        ("-o ProxyCommand='nc %h %p'", (), ["-o ProxyCommand"]),
        ("-o 'unclosed", (), ["(quotes do not match)"]),
    ],
)
def test_options_of_ssh(args: str, jump: tuple[str, ...], left: list[str]) -> None:
    assert ansible.read_ssh_args(args) == (jump, left)


def test_a_directory_a_script_a_loop_and_bad_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("[x]\none ansible_host=10.0.0.1\n[y:children]\nx\n[x:children]\ny\n[z:else]\nq[1:\n")
    (tmp_path / "b.py").write_text("#!/usr/bin/env python3\n")
    (tmp_path / "c.orig").write_text("no\n")
    (tmp_path / "d.yml").write_text("plugin: amazon.aws.aws_ec2\n")
    (tmp_path / "e").write_text("two 'open\nthree ansible_host=10.0.0.3 word\nw[3:x] \n")
    found = ansible.read_path(tmp_path)
    assert {m.name for m in found.machines} == {"one", "three"}
    text = "\n".join(str(r) for r in found.remarks)
    for word in ("contains itself", "b.py: a script", "amazon.aws.aws_ec2", "e:1: the line was left out",
                 "e:2: a word that is no NAME=VALUE", 'e:3: "w[3:x]"', "a:7: [z:else]"):  # fmt: skip
        assert word in text, text
    with pytest.raises(BadSource, match="nothing here"):
        ansible.read_path(tmp_path / "nothing here")
    (tmp_path / "f.yml").write_text("a: [\n")
    with pytest.raises(BadSource, match=r"f\.yml:2: not valid YAML"):
        ansible.read_path(tmp_path / "f.yml")
