"""An intent as a command, and the command as the intent again."""

from __future__ import annotations

import shlex
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.act import journal
from cockpit.act.spelling import command_of, command_of_entry, command_of_row
from cockpit.act.table import VERBS, Verb
from cockpit.cli.main import build_parser
from cockpit.cli.verbs import intent_of
from cockpit.model.view import ActionRow
from cockpit.plan.steps import Intent, Plan

NAMES = st.text(st.sampled_from("abcxyz019._- '$;/\"`\\"), min_size=1, max_size=12).filter(
    lambda s: s.strip() == s and not s.startswith("-")
)
PARSER = build_parser()


@st.composite
def intents(draw: Any) -> Intent:
    verb: Verb = draw(st.sampled_from([v for v in VERBS.values() if v.target != "topology"]))
    count = draw(st.integers(0 if verb.optional else 1, 3)) if verb.many else 1
    targets = [draw(NAMES) for _ in range(count)]
    if verb.target == "action":
        targets = [f"#{draw(st.integers(1, 999))}"]
    params: dict[str, Any] = {}
    for p in verb.params:
        if not p.required and not draw(st.booleans()):
            continue
        params[p.name] = {
            "int": st.integers(0, 999), "bool": st.just(True),
            "hosts": st.lists(st.sampled_from(["h1", "h2", "sh-3"]), min_size=1, max_size=3),
        }.get(p.type, NAMES)
        params[p.name] = draw(params[p.name])
    return Intent(verb=verb.name, targets=tuple(targets), params=params)


@settings(deadline=None, max_examples=300)
@given(intents())
def test_the_command_says_the_same(intent: Intent) -> None:
    words = shlex.split(command_of(intent))
    assert words[0] == "cockpit"
    found = intent_of(PARSER.parse_args(words[1:]))
    assert (found.verb, found.targets, found.params) == (intent.verb, intent.targets, intent.params)


def test_rows_and_journal_entries_are_spelled_alike() -> None:
    intent = Intent(verb="deploy", targets=("puzzle.sudoku",), params={"version": "1.1.0"}, author="li")
    row = ActionRow(id="#3", verb="deploy", state="failed", author="li", targets=intent.targets, params=intent.params)
    body = journal.intent("#3", intent, Plan(intent=intent, base=1), revision=2)
    assert command_of_row(row) == command_of_entry(body) == "cockpit deploy puzzle.sudoku 1.1.0"
    imported = Intent(verb="apply", params={"document": {"name": "x"}, "source": "my file.yaml"})
    assert command_of(imported) == "cockpit apply 'my file.yaml'"
