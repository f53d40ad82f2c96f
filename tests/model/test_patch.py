"""Patches: what diff finds, apply does, inverse undoes."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.patch import Clash, Conflict, apply, conflicts, diff, inverse, overlaps, three_way, value_at
from cockpit.model.topology import Doc
from cockpit.model.view import Change

NAMES = st.sampled_from("abc")
LEAVES = st.one_of(
    st.integers(0, 3), st.sampled_from(["x", "y"]), st.booleans(), st.lists(st.integers(0, 2), max_size=2)
)  # fmt: skip
VALUES = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)


def canonical(doc: Doc) -> Doc:
    """No empty object at the top, as `to_doc` makes them."""
    return {k: v for k, v in doc.items() if v != {}}


DOCS = st.dictionaries(NAMES, VALUES, max_size=3).map(canonical)


def strict(value: Any) -> bytes:
    """JSON, in which True is not 1."""
    return msgspec.json.encode(value, order="sorted")


@given(DOCS, DOCS)
def test_apply_of_diff_gives_the_other(a: Doc, b: Doc) -> None:
    before = copy.deepcopy(a)
    changes = diff(a, b)
    assert strict(apply(a, changes)) == strict(b)
    assert a == before
    assert (changes == ()) == (strict(a) == strict(b))
    paths = [c.path for c in changes]
    assert not any(overlaps(p, q) for n, p in enumerate(paths) for q in paths[:n])


@given(DOCS, DOCS, st.randoms())
def test_inverse_undoes_in_any_order(a: Doc, b: Doc, chance: Any) -> None:
    changes = list(inverse(diff(a, b)))
    chance.shuffle(changes)
    assert strict(apply(b, changes)) == strict(a)
    assert inverse(inverse(changes)) == tuple(changes)


@given(DOCS, DOCS, DOCS)
def test_three_way_keeps_both_sides(base: Doc, head: Doc, theirs: Doc) -> None:
    take, clashes = three_way(base, head, theirs)
    merged = apply(head, take)
    ours, wanted = diff(base, head), diff(base, theirs)
    clashing = {c.path for c in clashes}
    for change in ours:
        if value_at(theirs, change.path) == value_at(base, change.path):
            assert value_at(merged, change.path) == change.new
    for change in wanted:
        if change.path not in clashing:
            assert value_at(merged, change.path) == change.new
    if not conflicts(wanted, ours):
        assert not clashes
    assert three_way(base, base, theirs) == (wanted, ())
    assert three_way(base, theirs, theirs) == ((), ())


@given(DOCS, DOCS)
def test_apply_refuses_what_has_changed(a: Doc, b: Doc) -> None:
    changes = diff(a, b)
    if changes:
        with pytest.raises(Conflict) as error:
            apply(b, changes)
        assert set(error.value.paths) <= {c.path for c in changes}


def test_first_entries_of_a_section_do_not_conflict() -> None:
    mine = diff({}, {"stopped": {"a/0": True}})
    yours = diff({}, {"stopped": {"b/0": True}})
    assert mine == (Change(path=("stopped", "a/0"), old=None, new=True),)
    assert conflicts(mine, yours) == ()
    both = apply(apply({}, mine), yours)
    assert both == {"stopped": {"a/0": True, "b/0": True}}
    assert apply(apply(both, inverse(mine)), inverse(yours)) == {}


def test_an_added_empty_object_is_kept() -> None:
    assert diff({"groups": {}}, {"groups": {"p": {}}}) == (Change(path=("groups", "p"), old=None, new={}),)


def test_conflicts_by_prefix() -> None:
    gone = (Change(path=("services", "web"), old={"version": "1"}, new=None),)
    version = (Change(path=("services", "web", "version"), old="1", new="2"),)
    other = (Change(path=("services", "webmail", "version"), old="1", new="2"),)
    assert conflicts(version, gone) == (("services", "web", "version"),)
    assert conflicts(gone, version) == (("services", "web"),)
    assert conflicts(version, other) == ()


def test_clash_names_all_three() -> None:
    base, head = {"services": {"web": {"version": "1"}}}, {"services": {"web": {"version": "2"}}}
    theirs = {"services": {"web": {"version": "3"}}}
    assert three_way(base, head, theirs) == (
        (), (Clash(path=("services", "web", "version"), base="1", head="2", theirs="3"),),
    )  # fmt: skip


def test_conflict_says_where() -> None:
    with pytest.raises(Conflict, match="services > web > version"):
        apply({}, [Change(path=("services", "web", "version"), old="1", new="2")])
