"""Finds the files of an Ansible inventory and reads them: one file, or a directory of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from cockpit.inventory.ansible_ini import read_ini
from cockpit.inventory.ansible_tree import Tree
from cockpit.inventory.ansible_yaml import read_vars, read_yaml
from cockpit.inventory.found import MOST_BYTES, BadSource, Place

_IGNORED = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")
_YAML = (".yaml", ".yml", ".json")


def read_tree(path: Path) -> Tree:
    """Everything under `path`. Raises BadSource when it cannot be read."""
    tree = Tree()
    if path.is_dir():
        for each in sorted(path.iterdir()):
            if each.name.startswith(".") or each.name in ("group_vars", "host_vars"):
                continue
            if each.name.endswith(_IGNORED):
                tree.remark(Place(str(each)), "left out, as Ansible leaves it out by its name")
            elif each.is_dir():
                inner = read_tree(each)
                _merge(tree, inner)
            else:
                _file(each, tree)
    else:
        _file(path, tree)
    tree.finish()
    _beside(path if path.is_dir() else path.parent, tree)
    return tree


def read_text(path: Path) -> str:
    """Raises BadSource."""
    try:
        with path.open("rb") as f:
            data = f.read(MOST_BYTES + 1)
    except OSError as e:
        raise BadSource(f"{path}: {e.strerror or e}") from None
    if len(data) > MOST_BYTES:
        raise BadSource(f"{path}: larger than {MOST_BYTES // 2**20} MiB")
    return data.decode("utf-8", "replace")


def _file(path: Path, tree: Tree) -> None:
    text = read_text(path)
    if text.startswith("$ANSIBLE_VAULT"):
        tree.remark(Place(str(path)), "a vault: nothing of it was read")
    elif text.startswith("#!"):
        tree.remark(
            Place(str(path)), "a script, which is not run; "
            "give its result: ansible-inventory --list | cockpit import ansible -",
        )  # fmt: skip
    elif path.suffix in _YAML or (not path.suffix and _looks_yaml(text)):
        read_any_yaml(text, str(path), tree)
    else:
        read_ini(text, str(path), tree)


def read_any_yaml(text: str, file: str, tree: Tree) -> None:
    """A YAML inventory, or what `ansible-inventory --list` prints."""
    if text.lstrip().startswith("{") and '"_meta"' in text:
        read_listing(text, file, tree)
    else:
        read_yaml(text, file, tree)


def read_listing(text: str, file: str, tree: Tree) -> None:
    """The JSON of `ansible-inventory --list`: every host has its merged variables already."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadSource(f"{file}: not valid JSON: {e}") from None
    place = Place(file)
    hostvars: Any = data.pop("_meta", {}).get("hostvars", {}) if isinstance(data, dict) else {}
    for name, group in (data if isinstance(data, dict) else {}).items():
        own = tree.group(name)
        members = group.get("hosts", []) if isinstance(group, dict) else group
        if isinstance(group, dict):
            own.children += [c for c in group.get("children", []) if isinstance(c, str) and c != name]
            own.vars.update({str(k): (v, place) for k, v in (group.get("vars") or {}).items()})
        for host in members if isinstance(members, list) else []:
            tree.add_hosts(str(host), name, {}, place)
    for host, values in hostvars.items() if isinstance(hostvars, dict) else ():
        if host not in tree.hosts:
            tree.add_hosts(str(host), "ungrouped", {}, place)
        found = tree.hosts.get(host)
        if found is not None and isinstance(values, dict):
            found.vars.update({str(k): (v, place) for k, v in values.items()})
    for group_ in tree.groups.values():
        for child in group_.children:
            if child not in tree.groups:
                tree.remark(place, f"group {child} is listed and not described")


def _looks_yaml(text: str) -> bool:
    try:
        data = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return False
    return isinstance(data, dict) and all(isinstance(v, dict) or v == "" for v in data.values())


def _merge(tree: Tree, inner: Tree) -> None:
    for name, group in inner.groups.items():
        own = tree.group(name)
        own.vars.update(group.vars)
        own.outside.update(group.outside)
        own.children += [c for c in group.children if c not in own.children]
        own.hosts += [h for h in group.hosts if h not in own.hosts]
    for name, host in inner.hosts.items():
        known = tree.hosts.setdefault(name, host)
        known.vars.update(host.vars)
        known.outside.update(host.outside)
    tree.remarks += inner.remarks


def _beside(directory: Path, tree: Tree) -> None:
    """group_vars and host_vars beside the inventory."""
    for folder, items in (("group_vars", tree.groups), ("host_vars", tree.hosts)):
        base = directory / folder
        if not base.is_dir():
            continue
        known = {p.name for p in base.iterdir() if not p.name.startswith(".")}
        for name, item in items.items():
            if "/" in name or name in (".", ".."):
                continue
            for file in (name, *(name + suffix for suffix in _YAML)):
                if file in known:
                    for path in _variable_files(base / file):
                        item.outside.update(read_vars(read_text(path), str(path), tree))
        names = {n + s for n in items for s in ("", *_YAML)}
        for left in sorted(known - names):
            tree.remark(Place(str(base / left)), f"no {folder.partition('_')[0]} has this name: not read")


def _variable_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = []
    for each in sorted(path.iterdir()):
        if each.is_dir() and not each.name.startswith("."):
            found += _variable_files(each)
        elif each.suffix in ("", *_YAML) and not each.name.startswith(".") and not each.name.endswith("~"):
            found.append(each)
    return found
