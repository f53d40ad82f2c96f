"""Nothing false, altered or half written is ever installed, and whoever tries it harms nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.swarm import tls
from cockpit.swarm.tls import Name
from tests.helpers import until
from tests.swarm import hostile
from tests.swarm.bundle import Bundle
from tests.swarm.hostile import FalseTracker, Hostile, Liar, closing
from tests.swarm.processes import House, Process, house

WEB = Bundle(3 * 1024 * 1024, 11)
PIECES = len(WEB.encoded)
MEMORY = 60 * 1024
"""KiB that a peer may have taken at most, whatever it was sent."""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


def peak(process: Process) -> int:
    """KiB of memory that the process had at most."""
    lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def rubbish(shop: House, host: str) -> list[str]:
    """What lies beside a release that is none of its records."""
    parent = shop.root / host / "releases" / "web"
    known = {"1.0.0", ".1.0.0.json", ".1.0.0.manifest"}
    return [p.name for p in parent.iterdir() if p.name not in known] if parent.exists() else []


def untouched(shop: House, host: str) -> bool:
    """No release, no half of one."""
    return not list((shop.root / host).glob("releases/web/*")) and not rubbish(shop, host)


async def served(shop: House, bundle: Bundle = WEB) -> Process:
    origin = await shop.origin()
    assert (await origin.ask({"op": "publish", **bundle.publish(shop.root / "store")}))["ok"]
    return origin


def identity(shop: House, name: str) -> tls.Identity:
    shop.authority.issue_local_host(shop.root / name, name, "6d8b2cb0-1111-4222-8333-444455556666", [])
    return tls.load(str(shop.root / name / "identity"))


FALSE = {
    hostile.corrupt: "did not verify", hostile.wrong_piece: "did not verify", hostile.too_short: "did not verify",
    hostile.bomb: "did not verify", hostile.unknown_encoding: "did not verify",
}  # fmt: skip
"""Whole pieces that are not what they should be, and why their sender is dropped."""
WILD = {
    hostile.unasked: "which was not asked for", hostile.no_such_piece: f"a piece that cannot be ({PIECES}, ",
    hostile.too_long: ", 1048576 bytes)", hostile.again_and_again: "which was not asked for",
    hostile.endless_frame: "a frame of 4294967295 bytes; at most",
    hostile.gibberish: "a frame of the unknown type 77",
}  # fmt: skip
LAME = {hostile.silent: "", hostile.slow: "", hostile.refusing: "it refused 65 pieces that it says it holds",
        hostile.hanging_up: "it closed the connection"}  # fmt: skip


@pytest.mark.parametrize("lies", [FALSE, WILD, LAME], ids=["false", "wild", "lame"])
async def test_peers_that_lie(shop: House, lies: dict[Any, str]) -> None:
    """Each tells everybody, the relay too, that it holds everything, and is believed until it is asked."""
    await served(shop)
    await shop.relay("relay-sh")
    names = ["sh-1", "sh-2", "sh-3"]
    async with contextlib.AsyncExitStack() as stack:
        liars: dict[str, Liar] = {}
        for lie in lies:
            liar = Liar(identity(shop, lie.__name__), WEB, lie)
            liars[lie.__name__] = liar
            await stack.enter_async_context(closing(liar))
            await liar.join(shop.ports["relay-sh"], Name("relay", "relay-sh"))
        peers = [await shop.peer(name) for name in names]
        ids = []
        for peer in peers:  # held until each is connected to each, so that nobody is done before it asks a liar
            ids.append(peer.say(shop.fetch(WEB, "relay-sh", "")))
            peer.say({"op": "hold", "sha256": WEB.sha256, "paused": True})
        await until(lambda: all(liar.connected() >= set(names) for liar in liars.values()))
        for peer in peers:
            peer.say({"op": "hold", "sha256": WEB.sha256, "paused": False})
        for name, peer, id in zip(names, peers, ids, strict=True):
            answer = await peer.answer(id)
            assert answer["ok"], answer
            facts = answer["data"]["swarm"]
            assert shop.installed(name, WEB) and not rubbish(shop, name)
            assert facts["bad"] == (len(FALSE) if lies is FALSE else 0)
            for liar_name, liar in liars.items():
                assert liar.asked[name], f"{name} never asked {liar_name}"
            log = peer.log.read_text()
            for lie, why in lies.items():
                said = [line for line in log.splitlines() if line.startswith(f"host {lie.__name__}: ")]
                assert not why or (said and why in said[-1]), (lie.__name__, said)
                assert lies is LAME or len(said) == 1, "it is not let in again"
            assert peak(peer) < MEMORY
        asked = [p.docs[-1]["data"]["swarm"]["fallbacks"] for p in peers]
        assert sum(asked) > 0, "what only liars said they hold came from the relay, and that is counted"


# trackers


def relay_identity(shop: House, name: str) -> tls.Identity:
    shop.authority.issue_local_relay(shop.root / name, name, "6d8b2cb0-1111-4222-8333-444455556667", [])
    return tls.load(str(shop.root / name / "identity"))


def manifest(*lines: str) -> bytes:
    head = ["cockpit-manifest 1", 'name "web"', 'version "1.0.0"', 'platform "any"', "kind release"]
    return "".join(f"{line}\n" for line in (*head, *lines, "end")).encode()


X = hashlib.sha256(b"x").hexdigest()
OTHER = Bundle(200_000, 12)
PACKED = zlib.compress(WEB.manifest)
FORBIDDEN = {
    "climbs": (manifest(f'f 644 1 {X} "../x"'), "line 6: '../x' is not a path inside the artifact"),
    "absolute": (manifest(f'f 644 1 {X} "/etc/x"'), "line 6: '/etc/x' is not a path inside the artifact"),
    "link out": (manifest('l "l" "/etc/passwd"'), "line 6: the link 'l' leaves the artifact"),
    "links out": (manifest('d "d"', 'l "d/l" "../../x"'), "the link 'd/l' leaves the artifact"),
    "hole": (
        manifest(f'f 644 {10 << 30} {X} "core"', f"z {10 << 30}"),
        "line 6: core: more than 8589934592 bytes of files together",
    ),
    "setuid": (manifest(f'f 4755 1 {X} "su"'), "line 6: su: mode 4755 is neither 755 nor 644"),
}  # fmt: skip


def heads() -> dict[str, tuple[dict[str, Any], str]]:
    return {
        "another manifest": (
            {"manifest": zlib.compress(OTHER.manifest)},
            "the manifest that came: it has another digest than was asked for",
        ),
        "no manifest": ({"manifest": b"\0" * 5000}, "the manifest that came: the packed manifest is broken"),
        "a bomb": ({"manifest": hostile.gibibyte()}, "the manifest that came: the packed manifest is broken"),
        "too much": ({"manifest": PACKED, "total": 200 << 20}, "the tracker breaks off"),
        "cut": ({"manifest": PACKED[:-9]}, "the packed manifest is broken: it is cut off"),
        "no such base": ({"manifest": PACKED, "base": "0" * 64}, "a difference to a manifest that we do not have"),
        "another layout": (
            {"manifest": PACKED, "layout": WEB.layout_data},
            "the layout that came has another digest than was asked for",
        ),
    }  # fmt: skip


async def test_trackers_that_hand_out_what_is_false(shop: House) -> None:
    """A relay of ours that lies: its host says what is wrong and with whom; the others do not notice."""
    await served(shop)
    victim, other = await shop.peer("sh-1"), await shop.peer("sh-2")
    cases: list[tuple[str, dict[str, Any], dict[str, Any], str]] = []
    for name, (lie, why) in heads().items():
        of = {"layout": OTHER.layout} if "layout" in lie else {}  # right ones are kept for the next try
        cases.append((name, {"layout": WEB.layout_data, **lie}, of, why))
    for name, (text, why) in FORBIDDEN.items():
        of = {"sha256": hashlib.sha256(text).hexdigest()}
        cases.append((name, {"manifest": zlib.compress(text), "layout": WEB.layout_data}, of, why))
    async with contextlib.AsyncExitStack() as stack:
        for number, (name, lie, of, why) in enumerate(cases):
            relay = f"relay-{number}"
            tracker = FalseTracker(relay_identity(shop, relay), relay, "relay", **lie)
            await stack.enter_async_context(closing(tracker))
            shop.ports[relay] = tracker.port
            answer = await victim.ask(shop.fetch(WEB, relay, **of))
            assert not answer["ok"], name
            assert answer["code"] == ("unreachable" if name == "too much" else "digest"), answer
            assert why in answer["text"], (name, answer["text"])
            assert answer["text"].startswith(f"relay {relay} at 127.0.0.1:{tracker.port}: ")
            assert untouched(shop, "sh-1")
    assert peak(victim) < MEMORY
    assert (await other.ask(shop.fetch(WEB, "")))["ok"] and shop.installed("sh-2", WEB)
    assert (await victim.ask(shop.fetch(WEB, "")))["ok"] and shop.installed("sh-1", WEB)


async def test_a_tracker_that_lies_about_others(shop: House) -> None:
    """It names hosts that are none, the host itself, services that are others, one host as another, and thousands."""
    victim = await shop.peer("sh-1")
    stranger = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    somewhere = stranger.sockets[0].getsockname()[1]
    honest = Liar(identity(shop, "sh-3"), WEB, hostile.good)

    victim_port = 0

    def told(doc: dict[str, Any]) -> list[dict[str, Any]]:
        nonlocal victim_port
        victim_port = doc["port"]

        def place(name: str, port: int) -> dict[str, Any]:
            return {"name": name, "address": "127.0.0.1", "port": port}

        return [
            place("sh-1", doc["port"]), place("itself", doc["port"]), place("nobody", 1), place("web", somewhere),
            place("sh-4", honest.port), place("sh-3", honest.port),
            *({"name": f"n{n}", "address": f"127.9.{n >> 8}.{n & 255}", "port": 9} for n in range(10_000)),
        ]

    tracker = FalseTracker(
        relay_identity(shop, "relay-x"), "relay-x", "relay", manifest=PACKED, layout=WEB.layout_data, peers=told
    )
    async with stranger, closing(honest), closing(tracker):
        shop.ports["relay-x"] = tracker.port
        id = victim.say(shop.fetch(WEB, "relay-x"))
        fds = 0
        while not any(doc.get("id") == id and "ok" in doc for doc in victim.docs):
            fds = max(fds, len(list(Path(f"/proc/{victim.process.pid}/fd").iterdir())))
            await asyncio.sleep(0.01)
        answer = await victim.answer(id)
    assert fds < 200 and peak(victim) < MEMORY
    assert answer["ok"] and shop.installed("sh-1", WEB), answer
    assert set(answer["data"]["swarm"]["from"]) == {"sh-3"}
    log = victim.log.read_text()
    assert f"host itself at 127.0.0.1:{victim_port}: host sh-1 answers where host itself was wanted" in log
    assert f"host sh-4 at 127.0.0.1:{honest.port}: host sh-3 answers where host sh-4 was wanted" in log
    assert "host nobody at 127.0.0.1:1: " in log and log.count("host n") < 200


# who may take part


async def test_strangers_and_impostors(shop: House, tmp_path: Path) -> None:
    """No certificate, one of another cluster, silence, and a host that calls itself like another."""
    await served(shop)
    others = House(tmp_path / "elsewhere")
    foreign = identity(others, "sh-1")
    impostor = identity(shop, "sh-9")
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    port = shop.ports[""]
    for context in (bare, foreign.client):
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError, asyncio.IncompleteReadError)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(b"\0")  # with TLS 1.3 the refusal of a certificate comes after the handshake
            try:
                await reader.readexactly(1)
            finally:
                writer.close()
    for name in ("sh-1", "relay-sh", ""):
        liar = Hostile(impostor, name, "peer")
        async with closing(liar):
            await liar.dial(port, Name("controller", "shop"), "")
            await until(lambda: not liar.links)  # noqa: B023
            assert not liar.hellos
    log = (shop.root / "origin.err").read_text()
    assert "host sh-9 says that it is the peer 'sh-1'" in log
    assert "host sh-9 says that it is the peer 'relay-sh'" in log
    standing: set[int] = set()
    silent = [asyncio.create_task(_silent(port, standing, n)) for n in range(100)]
    await until(lambda: len(standing) == 100)
    peer = await shop.peer("sh-1")
    try:  # those who say nothing, and come again when they are sent away, stand in nobody's way
        assert (await peer.ask(shop.fetch(WEB, "")))["ok"] and shop.installed("sh-1", WEB)
        assert not any(t.done() for t in silent)
    finally:
        for task in silent:
            task.cancel()
        await asyncio.gather(*silent, return_exceptions=True)


async def _silent(port: int, standing: set[int], number: int) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        standing.add(number)
        try:
            with contextlib.suppress(ConnectionError):
                await reader.read()
        finally:
            writer.close()



# disks


def wrapped(shop: House, host: str, before: str) -> Any:
    """A peer that a shell makes the place for: `before`, with $1 its directory."""
    identity(shop, host)
    argv = ["unshare", "--mount", "sh", "-ec", f'{before}; exec "$0" -I -m cockpit.swarm.peer --dir "$1"']
    return start([*argv, sys.executable, str(shop.root / host)], shop, shop.root / f"{host}.err")


async def start(argv: list[str], shop: House, log: Path) -> Process:
    with log.open("ab") as err:
        process = Process(await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=err, limit=1 << 22,
        ), log)
    shop.running.append(process)
    return process


SMALL = (
    'cp -a "$1" /tmp/.own.$$; mount -t tmpfs -o size={size} tmpfs "$1"; cp -a /tmp/.own.$$/. "$1"; rm -r /tmp/.own.$$'
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small file system")
async def test_disks_without_room(shop: House) -> None:
    """Too small from the start, filled by somebody else in mid-push, and a limit on the size of files."""
    await served(shop)
    good = await shop.peer("sh-1")
    small = await wrapped(shop, "sh-2", SMALL.format(size="66m"))
    filled = await wrapped(shop, "sh-3", SMALL.format(size="80m"))
    limited = await wrapped(shop, "sh-4", "ulimit -f 1000")  # of 512 or 1024 bytes
    answer = await small.ask(shop.fetch(WEB, ""))
    assert (answer["ok"], answer["code"]) == (False, "space"), answer
    assert f"{shop.root}/sh-2 has " in answer["text"] and "67108864 stay free" in answer["text"]
    assert answer["data"]["swarm"]["from"] == {}, "refused before the first piece"

    ids = []
    for peer in (good, filled, limited):
        ids.append(peer.say(shop.fetch(WEB, "")))
        peer.say({"op": "hold", "sha256": WEB.sha256, "paused": True})
        await peer.until(lambda doc: doc.get("progress", {}).get("swarm", {}).get("phase") == "pieces")
    inside = Path(f"/proc/{filled.process.pid}/root/{shop.root}/sh-3")
    with contextlib.suppress(OSError), (inside / "filler").open("wb", buffering=0) as f:
        while True:
            f.write(bytes(1 << 16))
    for peer in (good, filled, limited):
        peer.say({"op": "hold", "sha256": WEB.sha256, "paused": False})
    assert (await good.answer(ids[0]))["ok"] and shop.installed("sh-1", WEB)
    for peer, id, host, root in ((filled, ids[1], "sh-3", inside), (limited, ids[2], "sh-4", shop.root / "sh-4")):
        answer = await peer.answer(id)
        assert (answer["ok"], answer["code"]) == (False, "space"), answer
        assert f"{shop.root}/{host}" in answer["text"], answer["text"]
        assert not list(root.glob("releases/web/*")) and not list(root.glob("releases/web/.*"))
    (inside / "filler").unlink()
    answer = await filled.ask(shop.fetch(WEB, ""))
    assert answer["ok"], answer
    assert (inside / "releases/web/1.0.0/data.bin").read_bytes() == WEB.content


async def test_what_a_crash_left_is_cleared_away(shop: House) -> None:
    """A half made release, one without its record, a record without its release."""
    await served(shop)
    identity(shop, "sh-1")
    parent = shop.root / "sh-1" / "releases" / "web"
    for left in (".1.0.0.abcdefgh/bin", "1.0.0"):
        (parent / left).mkdir(parents=True)
        (parent / left / "data.bin").write_bytes(WEB.content[:1000])
    (parent / ".0.9.0.json").write_text('{"sha256":"' + "0" * 64 + '"}')
    peer = await shop.peer("sh-1")
    assert (await peer.ask(shop.fetch(WEB, "")))["ok"] and shop.installed("sh-1", WEB)
    assert rubbish(shop, "sh-1") == []


async def test_a_relay_whose_pieces_are_spoilt_is_left_for_the_next_tracker(shop: House) -> None:
    await served(shop)
    relay = FalseTracker(
        relay_identity(shop, "relay-x"), "relay-x", "relay", manifest=PACKED, layout=WEB.layout_data,
        peers=lambda doc: [{"name": "relay-x", "address": "127.0.0.1", "port": 1}],
    )
    relay.bundle = WEB
    async with closing(relay):
        shop.ports["relay-x"] = relay.port
        peer = await shop.peer("sh-1")
        answer = await peer.ask(shop.fetch(WEB, "relay-x", ""))
    assert answer["ok"] and shop.installed("sh-1", WEB), answer
    facts = answer["data"]["swarm"]
    assert facts["bad"] == 1 and set(facts["from"]) == {"relay-x", ""}
    assert "asking controller shop, because relay relay-x: piece 0 did not verify" in facts["note"]
