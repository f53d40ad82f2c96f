"""Rebuild a lost state directory from what the hosts hold; no service is touched.

Every agent keeps the head revision it was told last. The highest revision whose digest is right
becomes the head again; the artifacts are packed anew from the installed releases (packing is
reproducible, so their digests are the same); hosts of this machine get identities of the new CA.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from cockpit.controller.local import LocalHosts
from cockpit.controller.serving import here, lock
from cockpit.link.pki import Authority
from cockpit.model.topology import Expected, digest, from_doc
from cockpit.model.view import RevisionRow
from cockpit.plan.steps import Bad, Refused
from cockpit.ports import StateStore, Write
from cockpit.swarm.store import DirectoryStore

MAX_HEAD = 64 * 1024 * 1024


class Head(msgspec.Struct, kw_only=True):
    """`head.json` of a host."""

    document: dict[str, Any]
    revision: int
    digest: str
    last_import: dict[str, Any] | None = msgspec.field(default=None, name="import")
    port: int = 0
    source: str = ""


def read_heads(hosts: Path, files: Iterable[Path]) -> list[Head]:
    """Every sound head found, best first. A head whose digest is wrong is left out."""
    heads = []
    for path in [*sorted(hosts.glob("*/head.json")), *files]:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            if path.stat().st_size > MAX_HEAD:
                continue
            head = msgspec.json.decode(path.read_bytes(), type=Head)
            if digest(head.document) == head.digest:
                head.source = str(path)
                heads.append(head)
    return sorted(heads, key=lambda h: -h.revision)


async def recover(
    state: Path, store: StateStore, hosts: Path, files: Iterable[Path], say: Callable[[str], None]
) -> Expected:
    """Write a new state directory. Raises Refused when there is one, Bad when no host holds a head."""
    with lock(state):
        tables = await store.load()
        try:
            if tables.get("meta", {}).get("head"):
                raise Refused(f"{state} holds a state already: nothing to recover")
            heads = read_heads(hosts, files)
            if not heads:
                raise Bad(f"no host under {hosts} holds a head revision; name one with --head FILE")
            head = heads[0]
            expected = from_doc(head.document)
            authority = Authority.create(state / "ca", expected.name)
            say(f"rev {head.revision}, digest {head.digest[:16]}, from {len(heads)} hosts")
            _artifacts(state, hosts, say)
            port = head.port or free_port()
            writes = _writes(head, port)
            writes += _identities(hosts, expected, authority, f"https://127.0.0.1:{port}", say)
            await store.commit(writes)
            return expected
        finally:
            await store.close()


def _writes(head: Head, port: int) -> list[Write]:
    row = RevisionRow(
        number=head.revision, mark=head.digest, author=here().author, time=time.time(), action="recover"
    )
    writes: list[Write] = [
        ("meta", "head", {"doc": head.document, "revision": head.revision}),
        ("revision", f"{row.number:09d}", row),
        ("meta", "port", port),
    ]
    if head.last_import is not None:
        writes.append(("meta", "import", head.last_import))
    return writes


def _artifacts(state: Path, hosts: Path, say: Callable[[str], None]) -> None:
    store = DirectoryStore(state / "artifacts")
    for release in sorted(hosts.glob("*/releases/*/*")):
        name, version = release.parent.name, release.name
        if not release.is_dir() or version.startswith(".") or store.find(name, version) is not None:
            continue
        record = store.add(release, name, version)
        say(f"artifact {name}/{version} {record['sha256'][:16]}")


def _identities(
    root: Path, expected: Expected, authority: Authority, url: str, say: Callable[[str], None]
) -> list[Write]:
    """New certificates for the hosts of this machine; their agents come back by themselves."""
    local = LocalHosts(root, authority, expected.name)
    writes: list[Write] = []
    for name, host in expected.hosts.items():
        directory = root / name
        if not (directory / "identity" / "host.json").exists():
            how = "agent" if host.connection == "agent" else "local host"
            say(f"{name}: {how} not found here; join it again: cockpit agent token {name}")
            continue
        uuid = local.identify(name, [url], anew=True)
        writes.append(("host", name, {"uuid": uuid}))
        pid = agent_pid(directory)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)  # its keeper starts it again, with the new identity
        say(f"{name}: identity renewed")
    return writes


def agent_pid(directory: Path) -> int | None:
    """The agent's pid by the keeper's word."""
    with socket.socket(socket.AF_UNIX) as s, contextlib.suppress(OSError, ValueError):
        s.settimeout(5)
        s.connect(str(directory / "keeper.sock"))
        s.sendall(b'{"id":1,"op":"hello"}\n')
        answer = json.loads(s.makefile("rb").readline())
        pid = answer.get("agent_pid")
        return int(pid) if pid else None
    return None


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
