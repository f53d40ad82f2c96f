"""What a rehearsal foretells, and the score of a live run against it. Times are seconds from the start."""

from __future__ import annotations

import msgspec


class Plain(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base: data without cycles."""


class Fault(Plain, frozen=True, kw_only=True):
    """What goes wrong in a rehearsal: one of both is given."""

    step: str = ""
    """Id of a step that fails (a health step: its unit never gets healthy)."""
    host: str = ""
    """A host that falls silent when it is first asked for something."""


class Part(Plain, frozen=True, kw_only=True):
    """One step on the timeline."""

    step: str
    kind: str
    begin: float
    end: float
    state: str = "done"
    """done, failed, skipped or running (it had no end)."""


class Bar(Plain, frozen=True, kw_only=True):
    """The steps of one instance, or of one push, as a line of the timeline."""

    name: str
    """Instance id, or `push web-1.1.0`."""
    host: str
    batch: int = 0
    back: bool = False
    """Of the automatic return."""
    parts: tuple[Part, ...] = ()


class Batch(Plain, frozen=True, kw_only=True):
    service: str
    number: int
    instances: int
    begin: float | None
    """None: it never begins."""
    end: float | None = None
    back: bool = False


class Ready(Plain, frozen=True, kw_only=True):
    """How many units of a service take traffic."""

    service: str
    before: int
    lowest: int
    at: float = 0.0
    """When it is lowest first."""


class Forecast(Plain, frozen=True, kw_only=True):
    outcome: str
    """done, failed, returned, aborted, or paused when it would wait for somebody."""
    reason: str = ""
    seconds: float
    """Until its own end (or pause)."""
    whole: float
    """The automatic return included."""
    steps: int = 0
    """That would be done."""
    total: int = 0
    kinds: dict[str, tuple[int, float]] = {}
    """Step kind -> how many are carried out, median seconds of one."""
    back_kinds: dict[str, int] = {}
    """Of the automatic return."""
    curve: tuple[float, ...] = ()
    """When 0, 1, ... 100 % of the steps that end have ended."""
    bars: tuple[Bar, ...] = ()
    left_out: int = 0
    """Bars that are not told: there were too many."""
    batches: tuple[Batch, ...] = ()
    ready: tuple[Ready, ...] = ()
    back: str = ""
    """Title of the automatic return; empty when there is none."""
    back_at: float | None = None
    back_outcome: str = ""
    assumed: tuple[str, ...] = ()
    """What was never recorded: `healthy puzzle.sudoku 1.1.0`."""
    faults: tuple[Fault, ...] = ()
    missed: tuple[Fault, ...] = ()
    """Faults that had nothing to hit: their step was not needed or never reached."""
    digest: str = ""
    """Of the plan that was rehearsed."""


class Lowest(Plain, frozen=True, kw_only=True):
    service: str
    predicted: int
    actual: int


class Score(Plain, frozen=True, kw_only=True):
    """A live run against what was foretold when it began."""

    predicted: float
    """Seconds."""
    seconds: float
    error: float | None = None
    """Of the time, as a part of what it took; None where it cannot be compared (it was held, or ended otherwise)."""
    why: str = ""
    """Why not."""
    steps: int = 0
    steps_predicted: int = 0
    unforeseen: tuple[str, ...] = ()
    """Step kinds that were carried out and not foretold."""
    absent: tuple[str, ...] = ()
    """Step kinds that were foretold and not carried out."""
    lowest: tuple[Lowest, ...] = ()
    phases: dict[str, tuple[float, float]] = {}
    """Step kind -> median seconds of one, foretold and actual."""
    outcome: str = ""
    outcome_predicted: str = ""

    @property
    def as_foretold(self) -> bool:
        """But for the time: the same outcome, kinds and lowest ready counts."""
        return (
            self.outcome == self.outcome_predicted and not self.unforeseen
            and all(low.predicted == low.actual for low in self.lowest)
        )
