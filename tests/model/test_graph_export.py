"""Exports: whatever a name holds, it stays a name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.graph_export import ENDINGS, FORMATS, as_dot, as_json, as_mermaid, as_text, export
from cockpit.model.graph import UNDECLARED, Graph, GraphEdge, GraphNode

NASTY = [
    'a"]; evil [label="x', "a\\", 'a\\"b', "<b>x</b>", "a\nb; c -> d", "end", "%%{init: {}}%%", "a|b]c)d}e",
    "--> n0", "`rm`", "\x1b[31m", "服务", "&quot;", "#quot;", "\\N", "a;b", "{", "\u202e",
]
NAMES = st.one_of(st.sampled_from(NASTY), st.text(max_size=30))

DOT_ID = r'(?:n\d+|"(?:[^"\\\n]|\\["\\])*")'
DOT_ATTRS = r'\[\w+=(?:\w+|"(?:[^"\\\n]|\\["\\])*")(?:, ?\w+=(?:\w+|"(?:[^"\\\n]|\\["\\])*"))*\]'
DOT_LINE = re.compile(rf"digraph {DOT_ID} \{{|  rankdir=LR;|  node {DOT_ATTRS};|  n\d+ {DOT_ATTRS};"
                      rf"|  n\d+ -> n\d+(?: {DOT_ATTRS})?;|\}}")  # fmt: skip
MERMAID_TEXT = r'"[A-Za-z0-9 .,\-_/:()+#;]*"'
MERMAID_LINE = re.compile(
    rf"flowchart LR|  n\d+(?:\[{MERMAID_TEXT}\]|\[\[{MERMAID_TEXT}\]\]|\{{\{{{MERMAID_TEXT}\}}\}}"
    rf"|\(\[{MERMAID_TEXT}\]\)|\[\({MERMAID_TEXT}\)\])|  n\d+ (?:-->|-\. \"undeclared\" \.->) n\d+"
    r"|  classDef \w+ stroke:#\w+,stroke-width:3px"
    r"|  class n\d+(?:,n\d+)* \w+"
)


def graph_of(names: list[str]) -> Graph:
    kinds = ("service", "group", "controller", "relay", "region")
    nodes = tuple(
        GraphNode(id=f"{n}:{name}", label=name, kind=kinds[n % 5], note=name, mark=("ok", "failed")[n % 2], want=1)
        for n, name in enumerate(names)
    )
    edges = tuple(
        GraphEdge(source=a.id, target=b.id, kind=UNDECLARED if n % 2 else "declared")
        for n, (a, b) in enumerate(zip(nodes, nodes[1:], strict=False))
    )
    return Graph(title=names[0] if names else "", nodes=nodes, edges=edges)


@given(st.lists(NAMES, max_size=6))
def test_every_line_is_one_of_ours(names: list[str]) -> None:
    graph = graph_of(names)
    for text, grammar in ((as_dot(graph), DOT_LINE), (as_mermaid(graph), MERMAID_LINE)):
        for line in text.removesuffix("\n").split("\n"):
            assert grammar.fullmatch(line), line
    arrows = re.findall(r"^  n\d+ -> n\d+", as_dot(graph), re.MULTILINE)
    assert len(arrows) == len(graph.edges)


@given(st.lists(NAMES, max_size=6))
def test_json_gives_everything_back_and_text_has_a_line_for_each(names: list[str]) -> None:
    graph = graph_of(names)
    back = json.loads(as_json(graph))
    assert [n["label"] for n in back["nodes"]] == names and len(back["edges"]) == len(graph.edges)
    assert len(as_text(graph).split("\n")) - 1 == (len(graph.nodes) + len(graph.edges) if names else 0)


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_graphviz_sees_the_nodes_and_edges_that_there_are() -> None:
    graph = graph_of(NASTY)
    argv = ["dot", "-Tjson0"]
    done = subprocess.run(argv, input=as_dot(graph), capture_output=True, text=True, timeout=60, check=True)
    seen = json.loads(done.stdout, strict=False)
    assert [o["name"] for o in seen["objects"]] == [f"n{n}" for n in range(len(NASTY))]
    assert [(e["tail"], e["head"]) for e in seen["edges"]] == [(n, n + 1) for n in range(len(NASTY) - 1)]


def test_formats_and_endings_belong_together() -> None:
    assert set(ENDINGS.values()) == set(FORMATS)
    assert export(graph_of(["a", "b"]), "text") == "a 0 of 1 a\n  -> b\nb (1 services) 0 of 1 b failed\n"
    with pytest.raises(KeyError):
        export(graph_of([]), "svg")
