"""Drives executors on the real cluster: their commands go to the hub, observations come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.act import journal
from cockpit.act import messages as ex
from cockpit.act.executor import Executor
from cockpit.act.graph import Graph
from cockpit.act.progress import Eta, Readiness
from cockpit.act.score import score
from cockpit.act.seed import batched
from cockpit.controller.ledger import ActionRecord
from cockpit.link.hub import Answer
from cockpit.model import view
from cockpit.model.actual import Unit, serving_unit
from cockpit.model.rehearsal_rows import Forecast
from cockpit.model.topology import service_path
from cockpit.model.view import StepRow
from cockpit.plan.steps import FETCH, HEALTHY, Plan, Step
from cockpit.plan.unitspec import unit_spec
from cockpit.times import when

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

NAMES_LIMIT = 6.0
"""Seconds that hosts get to apply a change of names. Longer than a silent one stays suspect: then it is unknown, and
nobody waits for it."""
NAMES_LOOK = 0.1
FORECAST_LIMIT = 1.0
"""Seconds that the end of a very short action waits for its own forecast."""


class Running:
    """One action under way."""

    def __init__(self, record: ActionRecord, executor: Executor, ready: Readiness, eta: Eta) -> None:
        self.record = record
        self.ready = ready
        self.eta = eta
        self.forecast: asyncio.Future[Forecast | None] | None = None
        self.executor = executor
        self.steps = {s.id: s for s in record.plan.steps}
        self.receivers = sum(1 for s in record.plan.steps if s.kind == FETCH)
        self.wake: asyncio.TimerHandle | None = None
        self.names: list[tuple[int, float, str]] = []
        """(version, deadline, step) of drains that wait until names are applied; 0.0: that version is not out yet."""
        self.looking = False
        """They are looked at from time to time."""
        self.skipped: list[ex.StepChanged] = []
        """What never began when the action ended: it is written down with the end."""


_ZERO = time.time() - time.monotonic()


def steady() -> float:
    """Unix time as of when this process began, plus what has passed since: waits and deadlines of actions do not
    follow a wall clock that is set."""
    return _ZERO + time.monotonic()


class Runner:
    """All actions under way, by id."""

    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self.running: dict[str, Running] = {}
        self.ended: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: set[str] = set()
        """Actions whose steps are being written."""

    # life of an action

    def start(
        self, record: ActionRecord, *, done: frozenset[str] = frozenset(), graph: Graph | None = None
    ) -> None:
        """Begin (or go on with) an action whose intent is on disk. `graph`: that of its plan, where it is made."""
        world = self.c.world
        services = {service_path(s.instance) for s in record.plan.steps if s.instance}
        units = world.units_of(services)
        executor = Executor(
            record.plan, record.row.id, steady(), healthy_for=self._healthy_for(record.plan), done=done,
            attempts=record.attempts, units={u.unit: u for u, _ in units},
            hosts={h.name: h.presence for h in world.hosts.values()}, name=self.c.short, made=graph,
        )
        draining = {e.unit for e in world.registry.endpoints.values() if e.state == "draining"}
        mine = (u for u, _ in units)
        foretold = record.forecast
        eta = Eta(time.time(), record.plan.estimate)
        if foretold is not None and not done:
            eta.foretold(foretold.seconds, foretold.curve)
        running = Running(record, executor, Readiness(services, mine, draining, record.lowest), eta)
        if done:
            record.held = "it was interrupted"
        self.running[record.row.id] = running
        self.c.hint = ""
        self.ended.setdefault(record.row.id, asyncio.Event())
        self._busy()
        self.remark(record, f"goes on, by {record.row.author}" if done else f"started by {record.row.author}")
        asyncio.get_running_loop().call_soon(self._feed, running, ex.Go())  # its first steps are a piece of their own

    def interrupted(self) -> None:
        """After a restart: what was running then is shown, and waits for resume or undo."""
        for record in self.c.ledger.actions.values():
            if record.row.state == "returning":
                self.c.desk.go_on_returning(record)
            elif record.row.state in ("running", "paused"):
                record.row = msgspec.structs.replace(
                    record.row, state="interrupted", mark=view.PAUSED,
                    note="the controller ended meanwhile: resume it, or abort it with undo",
                )
            self.c.board.set_action(record.row)

    def control(self, id: str, event: ex.Event) -> None:
        self._feed(self.running[id], event)

    async def stop(self) -> None:
        for running in self.running.values():
            if running.wake is not None:
                running.wake.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # observations

    def unit_seen(self, unit: Unit, host: str) -> None:
        for running in list(self.running.values()):
            running.ready.seen(unit)
            self._feed(running, ex.UnitSeen(unit=unit, host=host))

    def unit_gone(self, unit_id: str) -> None:
        for running in list(self.running.values()):
            running.ready.gone(unit_id)
            self._feed(running, ex.UnitGone(unit=unit_id))

    def host_seen(self, host: str) -> None:
        known = self.c.world.hosts.get(host)
        presence = known.presence if known is not None else "unknown"
        agent, keeper = (known.agent_version, known.keeper_version) if known is not None else ("", "")
        for running in list(self.running.values()):
            self._feed(running, ex.HostSeen(host, presence, agent, keeper))

    def progress(self, task: str, data: dict[str, Any]) -> None:
        """How far a fetch is: shown in the step's note."""
        id, _, rest = task.partition("/")
        running = self.running.get(id)
        self.c.pushes.progress(task, data)
        if running is not None:
            self._feed(running, ex.Working(task, data))
        step = rest.partition("/")[0]
        if running is not None and step in running.record.steps and "bytes" in data:
            note = f"{int(data['bytes']) >> 10} of {int(data.get('size', 0)) >> 10} KiB"
            self._step(running, step, running.record.steps[step].state, note)

    def host_event(self, host: str, event: dict[str, Any]) -> None:
        """What somebody did on the host itself is journaled with the uid, and not reverted."""
        if event.get("event") == "ctl":
            self.c.ledger.note(journal.ctl(host, event))

    def names_applied(self) -> None:
        for running in list(self.running.values()):
            self._check_names(running)

    # feeding and commands

    def _feed(self, running: Running, event: ex.Event) -> None:
        if running.record.row.id not in self.running:
            return
        commands = running.executor.handle(event, steady())
        if commands and running.executor.over:  # perhaps thousands: `_finish` marks them
            running.skipped = [c for c in commands if isinstance(c, ex.StepChanged) and c.state == ex.SKIPPED]
            commands = [c for c in commands if not isinstance(c, ex.StepChanged) or c.state != ex.SKIPPED]
        row, registry = running.record.row, self.c.world.registry
        if drained := [c.unit for c in commands if isinstance(c, ex.SetDraining)]:
            registry.drain_all(drained, row.author, row.title, time.time())
        if cleared := [c.unit for c in commands if isinstance(c, ex.ClearDraining)]:
            registry.undrain_all(cleared, time.time())
        for command in commands:
            self._do(running, command)
        if drained:
            self._check_names(running)
            if not running.looking:
                running.looking = True
                self.spawn(self._names_deadline(running))
        states = {c.state for c in commands if isinstance(c, ex.StepChanged)}
        if states:
            self._counted(running, ex.DONE in states)

    def _do(self, running: Running, command: ex.Command) -> None:
        match command:
            case ex.Send():
                self._send(running, command)
            case ex.SetDraining(unit=unit, step=step):
                running.ready.drain(unit, True)  # `_feed` has told the registry already
                running.names.append((self.c.names.soon(), 0.0, step))
            case ex.ClearDraining(unit=unit):
                running.ready.drain(unit, False)
            case ex.WakeAt(at=at):
                self._wake(running, at)
            case ex.StepChanged():
                running.record.attempts[command.step] = command.attempt
                self._step(running, command.step, command.state, command.note)
                self._gate(running, command)
            case ex.Progress(note=note, gives_up=gives_up):
                self._row(running, note=note, gives_up=gives_up)
            case ex.Anchored():
                self._anchored(running, command)
            case ex.Remark(text=text):
                self.remark(running.record, text)
            case ex.Finished():
                self.spawn(self._finish(running, command))

    def _anchored(self, running: Running, command: ex.Anchored) -> None:
        """A pause, resume or abort took effect after `step`: that is where a replay does it too."""
        row = running.record.row
        self.c.ledger.note(
            journal.control(
                row.id, command.what, command.step, command.by, command.reason, undo=running.record.undo,
                at=running.steps.get(command.step),
            )
        )
        if command.what == ex.PAUSE:
            note = command.reason or f"paused by {command.by}"
            running.record.held = "it was paused"
            running.eta.hold(time.time())
            self._row(running, state="paused", note=note, gives_up=None, eta=None, mark=view.PAUSED)
            self.c.pushes.hold(row.id, True)
        elif command.what == ex.RESUME:
            running.eta.resume(time.time())
            self._row(
                running, state="running", note=f"resumed by {command.by}", eta=running.eta.at, mark=view.CHANGING
            )
            self.c.pushes.hold(row.id, False)
        else:
            if row.state == "paused":  # nobody is waited for any more: what was begun comes to its end
                self._row(running, state="running", note=f"aborted by {command.by}", mark=view.CHANGING)
            self.c.pushes.stop(row.id)

    def _gate(self, running: Running, command: ex.StepChanged) -> None:
        """The observations that decided a health gate are part of the record."""
        step = running.steps[command.step]
        if step.kind == HEALTHY and command.state in (ex.DONE, ex.FAILED):
            self.c.ledger.note(
                journal.gate(running.record.row.id, step, command.state, command.note, command.seen)
            )

    def _send(self, running: Running, command: ex.Send) -> None:
        """Fill in what only the controller knows, and send."""
        unit = command.step.unit
        args = command.args | ({"unit": unit} if unit else {})
        action, pushes = running.record.row.id, self.c.pushes
        if command.word == "warm":
            self.spawn(self._warm(running, command))
            return
        try:
            if command.word == "fetch":
                args = pushes.args(
                    action, command.task, command.host, args["name"], args["version"], running.receivers
                )
            elif command.word == "prepare":
                args = {"spec": self._spec(command.step)}
            elif command.word == "activate":
                args["sha256"] = self._record(f"{args['artifact']}/{args['version']}")["sha256"]
        except KeyError as e:
            answer = Answer(command.task, False, {}, "missing", f"not known any more: {e}")
            asyncio.get_running_loop().call_soon(self._answered, running, answer)
            return
        future = self.c.hub.begin(command.task, command.host, command.word, args)
        future.add_done_callback(lambda f: self._done(running, f))

    def _done(self, running: Running, future: asyncio.Future[Answer]) -> None:
        if future.cancelled() or future.exception() is not None:
            return  # no answer: the executor sends it again when the host is back
        self._answered(running, future.result())

    def _answered(self, running: Running, answer: Answer) -> None:
        self.c.pushes.answered(answer)
        self._feed(
            running,
            ex.Answer(
                task=answer.task, ok=answer.ok, data=answer.data, code=answer.code, text=answer.text
            ),
        )

    async def _warm(self, running: Running, command: ex.Send) -> None:
        args = command.args
        answer = await self.c.pushes.warm(
            running.record.row.id, command.task, command.host, str(args["name"]), str(args["version"])
        )
        self._answered(running, answer)

    def _spec(self, step: Step) -> dict[str, Any]:
        expected = self.c.world.expected
        service = expected.service_of(step.instance)
        version = str(step.args.get("version", service.version))
        artifact = None
        if service.artifact:
            record = self._record(f"{service.artifact}/{version}")
            artifact = {k: record[k] for k in ("name", "version", "sha256", "size")}
        data = {name: self._record(id) for name, id in step.args.get("data", {}).items()}
        gen = int(step.unit.rpartition(":")[2])
        return unit_spec(expected, step.instance, gen, artifact, data)

    def _record(self, id: str) -> Mapping[str, Any]:
        """Of `name/version`. Raises KeyError when the store has it no more."""
        record = self.c.catalog.records.get(id)
        if record is None:
            raise KeyError(f"artifact {id}")
        return record

    def _check_names(self, running: Running) -> None:
        """Drains whose names every host has. One that fell silent a moment ago may still send traffic by the old
        ones: it is waited for until it is back, or unknown."""
        while (found := self._names_set(running)) is not None:
            self._feed(running, found)

    def _names_set(self, running: Running) -> ex.NamesSet | None:
        now, behind = steady(), False
        for n, (version, deadline, step) in enumerate(running.names):
            if not deadline and self.c.names.out(version):
                running.names[n] = (version, deadline := now + NAMES_LIMIT, step)
            behind = behind or not self.c.names.applied(version)  # later drains wait for later versions
            if deadline and (not behind or now >= deadline):
                del running.names[n]
                return ex.NamesSet(version=version, step=step)
        return None

    async def _names_deadline(self, running: Running) -> None:
        """Looks again until nothing waits: also for names that a new controller still holds back."""
        while running.names and running.record.row.id in self.running:
            await asyncio.sleep(NAMES_LOOK)
            self._check_names(running)
        running.looking = False

    def _wake(self, running: Running, at: float) -> None:
        if running.wake is not None:
            running.wake.cancel()
        delay = max(0.0, at - steady())
        running.wake = asyncio.get_running_loop().call_later(delay, self._feed, running, ex.Tick())

    # rows, records, ends

    def _step(self, running: Running, step: str, state: str, note: str) -> None:
        record = running.record
        record.steps[step] = _moved(record.steps[step], state, note, time.time())
        self.c.ledger.moved(record.row.id, step)
        if state in ("done", "failed"):
            self._keep_soon(record)

    def _counted(self, running: Running, done: bool) -> None:
        """Some steps are others now, once for all of them; `done`: some of them are done."""
        row, count = running.record.row, running.executor.done_count
        eta = running.eta.moved(count, row.total, time.time()) if done else running.eta.at
        self._row(running, done=count, eta=eta if row.state == "running" else None)

    def _keep_soon(self, record: ActionRecord) -> None:
        """What ends while others are being written goes with the next ones."""
        if record.row.id not in self._keeping:
            self._keeping.add(record.row.id)
            self.spawn(self._keep(record))

    async def _keep(self, record: ActionRecord) -> None:
        try:
            while self.c.ledger.unkept(record.row.id):
                await self.c.ledger.commit(self.c.ledger.kept(record))
        finally:
            self._keeping.discard(record.row.id)

    def _row(self, running: Running, **facts: Any) -> None:
        record = running.record
        record.row = msgspec.structs.replace(record.row, **facts)
        self.c.board.set_action(record.row)

    def remark(self, record: ActionRecord, text: str) -> None:
        """A sentence for the action's log; one that only grew (now with the last log line) replaces itself."""
        last = record.log[-1].partition("  ")[2] if record.log else ""
        if last and text.startswith(last):
            record.log.pop()
        stamp = when(time.time(), record.row.started)  # with the day, where it is not the one it began on
        record.log.append(f"{stamp}  {text}")
        del record.log[:-1000]

    def foretold(self, id: str, coming: asyncio.Future[Forecast | None] | None) -> None:
        """The forecast of an action that has begun is being made."""
        running = self.running.get(id)
        if running is not None and coming is not None:
            running.forecast = coming
            self.spawn(self._take_forecast(running, coming))

    async def _take_forecast(self, running: Running, coming: asyncio.Future[Forecast | None]) -> None:
        """A forecast that cannot be made harms no action."""
        try:
            forecast = await asyncio.shield(coming)
        except Exception as e:
            self.remark(running.record, f"how long it takes could not be foretold: {type(e).__name__}")
            return
        if forecast is not None:
            running.record.forecast = forecast
            if running.record.row.id in self.running and running.record.row.state == "running":
                running.eta.foretold(forecast.seconds, forecast.curve)
                self._row(running, eta=running.eta.at)

    def judge(self, record: ActionRecord, outcome: str, seconds: float) -> None:
        """The score of an action that ends, where something was foretold."""
        running = self.running.get(record.row.id)
        if running is not None:
            record.lowest = running.ready.lowest
        if record.forecast is not None:
            record.score = score(
                record.forecast, record.steps.values(), outcome, seconds, record.lowest, record.held
            )

    async def _finish(self, running: Running, end: ex.Finished) -> None:
        record, now = running.record, time.time()
        if running.forecast is not None and not running.forecast.done():
            await asyncio.wait([running.forecast], timeout=FORECAST_LIMIT)
            await asyncio.sleep(0)  # it is taken over now
            running.forecast.cancel()  # nobody can use it any more; nothing, when it is there
        if end.reason:
            self.remark(record, end.reason)
        if running.wake is not None:
            running.wake.cancel()
        skipped = await _skipped(running)
        await self.c.desk.close(record, end.outcome, end.reason, now, skipped, end.failed_instance)
        self.running.pop(record.row.id, None)
        self.c.pushes.over(record.row.id)
        self._busy()
        await self.c.desk.follow_up(record, end.outcome, end.reason)
        self.ended[record.row.id].set()

    def _busy(self) -> None:
        busy: dict[str, str] = {}
        for id, running in self.running.items():
            for lock in running.record.plan.locks:
                busy[lock] = id
        self.c.board.touch(busy)

    def _healthy_for(self, plan: Plan) -> dict[str, float]:
        services = self.c.world.expected.services
        return {p: s.update.healthy_for for p, s in services.items()}

    async def tail(self, instance: str, lines: int) -> tuple[str, ...]:
        """The last log lines of an instance; empty when its host does not answer."""
        unit = serving_unit(tuple(self.c.world.units.get(instance, {}).values()))
        if unit is None:
            return ()
        host = self.c.world.where[unit.unit]
        task = f"tail-{unit.unit}-{time.monotonic_ns()}"
        try:
            answer = await self.c.hub.command(
                host, "tail", {"unit": unit.unit, "lines": lines}, task=task, timeout=3
            )
        except (ConnectionError, TimeoutError):
            return ()
        return tuple(str(line) for line in answer.data.get("lines", ())) if answer.ok else ()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self.c.watched)


def _moved(row: StepRow, state: str, note: str, now: float) -> StepRow:
    return msgspec.structs.replace(
        row, state=state, note=note, started=row.started or (now if state == "running" else None),
        ended=now if state in ("done", "failed", "skipped") else None,
    )


async def _skipped(running: Running) -> dict[str, StepRow]:
    """The steps that never began, as they are when it has ended; others have their turn while they are made."""
    record, now = running.record, time.time()
    rows: dict[str, StepRow] = {}
    for some in batched(running.skipped):
        for c in some:
            rows[c.step] = _moved(record.steps[c.step], c.state, c.note, now)
            record.attempts[c.step] = c.attempt
        await asyncio.sleep(0)
    return rows
