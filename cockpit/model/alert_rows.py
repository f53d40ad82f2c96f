"""What screens and commands show of alerts."""

from __future__ import annotations

from cockpit.model.view import Row

FIRING = "firing"
ACKNOWLEDGED = "acknowledged"
SILENCED = "silenced"
ENDED = "ended"


class SilenceRow(Row, frozen=True, kw_only=True):
    """Until then nothing is told of alerts whose group, member or kind matches."""

    id: str
    """`s3`."""
    match: str
    """A name or a pattern: `puzzle.web`, `sh-*`, `drift`."""
    until: float
    by: str
    why: str = ""
