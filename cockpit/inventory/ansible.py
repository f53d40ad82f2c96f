"""Ansible inventories: merged variables to machines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cockpit.inventory.ansible_read import read_any_yaml, read_tree
from cockpit.inventory.ansible_tree import Hidden, Host, Tree, Vars, groups_of, variables_of
from cockpit.inventory.found import Found, Machine, Place
from cockpit.inventory.secret import is_secret, secret_name

_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.netcommon.libssh")
_TEMPLATE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_MOST_LABEL = 120


def read_path(path: Path, labels: Collection[str] = (), region_from: str = "") -> Found:
    """An inventory file or directory. `labels`: variables that become labels wherever they are set."""
    return machines(read_tree(path), f"Ansible inventory {path}", labels, region_from)


def read_stream(text: str, labels: Collection[str] = (), region_from: str = "") -> Found:
    """The output of `ansible-inventory --list`, or a YAML inventory, from standard input."""
    tree = Tree()
    read_any_yaml(text, "-", tree)
    tree.finish()
    return machines(tree, "Ansible inventory from standard input", labels, region_from)


def machines(tree: Tree, title: str, labels: Collection[str], region_from: str) -> Found:
    found = Found(title=title, remarks=list(tree.remarks))
    groups = groups_of(tree)
    left: set[str] = set()
    hidden: dict[tuple[Place, str], list[str]] = {}
    for name, host in tree.hosts.items():
        merged = variables_of(tree, groups[name], host)
        machine = _machine(name, host, merged, found)
        if machine is None:
            continue
        own, skipped = _labels(name, host, merged, labels, region_from, hidden)
        left |= skipped
        own |= {f"group.{g}": "yes" for g in groups[name] if g not in ("all", "ungrouped")}
        region = merged.get(region_from, ("", None))[0] if region_from else ""
        found.machines.append(_with(machine, own, str(region) if isinstance(region, (str, int)) else ""))
    for (place, text), names in hidden.items():
        found.remark(place, text + (f" ({len(names)} hosts)" if len(names) > 1 else f" ({names[0]})"))
    if left:
        some = ", ".join(sorted(left)[:12]) + (f" and {len(left) - 12} more" if len(left) > 12 else "")
        found.remark(Place(title), f"variables that became no labels (--label NAME makes one): {some}")
    return found


def _with(machine: Machine, labels: dict[str, str], region: str) -> Machine:
    from msgspec.structs import replace

    return replace(machine, labels=labels, region=region)


def _machine(name: str, host: Host, merged: Vars, found: Found) -> Machine | None:
    notes: list[str] = []

    def get(*keys: str) -> Any:
        """The last of the variables that is set, with simple templates filled."""
        for key in reversed(keys):
            if key in merged:
                value, place = merged[key]
                if isinstance(value, Hidden):
                    found.remark(place, f"{key} of {name} is {value.why}: not read")
                elif isinstance(value, str) and ("{{" in value or "{%" in value):
                    filled = _fill(value, name, merged)
                    if filled is not None:
                        return filled
                    found.remark(place, f"{key} of {name} is a template that is not understood")
                else:
                    return value
        return None

    connection = str(get("ansible_connection") or "ssh")
    local = connection in ("local", "ansible.builtin.local")
    if not local and connection.removeprefix("ansible.builtin.") not in _SSH:
        found.remark(host.place, f"{name} is left out: its connection is {connection}, not SSH")
        return None
    port = get("ansible_port", "ansible_ssh_port")
    try:
        number = int(port) if port is not None else 22
    except (TypeError, ValueError):
        number = 0
    if not 1 <= number <= 65535:
        found.remark(host.place, f"the port of {name} is no port: 22 is taken")
        number = 22
    jump: tuple[str, ...] = ()
    for key in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        args = get(key)
        if isinstance(args, str):
            jumps, unknown = read_ssh_args(args)
            jump = jumps or jump
            if unknown:
                notes.append(f"{key}: {' '.join(unknown)} is not taken: put it into ssh_config")
    for key in sorted(merged):
        if key.startswith("ansible_") and secret_name(key.removesuffix("_file")):
            word = "put IdentityFile into ssh_config" if key.endswith("_file") else "it is asked for when needed"
            notes.append(f"{key} was left out: {word}")
    if get("ansible_become") in (True, "yes", "true", 1):
        other = get("ansible_become_user") or "root"
        notes.append(f"Ansible becomes {other} here; the controller acts as the SSH user")
    user = get("ansible_user", "ansible_ssh_user")
    return Machine(
        name=name, place=host.place, address=str(get("ansible_host", "ansible_ssh_host") or ""), port=number,
        user=str(user) if user is not None else "", jump=jump, local=local, notes=tuple(notes),
    )  # fmt: skip


def _fill(text: str, name: str, merged: Vars) -> str | None:
    """`{{ VARIABLE }}` with plain values in place; None when anything else is asked for."""
    def one(match: re.Match[str]) -> str:
        if match[1] == "inventory_hostname":
            return name
        if match[1] == "inventory_hostname_short":
            return name.partition(".")[0]
        value = merged.get(match[1], (None, None))[0]
        if secret_name(match[1]) or not isinstance(value, (str, int)) or (isinstance(value, str) and "{{" in value):
            return match[0]
        return str(value)

    filled = _TEMPLATE.sub(one, text)
    return None if "{{" in filled or "{%" in filled else filled


def _labels(
    name: str, host: Host, merged: Vars, wanted: Collection[str], region_from: str,
    hidden: dict[tuple[Place, str], list[str]],
) -> tuple[dict[str, str], set[str]]:
    """Variables written at the host itself, and those asked for; names of the rest."""
    labels: dict[str, str] = {}
    left: set[str] = set()
    for key, (value, place) in merged.items():
        if key.startswith(("ansible_", "inventory_")) or key in ("group_names", region_from):
            continue
        simple = isinstance(value, (str, int, float)) and len(str(value)) <= _MOST_LABEL
        if isinstance(value, Hidden):
            hidden.setdefault((place, f"{key} is {value.why}: not read"), []).append(name)
        elif is_secret(key, str(value)):
            hidden.setdefault((place, f"{key} was left out: a secret by its name or form"), []).append(name)
        elif (key in wanted or key in host.vars) and simple and "{{" not in str(value) and "\n" not in str(value):
            labels[key] = str(value).lower() if isinstance(value, bool) else str(value)
        else:
            left.add(key)
    return labels, left


def read_ssh_args(text: str) -> tuple[tuple[str, ...], list[str]]:
    """Options for ssh -> (jump hosts, what was not understood)."""
    try:
        words = shlex.split(text)
    except ValueError:
        return (), ["(quotes do not match)"]
    jump: tuple[str, ...] = ()
    unknown: list[str] = []
    queue = iter(words)
    for word in queue:
        if word in ("-J", "-o"):
            value = next(queue, "")
        elif word[:2] in ("-J", "-o"):
            value = word[2:]
        else:
            unknown.append(word)
            continue
        if word.startswith("-J"):
            jump = tuple(v.strip() for v in value.split(",") if v.strip())
            continue
        key, _, setting = value.replace("=", " ", 1).strip().partition(" ")
        setting = setting.strip()
        if key.lower() == "proxyjump":
            jump = tuple(v.strip() for v in setting.split(",") if v.strip() and v.strip().lower() != "none")
        elif key.lower() == "proxycommand" and (way := jump_of_command(setting)):
            jump = (way,)
        elif key.lower() not in ("controlmaster", "controlpersist", "controlpath"):
            unknown.append(f"-o {key}")
    return jump, unknown


def jump_of_command(command: str) -> str:
    """`ssh -W %h:%p [-q] [-p PORT] [-l USER] HOST` -> `[USER@]HOST[:PORT]`; anything else: empty."""
    try:
        words = shlex.split(command.strip().strip("'\""))
    except ValueError:
        return ""
    if not words or words[0].rpartition("/")[2] != "ssh":
        return ""
    host = user = port = ""
    forwards = False
    queue = iter(words[1:])
    for word in queue:
        if word == "-W":
            forwards = next(queue, "").replace("[", "").replace("]", "") == "%h:%p"
        elif word == "-p":
            port = next(queue, "")
        elif word == "-l":
            user = next(queue, "")
        elif word in ("-q", "-A", "-a", "-T", "-x", "-4", "-6"):
            continue
        elif word.startswith("-") or host:
            return ""
        else:
            host = word
    if not forwards or not host:
        return ""
    return (f"{user}@" if user and "@" not in host else "") + host + (f":{port}" if port and port != "22" else "")
