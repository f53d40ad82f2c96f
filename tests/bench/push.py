"""The swarm on links of its own, beside aria2 and rsync where they are installed; what serving and receiving cost.

Without root, `ip` and `tc` there are no such links, and these rows say so. `python -m tests.bench.p2p` measures
more of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from tests.bench.p2p import rivals
from tests.bench.p2p.field import CPU_BOUND, MIB, Field, bound, equal, field
from tests.bench.p2p.scenarios import RATE, SIZE, Figures, beside_rsync, push, wan
from tests.bench.table import Figure, Lacking, measures, median
from tests.netlab import possible

RUNS = {1: 1, 8: 3, 16: 2}
"""By receivers: as many as the few minutes of a whole bench allow."""
NEEDS = ("cockpit.swarm.peer",)
LARGE = 512 * MIB


def note(runs: list[Figures], *words: str) -> str:
    """Source copies, and whether it was the machine that was measured."""
    busy = median([run["busy"] for run in runs])
    told = [*words, f"source {median([run['copies'] for run in runs]):.2f} x", f"CPU {busy:.0%} busy"]
    return ", ".join([*told, "CPU-BOUND"] if busy > CPU_BOUND else told)


def lab() -> None:
    """Raises Lacking when there can be none here."""
    if not possible():
        raise Lacking("needs root, ip and tc")


def beside(count: int, rate: float, rival: str, measure: Callable[[Field], float]) -> Figure:
    """A push, and one run of a rival on the same links."""
    lab()
    runs = [push(count, rate) for _ in range(RUNS[count])]
    peer = None
    if rivals.here(rival):
        links = equal(count, rate)
        with field(links, SIZE, rate) as f:
            peer = measure(f) / bound(SIZE, rate, list(links.values()))
    return Figure(median([run["ratio"] for run in runs]), peer, rival, note(runs))


@measures("push-1", needs=NEEDS)
def push_1() -> Figure:
    lab()
    if not rivals.here("rsync"):
        raise Lacking("needs rsync")
    runs = [beside_rsync(1) for _ in range(RUNS[1])]
    ours, other = (median([run[key] for run in runs]) for key in ("seconds", "rsync_seconds"))
    return Figure(ours / other, note=f"{ours:.2f} s, rsync {other:.2f} s")


@measures("push-8", needs=NEEDS)
def push_8() -> Figure:
    return beside(8, RATE, "aria2c", rivals.aria2)


@measures("push-16", needs=NEEDS)
def push_16() -> Figure:
    return beside(16, RATE / 2, "aria2c", rivals.aria2)


@functools.cache
def region() -> Figures:
    lab()
    return wan()


@measures("wan", needs=NEEDS)
def once() -> Figure:
    return Figure(region()["wan"], note=note([region()], f"{region()['ratio']:.2f} x the bound"))


@measures("wan-again", needs=NEEDS)
def again() -> Figure:
    return Figure(region()["again_wan"])


@functools.cache
def large() -> Figures:
    """512 MiB to two receivers, with nothing that slows the links."""
    lab()
    links = equal(2, 0)
    with field(links, LARGE, 0) as f:
        names = list(links)
        f.start_peers(names)
        with f.measured() as found:
            cpu, sent = f.origin.cost().cpu, f.source_sent()
            f.fetch(names)
            found["seconds"] = max(map(f.took, names))
            found["serving"] = (f.source_sent() - sent) / 1e6 / (f.origin.cost().cpu - cpu)
        f.verify(names)
        return found | {"peak": f.peak()}


@measures("serving", needs=NEEDS)
def serving() -> Figure:
    return Figure(large()["serving"], note=f"512 MiB to 2 peers of this machine in {large()['seconds']:.1f} s")


@measures("peer-memory", needs=NEEDS)
def memory() -> Figure:
    return Figure(large()["peak"])
