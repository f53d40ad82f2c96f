"""A hand-driven executor: short words for events, the world as a list of commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from cockpit.act import messages as ex
from cockpit.act.executor import Executor
from cockpit.model.actual import Exit, Unit
from cockpit.model.states import State
from cockpit.plan.steps import Intent, Plan, Step

C = TypeVar("C", bound=ex.Message)


def unit(id: str, state: State, **more: Any) -> Unit:
    instance, _, gen = id.rpartition(":")
    run = 0 if state < State.STARTING else 1
    facts: dict[str, Any] = {"run": run, "wanted": state in (State.STARTING, State.RUNNING, State.FAILED)}
    return Unit(unit=id, instance=instance, gen=int(gen), state=state, **facts | more)


def failed(id: str, *, restarts: int = 0, next_start: float | None = None, **more: Any) -> Unit:
    run = restarts + 1
    end = Exit(run=run, code=1)
    return unit(id, State.FAILED, run=run, restarts=restarts, exit=end, next_start=next_start, **more)


def step(id: str, kind: str, who: str = "", *needs: str, host: str = "h1", **args: Any) -> Step:
    return Step(id=id, kind=kind, host=host, instance=who.rpartition(":")[0], unit=who, needs=needs, args=args)


def roll(n: int, *, host: str = "h1", gate: tuple[str, ...] = ()) -> list[Step]:
    """One instance `a.web/n`, start-first: prepare, start, healthy, drain, stop, remove."""
    new, old, p = f"a.web/{n}:2", f"a.web/{n}:1", f"i{n}"
    return [
        step(p + "p", "prepare", new, *gate, host=host, version="2"),
        step(p + "s", "start", new, p + "p", host=host),
        step(p + "h", "healthy", new, p + "s", host=host),
        step(p + "d", "drain", old, p + "h", host=host, timeout=10.0),
        step(p + "x", "stop", old, p + "d", host=host, signal="TERM", grace=10.0),
        step(p + "r", "remove", old, p + "x", host=host),
    ]


def make_plan(steps: list[Step], **more: Any) -> Plan:
    options: dict[str, Any] = {"deadline": 20.0} | more
    intent = Intent(verb="deploy", targets=("a.web",), author="li")
    return Plan(intent=intent, base=1, steps=tuple(steps), **options)


class Hand:
    """Feeds an executor; keeps every command it gave, and the state of every step."""

    def __init__(self, plan: Plan, units: Iterable[Unit] = (), **more: Any) -> None:
        self.now = 1000.0
        self.executor = Executor(plan, "#7", self.now, units={u.unit: u for u in units}, **more)
        self.all: list[ex.Command] = []
        self.last: list[ex.Command] = []
        self.state: dict[str, str] = {s.id: "waiting" for s in plan.steps}

    def feed(self, event: ex.Event, after: float = 0.0) -> list[ex.Command]:
        self.now += after
        self.last = self.executor.handle(event, self.now)
        self.all += self.last
        for command in self.of(ex.StepChanged):
            self.state[command.step] = command.state
        return self.last

    def go(self) -> list[ex.Command]:
        return self.feed(ex.Go())

    def seen(self, unit: Unit, after: float = 0.0, host: str = "h1") -> list[ex.Command]:
        return self.feed(ex.UnitSeen(unit, host), after)

    def answer(self, task: str, data: dict[str, Any] | None = None, after: float = 0.0) -> list[ex.Command]:
        return self.feed(ex.Answer(task, True, data or {}), after)

    def refuse(self, task: str, code: str, text: str = "") -> list[ex.Command]:
        return self.feed(ex.Answer(task, False, {}, code, text))

    def tick(self, after: float) -> list[ex.Command]:
        return self.feed(ex.Tick(), after)

    def of(self, kind: type[C]) -> list[C]:
        """Commands of one kind among the last ones."""
        return [c for c in self.last if isinstance(c, kind)]

    def sent(self) -> list[tuple[str, str]]:
        """(word, task) of the last sends."""
        return [(c.word, c.task) for c in self.of(ex.Send)]

    def finished(self) -> ex.Finished | None:
        found = [c for c in self.all if isinstance(c, ex.Finished)]
        assert len(found) <= 1
        return found[0] if found else None

    def until_started(self, n: int = 0) -> None:
        """Bring instance n to its health gate."""
        self.seen(unit(f"a.web/{n}:2", State.READY))
        self.seen(unit(f"a.web/{n}:2", State.STARTING, health="starting"))
