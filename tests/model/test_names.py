"""Short names and what they resolve to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.names import near, resolve, short_names
from cockpit.plan.steps import Bad

PATHS = st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join), max_size=6)


@given(PATHS)
def test_short_names_are_unique_and_resolve_back(paths: set[str]) -> None:
    short = short_names(paths)
    assert len(set(short.values())) == len(paths)
    for path in paths:
        assert resolve(short[path], paths) == path
        assert path == short[path] or path.endswith("." + short[path])


def test_instances_are_named_after_their_service() -> None:
    assert short_names(["p.web/0", "p.web/1", "q.db/0"]) == {
        "p.web/0": "web/0", "p.web/1": "web/1", "q.db/0": "db/0",
    }  # fmt: skip
    assert short_names(["p.web/0", "q.web/1"]) == {"p.web/0": "p.web/0", "q.web/1": "q.web/1"}
    assert short_names(["web", "p.web"]) == {"web": "web", "p.web": "p.web"}


def test_resolve() -> None:
    paths = ["p.web", "p.sudoku", "q.web", "p.web/0"]
    assert resolve("sudoku", paths) == "p.sudoku"
    assert resolve("web/0", paths) == "p.web/0"
    with pytest.raises(Bad, match="service 'web' is ambiguous: p.web, q.web"):
        resolve("web", paths, "service")
    with pytest.raises(Bad, match="did you mean p.sudoku"):
        resolve("sudoko", paths)
    with pytest.raises(Bad, match="no name 'zzz'; there is p.sudoku, p.web, p.web/0, q.web"):
        resolve("zzz", paths)


def test_of_very_many_names_only_likely_ones_are_compared() -> None:
    many = [f"shop.web/{n}" for n in range(5000)] + [f"h-{n}" for n in range(5000)] + ["shop.database"]
    assert "shop.web/4999" in near("web/49990", many)
    assert "shop.database" in near("databse", many) and "shop.database" in near("datbase", many)
    assert "h-4999" in near("h-49999", many)
    assert near("zzz", many) == ""
