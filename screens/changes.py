"""A patch in words, as screens say it: the sentences are `cockpit.model.changes`."""

from __future__ import annotations

from cockpit.model.changes import MANY, describe, headline, value

__all__ = ["MANY", "describe", "headline", "value"]
