from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.inventory.naming import HOST, LABEL, TREE, make_names, make_paths
from cockpit.model import scalars

PATTERNS = {HOST: scalars.HOST_NAME[0], TREE: scalars.TREE_NAME[0], LABEL: scalars.LABEL[0]}
NAMES = st.lists(st.text(alphabet=st.sampled_from("abAB01.-_ /é你"), max_size=12) | st.text(max_size=80), max_size=8)


@pytest.mark.parametrize("kind", PATTERNS)
@given(names=NAMES)
def test_names_fit_and_are_different_whatever_their_order(kind: str, names: list[str]) -> None:
    made = make_names(names, kind, ("taken",))
    assert set(made) == set(names)
    assert len(set(made.values()) | {"taken"}) == len(made) + 1
    assert all(re.fullmatch(PATTERNS[kind], m) for m in made.values())
    assert make_names(list(reversed(names)), kind, ("taken",)) == made
    for name in names:
        if re.fullmatch(PATTERNS[kind], name) and name != "taken":
            assert made[name] == name


@given(st.lists(st.lists(st.sampled_from(["a", "A", "b", "a b", "a-b", ""]), min_size=1, max_size=3).map(tuple)))
def test_no_path_is_a_service_and_a_group(paths: list[tuple[str, ...]]) -> None:
    made = make_paths(paths)
    leaves = set(made.values())
    assert len(leaves) == len(set(paths))
    assert not leaves & {p[:n] for p in leaves for n in range(1, len(p))}
    assert {p[: len(q)] for p, q in made.items()} == set(paths)


def test_examples() -> None:
    made = make_names(["web1", "Web1", "web_1", "x y"], HOST)
    assert re.fullmatch("web1-[0-9a-f]{6}", made.pop("Web1"))
    assert made == {"web1": "web1", "web_1": "web_1", "x y": "x-y"}
    assert make_names(["web.example"], TREE) == {"web.example": "web-example"}
