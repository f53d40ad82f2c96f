"""What operators ran by actions of their own is in the journal: before it begins, and how it ended."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.model.view import Who
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller
    from cockpit.controller.operations import Op

MAX_RUNS, MAX_WORDS = 1000, 256 * 1024


class Run(msgspec.Struct, frozen=True, kw_only=True):
    argv: tuple[str, ...]
    target: str = msgspec.field(name="for", default="")
    hosts: tuple[str, ...] = ()


class Begin(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    risk: str = msgspec.field(name="class")
    where: str = "here"
    runs: tuple[Run, ...] = ()


class End(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    end: dict[str, str] = {}
    stopped: bool = False


def operations(c: Controller) -> dict[str, Op]:
    async def user_action(who: Who, args: dict[str, Any]) -> Any:
        try:
            if "end" in args:
                end = msgspec.convert(args, End)
                others = {k: v for k, v in list(end.end.items())[:MAX_RUNS] if v != "ok"}
                ok = len(end.end) - len(others)
                body = {"id": end.id[:64], "stopped": end.stopped, "ok": ok, "others": others, "author": who.author}
                c.ledger.note({"kind": "user-action-end", **body})
                await c.ledger.keep()
                return {"id": end.id}
            begin = msgspec.convert(args, Begin)
        except msgspec.ValidationError as e:
            raise Bad(f"user_action: {e}") from None
        if len(begin.runs) > MAX_RUNS or sum(len(w) for r in begin.runs for w in r.argv) > MAX_WORDS:
            raise Bad(f"user_action: at most {MAX_RUNS} programs and {MAX_WORDS >> 10} KiB of words at once")
        id = f"user-{uuid.uuid4().hex}"
        c.ledger.note({
            "kind": "user-action", "id": id, "name": begin.name, "class": begin.risk, "where": begin.where,
            "author": who.author, "runs": [msgspec.to_builtins(r) for r in begin.runs],
        })  # fmt: skip
        await c.ledger.keep()
        return {"id": id}

    return {"user_action": user_action}
