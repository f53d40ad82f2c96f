"""An agent and a keeper that systemd keeps, in units of their own (docs/bootstrap.md).

systemd starts the program that was installed first. Which version an upgrade has put in its place stands in
DIR/supervised.json: {"agent": argv up to `run`, "before": the one it replaced, "trial_ends": Unix time,
"note", "keeper": argv up to DIR}. An empty `agent` or `before` means the program that systemd starts.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import Any, Dict, List, Optional, Tuple

from cockpit.agent.files import read_json, write_json
from cockpit.agent.keeper_client import KeeperError
from cockpit.agent.keeper_link import KeeperLink
from cockpit.agent.own import keeper_argv

FILE = "supervised.json"
HERE = "--supervised=here"
"""This process is the version that is meant: nothing else is started in its place."""
CHECK = 15.0
Doc = Dict[str, Any]


def decide(doc: Doc, now: float) -> Tuple[List[str], Doc]:
    """systemd starts an agent: (program to become, empty: this one; what is to be written down). Pure.

    Within the trial of a new version a start means that it ended: the one before comes back.
    """
    agent, before = _words(doc.get("agent")), doc.get("before")
    if agent and before is not None and now < float(doc.get("trial_ends") or 0.0):
        note = f"the agent {' '.join(agent)[:200]} ended within its first minute: the one before is back"
        kept = {k: v for k, v in doc.items() if k not in ("before", "trial_ends")}
        return _words(before), {**kept, "agent": _words(before), "note": note}
    return agent, doc


def _words(value: Any) -> List[str]:
    return value if isinstance(value, list) and all(isinstance(w, str) and w for w in value) else []


def _read(host_dir: str) -> Doc:
    doc = read_json(os.path.join(host_dir, FILE), 65536)
    return doc if isinstance(doc, dict) else {}


def become(host_dir: str, more: List[str]) -> None:
    """Another version serves when one is meant; returns when it is this one."""
    doc = _read(host_dir)
    program, after = decide(doc, time.time())
    if after != doc:
        write_json(os.path.join(host_dir, FILE), after)
    if program and os.access(program[0], os.X_OK):
        os.execv(program[0], [*program, "run", "--dir", host_dir, HERE, *more])


def become_keeper(host_dir: str) -> None:
    """The keeper that is meant, when it starts at all; else this version's. Raises OSError."""
    program = _words(_read(host_dir).get("keeper"))
    if program and _starts(program):
        os.execv(program[0], [*program, host_dir])
    argv = keeper_argv(host_dir)
    os.execv(argv[0], argv)


def _starts(program: List[str]) -> bool:
    try:
        done = subprocess.run([*program, "--check", "1"], stdin=subprocess.DEVNULL, timeout=CHECK)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


class Supervised:
    """What an agent does differently when systemd keeps it; `on` says whether it does."""

    def __init__(self, host_dir: str, on: bool) -> None:
        self.on = on
        self._dir = host_dir
        self._doc = _read(host_dir) if on else {}

    @property
    def note(self) -> str:
        """Why the agent of now is not the one that was asked for last."""
        return str(self._doc.get("note") or "")

    def arguments(self) -> List[str]:
        """For an agent that is to follow this one."""
        return [HERE] if self.on else []

    def argv(self, usual: List[str]) -> List[str]:
        """How this agent is started."""
        program = _words(self._doc.get("agent"))
        return [*program, "run", "--dir", self._dir, HERE] if program else usual

    async def introduce(self, keeper: KeeperLink) -> None:
        """The keeper keeps no agent here: one that it kept before systemd did is not started again."""
        if keeper.hello.get("agent_argv"):
            try:
                await keeper.request("agent", none=True)
            except KeeperError:
                pass  # an older keeper: it has the agent that runs

    def ready(self) -> None:
        """systemd may count it as started."""
        self._tell("READY=1")

    def took_over(self, argv: List[str], trial: float) -> None:
        """This agent serves in place of the one that systemd knows: its main process from now on."""
        doc = {k: v for k, v in _read(self._dir).items() if k != "note"}
        program = argv[: argv.index("run")]
        doc.update(before=_words(doc.get("agent")), agent=program, trial_ends=time.time() + trial)
        self._write(doc)
        self._tell(f"MAINPID={os.getpid()}\nREADY=1")

    def take_back(self) -> None:
        """Its follower did not do, and this agent serves on."""
        if self.on:
            doc = _read(self._dir)
            if doc.get("before") is not None:
                kept = {k: v for k, v in doc.items() if k not in ("trial_ends", "before")}
                self._write({**kept, "agent": doc["before"]})
            self._tell(f"MAINPID={os.getpid()}\nREADY=1")

    def keeper(self, program: List[str]) -> None:
        """The keeper has become this version: so it will at the next boot."""
        if self.on:
            self._write({**_read(self._dir), "keeper": program})

    def _write(self, doc: Doc) -> None:
        self._doc = doc
        try:
            write_json(os.path.join(self._dir, FILE), doc)
        except OSError:
            pass  # a full disk: the version before comes at the next start

    def _tell(self, text: str) -> None:
        name: Optional[str] = os.environ.get("NOTIFY_SOCKET") if self.on else None
        if not name:
            return
        path = "\0" + name[1:] if name.startswith("@") else name
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            try:
                s.sendto(text.encode(), path)
            except OSError:
                pass
