"""Data beside a release: links that are switched, what a unit was given, and the word `activate`."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from cockpit.agent import activate, prepare
from cockpit.agent.builtin import host
from cockpit.agent.units import Book, Memory
from cockpit.swarm.records import identity
from tests.agent.fake import AgentProcess, FakeController, unitspec
from tests.helpers import alive, until

WHO = "p.web/0"
WEB = "puzzle.web/2:5"
READER = """
import os, signal
def say(*_):
    with open(os.environ["COCKPIT_DATA_WORDS"] + "/list") as f:
        print(f.read(), flush=True)
signal.signal(signal.SIGHUP, say)
say()
while True:
    signal.pause()
"""


def install(host_dir: Path, version: str, name: str = "words") -> dict[str, str]:
    """A release whose `list` says its version, on the host as an installer leaves it; what a spec says of it."""
    file = host_dir / "releases" / name / version / "list"
    file.parent.mkdir(parents=True)
    file.write_text(f"v{version}")
    file.chmod(0o644)
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    sha256 = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    facts = {"sha256": sha256, "size": 2, "files": {"list": [found, *identity(str(file))]}, "links": {}}
    (file.parent.parent / f".{version}.json").write_text(json.dumps(facts))
    return {"artifact": name, "version": version, "sha256": sha256}


def link(host_dir: Path, instance: str = WHO, name: str = "words") -> Path:
    return host_dir / "instances" / instance.replace("/", "_") / "data" / name


# links


def test_a_link_is_switched_and_never_missing(tmp_path: Path) -> None:
    where = str(tmp_path)
    for version in ("4", "5"):
        install(tmp_path, version)
        activate.switch(where, WHO, "words", "words", version)
        assert (link(tmp_path) / "list").read_text() == f"v{version}"
        assert activate.linked(where, WHO, "words") == ("words", version)
    assert os.listdir(link(tmp_path).parent) == ["words"] and link(tmp_path).parent.stat().st_mode & 0o777 == 0o755
    assert activate.paths(where, WHO, ["words"]) == {"words": str(link(tmp_path))}


def test_what_a_crash_left_is_no_obstacle(tmp_path: Path) -> None:
    activate.switch(str(tmp_path), WHO, "words", "words", "4")
    (link(tmp_path).parent / ".words.new").symlink_to("nowhere")
    activate.switch(str(tmp_path), WHO, "words", "words", "5")
    assert activate.linked(str(tmp_path), WHO, "words") == ("words", "5")
    assert os.listdir(link(tmp_path).parent) == ["words"]


def test_links_elsewhere_are_none(tmp_path: Path) -> None:
    assert activate.linked(str(tmp_path), WHO, "words") is None
    activate.switch(str(tmp_path), WHO, "words", "words", "4")
    for target in ("/etc", "../../../releases/words", "../../../../x/words/4", "../../../releases/../words/4"):
        link(tmp_path).unlink()
        link(tmp_path).symlink_to(target)
        found = activate.linked(str(tmp_path), WHO, "words")
        assert found is None or found == ("..", "words"), target
        told = activate.versions(str(tmp_path), WHO, {"words": {"artifact": "words", "version": "4"}}, True)
        assert told["words"].startswith("4 (")


def test_a_directory_in_the_place_of_links_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    own = link(tmp_path).parent.parent
    own.mkdir(parents=True)
    (own / "data").symlink_to(tmp_path / "target")
    with pytest.raises(activate.ActivateError, match="not the directory that the agent made") as error:
        activate.switch(str(tmp_path), WHO, "words", "words", "4")
    assert error.value.code == "altered" and os.listdir(tmp_path / "target") == []
    (own / "data").unlink()
    (own / "data" / "words").mkdir(parents=True)
    with pytest.raises(activate.ActivateError, match="is a directory, not a link"):
        activate.switch(str(tmp_path), WHO, "words", "words", "4")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    link(tmp_path).parent.mkdir(parents=True)
    os.chown(link(tmp_path).parent, 12345, 12345)
    with pytest.raises(activate.ActivateError, match="not the directory"):
        activate.switch(str(tmp_path), WHO, "words", "words", "4")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "an object is wanted"),
        ({"../x": {"artifact": "a", "version": "1"}}, "cannot be the name"),
        ({"x": {"artifact": "..", "version": "1"}}, "x.artifact: a name is wanted"),
        ({"x": {"artifact": "a", "version": "1/.."}}, "x.version: a name is wanted"),
        ({"x": {"artifact": "a"}}, "x.version: a name is wanted"),
        ({"x": "a/1"}, "x.artifact: a name is wanted"),
        ({"x": {"artifact": "a", "version": "1", "sha256": 5}}, "x.sha256: a string is wanted"),
    ],
)
def test_data_that_cannot_be(data: Any, text: str) -> None:
    with pytest.raises(activate.ActivateError, match=text):
        activate.check_data(data)
    if data:
        with pytest.raises(prepare.PrepareError, match=text):
            prepare.check_unitspec(unitspec(data=data))


def test_the_path_is_a_variable_and_in_the_environment() -> None:
    spec = unitspec(
        processes={"main": ["serve", "{data.word-list}"]}, env={"X": "{data.word-list}/a"}, ports={}, check=None,
        data={"word-list": {"artifact": "words", "version": "4", "sha256": ""}},
    )  # fmt: skip
    made = prepare.keeper_spec(prepare.check_unitspec(spec), prepare.Place("/h", "127.0.0.1", {}), None)
    path = "/h/instances/puzzle.web_2/data/word-list"
    process = made["processes"][0]
    assert process["argv"] == ["serve", path] and process["env"]["X"] == path + "/a"
    assert process["env"]["COCKPIT_DATA_WORD_LIST"] == path


# what units were given


def test_the_newest_unit_answers_for_the_link_and_older_ones_for_themselves(tmp_path: Path) -> None:
    def record(gen: int, version: str) -> dict[str, Any]:
        data = {"words": {"artifact": "words", "version": version, "sha256": ""}}
        spec = {"data": data}
        return {"unit": f"{WHO}:{gen}", "meta": {"spec": spec}, "pids": {}, "state": 384}

    changed: list[str] = []
    book = Book(Memory(str(tmp_path)), changed.append)
    book.update([record(1, "4")])

    def told(gen: int) -> str:
        report = book.report(f"{WHO}:{gen}", None, None)
        assert report is not None
        return str(report["data"]["words"])

    assert told(1) == "4 (nothing is linked)"
    activate.switch(str(tmp_path), WHO, "words", "words", "4")
    assert told(1) == "4"
    activate.switch(str(tmp_path), WHO, "words", "words", "5")
    assert told(1) == "4 (5 is linked)"
    activate.switch(str(tmp_path), WHO, "words", "words", "4")
    changed.clear()
    book.look_at_links()
    assert changed == [f"{WHO}:1"] and told(1) == "4"
    book.look_at_links()
    assert changed == [f"{WHO}:1"], "nothing new"
    activate.switch(str(tmp_path), WHO, "words", "words", "5")
    book.give(f"{WHO}:1", "words", {"artifact": "words", "version": "5", "sha256": ""})
    assert told(1) == "5" and changed[-1] == f"{WHO}:1"
    book = Book(Memory(str(tmp_path)), changed.append)
    book.update([record(1, "4")])
    assert told(1) == "5", "an agent that starts anew knows it"
    book.update([record(1, "4"), record(2, "6")])
    activate.switch(str(tmp_path), WHO, "words", "words", "6")
    assert (told(1), told(2)) == ("5", "6")
    activate.restore(str(tmp_path), WHO, book.given(f"{WHO}:1"))
    book.update([record(1, "4")])
    assert told(1) == "5" and activate.linked(str(tmp_path), WHO, "words") == ("words", "5")
    book.update([])
    activate.restore(str(tmp_path), WHO, {})
    assert os.listdir(link(tmp_path).parent) == []
    book = Book(Memory(str(tmp_path)), changed.append)
    assert book.given(f"{WHO}:1") == {}
    activate.restore(str(tmp_path), "p.other/0", {})  # nothing there: nothing to do


# the word


async def test_a_running_unit_gets_new_data(agent: AgentProcess, controller: FakeController) -> None:
    four, five = install(agent.dir, "4"), install(agent.dir, "5")
    instance = WEB.rpartition(":")[0]
    facts: dict[str, Any] = {"processes": {"main": [sys.executable, "-c", READER]}, "ports": {}, "check": None}
    spec = unitspec(WEB, data={"words": four}, **facts)
    await controller.ok("prepare", spec=spec)
    assert (await controller.sees(WEB, state=384))["data"] == {"words": "4"}
    pid = (await controller.ok("start", unit=WEB))["pid"]
    out = agent.dir / "logs" / "puzzle.web_2_5" / "1.main.out"
    await until(lambda: out.read_text() == "v4\n", what="it read its data")

    def args(entry: dict[str, str], **more: str) -> dict[str, str]:
        return {"unit": WEB, "instance": instance, "data": "words", "signal": "HUP", **entry, **more}

    for wrong, code in (
        ({"sha256": "ab" * 32}, "altered"), ({"version": "6"}, "missing"), ({"data": "grids"}, "bad"),
        ({"version": "../5"}, "bad"), ({"unit": "puzzle.web/2:9"}, "missing"), ({"instance": "p.x/1"}, "bad"),
        ({"signal": "FROWN"}, "bad"),
    ):  # fmt: skip
        answer = await controller.command("activate", **args(five, **wrong))
        assert not answer["ok"] and answer["code"] == code, (wrong, answer)
    file = agent.dir / "releases" / "words" / "5" / "list"
    file.write_text("evil")
    altered = await controller.command("activate", **args(five))
    assert altered["code"] == "altered" and "list has other content" in altered["text"]
    file.write_text("v5")
    assert out.read_text() == "v4\n" and activate.linked(str(agent.dir), instance, "words") == ("words", "4")

    after = len(controller.frames)
    data = await controller.ok("activate", **args(five))
    assert data == {"run": 1, "signalled": {"main": pid}}
    frames = controller.frames[after:]
    told = next(n for n, f in enumerate(frames) if f["t"] == "unit" and f["unit"]["data"] == {"words": "5"})
    assert told < next(n for n, f in enumerate(frames) if f["t"] == "result"), "first the report, then the answer"
    await until(lambda: out.read_text() == "v4\nv5\n", what="it read its data again")
    assert alive(pid) and link(agent.dir, instance).resolve() == (agent.dir / "releases/words/5").resolve()

    after = len(controller.frames)
    os.kill(agent.pid, signal.SIGKILL)
    (unit,) = (await controller.connected(after))["units"]
    assert (unit["data"], unit["pid"]) == ({"words": "5"}, pid), "known after a restart of the agent"
    assert await controller.ok("activate", **args(four, signal="")) == {"run": 1, "signalled": {}}
    assert out.read_text() == "v4\nv5\n" and (await controller.sees(WEB, data={"words": "4"}))["pid"] == pid

    new = "puzzle.web/2:6"
    await controller.ok("prepare", spec=unitspec(new, data={"words": five}, **facts))
    await controller.sees(new, data={"words": "5"})
    assert activate.linked(str(agent.dir), instance, "words") == ("words", "5")
    await controller.ok("remove", unit=new)
    assert activate.linked(str(agent.dir), instance, "words") == ("words", "4"), "as the one that stays was given it"
    await controller.sees(WEB, data={"words": "4"})

    await controller.ok("stop", unit=WEB)
    assert (await controller.ok("activate", **args(five)))["signalled"] == {}, "nobody to tell"
    await controller.ok("remove", unit=WEB)
    assert os.listdir(link(agent.dir, instance).parent) == []


async def test_a_program_that_was_just_started_is_given_time(agent: AgentProcess, controller: FakeController) -> None:
    four, five = install(agent.dir, "4"), install(agent.dir, "5")
    slow = READER.replace("import os, signal", "import os, signal, time\ntime.sleep(0.4)")
    facts: dict[str, Any] = {"processes": {"main": [sys.executable, "-c", slow]}, "ports": {}, "check": None}
    await controller.ok("prepare", spec=unitspec(WEB, data={"words": four}, **facts))
    pid = (await controller.ok("start", unit=WEB))["pid"]
    data = await controller.ok("activate", unit=WEB, data="words", signal="HUP", **five)
    assert data == {"run": 1, "signalled": {"main": pid}} and alive(pid)
    out = agent.dir / "logs" / "puzzle.web_2_5" / "1.main.out"
    await until(lambda: out.read_text().count("\n") == 2, what="it read when it started and when it was told")
    assert out.read_text().endswith("v5\n")


async def test_who_reads_for_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "WORKING", 0.01)
    said: list[dict[str, Any]] = []
    more = threading.Event()

    def tell(data: dict[str, Any]) -> None:
        said.append(data)
        if len(said) == 3:
            more.set()

    assert await host.patiently(tell, more.wait, 10.0) is True
    assert said == [{}] * len(said)
    with pytest.raises(ZeroDivisionError):
        await host.patiently(tell, lambda: 1 // 0)


async def test_a_unit_without_its_data_is_not_prepared(agent: AgentProcess, controller: FakeController) -> None:
    entry = {"artifact": "words", "version": "4", "sha256": "ab" * 32}
    missing = await controller.command("prepare", spec=unitspec(WEB, data={"words": entry}))
    assert not missing["ok"] and missing["code"] == "missing" and "words/4" in missing["text"]
    await controller.sees(WEB, state=768, data={})
