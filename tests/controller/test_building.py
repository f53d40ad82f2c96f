"""Builds on a real agent over a real hub: what comes back, what fails and how, and that nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import re
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from backends.directory import DirectoryObjects
from cockpit.artifacts.building import digest, pack_inputs
from cockpit.artifacts.store import Store
from cockpit.controller import building
from cockpit.controller.building import Builds, Request
from cockpit.link import messages
from cockpit.link.hub import Hub
from cockpit.link.pki import Authority
from cockpit.plan.steps import Bad, Refused
from tests.agent.fake import UUID, AgentProcess
from tests.controller.fakes import client_context, identity
from tests.helpers import alive, loopback, until

SH = "/bin/sh"
NOISE = random.Random(1).randbytes(600_000)


class House:
    """A hub with the builds of one store, as the controller has them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = loopback()
        self.authority = Authority.create(root / "ca", "puzzle")
        self.store = Store(DirectoryObjects(root / "store"), root / "work")
        self.hub = Hub(self, self.authority.controller_context())
        self.builds = Builds(self.hub, root / "builds", lambda: ["bj-1", "bj-2"], self.add)
        self.hub.build = self.builds.serve
        self.hellos: list[tuple[str, str, dict[str, Any]]] = []
        """For AgentProcess, which ends the agents that it sees here."""

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.hub.port}"

    async def add(self, archive: Path, request: Request, build: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(
            self.store.add, archive, request.name, request.version, platform=request.platform, build=build
        )

    def welcome(self, host: str, uuid: str) -> dict[str, Any] | None:
        return {"address": self.address, "port_range": [20000, 20999], "cluster": "puzzle", "region": "bj"}

    def connected(self, host: str, hello: messages.Hello) -> None:
        self.hellos.append((host, hello.uuid, {"agent_pid": hello.agent_pid, "keeper_pid": hello.keeper_pid}))

    def disconnected(self, host: str, why: str) -> None: ...

    def heard(self, host: str, latency: float | None) -> None: ...

    def frame(self, host: str, frame: messages.AnyFrame) -> None:
        if isinstance(frame, messages.Progress):
            assert self.builds.progress(frame.task, frame.data)

    async def join(self, request: dict[str, Any]) -> dict[str, Any]:
        raise PermissionError

    def request(self, script: str, **more: Any) -> Request:
        """`script` is what a shell runs; the inputs are the files of ROOT/in."""
        (self.root / "in").mkdir(exist_ok=True)
        (self.root / "in" / "hello.txt").write_text("hello\n")
        files = {p.relative_to(self.root / "in").as_posix(): p for p in sorted((self.root / "in").rglob("*"))}
        archive = self.root / f"inputs-{len(list(self.root.iterdir()))}"
        sha256, size = pack_inputs(files, archive)
        fields: dict[str, Any] = {
            "name": "web", "version": "1.0.0", "host": "bj-1", "argv": (SH, "-c", script), "outputs": ("out",),
            "inputs": str(archive), "sha256": sha256, "size": size, "timeout": 20.0, **more,
        }  # fmt: skip
        return Request(**fields)

    async def run(self, script: str, **more: Any) -> tuple[list[list[str]], dict[str, Any]]:
        """(lines, the last item)"""
        lines: list[list[str]] = []
        item: dict[str, Any] = {}
        async for item in self.builds.run(self.request(script, **more), "li@jump-1"):
            lines += item.get("lines", ())
        return lines, item


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    await made.hub.start(made.address, 0)
    yield made
    await made.hub.stop()
    assert not (tmp_path / "builds").exists() or not list((tmp_path / "builds").iterdir())
    assert not made.builds._jobs


@pytest.fixture
async def agent(house: House, short_dir: Path) -> AsyncIterator[AgentProcess]:
    process = AgentProcess(short_dir / "h", house)  # type: ignore[arg-type]
    process.enroll()
    first = await process.start()
    try:
        await until(lambda: "bj-1" in house.hub.links)
        yield process
        await until(lambda: not list((short_dir / "h" / "builds").glob("*")), what="nothing of a build stays")
    finally:
        await process.end()
        if first.returncode is None:
            await first.wait()


def files_of(house: House, record: dict[str, Any]) -> dict[str, bytes]:
    with house.store.pack(record["sha256"], record["layout"]) as pack:
        return {
            e.path: b"".join(pack.chunk(i) for i in range(len(pack.manifest.chunks))) if e.kind == "f" else b""
            for e in pack.manifest.entries
        }


async def test_a_build_comes_into_the_store_with_its_record(house: House, agent: AgentProcess) -> None:
    script = (
        "echo begin; echo careful >&2; mkdir -p out/bin && cp hello.txt out/bin/hello && ln -s bin/hello out/run; "
        "env | sort; pwd; cat /dev/stdin; echo $WISH"
    )
    lines, item = await house.run(script, env={"WISH": "two words"}, platform="linux-x86_64")
    record = item["record"]
    assert ["err", "careful"] in lines
    out = [text for name, text in lines if name == "out"]
    assert (out[0], out[-1]) == ("begin", "two words")
    # its own directory, and nothing of the agent's environment
    names = {line.partition("=")[0] for line in out if "=" in line}
    assert names <= {"HOME", "LANG", "PATH", "PWD", "SHLVL", "TMPDIR", "WISH", "_", "OLDPWD"}
    assert any(Path(line).parent.parent == agent.dir / "builds" for line in out)
    # one directory alone is the artifact's content
    assert files_of(house, record) == {"bin": b"", "bin/hello": b"hello\n", "run": b""}
    assert (record["name"], record["version"], record["platform"]) == ("web", "1.0.0", "linux-x86_64")
    build = record["build"]
    assert build["host"] == "bj-1"
    assert build["by"] == "li@jump-1"
    assert build["argv"] == [SH, "-c", script]
    assert build["exit"] == 0
    assert build["started"] <= build["ended"] <= build["started"] + 20
    assert build["agent"]
    assert "two words" not in repr(build["inputs"])
    assert house.store.find("web", "1.0.0") == record


async def test_several_outputs_keep_their_names(house: House, agent: AgentProcess) -> None:
    _, item = await house.run("mkdir -p a/b; echo 1 > a/b/c", outputs=("a/b", "hello.txt"))
    assert set(files_of(house, item["record"])) == {"a", "a/b", "a/b/c", "hello.txt"}
    assert [f.name for f in house.root.glob("in/*")] == ["hello.txt"]


@pytest.mark.parametrize(
    ("script", "more", "code", "says"),
    [
        ("echo no >&2; exit 3", {}, "failed", "the build failed: exit 3"),
        ("kill -9 $$", {}, "failed", "killed by signal 9"),
        ("true", {}, "missing", "bj-1: the run made no 'out', which is one of its outputs"),
        ("mkdir out; mkfifo out/p", {}, "bad", "'p' is neither a file, a directory nor a link"),
        ("mkdir out; ln -s /etc/passwd out/x", {}, "refused", "outputs were not taken: .*x.* leaves the artifact"),
        ("mkdir out; ln -s ../../.. out/x", {}, "refused", "leaves the artifact"),
        ("mkdir -p out/a", {}, "missing", r"there is no file in the outputs \(out\)"),
        ("ln -s / out", {"outputs": ("out/etc/passwd",)}, "bad", "behind a link"),
        ("true", {"argv": ("./none",)}, "exec", "exec ./none: ENOENT"),
        ("true", {"argv": ("hello.txt",)}, "exec", "ENOENT"),
        ("true", {"argv": ("./hello.txt",)}, "exec", "EACCES"),
    ],
)  # fmt: skip
async def test_builds_that_fail(
    house: House, agent: AgentProcess, script: str, more: dict[str, Any], code: str, says: str
) -> None:
    lines, item = await house.run(script, **more)
    assert item["code"] == code, item
    assert re.search(says, item["failed"]), item
    assert house.store.listing() == {}
    if "exit 3" in script:
        assert (lines, item["exit"]) == ([["err", "no"]], 3)


async def test_outputs_that_are_too_large(
    house: House, agent: AgentProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "MAX_OUTPUT", 1_000_000)
    _, item = await house.run("mkdir out; truncate -s 5G out/hole")
    assert (item["code"], item["failed"]) == (
        "limit", "bj-1: the outputs are more than 1000000 bytes (at 'hole')"
    )  # fmt: skip


FAMILY = (  # a child, one in a session of its own that ignores TERM, and one whose parent is gone
    "sleep 600 & echo pid $!; "
    "setsid sh -c 'trap \"\" TERM; echo pid $$; while :; do sleep 600; done' & "
    "(setsid sleep 600 & echo pid $!); echo ready; wait"
)


def pids(lines: list[list[str]]) -> list[int]:
    return [int(text.split()[1]) for _, text in lines if text.startswith("pid ")]


async def test_the_time_is_over_for_all_of_the_family(house: House, agent: AgentProcess) -> None:
    lines, item = await house.run(FAMILY, timeout=1.0)
    assert (item["code"], item["failed"]) == ("timeout", "ended after 1 s: it did not finish in time")
    assert len(pids(lines)) == 3
    assert not [pid for pid in pids(lines) if alive(pid)]


async def test_what_a_build_leaves_running_is_ended(house: House, agent: AgentProcess) -> None:
    lines, item = await house.run("mkdir out; cp hello.txt out; (setsid sleep 600 & echo pid $!); exit 0")
    assert "record" in item
    assert pids(lines)
    assert not [pid for pid in pids(lines) if alive(pid)]


async def started(house: House) -> tuple[AsyncIterator[dict[str, Any]], list[int]]:
    """A build that runs, and its processes."""
    stream = house.builds.run(house.request(FAMILY), "li")
    lines: list[list[str]] = []
    async for item in stream:
        lines += item["lines"]
        if ["out", "ready"] in lines and len(pids(lines)) == 3:
            break
    assert all(alive(pid) for pid in pids(lines))
    return stream, pids(lines)


async def test_a_closed_stream_ends_the_build(house: House, agent: AgentProcess) -> None:
    stream, family = await started(house)
    await stream.aclose()  # type: ignore[attr-defined]
    await until(lambda: not any(alive(pid) for pid in family))


async def test_a_broken_link_ends_the_build(house: House, agent: AgentProcess) -> None:
    stream, family = await started(house)
    house.hub.cut("bj-1")
    with pytest.raises(ConnectionError, match="bj-1"):
        async for _ in stream:
            pass
    await until(lambda: not any(alive(pid) for pid in family))


async def test_a_killed_agent_takes_the_build_with_it(house: House, agent: AgentProcess) -> None:
    stream, family = await started(house)
    os.kill(await until(lambda: agent_pid(agent.dir)), 9)
    with pytest.raises(ConnectionError):
        async for _ in stream:
            pass
    await until(lambda: not any(alive(pid) for pid in family))
    await until(lambda: "bj-1" in house.hub.links)  # the keeper started it again, and it cleaned up


def agent_pid(directory: Path) -> int:
    """The agent of a host directory, by its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"cockpit.agent" in words and os.fsencode(directory) in words:
                return int(entry.name)
    return 0


async def test_every_line_comes_in_order(house: House, agent: AgentProcess) -> None:
    script = "seq 1 20000; printf 'a\\rb\\r\\nc\\377\\n'; printf 'x%.0s' $(seq 1 5000); printf end"
    lines, item = await house.run(f"{script}; mkdir out; cp hello.txt out")
    assert "record" in item
    text = [t for _, t in lines]
    assert text[:20000] == [str(n) for n in range(1, 20001)]
    assert text[20000:20003] == ["a", "b", "c\ufffd"]
    assert "".join(text[20003:]) == "x" * 5000 + "end"
    assert max(map(len, text)) == 4000


async def test_hosts_that_are_not_there(house: House) -> None:
    with pytest.raises(Bad, match=r"unknown build host 'bj-11' \(did you mean \"bj-1\"\?\)"):
        await house.run("true", host="bj-11")
    with pytest.raises(ConnectionError, match="no answer from bj-1"):
        await house.run("true")
    with pytest.raises(Bad, match="name '../x'"):
        await house.run("true", name="../x")


# an agent that lies


def tar(*members: tuple[str, bytes | str | None]) -> bytes:
    """A file for bytes, a link for text, a device for None."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.CHRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            t.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


class Liar:
    """Speaks the link and the transfer as `bj-1`, and says what it is told to."""

    def __init__(self, house: House, directory: Path) -> None:
        self.house = house
        self.directory = directory

    async def serve(self, body: bytes | None, **data: Any) -> None:
        async with connect(
            f"wss://{self.house.address}:{self.house.hub.port}/link", ssl=client_context(self.directory),
            compression=None, subprotocols=[Subprotocol("cockpit.1")], ping_interval=None,
        ) as ws:
            hello = {"t": "hello", "host": "bj-1", "uuid": UUID, "boot_id": "b", "agent_pid": 1, "keeper_pid": 1}
            await ws.send(json.dumps(hello))
            async for text in ws:
                frame = json.loads(text)
                if frame["t"] != "cmd" or frame["word"] != "build":
                    continue
                sha = digest(io.BytesIO(body or b""))
                if body is not None:
                    assert await self.call("PUT", frame["task"], data=body) == 200
                answer = {
                    "code": 0, "signal": None, "why": "", "seconds": 0.1, "started": 1.0, "ended": 2.0, "lines": 0,
                    "version": "x", "outputs": {"sha256": sha, "size": len(body or b"")}, **data,
                }  # fmt: skip
                await ws.send(json.dumps({"t": "result", "task": frame["task"], "ok": True, "data": answer}))

    async def call(self, method: str, task: str, *, directory: Path | None = None, **more: Any) -> int:
        context = client_context(directory or self.directory, certificate=more.pop("certificate", True))
        async with aiohttp.ClientSession() as session:
            url = f"https://{self.house.address}:{self.house.hub.port}/build/{task}"
            async with session.request(method, url, ssl=context, **more) as reply:
                return reply.status


@pytest.fixture
async def lie(house: House, tmp_path: Path) -> Liar:
    identity(house.authority, tmp_path / "bj-1", "bj-1", UUID)
    return Liar(house, tmp_path / "bj-1")


@contextlib.asynccontextmanager
async def connected(house: House, lie: Liar, body: bytes | None = None, **data: Any) -> AsyncIterator[None]:
    server = asyncio.create_task(lie.serve(body, **data))
    try:
        await until(lambda: "bj-1" in house.hub.links)
        yield
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


async def told(house: House, lie: Liar, body: bytes | None, **data: Any) -> dict[str, Any]:
    async with connected(house, lie, body, **data):
        return (await house.run("true"))[1]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (tar(("../x", b"evil")), "leaves the artifact"),
        (tar(("/etc/x", b"evil")), "leaves the artifact"),
        (tar(("d", "/etc"), ("d/x", b"evil")), "leaves the artifact"),
        (tar(("d", "."), ("d/x", b"evil")), "passes through a link"),
        (tar(("dev", None)), "neither file, directory nor link"),
        (tar(("a", b"1"), ("a", b"2")), "twice"),
        (tar(("a", NOISE))[:-5000], "the archive is broken"),
        (b"x" * 1000, "the outputs that came are no archive"),
        (b"", "no archive"),
        (None, "not those that were announced"),
    ],
    ids=["climbing", "absolute", "link", "circle", "device", "double", "cut", "noise", "empty", "nothing"],
)
async def test_outputs_that_lie(house: House, lie: Liar, body: bytes | None, says: str) -> None:
    item = await told(house, lie, body)
    assert says in item.get("failed", ""), item
    assert house.store.listing() == {}
    assert not list(house.store.work.iterdir())


async def test_another_digest_than_announced(house: House, lie: Liar) -> None:
    item = await told(house, lie, tar(("a", b"1")), outputs={"sha256": "ab" * 32, "size": 1})
    assert "not those that were announced" in item["failed"]


async def test_nobody_else_reaches_a_build(house: House, lie: Liar, tmp_path: Path) -> None:
    other = tmp_path / "bj-2"
    identity(house.authority, other, "bj-2")
    async with connected(house, lie):
        assert await lie.call("GET", "build-0") == 404
        assert await lie.call("GET", "build-0", directory=other) == 403  # it has no link
        assert await lie.call("PUT", "build-0", directory=other, data=b"x") == 403
        assert await lie.call("GET", "build-0", certificate=False) == 403
        job = building._Job("build-1", "bj-2", tmp_path / "job")
        house.builds._jobs["build-1"] = job
        assert await lie.call("GET", "build-1") == 404  # another host's
        assert await lie.call("PUT", "build-1", data=b"x") == 404
        del house.builds._jobs["build-1"]


async def test_more_than_may_come_is_not_taken(
    house: House, lie: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "MAX_OUTPUT", 1000)
    server = asyncio.create_task(lie.serve(None, code=1))
    try:
        await until(lambda: "bj-1" in house.hub.links)
        job = building._Job("build-1", "bj-1", tmp_path)
        house.builds._jobs["build-1"] = job

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1000

        assert await lie.call("PUT", "build-1", data=b"x" * 1001) == 413
        assert await lie.call("PUT", "build-1", data=endless()) == 411
        assert not job.outputs.exists()
        del house.builds._jobs["build-1"]
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


async def test_too_many_at_once(house: House, lie: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "MAX_BUILDS", 0)
    async with connected(house, lie):
        with pytest.raises(Refused, match="0 builds are running already"):
            await house.run("true")


async def test_inputs_that_are_not_what_was_announced(house: House, lie: Liar) -> None:
    async with connected(house, lie):
        for change, says in (
            ({"sha256": "ab" * 32}, "another digest"), ({"size": 7}, "not the file of 7 bytes"),
            ({"inputs": "/nowhere"}, "No such file"), ({"size": 2**40}, "at most"),
            ({"inputs": "/dev/zero"}, "not the file"),
        ):
            with pytest.raises(Bad, match=says):
                await house.run("true", **change)
