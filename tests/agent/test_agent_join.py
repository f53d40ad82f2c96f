"""Joining by one-time token."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from cockpit.agent import join as joining
from cockpit.agent.identity import Identity, IdentityError
from cockpit.agent.join import JoinError, join, make_key
from cockpit.link.pki import Authority, make_token
from tests.agent.fake import AgentProcess, FakeController


async def attempt(controller: FakeController, dir: Path, token: str, host: str = "bj-1", url: str = "") -> str:
    return await asyncio.to_thread(join, str(dir), url or controller.url, token, host)


async def test_a_token_becomes_an_identity(controller: FakeController, tmp_path: Path) -> None:
    assert await attempt(controller, tmp_path / "h", controller.token(), "bj-7") == "bj-7"
    identity = Identity.load(str(tmp_path / "h"))
    assert identity is not None
    assert (identity.name, identity.cluster, identity.controllers) == ("bj-7", "puzzle", [controller.url])
    identity.context()
    assert (tmp_path / "h" / "identity").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "h" / "identity" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "h").glob(".identity*"))


async def test_a_token_works_once(controller: FakeController, tmp_path: Path) -> None:
    token = controller.token()
    await attempt(controller, tmp_path / "a", token)
    with pytest.raises(JoinError, match="used already"):
        await attempt(controller, tmp_path / "b", token)
    assert not (tmp_path / "b" / "identity").exists()


async def test_an_expired_token(controller: FakeController, tmp_path: Path) -> None:
    with pytest.raises(JoinError, match="expired"):
        await attempt(controller, tmp_path / "h", controller.token(ttl=-5))


async def test_nothing_is_sent_to_another_controller(controller: FakeController, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "puzzle")
    token, record = make_token(other, "", "", 60)
    controller.tokens[record["id"]] = record
    with pytest.raises(JoinError, match="fingerprint differs.*nothing was sent"):
        await attempt(controller, tmp_path / "h", token)
    assert record["id"] in controller.tokens


async def test_a_token_for_another_host(controller: FakeController, tmp_path: Path) -> None:
    with pytest.raises(JoinError, match="for host bj-2, not for bj-1"):
        await attempt(controller, tmp_path / "h", controller.token(host="bj-2"))
    assert await attempt(controller, tmp_path / "h", controller.token(host="bj-2"), "") == "bj-2"


@pytest.mark.parametrize("host", ["a/b", "-x", "x" * 80, "a b"])
async def test_a_name_that_is_none(controller: FakeController, tmp_path: Path, host: str) -> None:
    with pytest.raises(JoinError, match="cannot be the name"):
        await attempt(controller, tmp_path / "h", controller.token(), host)


async def test_nobody_listens(controller: FakeController, tmp_path: Path) -> None:
    token = controller.token()
    await controller.stop()
    with pytest.raises(JoinError, match="no answer"):
        await attempt(controller, tmp_path / "h", token)


async def test_openssl_does_what_the_package_does(
    controller: FakeController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, csr = joining._make_key_by_openssl("bj-3")
    assert "PRIVATE KEY" in key and key != make_key("bj-3")[0]
    controller.authority.issue_host(csr, "bj-3", "6d8b2cb0-1111-4222-8333-444455556666")
    chain = await asyncio.to_thread(joining._presented_by_openssl, (controller.address, controller.port))
    assert chain == await asyncio.to_thread(joining._presented, (controller.address, controller.port), "")
    assert len(chain) == 2


async def test_run_joins_first_and_drops_the_token(controller: FakeController, short_dir: Path) -> None:
    process = AgentProcess(short_dir / "h", controller)
    token = controller.token(host="bj-1")
    first = await process.start("--controller", controller.url, "--join", token)
    try:
        await controller.connected()
        assert controller.hellos[0][0] == "bj-1"
        assert token.encode() not in Path(f"/proc/{first.pid}/cmdline").read_bytes()
    finally:
        await process.end()
        await first.wait()


async def test_without_identity_and_token_it_says_what_to_give(short_dir: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "cockpit.agent", "run", "--dir", str(short_dir / "h"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2 and b"--join TOKEN" in said


def test_a_damaged_identity_is_said(tmp_path: Path) -> None:
    assert Identity.load(str(tmp_path)) is None
    (tmp_path / "identity").mkdir()
    with pytest.raises(IdentityError, match=r"key\.pem, cert\.pem, ca\.pem"):
        Identity.load(str(tmp_path))
