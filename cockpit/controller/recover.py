"""Rebuild a lost state directory from what the hosts hold; no service is touched.

Every agent keeps the head revision it was told last. The highest revision whose digest is right
becomes the head again; the artifacts are made anew from the installed releases and the manifests beside
them, so their digests are the same; hosts of this machine get identities of the new CA.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from cockpit.artifacts.make import sums_of
from cockpit.artifacts.opening import BadLocation, open_store
from cockpit.artifacts.packed import Damaged
from cockpit.artifacts.store import Exists, Store
from cockpit.controller.local import LocalHosts, again
from cockpit.controller.serving import here, lock
from cockpit.link.pki import Authority
from cockpit.model.topology import Expected, digest, from_doc
from cockpit.model.view import RevisionRow
from cockpit.plan.steps import Bad, Refused
from cockpit.ports import StateStore, Write
from cockpit.swarm.records import facts_path, read_manifest, release_path, sha256_of

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
    """Take every installed release into the store; what was altered since is left out."""
    try:
        store = open_store(state)
    except (BadLocation, OSError) as e:
        raise Bad(str(e)) from None
    found: dict[tuple[str, str], str] = {}
    for path in sorted(hosts.glob("*/releases/*/.*.json")):
        name, version = path.parent.name, path.name[1:].removesuffix(".json")
        if found.get((name, version)) == "":
            continue
        try:
            _take(store, path.parents[2], name, version)
            found[name, version] = ""
        except (OSError, ValueError, Exists, Damaged) as e:
            found[name, version] = str(e)
    for (name, version), why in found.items():
        what = f"could not be taken ({why}): add it again with cockpit artifact add" if why else "in the store again"
        say(f"artifact {name}/{version}: {what}")


def _take(store: Store, host: Path, name: str, version: str) -> None:
    """Only what the manifest names: programs write beside their files (Python its `__pycache__`).

    Raises OSError, ValueError when the release is not what its manifest says, Exists, Damaged.
    """
    directory = Path(release_path(str(host), name, version))
    manifest = read_manifest(str(host), name, version, sha256_of(facts_path(str(host), name, version)))
    if (manifest.name, manifest.version) != (name, version):
        raise ValueError(f"the manifest is that of {manifest.name}/{manifest.version}")
    store.put(directory, manifest, sums_of(directory, manifest))


def _identities(
    root: Path, expected: Expected, authority: Authority, url: str, say: Callable[[str], None]
) -> list[Write]:
    """New certificates for the hosts of this machine; their agents come back by themselves."""
    local = LocalHosts(root, authority)
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
