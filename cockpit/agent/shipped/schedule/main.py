"""Runs the schedules of the topology on this host, in its local time.

Tells {"schedules": {name: {"next","running","wrong"}}, "ends": [{"schedule","planned","started","ended","code",
"signal","why","missed","last"}]}: an end when it comes, and the last of each schedule with every connection. What was
missed while nobody looked (the agent was down, the host asleep) is run once, late; `missed` counts the others.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Dict, Optional

from .cron import BadCron, Cron, Wall, next_after, parse

if TYPE_CHECKING:
    from cockpit.agent.plugins.commands import Lines, Running
    from cockpit.agent.plugins.inside import Host

LOOK = 30.0
"""Longest time between two looks at the clock: it may have been set."""
KEPT = 20
LAST_LINES, LAST_WIDTH = 20, 300
MAX_MISSED = 1000
BACK = 86400.0
"""A clock that was set back by more begins anew."""
TOLD_AT_ONCE = 40
"""Ends in one message."""


def local(moment: int) -> Wall:
    t = time.localtime(moment)
    return Wall(t.tm_year, t.tm_mon, t.tm_mday, t.tm_hour, t.tm_min, (t.tm_wday + 1) % 7, t.tm_gmtoff)


class Job:
    def __init__(self, name: str, state: Dict[str, Any]) -> None:
        self.name = name
        self.spec: Dict[str, Any] = {}
        self.cron: Optional[Cron] = None
        self.wrong = ""
        self.checked = float(state.get("checked") or 0.0)
        """Every moment up to here was seen to."""
        self.text = str(state.get("cron") or "")
        self.ends: Deque[Dict[str, Any]] = deque(state.get("ends") or (), maxlen=KEPT)
        self.running: "Dict[float, Optional[Running]]" = {}
        for began, pid in state.get("running") or ():
            if os.path.isdir(f"/proc/{pid}"):
                continue  # an earlier version finishes it, and tells
            self.ends.append({
                "schedule": name, "planned": None, "started": began, "ended": None, "code": None, "signal": None,
                "why": "unknown: the agent ended meanwhile", "missed": 0, "last": [],
            })  # fmt: skip
        self.next: Optional[int] = None

    def take(self, spec: Dict[str, Any], now: float) -> None:
        """Another cron text begins anew: what it would have meant earlier was not missed."""
        if spec == self.spec:
            return
        self.spec = spec
        text = str(spec.get("cron", ""))
        try:
            self.cron, self.wrong = parse(text), ""
        except BadCron as e:
            self.cron, self.wrong = None, str(e)
        if text != self.text or not self.checked:
            self.text, self.checked = text, now
        self.plan()

    def plan(self) -> None:
        self.next = next_after(self.cron, self.checked, local) if self.cron is not None else None

    def state(self) -> Dict[str, Any]:
        return {
            "checked": self.checked, "cron": self.text, "ends": list(self.ends),
            "running": [[began, os.getpid()] for began in self.running],
        }


class Schedule:
    def __init__(self, host: "Host") -> None:
        self._host = host
        self._path = os.path.join(host.data, "schedules.json")
        self._jobs: Dict[str, Job] = {}
        self._kept: Dict[str, Any] = {}
        self._serving = False
        self._lock = threading.RLock()
        self._looks = 0

    def begin(self) -> None:
        """Nobody else runs the schedules of this host."""
        self._kept, self._serving = _read(self._path), True
        self.settings()

    def finish(self) -> None:
        """Another process begins what is due from now on; what runs here ends here."""
        self._save()
        self._serving = False
        self._host.leave()

    def settings(self) -> None:
        if not self._serving:
            return
        wanted = self._host.settings.get("schedules") or {}
        now = time.time()
        with self._lock:
            for name in [n for n in self._jobs if n not in wanted]:
                self._kept[name] = self._jobs.pop(name).state() | {"checked": 0.0}
            for name, spec in wanted.items():
                if name not in self._jobs:
                    self._jobs[name] = Job(name, self._kept.get(name) or {})
                self._jobs[name].take(spec, now)
        self._save()
        self.connected()
        self.look()

    def connected(self) -> None:
        """Everything that is known, again."""
        with self._lock:
            ends = [end for job in self._jobs.values() for end in job.ends]
        self._host.tell({"schedules": self._rows(), "ends": ends[:TOLD_AT_ONCE]})
        for at in range(TOLD_AT_ONCE, len(ends), TOLD_AT_ONCE):
            self._host.tell({"ends": ends[at : at + TOLD_AT_ONCE]})

    def look(self) -> None:
        """Begin what is due, and look again when the next one is."""
        self._looks += 1
        if not self._serving:
            return
        now = time.time()
        with self._lock:
            for job in self._jobs.values():
                if now < job.checked - BACK:
                    job.checked = now
                    job.plan()
                if job.next is not None and job.next <= now and job.cron is not None:
                    self._due(job, now)
            first = min((j.next for j in self._jobs.values() if j.next is not None), default=now + LOOK)
        number = self._looks
        self._host.at(min(LOOK, max(0.01, first - time.time())), lambda: self._again(number))

    def _again(self, number: int) -> None:
        if number == self._looks:
            self.look()

    def _due(self, job: Job, now: float) -> None:
        assert job.next is not None and job.cron is not None
        planned, missed = job.next, 0
        later = next_after(job.cron, planned, local)
        while later is not None and later <= now and missed < MAX_MISSED:
            planned, missed = later, missed + 1
            later = next_after(job.cron, planned, local)
        job.checked = max(now, float(planned))
        job.plan()
        if job.running and job.spec.get("overlap") != "allow":
            self._end(job, {"planned": planned, "started": now, "ended": now, "missed": missed,
                            "why": "skipped: the one before still runs"})  # fmt: skip
            return
        job.running[now] = None
        self._save()
        threading.Thread(target=self._run, args=(job, dict(job.spec), planned, now, missed), daemon=True).start()
        self._host.tell({"schedules": self._rows()})

    def _run(self, job: Job, spec: Dict[str, Any], planned: int, began: float, missed: int) -> None:
        last: Deque[str] = deque(maxlen=LAST_LINES)
        end: Dict[str, Any] = {"planned": planned, "started": began, "missed": missed}

        def told(lines: "Lines") -> None:
            last.extend(text[:LAST_WIDTH] for _, text in lines)

        def started(running: "Running") -> None:
            job.running[began] = running

        try:
            result = self._host.commands().run(
                [str(a) for a in spec.get("argv") or ()], timeout=float(spec.get("timeout") or 60.0),
                user=str(spec.get("user") or ""), told=told, started=started,
            )
            end.update(code=result["code"], signal=result["signal"], why=result["why"])
        except Exception as e:
            end["why"] = str(e) or type(e).__name__
        end.update(ended=time.time(), last=list(last))
        with self._lock:
            job.running.pop(began, None)
            self._end(job, end)

    def _end(self, job: Job, end: Dict[str, Any]) -> None:
        whole = {"schedule": job.name, "code": None, "signal": None, "why": "", "last": [], **end}
        job.ends.append(whole)
        self._save()
        self._host.tell({"schedules": self._rows(), "ends": [whole]})

    def _rows(self) -> Dict[str, Any]:
        return {
            name: {"next": job.next, "running": len(job.running), "wrong": job.wrong}
            for name, job in self._jobs.items()
        }

    def busy(self) -> bool:
        return any(job.running for job in self._jobs.values())

    def _save(self) -> None:
        if not self._serving:
            return
        with self._lock:
            doc = {**self._kept, **{name: job.state() for name, job in self._jobs.items()}}
            new = f"{self._path}.new"
            try:
                with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
                    json.dump(doc, f)
                    f.flush()
                    os.fsync(f.fileno())
                os.replace(new, self._path)
            except OSError as e:
                self._host.log(f"{self._path}: {e.strerror}")


def _read(path: str) -> Dict[str, Any]:
    try:
        with open(path) as f:
            doc = json.load(f)
    except (OSError, ValueError):
        return {}
    return doc if isinstance(doc, dict) else {}


def start(host: "Host") -> None:
    work = Schedule(host)
    host.commands()
    host.on("settings", work.settings)
    host.on("connected", work.connected)
    host.busy_while(work.busy)
    host.on("finish", work.finish)
    host.at(0.0, lambda: host.alone(work.begin))
