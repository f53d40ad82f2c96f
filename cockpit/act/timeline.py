"""A forecast as lines of a timeline: one for each instance, its steps over virtual time. Pure, for any face."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cockpit.model.rehearsal_rows import Bar, Batch, Forecast, Part
from cockpit.model.units import seconds_text
from cockpit.plan.steps import ACTIVATE, DRAIN, FETCH, HEALTHY, PREPARE, REMOVE, SIGNAL, START, STOP, UPGRADE, WARM

LETTERS = {
    FETCH: "f", WARM: "f", PREPARE: "p", START: "s", HEALTHY: "h", DRAIN: "d", STOP: "x", REMOVE: "x", ACTIVATE: "a",
    UPGRADE: "u", SIGNAL: "k",
}
WORDS = (("f", "fetch"), ("p", "prepare"), ("s", "start"), ("h", "gets healthy"), ("d", "drain"), ("x", "stop"),
         ("a", "gets data"), ("u", "upgrade"), ("k", "signal"))
FAIL, CUT, IDLE = "!", "~", "."
_WEIGHT = {c: n for n, c in enumerate(IDLE + "xkpsfaudh" + CUT + FAIL)}


class Cell(msgspec.Struct, frozen=True):
    """A run of one letter on a line of the timeline."""

    letter: str
    width: int


def cells(parts: Sequence[Part], whole: float, width: int) -> list[Cell]:
    """A line of `width` cells for `whole` seconds. What is shorter than a cell still has one, a failure first."""
    line = [" "] * width
    if whole <= 0 or not width:
        return [Cell(" ", width)]

    def column(at: float) -> int:
        return min(width - 1, max(0, int(at / whole * width)))

    for before, after in zip(parts, parts[1:], strict=False):
        for n in range(column(before.end), column(after.begin)):
            line[n] = IDLE
    for part in parts:
        letter = LETTERS.get(part.kind, "?")
        if part.state == "failed":
            letter = FAIL
        elif part.state != "done" and part.kind != HEALTHY or part.state != "done":
            letter = CUT
        first, last = column(part.begin), column(part.end)
        for n in range(first, max(first + 1, last)):
            if line[n] == " " or _WEIGHT.get(letter, 1) > _WEIGHT.get(line[n], 0):
                line[n] = letter
        if part.state == "failed":
            line[max(first, last - 1)] = FAIL
    out: list[Cell] = []
    for letter in line:
        if out and out[-1].letter == letter:
            out[-1] = Cell(letter, out[-1].width + 1)
        else:
            out.append(Cell(letter, 1))
    return out


def axis(whole: float, width: int) -> str:
    """The scale under the lines: `0 s   5 s   10 s`."""
    if whole <= 0 or width < 8:
        return ""
    room = max(1, width // 12)
    step = _round(whole / room)
    line = ""
    at = 0.0
    while at <= whole:
        column = int(at / whole * width)
        label = _short(at)
        if column + len(label) <= width and column >= len(line) + (1 if line else 0):
            line = line.ljust(column) + label
        at += step
    return line


def _round(seconds: float) -> float:
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400):
        if seconds <= step:
            return step
    return 86400.0


def _short(at: float) -> str:
    if at < 120:
        return f"{at:g}s"
    return f"{at / 60:g}m" if at < 7200 else f"{at / 3600:g}h"


def legend(forecast: Forecast) -> str:
    """The letters that occur."""
    used = {LETTERS.get(p.kind, "?") for b in forecast.bars for p in b.parts}
    states = {p.state for b in forecast.bars for p in b.parts}
    words = [f"{letter} {word}" for letter, word in WORDS if letter in used]
    words += ["! fails"] if "failed" in states else []
    words += ["~ broken off"] if states - {"done", "failed"} else []
    return "  ".join(words)


def verdict(forecast: Forecast) -> str:
    """`It would be done in 41 s: 25 of 25 steps.`, or what would fail and what would follow."""
    steps = f"{forecast.steps} of {forecast.total} steps"
    if forecast.outcome == "done":
        return f"It would be done in {seconds_text(forecast.seconds)}: {steps}."
    word = {"returned": "fail", "failed": "fail", "paused": "pause", "aborted": "be aborted"}.get(
        forecast.outcome, "not end"
    )
    words = f"It would {word} after {seconds_text(forecast.seconds)} and {steps}"
    return f"{words}: {forecast.reason}" if forecast.reason else f"{words}."


def consequences(forecast: Forecast) -> list[str]:
    """What follows from a failure, who stays ready, and what is not known."""
    out = []
    if forecast.back:
        took = seconds_text(forecast.whole - (forecast.back_at or 0.0))
        steps = sum(forecast.back_kinds.values())
        ends = {"done": f"is back after {took}"}.get(forecast.back_outcome, f"would be {forecast.back_outcome}")
        out.append(f"Automatic return: {forecast.back}, {steps} steps, {ends}.")
    elif forecast.outcome in ("failed", "aborted"):
        out.append("Nothing would return by itself: u undoes it.")
    elif forecast.outcome == "paused":
        out.append("It would wait for somebody: resume tries again, abort can return to what was before.")
    for ready in forecast.ready:
        if ready.lowest < ready.before:
            out.append(
                f"{ready.service}: {ready.lowest} of {ready.before} ready at the lowest point, "
                f"after {seconds_text(ready.at)}."
            )
        else:
            out.append(f"{ready.service}: never below {ready.lowest} ready.")
    for fault in forecast.missed:
        what = f"step {fault.step}" if fault.step else f"host {fault.host}"
        out.append(f"The failure of {what} had nothing to hit: it was not needed, or never reached.")
    if forecast.assumed:
        some = ", ".join(forecast.assumed[:3]) + (
            f" and {len(forecast.assumed) - 3} more" if len(forecast.assumed) > 3 else ""
        )
        out.append(f"Never recorded, so assumed: {some}.")
    return out


def batch_words(batch: Batch) -> str:
    """`batch 2 of web: 3 instances from 12 s to 20 s`."""
    name = "first" if batch.number == 0 else f"batch {batch.number}"
    many = f"{batch.instances} instance" + ("" if batch.instances == 1 else "s")
    if batch.begin is None:
        return f"{name}: {many}, never begins"
    end = f" to {seconds_text(batch.end)}" if batch.end is not None else ", does not end"
    return f"{name}: {many} from {seconds_text(batch.begin)}{end}"


def bar_name(bar: Bar) -> str:
    return f"{bar.name} to {bar.host}" if bar.name.startswith("push ") else bar.name


def text(forecast: Forecast, width: int = 100) -> str:
    """The whole rehearsal as plain text."""
    lines = [verdict(forecast), *("  " + c for c in consequences(forecast))]
    if forecast.batches:
        lines += ["BATCHES", *(
            f"  {b.service} {batch_words(b)}{' (return)' if b.back else ''}" for b in forecast.batches[:40]
        )]
        if len(forecast.batches) > 40:
            lines.append(f"  and {len(forecast.batches) - 40} more batches")
    names = max((len(bar_name(b)) for b in forecast.bars), default=0)
    room = max(20, width - names - 4)
    lines.append("TIMELINE")
    returned = False
    for bar in forecast.bars:
        if bar.back and not returned:
            returned = True
            lines.append("  then the automatic return")
        drawn = "".join(c.letter * c.width for c in cells(bar.parts, forecast.whole, room))
        lines.append(f"  {bar_name(bar):<{names}}  {drawn}".rstrip())
    if forecast.left_out:
        lines.append(f"  and {forecast.left_out} more")
    lines.append(f"  {'':<{names}}  {axis(forecast.whole, room)}".rstrip())
    lines.append("  " + legend(forecast))
    return "\n".join(lines)
