"""Who signed what: what counts, and the words for what does not."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.swarm.signatures import (
    MAX_RECORDS,
    HostSigners,
    Subject,
    Unsigned,
    check,
    check_fetch,
    format_key,
    genuine,
    host_signers,
    parse_key,
    statement,
    verdict,
)

OF = Subject("sudoku", "1.0.0", "any", "release", "ab" * 32)
BUILD, QA, MALLORY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))


def name(key: Ed25519PrivateKey) -> str:
    return format_key(key.public_key().public_bytes_raw())


SIGNERS = {"build": (name(BUILD),), "qa": (name(QA),)}


def signed(role: str, key: Ed25519PrivateKey, of: Subject = OF) -> dict[str, Any]:
    signature = base64.b64encode(key.sign(statement(role, of))).decode()
    return {
        "role": role, "key": name(key), "signature": signature, "by": "li@jump-1", "time": 1.0,
        "of": of._asdict(),
    }  # fmt: skip


BOTH = [signed("build", BUILD), signed("qa", QA)]


def test_what_is_signed() -> None:
    assert statement("qa", OF) == b"cockpit-artifact-1\nqa\nsudoku\n1.0.0\nany\nrelease\n" + b"ab" * 32 + b"\n"


@pytest.mark.parametrize("bad", ["", "a\nb", "a\r", "é", "a\0", "\x85"])
@pytest.mark.parametrize("field", [*Subject._fields, "role"])
def test_a_text_that_would_leave_its_line_is_not_signed(field: str, bad: str) -> None:
    role, of = ("qa", OF._replace(**{field: bad})) if field != "role" else (bad, OF)
    with pytest.raises(ValueError, match="cannot stand"):
        statement(role, of)


def test_enough() -> None:
    check(["build", "qa"], SIGNERS, BOTH, **OF._asdict())
    check([], {}, [], **OF._asdict())
    check(["qa"], SIGNERS, [{"role": 3}, *BOTH], **OF._asdict())


def test_one_good_record_is_enough_beside_bad_ones() -> None:
    check(["qa"], SIGNERS, [signed("qa", MALLORY), signed("qa", QA)], **OF._asdict())


@pytest.mark.parametrize(
    ("records", "missing", "says"),
    [
        ([], ("build", "qa"), "sudoku/1.0.0 is not signed as demanded: build has not signed it; qa has not"),
        (BOTH[:1], ("qa",), "demanded: qa has not signed it$"),
        (BOTH[1:], ("build",), "demanded: build has not signed it$"),
        ([*BOTH[:1], signed("qa", MALLORY)], ("qa",), r"that of li@jump-1: wrong key: ed25519:\S+ is not one of qa"),
        ([*BOTH[:1], signed("qa", BUILD)], ("qa",), "wrong key: .*; it is one of build"),
        (
            [*BOTH[:1], signed("qa", QA, OF._replace(version="0.9.0"))], ("qa",),
            r"signed for another version: sudoku/0\.9\.0",
        ),
        ([*BOTH[:1], signed("qa", QA, OF._replace(name="web"))], ("qa",), r"another name: web/1\.0\.0"),
        (
            [*BOTH[:1], signed("qa", QA, OF._replace(platform="linux-x86_64"))], ("qa",),
            r"another platform: sudoku/1\.0\.0 \(linux-x86_64,",
        ),
        ([*BOTH[:1], signed("qa", QA, OF._replace(kind="data"))], ("qa",), "another kind"),
        ([*BOTH[:1], signed("qa", QA, OF._replace(sha256="cd" * 32))], ("qa",), "another content.*cdcd"),
        (
            [*BOTH[:1], {**signed("qa", QA, OF._replace(version="0.9.0")), "of": None}], ("qa",),
            r"does not fit sudoku/1\.0\.0",
        ),
        # a record that lies about what it was made for is not believed in any way
        (
            [*BOTH[:1], {**signed("qa", QA, OF._replace(version="0.9.0")), "of": OF._asdict()}], ("qa",),
            r"does not fit sudoku/1\.0\.0",
        ),
        ([*BOTH[:1], {**signed("build", BUILD), "role": "qa", "key": name(QA)}], ("qa",), "does not fit"),
    ],
)  # fmt: skip
def test_not_enough(records: list[dict[str, Any]], missing: tuple[str, ...], says: str) -> None:
    with pytest.raises(Unsigned, match=says) as e:
        check(["build", "qa"], SIGNERS, records, **OF._asdict())
    assert e.value.missing == missing


def test_a_role_without_keys() -> None:
    with pytest.raises(Unsigned, match="nobody may sign as ops"):
        check(["ops"], SIGNERS, BOTH, **OF._asdict())


def test_too_many_records_are_not_looked_at() -> None:
    with pytest.raises(Unsigned, match="65 signatures"):
        check(["qa"], SIGNERS, [signed("qa", QA)] * (MAX_RECORDS + 1), **OF._asdict())


@pytest.mark.parametrize("change", [{"signature": None}, {"signature": ""}, {"signature": "é"}, {"signature": "AA"}])
def test_a_signature_that_is_none(change: dict[str, Any]) -> None:
    assert "does not fit" in verdict({**signed("qa", QA), **change}, OF, SIGNERS)


def test_base64_has_one_form() -> None:
    record = signed("qa", QA)
    assert genuine(record, OF)
    text = record["signature"]
    last = chr(ord(text[-3]) + 1)  # its lowest bits belong to no byte
    for other in (text + "\n", " " + text, text[:-3] + last + "==", text.rstrip("=")):
        assert not genuine({**record, "signature": other}, OF)


@pytest.mark.parametrize(
    "key", [None, "", "rsa:AAAA", "ed25519:", "ed25519:AA==", "ed25519:" + "A" * 43 + "=", name(QA) + "\n", 7]
)
def test_texts_that_are_no_key(key: Any) -> None:
    with pytest.raises(ValueError, match="."):
        parse_key(key)
    assert not genuine({**signed("qa", QA), "key": key}, OF)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["role", "key", "signature", "by", "of", "time"]), json_values))
def test_whatever_a_record_holds_it_is_judged_and_never_counts(change: dict[str, Any]) -> None:
    """A change of what is not signed over (`by`, `time`, `of`) changes nothing."""
    record = {**signed("qa", QA), **change}
    unharmed = not {"role", "key", "signature"} & set(change)
    assert (verdict(record, OF, SIGNERS) == "") == unharmed
    try:
        check(["qa"], SIGNERS, [record], **OF._asdict())
    except Unsigned:
        assert not unharmed


# signers.json of a host


def write(host: Path, doc: Any) -> Path:
    path = host / "signers.json"
    path.write_text(doc if isinstance(doc, str) else json.dumps(doc))
    return path


def test_no_file_no_demand(tmp_path: Path) -> None:
    assert host_signers(str(tmp_path)) is None


def test_its_list_wins_and_its_roles_are_demanded_besides(tmp_path: Path) -> None:
    write(tmp_path, {"require": ["qa"], "signers": {"qa": [name(QA)]}})
    found = host_signers(str(tmp_path))
    assert found == HostSigners(("qa",), {"qa": (name(QA),)})
    check([], {}, BOTH, **OF._asdict(), host_signers=found)
    with pytest.raises(Unsigned, match="qa has not signed it.*signers.json of this host"):
        check([], SIGNERS, BOTH[:1], **OF._asdict(), host_signers=found)
    with pytest.raises(Unsigned, match="wrong key"):  # the controller's list does not help
        check([], {"qa": [name(MALLORY)]}, [signed("qa", MALLORY)], **OF._asdict(), host_signers=found)
    with pytest.raises(Unsigned, match="nobody may sign as build") as e:
        check(["build"], SIGNERS, BOTH, **OF._asdict(), host_signers=found)
    assert e.value.missing == ("build",)


@pytest.mark.parametrize(
    "doc",
    [
        "", "{", "[]", "null", "{}", '{"require":["qa"]}', {"signers": {"qa": []}}, {"signers": {"qa": ["x"]}},
        {"signers": []}, {"require": "qa", "signers": {"qa": [name(QA)]}},
        {"require": ["build"], "signers": {"qa": [name(QA)]}}, {"require": [[]], "signers": {}},
        {"requires": ["qa"], "signers": {"qa": [name(QA)]}}, {"signers": {"": [name(QA)]}},
        {"signers": {"qa": ["ed25519:" + "A" * 43 + "="]}}, {"signers": {}, "pad": "x"},
        " " * 70_000, "[" * 60_000,
    ],
)  # fmt: skip
def test_a_damaged_file_refuses_everything(tmp_path: Path, doc: Any) -> None:
    write(tmp_path, doc)
    with pytest.raises(Unsigned, match="signers.json is damaged, so nothing is installed here"):
        host_signers(str(tmp_path))
    with pytest.raises(Unsigned, match="damaged"):
        check_fetch(ARGS, MANIFEST, str(tmp_path))


def test_a_file_that_cannot_be_read_refuses_everything(tmp_path: Path) -> None:
    (tmp_path / "signers.json").mkdir()
    with pytest.raises(Unsigned, match="cannot be read"):
        host_signers(str(tmp_path))


# before the first piece

MANIFEST = SimpleNamespace(**OF._asdict())
ARGS: dict[str, Any] = {
    "name": "sudoku", "version": "1.0.0", "kind": "release", "sha256": "ab" * 32, "require": ["build", "qa"],
    "signers": {r: list(k) for r, k in SIGNERS.items()}, "signatures": BOTH,
}  # fmt: skip


def test_a_fetch_that_is_signed(tmp_path: Path) -> None:
    check_fetch(ARGS, MANIFEST, str(tmp_path))
    check_fetch({k: ARGS[k] for k in ("name", "version", "kind", "sha256")}, MANIFEST, str(tmp_path))
    write(tmp_path, {"require": ["qa"], "signers": {r: list(k) for r, k in SIGNERS.items()}})
    check_fetch({**ARGS, "require": [], "signers": {}}, MANIFEST, str(tmp_path))


def test_a_signed_version_presented_as_another(tmp_path: Path) -> None:
    """The manifest of 1.0.0 with its good signatures, asked for as 1.1.0, or as web."""
    for change in ({"version": "1.1.0"}, {"name": "web"}, {"kind": "data"}, {"sha256": "cd" * 32}):
        with pytest.raises(Unsigned, match=r"the manifest is that of sudoku/1\.0\.0"):
            check_fetch({**ARGS, **change}, MANIFEST, str(tmp_path))
    later = SimpleNamespace(**OF._replace(version="1.1.0", sha256="cd" * 32)._asdict())
    with pytest.raises(Unsigned, match=r"signed for another version: sudoku/1\.0\.0") as e:
        check_fetch({**ARGS, "version": "1.1.0", "sha256": "cd" * 32}, later, str(tmp_path))
    assert e.value.missing == ("build", "qa")


@pytest.mark.parametrize(
    "change",
    [
        {"signatures": []}, {"signatures": {}, "require": ["qa"]}, {"signatures": ["x"]}, {"require": "qa"},
        {"require": [3]}, {"signers": []}, {"signers": {"qa": "ed25519:"}}, {"signers": {"qa": [[]]}}, {"name": None},
    ],
)  # fmt: skip
def test_a_fetch_with_bad_arguments(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(Unsigned):
        check_fetch({**ARGS, **change}, MANIFEST, str(tmp_path))
