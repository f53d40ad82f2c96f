"""Who is believed: tokens that are listed and withdrawn, floods, renewals, revocations."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.agent.join import make_key
from cockpit.controller import renewing
from cockpit.controller.attempts import ALL_BURST, BURST, MAX_ADDRESSES, Attempts
from cockpit.controller.joining import MAX_TOKENS, Joining
from cockpit.controller.renewing import Renewing
from cockpit.controller.revoking import choose
from cockpit.controller.world import World
from cockpit.link import pki
from cockpit.link.certificates import parse, uris
from cockpit.model.topology import Expected, Host, Relay, to_doc
from cockpit.naming.registry import Registry
from cockpit.plan.steps import Bad

NOW = 1_700_000_000.0


class Ledger:
    """Keeps what is committed, as JSON would."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {}
        self.notes: list[dict[str, Any]] = []

    def note(self, body: dict[str, Any]) -> None:
        self.notes.append(body)

    async def commit(self, writes: Any) -> None:
        for table, key, value in writes:
            if value is None:
                self.tables.get(table, {}).pop(key, None)
            else:
                self.tables.setdefault(table, {})[key] = msgspec.to_builtins(value)


@pytest.fixture
def joining(tmp_path: Path) -> Joining:
    world, ledger = World(Registry()), Ledger()
    hosts = {n: Host(region="sh", address=f"127.0.1.{i}") for i, n in enumerate(("sh-1", "sh-2"), 1)}
    relays = {"relay-sh": Relay(region="sh", address="127.0.1.9", port=1)}
    world.set_expected(to_doc(Expected(name="shop", hosts=hosts, relays=relays)), 1)
    made: Any = Joining(pki.Authority.create(tmp_path / "ca", "shop"), ledger, world)  # type: ignore[arg-type]
    return made  # type: ignore[no-any-return]


def asks(token: str, name: str = "sh-1", kind: str = "host", id: str = "") -> dict[str, Any]:
    return {"token": token, "host": name, "uuid": id or str(uuid.uuid4()), "csr": make_key(name)[1], "kind": kind}


async def joined(joining: Joining, name: str = "sh-1", kind: str = "host") -> str:
    """Its UUID."""
    request = asks(await joining.token(name, ""), name, kind)
    await joining.join(request, "")
    return str(request["uuid"])


def again(joining: Joining) -> Joining:
    """As after a restart of the controller."""
    ledger: Any = joining.ledger
    made = Joining(joining.authority, ledger, joining.world)
    made.load(ledger.tables)
    return made


async def test_who_joined_stands_in_the_journal_and_the_token_does_not(joining: Joining) -> None:
    ledger: Any = joining.ledger
    text = await joining.token("relay-sh", "", by="li@ops")
    request = asks(text, "relay-sh", "relay")
    await joining.join(request, "", "10.0.0.9")
    notes = [n for n in ledger.notes if n["kind"] == "join"]
    assert notes == [{
        "kind": "join", "as": "relay", "name": "relay-sh", "uuid": request["uuid"], "address": "10.0.0.9",
        "token": pki.parse_token(text).id, "author": "li@ops",
    }]  # fmt: skip
    assert pki.parse_token(text).secret not in str(ledger.notes)


async def test_open_tokens_are_listed_and_withdrawn(joining: Joining) -> None:
    long = await joining.token("sh-1", "", 7200.0, by="li@ops")
    short = await joining.token("", "", 60.0)
    rows = joining.tokens(time.time())
    assert [r["host"] for r in rows] == ["", "sh-1"] and rows[1]["by"] == "li@ops"
    assert not any("digest" in r or "secret" in r for r in rows)
    id = pki.parse_token(long).id
    with pytest.raises(Bad, match="0 open tokens"):
        await joining.withdraw("nothing")
    with pytest.raises(Bad, match="0 open tokens"):
        await joining.withdraw("")
    assert await joining.withdraw(id[:8]) == {"id": id, "host": "sh-1"}
    assert [r["host"] for r in again(joining).tokens(time.time())] == [""]
    with pytest.raises(PermissionError, match="not known here"):
        await joining.join(asks(long), "")
    await joining.join(asks(short), "")
    assert joining.tokens(time.time()) == []


@pytest.mark.parametrize("ttl", [float("nan"), float("inf"), 1e12])
async def test_lives_of_tokens_that_make_no_sense(joining: Joining, ttl: float) -> None:
    with pytest.raises(Bad, match="at most 30 days"):
        await joining.token("", "", ttl)


async def test_expired_tokens_are_dropped_and_open_ones_are_bounded(joining: Joining) -> None:
    await joining.token("", "", -5.0)
    await joining.token("sh-1", "")
    assert len(joining._tokens) == 1 and len(again(joining)._tokens) == 1
    joining._tokens |= {f"t{n}": {"id": f"t{n}", "expires": 9e9, "host": ""} for n in range(MAX_TOKENS)}
    with pytest.raises(Bad, match="withdraw some"):
        await joining.token("sh-1", "")


def test_an_address_that_fails_too_often_has_to_wait() -> None:
    a = Attempts()
    for _ in range(int(BURST)):
        assert a.wait("10.0.0.1", NOW) == 0
        a.failed("10.0.0.1", NOW)
    assert a.wait("10.0.0.1", NOW) == pytest.approx(3.0)
    assert a.wait("10.0.0.1", NOW + 3.1) == 0 and a.wait("10.0.0.2", NOW) == 0
    for n in range(int(BURST)):
        a.failed(f"2001:db8::{n}", NOW)
    assert a.wait("2001:db8::ffff", NOW) > 0 and a.wait("2001:db8:1::1", NOW) == 0
    for n in range(2 * MAX_ADDRESSES):
        a.failed(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", NOW)
    assert len(a._by) <= MAX_ADDRESSES and a.flooded(NOW) and not a.flooded(NOW + 60)


async def test_a_flood_does_not_keep_out_who_has_a_token(joining: Joining) -> None:
    good = await joining.token("sh-1", "")
    strange = asks(good.replace(good[20:24], "AAAA"))
    for n in range(int(ALL_BURST) + 20):
        with pytest.raises((PermissionError, ValueError)):
            await joining.join(strange, "", f"10.1.{n // 250}.{n % 250}")
    assert joining._attempts.flooded(time.time())
    assert (await joining.join(asks(good), "", "10.9.9.9"))["host"] == "sh-1"
    for _ in range(int(BURST)):
        with pytest.raises((PermissionError, ValueError)):
            await joining.join(strange, "", "10.8.8.8")
    with pytest.raises(PermissionError, match=r"too many failed attempts from 10.8.8.8: wait \d s"):
        await joining.join(strange, "", "10.8.8.8")


@pytest.mark.parametrize("bad", [5, None, "", "x" * 100_000, ["a"], {"a": 1}], ids=lambda b: str(b)[:8])
@pytest.mark.parametrize("field", ["token", "host", "uuid", "csr"])
async def test_fields_that_are_none(joining: Joining, field: str, bad: Any) -> None:
    token = await joining.token("sh-1", "")
    with pytest.raises((PermissionError, ValueError)):
        await joining.join(asks(token) | {field: bad}, "")
    assert (await joining.join(asks(token), ""))["host"] == "sh-1"


async def test_a_uuid_is_no_password(joining: Joining) -> None:
    """It stands in every certificate: whoever knows it may neither take its name nor share it."""
    mine = await joined(joining)
    anybody = await joining.token("", "")
    with pytest.raises(PermissionError, match="another machine already"):
        await joining.join(asks(anybody, id=mine), "")
    with pytest.raises(PermissionError, match="UUID belongs to another"):
        await joining.join(asks(anybody, "sh-2", id=mine), "")
    with pytest.raises(PermissionError, match="UUID belongs to another"):
        await joining.join(asks(await joining.token("relay-sh", ""), "relay-sh", "relay", mine), "")


async def test_only_who_is_believed_is_renewed(joining: Joining) -> None:
    mine, relay = await joined(joining), await joined(joining, "relay-sh", "relay")
    desk, csr = Renewing(joining), make_key("x")[1]
    answer = await desk.renew("host", "sh-1", mine, csr)
    assert pki.peer_identity({"subjectAltName": [("URI", u) for u in uris(parse(answer["cert"]))]}) == (
        "sh-1", mine,
    )
    row = next(i for i in again(joining).identities() if i.name == "sh-1")
    assert row.serial == pki.facts(answer["cert"]).serial and row.expires > time.time() + 80 * 86400
    assert "cert" in await desk.renew("relay", "relay-sh", relay, csr)
    other = str(uuid.uuid4())
    refusals = [("host", "sh-1", other), ("host", "sh-2", mine), ("host", "relay-sh", relay), ("relay", "sh-1", mine)]
    for kind, name, id in refusals:
        answer = await desk.renew(kind, name, id, csr)
        assert answer == {"t": "certificate", "error": f"{name} is another machine now"}
    for wrong in (5, None, "", "x" * 100_000):
        assert "error" in await Renewing(joining).renew("host", "sh-1", mine, wrong)
    errors = [(await desk.renew("host", "sh-1", mine, csr)).get("error", "") for _ in range(5)]
    assert "too often" in errors[-1]


async def test_who_is_revoked_comes_back_with_a_new_uuid_only(joining: Joining) -> None:
    mine, now = await joined(joining), time.time()
    token = await joining.token("sh-1", "")
    told: list[str] = []
    joining.revoking.on_change.append(lambda row: told.append(row.uuid))
    row = await joining.revoke("sh-1", mine[:8], by="li@ops", why="stolen", now=now)
    assert told == [mine] and row.expires > now + 80 * 86400
    clock = time.strftime("%H:%M", time.localtime(now))
    assert re.fullmatch(rf"revoked by li (\d\d-\d\d )?{clock}: stolen", joining.revoking.reason("sh-1"))
    for j in (joining, again(joining)):
        assert not j.admits("sh-1", mine) and j.revoking.frame() == {"t": "revoked", "uuids": [mine]}
        await j.admit("sh-1", mine)
        assert not j.admits("sh-1", mine)
        assert "revoked by li" in (await Renewing(j).renew("host", "sh-1", mine, make_key("x")[1]))["error"]
        with pytest.raises(PermissionError, match="not known here"):
            await j.join(asks(token), "")
        with pytest.raises(PermissionError, match="was revoked"):
            await j.join(asks(await j.token("sh-1", ""), id=mine), "")
    ledger: Any = joining.ledger
    said = next(n for n in ledger.notes if n["kind"] == "revoked")
    assert said["uuid"] == mine
    new = await joined(joining)
    assert new != mine and joining.admits("sh-1", new) and not joining.admits("sh-1", mine)
    assert [(i.uuid, bool(i.revoked)) for i in joining.identities()] == [(new, False), (mine, True)]


async def test_a_list_of_the_revoked_does_not_grow_for_ever(joining: Joining) -> None:
    first = await joined(joining)
    await joining.revoke("sh-1", "", by="li", why="", now=time.time())
    second = await joined(joining)
    row = await joining.revoke("sh-1", "", by="li", why="x" * 5000, now=time.time() + 100 * 86400)
    assert list(joining.revoking.rows) == [second] and list(again(joining).revoking.rows) == [second]
    assert first != second and len(row.why) == 300


A, B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


@pytest.mark.parametrize(
    ("name", "id", "found"),
    [
        ("h", "", ("host", A)), ("h", "aaaa", ("host", A)), ("h", A.upper(), ("host", A)), ("r", "", ("relay", B)),
        ("h", B, ("host", B)), ("gone", B, ("host", B)),
        ("hh", "", "no host or relay 'hh'.*h"), ("h", "aaa", "not the UUID of h; h is aaaa"),
        ("h", "zzzzz", "not the UUID"),
    ],
)  # fmt: skip
def test_which_identity_is_meant(name: str, id: str, found: Any) -> None:
    if isinstance(found, str):
        with pytest.raises(Bad, match=found):
            choose(name, id, {"h": A}, {"r": B}, {})
    else:
        assert choose(name, id, {"h": A}, {"r": B}, {}) == found


async def test_what_the_operator_is_told_before_and_after_the_end(joining: Joining) -> None:
    await joined(joining)
    end = joining.expiries()["sh-1"]
    assert renewing.notices(joining, end - 8 * 86400) == [] and renewing.expired(joining, "sh-1", end - 1) == ""
    assert "certificate of sh-1 ends in 3 days" in renewing.notices(joining, end - 3 * 86400)[0]
    assert "join anew with cockpit agent token sh-1" in renewing.expired(joining, "sh-1", end + 1)
    assert "authority ends in 20 days" in renewing.notices(joining, joining.authority.facts.expires - 20 * 86400)[0]


def test_the_controllers_own_certificate_is_renewed_while_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = pki.Authority.create(tmp_path / "ca", "shop")
    with monkeypatch.context() as earlier:
        earlier.setattr(pki, "CONTROLLER_LIFE", pki.timedelta(days=20))
        context = authority.controller_context()
    before = authority.controller_facts()
    assert authority.renew_controller(context) and authority.controller_facts() != before
    assert not authority.renew_controller(context)
