"""`cockpit replay`: a saved journal as plans, on a twin, or live."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.act import journal, replay, targets
from cockpit.act.duration import Durations, version_key
from cockpit.act.messages import DONE as DONE_STEP
from cockpit.act.twin import Twin, end_state
from cockpit.cli.common import BAD, DIFFERS, DONE, Fail, connect, drive, print_json, read_journal, say, warn
from cockpit.model.actual import Actual, HostActual
from cockpit.model.states import UP
from cockpit.model.topology import Expected, from_doc, service_path
from cockpit.model.view import RevisionRow
from cockpit.plan.steps import Plan, Refused

if TYPE_CHECKING:
    from cockpit.ports import Session


class Seed(msgspec.Struct, kw_only=True):
    """What the controller tells of itself for a simulated copy."""

    doc: dict[str, Any]
    revision: int
    actual: Actual
    durations: dict[str, Any]
    gens: dict[str, int]
    revisions: tuple[RevisionRow, ...]
    last_import: dict[str, Any] | None
    stable: dict[str, str]
    actions: int

    def twin(self, hosts: Iterable[str], entries: Iterable[journal.Entry]) -> Twin:
        """A copy as it is now; with `hosts`: these, up and empty, before the first revision."""
        durations = Durations.load(self.durations)
        learn(durations, entries, self.actual.artifacts)
        up = {h: HostActual(name=h, presence=UP) for h in hosts}
        if up:
            actual = Actual(hosts=up, artifacts=self.actual.artifacts, kinds=self.actual.kinds)
            return Twin(Expected(name=""), actual, durations=durations, now=time.time())
        return Twin(
            from_doc(self.doc), self.actual, durations=durations, now=time.time(), revision=self.revision,
            revisions=self.revisions, actions=self.actions, gens=self.gens, last_import=self.last_import,
            stable=self.stable,
        )


def run(args: argparse.Namespace) -> int:
    """Exit 0 when every outcome was as recorded, 1 at the first that differs."""
    entries = read_journal(Path(args.file))
    return drive(lambda: _run(args, entries))


async def _run(args: argparse.Namespace, entries: list[journal.Entry]) -> int:
    items = replay.schedule(entries, args.first, args.last)
    session = connect(args, view=not args.live)
    await session.connect()
    try:
        tell = None if args.json else _tell
        ask = _ask if args.step else None
        if args.live:
            if session.who.read_only:
                raise Refused(f"a live replay is refused: {session.who.read_only}")
            target: Any = targets.SessionTarget(session)
            report = await replay.replay(items, target, speed=args.speed, ask=ask, say=tell)
            seed = await _seed(session)
            state = end_state(from_doc(seed.doc), seed.actual)
        elif args.twin:
            seed = await _seed(session)
            twin = seed.twin(_first_hosts(entries, items), entries)
            report = await replay.replay(items, targets.TwinTarget(twin), ask=ask, say=tell)
            state = twin.end_state()
            if not args.json and twin.assumed:
                say("never recorded, so assumed: " + ", ".join(twin.assumed))
        else:
            report = await replay.dry_run(items, session.plan, tell)
            state = None
    finally:
        await session.close()
    if args.json:
        print_json({"report": report, "end_state": state})
    elif report.differs:
        warn(report.differs)
    elif report.stopped:
        say("stopped")
    elif state is not None:
        say(f"{len(report.lines)} actions, every outcome as recorded")
    return DIFFERS if report.differs else DONE


async def _seed(session: Session) -> Seed:
    return msgspec.convert(await session.call("twin"), Seed)


def _first_hosts(entries: list[journal.Entry], items: list[replay.Item]) -> list[str]:
    """The hosts of the cluster's first revision, when what is replayed begins with it."""
    first = next((e for e in entries if e.kind == journal.INTENT), None)
    if not items or first is None or first.seq != items[0].seq or first.body.get("base") != 0:
        return []
    return list(first.body["params"].get("document", {}).get("hosts", {}))


def learn(durations: Durations, entries: Iterable[journal.Entry], artifacts: Mapping[str, str]) -> None:
    """What the journal's own health gates say of versions that were never run here."""
    names: dict[str, str] = {}
    data: dict[str, dict[str, str]] = {}
    """Service -> data name -> artifact."""
    for entry in entries:
        if entry.kind == journal.INTENT:
            services = entry.body["params"].get("document", {}).get("services", {})
            names |= {p: s["artifact"] for p, s in services.items() if s.get("artifact")}
            data |= {p: {n: d["artifact"] for n, d in s.get("data", {}).items()} for p, s in services.items()}
        seen = entry.body.get("observed")
        if entry.kind != journal.GATE or not seen or not seen.get("version"):
            continue
        service = service_path(entry.body["instance"])
        ids: list[str] = list((entry.body.get("data") or {}).values())
        keys = [artifacts.get(id, id) for id in ids]
        if not ids:  # it was started, with its release and its data
            keys = [version_key(names.get(service), seen["version"], artifacts)]
            keys += [
                version_key(artifact, seen.get("data", {}).get(name, ""), artifacts)
                for name, artifact in data.get(service, {}).items()
            ]
        for key in keys:
            if durations.healthy(service, key) is None:
                durations.judge(service, key, entry.body["state"] == DONE_STEP, str(entry.body.get("note", "")))


def _tell(line: replay.Line) -> None:
    mark = "=" if line.same else "!"
    note = f"  {line.note}" if line.note else ""
    say(f"{mark} {line.seq:>5}  {line.action} {line.title}: {line.recorded or 'unfinished'}, now {line.now}{note}")


async def _ask(item: replay.Item, plan: Plan) -> bool:
    if not sys.stdin.isatty():
        raise Fail(BAD, "--step asks before each entry and needs a terminal")
    from cockpit.cli.show import plan_text

    say(plan_text(plan))
    question = f"Run entry {item.seq} ({item.title})? [y/N] "
    return (await asyncio.to_thread(input, question)).strip().lower() in ("y", "yes")
