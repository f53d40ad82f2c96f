"""A signal that an operator sends. The keeper gives it to its own children, by their pidfds."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from cockpit.agent.builtin.host import Host, known
from cockpit.agent.tasks import CommandError, Data, Progress, Word

CHOOSES = 2
"""From this version on keepers know `process`, `all` and `run`; one before would tell every process."""
MAX_STATUS = 16384


def signalled(host: Host) -> Word:
    """The word `signal`: {unit, signal, process, all, run} -> {pids: by name, others: pids, run, note}."""

    async def word(args: Mapping[str, Any], progress: Progress) -> Data:
        unit, name = str(args["unit"]), str(args["signal"])
        process, every = str(args.get("process") or ""), args.get("all") is True
        await host.refresh(unit)
        record = known(host, unit)
        pids: Dict[str, int] = record.get("pids") or {}
        run = args.get("run")
        if not pids:
            raise CommandError("missing", f"{unit} has no process now; nothing was sent")
        if run is not None and run != record.get("run"):
            text = f"{unit} was started again meanwhile (its run is {record.get('run')}, not {run}); nothing was sent"
            raise CommandError("busy", text)
        version = (await host.keeper("hello")).get("version")
        several = every or len(record.get("processes") or ()) > 1
        if several and not (isinstance(version, int) and version >= CHOOSES):
            raise CommandError("unsupported", (
                "the keeper of this host is too old to choose among processes; nothing was sent"
                " (`cockpit agent upgrade VERSION HOST --keeper` replaces it)"
            ))
        deaf = [p for n, p in pids.items() if process in ("", n) and not handles(p, str(name))]
        told = await host.keeper(
            "signal", unit=unit, signal=name, by=str(args.get("by") or "controller"),
            **{k: v for k, v in (("process", process), ("all", every), ("run", run)) if v},
        )
        done: Dict[str, int] = told.get("pids") or {}
        others: List[int] = told.get("others") or []
        if not done and not others:
            raise CommandError("missing", f"{unit} has no process any more; nothing was sent")
        note = f"pid {', '.join(map(str, deaf))} does not handle {name}" if deaf else ""
        return {"pids": done, "others": others, "run": told.get("run"), "note": note}

    return word


def handles(pid: int, name: str) -> bool:
    """Does this process catch, ignore or block what would end it? True when nobody can tell, or it would not."""
    number = ENDING.get(name)
    if number is None:
        return True
    try:
        with open(f"/proc/{pid}/status", "rb") as f:
            text = f.read(MAX_STATUS)
        bits = 0
        for line in text.split(b"\n"):
            if line.startswith((b"SigBlk:", b"SigIgn:", b"SigCgt:")):
                bits |= int(line.split()[1], 16)
    except (OSError, ValueError, IndexError):
        return True
    return bool(bits >> (number - 1) & 1)


ENDING = {"HUP": 1, "INT": 2, "QUIT": 3, "USR1": 10, "USR2": 12, "TERM": 15}
"""Signals that a process can listen to, and of which it ends when it does not."""
