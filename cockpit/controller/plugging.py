"""Putting plug-ins on hosts and taking them away, at an operator's word."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from cockpit.controller.direct import Word
from cockpit.controller.executing import hosts_of
from cockpit.model.names import near
from cockpit.model.view import Who
from cockpit.plan.direct import direct_plan
from cockpit.plan.signing import accepted
from cockpit.plan.steps import Bad, Intent, Plan, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller
    from cockpit.link.hub import Answer

class Push(Word, frozen=True, kw_only=True):
    plugin: str
    """`name/version`."""
    hosts: tuple[str, ...] = ()


class Remove(Word, frozen=True, kw_only=True):
    name: str
    hosts: tuple[str, ...] = ()


ROLE = KIND = "plugin"
FETCH_TIME = 600.0
LOAD_TIME = 60.0
AT_ONCE = 50
_numbers = itertools.count(1)

Item = dict[str, Any]
"""{"host","state": loaded | removed | failed | no answer | not sent,"text"}"""


def check(c: Controller, id: str) -> dict[str, Any]:
    """The store's record of a plug-in that is signed. Raises Bad, Refused."""
    record = c.catalog.records.get(id)
    if record is None:
        raise Bad(f"the store has no artifact {id}{near(id, c.catalog.records)}")
    if record["kind"] != KIND:
        raise Bad(f"{id} is of kind {record['kind']}, not {KIND}")
    if ROLE not in accepted(c.world.expected, id, c.catalog.signed):
        if not c.world.expected.signers.get(ROLE):
            raise Refused(
                f"{id} cannot be trusted: the topology names no keys under `signers: {ROLE}:` "
                f"(cockpit artifact keygen {ROLE} --out FILE makes one)"
            )
        raise Refused(f"{id} is not signed as {ROLE}: cockpit artifact approve {id} --role {ROLE} --key FILE")
    return record


def push_plan(c: Controller, request: Push, author: str) -> Plan:
    """Raises Bad, Refused."""
    record = check(c, request.plugin)
    params = {"plugin": request.plugin, "sha256": record["sha256"]}
    return _plan(c, "plugin-push", params, request.hosts, author)


def remove_plan(c: Controller, request: Remove, author: str) -> Plan:
    """Raises Bad."""
    return _plan(c, "plugin-remove", {"plugin": request.name}, request.hosts, author)


def _plan(c: Controller, verb: str, params: dict[str, Any], hosts: Sequence[str], author: str) -> Plan:
    targets = hosts_of(c.world.expected, hosts)
    return direct_plan(Intent(verb=verb, targets=targets, params=params, author=author), c.world.revision)


async def push(c: Controller, request: Push, who: Who) -> AsyncIterator[Item]:
    """One item for each host as it ends. Raises Bad, Refused."""
    id, plan = request.plugin, push_plan(c, request, who.author)
    record, targets = check(c, id), plan.intent.targets
    action = f"plugin-{os.getpid()}-{next(_numbers)}"
    guarded = await c.direct.admit(plan, who, request, action)
    c.ledger.note({"kind": "plugin", "what": "push", "plugin": id, "sha256": record["sha256"], "author": who.author,
                   "hosts": list(targets), **guarded})  # fmt: skip
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(host: str) -> Item:
        async with gate:
            return await _load(c, action, record, host, len(targets))

    try:
        async for item in _as_they_end([one(h) for h in targets]):
            yield item
    finally:
        c.pushes.over(action)


async def _load(c: Controller, action: str, record: dict[str, Any], host: str, receivers: int) -> Item:
    name, version = str(record["name"]), str(record["version"])
    if host not in c.hub.links:
        return {"host": host, "state": "not sent", "text": "it is not connected"}
    task = f"{action}/{host}/fetch"
    args = c.pushes.args(action, task, host, name, version, receivers)
    args["require"] = sorted({*args["require"], ROLE})
    try:
        fetched = await c.hub.command(host, "fetch", args, task=task, timeout=FETCH_TIME)
        c.pushes.answered(fetched)
        if not fetched.ok:
            return _failed(host, fetched)
        load = {
            "name": name, "version": version, "sha256": record["sha256"], "platform": record["platform"],
            "signatures": c.catalog.signatures(name, version),
            "signers": {role: list(keys) for role, keys in c.world.expected.signers.items()},
        }
        loaded = await c.hub.command(host, "plugin", load, task=f"{action}/{host}/load", timeout=LOAD_TIME)
    except (ConnectionError, TimeoutError):
        return {"host": host, "state": "no answer", "text": "it was asked; whether it has loaded it is not known"}
    if not loaded.ok:
        return _failed(host, loaded)
    return {"host": host, "state": "loaded", "text": ", ".join(loaded.data.get("words", ()))}


async def remove(c: Controller, request: Remove, who: Who) -> AsyncIterator[Item]:
    """One item for each host. Raises Bad, Refused."""
    name, plan = request.name, remove_plan(c, request, who.author)
    targets = plan.intent.targets
    guarded = await c.direct.admit(plan, who, request, f"plugin-{os.getpid()}-{next(_numbers)}")
    c.ledger.note({"kind": "plugin", "what": "remove", "plugin": name, "author": who.author,
                   "hosts": list(targets), **guarded})  # fmt: skip

    async def one(host: str) -> Item:
        if host not in c.hub.links:
            return {"host": host, "state": "not sent", "text": "it is not connected"}
        task = f"plugin-remove-{host}-{time.monotonic_ns()}"
        try:
            answer = await c.hub.command(host, "plugin-remove", {"name": name}, task=task, timeout=LOAD_TIME)
        except (ConnectionError, TimeoutError):
            return {"host": host, "state": "no answer", "text": "whether it has removed it is not known"}
        if not answer.ok:
            return _failed(host, answer)
        back = answer.data.get("version")
        return {"host": host, "state": "removed", "text": f"{name}/{back} of the agent serves" if back else ""}

    async for item in _as_they_end([one(h) for h in targets]):
        yield item


def _failed(host: str, answer: Answer) -> Item:
    return {"host": host, "state": "failed", "text": answer.text or answer.code}


async def _as_they_end(work: list[Any]) -> AsyncIterator[Item]:
    tasks = [asyncio.create_task(w) for w in work]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
