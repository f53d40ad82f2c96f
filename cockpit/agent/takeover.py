"""The candidate's side of an upgrade: it tests itself, waits for its turn, and takes over without a gap."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import cockpit
from cockpit.agent.files import read_json, write_atomic
from cockpit.agent.identity import Identity, IdentityError
from cockpit.agent.keeper_client import KeeperError, Near
from cockpit.agent.local import MAX_REQUEST, LocalSocket
from cockpit.agent.names import Names
from cockpit.agent.saying import say
from cockpit.agent.units import Memory
from cockpit.agent.upgrade import TRIAL, handed, started
from cockpit.agent.waiting import within
from cockpit.link.frames import PROTOCOL, Frame

if TYPE_CHECKING:
    from cockpit.agent.following import Following

FIRST_WORD = 10.0
ANSWER = 10.0
KEEPER_WAIT = 10.0
TRIES = 20
AGAIN = 0.05
POLL = 0.1
MAX_NAMES = 64 * 1024 * 1024


class Untold(Exception):
    """The agent that started this one does not say what is wanted."""


class NearSocket(LocalSocket):
    """DIR/agent.sock is bound beside and renamed: whoever connects meets the one before, or this one."""

    async def start(self) -> None:
        name = f"agent.sock.{os.getpid()}"
        with Near(self._host_dir, name) as path:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.bind(path)
            os.chmod(path, 0o666)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MAX_REQUEST)
        os.rename(os.path.join(self._host_dir, name), os.path.join(self._host_dir, "agent.sock"))


class Candidacy:
    """The socket to the agent before this one, and what the self-test found. Raises Untold."""

    def __init__(self, fd: int) -> None:
        self._sock = socket.socket(fileno=fd)
        self._sock.set_inheritable(False)
        self._sock.settimeout(FIRST_WORD)
        self._held = b""
        try:
            while b"\n" not in self._held:
                data = self._sock.recv(65536)
                if not data:
                    raise Untold("the agent that started this one is gone")
                self._held += data
            line, _, self._held = self._held.partition(b"\n")
            doc = json.loads(line)
            self.argv: List[str] = [str(word) for word in doc["argv"]]
            """How this agent is started in future."""
            self.old = int(doc["pid"])
            protocol = doc["protocol"]
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise Untold(f"the agent that started this one says nothing that is understood: {e}") from None
        if protocol != PROTOCOL:
            self.fail(f"it speaks protocol {PROTOCOL}, not {protocol}")
            raise Untold(f"protocol {protocol} is not understood here")
        self.tell(version=cockpit.__version__)
        self._sock.setblocking(False)
        self.result: Optional[Frame] = None
        self.lost = asyncio.Event()
        """The agent before this one is gone."""
        self.yours = asyncio.Event()
        """It has given its turn away."""
        self._answer: "Optional[asyncio.Future[Dict[str, Any]]]" = None

    def tell(self, **doc: Any) -> None:
        try:
            self._sock.send(json.dumps(doc).encode() + b"\n")
        except OSError:
            pass  # it is gone: `lost` says so

    def fail(self, text: str) -> None:
        say(f"candidate: {text}")
        self.tell(failed=text)

    async def read(self) -> None:
        """What the agent before this one says, until it is gone."""
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._sock, 65536):
                self._held += data
                *whole, self._held = self._held.split(b"\n")
                for line in whole:
                    doc = json.loads(line)
                    if "yours" in doc:
                        self.yours.set()
                    elif self._answer is not None and not self._answer.done():
                        self._answer.set_result(doc)
        except (OSError, ValueError):
            pass
        self.lost.set()

    async def test(self, agent: Following) -> Frame:
        """The self-test, once; its `tested` frame."""
        if self.result is None:
            try:
                await self._test(agent)
                why = ""
            except (OSError, IdentityError, KeeperError, ValueError, asyncio.TimeoutError) as e:
                why = str(e) or f"no answer from the {type(e).__name__}"
            if why:
                self.fail(f"self-test: {why}")
            else:
                say("candidate: the self-test is passed")
                self.tell(stage="tested")
            self.result = {"t": "tested", "ok": not why, "text": why}
        return self.result

    async def _test(self, agent: Following) -> None:
        """Raises whatever speaks against it."""
        loop = asyncio.get_running_loop()
        self.tell(stage="self-test: python")
        if sys.version_info < (3, 9):
            raise ValueError(f"Python {sys.version.split()[0]} is too old: 3.9 is the least")
        if not ssl.HAS_TLSv1_3:
            raise ValueError(f"{ssl.OPENSSL_VERSION} has no TLS 1.3")
        self.tell(stage="self-test: identity")
        identity = Identity.load(agent.dir)
        if identity is None or identity.uuid != agent.identity.uuid:
            raise ValueError("the identity of this host cannot be loaded")
        identity.context()
        self.tell(stage="self-test: files")
        await loop.run_in_executor(None, _files, agent.dir)
        await loop.run_in_executor(None, agent.releases.listing)
        self.tell(stage="self-test: keeper")
        await within(agent.keeper_ready.wait(), KEEPER_WAIT)
        await self._same_units(agent)

    async def _same_units(self, agent: Following) -> None:
        """Units come and go meanwhile: only a difference that stays is one."""
        why = ""
        for _ in range(TRIES):
            self._answer = asyncio.get_running_loop().create_future()
            self.tell(stage="self-test: units", units=await agent.units_now())
            why = str((await within(self._answer, ANSWER)).get("units", ""))
            if not why:
                return
            await asyncio.sleep(AGAIN)
        raise ValueError(f"it does not see what the agent before it sees: {why}")

    async def take_over(self, agent: Following) -> None:
        """Waits for the turn; then this agent serves."""
        while not agent.turn.take():
            await asyncio.sleep(0.01)
        self.tell(stage="takes over")
        fresh = Memory(agent.dir)
        agent.memory.ports, agent.memory.good = fresh.ports, fresh.good
        agent.memory.data, agent.memory.welcome = fresh.data, {**fresh.welcome, **agent.memory.welcome}
        agent.set_names(Names(agent.dir))
        inherit(agent)
        agent.role = ""
        await agent.keep_me(self.old, TRIAL)
        await agent.local.start()
        self.tell(stage="serves", serving=True)
        _log_on(agent.dir)
        say(f"serves in place of the agent with pid {self.old}")


def inherit(agent: Following) -> None:
    """Takes up what an agent before this one answered, and follows what it still runs."""
    left = handed(agent.dir)
    if left is None:
        return
    agent.tasks.adopt(left.answers, left.running)
    agent.spawn(_follow(agent, left.pid, left.birth, left.to))


async def _follow(agent: Following, pid: int, birth: int, to: str) -> None:
    """Until every task of the agent before this one is answered, by it or, when it is gone, here."""
    fetched = "fetch" in agent.tasks.elsewhere().values()
    while agent.tasks.elsewhere():
        gone = not birth or started(pid) != birth
        left = handed(agent.dir)  # read after the look: what it wrote last is seen
        if left is not None and left.pid == pid:
            agent.tasks.adopt(left.answers, {})
        if gone:
            own = {t: _own(agent.version, to, t) for t, word in agent.tasks.elsewhere().items() if word == "upgrade"}
            agent.tasks.orphaned(own)
            for answer in own.values():
                agent.outbox.put(answer)
            break
        await asyncio.sleep(POLL)
    if fetched:
        agent.releases_changed()


def _own(version: str, to: str, task: str) -> Frame:
    """The answer to `upgrade` in place of an agent that was killed before it gave it."""
    if version == to:
        return {"t": "result", "task": task, "ok": True, "data": {"pid": os.getpid(), "version": version}}
    text = f"{to} took over and ended, and so did the agent before it: {version} serves again"
    return {"t": "result", "task": task, "ok": False, "code": "failed", "text": text}


def _files(host_dir: str) -> None:
    """Raises OSError or ValueError where the directory is not as an agent needs it."""
    scratch = os.path.join(host_dir, f".candidate.{os.getpid()}")
    write_atomic(scratch, b"1")
    try:
        with open(scratch, "rb") as f:
            if f.read() != b"1":
                raise ValueError(f"{host_dir}: what is written is not what is read")
    finally:
        os.unlink(scratch)
    names = os.path.join(host_dir, "names.json")
    if os.path.exists(names) and not isinstance(read_json(names, MAX_NAMES), dict):
        raise ValueError(f"{names} cannot be read")


def _log_on(host_dir: str) -> None:
    """From here on where an agent's log is, not the candidate's."""
    log = os.open(os.path.join(host_dir, "logs", "agent.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
