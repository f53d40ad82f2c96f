"""Relays of the topology: joining, what they are told, and those that are started here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cockpit.controller.joining import Joining
from cockpit.controller.local import LocalHosts
from cockpit.controller.relays import lock_holder, settings, top_down
from cockpit.controller.world import World
from cockpit.link.hub import Hub
from cockpit.link.pki import Authority, peer_name
from cockpit.model.topology import Expected, Host, Relay, to_doc
from cockpit.naming.registry import Registry
from cockpit.plan.steps import Bad
from tests.helpers import PATIENCE, until

RELAYS = {
    "relay-sh": Relay(region="sh", address="127.0.3.1", port=7411),
    "relay-a": Relay(region="bj", address="127.0.3.2", port=7412, upstream="relay-b", push_rate=1000, cache=5000),
    "relay-b": Relay(region="bj", address="127.0.3.3", upstream="relay-sh", connection="local"),
}


def port_of(name: str) -> int:
    return {"relay-b": 40001}.get(name, 0)


def test_each_comes_after_its_upstream() -> None:
    assert top_down(RELAYS) == ["relay-sh", "relay-b", "relay-a"]


def test_what_a_relay_is_told() -> None:
    assert settings("relay-sh", RELAYS, ("10.0.0.1", 7411), port_of) == {
        "region": "sh", "address": "127.0.3.1", "port": 7411, "cache": 20 * 1024**3, "rate": 0,
        "upstream": {"name": "", "address": "10.0.0.1", "port": 7411},
    }
    assert settings("relay-a", RELAYS, None, port_of) == {
        "region": "bj", "address": "127.0.3.2", "port": 7412, "cache": 5000, "rate": 1000,
        "upstream": {"name": "relay-b", "address": "127.0.3.3", "port": 40001},
    }


def test_nothing_while_its_upstream_is_not_known() -> None:
    assert settings("relay-sh", RELAYS, None, port_of) is None
    assert settings("relay-a", RELAYS, ("10.0.0.1", 1), lambda name: 0) is None


class Store:
    """Keeps what is committed."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {}

    def note(self, body: dict[str, Any]) -> None: ...

    async def commit(self, writes: Any) -> None:
        for table, key, value in writes:
            if value is None:
                self.tables.get(table, {}).pop(key, None)
            else:
                self.tables.setdefault(table, {})[key] = value


@pytest.fixture
def joining(tmp_path: Path) -> Joining:
    world = World(Registry())
    hosts = {"sh-1": Host(region="sh", address="127.0.1.1")}
    world.set_expected(to_doc(Expected(name="shop", hosts=hosts, relays=RELAYS)), 1)
    store: Any = Store()
    made = Joining(Authority.create(tmp_path / "ca", "shop"), store, world)
    made.facts = lambda name: settings(name, RELAYS, ("10.0.0.1", 7411), port_of) or {}
    return made


def asks(token: str, name: str, kind: str = "relay") -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = csr.public_bytes(serialization.Encoding.PEM).decode()
    return {"token": token, "host": name, "uuid": str(uuid.uuid4()), "csr": pem, "kind": kind}


async def test_a_relay_joins_by_its_own_token(joining: Joining) -> None:
    token = await joining.token("relay-sh", "")
    request = asks(token, "relay-sh")
    answer = await joining.join(request, "https://c:1")
    der = x509.load_pem_x509_certificate(answer["cert"].encode()).public_bytes(serialization.Encoding.DER)
    assert peer_name(der) == ("relay", "relay-sh")
    assert answer["relay"]["upstream"] == {"name": "", "address": "10.0.0.1", "port": 7411}
    assert joining.relays == {"relay-sh": request["uuid"]} and joining.uuids == {}
    store: Any = joining.ledger
    assert set(store.tables) == {"token", "relay"} and store.tables["token"] == {}
    assert store.tables["relay"]["relay-sh"]["uuid"] == request["uuid"]
    with pytest.raises(PermissionError, match="used already"):
        await joining.join(asks(token, "relay-sh"), "https://c:1")
    again = Joining(joining.authority, store, joining.world)
    again.load(store.tables)
    assert again.relays == joining.relays


async def test_tokens_that_do_not_fit(joining: Joining) -> None:
    anybody = await joining.token("", "")
    with pytest.raises(PermissionError, match="for hosts only; make one for relay-sh: cockpit agent token relay-sh"):
        await joining.join(asks(anybody, "relay-sh"), "")
    with pytest.raises(PermissionError, match="relay-sh is a relay: it joins with `cockpit relay`"):
        await joining.join(asks(await joining.token("relay-sh", ""), "relay-sh", "host"), "")
    with pytest.raises(PermissionError, match="sh-1 is not a relay of the topology"):
        await joining.join(asks(await joining.token("sh-1", ""), "sh-1"), "")
    with pytest.raises(PermissionError, match="is for relay-a, not for relay-b"):
        await joining.join(asks(await joining.token("relay-a", ""), "relay-b"), "")
    with pytest.raises(Bad, match="no host or relay 'relay-sx' in the topology.*relay-sh"):
        await joining.token("relay-sx", "")
    assert joining.relays == {}




# started on this machine


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalHosts]:
    hosts = LocalHosts(tmp_path / "hosts", Authority.create(tmp_path / "ca", "shop"))
    yield hosts
    for name in ("relay-a", "relay-b"):
        hosts.relays.end(name)


LOCAL = {
    "relay-a": Relay(region="sh", address="127.0.0.1", connection="local"),
    "relay-b": Relay(region="bj", address="127.0.0.1", connection="local", upstream="relay-a"),
    "far": Relay(region="bj", address="127.0.0.1", port=7000),
}
ORIGIN = ("127.0.0.1", 9)  # nobody listens there: a relay tries again and again


async def up(local: LocalHosts, name: str) -> int:
    """Its pid, once it listens."""
    await until(lambda: lock_holder(local.relays.directory(name)) and local.relays.port(name))
    return lock_holder(local.relays.directory(name))


async def test_local_relays_are_started_each_after_its_upstream(local: LocalHosts) -> None:
    assert (await local.watch_relays(LOCAL, ["https://c:1"], None)).keys() == {"relay-a", "relay-b"}
    assert not lock_holder(local.relays.directory("relay-a"))  # nobody knows where the origin is
    uuids = await local.watch_relays(LOCAL, ["https://c:1"], ORIGIN)
    first = await up(local, "relay-a")
    assert not lock_holder(local.relays.directory("relay-b"))  # where its upstream listens was not known yet
    assert await local.watch_relays(LOCAL, ["https://c:1"], ORIGIN) == uuids
    await up(local, "relay-b")
    told = json.loads((local.relays.directory("relay-b") / "relay.json").read_text())
    assert told["upstream"] == {"name": "relay-a", "address": "127.0.0.1", "port": local.relays.port("relay-a")}
    assert lock_holder(local.relays.directory("relay-a")) == first
    assert not (local.root / "far").exists()


async def test_a_local_relay_outlives_the_controller_and_is_found_again(local: LocalHosts, tmp_path: Path) -> None:
    await local.watch_relays(LOCAL, [], ORIGIN)
    pid, port = await up(local, "relay-a"), local.relays.port("relay-a")
    again = LocalHosts(tmp_path / "hosts", local.authority)
    await again.watch_relays({"relay-a": LOCAL["relay-a"]}, [], ORIGIN)
    assert lock_holder(again.relays.directory("relay-a")) == pid
    other = {"relay-a": msgspec.structs.replace(LOCAL["relay-a"], cache=5 * 1024**2)}
    await again.watch_relays(other, [], ORIGIN)  # other settings: started anew, at the same port
    assert await up(again, "relay-a") != pid
    assert again.relays.port("relay-a") == port
    again.end("relay-a")
    assert not lock_holder(again.relays.directory("relay-a"))
    assert (again.relays.directory("relay-a") / "cache").is_dir()


async def test_a_killed_relay_comes_back_at_its_port(local: LocalHosts) -> None:
    relays = {"relay-a": LOCAL["relay-a"]}
    await local.watch_relays(relays, [], ORIGIN)
    pid, port = await up(local, "relay-a"), local.relays.port("relay-a")
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not lock_holder(local.relays.directory("relay-a")))
    await local.watch_relays(relays, [], ORIGIN)
    assert await up(local, "relay-a") not in (0, pid)
    assert local.relays.port("relay-a") == port


async def test_a_relay_gets_a_new_identity_of_another_authority(local: LocalHosts, tmp_path: Path) -> None:
    relays = {"relay-a": LOCAL["relay-a"]}
    uuids = await local.watch_relays(relays, [], ORIGIN)
    pid = await up(local, "relay-a")
    other = LocalHosts(tmp_path / "hosts", Authority.create(tmp_path / "other", "shop"))
    assert await other.watch_relays(relays, [], ORIGIN) == uuids
    assert await up(other, "relay-a") != pid
    assert (other.relays.directory("relay-a") / "identity" / "ca.pem").read_text() == other.authority.ca_pem


async def test_nothing_is_started_while_everything_ends(local: LocalHosts) -> None:
    local.ending = True
    assert await local.watch_relays(LOCAL, [], ORIGIN) == {}
    assert not local.root.exists()


# the command


@pytest.fixture
async def port(joining: Joining) -> AsyncIterator[int]:
    """Of a hub where relays can join."""

    class Owner:
        async def join(self, request: dict[str, Any]) -> dict[str, Any]:
            return await joining.join(request, "https://127.0.0.1:7")

    owner: Any = Owner()
    hub = Hub(owner, joining.authority.controller_context())
    await hub.start("127.0.0.1", 0)
    yield hub.port
    await hub.stop()


async def started(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "cockpit.cli.main", "relay", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )


async def ready(process: asyncio.subprocess.Process) -> tuple[list[str], int]:
    """(the lines before, the port)"""
    assert process.stdout is not None
    before: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while line := await process.stdout.readline():
            if line.startswith(b"{"):
                return before, int(json.loads(line)["ready"]["port"])
            before.append(line.decode().strip())
    _, err = await process.communicate()
    raise AssertionError(err.decode())


async def ended(process: asyncio.subprocess.Process) -> int:
    process.terminate()
    await process.communicate()
    assert process.returncode is not None
    return process.returncode


async def test_the_command_joins_once_and_then_runs(joining: Joining, port: int, tmp_path: Path) -> None:
    place = tmp_path / "relay"
    words = ["--dir", str(place), "--join", await joining.token("relay-sh", ""), "--controller", f"127.0.0.1:{port}"]
    process = await started(*words, "--address", "127.0.0.1", "--port", "0", "--cache", "5M")
    before, listens = await ready(process)
    assert before == ["joined as relay relay-sh"]
    assert listens == int((place / "relay.port").read_text())
    assert json.loads((place / "relay.json").read_text()) == {
        "region": "sh", "address": "127.0.0.1", "port": 0, "cache": 5 * 1024**2, "rate": 0,
        "upstream": {"name": "", "address": "10.0.0.1", "port": 7411},
    }
    facts = json.loads((place / "identity" / "host.json").read_text())
    assert (facts["name"], facts["uuid"]) == ("relay-sh", joining.relays["relay-sh"])
    assert {p.stat().st_mode & 0o777 for p in place.rglob("*") if p.is_file()} == {0o600}
    assert await ended(process) == 0
    process = await started(*words)  # the token is spent and may stay where an init system has it
    assert await ready(process) == ([], listens)
    assert await ended(process) == 0


async def test_a_token_that_does_not_fit_leaves_nothing_behind(joining: Joining, port: int, tmp_path: Path) -> None:
    place, token = tmp_path / "relay", await joining.token("sh-1", "")
    process = await started("--dir", str(place), "--join", token, "--controller", f"127.0.0.1:{port}")
    _, err = await process.communicate()
    assert process.returncode == 2
    assert "the controller refused: sh-1 is not a relay of the topology" in err.decode()
    assert list(place.iterdir()) == []
