"""Journal entries in words: one sentence each, for the command line, the journal's screen and timelines."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from cockpit.act.journal import Entry

SHOWN = 6
"""Hosts that a line names."""


def told(entry: Entry) -> str:
    """One entry as a sentence, without its number, time and kind. Never raises: a body may be of another version."""
    try:
        return _told(entry.kind, entry.body).strip()
    except (KeyError, TypeError, ValueError, AttributeError):
        return _plain(entry.body)


def _told(kind: str, body: dict[str, Any]) -> str:
    match kind:
        case "intent":
            what = f"{body['action']} {body['title']}  by {body['author']}"
            what += f"  caused by {body['cause']}" if body.get("cause") else ""
            what += f"  approved by {body['approved']}" if body.get("approved") else ""
            return f"{what}  rev {body['revision']}" if body.get("revision") else what
        case "outcome":
            return f"{body['action']} {body['outcome']}  {body.get('reason', '')}".rstrip()
        case "gate":
            seen = body.get("observed") or {}
            why = body.get("note") or f"{seen.get('state', '')} {seen.get('health', '')}".strip()
            where = f"{body['action']} {body['instance']} on {body['host']}"
            return f"{where}: {body['state']}, {why}".rstrip(", ")
        case "pause" | "resume" | "abort":
            after = f" after {body['step']}" if body.get("step") else ""
            by = body["by"] or "its own rule"
            return f"{body['action']} by {by}{after}  {body.get('reason', '')}".rstrip()
        case "ctl":
            return f"{body.get('host')}: uid {body.get('uid')} {body.get('op')} {body.get('unit')}"
        case kind if kind in _OTHERS:
            return _OTHERS[kind](body).rstrip()
        case "refused":
            targets = f" {' '.join(body['targets'])}" if body.get("targets") else ""
            return f"{body['verb']}{targets} by {body['author']}: {body['reason']}"
    return _plain(body)


def _plain(body: dict[str, Any]) -> str:
    return " ".join(f"{k}={v}" for k, v in body.items() if v not in ("", None))


def _exec(body: Any) -> str:
    user = f" as {body['user']}" if body.get("user") else ""
    what = f"{_short(body)} {shlex.join(body['argv'])}{user}"
    return f"{what}  on {_some(body['hosts'])}  by {body['author']}{_approved(body)}"


def _exec_end(body: Any) -> str:
    """Hosts by the word that they ended with."""
    said: dict[str, list[str]] = {}
    for host, word in body["others"].items():
        said.setdefault(word, []).append(host)
    parts = [f"{word} on {_some(hosts)}" for word, hosts in said.items()]
    if body["open"]:
        parts.append(f"ended unfinished on {_some(body['open'])}")
    ok = [f"ok on {body['ok']}"] if body["ok"] or not parts else []
    return f"{_short(body)} {'stopped: ' if body['stopped'] else ''}{', '.join([*ok, *parts])}"


def _plugin(body: Any) -> str:
    version = f"/{body['version']}" if body.get("version") else ""
    what = f"{body['what']} {body['plugin']}{version}"
    return f"{what}  on {_some(body['hosts'])}  by {body['author']}{_approved(body)}"


def _schedule(body: Any) -> str:
    """A scheduled command that did not end well."""
    code, signal = body.get("code"), body.get("signal")
    how = body.get("why") or (f"exit {code}" if code is not None else f"signal {signal}" if signal else "unknown")
    last = f": {body['last'][-1]}" if body.get("last") else ""
    return f"{body['host']}: {body['schedule']} {how}{last}"


def _revoked(body: Any) -> str:
    return f"{body['what']} {body['name']} ({body['uuid']})  by {body['by']}  {body.get('why', '')}"


def _token(body: Any) -> str:
    return f"{body['what']} for {body['host'] or 'any host'} ({body['id']})  by {body['author']}"


def _shell(body: Any) -> str:
    where = f"{body['instance']} on {body['host']}" if body.get("instance") else body["host"]
    what = shlex.join(body["argv"]) if body.get("argv") else "login shell"
    return f"{_short(body)} {what}  on {where}  by {body['author']}{_approved(body)}"


def _shell_end(body: Any) -> str:
    code, signal = body.get("code"), body.get("signal")
    how = body.get("why") or (f"exit {code}" if code is not None else f"signal {signal}" if signal else "unknown")
    user = f" as {body['user']}" if body.get("user") else ""
    return f"{_short(body)} {how} after {body['seconds']:.0f} s{user}  on {body['host']}  by {body['author']}"


def _build(body: Any) -> str:
    what = f"{body['artifact']} by {shlex.join(body['argv'])}"
    return f"{_short(body)} {what}  on {body['host']}  by {body['author']}{_approved(body)}"


def _build_end(body: Any) -> str:
    how = "stopped" if body.get("stopped") else body.get("failed") or "in the store"
    return f"{_short(body)} {body['artifact']}: {how}  on {body['host']}"


def _copy(body: Any) -> str:
    return f"{_short(body)} {_copied(body)}  by {body['author']}{_approved(body)}"


def _copy_end(body: Any) -> str:
    size = f"{body['size']} bytes" if body.get("size") or not body.get("why") else ""
    digest = f"sha256 {body['sha256'][:12]}" if body.get("sha256") else ""
    how = ", ".join(part for part in (body.get("why") or "done", size, digest) if part)
    user = f" as {body['user']}" if body.get("user") else ""
    return f"{_short(body)} {how} after {body['seconds']:.0f} s{user}  {_copied(body)}  by {body['author']}"


def _copied(body: Any) -> str:
    over = " (overwrite)" if body.get("overwrite") else ""
    return f"{body['way']} {body.get('instance') or body['host']}:{body['path']}{over}  on {body['host']}"


def _forward(body: Any) -> str:
    port = f"port {body['port']}" if body.get("port") else "the port"
    return f"{body['id']} {port} of {body['instance']}  on {body['host']}  by {body['author']}{_approved(body)}"


def _forward_end(body: Any) -> str:
    count = body["connections"]
    how = f"{body['why']} after {body['seconds']:.0f} s, {count} {'connection' if count == 1 else 'connections'}"
    moved = f"{body['sent']} bytes to it, {body['received']} from it"
    return f"{body['id']} {how}, {moved}  {body['instance']} on {body['host']}  by {body['author']}"


def _join(body: Any) -> str:
    let = f"  let in by {body['author']}" if body.get("author") else ""
    return f"{body['as']} {body['name']} ({body['uuid']}) from {body['address'] or 'somewhere'}{let}"


def _request(body: Any) -> str:
    return f"{body['request']} {body['title']}  by {body['author']} (uid {body['uid']})  guard {body['rule']}"


def _decided(body: Any) -> str:
    """A request that was approved, refused, or that nobody decided in time."""
    by = f"  by {body['by']} (uid {body['uid']})" if body.get("by") else ""
    return f"{body['request']} {body['state']}{by}  {body.get('action') or body.get('reason') or ''}"


def _glass(body: Any) -> str:
    why = f"GLASS BROKEN by {body['author']} (uid {body['uid']}): {body['reason']}"
    return f"{body['action']} {body['verb']}  {why}  against guard {body['rule']}: {body['against']}"


def _alert(body: Any) -> str:
    what = body.get("group") or body.get("match") or ""
    why = body.get("note") or body.get("why") or ""
    return f"{body['what']} {what}  by {body['author']}  {why}"


_OTHERS: dict[str, Callable[[Any], str]] = {
    "exec": _exec, "exec-end": _exec_end, "plugin": _plugin, "schedule": _schedule, "revoked": _revoked,
    "token": _token, "join": _join, "request": _request, "approve": _decided, "refuse": _decided, "expire": _decided,
    "glass": _glass, "alert": _alert, "shell": _shell, "shell-end": _shell_end,
    "build": _build, "build-end": _build_end,
    "copy": _copy, "copy-end": _copy_end,
    "forward": _forward, "forward-end": _forward_end,
}


def _approved(body: Any) -> str:
    return f"  approved by {body['approved']} ({body['request']})" if body.get("approved") else ""


def _short(body: Any) -> str:
    """Enough of the id of an execution to find its end."""
    return str(body["id"])[: len("exec-") + 6]


def _some(hosts: Sequence[str]) -> str:
    more = len(hosts) - SHOWN
    return ", ".join(hosts[:SHOWN]) + (f" and {more} more" if more > 0 else "")
