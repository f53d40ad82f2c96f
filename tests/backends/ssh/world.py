"""Real sshds on loopback, and the controller's end of the gateway's socket."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.ssh.gateway import Gateway
from backends.ssh.reach import Settings
from tests.helpers import PATIENCE, answers, free_port, loopback, running, until, wait_for

Frame = dict[str, Any]
SSHD = "/usr/sbin/sshd"
SFTP = next((str(p) for p in Path("/usr").glob("lib*/*ssh*/sftp-server")), "")
USER = getpass.getuser()


def make_key(path: Path, passphrase: str = "") -> None:
    """With a passphrase in the older format: OpenSSH's own needs bcrypt to be read."""
    kind = ["-t", "rsa", "-b", "2048", "-m", "PEM"] if passphrase else ["-t", "ed25519"]
    argv = ["ssh-keygen", "-q", *kind, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


class Sshd:
    """One server with keys and settings of its own."""

    def __init__(
        self, dir: Path, client_key: Path, address: str = "", extra: str = "", before: tuple[str, ...] = ()
    ) -> None:
        """`before`: words of what starts it."""
        dir.mkdir(parents=True)
        self.before = before
        self.dir = dir
        self.address = address or loopback()
        self.port = free_port(self.address)
        self.extra = extra
        self.pid = 0
        """Of the process that listens."""
        make_key(dir / "host")
        shutil.copy(client_key.with_suffix(".pub"), dir / "authorized")

    def known(self) -> str:
        kind, key, *_ = (self.dir / "host.pub").read_text().split()
        return f"[{self.address}]:{self.port} {kind} {key}\n"

    @contextlib.contextmanager
    def up(self) -> Iterator[Sshd]:
        config = self.dir / "config"
        config.write_text(
            f"ListenAddress {self.address}\nPort {self.port}\nHostKey {self.dir}/host\n"
            f"AuthorizedKeysFile {self.dir}/authorized\nUsePAM no\nStrictModes no\nPidFile none\n"
            f"PasswordAuthentication no\nPermitRootLogin yes\nSetEnv SHLVL=2\nLogLevel VERBOSE\n{self.extra}\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # its privilege separation directory
        log = str(self.dir / "log")
        with running([*self.before, SSHD, "-D", "-e", "-f", str(config)], stderr=open(log, "ab")) as process:
            self.pid = process.pid
            wait_for(lambda: answers(self.address, self.port), what="sshd answers")
            yield self


@contextlib.contextmanager
def at_home(home: Path, extra: str = "") -> Iterator[Sshd]:
    """A server that whoever has this HOME, as this process has meanwhile, enters as ~/.ssh says."""
    (home / ".ssh").mkdir(mode=0o700)
    key = home / ".ssh" / "id_ed25519"
    make_key(key)
    server = Sshd(home / "sshd", key, extra=extra)
    (home / ".ssh" / "config").write_text(f"Host {server.address}\n  Port {server.port}\n  IdentityFile {key}\n")
    (home / ".ssh" / "known_hosts").write_text(server.known())
    with pytest.MonkeyPatch.context() as patch, server.up():
        patch.setenv("HOME", str(home))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        yield server


class Controller:
    """Reads what the gateway says, welcomes hosts, answers what it asks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.frames: list[Frame] = []
        self.opens: list[Frame] = []
        self.shuts: list[Frame] = []
        self.states: Frame = {}
        self.prompts: list[Frame] = []
        self.units: dict[str, dict[str, Frame]] = {}
        self.fulls: list[Frame] = []
        self.results: dict[str, Frame] = {}
        self.logs: list[Frame] = []
        self.progress: list[Frame] = []
        self.releases: dict[str, Frame] = {}
        """sha256 -> body of `told`."""
        self.sids: dict[str, str] = {}
        self.closed = False
        self._task: asyncio.Task[None] | None = None
        self._tasks = 0

    async def start(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(sock=self.sock, limit=2**26)
        self.send({"t": "welcome", "cluster": "puzzle", "relay": {}})
        self._task = asyncio.create_task(self._read())

    def send(self, frame: Frame) -> None:
        self.writer.write(json.dumps(frame).encode() + b"\n")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self.writer.close()

    async def _read(self) -> None:
        while line := await self.reader.readline():
            self._take(json.loads(line))
        self.closed = True

    def _take(self, frame: Frame) -> None:
        kind = frame["t"]
        if kind == "seen":
            return
        self.frames.append(frame)
        if kind == "open":
            self.opens.append(frame)
            self.sids[frame["host"]] = frame["sid"]
            self.send({"t": "to", "sid": frame["sid"], "frame": {"t": "welcome", "cluster": "puzzle"}})
        elif kind == "shut":
            self.shuts.append(frame)
        elif kind == "ssh":
            self.states = frame["states"]
        elif kind == "prompt":
            self.prompts.append(frame)
        elif kind == "ask":
            body = self.releases.get(frame["body"]["sha256"])
            self.send({"t": "told", "id": frame["id"], "ok": body is not None, "body": body or {}})
        elif kind == "up":
            for sid, inner in frame["frames"]:
                self._agent(next(h for h, s in self.sids.items() if s == sid), inner)

    def _agent(self, host: str, frame: Frame) -> None:
        kind = frame["t"]
        if kind == "full":
            self.fulls.append(frame)
            self.units[host] = {u["unit"]: u for u in frame["units"]}
        elif kind == "unit":
            self.units[host][frame["unit"]["unit"]] = frame["unit"]
        elif kind == "gone":
            self.units[host].pop(frame["unit"], None)
        elif kind == "result":
            self.results[frame["task"]] = frame
        elif kind == "log":
            self.logs.append(frame)
        elif kind == "progress":
            self.progress.append(frame)

    async def host(self, name: str, timeout: float = PATIENCE) -> dict[str, Frame]:
        """Its units, once it has told all."""
        await until(lambda: name in self.units, timeout, f"{name} is here: {self.states}")
        return self.units[name]

    async def cmd(self, host: str, word: str, task: str = "", **args: Any) -> Frame:
        self._tasks += 1
        task = task or f"t{self._tasks}"
        uuid = next(o["uuid"] for o in self.opens if o["host"] == host)
        frame = {"t": "cmd", "task": task, "uuid": uuid, "word": word, "args": args}
        self.send({"t": "to", "sid": self.sids[host], "frame": frame})
        return await until(lambda: self.results.get(task), what=f"answer to {word}")

    async def good(self, host: str, word: str, **args: Any) -> Frame:
        answer = await self.cmd(host, word, **args)
        assert answer["ok"], answer
        return dict(answer["data"])

    async def unit(self, host: str, unit: str, test: Callable[[Frame], object], timeout: float = PATIENCE) -> Frame:
        return await until(
            lambda: (u := self.units.get(host, {}).get(unit)) and test(u) and u, timeout,
            f"{unit} as wanted; is {self.units.get(host, {}).get(unit)}",
        )


@contextlib.asynccontextmanager
async def gateway(dir: Path, config: str) -> AsyncIterator[Controller]:
    """A gateway in this process."""
    dir.mkdir(exist_ok=True)
    (dir / "ssh_config").write_text(config)
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    controller = Controller(ours)
    await controller.start()
    task = asyncio.create_task(Gateway(Settings((str(dir / "ssh_config"),))).run(theirs))
    try:
        yield controller
    finally:
        await controller.stop()
        async with asyncio.timeout(PATIENCE):
            await task


def client_config(dir: Path, key: Path, servers: list[Sshd], more: str = "") -> str:
    known = dir / "known_hosts"
    known.write_text("".join(s.known() for s in servers))
    return f"{more}\nHost *\n  UserKnownHostsFile {known}\n  IdentityFile {key}\n  User {USER}\n"


def host_entry(server: Sshd, uuid: str = "u-1", **more: Any) -> Frame:
    ssh = {"address": server.address, "port": server.port, **more.pop("ssh", {})}
    return {"ssh": ssh, "address": server.address, "region": "sh", "port_range": [21000, 21100], "uuid": uuid, **more}


def spec(instance: str, gen: int, argv: list[str], **more: Any) -> Frame:
    service, _, slot = instance.rpartition("/")
    return {
        "unit": f"{instance}:{gen}", "instance": instance, "gen": gen, "service": service, "slot": int(slot),
        "cluster": "puzzle", "region": "sh", "host": "h", "version": "1", "artifact": None,
        "processes": {"main": argv}, "env": {}, "secrets": {}, "directory": "", "user": "", "limits": {},
        "ports": {}, "restart": {}, "stop": {"signal": "TERM", "grace": 5.0}, "attributes": {}, "config": "c1",
        "data": {}, **more,
    }  # fmt: skip


def has_no_agent() -> None:
    os.environ.pop("SSH_AUTH_SOCK", None)
