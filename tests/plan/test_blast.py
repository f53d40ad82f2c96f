"""The lowest ready count, by table; its truth is judged in test_rollout."""

from __future__ import annotations

import pytest

from cockpit.model.topology import Update
from cockpit.plan.blast import lowest_ready, touches
from cockpit.plan.rollout import rollout
from tests.plan.world import expected, running, service


@pytest.mark.parametrize(
    ("update", "want"),
    [
        (Update(), (4, 4)),
        (Update(order="stop-first"), (3, 4)),
        (Update(order="stop-first", parallel=3), (1, 4)),
    ],
)
def test_lowest_ready_of_a_restart(update: Update, want: tuple[int, int]) -> None:
    world = expected({"p.web": service(count=4, update=update)})
    have = running(world)
    steps = rollout(world, have, world.placement, forced=world.placement).steps
    assert lowest_ready(have, steps) == {"p.web": want}


def test_sentences() -> None:
    world = expected({
        "p.web": service(count=1, depends=("p.db",)), "p.api": service(count=3, depends=("p.db",)),
        "p.db": service(count=2, update=Update(order="stop-first")),
    })  # fmt: skip
    have = running(world)
    steps = rollout(world, have, ["p.db/0", "p.web/0"], forced=world.placement).steps
    assert touches(world, lowest_ready(have, steps)) == (
        "api (3 instances use db, never below 1 ready)", "web (1 instance uses db, never below 1 ready)",
        "web (nothing depends on it, never below 1 of 1 ready)",
    )  # fmt: skip
