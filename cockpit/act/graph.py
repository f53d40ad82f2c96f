"""The steps of a plan as a graph: which may begin, which are settled, which fall with a failed one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

from cockpit.act.messages import STEP_STATES
from cockpit.plan.steps import (
    ACTIVATE,
    DRAIN,
    FETCH,
    HEALTHY,
    PREPARE,
    REMOVE,
    SIGNAL,
    START,
    STOP,
    UPGRADE,
    WARM,
    Bad,
    Step,
)

WAIT, RUN, DONE, FAIL, SKIP = range(len(STEP_STATES))
"""Indices into STEP_STATES."""

KINDS = frozenset({FETCH, WARM, PREPARE, START, HEALTHY, DRAIN, STOP, ACTIVATE, REMOVE, UPGRADE, SIGNAL})


class Graph:
    """Steps by index, in the plan's order. No operation costs more than the step's own edges.

    Behind the steps come the plan's gates: they have edges, and no state. Raises Bad when ids repeat,
    a need is not in the plan, or a kind is unknown.
    """

    def __init__(self, steps: tuple[Step, ...], gates: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.steps = steps
        self.index = index = {s.id: i for i, s in enumerate(steps)}
        if len(index) != len(steps):
            raise Bad("two steps of the plan have the same id")
        self.state = bytearray(len(steps))
        self.left = len(steps)
        """Steps that are not settled."""
        gates = {id: members for id, members in (gates or {}).items() if members}
        behind = {id: i for i, id in enumerate(gates, len(steps))}
        if any(id in index for id in gates):
            raise Bad("a gate of the plan has the id of a step")
        self._after: list[int | list[int] | None] = [None] * (len(steps) + len(gates))
        """What waits for it: nearly always one."""
        self._by_instance: dict[str, list[int]] = {}
        self.ready: list[int] = []
        """A heap: of the steps that may begin, the first of the plan comes first."""
        self._missing: list[int] = []
        missing, ready = self._missing.append, self.ready.append
        for i, step in enumerate(steps):
            if step.kind not in KINDS:
                raise Bad(f"step {step.id}: unknown kind {step.kind!r}")
            needs = step.needs
            missing(len(needs))
            if needs:
                self._wait(i, step.id, needs, index, behind)
            else:
                ready(i)
        for id, members in gates.items():
            missing(len(members))
            self._wait(behind[id], id, members, index, {})

    def _wait(
        self, i: int, id: str, needs: tuple[str, ...], index: Mapping[str, int], behind: Mapping[str, int]
    ) -> None:
        after = self._after
        for need in needs:
            n = index.get(need)
            if n is None:
                n = behind.get(need)
                if n is None:
                    raise Bad(f"step {id} needs {need}, which is not in the plan")
            known = after[n]
            if known is None:
                after[n] = i
            elif isinstance(known, int):
                after[n] = [known, i]
            else:
                known.append(i)

    def next(self) -> int | None:
        """Take the next step that may begin."""
        while self.ready:
            i = heappop(self.ready)
            if self.state[i] == WAIT:
                return i
        return None

    def again(self, i: int) -> None:
        """A failed step will be tried once more."""
        self.state[i] = WAIT
        heappush(self.ready, i)

    def settle(self, i: int) -> None:
        """Step i is done or given up: one need less for those after it."""
        self.left -= 1
        n = self._after[i]
        if isinstance(n, int) and n < len(self.state):  # in a chain, which most steps are part of
            self._missing[n] = left = self._missing[n] - 1
            if not left and self.state[n] == WAIT:
                heappush(self.ready, n)
        elif n is not None:
            self._release(n)

    def _release(self, after: int | list[int]) -> None:
        missing, state = self._missing, self.state
        for n in (after,) if isinstance(after, int) else after:
            missing[n] = left = missing[n] - 1
            if left:
                continue
            if n < len(state):
                if state[n] == WAIT:
                    heappush(self.ready, n)
            elif (behind := self._after[n]) is not None:
                self._release(behind)

    def _followers(self, n: int) -> Iterable[int]:
        after = self._after[n]
        return () if after is None else (after,) if isinstance(after, int) else after

    def restore(self, done: Iterable[str]) -> int:
        """Steps finished in an earlier life; returns how many of them are in the plan."""
        count = 0
        for id in done:
            i = self.index.get(id)
            if i is not None and self.state[i] == WAIT:
                self.state[i] = DONE
                self.settle(i)
                count += 1
        return count

    def doomed(self, i: int) -> list[int]:
        """Unsettled steps that make no sense without step i: the rest of its instance.

        A step of no instance (a fetch) takes the instances that need it directly with it.
        """
        if not self._by_instance:
            for n, step in enumerate(self.steps):
                if step.instance:
                    self._by_instance.setdefault(step.instance, []).append(n)
        instances: set[str] = set()
        single: set[int] = set()
        queue = [i]
        while queue:
            n = queue.pop()
            if n < len(self.steps) and self.steps[n].instance:
                instances.add(self.steps[n].instance)
            else:
                single.add(n)
                queue += [d for d in self._followers(n) if d not in single]
        fallen = single.union(*(self._by_instance[x] for x in instances))
        return sorted(
            n for n in fallen if n != i and n < len(self.steps) and self.state[n] in (WAIT, RUN)
        )
