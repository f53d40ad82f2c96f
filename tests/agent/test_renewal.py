"""Certificates that renew themselves: the dates, the answer, and the files at every moment."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.agent import join, renewal
from cockpit.agent.identity import Identity, replace_pair, write_identity
from cockpit.agent.proof import Facts, own_facts
from cockpit.agent.renewal import Renewal, Unfit, check, due, plan
from cockpit.link import pki
from tests.helpers import until

UUID = "6d8b2cb0-1111-4222-8333-444455556666"
OTHER = "6d8b2cb0-1111-4222-8333-444455557777"
DAY = 86400.0
FACTS = Facts("a1", 0.0, 90 * DAY, ())


@pytest.fixture
def authority(tmp_path: Path) -> pki.Authority:
    return pki.Authority.create(tmp_path / "ca", "shop")


@pytest.fixture
def own(authority: pki.Authority, tmp_path: Path) -> Path:
    authority.issue_local_host(tmp_path / "h", "sh-1", UUID, ["https://c:1"])
    return tmp_path / "h" / "identity"


@given(st.uuids(), st.floats(60, 400 * DAY))
def test_it_is_due_when_a_third_of_the_life_is_left_and_not_much_later(uuid: Any, life: float) -> None:
    facts = Facts("ff", 1e9, 1e9 + life, ())
    left = facts.expires - due(facts, str(uuid))
    assert life / 4 - 1e-3 <= left <= life / 3 + 1e-3
    assert due(facts, str(uuid)) == due(facts, str(uuid))


def test_a_fleet_does_not_ask_at_once() -> None:
    moments = sorted(due(FACTS, f"host-{n}") for n in range(1000))
    tenth = (moments[-1] - moments[0]) / 10
    counts = [sum(1 for m in moments if k <= (m - moments[0]) / tenth < k + 1) for k in range(10)]
    assert tenth > DAY / 2 and max(counts) < 200


@pytest.mark.parametrize(
    ("now", "tried", "why", "later", "text"),
    [
        (0.0, 0.0, "", 60 * DAY, ""),
        (70 * DAY, 0.0, "", 0.0, ""),  # due at once
        (70 * DAY, 70 * DAY, "", 3600.0, ""),
        (70 * DAY, 70 * DAY, "no tool", 3600.0, "cannot be renewed (no tool); it ends in 20 days"),
        (85 * DAY, 0.0, "", 0.0, "ends in 5 days"),
        (90 * DAY - 600, 90 * DAY - 600, "", 30.0, "ends in 10 min"),
        (92 * DAY, 0.0, "", 0.0, "expired 2 days ago: join anew with a token"),
        (10 * DAY, 0.0, "no tool", 50 * DAY, "cannot be renewed (no tool)"),
    ],
)
def test_when_it_asks_and_what_it_says(now: float, tried: float, why: str, later: float, text: str) -> None:
    found = plan(FACTS, UUID, now, tried, why)
    if later >= 50 * DAY:
        assert found.at == due(FACTS, UUID)
    else:
        assert found.at == now + later
    assert (text in found.text) if text else found.text == ""


def csr_of(authority: pki.Authority, name: str = "sh-1", uuid: str = UUID, kind: str = "host") -> tuple[str, str]:
    """(key, certificate)."""
    key, csr = join.make_key(name)
    issue = authority.issue_relay if kind == "relay" else authority.issue_host
    return key, issue(csr, name, uuid)


def test_what_is_taken_as_an_answer(authority: pki.Authority, own: Path, tmp_path: Path) -> None:
    ca, want = str(own / "ca.pem"), own_facts(str(own)).uris
    key, cert = csr_of(authority)
    assert sorted(check(cert, key, ca, want, time.time()).uris) == ["cockpit://host/sh-1", f"urn:uuid:{UUID}"]
    foreign = pki.Authority.create(tmp_path / "foreign", "shop")
    bad = [
        csr_of(authority, name="sh-2"), csr_of(authority, uuid=OTHER), csr_of(authority, kind="relay"),
        csr_of(foreign), (csr_of(authority)[0], cert), (key, "nonsense"), (key, ""), (key, "x" * 100_000),
    ]
    for their_key, their_cert in bad:
        with pytest.raises(Unfit):
            check(their_cert, their_key, ca, want, time.time())
    with pytest.raises(Unfit, match="expired"):
        check(cert, key, ca, want, time.time() + 100 * DAY)
    assert sorted(p.name for p in own.iterdir()) == ["ca.pem", "cert.pem", "host.json", "key.pem"]


class Killed(BaseException):
    """As if the process had ended here."""


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Every change of a name in a file system counts; before the number-th the process is gone, for good."""
    count = 0

    def wrap(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count > number:
                raise Killed
            return function(*args, **kwargs)

        return call

    for name in ("replace", "rename", "symlink", "unlink", "open", "mkdir", "rmdir", "fsync"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    return lambda: count


def serial(directory: Path) -> str:
    """As every reader of the identity finds it: the pair belongs together."""
    ssl.create_default_context().load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return own_facts(str(directory), expired=False).serial


@pytest.mark.parametrize("again", [False, True], ids=["first", "second"])
def test_killed_at_any_moment_the_pair_is_the_old_one_or_the_new_one(
    authority: pki.Authority, own: Path, again: bool
) -> None:
    if again:
        replace_pair(str(own), **dict(zip(("key", "cert"), csr_of(authority), strict=True)))
    seen = []
    for moment in range(100):
        before = serial(own)
        key, cert = csr_of(authority)
        with pytest.MonkeyPatch.context() as patch:
            counted = killed_at(moment, patch)
            try:
                replace_pair(str(own), key=key, cert=cert)
                done = True
            except Killed:
                done = False
            assert counted() >= min(moment, 1)
        after = serial(own)
        assert after in (before, pki.facts(cert).serial)
        seen.append(after == before)
        if done:
            break
        if not again:  # each kill hits an identity that was never renewed
            authority.issue_local_host(own.parent, "sh-1", UUID, ["https://c:1"])
    assert done and True in seen and not seen[-1]
    assert (own / "cert.pem").stat().st_mode & 0o777 == 0o600


def test_killed_while_joining_anew_there_is_an_identity(authority: pki.Authority, own: Path) -> None:
    for moment in range(200):
        key, cert = csr_of(authority, uuid=OTHER)
        with pytest.MonkeyPatch.context() as patch:
            killed_at(moment, patch)
            try:
                write_identity(
                    str(own.parent), key=key, cert=cert, ca=authority.ca_pem, name="sh-1", uuid=OTHER,
                    controllers=["https://c:1"], cluster="shop",
                )
                break
            except Killed:
                pass
        found = Identity.load(str(own.parent))
        assert found is not None and found.uuid in (UUID, OTHER)
        found.context()
    found = Identity.load(str(own.parent))
    assert moment > 10 and found is not None and found.uuid == OTHER


class Host:
    """A renewal whose link leads to an authority."""

    def __init__(self, own: Path, **options: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.renewal = Renewal(str(own), "sh-1", UUID, self.sent.append, self.said.append, **options)
        self.task = asyncio.ensure_future(self.renewal.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is issued is due at once."""
    monkeypatch.setattr(renewal, "LEFT", 1.1)
    monkeypatch.setattr(renewal, "SPREAD", 0.0)


async def test_it_asks_over_its_link_and_takes_the_answer(
    authority: pki.Authority, own: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, before = Host(own), serial(own)
    try:
        await until(lambda: host.renewal.report()["serial"])
        assert host.sent == []  # there is no link
        host.renewal.connected(True)
        await until(lambda: host.sent)
        assert host.sent[0]["t"] == "renew" and "PRIVATE" not in host.sent[0]["csr"]
        monkeypatch.setattr(renewal, "LEFT", 0.3)
        cert = authority.issue_host(host.sent[0]["csr"], "sh-1", UUID)
        await host.renewal.frame({"t": "certificate", "cert": cert, "ca": authority.ca_pem})
        assert serial(own) == pki.facts(cert).serial == host.renewal.report()["serial"] != before
        assert host.renewal.report()["text"] == "" and "renewed" in host.said[-1]
        await host.renewal.frame({"t": "certificate", "cert": csr_of(authority)[1]})  # nobody asked
        assert serial(own) == pki.facts(cert).serial
    finally:
        await host.stop()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"error": "sh-1 is another machine now"}, "the controller refused: sh-1 is another"),
        ({"cert": 5}, "makes no sense"), ({}, "makes no sense"), ({"cert": "x"}, "was not taken: it does not stand"),
    ],
)
async def test_an_answer_that_is_none(own: Path, short: None, answer: dict[str, Any], text: str) -> None:
    host, before = Host(own), serial(own)
    try:
        host.renewal.connected(True)
        await until(lambda: host.sent)
        await host.renewal.frame({"t": "certificate", **answer})
        assert serial(own) == before and text in host.renewal.report()["text"]
    finally:
        await host.stop()


async def test_a_host_with_no_means_to_make_a_key_says_so(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "can_make_keys", lambda: False)
    host = Host(own)
    try:
        await until(lambda: host.renewal.report()["text"])
        assert "neither the `cryptography` package nor the openssl command" in host.renewal.report()["text"]
    finally:
        await host.stop()


async def test_openssl_makes_the_key_where_cryptography_is_not(
    authority: pki.Authority, own: Path, short: None
) -> None:
    host = Host(own, make=join._make_key_by_openssl)
    try:
        host.renewal.connected(True)
        await until(lambda: host.sent)
        cert = authority.issue_host(host.sent[0]["csr"], "sh-1", UUID)
        await host.renewal.frame({"t": "certificate", "cert": cert})
        assert serial(own) == pki.facts(cert).serial
    finally:
        await host.stop()


def test_facts_of_an_expired_one_can_be_read(
    authority: pki.Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pki, "HOST_LIFE", pki.timedelta(seconds=-60))
    authority.issue_local_host(tmp_path / "old", "sh-1", UUID, [])
    directory = str(tmp_path / "old" / "identity")
    assert own_facts(directory).expires < time.time()
    with pytest.raises(ssl.SSLError, match="expired"):
        own_facts(directory, expired=False)
