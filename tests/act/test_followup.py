"""What follows the end of an action."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cockpit.act.followup import (
    conclude,
    followup,
    made_stable,
    policy,
    return_sentence,
    return_versions,
    version_changes,
)
from cockpit.model.view import Change
from cockpit.plan.steps import Intent, Plan

UP = Change(path=("services", "a.web", "version"), old="1", new="2")
DEPLOY = Plan(
    intent=Intent(verb="deploy", targets=("a.web",), params={"version": "2"}, author="li"), base=1, changes=(UP,)
)
RESTART = replace(DEPLOY, changes=())
BACK = replace(DEPLOY, intent=replace(DEPLOY.intent, verb="rollback", cause="#7"))


@pytest.mark.parametrize(("plan", "outcome", "undo", "returns"), [
    (DEPLOY, "failed", False, True), (DEPLOY, "done", False, False), (DEPLOY, "aborted", False, False),
    (DEPLOY, "aborted", True, True), (RESTART, "failed", False, False), (BACK, "failed", False, False),
    (replace(DEPLOY, on_failure="continue"), "failed", False, False), (BACK, "aborted", True, True),
])  # fmt: skip
def test_what_returns(plan: Plan, outcome: str, undo: bool, returns: bool) -> None:
    found = followup(plan, outcome, "#7", undo=undo)
    assert (found is not None) is returns
    if found is not None:
        assert found == Intent(
            verb="rollback", targets=("a.web",), params={"action": "#7"}, author="li", cause="#7"
        )


def test_a_return_that_fails_pauses() -> None:
    onward = replace(BACK, on_failure="continue")
    assert [policy(p) for p in (DEPLOY, BACK, onward)] == ["return", "pause", "continue"]


@pytest.mark.parametrize(("stable", "to", "said"), [
    ({}, {}, "Returned to 1."), ({"a.web": "1"}, {}, "Returned to 1."),
    ({"a.web": "0"}, {"a.web": "0"}, "Returned to 0."), ({"a.web": "2"}, {}, "Returned to 1."),
])  # fmt: skip
def test_it_returns_to_what_was_stable(stable: dict[str, str], to: dict[str, str], said: str) -> None:
    assert return_versions(DEPLOY, stable) == to
    assert return_sentence(DEPLOY, stable) == said


def test_versions_in_whole_services_count() -> None:
    new = Change(path=("services", "a.batch"), old=None, new={"version": "3", "processes": {}})
    env = Change(path=("services", "a.batch", "env", "X"), old="1", new="2")
    plan = replace(DEPLOY, changes=(UP, new, env))
    assert version_changes(plan) == [("a.web", "1", "2"), ("a.batch", "", "3")]
    assert made_stable(plan, "done") == {"a.web": "2", "a.batch": "3"} and made_stable(plan, "failed") == {}
    assert return_sentence(replace(DEPLOY, changes=(env,))) == "Returned to what was before."


@pytest.mark.parametrize(("own", "derived", "word"), [
    ("failed", "done", "returned"), ("failed", "paused", "failed"), ("failed", None, "failed"),
    ("aborted", "done", "returned"), ("done", None, "done"),
])  # fmt: skip
def test_the_word_for_it(own: str, derived: str | None, word: str) -> None:
    assert conclude(own, derived) == word
