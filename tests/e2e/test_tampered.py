"""What was signed for something else, altered by hand or packed with ill intent does not get in, or never starts."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cockpit.artifacts.sign import approve, public
from tests.agent.fake import AgentProcess, FakeController
from tests.e2e.cluster import Cluster, cluster
from tests.helpers import alive, loopback
from tests.swarm.bundle import Bundle
from tests.swarm.processes import House, house

WEB = Bundle(300_000, 11)
RECORD = {"name": "web", "version": "1.0.0", "platform": "any", "kind": "release", "sha256": WEB.sha256}
QA, BUILD, NOBODY = (Ed25519PrivateKey.generate() for _ in range(3))


def signed(role: str, key: Ed25519PrivateKey, **of: str) -> dict[str, Any]:
    return approve({**RECORD, **of}, role, key, by="test", now=1.0)


SIGNATURES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "none": ([], "build has not signed it; qa has not signed it"),
    "a role is missing": ([signed("build", BUILD)], "web/1.0.0 is not signed as demanded: qa has not signed it"),
    "another key": (
        [signed("build", BUILD), signed("qa", NOBODY)], "qa has not signed it (that of test: wrong key: ",
    ),
    "a key of another role": ([signed("build", BUILD), signed("qa", BUILD)], "it is one of build"),
    "another version": (
        [signed("build", BUILD), signed("qa", QA, version="0.9.0")], "it was signed for another version: web/0.9.0",
    ),
    "another name": (
        [signed("build", BUILD), signed("qa", QA, name="shop")], "it was signed for another name: shop/1.0.0",
    ),
    "another content": (
        [signed("build", BUILD), signed("qa", QA, sha256="0" * 64)], "it was signed for another content: web/1.0.0",
    ),
    "a forged claim": (
        [signed("build", BUILD), {**signed("qa", QA, version="0.9.0"), "of": RECORD}],
        "the signature does not fit web/1.0.0",
    ),
}


@pytest.fixture
async def agent(tmp_path: Path, short_dir: Path) -> AsyncIterator[tuple[House, AgentProcess]]:
    """An agent whose controller is under our control, and the origin of its cluster."""
    async with house(tmp_path) as shop:
        fake = FakeController(tmp_path / "c", loopback())
        fake.authority = shop.authority
        await fake.start()
        process = AgentProcess(short_dir / "h", fake)
        process.enroll()
        first = await process.start()
        try:
            await fake.connected()
            yield shop, process
        finally:
            await process.end()
            await first.wait()
            await fake.stop()


async def test_a_host_demands_the_signatures_itself(agent: tuple[House, AgentProcess]) -> None:
    """The word `fetch` as a controller would send it that does not look at signatures."""
    shop, process = agent
    origin = await shop.origin()
    assert (await origin.ask({"op": "publish", **WEB.publish(shop.root / "store")}))["ok"]
    args = shop.fetch(
        WEB, "", require=["build", "qa"], signers={"build": [public(BUILD)], "qa": [public(QA)]}, every=0.5,
    )
    del args["op"]
    releases = process.dir / "releases"
    for name, (signatures, why) in SIGNATURES.items():
        answer = await process.controller.command("fetch", **{**args, "signatures": signatures})
        assert (answer["ok"], answer["code"]) == (False, "unsigned"), (name, answer)
        assert why in answer["text"], (name, answer["text"])
        assert not list(releases.glob("*/*")), name
    assert not any(doc["stats"][WEB.swarm]["sent"] for doc in origin.docs if "stats" in doc), "not one piece moved"
    good = [signed("build", BUILD), signed("qa", QA)]
    await process.controller.ok("fetch", **{**args, "signatures": good})
    assert (releases / "web" / "1.0.0" / "data.bin").read_bytes() == WEB.content

    path = releases / "web" / "1.0.0" / "data.bin"
    path.chmod(0o4755)
    answer = await process.controller.command("fetch", **{**args, "signatures": good})
    assert (answer["ok"], answer["code"]) == (False, "altered"), answer
    assert answer["text"] == "release web/1.0.0: data.bin has another mode than was installed (4755)"


TOPOLOGY = f"""
cockpit: 1
name: hands
regions: {{{{sh: {{{{}}}}}}}}
hosts:
  h-1: {{{{region: sh, address: {{one}}, connection: local}}}}
  h-2: {{{{region: sh, address: {{two}}, connection: local}}}}
tree:
  p:
    children:
      web:
        artifact: web
        version: "1"
        command: [{sys.executable}, "{{{{release}}}}/bin/run"]
        instances: {{{{hosts: [h-1, h-2]}}}}
        update: {{{{healthy_for: 100ms, parallel: 2}}}}
        restart: {{{{mode: never}}}}
"""


@pytest.fixture(scope="module")
def hands() -> Iterator[Cluster]:
    with cluster(TOPOLOGY.format(one=loopback(), two=loopback()), start=False) as c:
        for version in ("1", "2", "3", "4"):
            (c.root / version / "bin").mkdir(parents=True)
            (c.root / version / "bin" / "run").write_text(f"import time\ntime.sleep(600)  # {version}\n")
            (c.root / version / "bin" / "go").symlink_to("run")
            c.cli("artifact", "add", version, "--name", "web", "--version", version)
        c.start()
        c.wait_calm()
        yield c


def content(path: Path) -> None:
    path.write_text(path.read_text().replace("600", "601"))


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("../../../1/bin/run")


def mode(path: Path) -> None:
    path.chmod(0o4755)


@pytest.mark.parametrize(("version", "file", "alter", "why"), [
    ("2", "bin/run", content, "bin/run has other content than was installed"),
    ("3", "bin/go", link, "bin/go points elsewhere"),
    ("4", "bin/run", mode, "bin/run has another mode than was installed (4755)"),
])  # fmt: skip
def test_a_release_altered_by_hand_does_not_start(
    hands: Cluster, version: str, file: str, alter: Any, why: str
) -> None:
    c = hands
    c.cli("push", f"web/{version}", "--hosts", "h-1,h-2")
    alter(c.host("h-1") / "releases" / "web" / version / file)
    done = c.run("deploy", "web", version)
    assert done.returncode == 1, done
    id = c.newest("deploy")
    c.wait(lambda: c.action(id)["state"] in ("returned", "failed"), 30)
    shown = c.cli("show", id, code=None) + done.stdout + done.stderr + c.action(id)["note"]
    assert f"web/{version}: {why}" in shown, shown
    assert all(i["version_actual"] == "1" for i in c.instances().values() if i["host"] == "h-1")


def test_what_runs_is_not_replaced_by_what_was_altered_since(hands: Cluster) -> None:
    c = hands
    c.wait_calm()
    path = c.host("h-2") / "releases" / "web" / "1" / "bin" / "run"
    content(path)
    pid = c.instances()["p.web/1"]["pid"]
    done = c.run("restart", "web")
    assert done.returncode == 1, done
    shown = done.stdout + done.stderr + json.dumps(c.status())
    assert "release web/1: bin/run has other content than was installed" in shown, shown
    assert alive(pid), "what runs goes on running"


def member(name: str, data: bytes = b"", **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


TARS = {
    "up": (member("a/../../x", b"1"), "member 'a/../../x' leaves the artifact"),
    "root": (member("/etc/x", b"1"), "member '/etc/x' leaves the artifact"),
    "link": (
        member("l", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link 'l' to '/etc/passwd' leaves the artifact",
    ),
    "device": (
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "member 'null' is neither file, directory nor",
    ),
    "setuid": (member("su", b"1", mode=0o4755), "member 'su' is setuid"),
}  # fmt: skip


def test_archives_with_ill_intent(tmp_path: Path) -> None:
    c = Cluster(tmp_path, None)
    archives = []
    for name, ((info, data), why) in TARS.items():
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for one, body in (member("good", b"1"), (info, data)):
                tar.addfile(one, io.BytesIO(body))
        archives.append((f"{name}.tar", why))
    hole = tarfile.TarInfo("core")
    hole.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "core",
                        "GNU.sparse.realsize": str(10 << 30)}
    with tarfile.open(tmp_path / "hole.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        hole.size = 512
        tar.addfile(hole, io.BytesIO(f"1\n{10 << 30}\n0\n".encode().ljust(512, b"\0")))
    archives.append(("hole.tar", "member 'core': the archive unpacks to more than 8589934592 bytes"))
    for file, why in archives:
        done = c.run("artifact", "add", file, "--name", "web", "--version", "1")
        assert done.returncode == 2, done
        assert f"{file}: {why}" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert not list((c.state / "artifacts").rglob("*web*")) and not list(c.state.rglob(".incoming*"))
    assert not (tmp_path.parent / "x").exists() and not os.path.lexists(tmp_path / "x")
