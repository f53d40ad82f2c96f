"""Instance states (Docker Swarm's task states), presence of hosts, health."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """Life of one run. The number only ever grows within a run.

    Of two observations of the same run the larger is the truer. Numbers are those of Swarm's
    first publication; the gaps leave room.
    """

    NEW = 0
    ALLOCATED = 64
    PENDING = 128
    ASSIGNED = 192
    ACCEPTED = 256
    PREPARING = 320
    READY = 384
    STARTING = 448
    RUNNING = 512
    COMPLETE = 576
    SHUTDOWN = 640
    FAILED = 704
    REJECTED = 768
    REMOVE = 800
    ORPHANED = 832


LIVE = frozenset({State.STARTING, State.RUNNING})
"""States in which a process exists."""

ENDED = frozenset(
    {State.COMPLETE, State.SHUTDOWN, State.FAILED, State.REJECTED, State.REMOVE, State.ORPHANED}
)

# presence of a host
UP = "up"
SUSPECT = "suspect"
UNKNOWN = "unknown"
DOWN = "down"
DRAINING = "draining"
MAINTENANCE = "maintenance"

# health of a unit
OK = "ok"
FAILING = "failing"
WAITING = "starting"
NO_CHECK = "none"
