"""What goes into the executor and what comes out of it. All data; times are Unix seconds."""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.model.actual import Unit
from cockpit.plan.steps import Step

# outcomes of an action
DONE = "done"
FAILED = "failed"
ABORTED = "aborted"

# states of a step, see view.StepRow
WAITING = "waiting"
RUNNING = "running"
SKIPPED = "skipped"
STEP_STATES = (WAITING, RUNNING, DONE, FAILED, SKIPPED)

NO_ANSWER = "none"
"""`Answer.code` of a driver that could not reach the host: the command is sent again when it is back."""

PAUSE = "pause"
RESUME = "resume"
ABORT = "abort"


class Message(msgspec.Struct, frozen=True, gc=False):
    """Base of events and commands. Immutable and without cycles, so the collector skips them."""


# events


class Go(Message, frozen=True):
    """Begin."""


class UnitSeen(Message, frozen=True):
    """A host reported a unit. Others than those of the plan are ignored cheaply."""

    unit: Unit
    host: str


class UnitGone(Message, frozen=True):
    unit: str


class HostSeen(Message, frozen=True):
    """Presence changed, or the host connected again (then commands without answer are repeated)."""

    host: str
    presence: str
    agent: str = ""
    """Version of the agent that serves there, where it is known."""
    keeper: str = ""


class Answer(Message, frozen=True):
    """The end of a command."""

    task: str
    ok: bool
    data: dict[str, Any] = {}
    code: str = ""
    text: str = ""


class Working(Message, frozen=True):
    """A command reports that it moves on (bytes of a fetch): the deadline moves too."""

    task: str
    data: dict[str, Any] = {}


class NamesSet(Message, frozen=True):
    """A unit's endpoints are draining since this version of the names, and agents applied it."""

    step: str
    version: int


class Pause(Message, frozen=True):
    """Hold before the next step. With `after`: once that step has started."""

    by: str
    after: str = ""


class Resume(Message, frozen=True):
    by: str


class Abort(Message, frozen=True):
    by: str
    after: str = ""


class Tick(Message, frozen=True):
    """Time went on; see WakeAt."""


Event = Go | UnitSeen | UnitGone | HostSeen | Answer | Working | NamesSet | Pause | Resume | Abort | Tick


# commands


class Send(Message, frozen=True):
    """Run `word` on a host. The same task may come again: repeating gives the first answer.

    `args` is what the step carries; the driver adds `unit`, for `prepare` the unit's spec (from
    instance, unit and its gen), for `fetch` the digest, size and url of the artifact.
    """

    task: str
    host: str
    word: str
    args: dict[str, Any]
    step: Step


class SetDraining(Message, frozen=True):
    """Take a unit out of naming; answer with NamesSet when every reachable agent applied it, or late."""

    unit: str
    step: str


class ClearDraining(Message, frozen=True):
    """The unit stays after all: its endpoints follow its health again."""

    unit: str


class WakeAt(Message, frozen=True):
    """Send a Tick at `at` or soon after. It takes the place of the wish before: one timer is enough."""

    at: float


class StepChanged(Message, frozen=True):
    """`seen` is the observation that decided it. States only move forward within one `attempt`."""

    step: str
    state: str
    note: str = ""
    attempt: int = 1
    seen: Unit | None = None


class Progress(Message, frozen=True):
    """What the action waits for now, and when it gives up (None: it does not)."""

    note: str
    gives_up: float | None


class Remark(Message, frozen=True):
    """A sentence for the action's log."""

    text: str


class Anchored(Message, frozen=True):
    """A pause, resume or abort took effect; `step` is the last step that had started, or empty.

    `by` is empty when the executor paused by the plan's own rule; then `reason` says why.
    """

    what: str
    step: str
    by: str
    reason: str = ""


class Finished(Message, frozen=True):
    """The last command. `outcome` is done, failed or aborted."""

    outcome: str
    reason: str = ""
    failed_instance: str = ""


Command = (
    Send | SetDraining | ClearDraining | WakeAt | StepChanged | Progress | Remark | Anchored | Finished
)
