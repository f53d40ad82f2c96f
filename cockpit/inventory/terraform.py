"""Machines from `terraform show -json`: of a state, or of a plan."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from cockpit.inventory.found import MOST_MACHINES, BadSource, Found, Machine, Place
from cockpit.inventory.secret import is_secret

_DEEPEST = 50


class Kind(msgspec.Struct, frozen=True):
    """Where a type of resource keeps what is wanted: paths such as `network_interface.0.network_ip`."""

    private: tuple[str, ...]
    public: tuple[str, ...] = ()
    name: tuple[str, ...] = ("name",)
    labels: tuple[str, ...] = ("labels", "tags")
    region: tuple[str, ...] = ("region",)
    zone: str = ""
    """A zone, and what to cut from its end for the region."""
    cut: str = ""
    user: str = ""
    port: str = ""


_OPENSTACK = ("network.0.fixed_ip_v4", "access_ip_v4", "network.0.fixed_ip_v6", "access_ip_v6")
KINDS = {
    "aws_instance": Kind(
        ("private_ip",), ("public_ip",), ("tags.Name",), ("tags",), (), "availability_zone", r"[a-z]$"
    ),
    "google_compute_instance": Kind(
        ("network_interface.0.network_ip",), ("network_interface.0.access_config.0.nat_ip",), ("name",), ("labels",),
        (), "zone", r"-[a-z]$",
    ),
    "azurerm_linux_virtual_machine": Kind(
        ("private_ip_address",), ("public_ip_address",), ("name",), ("tags",), ("location",), user="admin_username"
    ),
    "digitalocean_droplet": Kind(("ipv4_address_private",), ("ipv4_address",)),
    "hcloud_server": Kind(("network.0.ip",), ("ipv4_address", "ipv6_address"), region=("location", "datacenter")),
    "linode_instance": Kind(("private_ip_address",), ("ip_address",), ("label",)),
    "openstack_compute_instance_v2": Kind(_OPENSTACK, ("access_ip_v4",), labels=("metadata", "tags"),
                                          region=("region", "availability_zone")),
    "libvirt_domain": Kind(("network_interface.0.addresses.0",)),
    "vsphere_virtual_machine": Kind(("default_ip_address", "guest_ip_addresses.0"), labels=(), region=()),
    "proxmox_vm_qemu": Kind(("default_ipv4_address", "ssh_host"), region=(), user="ssh_user", port="ssh_port"),
    "proxmox_lxc": Kind(("network.0.ip",), name=("hostname",), region=()),
    "proxmox_virtual_environment_vm": Kind(("ipv4_addresses",), region=()),
    "proxmox_virtual_environment_container": Kind(
        ("initialization.0.ip_config.0.ipv4.0.address",), name=("initialization.0.hostname",), region=()
    ),
}  # fmt: skip
_MACHINES = re.compile(r"(_instance|_server|_droplet|_virtual_machine|_vm|_domain|_vm_qemu)(_v\d+)?$")


def read(text: str, file: str, *, public: bool = False) -> Found:
    """Raises BadSource for what is not such JSON. `public`: public addresses first."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadSource(f"{file}: not the JSON of `terraform show -json`: {e}") from None
    if not isinstance(data, dict) or not ({"values", "planned_values", "format_version"} & data.keys()):
        hint = " (a state file: give what `terraform show -json` prints)" if _raw_state(data) else ""
        raise BadSource(f"{file}: not the JSON of `terraform show -json`{hint}")
    found = Found(title=f"Terraform {'plan' if 'planned_values' in data else 'state'} {file}")
    before = {r["address"]: r for r in _resources(_at(data, "prior_state.values"), file)}
    skipped: dict[str, int] = {}
    for resource in _resources(data.get("planned_values") or data.get("values"), file):
        kind, type = KINDS.get(resource["type"]), resource["type"]
        if kind is None:
            if _MACHINES.search(type):
                skipped[type] = skipped.get(type, 0) + 1
            continue
        if len(found.machines) >= MOST_MACHINES:
            raise BadSource(f"{file}: more than {MOST_MACHINES} machines")
        known = _known(before.get(resource["address"], {})) | _known(resource)
        _machine(resource["address"], kind, known, file, public, found)
    for type, count in sorted(skipped.items()):
        found.remark(Place(file), f"{count} of {type}: this type of resource is not known")
    return found


def _known(resource: dict[str, Any]) -> dict[str, Any]:
    """Its values that may be shown and are not null."""
    values = shown(resource.get("values"), resource.get("sensitive_values"))
    return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else {}


def _raw_state(data: Any) -> bool:
    return isinstance(data, dict) and "terraform_version" in data and "lineage" in data


def _resources(values: Any, file: str) -> Iterator[dict[str, Any]]:
    """Every managed resource with a type and an address, modules walked."""
    stack = [(values.get("root_module"), 0)] if isinstance(values, dict) else []
    while stack:
        module, depth = stack.pop()
        if not isinstance(module, dict) or depth > _DEEPEST:
            continue
        for resource in module.get("resources") or []:
            fits = isinstance(resource, dict) and resource.get("mode", "managed") == "managed"
            if fits and isinstance(resource.get("type"), str) and isinstance(resource.get("address"), str):
                yield resource
        stack += [(m, depth + 1) for m in reversed(module.get("child_modules") or [])]


def shown(values: Any, sensitive: Any) -> Any:
    """The values without what is marked as sensitive."""
    if sensitive is True:
        return None
    if isinstance(values, dict):
        marks = sensitive if isinstance(sensitive, dict) else {}
        return {k: shown(v, marks.get(k)) for k, v in values.items() if marks.get(k) is not True}
    if isinstance(values, list):
        marked = sensitive if isinstance(sensitive, list) else []
        return [shown(v, marked[n] if n < len(marked) else None) for n, v in enumerate(values)]
    return values


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(values, list):
            values = values[int(part)] if part.isdigit() and int(part) < len(values) else None
        elif isinstance(values, dict):
            values = values.get(part)
        else:
            return None
    return values


def _machine(address: str, kind: Kind, values: dict[str, Any], file: str, public: bool, found: Found) -> None:
    place = Place(f"{file} {address}")
    ways = kind.public + kind.private if public else kind.private + kind.public
    where = next((a for way in ways for a in _addresses(_at(values, way))), "")
    if not where:
        found.remark(place, "left out: it has no address yet (not applied, or the provider does not tell it)")
        return
    name = next((str(n) for way in kind.name if isinstance(n := _at(values, way), str) and n), "")
    region = next((str(r) for way in kind.region if isinstance(r := _at(values, way), str) and r), "")
    labels: dict[str, str] = {}
    for way in kind.labels:
        _labels(_at(values, way), labels, place, found)
    zone = _at(values, kind.zone) if kind.zone else None
    if isinstance(zone, str) and zone:
        labels.setdefault("zone", zone)
        region = re.sub(kind.cut, "", zone) if re.search(r"\d", zone) else zone
    user = _at(values, kind.user) if kind.user else ""
    port = _at(values, kind.port) if kind.port else None
    digits = str(port or "")
    number = int(digits) if digits.isdigit() and 1 <= int(digits) <= 65535 else 22
    found.machines.append(
        Machine(
            name=name or address, place=place, address=where, labels=labels, region=region, port=number,
            user=user if isinstance(user, str) else "",
        )
    )  # fmt: skip


def _addresses(value: Any) -> list[str]:
    """The IP addresses of a text (`10.0.0.5/24`) or of lists of them; loopback and link-local are left out."""
    if isinstance(value, list):
        return [a for v in value for a in _addresses(v)]
    if not isinstance(value, str):
        return []
    try:
        ip = ipaddress.ip_address(value.partition("/")[0])
    except ValueError:
        return []
    return [] if ip.is_loopback or ip.is_link_local or ip.is_unspecified else [str(ip)]


def _labels(given: Any, labels: dict[str, str], place: Place, found: Found) -> None:
    """A mapping as it is; a list of tags (or `a;b`) as `TAG: yes`, and `KEY:VALUE` split."""
    if isinstance(given, str):
        given = [t for t in re.split(r"[;,]", given) if t]
    pairs: list[tuple[str, str]] = []
    if isinstance(given, dict):
        pairs = [(k, str(v)) for k, v in given.items() if isinstance(v, (str, int, float)) and k != "Name"]
    elif isinstance(given, list):
        for tag in given:
            if isinstance(tag, str) and tag:
                key, colon, value = tag.partition(":")
                pairs.append((key, value) if colon else (tag, "yes"))
    for key, value in pairs:
        if is_secret(key, value):
            found.remark(place, f"the label {key} was left out: a secret by its name or form")
        elif len(value) <= 200 and "\n" not in value:
            labels.setdefault(key, value)
