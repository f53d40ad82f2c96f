"""Copies on a host with only sshd: what is SFTP's own. What an operator sees is in tests/e2e/test_copy.py."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pwd
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from backends.ssh.farfile import same
from tests.backends.ssh.test_own import entered
from tests.backends.ssh.world import SFTP, SSHD, Controller, Frame, Sshd, spec
from tests.helpers import until

pytestmark = pytest.mark.skipif(not Path(SSHD).exists() or not SFTP, reason="sshd and sftp-server are needed")
ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Iterator[Sshd]:
    """An sshd that has SFTP, as a program."""
    with Sshd(tmp_path_factory.mktemp("sshd") / "files", key, extra=f"Subsystem sftp {SFTP}").up() as one:
        yield one


class Copy:
    """What a controller sends and gets."""

    def __init__(self, c: Controller, task: str) -> None:
        self.c = c
        self.task = task

    def begin(self, path: Path | str, **args: Any) -> Copy:
        given = {"task": self.task, "path": str(path), "limit": 2**30, "credit": 2**18, "stall": 60.0, **args}
        self._cmd("copy", given, self.task)
        return self

    async def begun(self) -> Frame:
        await until(lambda: self.said("begun") or self.task in self.c.results, what="it begins")
        assert self.said("begun"), self.c.results
        return dict(self.said("begun")[0])

    def _cmd(self, word: str, args: Frame, task: str) -> None:
        uuid = next(o["uuid"] for o in self.c.opens if o["host"] == "h")
        self._to({"t": "cmd", "task": task, "uuid": uuid, "word": word, "args": args})

    def _to(self, frame: Frame) -> None:
        self.c.send({"t": "to", "sid": self.c.sids["h"], "frame": frame})

    def said(self, name: str) -> list[Any]:
        mine = [f["data"] for f in self.c.progress if f["task"] == self.task]
        return [d[name] for d in mine if name in d]

    @property
    def data(self) -> bytes:
        return b"".join(base64.b64decode(t) for t in self.said("data"))

    def input(self, **data: Any) -> None:
        self._to({"t": "input", "task": self.task, "data": data})

    def send(self, data: bytes) -> None:
        self.input(data=base64.b64encode(data).decode())

    def all(self, data: bytes, sha256: str = "") -> None:
        self.input(eof=True, size=len(data), sha256=sha256 or hashlib.sha256(data).hexdigest())

    def stop(self) -> None:
        self._cmd("copy-end", {"task": self.task}, f"{self.task}-end")

    async def over(self) -> Frame:
        """Its answer."""
        await until(lambda: self.task in self.c.results, what="it is over")
        return self.c.results[self.task]

    async def failed(self, code: str, *words: str) -> None:
        answer = await self.over()
        assert not answer["ok"] and answer["code"] == code and all(w in answer["text"] for w in words), answer


async def test_so_much_as_there_is_credit_for(tmp_path: Path, key: Path, files: Sshd) -> None:
    content = os.urandom(300_000)
    (tmp_path / "x").write_bytes(content)
    async with entered(tmp_path, key, files) as c:
        copy = Copy(c, "c1").begin(tmp_path / "x", credit=1000)
        assert (await copy.begun())["size"] == 300_000
        await until(lambda: len(copy.data) == 1000)
        copy.input(credit=100_000)
        await until(lambda: len(copy.data) == 101_000)
        assert "c1" not in c.results
        copy.input(credit=300_000)
        answer = await copy.over()
        assert copy.data == content and answer["data"]["bytes"] == 300_000
        assert answer["data"]["sha256"] == hashlib.sha256(content).hexdigest() and not answer["data"]["changed"]


async def test_what_comes_meanwhile_stays(tmp_path: Path, key: Path, files: Sshd) -> None:
    there = tmp_path / "there"
    there.mkdir()
    async with entered(tmp_path, key, files) as c:
        copy = Copy(c, "c1").begin(there / "x", put=True)
        await copy.begun()
        copy.send(b"new")
        (there / "x").write_text("somebody's")
        copy.all(b"new")
        await copy.failed("exists", "is there already")
        assert (there / "x").read_text() == "somebody's" and len(list(there.iterdir())) == 1
        copy = Copy(c, "c2").begin(there / "y", put=True, overwrite=True)
        await copy.begun()
        (there / "y").symlink_to(there / "x")
        copy.send(b"new")
        copy.all(b"new")
        await copy.failed("kind", "symbolic link")
        assert (there / "x").read_text() == "somebody's" and (there / "y").is_symlink()
        assert len(list(there.iterdir())) == 2


async def test_what_changes_between_two_requests(
    tmp_path: Path, key: Path, files: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SFTP has no way to ask for both at once: what was looked at, and what was opened or named then."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "x").write_text("public")
    real = asyncssh.SFTPClient.open, asyncssh.SFTPClient.rename

    def opening(sftp: Any, path: Any, *args: Any, **more: Any) -> Any:
        if Path(os.fsdecode(path)) == tmp_path / "x":
            (tmp_path / "x").unlink()
            (tmp_path / "x").symlink_to(tmp_path / "secret")
        return real[0](sftp, path, *args, **more)

    def renaming(sftp: Any, old: Any, new: Any) -> Any:
        (tmp_path / "y").write_text("somebody's")
        return real[1](sftp, old, new)

    monkeypatch.setattr(asyncssh.SFTPClient, "open", opening)
    monkeypatch.setattr(asyncssh.SFTPClient, "rename", renaming)
    async with entered(tmp_path, key, files) as c:
        copy = Copy(c, "c1").begin(tmp_path / "x")
        await copy.failed("kind", "symbolic link")
        assert copy.data == b""
        copy = Copy(c, "c2").begin(tmp_path / "y", put=True)
        await copy.begun()
        copy.all(b"")
        await copy.failed("exists", "came into being meanwhile")
        assert (tmp_path / "y").read_text() == "somebody's" and not list(tmp_path.glob(".y*"))


@pytest.mark.parametrize("how", ["stopped", "stalled", "flooded", "digest", "limit"])
async def test_an_end_before_the_end_leaves_nothing(
    tmp_path: Path, key: Path, files: Sshd, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in ("farfile.DROP", "sftp.END_WAIT"):  # for one that does not answer any more
        monkeypatch.setattr(f"backends.ssh.{seconds}", 0.2)
    there = tmp_path / "there"
    there.mkdir()
    async with entered(tmp_path, key, files) as c:
        more: dict[str, Any] = {"stall": 0.3} if how == "stalled" else {"limit": 3} if how == "limit" else {}
        copy = Copy(c, "c1").begin(there / "x", put=True, **more)
        await copy.begun()
        copy.send(b"half")
        if how == "flooded":
            (temporary,) = there.iterdir()
            pid = holder(temporary)
            os.kill(pid, signal.SIGSTOP)
            for _ in range(30):
                copy.send(b"x" * 48 * 1024)
        elif how == "stopped":
            await until(lambda: copy.said("took") == [4])
            assert [p.stat().st_mode & 0o777 for p in there.iterdir()] == [0o600]
            copy.stop()
        elif how == "digest":
            copy.all(b"half", "0" * 64)
        await copy.failed(how)
        if how == "flooded":
            os.kill(pid, signal.SIGCONT)
        assert list(there.iterdir()) == []


async def test_the_controller_goes_in_the_middle(tmp_path: Path, key: Path, files: Sshd) -> None:
    there = tmp_path / "there"
    there.mkdir()
    async with entered(tmp_path, key, files) as c:
        copy = Copy(c, "c1").begin(there / "x", put=True)
        await copy.begun()
        assert len(list(there.iterdir())) == 1
    assert list(there.iterdir()) == []


async def test_its_sftp_server_dies(tmp_path: Path, key: Path, files: Sshd) -> None:
    there = tmp_path / "there"
    there.mkdir()
    async with entered(tmp_path, key, files) as c:
        copy = Copy(c, "c1").begin(there / "x", put=True)
        await copy.begun()
        (temporary,) = there.iterdir()
        os.kill(holder(temporary), signal.SIGKILL)
        await copy.failed("failed", "sftp-server ended", "nothing was written")
        await until(lambda: list(there.iterdir()) == [], what="what it left is taken away")
        assert len(c.opens) == 1, "the connection is the same"


async def test_its_sftp_server_dies_at_the_name(
    tmp_path: Path, key: Path, files: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []
    real = asyncssh.SFTPClient.rename

    def renaming(sftp: Any, old: Any, new: Any) -> Any:
        os.kill(pids[0], signal.SIGKILL)
        return real(sftp, old, new)

    monkeypatch.setattr(asyncssh.SFTPClient, "rename", renaming)
    async with entered(tmp_path, key, files) as c:
        copy = Copy(c, "c1").begin(tmp_path / "x", put=True)
        await copy.begun()
        pids.append(holder(next(tmp_path.glob(".x*"))))
        copy.all(b"")
        await copy.failed("failed", "look whether it is there")
        await until(lambda: not list(tmp_path.glob(".x*")), what="what it left is taken away")


def holder(path: Path) -> int:
    """Pid of the process that has it open."""
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if fd.readlink() == path:
                return int(fd.parts[2])
    raise AssertionError(f"nobody has {path} open")


async def test_looks_keep_a_channel(tmp_path: Path, key: Path, files: Sshd) -> None:
    async with entered(tmp_path, key, files) as c:
        copies = [Copy(c, f"c{n}").begin(tmp_path / f"x{n}", put=True) for n in range(7)]
        for copy in copies:
            await copy.begun()
        await Copy(c, "c7").begin(tmp_path / "x7", put=True).failed("busy", "7 shells, logs and copies", "h")
        assert (await c.cmd("h", "head-get"))["code"] == "missing", "it is looked at all the same"
        for copy in copies:
            copy.stop()
            await copy.failed("stopped")
        assert not list(tmp_path.glob(".x*"))


async def test_one_that_is_ended_at_once_holds_no_session(tmp_path: Path, key: Path, files: Sshd) -> None:
    """sshd has 10 for a connection."""
    async with entered(tmp_path, key, files) as c:
        for n in range(12):
            copy = Copy(c, f"c{n}").begin(tmp_path / "x", put=True)
            copy.stop()
            await copy.failed("stopped")
        assert (await Copy(c, "last").begin("/etc/hostname").over())["ok"] and list(tmp_path.glob(".x*")) == []


async def test_without_sftp_it_is_said(tmp_path: Path, key: Path, server: Sshd) -> None:
    async with entered(tmp_path, key, server) as c:
        says = ("no sftp subsystem", "Subsystem sftp internal-sftp", "cockpit shell h -- cat")
        await Copy(c, "c1").begin("/etc/hostname").failed("unsupported", *says)


@pytest.mark.parametrize(("command", "says"), [
    ("/nowhere/sftp-server", "does not begin"), ("echo hello there, and welcome", "does not begin"),
])  # fmt: skip
async def test_an_sftp_server_that_is_none(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, key: Path, command: str, says: str
) -> None:
    with Sshd(tmp_path_factory.mktemp("sshd") / "odd", key, extra=f"Subsystem sftp {command}").up() as odd:
        async with entered(tmp_path, key, odd) as c:
            await Copy(c, "c1").begin("/etc/hostname").failed("failed", says)


@contextlib.asynccontextmanager
async def others(tmp_path: Path, key: Path, server: Sshd) -> AsyncIterator[Controller]:
    """A host with an instance that is nobody's."""
    async with entered(tmp_path, key, server) as c:
        await c.good("h", "prepare", spec=spec("p.job/0", 1, ["sleep", "1000"], user="nobody"))
        yield c


@pytest.mark.skipif(not ROOT, reason="only a login as root becomes another user")
async def test_another_user_needs_the_program(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, key: Path
) -> None:
    """sshd has SFTP inside: enough for the login, and for nobody else."""
    hide = ("unshare", "-m", "sh", "-c", f'mount --bind /dev/null {SFTP} && exec "$@"', "sh")
    root = tmp_path_factory.mktemp("sshd")
    with Sshd(root / "inside", key, extra="Subsystem sftp internal-sftp", before=hide).up() as server:
        async with others(tmp_path, key, server) as c:
            copy = Copy(c, "c1").begin("/etc/hostname", instance="p.job/0")
            await copy.failed("unsupported", "p.job/0 is nobody's", "openssh-sftp-server", "h:/PATH")
            assert (await Copy(c, "c2").begin("/etc/hostname").over())["ok"]


@pytest.mark.skipif(not ROOT, reason="only a login as root becomes another user")
async def test_as_the_services_user(tmp_path: Path, key: Path, files: Sshd) -> None:
    async with others(tmp_path, key, files) as c:
        copy = Copy(c, "c1").begin("/proc/self/status", instance="p.job/0")
        assert (await copy.begun())["user"] == "nobody"
        answer = await copy.over()
        assert answer["ok"], answer
        ids = [line.split()[1:] for line in copy.data.decode().splitlines() if line.startswith(("Uid", "Gid"))]
        nobody = pwd.getpwnam("nobody")
        assert ids == [[str(nobody.pw_uid)] * 4, [str(nobody.pw_gid)] * 4]
        assert (await Copy(c, "c2").begin("x", instance="p.none/0").over())["code"] == "missing"


def test_what_was_opened_is_what_had_the_name() -> None:
    def file(size: int = 5, time: int = 9, owner: int = 1, mode: int = 0o100644) -> os.stat_result:
        return os.stat_result((mode, 0, 0, 1, owner, owner, size, 0, time, 0))

    assert same(file(), file(), file()) and same(file(), file(6, 10), file(7, 11)), "it may grow"
    assert not same(file(), file(owner=0), file())
    assert not same(file(), file(mode=0o100600), file())
    assert not same(file(), file(size=4), file()) and not same(file(), file(time=10), file())
