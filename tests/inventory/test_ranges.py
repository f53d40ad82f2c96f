from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.inventory.ranges import MOST, BadRange, expand, split_port


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("web", ["web"]),
        ("web[01:10:2].x", ["web01.x", "web03.x", "web05.x", "web07.x", "web09.x"]),
        ("db-[a:f]", ["db-a", "db-b", "db-c", "db-d", "db-e", "db-f"]),
        ("[8:11]", ["8", "9", "10", "11"]),
        ("n[:2]", ["n0", "n1", "n2"]),
        ("[a:b][1:2]-[x:y]", ["a1-x", "a1-y", "a2-x", "a2-y", "b1-x", "b1-y", "b2-x", "b2-y"]),
        ("[Y:b]", None),
        ("[3:1]", []),
    ],
)
def test_patterns(pattern: str, names: list[str] | None) -> None:
    if names is None:
        with pytest.raises(BadRange, match="ends before it begins"):
            expand(pattern)
    else:
        assert expand(pattern) == names


@pytest.mark.parametrize("pattern", ["a[", "a[1]", "a[1:]", "a[01:100]", "a[1:2:0]", "a[1:2:x]", "[1:999999999]",
                                     "[1:999][1:999]", "[1:2:3:4]", "[-1:2]", "[é:z]", "[²:3]"])  # fmt: skip
def test_what_is_no_range(pattern: str) -> None:
    with pytest.raises(BadRange):
        expand(pattern)


@given(st.integers(0, 500), st.integers(0, 300), st.integers(1, 20), st.booleans())
def test_numbers(low: int, more: int, step: int, wide: bool) -> None:
    high = low + more
    width = len(str(high)) + 1 if wide else 0
    names = expand(f"h[{str(low).zfill(width)}:{str(high).zfill(width)}:{step}]e")
    assert [int(n[1:-1]) for n in names] == list(range(low, high + 1, step))
    assert len(set(names)) == len(names) and (not wide or {len(n) for n in names} == {width + 2})


@given(st.text(alphabet="ab01:[]x-.", max_size=20))
def test_anything_is_names_or_a_sentence(pattern: str) -> None:
    name, _ = split_port(pattern)
    try:
        assert len(expand(name)) <= MOST
    except BadRange as e:
        assert pattern[:3] in str(e) or name[:3] in str(e)


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [("a:22", "a", 22), ("a[1:3]:2222", "a[1:3]", 2222), ("a[1:3]", "a[1:3]", None), ("::1", "::1", None),
     ("[fd00::1]:22", "fd00::1", 22), ("a", "a", None), ("a:b", "a:b", None)],
)  # fmt: skip
def test_ports(text: str, name: str, port: int | None) -> None:
    assert split_port(text) == (name, port)
