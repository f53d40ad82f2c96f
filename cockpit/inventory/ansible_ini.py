"""Ansible inventories in INI form."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

from cockpit.inventory.ansible_tree import Hidden, Tree, Vars
from cockpit.inventory.found import Place

_SECTION = re.compile(r"^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?$")
_LONGEST = 64 * 1024


def read_ini(text: str, file: str, tree: Tree) -> None:
    """Adds what the text says. Lines that are not understood are remarked with their place."""
    group, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), 1):
        line, place = raw.strip(), Place(file, number)
        if not line or line[0] in "#;":
            continue
        if len(line) > _LONGEST:
            tree.remark(place, "the line is too long and was left out")
            continue
        section = _SECTION.match(line)
        if section:
            group, kind = section[1], section[2] or "hosts"
            if kind not in ("hosts", "vars", "children"):
                tree.remark(place, f"[{group}:{kind}] is not understood: hosts, vars and children are")
            else:
                tree.group(group)
        elif kind == "hosts":
            _host(line, group, tree, place)
        elif kind == "vars":
            name, equals, value = line.partition("=")
            if equals:
                tree.group(group).vars[name.strip()] = (literal(value.strip()), place)
            else:
                tree.remark(place, "NAME=VALUE was expected")  # the line may hold anything: it is not shown
        elif kind == "children":
            child = re.split(r"\s*#", line)[0].strip()
            tree.group(child)
            if child not in tree.group(group).children and child != group:
                tree.group(group).children.append(child)


def _host(line: str, group: str, tree: Tree, place: Place) -> None:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as e:
        tree.remark(place, f"the line was left out: {str(e).lower()}")
        return
    variables: Vars = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if equals:
            variables[name] = (literal(value), place)
        else:
            tree.remark(place, "a word that is no NAME=VALUE was left out")
    if words:
        tree.add_hosts(words[0], group, variables, place)


def literal(text: str) -> Any:
    """A Python literal as its value, anything else as the text."""
    if text.startswith("$ANSIBLE_VAULT"):
        return Hidden("in a vault")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    plain = (str, int, float, bool, list, dict, tuple, type(None))
    return value if isinstance(value, plain) else text
