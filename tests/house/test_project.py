"""pyproject.toml, the lock and the tree agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import cockpit
from tests.house import tree

PROJECT = tomllib.loads((tree.ROOT / "pyproject.toml").read_text())
POINTS = {
    **PROJECT["project"]["scripts"],
    **{k: v for group in PROJECT["project"]["entry-points"].values() for k, v in group.items()},
}


def canonical(requirement: str) -> str:
    """`pytest-asyncio>=1,<2` -> `pytest-asyncio`; PEP 503 spelling."""
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


@pytest.mark.parametrize("point", sorted(set(POINTS.values())))
def test_entry_points_exist(point: str) -> None:
    module, _, attribute = point.partition(":")
    plain = Path(*module.split("."))
    path = next(p for p in (plain.with_suffix(".py"), plain / "__init__.py") if p in tree.files())
    text = (tree.ROOT / path).read_text()
    assert re.search(rf"^(async def|def|class) {attribute}\b|^from .*\b{attribute}\b", text, re.MULTILINE)


def test_the_lock_has_every_direct_dependency_once_and_exactly() -> None:
    lines = (tree.ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [p for p in pins if not re.fullmatch(r"[\w.-]+==[\w.+!]+", p)] == []
    names = [canonical(p) for p in pins]
    assert len(set(names)) == len(names)
    wanted = [*PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted += extra
    assert {canonical(w) for w in wanted} - set(names) == set()


def test_every_package_says_that_it_is_typed() -> None:
    data = PROJECT["tool"]["setuptools"]["package-data"]
    assert [p for p in tree.PACKAGES if Path(p, "py.typed") not in tree.files()] == []
    assert [p for p in tree.PACKAGES if "py.typed" not in data[p]] == []


def test_the_change_log_knows_this_version() -> None:
    assert f"\n## {cockpit.__version__}" in (tree.ROOT / "CHANGELOG.md").read_text()
