"""The topology file to expected data. Everything wrong is found in one pass and has a place."""

from __future__ import annotations

import os
from pathlib import Path as FilePath
from typing import Any

import msgspec

from cockpit.model.check import check, resolve
from cockpit.model.check_guards import resolve_guards
from cockpit.model.fields import FILE, Branch, File
from cockpit.model.kinds import BAD, Doc
from cockpit.model.nodes import MOST_BYTES, Node, compose, from_plain, text_of
from cockpit.model.problems import BadTopology, Problem, Report
from cockpit.model.topology import Expected, Group, Service


class Loaded(msgspec.Struct, frozen=True):
    expected: Expected
    """Without placement, stopped and modes: those are not in the file."""
    warnings: list[Problem]


def load_text(data: bytes, file: str = "topology.yaml") -> Loaded:
    """Raises BadTopology with all problems. `file` is the name shown in them."""
    return load_node(compose(text_of(data, file), file), file)


def load_file(path: str | os.PathLike[str]) -> Loaded:
    """Reads the file. Raises BadTopology, also when it cannot be read."""
    try:
        with FilePath(path).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as e:
        raise BadTopology([Problem(str(path), 0, 0, "", e.strerror or str(e))]) from None
    return load_text(data, str(path))


def parse_topology(doc: Doc, file: str = "topology") -> Expected:
    """The same for plain data in the shape of the file. Raises BadTopology (without real places)."""
    return load_node(from_plain(doc), file).expected


def load_node(root: Node, file: str) -> Loaded:
    to = Report(file)
    expected = read_node(root, to)
    check(expected, to)
    if to.problems:
        raise BadTopology(to.problems)
    return Loaded(expected, sorted(set(to.warnings)))


def read_node(root: Node, to: Report) -> Expected:
    """Kinds and names only; whether it all holds together is not checked."""
    read = FILE.read(root, (), to)
    if read is BAD:
        raise BadTopology(to.problems)
    return flatten(read, to)


def flatten(file: File, to: Report) -> Expected:
    """Groups and services by full path; dependencies become full paths."""
    groups: dict[str, Group] = {}
    services: dict[str, Service] = {}

    def walk(children: dict[str, Any], above: str) -> None:
        for name, node in children.items():
            path = above + name
            if isinstance(node, Branch):
                groups[path] = node.group
                walk(node.children, path + ".")
            else:
                services[path] = node

    walk(file.tree, "")
    above = Expected(
        name=file.name, regions=file.regions, hosts=file.hosts, relays=file.relays, signers=file.signers,
        schedules=file.schedules, guards=file.guards,
    )
    return resolve_guards(resolve(msgspec.structs.replace(above, groups=groups, services=services), to), to)
