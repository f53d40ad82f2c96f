"""The ops `explain` and `timeline`: the pure engine on the controller's tables, and what must be asked for."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.controller.lives import life_of
from cockpit.explain.asked import explain, worst_instances
from cockpit.explain.facts import Facts, More
from cockpit.explain.lately import lately
from cockpit.model.names import near, resolve
from cockpit.model.states import UP
from cockpit.model.view import OK, Who
from cockpit.model.why_rows import ACTION, CLUSTER, GROUP, HOST, INSTANCE, RELAY, SERVICE, Findings
from cockpit.plan.steps import Bad
from cockpit.times import when

if TYPE_CHECKING:
    from cockpit.controller.core import Controller
    from cockpit.controller.operations import Op

WITHIN = 1.5
"""Seconds in which all hosts must have given their log lines: nobody waits longer for a silent one."""
LOGS = 6
"""Instances whose last lines are asked for."""
LINES = 8
LATE = 2000
"""Moments that suspicion looks at, the latest."""
MOST = 2000
"""Moments of one timeline."""
KINDS = (INSTANCE, SERVICE, GROUP, HOST, RELAY, ACTION, CLUSTER)


def operations(c: Controller) -> dict[str, Op]:
    async def explaining(who: Who, args: dict[str, Any]) -> Any:
        kind, name = named(c, str(args.get("name", "")), str(args.get("kind", "")))
        return await why(c, kind, name)

    async def timeline(who: Who, args: dict[str, Any]) -> Any:
        kind, name = named(c, str(args.get("name", "")), str(args.get("kind", "")))
        return await life_of(c, kind, name, max(1, min(MOST, int(args.get("limit", 500)))))

    return {"explain": explaining, "timeline": timeline}


def named(c: Controller, name: str, kind: str = "") -> tuple[str, str]:
    """Kind and full name of what a word means. Raises Bad, with the nearest right thing."""
    tables = c.board.tables
    if kind and kind not in KINDS:
        raise Bad(f"no kind {kind!r}: {', '.join(KINDS)}")
    if kind == CLUSTER or not (name or kind):
        return CLUSTER, ""
    if kind == ACTION or (not kind and name.startswith("#")):
        id = "#" + name.lstrip("#")
        if id not in tables["actions"] and id not in c.ledger.actions:
            raise Bad(f"no action {id}" + near(id, tables["actions"]))
        return ACTION, id
    for table, word in (("hosts", HOST), ("relays", RELAY)):
        if kind == word or not kind:
            if name in tables[table]:
                return word, name
            if kind:
                raise Bad(f"no {word} {name!r}" + near(name, tables[table]))
    if kind == INSTANCE or (not kind and "/" in name):
        return INSTANCE, resolve(name, tables["instances"], "instance")
    if not kind and not any(p == name or p.endswith("." + name) for p in tables["nodes"]):
        raise Bad(f"no object {name!r}" + near(name, [*tables["nodes"], *tables["hosts"], *tables["relays"]]))
    path = resolve(name, tables["nodes"], "service or group")
    return (SERVICE if tables["nodes"][path].kind == "service" else GROUP), path


def facts_of(c: Controller, more: dict[str, More] | None = None) -> Facts:
    """The engine's view of the tables as they are now; nothing is copied."""
    t = c.board.tables
    moments = c.watching.moments
    late = [moments[n] for n in range(max(0, len(moments) - LATE), len(moments))]
    actions = {**{i: r.row for i, r in c.ledger.actions.items()}, **t["actions"]}
    return Facts(
        now=time.time(), wrong=c.watching.wrong, instances=t["instances"], hosts=t["hosts"], relays=t["relays"],
        nodes=t["nodes"], drift=t["drift"], actions=actions, revisions=c.ledger.revisions[-200:], moments=late,
        more=more or {}, calls=c.metrics.calls, short=c.short,
    )  # fmt: skip


async def why(c: Controller, kind: str, name: str) -> Findings:
    """The answer for one object, with the last log lines of what fails most; at most WITHIN seconds later."""
    ids = worst_instances(facts_of(c), kind, name, LOGS)
    told = await asyncio.gather(*(_more(c, id) for id in ids))
    more = dict(zip(ids, told, strict=True))
    answer = explain(facts_of(c, more), kind, name)
    unknown = tuple(dict.fromkeys(m.no_lines for m in told if m.no_lines))
    answer = msgspec.structs.replace(answer, unknown=unknown)
    return answer if answer.findings else await _healed(c, answer)


async def _healed(c: Controller, answer: Findings) -> Findings:
    """Of an instance that is well: with what went wrong within the last day."""
    row = c.board.tables["instances"].get(answer.name) if answer.kind == INSTANCE else None
    if row is None or row.mark != OK:
        return answer
    life = await life_of(c, INSTANCE, row.id, MOST)
    words, shown = lately(
        c.short(row.id), row.word or row.state.lower(), life.moments, answer.now, lambda at: when(at, answer.now)
    )
    return msgspec.structs.replace(answer, calm=words or answer.calm, lately=shown)


async def _more(c: Controller, id: str) -> More:
    from cockpit.controller.core import exit_line

    units = sorted(c.world.units.get(id, {}).values(), key=lambda u: -u.gen)
    exits = tuple(exit_line(u) for u in units if u.exit is not None)
    probe = next((u.probe for u in units if u.probe), {})
    words = "  ".join(f"{k} {v}" for k, v in sorted(probe.items()))[:400]
    hosts = {c.world.where[u.unit] for u in units if u.unit in c.world.where}
    silent = [h for h in sorted(hosts) if h not in c.world.hosts or c.world.hosts[h].presence != UP]
    lines: tuple[str, ...] = ()
    no_lines = ""
    if not units:
        no_lines = f"there is no log of {c.short(id)}: no host tells of a run"
    elif silent and len(silent) == len(hosts):
        no_lines = f"the log of {c.short(id)} was not asked for: {silent[0]} is {_presence(c, silent[0])}"
    else:
        try:
            async with asyncio.timeout(WITHIN):
                lines = await c.runner.tail(id, LINES)
        except TimeoutError:
            no_lines = f"the log of {c.short(id)} did not come within {WITHIN:g} s"
    return More(exits=exits, lines=tuple(line[:500] for line in lines), no_lines=no_lines, probe=words)


def _presence(c: Controller, host: str) -> str:
    return c.world.hosts[host].presence if host in c.world.hosts else "unknown"
