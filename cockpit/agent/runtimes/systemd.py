"""systemd: units by `systemctl`, their output by `journalctl`."""

from __future__ import annotations

import json
from typing import Dict, List, Sequence, Tuple

from cockpit.agent.runtimes import seen
from cockpit.agent.runtimes.seen import Seen

SHOWN = (
    "Id", "LoadState", "ActiveState", "SubState", "Result", "MainPID", "ExecMainCode", "ExecMainStatus",
    "ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic", "InvocationID", "NRestarts",
)
EXITED, KILLED, DUMPED = 1, 2, 3
"""Values of ExecMainCode (CLD_* of waitid); 0: nothing has ended."""
SUFFIXES = (".service", ".socket", ".target", ".timer", ".scope", ".slice", ".mount", ".path")


def full_name(unit: str) -> str:
    """systemctl prints the name with its kind, whatever was asked."""
    return unit if unit.endswith(SUFFIXES) else unit + ".service"


def show(units: Sequence[str], user: bool = False) -> List[str]:
    """argv that prints what `parse` reads."""
    return [*_systemctl(user), "show", "--no-pager", "--property=" + ",".join(SHOWN), "--", *units]


def act(verb: str, unit: str, user: bool = False) -> List[str]:
    """argv for start, stop, restart or reset-failed; it waits until systemd has done it."""
    if verb not in ("start", "stop", "restart", "reset-failed"):
        raise ValueError(f"{verb} is no verb of systemctl that is used here")
    return [*_systemctl(user), verb, "--", unit]


def kill(unit: str, signal: str, user: bool = False, whom: str = "") -> List[str]:
    """`whom`: main or all; systemctl's own default is all. (It is called --kill-whom since 252, which takes both.)"""
    return [*_systemctl(user), "kill", *([f"--kill-who={whom}"] if whom else []), f"--signal={signal}", "--", unit]


def journal(
    unit: str, lines: int, follow: bool, user: bool = False, *, times: bool = False, since: float = 0.0,
    until: float = 0.0,
) -> List[str]:
    """argv that prints the text of the last lines, oldest first, and goes on when it follows.

    With `times` each line is JSON with MESSAGE and __REALTIME_TIMESTAMP (microseconds): see `entry`.
    """
    form = ["--output=json", "--output-fields=MESSAGE"] if times else ["--output=cat"]
    argv = ["journalctl", *(["--user"] if user else []), "--no-pager", "--quiet", *form, f"--lines={lines}"]
    argv += [f"--since=@{since:.6f}"] if since else []
    argv += [f"--until=@{until:.6f}"] if until else []
    return [*argv, *(["--follow"] if follow else []), f"--unit={unit}"]


def entry(line: bytes) -> Tuple[float, bytes]:
    """Unix time and text of a line of `journal` with times; the line itself when it is none."""
    try:
        doc = json.loads(line)
        said = doc.get("MESSAGE")
        text = bytes(said) if isinstance(said, list) else str(said or "").encode("utf-8", "surrogateescape")
        return int(doc["__REALTIME_TIMESTAMP"]) / 1e6, text
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0.0, line


def _systemctl(user: bool) -> List[str]:
    return ["systemctl", "--user"] if user else ["systemctl"]


def parse(text: str, now: float, uptime: float) -> Dict[str, Seen]:
    """Output of `show` -> unit name (with its kind) -> what it is. `uptime` in seconds at the time `now`."""
    found: Dict[str, Seen] = {}
    for block in text.split("\n\n"):
        facts = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if facts.get("Id"):
            found[facts["Id"]] = _seen(facts, now - uptime)
    return found


def _seen(facts: Dict[str, str], boot: float) -> Seen:
    if facts.get("LoadState") in ("not-found", "masked", "bad-setting", "error"):
        words = {"not-found": "systemd knows no such unit", "masked": "the unit is masked"}
        load = facts["LoadState"]
        return Seen(seen.MISSING, reason=words.get(load, f"the unit file is wrong ({load})"))
    pid = _number(facts.get("MainPID")) or None
    code, status = _number(facts.get("ExecMainCode")), _number(facts.get("ExecMainStatus"))
    result = facts.get("Result", "")
    state = _state(facts.get("ActiveState", ""), facts.get("SubState", ""), code, status)
    return Seen(
        state, pid=pid, identity=facts.get("InvocationID", ""),
        started=_time(facts.get("ExecMainStartTimestampMonotonic"), boot),
        ended=_time(facts.get("ExecMainExitTimestampMonotonic"), boot) if pid is None else None,
        restarts=_number(facts.get("NRestarts")),
        code=status if code == EXITED else None,
        signal=status if code in (KILLED, DUMPED) else None,
        core=code == DUMPED,
        reason="" if result in ("", "success", "exit-code", "signal", "core-dump") else f"systemd: {result}",
    )


def _state(active: str, sub: str, code: int, status: int) -> str:
    if active in ("active", "reloading", "refreshing"):
        return seen.EXITED if sub == "exited" else seen.RUNNING
    if active == "activating":
        return seen.BACKOFF if sub.startswith("auto-restart") else seen.STARTING
    if active == "deactivating":
        return seen.STOPPING
    if active == "failed":
        return seen.FAILED
    if active == "inactive":
        return seen.EXITED if code == EXITED and status == 0 else seen.STOPPED
    return seen.UNKNOWN


def _time(monotonic: "str | None", boot: float) -> "float | None":
    """Microseconds since the boot as Unix time; 0 is never."""
    micros = _number(monotonic)
    return round(boot + micros / 1e6, 3) if micros else None


def _number(text: "str | None") -> int:
    return int(text) if text and text.isdigit() else 0
