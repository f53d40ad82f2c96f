"""How units live: started, watched, stopped, started again. No decision is taken anywhere else.

Every event only leads to `settle`, which looks at the unit as it is and takes the next step.
"""

from __future__ import annotations

import os
import time

from . import cores, launch, policy
from . import run as runs
from .journal import Journal
from .loop import HUP, IN, Loop
from .proc import environment, peak_rss, stat
from .run import ENDING, LAUNCHING, UP, Proc, Run
from .spec import flat, signal_number
from .wire import Reject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .store import Store
    from .unit import Unit

    Doc = dict[str, Any]

KILL = 9
CONT = 18
LAUNCH_TIME = 20.0
"""Seconds that a fork may need to reach its program (a dead network file system)."""
STATUS_TIME = 2.0
"""Seconds that the status of an adopted process's end is waited for."""
SAMPLE = 5.0
MARGIN = 1024


class Lives:
    def __init__(self, store: Store, journal: Journal, loop: Loop, host: launch.Host, boot: str) -> None:
        self.store = store
        self.journal = journal
        self.loop = loop
        self.host = host
        self.boot = boot
        self.units: dict[str, Unit] = {}
        self.known: dict[int, tuple[Unit, Proc]] = {}
        """Main processes by pid."""
        self.closing = False
        """The keeper is about to end: nothing is started again."""
        self._sample_at = 0.0

    # starting

    def start(self, unit: Unit, by: str, again: bool = False) -> None:
        """Forks the unit's processes. The outcome comes by `settle`; `again`: by the restart policy."""
        unit.due, unit.cause = None, ""
        number = unit.run + 1
        try:
            self._check_guard(unit)
            images = self._images(unit, number)
        except Reject as e:
            self._refuse(unit, unit.run, unit.spec["processes"][0]["name"], e.code, e.text, again)
            return
        floor = peak_rss(os.getpid()) + MARGIN
        procs: list[Proc] = []
        name = ""
        try:
            for name, image in images:
                procs.append(Proc(name, *self._spawn(unit, number, name, image), floor))
        except OSError as e:
            for p in procs:  # they were not given the word: they end by themselves
                p.handle.close()
                if p.child is not None:
                    p.child.close()
            text = f"fork: {launch.errname(e)} {e.filename or ''}".strip()
            self._refuse(unit, unit.run, name, "exec", text, again)
            return
        run = unit.live = Run(unit.unit, number, procs, by, again)
        run.deadline = time.monotonic() + LAUNCH_TIME
        ids = {p.name: [p.pid, p.handle.start] for p in procs}
        self._note(unit, {"note": "fork", "unit": unit.unit, "run": number, "ids": ids, "boot": self.boot})
        self.journal.write()
        for p in procs:
            self.known[p.pid] = (unit, p)
            if p.child is not None:
                p.child.go()
                self.loop.add(p.child.fd, lambda events: self.settle(unit), IN)

    def _check_guard(self, unit: Unit) -> None:
        for path, *wanted in unit.spec["guard"]:
            try:
                s = os.stat(path)
            except OSError:
                raise Reject("altered", f"altered: {path}") from None
            if [s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] != wanted:
                raise Reject("altered", f"altered: {path}")

    def _images(self, unit: Unit, number: int) -> list[tuple[str, launch.Image]]:
        spec = unit.spec
        secrets = launch.read_secrets(spec["secrets"])
        if spec["notify"]:
            secrets["NOTIFY_SOCKET"] = unit.notify_name
        images = []
        for process in spec["processes"]:
            name = process["name"]
            env = process["env"] | secrets | environment(unit.unit, number, name, self.store.id)
            images.append((name, launch.Image(
                process["argv"], env, process["cwd"], uid=spec["uid"], gid=spec["gid"],
                groups=spec["groups"], limits=spec["limits"],
            )))
        return images

    def _spawn(self, unit: Unit, number: int, name: str, image: launch.Image) -> tuple[Any, launch.Child]:
        out = err = -1
        try:
            directory = self.store.log_dir(unit)
            out = launch.open_log(directory, f"{number}.{name}.out")
            err = launch.open_log(directory, f"{number}.{name}.err")
            child = launch.spawn(image, out, err, self.host)
            return child.handle, child
        finally:
            for fd in (out, err):
                if fd >= 0:
                    os.close(fd)

    def _refuse(self, unit: Unit, number: int, process: str, code: str, text: str, again: bool) -> None:
        """A start that came to nothing. What may pass by itself is tried again under the policy."""
        now = time.time()
        record = {
            "run": number, "process": process, "code": None, "signal": None, "core": None, "reason": text,
            "started": now, "ended": now, "peak_rss": 0,
        }
        if again and unit.wanted and launch.transient(text):
            self._decide(unit, record, clean=False, lived=0.0)
        else:
            altered = text.partition(": ")[2] if code == "altered" else ""
            self._event(unit, "rejected", run=number, reason=text, altered=altered, exit=record)
        self._answer_start(unit, {"ok": False, "code": code, "text": text})

    # looking

    def settle(self, unit: Unit) -> None:
        """Takes the next step of a unit, if there is one to take now."""
        run = unit.live
        if run is None:
            return
        if run.phase == LAUNCHING:
            self._settle_launch(unit, run)
        if run.phase == UP:
            for p in run.procs.values():
                if p.ended is not None and p.name not in run.reported:
                    self._report(unit, run, p)
                    self._end(run, unit.spec["stop"]["signal"], unit.spec["stop"]["grace"])
        if run.phase == ENDING:
            self._settle_end(unit, run)

    def _settle_launch(self, unit: Unit, run: Run) -> None:
        late = run.deadline is not None and time.monotonic() >= run.deadline
        waiting = False
        for p in run.procs.values():
            if p.child is None:
                continue
            fd = p.child.fd
            if not p.child.look():
                waiting = True
                continue
            if fd >= 0:
                self.loop.drop(fd)
            if p.child.error and not run.error:
                run.error, run.failed = p.child.error, p.name
        if waiting and late:
            run.error, run.failed = "exec: ETIMEDOUT", next(iter(run.procs))
        if run.error:
            run.cause = "rejected"
            self._end(run, "KILL", 0.0)
        elif not waiting:
            run.phase = UP
            run.deadline = None
            pids = {p.name: p.pid for p in run.procs.values()}
            self._event(unit, "start", run=run.number, pids=pids, by=run.by, policy=run.policy)
            self._answer_start(unit, {"pid": next(iter(pids.values())), "pids": pids, "run": run.number})

    def _report(self, unit: Unit, run: Run, p: Proc) -> None:
        """The exit record of one process, and, for the first one that ends by itself, what follows."""
        run.reported.add(p.name)
        code = number = core = None
        if p.status is not None:
            if os.WIFSIGNALED(p.status):
                number = os.WTERMSIG(p.status)
            else:
                code = os.WEXITSTATUS(p.status)
            if number is not None and os.WCOREDUMP(p.status):
                core = self._keep_core(unit, run, p, number)
        started = unit.started or 0.0
        ended = p.ended or time.time()
        record: Doc = {
            "run": run.number, "process": p.name, "code": code, "signal": number, "core": core,
            "reason": "", "started": started, "ended": round(ended, 6), "peak_rss": p.peak_rss(),
        }
        if run.cause in ("stopped", "ended"):
            record["reason"] = run.cause + (f": killed after {run.grace:g} s" if run.killed else "")
            state = unit.state if run.living() else max(unit.state, policy.SHUTDOWN)
            self._exit(unit, record, state=state, next_start=None, tries=0)
        elif run.cause == "peer":
            record["reason"] = f"{run.failed} ended"
            self._exit(unit, record, unit.state, unit.next_start, unit.tries, cause=False)
        else:
            run.cause, run.failed = "peer", p.name
            self._decide(unit, record, clean=code == 0, lived=ended - started)

    def _decide(self, unit: Unit, record: Doc, clean: bool, lived: float) -> None:
        d = policy.after_exit(
            unit.spec["restart"], clean=clean, lived=lived, tries=unit.tries, times=unit.times,
            now=record["ended"],
        )
        # one that is not wanted (any more) is not started again
        next_start = d.next_start if unit.wanted else None
        self._exit(unit, record, d.state, next_start, d.tries)
        if d.held:
            self._event(unit, "hold", run=record["run"], reason=d.held)
        self.plan(unit)

    def plan(self, unit: Unit) -> None:
        """Turns the wall clock's `next_start` into a time of this boot."""
        unit.due = None
        if unit.next_start is not None and unit.wanted:
            wait = min(unit.next_start - time.time(), unit.spec["restart"]["max_delay"])
            unit.due = time.monotonic() + max(0.0, wait)

    def _keep_core(self, unit: Unit, run: Run, p: Proc, number: int) -> str | None:
        process = next(q for q in unit.spec["processes"] if q["name"] == p.name)
        label = str(run.number) if len(run.procs) == 1 else f"{run.number}.{p.name}"
        uid = unit.spec["uid"]
        return cores.keep(
            self.store.core_dir(unit), flat(unit.unit), label, cwd=process["cwd"], pid=p.pid, number=number,
            started=unit.started or 0.0, uid=os.geteuid() if uid is None else uid,
        )

    # ending

    def stop(self, unit: Unit, signal: object, grace: float, cause: str = "stopped") -> None:
        """Ends the run on demand. A second call may shorten the grace."""
        run = unit.live
        unit.due = None
        unit.next_start = None
        if run is None:
            self._answer_stop(unit)
            return
        if run.cause != "rejected":
            run.cause = cause
        if run.phase == ENDING:
            run.kill_at = min(run.kill_at, time.monotonic() + grace)
            run.grace = min(run.grace, grace)
        else:
            text = f"{unit.unit}: stopped while starting"
            self._answer_start(unit, {"ok": False, "code": "busy", "text": text})
            self._end(run, signal, grace)
        self._settle_end(unit, run)

    def signal(self, unit: Unit, number: int, name: str = "", every: bool = False, ending: bool = False) -> Doc:
        """Signals the processes of a run that is up (`ending`: or that was told to end), or the one of this name,
        with `every` also what they started. Returns {pids: by name, others: pids}."""
        run = unit.live
        if run is None or run.phase != UP and not (ending and run.phase == ENDING):
            return {"pids": {}, "others": []}
        told = [p for p in run.living() if name in ("", p.name) and p.handle.alive()]
        # looked for before their parents end: what is left then may not be told from others
        others = runs.leftovers(run, self.store.id, set(self.known)) if every else {}
        for p in told:
            p.handle.send(number)
        return {"pids": {p.name: p.pid for p in told}, "others": runs.signal_each(others, number)}

    def _end(self, run: Run, signal: object, grace: float) -> None:
        """Tells everything of the run to end, and sets the time after which it is killed."""
        if run.phase == ENDING:
            return
        run.phase = ENDING
        run.number_sent = signal_number(signal)
        run.grace = grace
        run.kill_at = time.monotonic() + grace
        for p in run.living():
            p.sample()
            if p.child is not None:
                p.child.close_on(self.loop)
            p.handle.send(run.number_sent)
            p.handle.send(CONT)  # a stopped one would not notice

    def _settle_end(self, unit: Unit, run: Run) -> None:
        now = time.monotonic()
        for p in run.procs.values():
            if p.ended is not None and p.name not in run.reported and run.cause != "rejected":
                self._report(unit, run, p)
        living = run.living()
        # while main processes live, others are looked for when the signal is sent and when patience ends
        impatient = now >= run.kill_at
        if living and run.searched and not impatient:
            run.deadline = run.kill_at
            return
        others = runs.leftovers(run, self.store.id, set(self.known))
        run.searched = True
        if not living and not others:
            self._over(unit, run)
            return
        if impatient:
            run.killed = run.killed or bool(living)
            for p in living:
                p.handle.send(KILL)
        runs.signal_others(run, others, KILL if impatient else run.number_sent, again=impatient)
        run.pause = min(0.25, run.pause * 1.5)
        run.deadline = min(now + run.pause, run.kill_at) if not impatient else now + run.pause

    def _over(self, unit: Unit, run: Run) -> None:
        """Nothing of the run is left."""
        unit.live = None
        for p in run.procs.values():
            self.known.pop(p.pid, None)
            if p.handle.fd is not None:
                self.loop.drop(p.handle.fd)
            if p.child is not None:
                p.child.close_on(self.loop)
        run.close()
        if run.cause == "rejected":
            self._refuse(unit, run.number, run.failed, "exec", run.error, run.policy)
        self._answer_stop(unit)
        if unit.due is not None and unit.due <= time.monotonic():
            self.again(unit)

    def again(self, unit: Unit) -> None:
        """The restart that the policy decided on."""
        unit.due = None
        if unit.wanted and unit.live is None and not self.closing:
            self.start(unit, unit.cause or "policy", again=not unit.cause)

    def _answer_start(self, unit: Unit, doc: Doc) -> None:
        waiting, unit.starting = unit.starting, []
        for answer in waiting:
            answer(doc)

    def _answer_stop(self, unit: Unit) -> None:
        waiting, unit.stopping = unit.stopping, []
        for answer in waiting:
            answer({"exit": unit.exit, "state": unit.state})

    # what comes from outside

    def reaped(self, pid: int, status: int, maxrss: int) -> Unit | None:
        """A child of ours has ended. None: it is no main process."""
        found = self.known.get(pid)
        if found is None or not found[1].native:
            return None
        unit, p = found
        p.status, p.ended, p.rusage = status, time.time(), maxrss
        return unit

    def watch(self, unit: Unit, p: Proc) -> None:
        """Looks after an adopted process."""
        self.known[p.pid] = (unit, p)
        if p.handle.fd is not None:
            self.loop.add(p.handle.fd, lambda events: self.ended(unit, p), IN)

    def ended(self, unit: Unit, p: Proc) -> None:
        """An adopted process has ended: learns how, as far as the kernel tells."""
        if p.ended is not None or not p.handle.ended():
            return
        now = time.monotonic()
        p.status = p.handle.status()
        seen = stat(p.pid)
        zombie = seen is not None and seen.start == p.handle.start
        if p.status is None and zombie and now < (p.wait_until or now + STATUS_TIME):
            # its parent has not looked yet; when it has, the pidfd tells
            if p.wait_until is None:
                p.wait_until = now + STATUS_TIME
                if p.handle.fd is not None:
                    self.loop.change(p.handle.fd, HUP)
            return
        p.ended = time.time()
        if p.handle.fd is not None:
            self.loop.drop(p.handle.fd)
        self.settle(unit)

    def tick(self, now: float) -> None:
        """Whatever is due."""
        for unit in list(self.units.values()):
            run = unit.live
            if run is not None:
                for p in run.living():
                    if not p.native and (p.handle.fd is None or (p.wait_until or now + 1) <= now):
                        self.ended(unit, p)
                if run.deadline is not None and run.deadline <= now:
                    self.settle(unit)
            elif unit.due is not None and unit.due <= now:
                self.again(unit)
        if now >= self._sample_at:
            self._sample_at = now + SAMPLE
            for _, p in self.known.values():
                p.sample()

    def look_again(self) -> None:
        """An orphan was reaped: perhaps it was the last one that a stop waits for."""
        for unit in list(self.units.values()):
            if unit.live is not None and unit.live.phase == ENDING and not unit.live.living():
                self.settle(unit)

    def next_deadline(self) -> float | None:
        """Monotonic time of the next `tick`."""
        times = [self._sample_at] if self.known else []
        for unit in self.units.values():
            run = unit.live
            if run is None:
                if unit.due is not None:
                    times.append(unit.due)
                continue
            if run.deadline is not None:
                times.append(run.deadline)
            for p in run.living():
                if not p.native and p.handle.fd is None:
                    times.append(time.monotonic() + 0.5)  # without pidfds: look now and then
                elif p.wait_until is not None:
                    times.append(p.wait_until)
        return min(times) if times else None

    # writing down

    def _event(self, unit: Unit, kind: str, **fields: object) -> None:
        unit.apply(self.journal.event(kind, unit=unit.unit, **fields))

    def _exit(
        self, unit: Unit, record: Doc, state: int, next_start: float | None, tries: int, cause: bool = True
    ) -> None:
        self._event(
            unit, "exit", run=record["run"], exit=record, state=state, next_start=next_start, tries=tries,
            cause=cause,
        )

    def _note(self, unit: Unit, doc: Doc) -> None:
        self.journal.note(doc)
        unit.apply(doc)
