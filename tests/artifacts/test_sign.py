"""Keys and signature records: made here, judged by what hosts judge them by."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from cockpit.artifacts.sign import KeyTrouble, approve, checked, judged, keygen, loose, public, read_key, subject
from cockpit.swarm.signatures import Unsigned, check, genuine

RECORD = {"name": "sudoku", "version": "1.0.0", "platform": "any", "kind": "release", "sha256": "ab" * 32, "size": 7}


@pytest.fixture
def key(tmp_path: Path) -> Ed25519PrivateKey:
    keygen(tmp_path / "qa.pem")
    return read_key(tmp_path / "qa.pem")


def test_a_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "qa.pem"
    old = os.umask(0)
    try:
        line = keygen(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public(read_key(path)) == line
    assert line.startswith("ed25519:")
    assert loose(path) == ""
    before = path.read_bytes()
    with pytest.raises(KeyTrouble, match="exists and is left as it is"):
        keygen(path)
    assert path.read_bytes() == before


def test_a_key_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "qa.pem"
    keygen(path)
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        assert f"has mode {mode:04o}: others can use this key; chmod 600" in loose(path)


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "qa.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyTrouble, match="exists"):
        keygen(tmp_path / "qa.pem")
    assert not (tmp_path / "elsewhere").exists()


def test_files_that_are_no_key(tmp_path: Path) -> None:
    path = tmp_path / "x.pem"
    ed = Ed25519PrivateKey.generate()
    cases = {
        b"": "is not a private key in PEM",
        b"x" * 100_000: "more than 65536 bytes",
        ed.public_key().public_bytes_raw(): "is not a private key in PEM",
        ed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")): "is encrypted",
        generate_private_key(SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ): "Ed25519 is wanted",
    }
    for data, says in cases.items():
        path.write_bytes(data)
        with pytest.raises(KeyTrouble, match=says):
            read_key(path)
    with pytest.raises(FileNotFoundError):
        read_key(tmp_path / "none")


def test_what_is_approved_counts_for_this_artifact_alone(key: Ed25519PrivateKey) -> None:
    record = approve(RECORD, "qa", key, by="li@jump-1", now=5.0)
    signers = {"qa": (public(key),)}
    check(["qa"], signers, [record], **subject(RECORD)._asdict())
    for change in ({"version": "1.1.0"}, {"name": "web"}, {"platform": "linux"}, {"sha256": "cd" * 32}):
        with pytest.raises(Unsigned, match="signed for another"):
            check(["qa"], signers, [record], **subject({**RECORD, **change})._asdict())
    assert judged(RECORD, [record], signers) == [
        {"role": "qa", "key": public(key), "by": "li@jump-1", "time": 5.0, "verdict": "valid"}
    ]
    assert "another version" in judged({**RECORD, "version": "2"}, [record], signers)[0]["verdict"]
    assert "nobody may sign as qa" in judged(RECORD, [record], {})[0]["verdict"]


@pytest.mark.parametrize("role", ["", "q a", "qa\n", "../qa", "-qa", "q" * 65])
def test_roles_that_are_none(key: Ed25519PrivateKey, role: str) -> None:
    with pytest.raises(ValueError, match="role"):
        approve(RECORD, role, key, by="x", now=0)


@pytest.mark.parametrize("field", ["name", "version", "platform", "kind", "sha256"])
def test_a_record_that_says_too_little_is_not_signed(key: Ed25519PrivateKey, field: str) -> None:
    for record in ({k: v for k, v in RECORD.items() if k != field}, {**RECORD, field: ""}, {**RECORD, field: 1}):
        with pytest.raises(ValueError, match=f"no `{field}`"):
            approve(record, "qa", key, by="x", now=0)


def test_only_genuine_signatures_are_taken_in(key: Ed25519PrivateKey) -> None:
    good = approve(RECORD, "qa", key, by="li@jump-1", now=5.0)
    taken = checked(RECORD, {**good, "extra": "x" * 1000, "of": {"name": "x" * 1000}})
    assert taken == good
    bad: list[dict[str, Any]] = [
        {}, {**good, "role": "build"}, {**good, "role": "../x"}, {**good, "signature": "AA=="}, {**good, "by": None},
        {**good, "by": "a\nb"}, {**good, "time": "now"},
        approve({**RECORD, "version": "2"}, "qa", key, by="x", now=0),
    ]  # fmt: skip
    for record in bad:
        with pytest.raises(ValueError, match="."):
            checked(RECORD, record)
    assert genuine(taken, subject(RECORD))
