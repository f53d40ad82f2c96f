"""Expected data back into a topology file: a fresh one, or onto an existing one.

Onto an existing file only what differs is edited, by the places of its nodes, so that comments, order
and layout stay. What cannot be edited in place (a list of another length, a block that becomes a
scalar) is written anew at the smallest node around it; the result is loaded and compared, and where
aliases or merges got in the way, its sections are written anew.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import msgspec

from cockpit.model import render
from cockpit.model.edit import Edits, Stuck, edit_node, rewrite_sections
from cockpit.model.fields import FILE, Branch, File
from cockpit.model.kinds import Doc
from cockpit.model.load import read_node
from cockpit.model.names import short_names
from cockpit.model.nodes import Node, compose, text_of
from cockpit.model.problems import BadTopology, Report
from cockpit.model.topology import Expected, from_doc

_FILE = "topology"
_PARTS = ("name", "regions", "hosts", "relays", "signers", "schedules", "guards", "groups", "services")


def export_new(expected: Expected | Doc) -> str:
    """A fresh file with exactly the name, regions, hosts, groups and services."""
    return render.document(FILE.write(nested(_typed(expected))))


def export_onto(text: str, doc: Expected | Doc) -> str:
    """The file's text with the values of `doc` and its own comments, order and layout.

    Raises BadTopology when the text is no topology file. What it says need not hold together.
    """
    expected = _typed(doc)
    root, now = _read(text)
    if same(now, expected):
        return text
    for edit in (edit_node, _sections):
        edits = Edits(text)
        try:
            edit(edits, root, FILE, nested(now), nested(expected))
            result = edits.result()
            if same(_read(result)[1], expected):
                return result
        except (Stuck, BadTopology):
            pass  # aliases or merges are in the way: the next, coarser way
    return _head_comment(text) + export_new(expected)


def same(a: Expected, b: Expected) -> bool:
    """Equal in what a file holds."""
    return all(getattr(a, part) == getattr(b, part) for part in _PARTS)


def nested(expected: Expected) -> File:
    """As it stands in a file: the tree nested, dependencies by their shortest unique ending."""
    shorter = short_names(expected.services)
    tree: dict[str, Any] = {}
    places = {"": tree}
    for path, group in sorted(expected.groups.items(), key=lambda item: item[0].count(".")):
        above, _, name = path.rpartition(".")
        branch = Branch(cluster=group.cluster, about=group.about, children={})
        places[above][name] = branch
        places[path] = branch.children
    for path, service in expected.services.items():
        above, _, name = path.rpartition(".")
        short = tuple(shorter.get(d, d) for d in service.depends)
        places[above][name] = msgspec.structs.replace(service, depends=short)
    return File(
        name=expected.name, regions=expected.regions, hosts=expected.hosts, relays=expected.relays,
        signers=expected.signers, schedules=expected.schedules, guards=expected.guards, tree=tree,
    )


def _typed(doc: Expected | Doc) -> Expected:
    return doc if isinstance(doc, Expected) else from_doc(doc)


def _read(text: str) -> tuple[Node, Expected]:
    """Raises BadTopology."""
    root = compose(text_of(text.encode("utf-8", "surrogatepass"), _FILE), _FILE)
    to = Report(_FILE)
    expected = read_node(root, to)
    if to.problems:
        raise BadTopology(to.problems)
    return root, expected


def _sections(edits: Edits, root: Node, kind: Any, now: File, want: File) -> None:
    rewrite_sections(edits, root, kind, want)


def _head_comment(text: str) -> str:
    """The comment at the top of the file."""
    lines = text.removeprefix("\ufeff").splitlines()
    return "".join(line + "\n" for line in takewhile(lambda line: line[:1] in ("#", ""), lines))
