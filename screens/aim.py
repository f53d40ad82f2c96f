"""What a key acts on, and why it cannot. Pure: the one place where screens decide about verbs.

Sentences name keys by their ids, `<go.hosts>`: whoever shows them spells these (see `sentences`).
"""

from __future__ import annotations

import msgspec

from cockpit.act.table import OBSERVE, Verb
from screens.board import ENDED, Board

NODE, INSTANCE, HOST, ACTION, ARTIFACT = "node", "instance", "host", "action", "artifact"


class Aim(msgspec.Struct, frozen=True):
    """The rows a verb is meant for: one kind, one or more ids."""

    kind: str = ""
    ids: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ids)


NOTHING = Aim()


def _services(aim: Aim, board: Board) -> list[str]:
    if aim.kind == INSTANCE:
        return list(dict.fromkeys(i.rpartition("/")[0] for i in aim.ids))
    return list(aim.ids)


def targets(verb: Verb, aim: Aim, board: Board) -> tuple[str, ...]:
    """The targets of the intent. On an instance, a verb for services takes its service."""
    if verb.target == "service":
        return tuple(_services(aim, board))
    if verb.target == "artifact":
        return aim.ids if aim.kind == ARTIFACT else ()
    if aim.kind == ACTION and verb.target != "action":
        return ()
    return aim.ids


def params(verb: Verb, aim: Aim) -> dict[str, str]:
    """Parameters that follow from the row itself."""
    return {"action": aim.ids[0]} if verb.name == "rollback" and aim.kind == ACTION else {}


def why_not(verb: Verb, aim: Aim, board: Board, read_only: str) -> str:
    """Why the verb does not work here now, as a sentence; empty when it does."""
    if read_only and verb.risk != OBSERVE:
        return f"{verb.name} is off: {read_only}"
    if board.lost is not None:
        return f"{verb.name} needs the controller, and it does not answer"
    if not aim and not (verb.target == "artifact" or verb.optional):
        return f"{verb.name}: there is nothing under the cursor"
    check = _CHECKS.get(verb.target)
    return check(verb, aim, board) if check else ""


def _service(verb: Verb, aim: Aim, board: Board) -> str:
    if aim.kind not in (NODE, INSTANCE):
        return f"{verb.name} works on a service; this is {_article(aim.kind)}"
    names = _services(aim, board)
    if len(names) > 1:
        return f"{verb.name} works on one service at a time; these rows belong to {len(names)}"
    row = board.nodes.get(names[0])
    if row is None:
        return f"{verb.name}: {board.short(names[0])} is not declared any more"
    if row.kind != "service":
        return f"{verb.name} works on one service; {board.short(row.path)} is a {row.kind}, open it and choose"
    return ""


def _instance(verb: Verb, aim: Aim, board: Board) -> str:
    if aim.kind != INSTANCE:
        return f"{verb.name} moves one instance; put the cursor on one (<open> opens the list)"
    if len(aim.ids) > 1:
        return f"{verb.name} moves one instance at a time; {len(aim.ids)} are marked, <back> takes the marks away"
    return ""


def _any(verb: Verb, aim: Aim, board: Board) -> str:
    if aim.kind == HOST:
        if verb.name != "start":
            return f"{verb.name} works on services and instances; this is a host"
        up = [h for h in aim.ids if h in board.hosts and board.hosts[h].presence == "up"]
        if len(up) == len(aim.ids):
            return f"start: {', '.join(up[:3])} is in service already; it takes a host back after a drain"
        return ""
    if aim.kind == ACTION and verb.name == "rollback":
        row = board.actions.get(aim.ids[0])
        if row is not None and row.state not in ENDED:
            state = f"has not ended ({row.state})"
            return f"rollback: {row.id} {state}; <verb.abort> aborts it, and can return to what was before"
        if row is not None and row.state == "returned":
            back = next((a.id for a in board.actions.values() if a.cause == row.id and a.verb == "rollback"), "")
            return f"rollback: {row.id} has returned to what was before already{f', by {back}' if back else ''}"
        if row is not None and row.revision is None:
            return f"rollback: {row.id} changed nothing that is expected: there is nothing to undo"
        return ""
    if aim.kind == ACTION:
        return f"{verb.name} works on services and instances; this is an action"
    if aim and aim.kind not in (NODE, INSTANCE):
        return f"{verb.name} works on services and instances; this is {_article(aim.kind)}"
    if len(aim.ids) > 1 and not verb.many:
        return f"{verb.name} takes one target at a time; {len(aim.ids)} are marked, <back> takes the marks away"
    if aim.kind == INSTANCE and verb.name in ("start", "stop"):
        desired = {board.instances[i].desired for i in aim.ids if i in board.instances}
        name = board.short(aim.ids[0]) if len(aim.ids) == 1 else "they"
        be = "is" if len(aim.ids) == 1 else "are"
        if verb.name == "start" and desired == {"RUNNING"}:
            match = "<verb.converge> makes what runs match what is expected"
            return f"start: {name} {be} not stopped; <verb.restart> restarts, {match}"
        if verb.name == "stop" and desired == {"SHUTDOWN"}:
            return f"stop: {name} {be} stopped already"
    return ""


def _host(verb: Verb, aim: Aim, board: Board) -> str:
    if aim.kind != HOST:
        return f"{verb.name} works on a host; <go.hosts> lists the hosts"
    if len(aim.ids) > 1:
        return f"{verb.name} takes one host at a time; {len(aim.ids)} are marked, <back> takes the marks away"
    return ""


def _action(verb: Verb, aim: Aim, board: Board) -> str:
    if aim.kind != ACTION:
        return f"{verb.name} works on an action; <go.actions> lists the actions"
    row = board.actions.get(aim.ids[0])
    if row is None:
        return ""
    if row.state in ENDED:
        return f"{verb.name}: {row.id} has ended ({row.state})"
    if row.state == "returning":
        back = next((a.id for a in board.running() if a.cause == row.id), "")
        return f"{verb.name}: {row.id} has ended and is returning{f' by {back}' if back else ''}"
    if verb.name == "pause" and row.state != "running":
        return f"pause: {row.id} is {row.state} already"
    if verb.name == "resume" and row.state == "running":
        return f"resume: {row.id} is running"
    return ""


def _artifact(verb: Verb, aim: Aim, board: Board) -> str:
    if aim.kind == ARTIFACT and len(aim.ids) > 1:
        return f"{verb.name} takes one version at a time; {len(aim.ids)} are marked, <back> takes the marks away"
    return ""


def _article(kind: str) -> str:
    return {"action": "an action", "artifact": "an artifact"}.get(kind, f"a {kind}" if kind else "not one")


_CHECKS = {
    "service": _service, "instance": _instance, "any": _any, "host": _host, "action": _action, "artifact": _artifact,
}
