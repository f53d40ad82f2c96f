"""How well rehearsals foretell: real deploys on the demo's cluster, each against the forecast made when it began."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.bench.table import Figure, measures, median
from tests.e2e.cluster import Cluster, cluster

DEPLOYS = 50
SERVICE = "sudoku"
VERSIONS = ("1.1.0", "1.0.0")


def deploys(c: Cluster, count: int) -> list[dict[str, Any]]:
    """Details of so many deploys, one after the other, from one version to the other and back."""
    found = []
    for n in range(count):
        c.cli("deploy", SERVICE, VERSIONS[n % len(VERSIONS)])
        found.append(json.loads(c.cli("action", c.newest("deploy"), "--json")))
    return found


def wrong(detail: dict[str, Any]) -> str:
    """What beside the time was not as foretold; empty when nothing."""
    score = detail.get("score")
    if not score:
        return f"{detail['row']['id']} has no score"
    if score["unforeseen"]:
        return f"{detail['row']['id']}: {score['unforeseen']} was not foretold"
    if score["outcome"] != score["outcome_predicted"]:
        return f"{detail['row']['id']} is {score['outcome']}, {score['outcome_predicted']} was foretold"
    low = [x for x in score["lowest"] if x["predicted"] != x["actual"]]
    return f"{detail['row']['id']}: {low}" if low else ""


@measures("score", needs=["cockpit.act.score"])
def scores() -> Figure:
    with cluster(None) as c:
        c.wait_calm(90)
        found = deploys(c, DEPLOYS)
    bad = [w for d in found if (w := wrong(d))]
    assert not bad, bad
    errors = [100 * d["score"]["error"] for d in found]
    late = median(errors[len(errors) // 2 :])
    took = median([d["score"]["seconds"] for d in found])
    note = (
        f"{DEPLOYS} deploys of {took:.1f} s; the later half {late:.1f} %, at most {max(errors):.0f} %; "
        f"kinds, outcomes and lowest ready counts as foretold; load {os.getloadavg()[0]:.1f}"
    )
    return Figure(median(errors), note=note)
