"""The guard: every verb for every role, and what it says."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cockpit.act import guard
from cockpit.act.table import DESTRUCTIVE, OBSERVE, VERBS, Verb
from cockpit.model.view import Who
from cockpit.plan.steps import Intent, Plan, Refused

LI = Who(author="li@jump-1", role="operator")
EYES = Who(author="wu@jump-1", role="viewer")
FROZEN = Who(author="li@jump-1", role="operator", read_only="started with --read-only")
NOBODY = Who(author="", role="")


def intent(verb: str, target: str = "puzzle.sudoku") -> Intent:
    return Intent(verb=verb, targets=(target,))


def plan(verb: str, *, risk: str = "change", confirm: str = "") -> Plan:
    return Plan(intent=intent(verb), base=1, risk=risk, confirm=confirm, title=f"{verb} sudoku")


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda v: v.name)
@pytest.mark.parametrize("who", [EYES, FROZEN, NOBODY, Who(author="x", role="root")], ids=lambda w: w.role or "none")
def test_nobody_but_an_operator_may_change_anything(verb: Verb, who: Who) -> None:
    assert verb.risk != OBSERVE, "a verb that only observes needs its own test"
    for made in (None, plan(verb.name), plan(verb.name, risk="observe")):
        with pytest.raises(Refused, match=f"^{verb.name} is off: "):
            guard.check(intent(verb.name), who, verb, made, "sudoku")
    assert guard.may(who, verb)


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda v: v.name)
def test_an_operator_may_and_confirms_what_destroys(verb: Verb) -> None:
    guard.check(intent(verb.name), LI, verb)
    assert guard.may(LI, verb) == ""
    for risk in ("observe", "change", "destructive", "??"):
        made = plan(verb.name, risk=risk, confirm="puzzle.sudoku")
        if verb.risk == DESTRUCTIVE or risk in ("destructive", "??"):
            with pytest.raises(Refused, match="--confirm sudoku"):
                guard.check(intent(verb.name), LI, verb, made)
            guard.check(intent(verb.name), LI, verb, made, "sudoku")
        else:
            guard.check(intent(verb.name), LI, verb, made)


def test_an_observing_verb_passes_for_everybody() -> None:
    look = replace(VERBS["push"], risk=OBSERVE)
    assert guard.may(EYES, look) == ""


@pytest.mark.parametrize("verb", [None, VERBS["stop"], replace(VERBS["deploy"], risk=OBSERVE)])
def test_what_the_table_does_not_hold_is_refused(verb: Verb | None) -> None:
    with pytest.raises(Refused, match="not an action of the table"):
        guard.check(intent("deploy"), LI, verb, plan("deploy"), "sudoku")
    with pytest.raises(Refused):
        guard.check(intent("destroy"), LI, VERBS.get("destroy"))


@pytest.mark.parametrize(("name", "given", "right"), [
    ("puzzle.sudoku", "puzzle.sudoku", True), ("puzzle.sudoku", "sudoku", True), ("puzzle.sudoku", "oku", False),
    ("puzzle.sudoku/3", "sudoku/3", True), ("puzzle.sudoku/3", "3", False), ("#118", "118", True),
    ("#118", "18", False), ("sh-3", "sh-3", True), ("sh-3", "", False), ("sh-3", "SH-3", False),
])  # fmt: skip
def test_names_that_confirm(name: str, given: str, right: bool) -> None:
    assert guard.confirms(given, name) is right


def test_the_refusal_says_what_to_do() -> None:
    stop = plan("stop", risk="destructive", confirm="puzzle.sudoku")
    with pytest.raises(Refused, match="^stop sudoku is destructive: add --confirm sudoku to run it$"):
        guard.check(intent("stop"), LI, VERBS["stop"], stop)
    with pytest.raises(Refused, match="'web' is not the name to confirm; add --confirm sudoku to run it"):
        guard.check(intent("stop"), LI, VERBS["stop"], stop, "web")
    with pytest.raises(Refused, match="--confirm 118"):
        guard.check(intent("abort", "#118"), LI, VERBS["abort"], Plan(intent=intent("abort", "#118"), base=1))


def test_conflicts_name_who_and_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    running = {
        "#117": ({"puzzle.web", "puzzle.web/0"}, "wu", 10.0, "restart web/0"),
        "#118": (
            {"puzzle.sudoku/1", "puzzle.sudoku/2", "puzzle.sudoku/3", "puzzle.sudoku"}, "li", 51.0,
            "deploy sudoku 1.2.0",
        ),
    }  # fmt: skip
    guard.conflicts({"puzzle.batch"}, running)
    guard.conflicts((), running)
    with pytest.raises(Refused) as caught:
        guard.conflicts(["puzzle.sudoku/3"], running)
    said = str(caught.value)
    assert said.startswith("sudoku/3: #118 deploy sudoku 1.2.0 works on it since ")
    assert said.endswith(":51 (by li); wait for it, or abort #118")
    with pytest.raises(Refused, match="sudoku, sudoku/1, sudoku/2 and 1 more: #118"):
        guard.conflicts(running["#118"][0], {"#118": running["#118"]})
