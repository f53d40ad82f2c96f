"""Relays: what each is told about itself, and those with `connection: local`, which are started here.

A relay's directory lies with the hosts'. It outlives the controller; its lock file tells that it runs and
under which pid, `relay.port` where it listens.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cockpit.agent.files import write_json
from cockpit.controller.locks import holder
from cockpit.controller.places import below, upstreams
from cockpit.link.pki import Authority
from cockpit.model.topology import Region, Relay

END_LIMIT = 10.0
"""Seconds a relay gets to end by itself."""
Place = tuple[str, int]


def settings(
    name: str, relays: Mapping[str, Relay], origin: Place | None, port_of: Callable[[str], int], *,
    controller: str = "", link_port_of: Callable[[str], int] = lambda relay: 0,
    regions: Mapping[str, Region] | None = None,
) -> dict[str, Any] | None:
    """What the relay `name` is told: the content of its relay.json.

    None while nobody knows yet where its upstream listens. `port_of` and `link_port_of` tell a local relay's
    actual ports (0: unknown), `controller` is the URL for links. Rates and the cache are in bytes (per second);
    a rate of 0 is unlimited.
    """
    relay = relays[name]
    place: Place | None
    if relay.upstream:
        above = relays[relay.upstream]
        port = above.port or port_of(relay.upstream)
        place = (above.address, port) if port else None
    else:
        place = origin
    if place is None:
        return None
    told: dict[str, Any] = {
        "region": relay.region, "address": relay.address, "port": relay.port, "cache": relay.cache,
        "rate": relay.push_rate or 0,
        "upstream": {"name": relay.upstream, "address": place[0], "port": place[1]},
    }
    if relay.ssh is not None and relay.ssh.listen_origin and not relay.upstream:
        told["upstream"] |= {"address": "127.0.0.1", "port": relay.ssh.listen_origin}
    if relay.link_port is not None:
        region = (regions or {}).get(relay.region)
        straight = bool(relay.upstream) or relay.ssh is not None or relay.connection == "local"
        told["link"] = {
            "port": relay.link_port, "upstream": upstreams(name, relays, controller, link_port_of),
            "proxy": region.proxy if region is not None and not straight else "", "below": below(name, relays),
        }
    return told


def top_down(relays: Mapping[str, Relay]) -> list[str]:
    """Names, each after its upstream. The topology's check has made sure that there is no circle."""

    def depth(name: str) -> int:
        above = relays[name].upstream
        return 1 + depth(above) if above in relays else 0

    return sorted(relays, key=lambda name: (depth(name), name))


class LocalRelays:
    """Starts what is missing; ends nothing unless it is told to, or when its settings changed."""

    def __init__(self, root: Path, authority: Authority, environment: Callable[[], dict[str, str]]) -> None:
        self.root = root
        self.authority = authority
        self._environment = environment
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._stale: set[str] = set()
        """Have a new identity, which a relay that already runs does not know."""

    def directory(self, relay: str) -> Path:
        return self.root / relay

    def port(self, relay: str) -> int:
        """Where it listens; 0 when it never did."""
        try:
            return int((self.directory(relay) / "relay.port").read_text())
        except (OSError, ValueError):
            return 0

    def link_port(self, relay: str) -> int:
        """Where it listens for agents; 0 when it never did."""
        try:
            return int((self.directory(relay) / "link.port").read_text())
        except (OSError, ValueError):
            return 0

    def identify(self, relay: str, controllers: list[str]) -> str:
        """Make sure the relay has an identity of our CA that still stands; returns its UUID."""
        directory = self.directory(relay)
        known = ""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            known = str(json.loads((directory / "identity" / "host.json").read_text()).get("uuid", ""))
            ours = (directory / "identity" / "ca.pem").read_text() == self.authority.ca_pem
            if known and ours and self.authority.stands((directory / "identity" / "cert.pem").read_text()):
                return known
        name = known or str(uuid.uuid4())
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        self.authority.issue_local_relay(directory, relay, name, controllers)
        self._stale.add(relay)
        return name

    def start(self, relay: str, wanted: dict[str, Any], *, connected: bool = False) -> bool:
        """Start the relay unless it runs with these settings already; one with others is ended first.

        One that is connected is told other settings by its trunk, and needs no new start for them. Blocks for as
        long as it takes. False when nothing was started.
        """
        directory = self.directory(relay)
        process = self._started.get(relay)
        fresh = process is not None and process.poll() is None and not lock_holder(directory)
        path = directory / "relay.json"
        same = relay not in self._stale and path.exists() and path.read_text() == _text(wanted)
        if connected and relay not in self._stale:
            return False
        if same and (fresh or lock_holder(directory)):
            return False
        self.end(relay)
        write_json(str(path), wanted)
        self._stale.discard(relay)
        log = os.open(directory / "relay.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._started[relay] = subprocess.Popen(
                [sys.executable, "-I", "-m", "cockpit.relay", "--dir", str(directory)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True,
                cwd="/", env=self._environment(),
            )
        finally:
            os.close(log)
        return True

    def end(self, relay: str) -> None:
        """End the relay, also one that is only just starting. Its cache stays."""
        process = self._started.pop(relay, None)
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(END_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        pid = lock_holder(self.directory(relay))
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if lock_holder(self.directory(relay)) != pid:  # ended meanwhile: the pid may be anybody's
                    return
                signal.pidfd_send_signal(handle, signal.SIGTERM)
                if not select.select([handle], [], [], END_LIMIT)[0]:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    select.select([handle], [], [], END_LIMIT)
            finally:
                os.close(handle)


def lock_holder(directory: Path) -> int:
    """Pid of the relay that runs on this directory; 0 when none does."""
    return holder(directory / "relay.lock")


def _text(wanted: dict[str, Any]) -> str:
    return json.dumps(wanted, separators=(",", ":"))
