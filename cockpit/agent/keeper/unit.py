"""One unit: its spec, what the journal says happened to it, and its processes while they live."""

from __future__ import annotations

from . import policy
from .spec import gen_of, instance_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .notify import Notify
    from .run import Run

    Doc = dict[str, Any]

MAX_EXITS = 20
CHECKPOINT = (
    "state", "run", "restarts", "tries", "times", "ids", "boot", "started", "next_start", "exit", "exits",
    "altered", "ready", "status", "watchdog", "held", "begun",
)


class Unit:
    """Everything that happens to a unit is a journal line, and `apply` is what the line does to it:
    the same when it happens and when it is read again after a crash."""

    def __init__(self, spec: Doc, notify_name: str = "") -> None:
        self.spec = spec
        self.unit: str = spec["unit"]
        self.notify_name = notify_name
        self.wanted = False
        self.pinned = ""
        self.by = ""
        # while it lives
        self.live: Run | None = None
        self.due: float | None = None
        """Monotonic time of the next start."""
        self.cause = ""
        """Why it is started then, unless by the restart policy."""
        self.notify: Notify | None = None
        self.starting: list[Callable[[Doc], None]] = []
        """Who waits for the answer to a start."""
        self.stopping: list[Callable[[Doc], None]] = []
        self.reset()

    def reset(self) -> None:
        """Nothing has happened to it."""
        self.state = policy.READY
        self.run = 0
        self.restarts = 0
        self.tries = 0
        self.times: list[float] = []
        """Restarts by policy that count against `attempts`."""
        self.ids: dict[str, list[int]] = {}
        """Process -> [pid, start time], of the present run as long as it has not ended."""
        self.boot = ""
        """Boot id under which `ids` mean something."""
        self.begun = False
        """The present run's exec is known to have succeeded."""
        self.started: float | None = None
        self.next_start: float | None = None
        self.exit: Doc | None = None
        self.exits: list[Doc] = []
        self.altered = ""
        self.held = ""
        self.ready = False
        self.status = ""
        self.watchdog: float | None = None

    @property
    def instance(self) -> str:
        return instance_of(self.unit)

    def apply(self, doc: Doc) -> None:
        """What one journal line about this unit changes."""
        kind = doc.get("event") or doc.get("note")
        if kind == "fork":
            self.run = doc["run"]
            self.ids = {name: list(pair) for name, pair in doc["ids"].items()}
            self.boot = doc["boot"]
            self.begun = False
            self.altered = self.held = self.status = ""
            self.ready = False
            self.watchdog = None
        elif kind == "start":
            self.begun = True
            self.started = doc["at"]
            waits = self.spec["notify"] and not self.ready  # it may have been quicker than our look
            self.state = policy.STARTING if waits else policy.RUNNING
            self.next_start = None
            if doc.get("policy"):
                self.restarts += 1
                since = doc["at"] - self.spec["restart"]["window"]
                self.times = [*(t for t in self.times if t > since), doc["at"]]
        elif kind == "exit":
            record = doc["exit"]
            self.ids.pop(record["process"], None)
            self._ended(record, doc.get("cause", True))
            self.state = doc["state"]
            self.next_start = doc["next_start"]
            self.tries = doc["tries"]
        elif kind == "hold":
            self.state = policy.FAILED
            self.held = doc["reason"]
            self.next_start = None
        elif kind == "rejected":
            self.ids = {}
            self._ended(doc["exit"], True)
            self.state = policy.REJECTED
            self.altered = doc["altered"]
            self.next_start = None
        elif kind == "ready":
            self.ready = True
            if self.state == policy.STARTING:
                self.state = policy.RUNNING
        elif kind == "fresh":
            self.tries = 0
            self.times = []
            self.held = ""
            self.next_start = doc.get("next_start")
        elif kind == "removed":
            self.reset()
        elif kind == "unit":
            for key in CHECKPOINT:
                if key in doc["is"]:
                    setattr(self, key, doc["is"][key])

    def _ended(self, record: Doc, cause: bool) -> None:
        self.exits = [*self.exits[1 - MAX_EXITS :], record]
        if cause:
            self.exit = record

    def checkpoint(self) -> Doc:
        return {"note": "unit", "unit": self.unit, "is": {key: getattr(self, key) for key in CHECKPOINT}}

    def record(self, exits: int = MAX_EXITS) -> Doc:
        """RECORD of docs/protocols.md, with at most so many old exits."""
        return {
            "unit": self.unit,
            "instance": self.instance,
            "gen": gen_of(self.unit),
            "spec": self.spec,
            "wanted": self.wanted,
            "state": self.state,
            "run": self.run,
            "restarts": self.restarts,
            "pids": self.pids(),
            "started": self.started,
            "ready": self.ready,
            "watchdog": self.watchdog,
            "status": self.status,
            "next_start": self.next_start if self.wanted else None,
            "tries": self.tries,
            "held": self.held,
            "exit": self.exit,
            "exits": self.exits[-exits:] if exits else [],
            "pinned": self.pinned,
            "altered": self.altered,
        }

    def pids(self) -> dict[str, int]:
        return self.live.pids() if self.live is not None and self.begun else {}
