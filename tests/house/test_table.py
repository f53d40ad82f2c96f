"""The one table of actions is complete, and so are the documents beside it."""

from __future__ import annotations

import re
import shlex
from collections import Counter

import pytest

from cockpit.act import table


def test_keys_are_unique() -> None:
    keys = Counter(v.key for v in table.VERBS.values() if v.key)
    assert [k for k, n in keys.items() if n > 1] == []


@pytest.mark.parametrize("verb", table.VERBS.values(), ids=lambda v: v.name)
def test_a_verb_is_described(verb: table.Verb) -> None:
    assert re.fullmatch(r"[a-z]+", verb.name)
    assert verb.risk in (table.OBSERVE, table.CHANGE, table.DESTRUCTIVE)
    assert verb.help.endswith(".") and verb.help[0].isupper()
    words = shlex.split(verb.example)
    assert words[:2] == ["cockpit", verb.name]
    assert ("--confirm" in words) == (verb.risk == table.DESTRUCTIVE)
    assert all(p.help for p in verb.params)
    names = [p.name for p in verb.params]
    assert len(set(names)) == len(names)
