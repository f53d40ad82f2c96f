"""The controller's ops beside the session's own: what each is called with, and what it answers.

A part of the controller brings its ops as functions `(who, args)`; who may call what stands in `cockpit.session.ops`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.act.table import DIRECT
from cockpit.artifacts.packed import Damaged
from cockpit.artifacts.retention import DAYS, NEWEST
from cockpit.artifacts.store import Exists
from cockpit.controller import (
    advising,
    approvals,
    building,
    copies,
    earlier,
    executing,
    forwards,
    guarding,
    journals,
    plugging,
    rehearsing,
    shells,
    useractions,
    why,
)
from cockpit.controller.ledger import number_of
from cockpit.controller.retaining import collect_artifacts
from cockpit.controller.signing import artifact_sign
from cockpit.history import ops as history
from cockpit.incident import about
from cockpit.model.topology import to_doc
from cockpit.model.view import Who
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

Op = Callable[[Who, dict[str, Any]], Awaitable[Any]]
Stream = Callable[[Who, dict[str, Any]], AsyncIterator[Any]]


def operations(c: Controller) -> dict[str, Op]:
    """The controller's ops beside the session's."""

    async def export(who: Who, args: dict[str, Any]) -> Any:
        return to_doc(c.world.expected)

    async def twin(who: Who, args: dict[str, Any]) -> Any:
        return twin_seed(c)

    async def artifact_add(who: Who, args: dict[str, Any]) -> Any:
        source, name, version = Path(str(args["path"])), str(args["name"]), str(args["version"])
        try:
            record = await asyncio.to_thread(
                c.artifacts.add, source, name, version, platform=str(args.get("platform", "any")),
                kind=str(args.get("kind", "release")),
            )
        except (Exists, Damaged, ValueError) as e:
            raise Bad(str(e)) from None
        except OSError as e:
            raise Bad(f"{e.filename or source}: {e.strerror or e}") from None
        await c.catalog.refresh()
        return record

    async def artifact_collect(who: Who, args: dict[str, Any]) -> Any:
        newest, days = int(args.get("newest", NEWEST)), float(args.get("days", DAYS))
        before = dict(c.catalog.records)
        try:
            found = await collect_artifacts(c, newest=newest, days=days, dry_run=bool(args.get("dry_run")))
        except (Damaged, OSError) as e:
            raise Bad(str(e)) from None
        await c.catalog.refresh()
        await c.shelf.withdraw(before)
        return found._asdict()

    async def artifact_patch(who: Who, args: dict[str, Any]) -> Any:
        return await c.shelf.patch(str(args["artifact"]), str(args.get("base", "")))

    async def sign(who: Who, args: dict[str, Any]) -> Any:
        return await artifact_sign(c, who, args)

    async def plugins(who: Who, args: dict[str, Any]) -> Any:
        return c.plugins.rows()

    async def schedules(who: Who, args: dict[str, Any]) -> Any:
        return c.plugins.schedules()

    async def direct(who: Who, args: dict[str, Any]) -> Any:
        """`{"verb", ...}` with what its stream is called with: what it would do, where, and what the guards say."""
        rest = {k: v for k, v in args.items() if k != "verb"}
        await c.looked()
        match args.get("verb"):
            case "exec":
                request: Any = msgspec.convert(rest, executing.Request)
                plan = c.executions.plan(request, who.author)
            case "shell":
                request = msgspec.convert(rest, shells.Request)
                plan = c.shells.plan(request, who)
            case "copy":
                request = msgspec.convert(rest, copies.Request)
                plan = c.copies.plan(request, who)
            case "forward":
                request = msgspec.convert(rest, forwards.Request)
                plan = c.forwards.plan(request, who)
            case "plugin-push":
                request = msgspec.convert(rest, plugging.Push)
                plan = plugging.push_plan(c, request, who.author)
            case "plugin-remove":
                request = msgspec.convert(rest, plugging.Remove)
                plan = plugging.remove_plan(c, request, who.author)
            case "artifact-build":
                request = msgspec.convert(rest, building.Request)
                plan = building.build_plan(c, request, who.author)
            case other:
                raise Bad(f"{other!r} is none of {', '.join(DIRECT)}")
        return c.direct.judged(plan, who, request.break_glass)

    async def end(who: Who, args: dict[str, Any]) -> Any:
        c.why = f"ended by {who.author}"
        c.ended.set()
        return {}

    async def ssh(who: Who, args: dict[str, Any]) -> Any:
        return {"states": c.gateway.states, "prompts": c.gateway.prompts}

    async def ssh_answer(who: Who, args: dict[str, Any]) -> Any:
        return {"taken": c.gateway.answer(str(args["prompt"]), str(args["text"]))}

    return {
        **c.security.operations(), **c.alerts.operations(), **c.metrics.operations(), **history.operations(c),
        **c.shells.operations(), **c.copies.operations(), **c.forwards.operations(),
        "export": export, "artifact_add": artifact_add,
        "artifact_collect": artifact_collect, "artifact_patch": artifact_patch, "artifact_sign": sign, "end": end,
        "direct": direct,
        "twin": twin, "plugins": plugins, "schedules": schedules, "ssh": ssh, "ssh_answer": ssh_answer,
        **approvals.operations(c), **guarding.operations(c), **useractions.operations(c),
        **why.operations(c), **journals.operations(c), **earlier.operations(c),
        **about.operations(c), **advising.operations(c),
    }


def streams(c: Controller) -> dict[str, Stream]:
    """The controller's ops that answer with many items."""

    def artifact_build(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
        return building.build(c, msgspec.convert(args, building.Request), who)

    def run_exec(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
        return c.executions.run(msgspec.convert(args, executing.Request), who)

    def plugin_push(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
        return plugging.push(c, msgspec.convert(args, plugging.Push), who)

    def plugin_remove(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
        return plugging.remove(c, msgspec.convert(args, plugging.Remove), who)

    return {
        "artifact_build": artifact_build, "exec": run_exec, "plugin_push": plugin_push,
        "plugin_remove": plugin_remove, **c.metrics.streams(), **rehearsing.streams(c), **history.streams(c),
        **c.shells.streams(), **c.copies.streams(), **c.forwards.streams(),
    }


def twin_seed(c: Controller) -> dict[str, Any]:
    """Everything a simulated copy of this cluster starts from (see `cli.replaying`)."""
    return {
        "doc": to_doc(c.world.expected), "revision": c.world.revision, "actual": c.world.actual(),
        "durations": c.desk.durations.dump(), "gens": dict(c.world.gens), "revisions": list(c.ledger.revisions),
        "last_import": c.ledger.last_import, "stable": c.desk.stable,
        "actions": max((number_of(a) for a in c.ledger.actions), default=0),
    }
