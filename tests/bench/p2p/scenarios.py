"""What is measured. Each scenario is run once by its function and returns figures by name.

`ratio` is the time of the last receiver in multiples of the Kumar-Ross bound, with raw rates: headers alone
cost 1.045. Where links are not equal, it is that of the receivers whose links are whole, by their own bound.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.p2p import rivals
from tests.bench.p2p.cluster import RELAY
from tests.bench.p2p.field import MIB, Field, Link, bound, equal, field, until
from tests.netlab import run

SIZE = 32 * MIB
RATE = 40.0
WAN = 20.0
SLOW = 0.1
HALF = 0.4
"""Share of a push after which something happens."""
Figures = dict[str, Any]


def finish(f: Field, names: Sequence[str], found: Figures, least: float, what: str = "ratio") -> None:
    """Wait for these receivers and note their times."""
    times = sorted(f.took(name) for name in names)
    found[what] = round(times[-1] / least, 3)
    found["seconds"] = round(times[-1], 3)
    found["median"] = round(statistics.median(times), 3)


def counters(f: Field, names: Sequence[str]) -> Figures:
    """What the receivers counted together."""
    facts = [f.facts(name) for name in names]
    from_source = sum(sum(n for sender, n in x["from"].items() if sender in ("", RELAY)) for x in facts)
    return {
        "peers": round(1 - from_source / max(1, sum(sum(x["from"].values()) for x in facts)), 3),
        "duplicates": sum(x["duplicates"] for x in facts), "fallbacks": sum(x["fallbacks"] for x in facts),
        "bad": sum(x["bad"] for x in facts),
        "beyond": round(sum(map(beyond, facts)) / max(1, sum(x["to_move"] for x in facts)), 4),
    }  # fmt: skip


def beyond(facts: Figures) -> int:
    """Bytes that came although they were not lacking, or came twice."""
    return int(sum(facts["from"].values()) - facts["to_move"])


def push(count: int, rate: float, size: int = SIZE) -> Figures:
    """Receivers with links of one rate, all at once."""
    links = equal(count, rate)
    with field(links, size, rate) as f:
        names = list(links)
        f.start_peers(names)
        with f.measured() as found:
            f.fetch(names)
            finish(f, names, found, bound(size, rate, list(links.values())))
        f.verify(names)
        return found | counters(f, names)


def beside_rsync(count: int, rate: float = RATE, size: int = SIZE) -> Figures:
    """As `push`, and rsync on the same links: every receiver pulls from the source."""
    found = push(count, rate, size)
    links = equal(count, rate)
    with field(links, size, rate) as f:
        seconds = rivals.rsync(f)
    return found | {"rsync_seconds": round(seconds, 3), "of_rsync": round(found["seconds"] / seconds, 3)}


def wan(count: int = 8, rate: float = RATE, over: float = WAN, size: int = SIZE) -> Figures:
    """A region behind a relay, then other receivers of it."""
    links = equal(2 * count, rate)
    with field(links, size, rate, over) as f:
        first, second = list(links)[:count], list(links)[count:]
        relay = [Link(rate, rate)]
        least = bound(size, rate, [links[n] for n in first], over, relay)
        f.start_peers(first)
        with f.measured() as found:
            f.fetch(first)
            finish(f, first, found, least)
        f.start_peers(second)
        with f.measured() as again:
            f.fetch(second)
            finish(f, second, again, bound(size, rate, [links[n] for n in second]))
        f.verify([*first, *second])
        return found | counters(f, first) | {
            "again_wan": again["wan"], "again_bytes": again["wan_bytes"], "again_ratio": again["ratio"],
            "again_seconds": again["seconds"],
        }  # fmt: skip


def relay_killed(count: int = 8, rate: float = RATE, over: float = WAN, size: int = SIZE) -> Figures:
    """The relay is killed in mid-push and started again at once."""
    links = equal(count, rate)
    with field(links, size, rate, over) as f:
        names = list(links)
        f.start_peers(names)
        with f.measured() as found:
            before = f.crossed()
            f.fetch(names)
            until(lambda: f.crossed() - before > HALF * size, "half of it has crossed the WAN")
            f.kill_relay()
            f.start_relay()
            finish(f, names, found, bound(size, rate, list(links.values()), over, [Link(rate, rate)]))
        f.verify(names)
        return found | counters(f, names)


def receiver_killed(count: int = 8, rate: float = RATE, size: int = SIZE) -> Figures:
    """One receiver is killed in mid-push and started again. `refetched`: of the pieces that it had, those it lost.

    `excess` and `excess_others` are bytes that came to it since, and to the others, beyond what they lacked, as parts
    of the artifact. `link_copies` is what its link carried in both lives, `link_others` that of the others: the
    difference is what the kill cost on the wire, unfinished pieces among it.
    """
    links = equal(count, rate)
    with field(links, size, rate) as f:
        names = list(links)
        f.start_peers(names)
        with f.measured() as found:
            before = {name: f.arrived(name) for name in names}
            f.fetch(names)
            start = time.monotonic()
            f.wait_share("h1", 0.5)
            had = f.facts("h1")
            f.kill("h1")
            f.start_peers(["h1"])
            f.fetch(["h1"])
            finish(f, names[1:], found, bound(size, rate, list(links.values())))
            f.took("h1")
            found["killed_ratio"] = round((time.monotonic() - start) / bound(size, rate, list(links.values())), 3)
        f.verify(names)
        carried = {name: (f.arrived(name) - before[name]) / size for name in names}
        excess = {name: beyond(f.facts(name)) / size for name in names}
        kept = f.facts("h1")["had"]
        found |= {
            "had_pieces": had["have"], "kept_pieces": kept,
            "refetched": round(max(0, had["have"] - kept) / had["have"], 4),
            "excess": round(excess.pop("h1"), 4), "excess_others": round(statistics.median(excess.values()), 4),
            "link_copies": round(carried.pop("h1"), 4), "link_others": round(statistics.median(carried.values()), 4),
        }  # fmt: skip
        return found | counters(f, names)


def slow_link(count: int = 8, rate: float = RATE, size: int = SIZE) -> Figures:
    """One receiver with a tenth of the rate; `odd_link`: what it used of its link meanwhile."""
    links = {**equal(count, rate), "h1": Link(SLOW * rate, SLOW * rate)}
    with field(links, size, rate) as f:
        whole = list(links)[1:]
        f.start_peers(list(links))
        with f.measured() as found:
            f.fetch(list(links))
            finish(f, whole, found, bound(size, rate, [links[n] for n in whole]))
            facts = f.facts("h1")
        f.verify(whole)
        found["odd_link"] = round(sum(facts["from"].values()) * 8e-6 / found["seconds"] / links["h1"].down, 3)
        return found | counters(f, whole)


def slow_upload(count: int = 8, rate: float = RATE, size: int = SIZE) -> Figures:
    """One receiver with a tenth of the upload only; `odd` is its own time by its own bound."""
    links = {**equal(count, rate), "h1": Link(SLOW * rate, rate)}
    with field(links, size, rate) as f:
        whole = list(links)[1:]
        f.start_peers(list(links))
        with f.measured() as found:
            f.fetch(list(links))
            finish(f, whole, found, bound(size, rate, [links[n] for n in whole]))
            found["odd"] = round(f.took("h1") / bound(size, rate, list(links.values())), 3)
        f.verify(list(links))
        return found | counters(f, list(links))


def late(count: int = 8, rate: float = RATE, size: int = SIZE) -> Figures:
    """Two receivers come in mid-push; `late` is their time by their own bound, from when they came."""
    links = equal(count, rate)
    with field(links, size, rate) as f:
        names, two = list(links)[:-2], list(links)[-2:]
        f.start_peers(list(links))
        with f.measured() as found:
            f.fetch(names)
            f.wait_share("h1", HALF)
            f.fetch(two)
            finish(f, names, found, bound(size, rate, [links[n] for n in names]))
            found["late"] = round(max(map(f.took, two)) / bound(size, rate, [links[n] for n in two]), 3)
        f.verify(list(links))
        return found | counters(f, list(links))


def leaving(count: int = 8, rate: float = RATE, size: int = SIZE) -> Figures:
    """Three leave in mid-push: one is killed, one is told to stop, one loses its cable."""
    links = equal(count, rate)
    with field(links, size, rate) as f:
        names = list(links)[3:]
        f.start_peers(list(links))
        with f.measured() as found:
            f.fetch(list(links))
            f.wait_share("h4", HALF)
            f.kill("h1")
            f.peers["h2"].ask({"op": "stop", "sha256": f.record["sha256"]})
            run("ip", "-n", f.lab.places["h3"].namespace, "link", "set", "eth0", "down")
            finish(f, names, found, bound(size, rate, [links[n] for n in names]))
        f.verify(names)
        return found | counters(f, names)


SCENARIOS: dict[str, tuple[Callable[[], Figures], dict[str, float]]] = {
    "8": (lambda: push(8, RATE), {"ratio": 1.30, "copies": 1.25}),
    "16": (lambda: push(16, RATE / 2), {"ratio": 1.40}),
    "24": (lambda: push(24, RATE / 2), {}),
    "rsync-1": (lambda: beside_rsync(1), {"of_rsync": 1.10}),
    "rsync-2": (lambda: beside_rsync(2), {"of_rsync": 1.10}),
    "wan": (wan, {"wan": 1.02, "ratio": 1.25, "again_wan": 0.01}),
    "relay-killed": (relay_killed, {"wan": 1.10}),
    "receiver-killed": (receiver_killed, {"refetched": 0.02}),
    "slow-link": (slow_link, {"ratio": 1.3}),
    "slow-upload": (slow_upload, {"ratio": 1.3}),
    "late": (late, {"ratio": 1.3, "late": 1.3}),
    "leaving": (leaving, {"ratio": 1.3}),
}  # fmt: skip
"""Name -> (a run of it, what it must not exceed)."""
