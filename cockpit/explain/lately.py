"""What is well now and was not within the last day: what happened, who acted, since when it is well. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cockpit.explain.wrong import BAD
from cockpit.model.units import age, plural
from cockpit.model.view import FAILED, OK, UNKNOWN
from cockpit.model.why_rows import Moment

DAY = 86400.0
SHOWN = 12
"""Moments that are listed, the latest."""
SLACK = 2.0
"""Seconds around an action in which what happens is its doing."""
CLEAN = "exit 0"


def troubles(moments: Sequence[Moment], now: float) -> list[Moment]:
    """What went wrong within the last day and was nobody's doing, oldest first."""
    begun: dict[str, float] = {}
    spans: list[tuple[float, float]] = []
    for m in moments:
        if m.kind == "action":
            id = m.text.partition(" ")[0]
            if id in begun:
                spans.append((begun.pop(id) - SLACK, m.at + SLACK))
            else:
                begun[id] = m.at
    spans += [(at - SLACK, now) for at in begun.values()]

    def bad(m: Moment) -> bool:
        meant = any(start <= m.at <= end for start, end in spans)
        if m.kind == "run":
            ended = " started on " not in m.text and CLEAN not in m.text
            return ended and (m.mark == FAILED or not meant)
        if m.kind == "health":
            return m.mark in BAD and not m.text.endswith("ok") and not meant
        return m.kind in ("state", "presence") and m.mark in (FAILED, UNKNOWN) and not meant

    return [m for m in moments if m.at >= now - DAY and bad(m)]


def lately(
    name: str, word: str, moments: Sequence[Moment], now: float, when: Callable[[float], str]
) -> tuple[str, tuple[Moment, ...]]:
    """How it is and what happened, and the moments that show it, newest first; empty when nothing went wrong.

    `moments`: its life, oldest first. `when`: a moment in words.
    """
    bad = troubles(moments, now)
    if not bad:
        return "", ()
    wrong = {id(m) for m in bad}
    last = bad[-1]
    after = [m for m in moments if m.at >= last.at and id(m) not in wrong and m.mark not in BAD]
    fine = [m for m in after if m.mark == OK and m.kind in ("state", "health")]
    fine = fine or [m for m in after if m.kind == "run"]
    well = fine[0].at if fine else last.at
    out = f"{name} is {word}, as expected, since {when(well)} ({age(now - well)} ago)"
    ends = [m for m in bad if m.kind == "run"]
    if ends:
        first = f", the first at {when(ends[0].at)}" if len(ends) > 1 else ""
        at = "the last" if len(ends) > 1 else "it was"
        out += f". Within the last day {plural(len(ends), 'run')} ended badly{first}, {at} at {when(ends[-1].at)}"
    else:
        out += f". Within the last day it was not well; the last: {last.text}, at {when(last.at)}"
    start = (ends or bad)[0].at
    acted = [m for m in moments if start <= m.at and m.kind in ("action", "revision", "config", "data")]
    begun = [m for m in acted if m.kind == "action" and " began, by " in m.text]
    if begun:
        out += f". Acted on meanwhile: {'; '.join(m.text.replace(' began, by ', ' by ') for m in begun[-2:])}"
    elif ends and not acted:
        out += ". Nobody acted: the keeper started it again by itself"
    shown = [m for m in moments if m.at >= start and (m.kind in ("run", "health", "state") or m in acted)]
    return out, tuple(reversed(shown[-SHOWN:]))
