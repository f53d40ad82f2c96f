"""docs/protocols.md says what goes over the sockets, no more and no less."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, cast

from cockpit.agent.words import Words
from tests.house import tree

TEXT = (tree.ROOT / "docs/protocols.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"^## {title}.*?$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def test_every_command_word_of_the_agent() -> None:
    documented = re.findall(r"^\| `([\w-]+)` \|", section("Controller and agent"), re.MULTILINE)
    assert sorted(documented) == sorted(Words(cast(Any, None)).table())


def test_every_operation_of_the_keeper() -> None:
    documented = set(re.findall(r'"op":"([\w-]+)"', section("Agent and keeper")))
    operations = {
        key.value
        for node in ast.walk(tree.parsed(Path("cockpit/agent/keeper/operations.py")))
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "self._operations"
        and isinstance(node.value, ast.Dict)
        for key in node.value.keys if isinstance(key, ast.Constant)
    }  # fmt: skip
    assert operations == documented
