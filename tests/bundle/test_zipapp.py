"""A real agent, its keeper and a service from the zipapp, on the oldest Python here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cockpit.bundle import pyz
from cockpit.bundle.collect import BundleError
from tests.agent.fake import AgentProcess, FakeController, unitspec
from tests.bundle.places import left
from tests.helpers import alive, loopback, until

U = "puzzle.web/2:5"


class Zipped(AgentProcess):
    """An agent that is started from a zip file of its own."""

    def __init__(self, dir: Path, controller: FakeController, python: str, zipapp: Path) -> None:
        super().__init__(dir, controller)
        self.python = python
        self.file = dir.parent / "cockpit-agent.pyz"
        self.file.write_bytes(zipapp.read_bytes())
        self.unpacked = dir.parent / "u"
        self.unpacked.mkdir(mode=0o700)

    async def start(self, *more: str) -> asyncio.subprocess.Process:
        self.dir.mkdir(mode=0o700, exist_ok=True)
        with (self.dir / "agent.out").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                self.python, str(self.file), "run", "--dir", str(self.dir), "--boot-id", self.boot_id, *more,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {"COCKPIT_UNPACK": str(self.unpacked)},
            )


@pytest.fixture
async def zipped(short_dir: Path, tmp_path: Path, python: str, zipapp: Path) -> AsyncIterator[Zipped]:
    controller = FakeController(tmp_path, loopback())
    await controller.start()
    process = Zipped(short_dir / "h", controller, python, zipapp)
    first = await process.start("--controller", controller.url, "--join", controller.token("bj-1"))
    try:
        await until(lambda: controller.hellos and controller.of("full"), what="the agent joined")
        yield process
    finally:
        await process.end()
        await first.wait()
        await controller.stop()


def argv(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]


async def test_it_joins_serves_and_outlives_its_file(zipped: Zipped) -> None:
    c = zipped.controller
    uuid = c.hellos[-1][1]
    (name,) = left(zipped.unpacked)
    root = str(zipped.unpacked / name)
    agent, keeper = zipped.pid, await zipped.keeper_pid()
    assert keeper is not None
    assert argv(agent)[1:7] == ["-I", "-S", root, "-m", "cockpit.agent", "run"]
    assert argv(keeper)[1:4] == ["-I", "-S", f"{root}/cockpit/agent/keeper"]
    for word, args in (("prepare", {"spec": unitspec(U)}), ("start", {"unit": U})):
        answer = await c.command(word, uuid=uuid, **args)
        assert answer["ok"], answer
    served = (await c.sees(U, state=512))["pid"]
    args = {"task": "x1", "argv": ["true"], "timeout": 10}
    await c.send({"t": "cmd", "task": "x1", "uuid": uuid, "word": "exec", "args": args})
    answer = await c.result("x1")
    assert answer["ok"] and answer["data"]["code"] == 0, answer  # a shipped plug-in, in a process of its own
    # the file goes, then the agent: the keeper starts it from where it was unpacked
    zipped.file.unlink()
    before = len(c.frames)
    os.kill(agent, signal.SIGKILL)
    report = await c.connected(before)
    assert zipped.pid != agent and alive(served) and await zipped.keeper_pid() == keeper
    assert [u["pid"] for u in report["units"]] == [served]
    # the service goes: the keeper starts it; the keeper goes: the agent starts it, and it adopts
    os.kill(served, signal.SIGKILL)
    report = await until(lambda: (u := c.unit(U)) and u["state"] == 512 and u["pid"] != served and u)
    os.kill(keeper, signal.SIGKILL)

    async def anew() -> bool:
        return await zipped.keeper_pid() not in (None, keeper)

    await until(anew, what="another keeper")
    assert alive(report["pid"])


async def test_other_processes_of_ours_start_from_it(zipped: Zipped) -> None:
    """The peer, which moves artifacts: it is there to say that nobody has this one."""
    c = zipped.controller
    answer = await c.command(
        "fetch", uuid=c.hellos[-1][1], trackers=[], name="web", version="1.0.0", kind="release", sha256="0" * 64,
        layout="0" * 64, size=1, push="A1", rates={}, require=[], signers={}, signatures=[], patch=None,
    )
    assert not answer["ok"]
    (name,) = left(zipped.unpacked)
    root = str(zipped.unpacked / name)
    children = [argv(int(p)) for p in Path(f"/proc/{zipped.pid}/task/{zipped.pid}/children").read_text().split()]
    wanted = ["-I", "-S", root, "-m", "cockpit.swarm.peer"]
    assert [a for a in children if a[1:6] == wanted], (answer, children, (zipped.dir / "agent.out").read_text())


async def test_the_keeper_by_its_own_word(zipped: Zipped, tmp_path: Path) -> None:
    """As an upgrade starts it: with the arguments that are to follow."""
    env = os.environ | {"COCKPIT_UNPACK": str(zipped.unpacked)}
    process = await asyncio.create_subprocess_exec(
        zipped.python, str(zipped.file), "--keeper", env=env, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2 and b"usage: keeper" in said, said


def test_the_same_sources_make_the_same_bytes(zipapp: Path, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    pyz.make(tmp_path / "second" / "a.pyz")
    assert (tmp_path / "second" / "a.pyz").read_bytes() == zipapp.read_bytes()
    assert list((tmp_path / "second").iterdir()) == [tmp_path / "second" / "a.pyz"]
    assert zipapp.stat().st_mode & 0o777 == 0o755


EVERYTHING = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(root))
for path in sorted(root.rglob("*.py")):
    inner = path.relative_to(root)
    if path.stem != "__main__" and "keeper" not in inner.parts:
        importlib.import_module(".".join(inner.with_suffix("").parts).replace(".__init__", ""))
sys.path.insert(0, str(root / "cockpit" / "agent"))
for path in sorted((root / "cockpit" / "agent" / "keeper").glob("[!_]*.py")):
    importlib.import_module("keeper." + path.stem)
"""


def test_every_module_of_it_can_be_imported(zipapp: Path, python: str, tmp_path: Path) -> None:
    """By the oldest Python, with nothing but its standard library."""
    env = {"PATH": os.environ["PATH"], "COCKPIT_UNPACK": str(tmp_path / "u")}
    where = subprocess.run([python, str(zipapp), "--where"], env=env, capture_output=True, text=True, check=True)
    argv = [python, "-I", "-S", "-c", EVERYTHING, json.loads(where.stdout)["root"]]
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_release_for_an_upgrade(zipapp: Path, python: str, tmp_path: Path) -> None:
    """What it says is how it starts, from wherever it was installed."""
    pyz.release(tmp_path / "made", zipapp)
    pyz.release(tmp_path / "anew")
    for name in ("cockpit-agent.pyz", "agent.json"):
        assert (tmp_path / "made" / name).read_bytes() == (tmp_path / "anew" / name).read_bytes()
    doc = json.loads((tmp_path / "made" / "agent.json").read_text())
    env = {"PATH": os.environ["PATH"], "COCKPIT_UNPACK": str(tmp_path / "u")}
    for key, words, code in (("argv", ["run", "--help"], 0), ("keeper", [], 2)):
        start = [w.replace("{python}", python).replace("{release}", str(tmp_path / "made")) for w in doc[key]]
        done = subprocess.run([*start, *words], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, "usage: " in done.stdout + done.stderr) == (code, True), done
    with pytest.raises(BundleError, match="is not empty"):
        pyz.release(tmp_path / "made")
    with pytest.raises(BundleError, match=r"agent\.json is neither a cockpit-agent nor"):
        pyz.release(tmp_path / "other", tmp_path / "made" / "agent.json")
    (tmp_path / "elf").write_bytes(b"\x7fELF...")
    pyz.release(tmp_path / "static", tmp_path / "elf")
    doc = json.loads((tmp_path / "static" / "agent.json").read_text())
    assert doc == {"argv": ["{release}/cockpit-agent"], "keeper": ["{release}/cockpit-agent", "--keeper"]}


def test_a_stray_package_in_the_working_directory_is_not_imported(zipapp: Path, python: str, tmp_path: Path) -> None:
    for name in ("cockpit", "websockets", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('stray')")
    env = {"PATH": os.environ["PATH"], "COCKPIT_UNPACK": str(tmp_path / "u")}
    for words in (["--where"], ["-m", "cockpit.swarm.peer", "--help"], ["run", "--help"]):
        done = subprocess.run(
            [python, str(zipapp), *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [python, str(zipapp), "-m", "http.server"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "-m takes a module of ours" in done.stderr
