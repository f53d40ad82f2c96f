"""The peer as a process: fetching, resuming, and every way in which a fetch can fail."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.swarm import assemble
from cockpit.swarm.fetch import Asked, FetchError
from cockpit.swarm.moving import cells
from tests.helpers import PATIENCE
from tests.swarm.bundle import Bundle
from tests.swarm.processes import House, Process, house

ROOT = Path(__file__).parents[2]
WEB = Bundle(3 * 1024 * 1024, 11)
NEXT = Bundle(3 * 1024 * 1024, 11, version="1.1.0")
"""The same content under another version: every piece is held already."""
PACKED = sum(len(data) for _, data in WEB.encoded)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


async def published(shop: House, *bundles: Bundle) -> Process:
    origin = await shop.origin()
    for n, bundle in enumerate(bundles or (WEB,)):
        assert (await origin.ask({"op": "publish", **bundle.publish(shop.root / f"store{n}")}))["ok"]
    return origin


async def test_three_hosts_fetch_and_install(shop: House) -> None:
    await published(shop)
    peers = [await shop.peer(f"sh-{i}") for i in (1, 2, 3)]
    answers = await asyncio.gather(*(p.ask(shop.fetch(WEB, "")) for p in peers))
    for i, answer in enumerate(answers, 1):
        assert answer["ok"], answer
        assert shop.installed(f"sh-{i}", WEB)
        facts = answer["data"]["swarm"]
        assert answer["data"]["bytes"] == len(WEB.content)
        assert facts["have"] == facts["pieces"] == len(WEB.encoded) and facts["had"] == 0
        assert facts["to_move"] == facts["moved"] == len(WEB.content)
        assert set(facts["cells"]) == {"#"} and facts["phase"] == "seed"
        assert sum(facts["from"].values()) >= PACKED
        assert facts["bad"] == facts["fallbacks"] == 0
    swarm = shop.root / "sh-1" / "swarm" / WEB.swarm
    assert swarm.is_dir()
    assert (await peers[0].ask({"op": "pushed", "sha256": WEB.sha256}))["ok"]
    assert not swarm.exists()
    assert await peers[1].end() == -signal.SIGTERM


async def test_what_an_installed_version_has_does_not_travel(shop: House) -> None:
    origin = await published(shop, WEB, NEXT)
    peer = await shop.peer("sh-1")
    assert (await peer.ask(shop.fetch(WEB, "")))["ok"]
    answer = await peer.ask(shop.fetch(NEXT, ""))
    facts = answer["data"]["swarm"]
    assert answer["ok"] and shop.installed("sh-1", NEXT)
    assert facts["had"] == facts["pieces"] and facts["to_move"] == 0 and facts["from"] == {}
    assert set(facts["cells"]) == {"="}
    other = await shop.peer("sh-2")  # gets it from the first one's release as well as from the origin
    answer = await other.ask(shop.fetch(NEXT, ""))
    assert answer["ok"] and shop.installed("sh-2", NEXT)
    await origin.until(lambda doc: NEXT.swarm in doc.get("stats", {}))


async def test_chunks_of_an_altered_release_are_fetched_instead(shop: House) -> None:
    await published(shop, WEB, NEXT)
    peer = await shop.peer("sh-1")
    assert (await peer.ask(shop.fetch(WEB, "")))["ok"]
    path = shop.root / "sh-1" / "releases" / "web" / "1.0.0" / "data.bin"
    content = bytearray(path.read_bytes())
    content[1_000_000] ^= 1
    path.write_bytes(content)
    answer = await peer.ask(shop.fetch(NEXT, ""))
    assert answer["ok"] and shop.installed("sh-1", NEXT)
    facts = answer["data"]["swarm"]
    assert "altered" in facts["note"] and 0 < sum(facts["from"].values()) < 300_000


async def test_a_killed_peer_goes_on_where_it_was(shop: House) -> None:
    await published(shop)
    peer = await shop.peer("sh-1")
    id = peer.say(shop.fetch(WEB, "", rates={"down": 1_000_000}))
    await peer.until(lambda doc: doc.get("id") == id and doc.get("progress", {}).get("bytes", 0) > 600_000)
    await peer.end(signal.SIGKILL)
    peer = await shop.peer("sh-1")
    answer = await peer.ask(shop.fetch(WEB, ""))
    facts = answer["data"]["swarm"]
    assert answer["ok"] and shop.installed("sh-1", WEB)
    assert facts["had"] > 0 and sum(facts["from"].values()) <= PACKED - facts["had"] * 60_000


async def test_hold_stop_and_fetch_again(shop: House) -> None:
    await published(shop)
    peer = await shop.peer("sh-1")
    id = peer.say(shop.fetch(WEB, "", rates={"down": 1_000_000}))
    await peer.until(lambda doc: doc.get("progress", {}).get("bytes", 0) > 0)
    assert (await peer.ask({"op": "hold", "sha256": WEB.sha256, "paused": True}))["ok"]
    again = await peer.ask(shop.fetch(WEB, ""))
    assert not again["ok"] and again["code"] == "exists"
    assert (await peer.ask({"op": "stop", "sha256": WEB.sha256}))["ok"]
    answer = await peer.answer(id)
    assert (answer["ok"], answer["code"]) == (False, "stopped")
    assert not shop.installed("sh-1", WEB)
    answer = await peer.ask(shop.fetch(WEB, ""))
    assert answer["ok"] and answer["data"]["swarm"]["had"] > 0


async def test_a_rate_is_kept(shop: House) -> None:
    await published(shop)
    peer = await shop.peer("sh-1")
    loop = asyncio.get_running_loop()
    since = loop.time()
    assert (await peer.ask(shop.fetch(WEB, "", rates={"down": 2_000_000})))["ok"]
    burst = 2 * 1024 * 1024
    assert loop.time() - since > (PACKED - burst) / 2_000_000


async def test_without_the_demanded_signature_nothing_is_fetched(shop: House) -> None:
    origin = await published(shop)
    peer = await shop.peer("sh-1")
    answer = await peer.ask(shop.fetch(WEB, "", require=["qa"], signers={"qa": []}))
    assert (answer["ok"], answer["code"]) == (False, "unsigned") and "qa" in answer["text"]
    assert answer["data"]["swarm"]["from"] == {}
    await origin.until(lambda doc: "stats" in doc)
    assert not any(doc["stats"][WEB.swarm]["sent"] for doc in origin.docs if "stats" in doc)


async def test_a_version_is_never_overwritten(shop: House) -> None:
    other = Bundle(200_000, 12)
    await published(shop, WEB, other)
    peer = await shop.peer("sh-1")
    assert (await peer.ask(shop.fetch(WEB, "")))["ok"]
    assert (await peer.ask(shop.fetch(WEB, "")))["ok"]  # the same once more
    answer = await peer.ask(shop.fetch(other, ""))
    assert (answer["ok"], answer["code"]) == (False, "exists") and shop.installed("sh-1", WEB)


async def test_what_nobody_publishes_is_an_answer_too(shop: House) -> None:
    origin = await shop.origin()
    peer = await shop.peer("sh-1")
    id = peer.say(shop.fetch(WEB, ""))
    want = (await origin.until(lambda doc: "want" in doc))["want"]
    assert want == {"sha256": WEB.sha256, "layout": WEB.layout}
    origin.say({"op": "unknown", **want})
    answer = await peer.answer(id)
    assert not answer["ok"] and WEB.sha256[:12] in answer["text"]


async def test_a_relay_under_a_false_name_is_not_asked(shop: House) -> None:
    await published(shop)
    shop.ports["relay-x"] = shop.ports[""]
    peer = await shop.peer("sh-1")
    answer = await peer.ask(shop.fetch(WEB, "relay-x", ""))  # the second tracker is the right one
    assert answer["ok"] and "answers where relay relay-x was wanted" in peer.log.read_text()


async def test_a_full_disk_is_refused_before_the_first_byte(
    shop: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = await published(shop)
    huge = 1 << 60
    monkeypatch.setattr(assemble, "RESERVE", huge)
    with pytest.raises(assemble.AssembleError) as error:
        assemble.check_room(str(shop.root), 1)
    assert error.value.code == "space"
    code = (
        "import sys; from cockpit.swarm import assemble, peer; assemble.RESERVE = 1 << 60;"
        "sys.exit(peer.main(['--dir', sys.argv[1]]))"
    )
    await shop.peer("sh-1")  # for its identity
    with (shop.root / "full.err").open("ab") as err:
        process = Process(await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", code, str(shop.root / "sh-1"), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=err,
        ), shop.root / "full.err")
    shop.running.append(process)
    answer = await process.ask(shop.fetch(WEB, ""))
    assert (answer["ok"], answer["code"]) == (False, "space")
    assert answer["data"]["swarm"]["from"] == {}
    await origin.until(lambda doc: "stats" in doc)


@pytest.mark.parametrize(("change", "text"), [
    ({"sha256": "x"}, "`sha256` must be a SHA-256"),
    ({"name": "../web"}, "`name` must be one word"),
    ({"version": ""}, "`version` must be one word"),
    ({"trackers": []}, "`trackers` must be a list"),
    ({"trackers": [1]}, "a tracker has a name"),
    ({"trackers": [{"name": "", "address": "127.0.0.1", "port": 0}]}, "`port` must be"),
    ({"port": -1}, "`port` must be"),
    ({"patch": {"from": {}}}, "`sha256` must be"),
])  # fmt: skip
def test_bad_arguments_are_named(change: dict[str, Any], text: str) -> None:
    args = {
        "name": "web", "version": "1", "sha256": "0" * 64, "layout": "0" * 64, "address": "127.0.0.1", "port": 0,
        "trackers": [{"name": "", "address": "127.0.0.1", "port": 1}],
    }
    Asked(args, "shop")
    with pytest.raises(FetchError, match=text) as error:
        Asked({**args, **change}, "shop")
    assert error.value.code == "bad"


async def test_lines_that_are_none_of_its_words(shop: House) -> None:
    peer = await shop.peer("sh-1")
    answer = await peer.ask({"op": "dance"})
    assert (answer["ok"], answer["code"]) == (False, "bad") and "dance" in answer["text"]
    answer = await peer.ask({"op": "rates", "down": -1})
    assert (answer["ok"], answer["code"]) == (False, "bad")
    assert (await peer.ask({"op": "rates", "down": 1000, "up": None}))["ok"]
    assert peer.process.stdin is not None
    peer.process.stdin.close()  # it ends when stdin does
    async with asyncio.timeout(PATIENCE):
        assert await peer.process.wait() == 0


async def test_without_an_identity_it_says_so(tmp_path: Path) -> None:
    process = await Process.start("cockpit.swarm.peer", "--dir", str(tmp_path), log=tmp_path / "err")
    async with asyncio.timeout(PATIENCE):
        assert await process.process.wait() == 2
    assert "no identity" in (tmp_path / "err").read_text()


@pytest.mark.parametrize(("have", "had", "count", "shown"), [
    (0b1011, 0b0001, 4, "=#.#"),
    (0b11, 0b01, 2, "=#"),
    (0, 0, 0, ""),
    ((1 << 128) - 1, 0, 128, "#" * 64),
    (0b01, 0b01, 128, "+" + "." * 63),
])  # fmt: skip
def test_cells(have: int, had: int, count: int, shown: str) -> None:
    assert cells(have, had, count) == shown


def test_the_process_imports_little() -> None:
    """It is beside every agent, also where nothing but the standard library is."""
    code = (
        "import json, sys; import cockpit.swarm.peer;"
        "print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names))))"
    )
    out = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
                         capture_output=True, text=True, check=True).stdout
    assert [n for n in json.loads(out) if not n.startswith("_")] == ["cockpit"]

