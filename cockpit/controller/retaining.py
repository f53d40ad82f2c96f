"""What must stay in the store, whatever its age: what runs, is installed, or could be rolled back to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cockpit.artifacts.care import Collected, collect
from cockpit.plan.steps import Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller


def roots(
    records: Mapping[str, Mapping[str, Any]], installed: Iterable[str], documents: Iterable[Any]
) -> frozenset[str]:
    """`name/version` of the records that are installed somewhere, or whose version is named in a document.

    Documents are read without knowing their shape: a version that is named as any text keeps every artifact
    of that version. That keeps a few too many and never one too few.
    """
    named = {text for document in documents for text in _texts(document)}
    return frozenset(installed) | {id for id, record in records.items() if record["version"] in named}


def _texts(document: Any) -> Iterator[str]:
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, (list, tuple)):
            pending += value


def unheard(joined: Collection[str], heard: Collection[str]) -> list[str]:
    """Hosts that may have anything installed: nobody asked them since this controller started."""
    return sorted(set(joined) - set(heard))


async def collect_artifacts(c: Controller, *, newest: int, days: float, dry_run: bool) -> Collected:
    """Raises Refused while a host has not reported what it has, Damaged, OSError."""
    hosts = c.world.hosts
    joined = [h for h in c.joining.uuids if h in c.world.expected.hosts]
    silent = unheard(joined, [name for name, host in hosts.items() if host.seen is not None])
    if silent:
        raise Refused(
            f"nothing was deleted: {', '.join(silent[:5])}{' ...' if silent[5:] else ''} did not report yet which"
            " versions are installed there"
        )
    actions = c.ledger.actions  # a revision can be rolled back as long as its action is kept
    changes = [[change.old, change.new] for r in c.ledger.revisions if r.action in actions for change in r.changes]
    documents: list[Any] = [c.world.doc, c.ledger.last_import, dict(c.desk.stable), changes]
    documents += [unit.version for units in c.world.units.values() for unit in units.values()]
    installed = [release for host in hosts.values() for release in host.releases]
    records = await asyncio.to_thread(c.artifacts.listing)
    keep = roots(records, installed, documents)
    return await asyncio.to_thread(
        lambda: collect(c.artifacts, keep, now=time.time(), newest=newest, days=days, dry_run=dry_run)
    )
