"""The word `upgrade`: another version of the agent takes over, or this one goes on as if nothing had been.

This one starts the candidate, answers its questions over a socket pair, and calls it off when it fails, ends or
takes too long. When the controller says `retire`, the lock of the directory goes over (cockpit.agent.turns):
from then on the other one serves, and this one ends its tasks, reports them, says `eof` and goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Protocol, Tuple

from cockpit.agent.files import read_json, write_json
from cockpit.agent.identity import Identity
from cockpit.agent.install import InstallError, Releases
from cockpit.agent.keeper_client import KeeperError
from cockpit.agent.keeper_link import KeeperGone
from cockpit.agent.saying import say
from cockpit.agent.tasks import CommandError, Data, Progress, Tasks
from cockpit.agent.turns import Turn
from cockpit.link.frames import MAX_FRAME, PROTOCOL

LEAST, MOST, USUAL = 2.0, 600.0, 60.0
"""Seconds for a candidate's self-test, from its start to the word of the controller."""
SERVE_TIME = 15.0
"""Seconds a candidate has to take over once it is its turn."""
TRIAL = 60.0
"""Seconds in which the end of a new agent brings the one before back."""
WORKING = 2.0
LOOK = 0.05
SAID_LINES = 8
ANSWERS = "answers.json"
KEPT_FOR = 3600.0
KEEPER_BACK = 30.0


class Program(NamedTuple):
    """How a release of the agent is started."""

    argv: List[str]
    """Up to `run`."""
    keeper: List[str]
    protocol: int


def program(release: str) -> Program:
    """What RELEASE/agent.json says: {"argv": [...], "keeper": [...], "protocol": 1}.

    Without it RELEASE/cockpit-agent is a bundle (docs/agent-bundle.md). Raises CommandError.
    """
    path = os.path.join(release, "agent.json")
    doc = read_json(path, 65536) if os.path.exists(path) else {}
    if not isinstance(doc, dict):
        raise CommandError("bad", f"{path} is not a JSON object")

    def words(key: str, usual: List[str]) -> List[str]:
        found = doc.get(key, usual)
        if not isinstance(found, list) or not found or not all(isinstance(w, str) and w for w in found):
            raise CommandError("bad", f"{path}: {key}: a list of words is wanted")
        return [w.replace("{release}", release).replace("{python}", sys.executable) for w in found]

    argv = words("argv", ["{release}/cockpit-agent"])
    keeper = words("keeper", [*argv, "--keeper"])
    if not os.access(argv[0], os.X_OK):
        raise CommandError("bad", f"{argv[0]} cannot be executed: is this a release of the agent?")
    protocol = doc.get("protocol", PROTOCOL)
    if not isinstance(protocol, int):
        raise CommandError("bad", f"{path}: protocol: a number is wanted")
    return Program(argv, keeper, protocol)


class Leaving(Protocol):
    """What an upgrade needs of the agent."""

    dir: str
    identity: Identity
    releases: Releases
    tasks: Tasks
    argv: List[str]
    role: str
    turn: Turn

    def boot_arguments(self) -> List[str]: ...

    async def units_now(self) -> List[str]:
        """Ids of the units that the keeper holds."""
        ...

    def keeper_hello(self) -> Dict[str, Any]: ...

    async def exec_keeper(self, argv: List[str]) -> None: ...

    def keeper_became(self, argv: List[str]) -> None:
        """The keeper runs as this program now."""
        ...

    def retired(self) -> None:
        """It is not this agent's turn any more: only results are told from here on."""
        ...

    def followed(self) -> None:
        """Another agent serves: end the socket of this one, its tasks, and itself."""
        ...

    def serve_again(self) -> None:
        """The turn came back."""
        ...


class Upgrader:
    """At most one upgrade at a time."""

    def __init__(self, agent: Leaving) -> None:
        self._agent = agent
        self._candidate: Optional[Candidate] = None
        self._retire = asyncio.Event()
        self._to = ""
        self.ended: List[Dict[str, Any]] = []
        """Answers since the turn went: told again when the connection is another one."""

    async def word(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """The word `upgrade` {name, version, sha256, timeout, part}. Raises CommandError."""
        try:
            return await self._upgrade(args, progress)
        except (InstallError, KeeperError) as e:
            raise CommandError(e.code, str(e)) from None
        except KeeperGone as e:
            raise CommandError("failed", str(e)) from None

    async def _upgrade(self, args: Mapping[str, Any], progress: Progress) -> Data:
        agent = self._agent
        name, version, sha256 = str(args["name"]), str(args["version"]), str(args["sha256"])
        if self._candidate is not None or agent.role:
            raise CommandError("busy", "this agent is being replaced already")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, agent.releases.check, name, version, sha256)
        how = program(agent.releases.path(name, version))
        if args.get("part", "agent") == "keeper":
            return await self._keeper(how.keeper, version)
        if how.protocol != PROTOCOL:
            raise CommandError("bad", f"{name}/{version} speaks protocol {how.protocol}, this cluster {PROTOCOL}")
        if agent.argv[: len(how.argv)] == how.argv:
            return {"pid": os.getpid(), "version": version, "already": True}
        timeout = max(LEAST, min(float(args.get("timeout", USUAL)), MOST))
        return await self._replace(how, version, timeout, progress)

    def retire(self, pid: int) -> bool:
        """The controller's word. False when there is no such candidate (any more): this agent serves on."""
        candidate = self._candidate
        if candidate is None or candidate.pid != pid or not candidate.alive():
            return False
        if not self._retire.is_set():
            self._retire.set()
            self._hand_over(pid)
        return True

    def _hand_over(self, pid: int) -> None:
        agent = self._agent
        agent.role = "retired"
        # first what was answered and what runs is on disk, then the turn goes
        self._write()
        agent.tasks.answered = self._answered
        agent.retired()
        agent.turn.leave()
        assert self._candidate is not None
        self._candidate.tell({"yours": os.getpid()})

    def _answered(self, answer: Dict[str, Any]) -> None:
        self.ended.append(answer)
        self._write()

    def _write(self) -> None:
        doc = {
            "pid": os.getpid(), "start": started(os.getpid()), "at": time.time(), "to": self._to,
            **self._agent.tasks.handed(),
        }
        try:
            write_json(os.path.join(self._agent.dir, ANSWERS), doc)
        except OSError as e:  # a full disk: a repeated command is done again, as after a crash
            say(f"upgrade: {ANSWERS}: {e.strerror}")

    async def _replace(self, how: Program, version: str, timeout: float, progress: Progress) -> Data:
        agent = self._agent
        self._retire.clear()
        self._to = version
        tail = ["run", "--dir", agent.dir, *agent.boot_arguments()]
        try:
            candidate = self._candidate = Candidate.start(agent.dir, how.argv, tail, version)
        except OSError as e:
            raise CommandError("failed", f"{how.argv[0]} could not be started: {e.strerror}") from None
        say(f"upgrade: {version} was started with pid {candidate.pid}")
        talk = asyncio.ensure_future(self._answer(candidate))
        try:
            why = await self._watch(candidate, timeout, progress)
            if why:
                await candidate.kill()
                if not self._retire.is_set() or await self._take_back():
                    text = f"{version} was called off and {agent.identity.name} goes on as before: {why}"
                    raise CommandError("failed", text + candidate.said())
                say(f"upgrade: {why}, and another agent serves already")
            agent.followed()
            return {"pid": candidate.pid, "version": version}
        finally:
            talk.cancel()
            candidate.close()
            self._candidate = None

    async def _watch(self, candidate: Candidate, timeout: float, progress: Progress) -> str:
        """Until it serves: an empty string; else why it does not."""
        until = time.monotonic() + timeout
        told = 0.0
        passed_on = False
        while True:
            if candidate.serving:
                return ""
            if candidate.failure:
                return candidate.failure
            code = candidate.popen.poll()
            if code is not None:
                return f"it ended with {f'signal {-code}' if code < 0 else f'exit {code}'}"
            now = time.monotonic()
            if self._retire.is_set() and not passed_on:
                passed_on, until = True, now + SERVE_TIME
            if now >= until:
                where = "did not take over" if passed_on else f"did not get beyond `{candidate.stage}`"
                return f"it {where} in {SERVE_TIME if passed_on else timeout:g} s"
            if now - told >= WORKING:
                told = now
                progress({"stage": candidate.stage})
            await asyncio.sleep(LOOK)

    async def _take_back(self) -> bool:
        """After a candidate that was given the turn is gone. False when somebody else has it."""
        agent = self._agent
        if not agent.turn.take():
            return False
        agent.role = ""
        self.ended.clear()
        agent.tasks.answered = lambda answer: None
        agent.serve_again()
        return True

    async def _answer(self, candidate: Candidate) -> None:
        """What the candidate asks of this one."""
        async for doc in candidate.lines():
            if "units" in doc:
                ours, theirs = set(await self._agent.units_now()), set(doc["units"])
                differ = sorted(ours ^ theirs)
                candidate.tell({"units": f"{len(differ)} units differ: {', '.join(differ[:5])}" if differ else ""})

    async def _keeper(self, argv: List[str], version: str) -> Data:
        """The keeper becomes that of the release; its pid stays."""
        agent = self._agent
        before = agent.keeper_hello()
        if before.get("release") == version:
            return {"pid": before.get("pid"), "version": version, "already": True}
        await agent.exec_keeper(argv)
        until = time.monotonic() + KEEPER_BACK
        while time.monotonic() < until:
            hello = agent.keeper_hello()
            if hello is not before and hello.get("pid"):
                if hello.get("release") == version:
                    agent.keeper_became(argv)
                    return {"pid": hello["pid"], "version": version}
                old = hello.get("release") or "the one before"
                text = f"{version} started, but could not take over; {agent.dir}/keeper.out says why"
                raise CommandError("failed", f"the keeper is still {old}: {text}")
            await asyncio.sleep(LOOK)
        raise CommandError("failed", f"the keeper does not answer since it was told to become {version}")


class Candidate:
    """The process that may follow, and the socket that leads to it."""

    def __init__(self, popen: "subprocess.Popen[bytes]", sock: socket.socket, log: str, version: str) -> None:
        self.version = version
        self.popen = popen
        self.pid = popen.pid
        self.stage = "start"
        self.failure = ""
        self.serving = False
        self._sock = sock
        self._log = log

    @classmethod
    def start(cls, host_dir: str, argv: List[str], tail: List[str], version: str) -> "Candidate":
        """In a session of its own, so that it outlives this process. Raises OSError."""
        ours, theirs = socket.socketpair()
        logs = os.path.join(host_dir, "logs")
        os.makedirs(logs, 0o700, exist_ok=True)
        path = os.path.join(logs, "candidate.log")
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            popen = subprocess.Popen(
                [*argv, *tail, "--candidate", str(theirs.fileno())], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd="/", start_new_session=True, pass_fds=[theirs.fileno()],
            )
        except OSError:
            ours.close()
            raise
        finally:
            os.close(log)
            theirs.close()
        ours.setblocking(False)
        new = cls(popen, ours, path, version)
        new.tell({"argv": [*argv, *tail], "pid": os.getpid(), "protocol": PROTOCOL})
        return new

    def alive(self) -> bool:
        return self.popen.poll() is None

    def tell(self, doc: Dict[str, Any]) -> None:
        try:
            self._sock.send(json.dumps(doc).encode() + b"\n")
        except OSError:
            pass  # it is gone, which is noticed elsewhere

    async def lines(self) -> Any:
        """Questions; news are kept here."""
        held = b""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(self._sock, 65536)
            except OSError:
                return
            if not data:
                return
            held += data
            if len(held) > MAX_FRAME:
                self.failure = "it says more than it may"
                return
            *whole, held = held.split(b"\n")
            for line in whole:
                try:
                    doc = json.loads(line)
                except ValueError:
                    doc = None
                if not isinstance(doc, dict):
                    self.failure = "it says what is not understood"
                    return
                self.stage = str(doc.get("stage", self.stage))[:100]
                self.failure = self.failure or str(doc.get("failed", ""))[:1000]
                held_version = str(doc.get("version", self.version))
                if held_version != self.version:  # nobody could tell later whether the host is back with it
                    self.failure = f"the release is named {self.version}, but it holds the agent {held_version[:100]}"
                self.serving = self.serving or doc.get("serving") is True
                yield doc

    async def kill(self) -> None:
        """It, and what it started in its session."""
        if self.alive():
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        await asyncio.get_running_loop().run_in_executor(None, self.popen.wait)

    def said(self) -> str:
        """Its last log lines, as the end of a sentence."""
        try:
            with open(self._log, "rb") as f:
                f.seek(max(0, os.fstat(f.fileno()).st_size - 8192))
                lines = [line.strip() for line in f.read().decode(errors="replace").split("\n") if line.strip()]
        except OSError:
            return ""
        return f". Its last lines: {' | '.join(lines[-SAID_LINES:])}"[:2000] if lines else ""

    def close(self) -> None:
        self._sock.close()


def started(pid: int) -> int:
    """Start time of a process in clock ticks after boot, 0 when there is none (or a zombie)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
        return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0


class Handed(NamedTuple):
    """What the agent before this one left on disk."""

    pid: int
    to: str
    """The version that was to follow."""
    birth: int
    """Start time of that process."""
    answers: List[Dict[str, Any]]
    running: Dict[str, Tuple[str, Optional[str]]]


def handed(host_dir: str) -> Optional[Handed]:
    """None when no agent left anything lately."""
    path = os.path.join(host_dir, ANSWERS)
    doc = read_json(path) if os.path.exists(path) else None
    try:
        if not isinstance(doc, dict) or time.time() - float(doc["at"]) > KEPT_FOR:
            return None
        pid = int(doc["pid"])
        birth = int(doc["start"])
        answers = [a for a in doc["answers"] if isinstance(a, dict) and isinstance(a.get("task"), str)]
        running = {str(t): (str(w), None if k is None else str(k)) for t, (w, k) in doc["running"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Handed(pid, str(doc.get("to") or ""), birth, answers, running)
