"""Commands about the store, with a controller and without one."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.artifacts.opening import open_store
from tests.cli.conftest import Run
from tests.controller.fakes import Background


@pytest.fixture
def build(tmp_path: Path) -> Path:
    path = tmp_path / "build"
    (path / "lib").mkdir(parents=True)
    (path / "run").write_text("#!/bin/sh\n")
    (path / "lib" / "words").write_text("words and words\n" * 5000)
    (path / "lib" / "old").write_text("1")
    return path


@pytest.fixture(params=["with a controller", "without"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    if request.param == "without":
        return ["--state", str(tmp_path / "state")]
    live: Background = request.getfixturevalue("live")
    return ["--state", str(live.state)]


def add(run: Run, source: Path, id: str, state: list[str], *more: str) -> dict[str, Any]:
    name, _, version = id.partition("/")
    code, out, err = run("artifact", "add", source, "--name", name, "--version", version, "--json", *more, *state)
    assert (code, err) == (0, "")
    record: dict[str, Any] = json.loads(out)
    return record


def test_kinds_platforms_and_archives(run: Run, state: list[str], build: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz") as tar:
        tar.add(build, ".")
    record = add(run, tmp_path / "a.tar.xz", "geo/7", state, "--kind", "data", "--platform", "linux-x86_64")
    assert (record["kind"], record["platform"], record["files"]) == ("data", "linux-x86_64", 3)
    out = run("artifact", "list", *state)[1]
    assert re.search(r"^geo/7 +linux-x86_64 +data +3 +80011 +\d+ +[0-9a-f]{16}$", out, re.MULTILINE)
    code, _, err = run("artifact", "add", build, "--name", "x", "--version", "1", "--kind", "patch", *state)
    assert code == 2 and "invalid choice" in err


def test_a_hostile_archive_is_named(run: Run, state: list[str], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        info = tarfile.TarInfo("../../etc/cron.d/x")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"1"))
    code, out, err = run("artifact", "add", tmp_path / "bad.tar", "--name", "bad", "--version", "1", *state)
    assert (code, out) == (2, "") and "bad.tar: member '../../etc/cron.d/x' leaves the artifact" in err
    assert "bad/1" not in run("artifact", "list", *state)[1]


def test_show_and_diff(run: Run, state: list[str], build: Path) -> None:
    first = add(run, build, "cmp/1.0", state)
    (build / "lib" / "words").write_text("words and words\n" * 4999 + "other\n")
    (build / "lib" / "old").unlink()
    (build / "new").symlink_to("run")
    second = add(run, build, "cmp/1.1", state)
    code, out, err = run("artifact", "show", "cmp/1.1", *state)
    assert (code, err) == (0, "")
    assert second["sha256"] in out and second["md5"] in out and first["sha256"] not in out
    code, out, _ = run("artifact", "diff", "cmp/1.1", "1.0", *state)
    assert code == 0 and out.splitlines()[:3] == ["+ new", "- lib/old", "~ lib/words"]
    assert re.search(
        r"^from 1\.0: 1 files added, 1 removed, 1 changed; \d+ of \d+ bytes to move in 1 pieces$", out, re.M
    )
    doc = json.loads(run("artifact", "diff", "cmp/1.1", "1.0", "--json", *state)[1])
    assert (doc["added"], doc["removed"], doc["changed"], doc["base"]) == (["new"], ["lib/old"], ["lib/words"], "1.0")
    assert 0 < doc["to_move"] < second["packed"]
    for words, why in (
        (["show", "cmp/1.2"], "cmp/1.2"), (["diff", "cmp/1.1", "0.9"], "0.9"), (["show", "cmp"], "NAME/VERSION"),
        (["md5", "a/b/c"], "NAME/VERSION"), (["md5", "cmp/9"], "no artifact cmp/9"),
    ):  # fmt: skip
        code, out, err = run("artifact", *words, *state)
        assert (code, out) == (2, "") and why in err, words


def test_md5_and_check(run: Run, state: list[str], build: Path) -> None:
    record = add(run, build, "sums/1", state)
    code, out, _ = run("artifact", "md5", "sums/1", *state)
    assert code == 0 and out.splitlines()[2] == hashlib.md5(b"#!/bin/sh\n").hexdigest() + "  run"
    code, out, _ = run("artifact", "check", *state)
    assert code == 0 and out.endswith("all sound\n")
    store = open_store(Path(state[1]))
    pack = store.objects.file(f"packs/{record['sha256']}-{record['layout']}")
    good = pack.read_bytes()
    try:
        pack.write_bytes(b"\xff" + good[1:])
        code, out, _ = run("artifact", "check", *state)
        assert code == 1 and re.search(r"^sums/1: packs/.*: piece 0", out, re.M) and "1 damaged" in out
        assert [f["id"] for f in json.loads(run("artifact", "check", "--json", *state)[1]) if f["why"]] == ["sums/1"]
    finally:
        pack.write_bytes(good)


def test_collect_needs_the_controller(run: Run, tmp_path: Path, build: Path) -> None:
    state = ["--state", str(tmp_path / "state")]
    add(run, build, "web/1", state)
    code, out, err = run("artifact", "collect", *state)
    assert (code, out) == (3, "") and "no controller runs" in err
    assert "web/1" in run("artifact", "list", *state)[1]


def test_collect(run: Run, live: Background, build: Path) -> None:
    state = ["--state", str(live.state)]
    for number in range(3):
        (build / "run").write_text(f"{number}")
        add(run, build, f"many/0.{number}", state)
    add(run, build, "many/1.0.0", state)  # a version that a service of the topology has
    words = ("--newest", "1", "--days", "0", *state)
    code, out, _ = run("artifact", "collect", "--dry-run", *words)
    assert code == 0 and "many/0.0\n" in out and "would be deleted" in out and "many/1.0.0" not in out
    assert "many/0.0" in run("artifact", "list", *state)[1]
    gone = json.loads(run("artifact", "collect", "--json", *words)[1])["versions"]
    left = run("artifact", "list", *state)[1]
    assert {"many/0.0", "many/0.1", "many/0.2"} <= set(gone)
    assert "many/0." not in left and "many/1.0.0" in left
    assert live.look(lambda: [k for k in live.c.world.artifacts if k.startswith("many/")]) == ["many/1.0.0"]


def test_collect_waits_for_every_host(run: Run, live: Background, build: Path) -> None:
    state = ["--state", str(live.state)]
    add(run, build, "one/1", state)
    seen = live.look(lambda: live.c.world.hosts["b-1"])
    live.look(lambda: live.c.world.hosts.update({"b-1": msgspec.structs.replace(seen, seen=None)}))
    try:
        code, out, err = run("artifact", "collect", "--newest", "0", "--days", "0", *state)
        assert (code, out) == (3, "") and "b-1 did not report" in err
    finally:
        live.look(lambda: live.c.world.hosts.update({"b-1": seen}))
    assert "one/1" in run("artifact", "list", *state)[1]


def test_a_damaged_choice_of_the_store(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "store.toml").write_text('location = "ftp://x"\n')
    code, out, err = run("artifact", "list", "--state", tmp_path / "state")
    assert (code, out) == (2, "") and "store.toml: no backend 'ftp'" in err
