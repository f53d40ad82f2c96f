"""The journal and the store agree about how far the journal goes."""

from __future__ import annotations

from pathlib import Path

from tests.controller.fakes import engine


async def test_what_was_only_noted_is_known_to_the_store(short_dir: Path) -> None:
    """Entries without a commit of their own: exec, plug-ins, what somebody did on a host."""
    async with engine(short_dir) as c:
        c.ledger.note({"kind": "exec-end", "id": "exec-1", "stopped": False, "ok": 1, "others": {}, "open": []})
        await c.ledger.keep()
        meta = (await c.store.load())["meta"]
        assert meta["journal"] == {"hash": c.ledger.journal.head, "count": c.ledger.journal.count}
