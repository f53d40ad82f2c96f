"""Snippets with marks: `¦` stands before every place where a problem is expected."""

from __future__ import annotations

import textwrap

import pytest

from cockpit.model.load import load_text
from cockpit.model.problems import BadTopology, Problem

MARK = "¦"
HEAD = """\
cockpit: 1
name: t
regions: {sh: {reaches: [bj]}, bj: {reaches: []}}
hosts: {a: {region: sh, address: 10.0.0.1, labels: {disk: ssd}}, b: {region: bj, address: 10.0.0.2}}
"""


def unmarked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without its marks, and their places (line, column) from 1."""
    places = []
    lines = text.split("\n")
    for n, line in enumerate(lines):
        while (at := line.find(MARK)) >= 0:
            line = line[:at] + line[at + 1 :]
            places.append((n + 1, at + 1))
        lines[n] = line
    return "\n".join(lines), places


def tree(services: str) -> str:
    """A whole file around the inside of `tree:`."""
    return HEAD + "tree:\n" + textwrap.indent(textwrap.dedent(services).strip("\n"), "  ") + "\n"


def problems(text: str | bytes) -> list[Problem]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(BadTopology) as caught:
        load_text(data, "t.yaml")
    return caught.value.problems


def expect(marked: str, *fragments: str) -> None:
    """Exactly these problems, in order, at the marks."""
    text, places = unmarked(marked)
    found = problems(text)
    shown = "\n".join(map(str, found))
    assert [(p.line, p.column) for p in found] == places, shown
    for problem, fragment in zip(found, fragments, strict=True):
        assert fragment in str(problem), shown
