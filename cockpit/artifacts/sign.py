"""Keys for signing, and making the records that `cockpit.swarm.signatures` judges."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cockpit.swarm.signatures import FIELDS, ROLE, Subject, format_key, genuine, statement, verdict

if TYPE_CHECKING:
    from cockpit.artifacts.store import Store

MOST_KEY = 64 * 1024


class KeyTrouble(Exception):
    """A key that cannot be made or used; the text says why and what to do."""


def check_role(role: str) -> str:
    """Raises ValueError."""
    if not ROLE.fullmatch(role):
        raise ValueError(f"role {role[:64]!r}: letters, digits, _ and - are allowed, a letter or digit first")
    return role


def keygen(path: Path) -> str:
    """Make a key (PEM, PKCS 8, mode 0600); returns its public half, `ed25519:BASE64`.

    Raises KeyTrouble when the file exists, OSError when it cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise KeyTrouble(f"{path} exists and is left as it is; a key is never overwritten") from None
    with os.fdopen(fd, "wb") as f:
        os.fchmod(fd, 0o600)
        f.write(data)
        f.flush()
        os.fsync(fd)
    return public(key)


def read_key(path: Path) -> Ed25519PrivateKey:
    """Raises KeyTrouble for what is no Ed25519 key, OSError."""
    with path.open("rb") as f:
        data = f.read(MOST_KEY + 1)
    if len(data) > MOST_KEY:
        raise KeyTrouble(f"{path} has more than {MOST_KEY} bytes: it is no key")
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise KeyTrouble(f"{path} is encrypted; an unencrypted PEM file is wanted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyTrouble(f"{path} is not a private key in PEM: cockpit artifact keygen makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyTrouble(f"{path} is a key of another kind; Ed25519 is wanted: cockpit artifact keygen makes one")
    return key


def loose(path: Path) -> str:
    """A warning when others than the owner may read or write the file; empty otherwise."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return f"{path} has mode {mode:04o}: others can use this key; chmod 600 {path}"
    return ""


def public(key: Ed25519PrivateKey) -> str:
    return format_key(key.public_key().public_bytes_raw())


def subject(record: Mapping[str, Any]) -> Subject:
    """What is signed of an artifact's record. Raises ValueError when it does not say."""
    values = [record.get(field) for field in FIELDS]
    for field, value in zip(FIELDS, values, strict=True):
        if not isinstance(value, str) or not value:
            raise ValueError(f"the artifact's record has no `{field}`")
    return Subject(*map(str, values))


def approve(record: Mapping[str, Any], role: str, key: Ed25519PrivateKey, *, by: str, now: float) -> dict[str, Any]:
    """The signature record of this artifact for a role. Raises ValueError."""
    of = subject(record)
    signature = key.sign(statement(check_role(role), of))
    return {
        "role": role, "key": public(key), "signature": base64.b64encode(signature).decode("ascii"),
        "by": by, "time": now, "of": of._asdict(),
    }  # fmt: skip


def judged(
    record: Mapping[str, Any], signatures: list[dict[str, Any]], signers: Mapping[str, tuple[str, ...]]
) -> list[dict[str, Any]]:
    """Each signature of an artifact with its verdict: {role, key, by, time, verdict}; `valid`, or why it is not."""
    of = subject(record)
    shown = ("role", "key", "by", "time")
    return [
        {**{field: one.get(field) for field in shown}, "verdict": verdict(one, of, signers) or "valid"}
        for one in signatures
    ]


def checked(record: Mapping[str, Any], signature: Mapping[str, Any]) -> dict[str, Any]:
    """A signature record that came in, cut to its fields. Raises ValueError when it is not genuine."""
    of = subject(record)
    check_role(str(signature.get("role")))
    if not genuine(signature, of):
        raise ValueError(f"this signature does not fit {of.id} ({of.platform}, {of.kind}, {of.sha256[:12]})")
    by, time = signature.get("by"), signature.get("time")
    if not isinstance(by, str) or not by.isprintable() or len(by) > 200 or not isinstance(time, (int, float)):
        raise ValueError("`by` (who signed) and `time` (Unix seconds) are wanted")
    fields = {field: signature[field] for field in ("role", "key", "signature")}
    return {**fields, "by": by, "time": float(time), "of": of._asdict()}


def take(store: Store, name: str, version: str, signature: Mapping[str, Any], *, by: str) -> dict[str, Any]:
    """Keep a signature of an artifact of the store; returns what is kept. A second one by the same key is the first.

    `by` is who brought it, whatever the record says. Raises ValueError when it is not genuine, FileNotFoundError
    for an artifact that is not there, Damaged, OSError.
    """
    kept = checked(store.need(name, version), {**signature, "by": by})
    key = hashlib.sha256(kept["key"].encode()).hexdigest()[:16]
    store.add_signature(name, version, kept["role"], key, kept)
    return kept
