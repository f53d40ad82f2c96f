"""What of a row an operator would call changed, in words. Pure."""

from __future__ import annotations

from typing import Any

from cockpit.model.history_rows import CHANGED, GONE, NEW
from cockpit.model.view import DRIFT, OK, UNKNOWN

Facts = dict[str, str]
"""What is told of a row: fact -> words. Only facts that differ are shown."""


def facts(table: str, row: Any) -> Facts:
    match table:
        case "instances":
            out = {
                "version": row.version_actual or "no version", "word": row.word or row.state.lower(),
                "host": f"on {row.host}" if row.host else "on no host",
                "health": f"health {row.health}" if row.health != "none" else "",
                "wants": f"wants {row.version_expected}" if row.version_expected else "not expected",
                "desired": "stopped on purpose" if row.desired == "SHUTDOWN" else "",
                "restarts": f"{row.restarts} restarts" if row.restarts != 1 else "1 restart",
                "pid": f"pid {row.pid}" if row.pid else "no process",
                "ports": " ".join(f"{n} {p}" for n, p in sorted(row.ports.items())),
                "pinned": f"held on the host: {row.pinned}" if row.pinned else "", "reason": row.reason,
            }
        case "hosts":
            out = {
                "presence": row.presence, "reason": row.reason, "address": row.address,
                "instances": f"{row.instances} of {row.want} instances", "boot": f"boot {row.boot_id[:8]}",
                "agent": f"agent {row.agent_version}" if row.agent_version else "",
                "keeper": f"keeper {row.keeper_version}" if row.keeper_version else "",
                "agent_pid": f"agent pid {row.agent_pid}", "upgrading": row.upgrading,
                "way": f"by {' '.join(row.path)}" if row.path else "", "transport": row.transport,
                "releases": f"{len(row.releases)} releases", "missing": ", ".join(row.missing),
                "trouble": "; ".join(row.trouble),
            }
        case "nodes":
            versions = " ".join(f"{n}x{v}" for v, n in sorted(row.versions.items()))
            out = {
                "have": f"{row.have} of {row.want}", "drift": f"drift {row.drift}" if row.drift else "no drift",
                "version": f"wants {row.version}" if row.version else "", "versions": versions,
                "depends": "uses " + " ".join(row.depends) if row.depends else "",
            }
        case "drift":
            out = {"kind": row.kind, "expected": f"expected {row.expected}", "actual": f"is {row.actual}",
                   "reason": row.reason}
        case "endpoints":
            out = {"state": row.state, "at": f"{row.address}:{row.port}", "why": row.why,
                   "attributes": " ".join(f"{k}={v}" for k, v in sorted(row.attributes.items()))}
        case "actions":
            out = {"title": row.title, "state": row.state, "note": row.note,
                   "done": f"{row.done} of {row.total} steps"}
        case "relays":
            out = {"presence": row.presence, "reason": row.reason, "agents": f"{row.agents} agents",
                   "way": f"by {' '.join(row.path[1:])}" if len(row.path) > 1 else "", "version": row.version}
        case "alerts":
            out = {"state": row.state, "what": f"{row.when} of {row.group}", "text": row.text,
                   "members": f"{len(row.members)} affected"}
        case _:  # pushes
            out = {"state": row.state, "phase": row.phase, "note": row.note, "artifact": row.artifact}
    return out


FIRST = {
    "instances": ("version", "word", "host"), "hosts": ("presence", "instances"), "nodes": ("have", "version"),
    "drift": ("kind", "expected", "actual"), "endpoints": ("state", "at"), "actions": ("title", "state"),
    "relays": ("presence", "agents"), "pushes": ("artifact", "state"),
    "alerts": ("text", "state"),
}  # fmt: skip
"""What is told of a row that came or went."""
MINOR = {"pid", "ports", "agent_pid", "boot", "reason", "restarts", "releases", "attributes", "done"}
"""Told only when nothing else differs, or as the last."""
LONGEST = 160


def told(table: str, old: Any, new: Any) -> tuple[str, str, str] | None:
    """(how, before, after) of two rows of one key; None when nothing that is told differs."""
    if old is None or new is None:
        row = new if old is None else old
        if row is None or (table == "endpoints" and row.state == "gone"):
            return None
        known = facts(table, row)
        text = _joined([known[f] for f in FIRST[table]])
        return (NEW, "", text) if old is None else (GONE, text, "")
    was, now = facts(table, old), facts(table, new)
    differing = [f for f in now if was[f] != now[f]]
    if not differing:
        return None
    major = [f for f in differing if f not in MINOR]
    shown = major + [f for f in ("restarts", "reason", "done") if f in differing] if major else differing
    return (CHANGED, _joined([was[f] for f in shown]), _joined([now[f] for f in shown]))


def _joined(parts: list[str]) -> str:
    text = ", ".join(p for p in parts if p)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def name_of(table: str, key: str, row: Any) -> str:
    match table:
        case "drift":
            return str(row.target)
        case "endpoints":
            return f"{row.instance or row.service}" + (f" {row.name}" if row.name else "")
        case "pushes":
            return f"{row.action} {row.host}"
        case "alerts":  # its id tells nobody what it is about
            return f"{row.group} {row.when}"
    return key


def mark_of(table: str, row: Any) -> str:
    if table == "drift":
        return UNKNOWN if row.kind == UNKNOWN else DRIFT
    if table == "endpoints":
        return {"ready": OK, "draining": "draining"}.get(row.state, "absent")
    if table == "alerts" and row.state != "firing":
        return "paused" if row.state == "acknowledged" else "absent"
    return str(row.mark)
