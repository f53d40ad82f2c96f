"""Restart policy and the states a keeper knows. Pure: times come in as arguments."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# the keeper's part of cockpit.model.states.State, which is too big to import here
READY = 384
STARTING = 448
RUNNING = 512
COMPLETE = 576
SHUTDOWN = 640
FAILED = 704
REJECTED = 768


class Decision:
    """What follows an exit: a state, and either a time to start again or nothing."""

    __slots__ = ("held", "next_start", "state", "tries")

    def __init__(self, state: int, next_start: float | None, tries: int, held: str = "") -> None:
        self.state = state
        self.next_start = next_start
        self.tries = tries
        """Restarts in a row of quick crashes, the coming one included."""
        self.held = held
        """Why it gave up."""


def backoff(tries: int, delay: float, max_delay: float) -> float:
    """Seconds before restart number `tries` (from 0) in a row: none, `delay`, then doubling."""
    if tries <= 0:
        return 0.0
    return min(max_delay, delay * 2.0 ** min(tries - 1, 60))


def after_exit(
    policy: dict[str, Any], *, clean: bool, lived: float, tries: int, times: list[float], now: float
) -> Decision:
    """Decides what follows a run that ended by itself.

    `clean` is a known exit code 0 (an unknown one is not), `times` are the moments of earlier
    restarts by policy, `policy` is the spec's `restart`.
    """
    mode = policy["mode"]
    if clean and mode != "always":
        return Decision(COMPLETE, None, 0)
    if mode == "never":
        return Decision(FAILED, None, 0)
    if lived >= policy["reset"]:
        tries = 0
    attempts = policy["attempts"]
    recent = sum(1 for t in times if t > now - policy["window"])
    if attempts is not None and recent >= attempts:
        return Decision(FAILED, None, tries, f"{recent} restarts within {policy['window']:g} s")
    wait = backoff(tries, policy["delay"], policy["max_delay"])
    return Decision(FAILED, now + wait, tries + 1)
