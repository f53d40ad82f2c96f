from __future__ import annotations

import json
from typing import Any

import pytest

from cockpit.inventory import terraform
from cockpit.inventory.build import Options, build
from cockpit.inventory.found import BadSource, Found
from cockpit.inventory.text import fresh
from cockpit.model.load import load_text


def resource(
    type: str, name: str, values: dict[str, Any], sensitive: Any = None, index: Any = None
) -> dict[str, Any]:
    address = f"{type}.{name}" + (f"[{index}]" if index is not None else "")
    return {"address": address, "mode": "managed", "type": type, "name": name, "values": values,
            "sensitive_values": sensitive or {}}  # fmt: skip


ALL = [
    resource("aws_instance", "web", {"private_ip": "10.0.0.1", "public_ip": "3.3.3.3",
                                     "availability_zone": "eu-west-1b",
                                     "tags": {"Name": "web-1", "role": "web", "db_password": "hunter2"},
                                     "user_data": "s3cr3t"}, {"user_data": True}, 0),
    resource("google_compute_instance", "g", {"name": "g-1", "zone": "europe-west1-b", "labels": {"tier": "front"},
             "network_interface": [{"network_ip": "10.1.0.1", "access_config": [{"nat_ip": "4.4.4.4"}]}]}),
    resource("azurerm_linux_virtual_machine", "z", {"name": "az", "private_ip_address": "10.2.0.1",
             "location": "westeu",
             "admin_username": "azure", "admin_password": "hunter2", "tags": None}, {"admin_password": True}),
    resource("digitalocean_droplet", "d", {"name": "drop", "ipv4_address": "5.5.5.5", "region": "fra1",
             "tags": ["blue", "env:prod"]}),
    resource("hcloud_server", "h", {"name": "hc", "ipv4_address": "6.6.6.6", "location": "nbg1",
             "labels": {"a": "b"}}),
    resource("openstack_compute_instance_v2", "o", {"name": "os", "network": [{"fixed_ip_v4": "10.3.0.1"}],
             "region": "RegionOne", "metadata": {"x": "y"}}),
    resource("libvirt_domain", "l", {"name": "virt", "network_interface": [{"addresses": ["192.168.122.9"]}]}),
    resource("vsphere_virtual_machine", "v", {"name": "VS 1", "default_ip_address": "10.4.0.1"}),
    resource("proxmox_vm_qemu", "p", {"name": "px", "default_ipv4_address": "10.5.0.1", "tags": "one;two",
             "ssh_user": "ops", "ssh_port": "2222"}),
    resource("proxmox_virtual_environment_vm", "pv", {"name": "pv", "tags": ["t"],
             "ipv4_addresses": [["127.0.0.1"], ["10.5.0.2", "10.5.0.3"]]}),
    resource("proxmox_lxc", "c", {"hostname": "box", "network": [{"ip": "10.5.0.9/24"}]}),
    resource("aws_instance", "hidden", {"private_ip": "10.0.0.66", "tags": {"Name": "topsecret"}}, {"tags": True}),
    resource("aws_instance", "none", {"tags": {}}),
    resource("exoscale_compute_instance", "e", {"name": "e"}),
    resource("aws_s3_bucket", "b", {"bucket": "x"}),
    {**resource("aws_instance", "data", {"private_ip": "10.0.0.7"}), "mode": "data"},
]  # fmt: skip


def state() -> str:
    deep = {"resources": ALL[6:], "address": "module.a.module.b"}
    root = {"resources": ALL[:3], "child_modules": [{"resources": ALL[3:6], "child_modules": [deep]}]}
    return json.dumps({"format_version": "1.0", "values": {"root_module": root}})


def text_of(found: Found) -> str:
    return fresh(build(found, Options(), {}), found.title)


def test_a_state_of_many_providers() -> None:
    found = terraform.read(state(), "state.json")
    by_name = {m.name: m for m in found.machines}
    assert {n: m.address for n, m in by_name.items()} == {
        "web-1": "10.0.0.1", "g-1": "10.1.0.1", "az": "10.2.0.1", "drop": "5.5.5.5", "hc": "6.6.6.6",
        "os": "10.3.0.1", "virt": "192.168.122.9", "VS 1": "10.4.0.1", "px": "10.5.0.1", "pv": "10.5.0.2",
        "box": "10.5.0.9",
        "aws_instance.hidden": "10.0.0.66",
    }  # fmt: skip
    regions = {n: m.region for n, m in by_name.items() if m.region}
    assert regions == {
        "web-1": "eu-west-1", "g-1": "europe-west1", "az": "westeu", "drop": "fra1", "hc": "nbg1", "os": "RegionOne",
    }
    assert by_name["web-1"].labels == {"role": "web", "zone": "eu-west-1b"}
    assert by_name["drop"].labels == {"blue": "yes", "env": "prod"} and by_name["px"].labels["two"] == "yes"
    assert (by_name["az"].user, by_name["px"].user, by_name["px"].port) == ("azure", "ops", 2222)
    text = text_of(found)
    hosts = load_text(text.encode()).expected.hosts
    assert "vs-1" in hosts and hosts["os"].region.startswith("regionone")
    for word in ("hunter2", "s3cr3t", "topsecret"):
        assert word not in text
    for word in ("the label db_password was left out", "aws_instance.none: left out: it has no address",
                 "1 of exoscale_compute_instance: this type of resource is not known"):  # fmt: skip
        assert word in " ".join(text.replace("\n#", " ").split()), word


def test_public_addresses_first() -> None:
    found = terraform.read(state(), "-", public=True)
    assert {m.name: m.address for m in found.machines}["web-1"] == "3.3.3.3"


def test_a_plan_takes_what_is_unknown_from_the_state_before() -> None:
    now = resource("aws_instance", "web", {"private_ip": "10.0.0.1", "tags": {"Name": "old"}})
    planned = resource("aws_instance", "web", {"tags": {"Name": "new"}})
    plan = {"format_version": "1.2", "prior_state": {"values": {"root_module": {"resources": [now]}}},
            "planned_values": {"root_module": {"resources": [planned]}}}  # fmt: skip
    found = terraform.read(json.dumps(plan), "plan.json")
    assert [(m.name, m.address) for m in found.machines] == [("new", "10.0.0.1")]
    assert "plan plan.json" in found.title


@pytest.mark.parametrize(
    ("text", "words"),
    [("no", "not the JSON"), ("[]", "not the JSON"),
     ('{"version":4,"terraform_version":"1","lineage":"x"}', "a state file")],
)
def test_what_is_no_such_output(text: str, words: str) -> None:
    with pytest.raises(BadSource, match=words):
        terraform.read(text, "f")


def test_odd_shapes_do_no_harm() -> None:
    empty = resource("aws_instance", "x", {"private_ip": [[]]})
    values: Any = {"root_module": {"resources": [None, {"type": 3}, empty],
                                   "child_modules": [None, {"resources": None}]}}  # fmt: skip
    assert terraform.read(json.dumps({"format_version": "1", "values": values}), "f").machines == []
    assert terraform.read(json.dumps({"format_version": "1", "values": None}), "f").machines == []
