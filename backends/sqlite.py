"""State in one SQLite file: the embedded default.

One writer thread; every commit is one transaction with full sync, so what was acknowledged is on
disk. Tables are rows of (table, key, JSON value), which is what a store across machines can hold
as well.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from cockpit.ports import Write


class SqliteStore:
    """Implements `cockpit.ports.StateStore`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, "state")
        self._inode: tuple[int, int] | None = None

    async def load(self) -> dict[str, dict[str, Any]]:
        """Open (creating with mode 0600) and read everything: table -> key -> value.

        Raises OSError when the file is not such a state, or cannot be read.
        """
        tables: dict[str, dict[str, Any]] = await self._run(self._open)
        return tables

    async def commit(self, writes: Sequence[Write]) -> None:
        """All or nothing; returns when it is on disk. Raises OSError when the file is gone.

        A value is written as it is at that moment: one that grows meanwhile may be a little newer.
        """
        await self._run(self._write, tuple(writes))

    async def lost(self) -> bool:
        """True when the file was deleted or replaced under us."""
        return bool(await self._run(self._gone))

    async def close(self) -> None:
        await self._run(self._close)
        self._thread.shutdown()

    async def _run(self, function: Any, *args: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        except sqlite3.Error as e:
            raise OSError(f"the state file {self.path}: {e}") from e

    def _open(self) -> dict[str, dict[str, Any]]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        db = self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=full")
        db.execute(
            "create table if not exists state (kind text, key text, value blob, primary key (kind, key))"
        )
        stat = self.path.stat()
        self._inode = (stat.st_dev, stat.st_ino)
        tables: dict[str, dict[str, Any]] = {}
        for kind, key, value in db.execute("select kind, key, value from state order by kind, key"):
            tables.setdefault(kind, {})[key] = msgspec.json.decode(value)
        return tables

    def _write(self, writes: Sequence[Write]) -> None:
        db = self._db
        rows = [(t, k, None if v is None else msgspec.json.encode(v)) for t, k, v in writes]
        if db is None or self._gone():
            raise OSError(f"the state file {self.path} is gone")
        db.execute("begin immediate")
        try:
            for kind, key, value in rows:
                if value is None:
                    db.execute("delete from state where kind=? and key=?", (kind, key))
                else:
                    db.execute("insert or replace into state values (?,?,?)", (kind, key, value))
            db.execute("commit")
        except BaseException:
            if db.in_transaction:  # a full disk ends it by itself
                db.execute("rollback")
            raise

    def _gone(self) -> bool:
        try:
            stat = self.path.stat()
        except OSError:
            return True
        return (stat.st_dev, stat.st_ino) != self._inode

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def open_store(directory: Path) -> SqliteStore:
    return SqliteStore(directory / "state.db")
