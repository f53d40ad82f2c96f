"""Rebuild a lost state directory from what the hosts hold; no service is touched.

Every agent keeps the head revision it was told last. The highest revision whose digest is right
becomes the head again; the artifacts are packed anew from the installed releases (packing is
reproducible, so their digests are the same); hosts of this machine get identities of the new CA.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from cockpit.controller.local import LocalHosts, again
from cockpit.controller.serving import here, lock
from cockpit.link.pki import Authority
from cockpit.model.topology import Expected, digest, from_doc
from cockpit.model.view import RevisionRow
from cockpit.plan.steps import Bad, Refused
from cockpit.ports import StateStore, Write
from cockpit.swarm.pack import pack
from cockpit.swarm.store import DirectoryStore, Exists, StoreError

MAX_HEAD = 64 * 1024 * 1024
NO_HEAD = "no host under {} holds a head revision; name one with --head FILE"


class Head(msgspec.Struct, kw_only=True):
    """`head.json` of a host."""

    document: dict[str, Any]
    revision: int
    digest: str
    last_import: dict[str, Any] | None = msgspec.field(default=None, name="import")


def read_heads(hosts: Path, files: Iterable[Path]) -> list[Head]:
    """Every sound head of the hosts and of the named files, best first. A host's that is damaged is left
    out. Raises Bad when a named one is."""
    heads = []
    for path in sorted(hosts.glob("*/head.json")):
        with contextlib.suppress(OSError, ValueError):
            heads.append(read_head(path))
    for path in files:
        try:
            heads.append(read_head(path))
        except OSError as e:
            raise Bad(f"{path}: {e.strerror or e}") from None
        except ValueError as e:
            raise Bad(f"{path} is not the head.json of a host: {e}") from None
    return sorted(heads, key=lambda h: -h.revision)


def read_head(path: Path) -> Head:
    """Raises OSError, or ValueError when it is none or its digest is wrong."""
    if path.stat().st_size > MAX_HEAD:
        raise ValueError(f"larger than {MAX_HEAD >> 20} MiB")
    head = msgspec.json.decode(path.read_bytes(), type=Head)
    if digest(head.document) != head.digest:
        raise ValueError("its digest is not that of its document")
    return head


async def recover(
    state: Path, store: StateStore, hosts: Path, files: Iterable[Path], say: Callable[[str], None]
) -> Expected:
    """Write a new state directory. Raises Refused when there is one, Bad when no host holds a head."""
    heads = read_heads(hosts, files)
    if not heads and not state.exists():
        raise Bad(NO_HEAD.format(hosts))
    with lock(state):
        try:
            tables = await store.load()
            if tables.get("meta", {}).get("head"):
                raise Refused(f"{state} holds a state already: nothing to recover")
            if not heads:
                raise Bad(NO_HEAD.format(hosts))
            head = heads[0]
            expected = from_doc(head.document)
            ca = state / "ca"  # of a recovery that was cut off, or of a state that was lost in part
            authority = Authority.load(ca) if (ca / "ca.pem").exists() else Authority.create(ca, expected.name)
            say(f"rev {head.revision}, digest {head.digest[:16]}, from {len(heads)} hosts")
            _artifacts(state, hosts, say)
            port = int(tables.get("meta", {}).get("port", 0)) or free_port()
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
    """Pack every installed release; what was altered since, or came out differently, is left out."""
    store = DirectoryStore(state / "artifacts")
    found: dict[tuple[str, str], bool] = {}
    for path in sorted(hosts.glob("*/releases/*/.*.json")):
        name, version = path.parent.name, path.name[1:].removesuffix(".json")
        if found.get((name, version)):
            continue
        with contextlib.suppress(OSError, ValueError, Exists, StoreError):
            found[name, version] = False
            found[name, version] = _repack(store, path.parent / version, name, version, read_manifest(path))
    for (name, version), whole in found.items():
        what = "packed anew" if whole else "could not be packed as it was: add it again with cockpit artifact add"
        say(f"artifact {name}/{version}: {what}")


class Manifest(msgspec.Struct):
    """What the agent wrote down when it installed a release (see `cockpit.agent.install`)."""

    sha256: str
    files: dict[str, list[Any]]
    links: dict[str, str] = {}


def read_manifest(path: Path) -> Manifest:
    """Raises OSError, ValueError."""
    return msgspec.json.decode(path.read_bytes(), type=Manifest)


def _repack(store: DirectoryStore, release: Path, name: str, version: str, manifest: Manifest) -> bool:
    """Into the store, if the archive is again the one that was installed.

    Programs write beside their files (Python its `__pycache__`), so only what the manifest names is
    taken, and directories that are empty. Raises OSError, ValueError, Exists, StoreError.
    """
    with tempfile.TemporaryDirectory(prefix=".recover-", dir=store.root) as work:
        copy, packed = Path(work) / "release", Path(work) / "packed"
        for directory, inner, files in os.walk(release):
            if not inner and not files:
                (copy / Path(directory).relative_to(release)).mkdir(parents=True)
        for path in [*manifest.files, *manifest.links]:
            if not (copy / path).resolve().is_relative_to(copy.resolve()):
                raise ValueError(f"{path} leads out of the release")
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(release / path, copy / path, follow_symlinks=False)
        if pack(copy, packed)["sha256"] != manifest.sha256:
            return False
        store.add(copy, name, version)
        return True


def _identities(
    root: Path, expected: Expected, authority: Authority, url: str, say: Callable[[str], None]
) -> list[Write]:
    """New certificates for the hosts of this machine; their agents come back by themselves."""
    local = LocalHosts(root, authority, expected.name)
    writes: list[Write] = []
    for name, host in expected.hosts.items():
        directory = root / name
        if not (directory / "identity" / "host.json").exists():
            how = f"join it again with a token (cockpit agent token {name})"
            say(f"{name}: not here: " + (how if host.connection == "agent" else "it is started anew"))
            continue
        uuid = local.identify(name, [url], anew=True)
        writes.append(("host", name, {"uuid": uuid}))
        again(directory)
        say(f"{name}: identity renewed")
    return writes


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
