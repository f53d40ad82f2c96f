"""An Ansible inventory as it stands in its files: groups, hosts and their variables, before merging."""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.inventory.found import MOST_MACHINES, BadSource, Place, Remark
from cockpit.inventory.ranges import BadRange, expand, split_port


class Hidden:
    """Stands for a value that is not read: a vault's, or one of an unknown YAML tag."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __repr__(self) -> str:
        return f"<{self.why}>"


Vars = dict[str, tuple[Any, Place]]


class Group(msgspec.Struct):
    vars: Vars = {}
    children: list[str] = []
    hosts: list[str] = []
    outside: Vars = {}
    """From group_vars beside the inventory."""


class Host(msgspec.Struct):
    place: Place
    vars: Vars = {}
    outside: Vars = {}
    """From host_vars beside the inventory."""


class Tree(msgspec.Struct):
    groups: dict[str, Group] = {}
    hosts: dict[str, Host] = {}
    remarks: list[Remark] = []

    def remark(self, place: Place, text: str) -> None:
        self.remarks.append(Remark(place, text))

    def group(self, name: str) -> Group:
        return self.groups.setdefault(name, Group())

    def add_hosts(self, pattern: str, group: str, variables: Vars, place: Place) -> None:
        """Every host of a pattern into a group. What cannot be a host is remarked."""
        name, port = split_port(pattern)
        try:
            names = expand(name) if "[" in name and not name.startswith("[") or "]" in name else [name]
        except BadRange as e:
            self.remark(place, str(e))
            return
        if len(self.hosts) + len(names) > MOST_MACHINES:
            raise BadSource(f"{place}: more than {MOST_MACHINES} hosts")
        own = self.group(group)
        for each in names:
            host = self.hosts.setdefault(each, Host(place))
            if port is not None:
                host.vars["ansible_port"] = (port, place)
            host.vars.update(variables)
            if each not in own.hosts:
                own.hosts.append(each)

    def finish(self) -> None:
        """`all` and `ungrouped` as Ansible has them. Loops among groups are cut and remarked."""
        everything = self.group("all")
        self.group("ungrouped")
        below = {c for g in self.groups.values() for c in g.children}
        for name in self.groups:
            if name != "all" and name not in below:
                everything.children.append(name)
        self._cut_loops()
        grouped = {h for n, g in self.groups.items() if n not in ("all", "ungrouped") for h in g.hosts}
        loose = [h for h in self.hosts if h not in grouped]
        self.groups["ungrouped"].hosts = loose

    def _cut_loops(self) -> None:
        state: dict[str, int] = {}

        for start in self.groups:
            stack = [(start, iter(list(self.groups[start].children)))]
            if state.setdefault(start, 1) == 2:
                continue
            while stack:
                name, children = stack[-1]
                for child in children:
                    if child not in self.groups:
                        continue
                    if state.get(child) == 1:
                        self.groups[name].children.remove(child)
                        self.remark(Place(name), f"group {child} contains itself by way of {name}: that was cut")
                    elif state.get(child) != 2:
                        state[child] = 1
                        stack.append((child, iter(list(self.groups[child].children))))
                        break
                else:
                    state[name] = 2
                    stack.pop()

    def parents(self) -> dict[str, list[str]]:
        up: dict[str, list[str]] = {name: [] for name in self.groups}
        for name, group in self.groups.items():
            for child in group.children:
                if child in up:
                    up[child].append(name)
        return up


def groups_of(tree: Tree) -> dict[str, list[str]]:
    """Host -> its groups with all above them, in the order in which their variables are merged."""
    up, depth = tree.parents(), depths(tree)
    above: dict[str, set[str]] = {}

    for name in sorted(tree.groups, key=depth.__getitem__):
        above[name] = {name}.union(*(above[p] for p in up[name]))
    direct: dict[str, set[str]] = {h: {"all"} for h in tree.hosts}
    for name, group in tree.groups.items():
        for host in group.hosts:
            direct[host] |= above[name]

    def rank(name: str) -> tuple[int, int, str]:
        priority = tree.groups[name].vars.get("ansible_group_priority", (1, None))[0]
        return depth[name], priority if isinstance(priority, int) else 1, name

    return {host: sorted(names, key=rank) for host, names in direct.items()}


def depths(tree: Tree) -> dict[str, int]:
    """Group -> longest way from `all`. Loops were cut before."""
    up = tree.parents()
    out: dict[str, int] = {}
    for start in tree.groups:
        stack = [start]
        while stack:
            name = stack[-1]
            missing = [p for p in up[name] if p not in out]
            if missing:
                stack += missing
            else:
                out[name] = max((out[p] + 1 for p in up[name]), default=0)
                stack.pop()
    return out


def variables_of(tree: Tree, groups: list[str], host: Host) -> Vars:
    """What holds for one host; `groups` are its own in the order of merging."""
    merged: Vars = {}
    for part in (("all",), [g for g in groups if g != "all"]):
        for name in part:
            merged.update(tree.groups[name].vars)
        for name in part:
            merged.update(tree.groups[name].outside)
    merged.pop("ansible_group_priority", None)  # it orders groups, and is no variable of hosts
    return merged | host.vars | host.outside
