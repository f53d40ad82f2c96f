"""Every verb says how it is undone or why it cannot be; what wrote a revision really can be."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from cockpit.act.table import VERBS
from cockpit.model.patch import apply
from cockpit.model.topology import Data, Guard, Instances, Schedule, digest, from_doc, to_doc
from cockpit.model.view import RevisionRow
from cockpit.plan.context import PlanContext
from cockpit.plan.steps import Plan
from cockpit.plan.undo import rollback
from cockpit.plan.verbs import plan
from tests.plan.world import context, expected, intent, running, service

CONTROL = {"pause", "resume", "abort"}


def world() -> Any:
    return expected({
        "shop.web": service(count=2, data={"words": Data(artifact="words", version="1")}),
        "shop.db": service(count=1), "fixed": service(instances=Instances(hosts=("sh-1",))),
    })


def ctx(made: Any, **more: Any) -> PlanContext:
    facts = {"artifacts": {"words/1": 1, "words/2": 1, "web/1.0.0": 1, "cockpit-agent/9": 1}, **more}
    have = running(made)
    have = replace(have, kinds={"words/1": "data", "words/2": "data"})
    return context(made, have, **facts)


def edited() -> Any:
    """Every section of a topology differs."""
    head = world()
    return replace(
        head, guards=(Guard(name="g", effect="deny", reason="r"),),
        schedules={"s": Schedule(cron="@daily", argv=("x",))},
        regions={**head.regions, "gz": replace(head.regions["sh"], proxy="http://1.1.1.1:1")},
        hosts={**head.hosts, "sh-1": replace(head.hosts["sh-1"], labels={"zone": "z9"})},
        services={**head.services, "shop.web": replace(head.services["shop.web"], env={"A": "b"})},
        signers={"qa": ("ed25519:x",)},
    )  # fmt: skip


ASKED = {
    "apply": intent("apply", document=to_doc(edited())),
    "deploy": intent("deploy", "shop.web", version="2.0.0"),
    "deploy data": intent("deploy", "shop.web", version="2", data="words"),
    "deploy same": intent("deploy", "shop.web", version="1.0.0"),
    "stop": intent("stop", "shop.web"), "stop one": intent("stop", "shop.web/1"),
    "scale up": intent("scale", "shop.web", count=4), "scale down": intent("scale", "shop.web", count=1),
    "scale same": intent("scale", "shop.web", count=2), "migrate": intent("migrate", "shop.db/0"),
    "drain": intent("drain", "sh-2"), "drain of a list": intent("drain", "sh-1"),
    "restart": intent("restart", "shop"), "signal": intent("signal", "shop.web", signal="TERM"),
    "start": intent("start", "shop.web"), "converge": intent("converge"), "adopt": intent("adopt", "shop.web"),
    "push": intent("push", "web/1.0.0", hosts=["sh-1"]),
}  # fmt: skip
WRITES = {k for k in ASKED if k.split()[0] in ("apply", "stop", "migrate", "drain")} | {
    "deploy", "deploy data", "scale up", "scale down",
}  # fmt: skip


def test_every_verb_is_here() -> None:
    assert {a.verb for a in ASKED.values()} == VERBS.keys() - CONTROL - {"rollback", "upgrade"}


@pytest.mark.parametrize("name", ASKED)
def test_a_plan_says_how_it_is_undone(name: str) -> None:
    made = plan(ASKED[name], ctx(world()))
    assert made.undo and (name in WRITES) == bool(made.changes)
    assert bool(made.changes) == made.undo.startswith("u "), made.undo


def done(made: Plan, head: PlanContext) -> PlanContext:
    doc = apply(head.doc, made.changes)
    row = RevisionRow(number=43, mark=digest(doc), author="li", time=1.0, action="#9", changes=made.changes)
    return replace(ctx(from_doc(doc), revision=43), revisions=(row,))


@pytest.mark.parametrize("name", sorted(WRITES))
def test_what_wrote_a_revision_is_undone_by_its_action_and_by_its_target(name: str) -> None:
    head = ctx(world())
    made = plan(ASKED[name], head)
    after = done(made, head)
    targets = made.intent.targets if name != "apply" else ()
    for asked in (intent("rollback", "#9"), intent("rollback", *targets), intent("rollback")):
        back = rollback(asked, after)
        assert apply(after.doc, back.changes) == head.doc
        assert back.undo == "u does it again"


def test_a_first_import_says_that_it_stays() -> None:
    empty = context(replace(world(), services={}, hosts={}, regions={}, groups={}, placement={}), revision=0)
    first = expected({"shop.web": service(count=2)})
    made = plan(intent("apply", document=to_doc(first)), empty)
    assert made.undo == "a first import cannot be undone"
