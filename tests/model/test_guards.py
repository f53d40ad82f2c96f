"""Guards in the topology file: read, checked with places and near words, written back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cockpit.model.export import export_new, export_onto
from cockpit.model.load import load_text
from cockpit.model.problems import BadTopology
from cockpit.model.schema import json_schema
from cockpit.model.topology import from_doc, to_doc
from tests.controller.fakes import TOPOLOGY

GUARDS = """\
guards:
  # at night
  - name: night
    verbs: [deploy, apply]
    targets: [web, "shop.*"]
    outside: {days: [mon-fri, sun], from: 09:00, to: 18:00, zone: Asia/Shanghai}   # office
    effect: deny
    break_glass: true
    reason: nobody is there
  - {name: few, hosts: [region=sh], below: 50%, max: 10, expires: 90m, reason: no more}
"""
TEXT = TOPOLOGY + GUARDS


def test_read_and_written() -> None:
    loaded = load_text(TEXT.encode())
    night, few = loaded.expected.guards
    assert night.targets == ("shop.web", "shop.*"), "full names, as dependencies are"
    assert night.outside is not None and (night.outside.start, night.outside.end) == ("09:00", "18:00")
    assert (few.effect, few.max, few.below, few.expires) == ("allow", 10, "50%", 5400.0)
    assert from_doc(to_doc(loaded.expected)) == loaded.expected
    assert load_text(export_new(loaded.expected).encode()).expected == loaded.expected
    assert loaded.warnings == []


def test_written_onto_a_file_only_what_differs_changes() -> None:
    expected = load_text(TEXT.encode()).expected
    night, few = expected.guards
    changed = replace(expected, guards=(replace(night, effect="approve", break_glass=False), replace(few, max=12)))
    text = export_onto(TEXT, changed)
    assert load_text(text.encode()).expected == changed
    assert "# at night" in text and "# office" in text and "targets: [web," in text and "max: 12" in text
    assert export_onto(TEXT, replace(expected, guards=())).count("guards") == 0
    more = replace(expected, guards=(*expected.guards, replace(few, name="more")))
    assert load_text(export_onto(TEXT, more).encode()).expected == more


@pytest.mark.parametrize(("old", "new", "at", "says", "near"), [
    ("[deploy, apply]", "[deplyo]", "deplyo]", '"deplyo" is not one of', "deploy"),
    ("[web,", "[wbe,", "wbe,", 'nothing is called "wbe"', "web"),
    ("Asia/Shanghai", "Asia/Shangai", "Asia/Shangai", "is not a time zone", "Asia/Shanghai"),
    ("mon-fri", "mon-fry", "mon-fry", "is not a day", "fri"),
    ("from: 09:00", "from: 9am", "9am", "is not a time such as", ""),
    ("from: 09:00, to: 18:00", "from: 09:00, to: 09:00", "{days", "is empty", ""),
    ("effect: deny", "effect: dney", "dney", "is not one of allow", "deny"),
    ("    effect: deny\n", "", "name: night", "a guard needs an effect", ""),
    ("    reason: nobody is there\n", "", "name: night", 'a guard needs "reason"', ""),
    ("region=sh", "region=gz", "region=gz", "no host meets region=gz", ""),
    ("50%", "half", "half", "is not a number such as 2", ""),
    ("name: few", "name: night", "night, hosts", 'there is a guard "night" already', ""),
    ("max: 10", "maxx: 10", "maxx", 'unknown key "maxx"', "max"),
    ("max: 10", "max: 0", "0, expires", "between 1 and", ""),
    ("targets: [web", "when: 1\n    targets: [web", "when", 'unknown key "when"', "inside"),
])  # fmt: skip
def test_what_is_wrong_has_a_place_and_a_near_word(old: str, new: str, at: str, says: str, near: str) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new)
    with pytest.raises(BadTopology) as caught:
        load_text(text.encode(), "t.yaml")
    (only,) = caught.value.problems
    before = text[: text.index(at, text.index("guards:"))]
    place = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert says in only.text and (only.line, only.column, only.hint) == (*place, near), str(only)


def test_warnings() -> None:
    all = "guards:\n  - {name: all, effect: allow, break_glass: true, reason: r}\n" + GUARDS.partition("\n")[2]
    words = [w.text for w in load_text((TOPOLOGY + all).encode()).warnings]
    assert [w for w in words if "never asked" in w] and [w for w in words if "nothing to break" in w]


def test_the_schema_knows_them() -> None:
    item = json_schema()["properties"]["guards"]["items"]
    assert set(item["required"]) == {"name", "reason"} and "deny" in item["properties"]["effect"]["enum"]
