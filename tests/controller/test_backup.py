"""Backups: of a controller that works, sealed and not, checked, put back, and never more than what they should be."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cockpit.act import journal
from cockpit.controller import sealed
from cockpit.controller.backup import backup, check, restore
from cockpit.controller.core import Controller
from cockpit.controller.serving import here
from cockpit.plan.steps import Bad, Intent, Refused
from tests.controller.fakes import FakeAgent, agent, engine

SECRET = "correct horse"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT with a state `s` whose controller has ended, its backup `b`, and a sealed one `e`."""
    root = tmp_path_factory.mktemp("saved")

    async def make() -> None:
        async with engine(root) as c:
            await agent_was_here(c, root)

    asyncio.run(make())
    with pytest.MonkeyPatch.context() as quick:
        quick.setattr(sealed.Sealer.__init__, "__defaults__", (sealed.LEAST_N,))
        backup(root / "s", root / "b")
        backup(root / "s", root / "e", passphrase=SECRET)
    return root


async def agent_was_here(c: Controller, root: Path) -> FakeAgent:
    made = await agent(c, root, "a-1")
    await made.stop()
    return made


def test_what_is_in_it(saved: Path) -> None:
    summary = check(saved / "b")
    assert (summary.cluster, summary.revision, summary.hosts, summary.sealed) == ("still", 1, 1, False)
    assert (saved / "b").stat().st_mode & 0o777 == (saved / "e").stat().st_mode & 0o777 == 0o600
    assert check(saved / "e", passphrase=SECRET).sealed
    assert b"PRIVATE KEY" in (saved / "b").read_bytes()
    assert b"PRIVATE KEY" not in (saved / "e").read_bytes() and b"still" not in (saved / "e").read_bytes()
    assert {p.name for p in saved.iterdir()} == {"s", "b", "e", "a-1"} | {p.name for p in saved.glob("s.hosts")}


async def test_while_the_controller_works_and_hosts_come_back_after_it_was_lost(short_dir: Path) -> None:
    root = short_dir
    async with engine(root) as c:
        a = await agent(c, root, "a-1")
        port, who = c.hub.port, c.session(here())
        stop, saves = asyncio.Event(), 0

        async def work() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                await who.submit(Intent(verb="scale", targets=("batch",), params={"count": n % 2}))
                await c.ledger.commit([("meta", "noise", n)])

        async def save() -> None:
            nonlocal saves
            for _ in range(5):
                await asyncio.to_thread(backup, root / "s", root / "b")
                saves += 1
            stop.set()

        results = await asyncio.gather(work(), save(), return_exceptions=True)
        assert saves == 5, results
        await a.stop()
    shutil.rmtree(root / "s")
    summary = restore(root / "b", root / "s")
    entries, torn = journal.verify(root / "s" / "journal.jsonl")
    assert torn is None and len(entries) == summary.entries > 0
    async with engine(root) as c:
        assert c.hub.port == port and c.joining.admits("a-1", a.id)
        await a.start()  # with the identity that it had: nothing was joined
        assert "a-1" in c.hub.links
        await a.stop()


def test_where_it_is_not_put(saved: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    for place in (full, full / "x"):
        with pytest.raises(Refused, match="not empty"):
            restore(saved / "b", place)
    assert [p.name for p in full.iterdir()] == ["x"]
    (tmp_path / "empty").mkdir()
    restore(saved / "b", tmp_path / "empty")
    assert (tmp_path / "empty" / "ca" / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o710


async def test_a_controller_that_runs_is_not_overwritten(saved: Path, short_dir: Path) -> None:
    async with engine(short_dir):
        with pytest.raises(Refused, match="a controller runs"):
            restore(saved / "b", short_dir / "s")


def test_what_it_does_not_overwrite(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(Refused, match="left alone"):
        backup(saved / "s", tmp_path / "precious")
    assert (tmp_path / "precious").read_text() == "mine"
    with pytest.raises(Bad, match="elsewhere"):
        backup(saved / "s", saved / "s" / "b")
    with pytest.raises(Bad, match="no state"):
        backup(tmp_path, tmp_path / "b")
    for name in ("b", "e"):
        shutil.copy(saved / name, tmp_path / name)
        backup(saved / "s", tmp_path / name)
        check(tmp_path / name)
    assert {p.name for p in tmp_path.iterdir()} == {"precious", "b", "e"}


def test_a_backup_without_its_passphrase(saved: Path) -> None:
    with pytest.raises(Bad, match="is sealed"):
        check(saved / "e")
    with pytest.raises(Bad, match="wrong passphrase"):
        check(saved / "e", passphrase="wrong")


@pytest.mark.parametrize("name", ["b", "e"])
@pytest.mark.parametrize("part", range(12))
def test_a_damaged_byte_or_a_missing_end_is_seen(saved: Path, tmp_path: Path, name: str, part: int) -> None:
    data = bytearray((saved / name).read_bytes())
    meaningful = len(data) - (10240 if name == "b" else 0)  # a plain tar ends in padding
    if part % 2:
        del data[meaningful * part // 12 :]
    else:
        data[meaningful * part // 12 + 40] ^= 1
    (tmp_path / "x").write_bytes(data)
    try:
        whole = check(tmp_path / "x", passphrase=SECRET) == check(saved / "b")
    except Bad:
        whole = False
    else:  # padding between members holds nothing
        assert whole and name == "b" and not part % 2
    with contextlib.nullcontext() if whole else pytest.raises(Bad):
        restore(tmp_path / "x", tmp_path / "s", passphrase=SECRET)
    assert not list(tmp_path.glob(".cockpit*"))


def rewritten(source: Path, target: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    """A copy of a backup with other members."""
    with tarfile.open(source) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(target, "w") as out:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            out.addfile(info, io.BytesIO(data) if info.isreg() else None)


NAMES = [
    "../x", "/etc/x", "ca/../../x.pem", "ca/x.pem/../../y", "artifacts/../x", "artifacts/a/../../x", "artifacts/./x",
    "state.db", "controller.lock", "artifacts/" + "a/" * 20 + "x", "ca/X.pem", "\x00", "artifacts/..",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_would_escape_or_does_not_belong_there(saved: Path, tmp_path: Path, name: str) -> None:
    box = tmp_path / "box"
    box.mkdir()

    def add(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members.insert(-1, (tarfile.TarInfo(name), b"x"))

    rewritten(saved / "b", box / "b", add)
    with pytest.raises(Bad):
        restore(box / "b", box / "s")
    assert [p.name for p in box.iterdir()] == ["b"] and [p.name for p in tmp_path.iterdir()] == ["box"]


KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE]


@pytest.mark.parametrize("kind", KINDS)
def test_only_plain_files(saved: Path, tmp_path: Path, kind: bytes) -> None:
    def add(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        info = tarfile.TarInfo("artifacts/a/b")
        info.type, info.linkname = kind, "/etc/passwd"
        members.insert(1, (info, b""))

    rewritten(saved / "b", tmp_path / "b", add)
    with pytest.raises(Bad, match="plain file"):
        restore(tmp_path / "b", tmp_path / "s")
    assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize("member", ["state.db", "journal.jsonl", "ca/ca.pem", "ca/ca-key.pem"])
@pytest.mark.parametrize("honest", [False, True], ids=["digest", "content"])
def test_a_file_that_is_another(saved: Path, tmp_path: Path, member: str, honest: bool) -> None:
    """Also when the manifest was made to fit: the parts must belong together."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for n, (info, data) in enumerate(members):
            if info.name == member:
                half = len(data) // 2
                new = b"" if member == "journal.jsonl" else data[:half] + b"x" + data[half + 1 :]
                members[n] = (info, new)
                if honest and member != "state.db":  # who may write a manifest may write a state
                    manifest = json.loads(members[-1][1])
                    manifest["files"][member] = [len(new), hashlib.sha256(new).hexdigest()]
                    members[-1] = (members[-1][0], json.dumps(manifest).encode())

    rewritten(saved / "b", tmp_path / "b", change)
    with pytest.raises(Bad):
        restore(tmp_path / "b", tmp_path / "s")
    assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize("size", [0, 1, sealed.FRAME - 1, sealed.FRAME, sealed.FRAME + 1, 3 * sealed.FRAME + 7])
def test_sealed_frames_of_every_length(size: int) -> None:
    data, out = os.urandom(size), io.BytesIO()
    sealer = sealed.Sealer(out, "p", sealed.LEAST_N)
    for at in range(0, size, 10_000):
        sealer.write(data[at : at + 10_000])
    sealer.finish()
    assert sealed.Unsealer(io.BytesIO(out.getvalue()), "p").read() == data
    frame = sealed.FRAME + sealed.TAG
    body = out.getvalue()[sealed.HEADER :]
    cuts = [body[:n] for n in range(0, len(body), frame)] + [body + b"x" * 16]
    if size > 2 * sealed.FRAME:
        cuts.append(body[frame : 2 * frame] + body[:frame] + body[2 * frame :])
    for cut in cuts:
        with pytest.raises((sealed.BrokenSeal, sealed.WrongPassphrase)):
            sealed.Unsealer(io.BytesIO(out.getvalue()[: sealed.HEADER] + cut), "p").read()
