"""What was expected at an earlier revision, and what differs between two: from the patches that led here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.model.changes import describe
from cockpit.model.names import resolve
from cockpit.model.patch import Conflict, apply, diff, inverse
from cockpit.model.topology import Doc
from cockpit.model.view import RevisionRow, Who
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller
    from cockpit.controller.operations import Op

MOST = 5000
"""Changes of one answer."""


def operations(c: Controller) -> dict[str, Op]:
    async def between(who: Who, args: dict[str, Any]) -> Any:
        """{from, to (0: the head)} -> {from, to, changes, sentences, left_out}"""
        first, last = (_number(c, args.get(k)) for k in ("from", "to"))
        old, new = await asyncio.to_thread(_both, c.world.doc, tuple(c.ledger.revisions), first, last)
        changes = await asyncio.to_thread(diff, old, new)
        words = describe(changes[:MOST], c.short)
        return {
            "from": first, "to": last, "changes": changes[:MOST], "sentences": words[:MOST],
            "left_out": max(0, len(changes) - MOST),
        }

    async def at(who: Who, args: dict[str, Any]) -> Any:
        """{instance, revision} -> {instance, revision, service, host, stopped}; service null: it was not expected."""
        number = _number(c, args.get("revision"))
        doc = await asyncio.to_thread(doc_at, c.world.doc, tuple(c.ledger.revisions), number)
        name = str(args.get("instance", ""))
        known = {*c.board.tables["instances"], *doc.get("placement", {})}
        id = resolve(name, known, "instance")
        host = doc.get("placement", {}).get(id)
        service = doc.get("services", {}).get(id.rpartition("/")[0]) if host is not None else None
        return {
            "instance": id, "revision": number, "service": service, "host": host,
            "stopped": bool(doc.get("stopped", {}).get(id)),
        }

    return {"revision_diff": between, "instance_at": at}


def _number(c: Controller, given: Any) -> int:
    """0 or nothing: the head. Raises Bad for one that there is not."""
    try:
        number = int(given or 0)
    except (TypeError, ValueError):
        raise Bad(f"no revision {given!r}: a revision is a number, `revisions` lists them") from None
    head = c.world.revision
    if not number:
        return head
    first = c.ledger.revisions[0].number if c.ledger.revisions else head
    if not first - 1 <= number <= head or number < 0:
        raise Bad(f"no revision {number}: there are {first} to {head}")
    return number


def _both(doc: Doc, revisions: Sequence[RevisionRow], first: int, last: int) -> tuple[Doc, Doc]:
    return doc_at(doc, revisions, first), doc_at(doc, revisions, last)


def doc_at(head: Doc, revisions: Sequence[RevisionRow], number: int) -> Doc:
    """The document of a revision: the head, with every later patch taken back. Raises Bad when one does not fit."""
    doc = head
    for revision in sorted(revisions, key=lambda r: -r.number):
        if revision.number <= number:
            break
        try:
            doc = apply(doc, inverse(revision.changes))
        except Conflict as e:
            raise Bad(f"revision {number} cannot be had back: rev {revision.number} does not fit ({e})") from None
    return msgspec.convert(doc, dict[str, Any])
