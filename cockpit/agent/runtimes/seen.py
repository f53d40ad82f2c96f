"""What a runtime says of one service at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

STARTING, RUNNING, STOPPING, STOPPED = "starting", "running", "stopping", "stopped"
EXITED, FAILED, BACKOFF, MISSING, UNKNOWN = "exited", "failed", "backoff", "missing", "unknown"


@dataclass(frozen=True)
class Seen:
    """`code` and `signal` are those of the last end; both None: the runtime does not know, nobody guesses."""

    state: str
    pid: Optional[int] = None
    identity: str = ""
    """Differs between two starts."""
    started: Optional[float] = None
    """Unix time."""
    ended: Optional[float] = None
    restarts: Optional[int] = None
    """None: the runtime does not count them."""
    code: Optional[int] = None
    signal: Optional[int] = None
    core: bool = False
    reason: str = ""
    stdout: str = ""
    """Log files, where the runtime names them."""
    stderr: str = ""

    @property
    def alive(self) -> bool:
        return self.pid is not None
