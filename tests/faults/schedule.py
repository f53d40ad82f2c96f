"""What happens in a run, drawn from its seed: pure data."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

MOMENTS = ("fetch", "prepare", "start", "healthy", "names", "drain", "stop", "remove", "finish")
"""Kinds of steps. `names`: endpoints are being taken out; `finish`: the last step is over."""
KINDS = (
    "kill-agent", "kill-keeper", "kill-both", "kill-relay", "kill-controller", "kill-peer", "kill-origin",
    "kill-service", "cut-in", "cut-out", "cut", "loss", "reset", "flap", "slow", "disk-host", "disk-controller",
    "clock-host", "clock-controller",
)  # fmt: skip
LASTING = {
    "cut-in": (3, 14), "cut-out": (3, 14), "cut": (3, 14), "loss": (3, 8), "reset": (3, 14), "slow": (3, 8),
    "disk-host": (1, 5), "disk-controller": (1, 4), "clock-host": (2, 8), "clock-controller": (2, 8),
}  # fmt: skip
"""Seconds, from and to."""
HOSTS = ("h1", "h2", "h3", "h4")
AT_FETCH = ("kill-peer", "kill-origin")
"""What is only there while something is moved, or only matters then."""
JUMPS = (-7200.0, -90.0, -5.0, 5.0, 90.0, 7200.0)


@dataclass(frozen=True)
class Fault:
    kind: str
    moment: str
    host: str
    delay: float
    """Seconds after the moment."""
    seconds: float
    """How long it lasts; 0: an instant."""
    amount: float = 0.0
    """loss: part of the packets; slow: Mbit/s; clock: seconds."""

    def words(self) -> str:
        more = {"loss": f"{self.amount:.0%}", "slow": f"{self.amount:g} Mbit/s"}.get(self.kind, "")
        if self.kind.startswith("clock"):
            more = f"{self.amount:+g} s"
        lasting = f"{self.seconds:.1f} s" if self.seconds else ""
        return " ".join(w for w in (self.kind, more, lasting) if w)


@dataclass(frozen=True)
class Round:
    verb: str
    faults: tuple[Fault, ...]
    choice: int
    """Draws what the verb needs: an instance, a host."""


def fault(chance: random.Random, kind: str, quick: bool) -> Fault:
    low, high = LASTING.get(kind, (0, 0))
    seconds = round(low if quick else chance.uniform(low, high), 1)
    host = {"disk-host": "h4", "clock-host": "h2"}.get(kind) or chance.choice(HOSTS)
    amount = {"loss": round(chance.uniform(0.1, 0.3), 2), "slow": chance.choice([0.2, 0.5, 1.0])}.get(kind, 0.0)
    if kind.startswith("clock"):
        amount = chance.choice(JUMPS)
    return Fault(kind, chance.choice(MOMENTS), host, round(chance.uniform(0, 0.3), 2), seconds, amount)


def rounds(seed: int, count: int, only: tuple[str, ...] = (), each: int = 2, quick: bool = False) -> list[Round]:
    """So many rounds. Every kind comes once before any comes twice, and so do verbs and moments."""
    chance = random.Random(seed)
    kinds = _bag(chance, only or KINDS)
    verbs = _bag(chance, ("deploy", "restart", "migrate", "scale", "rollback"))
    moments = _bag(chance, MOMENTS)
    made = []
    for n in range(count):
        verb = "deploy" if n == 0 else next(verbs)
        faults = []
        drawn = [fault(chance, next(kinds), quick) for _ in range(each)]
        if any(one.kind in AT_FETCH for one in drawn):
            verb = "deploy"
        for one in drawn:
            moment = next(moments)
            if moment == "fetch" and verb != "deploy":
                moment = "prepare"  # the others move nothing
            if one.kind in AT_FETCH:
                moment = "fetch"
            faults.append(replace(one, moment=moment))
        made.append(Round(verb, tuple(faults), chance.randrange(1 << 16)))
    return made


def _bag(chance: random.Random, words: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from chance.sample(words, len(words))
