"""Sign-off: who signed what, and whether that is enough. The same code on the controller and on hosts.

A record is `{"role","key":"ed25519:BASE64","signature":BASE64,"by","time","of":{...}}`. Only the signature
counts. What the record says of itself (`of`: name, version, platform, kind, sha256) is looked at when it
does not fit, to be able to say what it was made for.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cockpit.swarm import ed25519

KEY_MARK = "ed25519:"
ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MAX_RECORDS = 64
"""Records that are looked at in one check: each costs milliseconds."""
MAX_FILE = 64 * 1024
FIELDS = ("name", "version", "platform", "kind", "sha256")

_verify = functools.lru_cache(maxsize=4096)(ed25519.verify)
"""A verification takes milliseconds, and the controller asks for the same ones again and again."""

Signers = Mapping[str, Sequence[str]]
"""Role -> public keys (`ed25519:BASE64`) that may sign for it."""
Record = Mapping[str, Any]


class Unsigned(Exception):
    """A demanded signature is not there, or cannot be believed. `missing` are the roles."""

    def __init__(self, text: str, missing: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.missing = tuple(missing)


class HostSigners(NamedTuple):
    """What a host's own administrator demands (DIR/signers.json)."""

    require: Tuple[str, ...]
    signers: Dict[str, Tuple[str, ...]]


class Subject(NamedTuple):
    """What a signature is over, beside its role."""

    name: str
    version: str
    platform: str
    kind: str
    sha256: str

    @property
    def id(self) -> str:
        return f"{self.name}/{self.version}"


def statement(role: str, of: Subject) -> bytes:
    """The bytes that are signed. Raises ValueError for a text that would not stay on its line."""
    lines = ("cockpit-artifact-1", role, *of)
    for line in lines:
        if not isinstance(line, str) or not line or not line.isascii() or not line.isprintable():
            raise ValueError(f"{line!r:.80} cannot stand in a signed statement")
    return ("\n".join(lines) + "\n").encode("ascii")


def parse_key(text: Any) -> bytes:
    """The 32 bytes of `ed25519:BASE64`. Raises ValueError (also for a key that must not be believed)."""
    if not isinstance(text, str) or not text.startswith(KEY_MARK):
        raise ValueError(f"{text!r:.80} is not a public key: {KEY_MARK}BASE64 is wanted")
    key = _plain(text[len(KEY_MARK) :], ed25519.KEY_BYTES)
    if key is None:
        raise ValueError(f"{text!r:.80} is not the BASE64 of {ed25519.KEY_BYTES} bytes")
    try:
        ed25519.check_key(key)
    except ed25519.BadKey as e:
        raise ValueError(f"{text}: {e}") from None
    return key


def format_key(key: bytes) -> str:
    return KEY_MARK + base64.b64encode(key).decode("ascii")


def genuine(record: Record, of: Subject) -> bool:
    """Did the holder of the record's own key sign this, in the record's role? Whose key it is, is not asked."""
    try:
        key = parse_key(record.get("key"))
        signed = statement(str(record.get("role")), of)
    except ValueError:
        return False
    signature = _plain(record.get("signature"), ed25519.SIGNATURE_BYTES)
    return signature is not None and _verify(key, signed, signature)


def verdict(record: Record, of: Subject, signers: Signers) -> str:
    """Empty when the record counts, or why it does not."""
    role, key = str(record.get("role")), str(record.get("key"))
    if role not in signers:
        return f"nobody may sign as {role:.64}"
    if key not in signers[role]:
        elsewhere = sorted(r for r, keys in signers.items() if key in keys)
        also = f"; it is one of {', '.join(elsewhere)}" if elsewhere else ""
        return f"wrong key: {key:.24}... is not one of {role:.64}{also}"
    if genuine(record, of):
        return ""
    return _why_not_genuine(record, of)


def _why_not_genuine(record: Record, of: Subject) -> str:
    claim = record.get("of")
    if isinstance(claim, Mapping):
        said = Subject(*(str(claim.get(field)) for field in FIELDS))
        if said != of and genuine(record, said):
            field = next(f for f in FIELDS if getattr(said, f) != getattr(of, f))
            word = "content" if field == "sha256" else field
            return f"it was signed for another {word}: {said.id} ({said.platform}, {said.kind}, {said.sha256:.12})"
    return f"the signature does not fit {of.id} ({of.platform}, {of.kind}, {of.sha256:.12})"


def check(
    required: Sequence[str], signers: Signers, records: Sequence[Record], *, name: str, version: str,
    platform: str, kind: str, sha256: str, host_signers: Optional[HostSigners] = None,
) -> None:
    """Every required role has signed exactly this. Raises Unsigned, which names each role that has not.

    With `host_signers` only the keys listed there count, and its roles are demanded besides.
    """
    of = Subject(name, version, platform, kind, sha256)
    roles = list(dict.fromkeys(required))
    where = ""
    if host_signers is not None:
        roles = list(dict.fromkeys([*roles, *host_signers.require]))
        signers, where = host_signers.signers, " (keys: signers.json of this host)"
    if len(records) > MAX_RECORDS:
        raise Unsigned(f"{of.id} comes with {len(records)} signatures; at most {MAX_RECORDS} are looked at", roles)
    missing: List[str] = []
    said: List[str] = []
    for role in roles:
        reasons = []
        for record in records:
            if record.get("role") != role:
                continue
            why = verdict(record, of, signers)
            if not why:
                break
            reasons.append(f"{_by(record)}: {why}")
        else:
            missing.append(role)
            if not reasons and not signers.get(role):
                reasons = [f"nobody may sign as {role}"]
            said.append(f"{role} has not signed it" + (f" ({'; '.join(reasons[:3])})" if reasons else ""))
    if missing:
        raise Unsigned(f"{of.id} is not signed as demanded: {'; '.join(said)}{where}", missing)


def host_signers(host_dir: str) -> Optional[HostSigners]:
    """DIR/signers.json, or None when there is none. Raises Unsigned when it cannot be used as it stands."""
    path = os.path.join(host_dir, "signers.json")
    try:
        with open(path, "rb") as f:
            data = f.read(MAX_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise Unsigned(f"{path} cannot be read ({e.strerror}), so nothing is installed here") from None
    try:
        if len(data) > MAX_FILE:
            raise ValueError(f"it has more than {MAX_FILE} bytes")
        return _host_signers(json.loads(data))
    except (ValueError, RecursionError) as e:
        raise Unsigned(f"{path} is damaged, so nothing is installed here: {e}") from None


def _host_signers(doc: Any) -> HostSigners:
    """Raises ValueError. Strict: a misspelt word would lift a demand in silence."""
    if not isinstance(doc, dict) or set(doc) - {"require", "signers"} or "signers" not in doc:
        raise ValueError('{"require":[ROLE...],"signers":{ROLE:[KEY...]}} is wanted')
    require, signers = doc.get("require", []), doc["signers"]
    if not isinstance(require, list) or not isinstance(signers, dict):
        raise ValueError("`require` is a list of roles, `signers` maps roles to lists of keys")
    found: Dict[str, Tuple[str, ...]] = {}
    for role, keys in signers.items():
        if not ROLE.fullmatch(role) or not isinstance(keys, list) or not keys:
            raise ValueError(f"signers: {role!r:.80} wants a list of keys")
        for key in keys:
            parse_key(key)
        found[role] = tuple(keys)
    for role in require:
        if not isinstance(role, str) or role not in found:
            raise ValueError(f"require: {role!r:.80} has no key under `signers`")
    return HostSigners(tuple(require), found)


def check_fetch(args: Mapping[str, Any], manifest: Any, host_dir: str) -> None:
    """Before the first piece: is what is fetched signed as the controller and this host demand?

    `args` are those of the word `fetch`; `manifest` (name, version, platform, kind, sha256) is the one that
    came. Raises Unsigned.
    """
    came = Subject(manifest.name, manifest.version, manifest.platform, manifest.kind, manifest.sha256)
    for field in ("name", "version", "kind", "sha256"):
        asked, is_ = args.get(field), getattr(came, field)
        if asked != is_:
            raise Unsigned(f"the manifest is that of {came.id}: its {field} is {is_:.64}, not {asked!s:.64}")
    require, signers = args.get("require") or [], args.get("signers") or {}
    records = args.get("signatures") or []
    if not _texts(require) or not isinstance(signers, dict) or not all(map(_texts, signers.values())):
        raise Unsigned(f"{came.id}: `require` is a list of roles, `signers` maps roles to lists of keys")
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise Unsigned(f"{came.id}: `signatures` is a list of records")
    check(require, signers, records, host_signers=host_signers(host_dir), **came._asdict())


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _by(record: Record) -> str:
    by = record.get("by")
    return f"that of {by:.64}" if isinstance(by, str) and by.isprintable() and by else "the one that is there"


def _plain(text: Any, size: int) -> Optional[bytes]:
    """The bytes of BASE64 in its one canonical form; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    return data if len(data) == size and base64.b64encode(data).decode("ascii") == text else None
