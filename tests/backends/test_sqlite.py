"""The embedded state store: one transaction a commit, on disk when it returns, and it knows when it is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.sqlite import SqliteStore, open_store
from cockpit.controller.core import open_backend
from cockpit.plan.steps import Bad
from cockpit.ports import Write
from tests.helpers import PATIENCE
from tests.house.tree import ROOT

WRITER = """
import asyncio, sys
from pathlib import Path
from backends.sqlite import open_store

async def main():
    store = open_store(Path(sys.argv[1]))
    await store.load()
    n = 0
    while True:
        n += 1
        await store.commit([("a", "n", n), ("b", "n", n), ("log", f"{n:06d}", "x" * 500)])
        print(n, flush=True)

asyncio.run(main())
"""

LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from backends.sqlite import open_store

async def main():
    store = open_store(Path(sys.argv[1]))
    await store.load()
    await store.commit([("a", "n", 1)])
    size = max(p.stat().st_size for p in Path(sys.argv[1]).iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, resource.RLIM_INFINITY))
    try:
        await store.commit([("a", "n", 2), ("a", "big", "x" * 1_000_000)])
    except OSError as e:
        print("OSError", e, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.commit([("a", "m", 3)])
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = open_store(tmp_path / "s")
    await made.load()
    yield made
    await made.close()


async def content(directory: Path) -> dict[str, dict[str, Any]]:
    """What another process would find."""
    other = open_store(directory)
    try:
        return await other.load()
    finally:
        await other.close()


async def test_a_new_store_is_empty_and_private(store: SqliteStore) -> None:
    assert await content(store.path.parent) == {}
    await store.commit([("meta", "x", 1)])
    directory = store.path.parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = sorted(p.name for p in directory.iterdir())
    assert files == ["state.db", "state.db-shm", "state.db-wal"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()} == {0o600}


async def test_values_come_back_as_they_were(store: SqliteStore) -> None:
    value = {"a": [1, 2.5, None, True], "ä": "数独\0", "deep": {"x": {}}}
    await store.commit([("t", "k", value), ("t", "", 0), ("", "k", "")])
    assert await content(store.path.parent) == {"": {"k": ""}, "t": {"": 0, "k": value}}


async def test_none_deletes_and_the_last_write_wins(store: SqliteStore) -> None:
    await store.commit([("t", "a", 1), ("t", "b", 2)])
    await store.commit([("t", "a", None), ("t", "b", 3), ("t", "b", 4), ("t", "never", None)])
    assert await content(store.path.parent) == {"t": {"b": 4}}


tables = st.sampled_from(["a", "b"])
keys = st.sampled_from(["1", "2", "3"])
values = st.none() | st.integers(0, 9) | st.text(max_size=3) | st.dictionaries(keys, st.booleans())


@given(st.lists(st.lists(st.tuples(tables, keys, values), max_size=4), max_size=6))
@settings(max_examples=25, deadline=None)
def test_it_is_a_map_of_maps(commits: list[list[Write]]) -> None:
    model: dict[str, dict[str, Any]] = {}
    for commit in commits:
        for table, key, value in commit:
            if value is None:
                model.get(table, {}).pop(key, None)
            else:
                model.setdefault(table, {})[key] = value

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            store = open_store(Path(directory))
            await store.load()
            for commit in commits:
                await store.commit(commit)
            assert await content(Path(directory)) == {t: rows for t, rows in model.items() if rows}
            await store.close()

    asyncio.run(run())


async def test_a_commit_is_all_or_nothing(store: SqliteStore) -> None:
    await store.commit([("t", "a", 1)])
    with pytest.raises(TypeError):
        await store.commit([("t", "a", 2), ("t", "b", object())])  # cannot be JSON
    with pytest.raises(OSError, match="state.db"):
        await store.commit([("t", "a", 2), ("t", ["no key"], 3)])  # type: ignore[list-item]
    assert await content(store.path.parent) == {"t": {"a": 1}}
    await store.commit([("t", "a", 5)])  # and the store goes on
    assert await content(store.path.parent) == {"t": {"a": 5}}


async def test_commits_side_by_side_do_not_mix(store: SqliteStore) -> None:
    await asyncio.gather(*(store.commit([("a", "n", n), ("b", "n", n)]) for n in range(50)))
    found = await content(store.path.parent)
    assert found["a"]["n"] == found["b"]["n"] == 49


@pytest.mark.parametrize("how", ["file", "directory", "replaced"])
async def test_it_knows_when_it_is_lost(store: SqliteStore, how: str) -> None:
    await store.commit([("t", "a", 1)])
    assert not await store.lost()
    match how:
        case "file":
            store.path.unlink()
        case "directory":
            shutil.rmtree(store.path.parent)
        case "replaced":
            store.path.rename(store.path.with_name("old.db"))
            await content(store.path.parent)  # somebody began anew in the same place
    assert await store.lost()
    with pytest.raises(OSError, match="is gone"):
        await store.commit([("t", "a", 2)])
    if how == "replaced":
        assert await content(store.path.parent) == {}


async def test_a_store_that_is_not_open_is_an_oserror(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(OSError, match="is gone"):
        await store.commit([("t", "a", 1)])
    await store.close()


@pytest.mark.parametrize("damage", [b"this is no database, whatever its name says" * 100, b"SQLite format 3\0" * 300])
async def test_a_file_that_is_no_state_is_an_oserror_and_stays(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(damage)
    store = open_store(tmp_path)
    with pytest.raises(OSError, match="state.db"):
        await store.load()
    await store.close()
    assert path.read_bytes() == damage


async def test_a_place_that_cannot_be_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = open_store(tmp_path / "file" / "s")
    with pytest.raises(OSError):
        await store.load()
    await store.close()


def program(text: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text, str(directory)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("after", [1, 17, 60])
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, after: int) -> None:
    with program(WRITER, tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == after:
                process.send_signal(signal.SIGKILL)
                break
        said = [int(line) for line in process.stdout]
    acknowledged = max([after, *said])
    found = await content(tmp_path)
    n = found["a"]["n"]
    assert n >= acknowledged  # the last one may be on disk before its word was
    assert found["b"]["n"] == n
    assert len(found["log"]) == n
    with sqlite3.connect(tmp_path / "state.db") as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()


async def test_a_full_disk_is_an_oserror_and_leaves_the_old_state(tmp_path: Path) -> None:
    with program(LIMITED, tmp_path) as process:
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert said.startswith("OSError")
    assert await content(tmp_path) == {"a": {"n": 1, "m": 3}}


async def test_it_is_found_by_its_name(tmp_path: Path) -> None:
    store = open_backend("cockpit.state", "sqlite")(tmp_path)
    assert isinstance(store, SqliteStore)
    await store.close()
    with pytest.raises(Bad, match="known are sqlite"):
        open_backend("cockpit.state", "oracle")
