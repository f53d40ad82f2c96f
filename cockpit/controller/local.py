"""Hosts with `connection: local`: their keeper and agent are started on this machine, and so are relays.

A host's directory lies beside the state directory, never inside it, so that losing one does not
lose the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from cockpit.agent.keeper_client import KeeperClient, KeeperError, answers, connected
from cockpit.controller.locks import is_held
from cockpit.controller.relays import LocalRelays, settings, top_down
from cockpit.link.pki import Authority
from cockpit.model.topology import Region, Relay

END_LIMIT = 20.0
"""Seconds a host gets to end all its services."""


class LocalHosts:
    """Starts what is missing; ends nothing unless it is told to (services outlive the controller)."""

    def __init__(self, root: Path, authority: Authority) -> None:
        self.root = root
        self.authority = authority
        self.relays = LocalRelays(root, authority, _agent_environment)
        self._renewed: set[str] = set()
        """Hosts with a new identity, which an agent that already runs does not know."""
        self.ending = False
        """Nothing is started any more."""
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def directory(self, host: str) -> Path:
        return self.root / host

    def identify(self, host: str, controllers: list[str], *, anew: bool = False) -> str:
        """Make sure the host has an identity of our CA; returns its UUID."""
        directory = self.directory(host)
        facts = directory / "identity" / "host.json"
        known = ""
        if facts.exists():
            known = str(json.loads(facts.read_text()).get("uuid", ""))
            ours = (directory / "identity" / "ca.pem").read_text() == self.authority.ca_pem and self.authority.stands(
                (directory / "identity" / "cert.pem").read_text()
            )
            if ours and not anew and json.loads(facts.read_text()).get("controllers") == controllers:
                return known
        name = known or str(uuid.uuid4())
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        self.authority.issue_local_host(directory, host, name, controllers)
        self._renewed.add(host)
        return name

    def start(self, host: str, address: str) -> bool:
        """Start the agent (which starts its keeper) unless a keeper answers, whose business it is."""
        if self.ending:
            return False
        directory = self.directory(host)
        renewed = host in self._renewed
        self._renewed.discard(host)
        if answers(directory):
            if renewed:
                again(directory)
            return False
        log = os.open(directory / "agent.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._started[host] = subprocess.Popen(
                [sys.executable, "-I", "-m", "cockpit.agent", "run", "--dir", str(directory)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True,
                cwd="/", env=_agent_environment(),
            )
        finally:
            os.close(log)
        return True

    def end(self, host: str) -> None:
        """End the host's services, keeper and agent, or the relay; also one that is only just starting."""
        self.relays.end(host)
        directory = self.directory(host)
        deadline = time.monotonic() + END_LIMIT
        while time.monotonic() < deadline:
            if answers(directory):
                end_keeper(directory)
            elif (agent := self._started.get(host)) is not None and agent.poll() is None:
                agent.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    agent.wait(1.0)
            elif not is_held(directory / "agent.lock"):
                return
            time.sleep(0.02)

    async def watch(self, hosts: Iterable[tuple[str, str]], connected: set[str]) -> None:
        """Start the given (host, address) pairs that are neither connected nor alive."""
        for host, address in hosts:
            if host not in connected:
                await asyncio.to_thread(self.start, host, address)

    async def watch_relays(
        self, relays: Mapping[str, Relay], controllers: list[str], origin: tuple[str, int] | None, *,
        regions: Mapping[str, Region] | None = None, connected: Container[str] = (),
    ) -> dict[str, str]:
        """Start the local ones of `relays` (the whole topology's) that do not run, or run with other settings.

        `origin` is where the origin listens, None while it does not; those in `connected` have a trunk, which
        tells them what changed. Returns the UUIDs of the local ones.
        """
        uuids: dict[str, str] = {}
        for name in top_down(relays):
            if relays[name].connection != "local" or self.ending:
                continue
            uuids[name] = await asyncio.to_thread(self.relays.identify, name, controllers)
            wanted = settings(
                name, relays, origin, self.relays.port, controller=controllers[0] if controllers else "",
                link_port_of=self.relays.link_port, regions=regions,
            )
            if wanted is not None:
                await asyncio.to_thread(self.relays.start, name, wanted, connected=name in connected)
        return uuids


def end_keeper(directory: Path) -> None:
    """Ask the keeper to end everything; returns when it has closed its socket."""
    with contextlib.suppress(OSError), connected(directory, END_LIMIT) as s:
        s.sendall(b'{"id":1,"op":"end"}\n')
        while s.recv(65536):
            pass


def again(directory: Path) -> None:
    """End the agent that runs there, if any: its keeper starts it anew, with the identity of now."""
    with contextlib.suppress(OSError, ValueError, KeeperError), KeeperClient(directory, timeout=5.0) as keeper:
        if pid := keeper.call("hello").get("agent_pid"):
            os.kill(int(pid), signal.SIGTERM)


def _agent_environment() -> dict[str, str]:
    """Nothing of the operator's shell leaks into agents and services but what they need."""
    keep = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME")
    return {k: v for k, v in os.environ.items() if k in keep or k.startswith("COCKPIT_")}
