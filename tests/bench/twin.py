"""A rehearsal on the twin: one service with 100 instances on each of 1,000 hosts is deployed."""

from __future__ import annotations

import time

from msgspec.structs import replace

from cockpit.model.judge import Digests
from cockpit.model.topology import Check, Expected, Instances, Service, Update
from tests.bench.drift import HOSTS, NOW, actual, hosts
from tests.bench.table import Figure, measures, median

EACH = 100
PARALLEL = 100
RUNS = 5


def expected() -> Expected:
    service = Service(
        processes={"main": ("./serve", "{port}")}, version="1.0.0", ports={"main": 0}, check=Check(tcp=""),
        instances=Instances(count=HOSTS * EACH), update=Update(parallel=PARALLEL, order="stop-first"),
    )  # fmt: skip
    placement = {f"shop.web/{n}": f"h-{n % HOSTS}" for n in range(HOSTS * EACH)}
    return replace(hosts(), services={"shop.web": service}, placement=placement)


@measures("twin", needs=["cockpit.act.twin", "cockpit.plan.verbs"])
def rolling_deploy() -> Figure:
    from cockpit.act.twin import Twin
    from cockpit.plan import verbs
    from cockpit.plan.steps import Intent

    wanted = expected()
    have = actual(wanted, Digests(wanted))
    intent = Intent(verb="deploy", targets=("shop.web",), params={"version": "1.1.0"}, author="bench")
    twin = Twin(wanted, have, planner=verbs.plan, now=NOW, trace=False)
    start = time.process_time()
    made = twin.plan(intent)
    planned = time.process_time() - start
    runs = []
    for _ in range(RUNS):
        twin = Twin(wanted, have, planner=verbs.plan, now=NOW, trace=False)
        start = time.process_time()
        result = twin.rehearse(made)
        runs.append(time.process_time() - start)
        assert result.outcome == "done", result.reason
    note = f"seconds of CPU; {len(made.steps)} steps, {result.events} events; the plan itself {planned:.1f} s"
    return Figure(median(runs), note=note)
