"""Commands against a running controller: what they print, and every exit code by a real case."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cockpit.act import journal
from cockpit.act.table import VERBS
from cockpit.model.states import State
from cockpit.plan.steps import Intent, Plan
from cockpit.session.client import RemoteSession
from tests.cli.conftest import Run
from tests.controller.fakes import TOPOLOGY, Background, background
from tests.helpers import wait_for

FIELDS = {
    "hosts": "name region presence address agent_pid keeper_pid",
    "instances": "id service slot host version_expected version_actual state desired pid ports health restarts runs",
    "drift": "kind target expected actual action",
    "endpoints": "service address port state attributes",
    "actions": "id verb state author targets",
}


def quiet(live: Background) -> bool:
    """No action holds anything, and every host is back."""
    hosts = live.c.world.hosts
    return live.look(lambda: not live.c.runner.running and all(h.presence == "up" for h in hosts.values()))


def intents(live: Background) -> list[str]:
    """Every action so far. What came of one may be noted any time."""
    entries, _ = journal.read(live.state / "journal.jsonl")
    return [e.body["action"] for e in entries if e.kind == journal.INTENT]


@pytest.fixture
def state(live: Background) -> list[str]:
    wait_for(lambda: quiet(live))
    return ["--state", str(live.state)]


def status(run: Run, state: list[str]) -> dict[str, Any]:
    code, out, err = run("status", "--json", *state)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert isinstance(answer, dict)
    return answer


# status


def test_status_json_keeps_its_names(
    live: Background, state: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cockpit.controller.world.SUSPECT_FOR", 0.1)
    live.disconnect("b-1")
    try:
        wait_for(lambda: status(run, state)["drift"])
        found = status(run, state)
    finally:
        live.connect("b-1")
        wait_for(lambda: not status(run, state)["drift"])
    assert isinstance(found["revision"], int)
    for table, names in FIELDS.items():
        assert found[table], f"no {table} to look at"
        for row in found[table]:
            assert set(names.split()) <= set(row), table
    words = {s.name for s in State} | {"UNKNOWN"}
    for row in found["instances"]:
        assert row["state"] in words and row["desired"] in ("RUNNING", "SHUTDOWN")
        assert row["id"] == f"{row['service']}/{row['slot']}"
        for each in row["runs"]:
            assert each["state"] in words
    web = next(i for i in found["instances"] if i["id"] == "shop.web/1")
    assert (web["host"], web["state"], web["version_actual"]) == ("a-1", "RUNNING", "1.0.0")
    assert web["ports"] == {"http": pytest.approx(20000, abs=999)} and isinstance(web["pid"], int)
    assert {h["name"]: h["region"] for h in found["hosts"]} == {"a-1": "sh", "b-1": "bj"}
    assert [(h["agent_pid"], h["keeper_pid"]) for h in found["hosts"]] == [(11, 10), (11, 10)]
    endpoint = next(e for e in found["endpoints"] if e["address"] == "127.0.9.1")
    assert (endpoint["service"], endpoint["state"]) == ("shop.web", "ready")
    assert endpoint["attributes"] == {"weight": "3"}
    assert found["actions"][0]["verb"] == "apply" and found["actions"][0]["targets"] == []


def test_status_as_text(live: Background, state: list[str], run: Run) -> None:
    code, out, err = run("status", *state)
    assert (code, err) == (0, "")
    assert out.startswith("still  rev ") and "web/0" in out and "NEEDS YOU" in out


def test_attach_without_a_terminal_prints_the_overview(state: list[str], run: Run) -> None:
    code, out, err = run("attach", *state)
    assert (code, err) == (0, "")
    assert out.startswith("still  rev ") and "SERVICE TRE" in out
    assert run("attach", "--read-only", *state)[0] == 0


def test_the_state_comes_from_the_environment_too(
    live: Background, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COCKPIT_STATE", str(live.state))
    assert run("status")[0] == 0
    assert run("status", "--state", "/nowhere")[0] == 4


def test_the_only_running_cluster_is_found(
    live: Background, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    code, _, err = run("status")
    assert code == 4 and "no running cluster was found" in err
    (tmp_path / "cockpit").mkdir()
    (tmp_path / "cockpit" / "still").symlink_to(live.state)
    assert run("status")[0] == 0
    (tmp_path / "cockpit" / "other").symlink_to(live.state)
    code, _, err = run("status")
    assert code == 2 and "--state DIR" in err


HOMES = ["/proc/none", "/dev/null", "/dev/null/deeper"]


@pytest.mark.parametrize("home", HOMES)
def test_no_home_to_write_to(live: Background, run: Run, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    """A read-only home: looking needs none."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, home)
    state = ["--state", str(live.state)]
    assert run("status", *state)[0] == 0
    code, out, _ = run("attach", *state)
    assert code == 0 and "SERVICE TRE" in out
    assert run("log", *state)[0] == 0
    assert run("log", "--verify", *state)[0] == 0
    assert run("plan", "restart", "web", *state)[0] == 0
    code, _, err = run("status")
    assert code == 4 and "--state DIR" in err
    journal = str(live.state / "journal.jsonl")
    assert run("log", journal)[0] == 0


# exit codes


def test_0_done(live: Background, state: list[str], run: Run) -> None:
    code, out, err = run("restart", "web/0", *state)
    assert (code, err) == (0, "")
    assert re.search(r"#\d+ restart web/0: done in \d", out)
    wait_for(lambda: quiet(live))
    code, out, err = run("restart", "web/0", "--json", *state)
    assert (code, err) == (0, "")
    detail = json.loads(out)
    assert detail["row"]["state"] == "done" and {s["state"] for s in detail["steps"]} == {"done"}


def test_0_nothing_to_do(state: list[str], run: Run) -> None:
    code, out, _ = run("converge", *state)
    assert (code, out) == (0, "converge everything: nothing to do\n")
    code, out, _ = run("converge", "--json", *state)
    assert code == 0 and json.loads(out)["action"] is None


def test_0_though_the_world_has_moved_since_the_plan_that_nobody_looked_at(
    state: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = RemoteSession.plan

    async def older(self: RemoteSession, intent: Intent) -> Plan:
        return replace(await plan(self, intent), digest="of another time")

    monkeypatch.setattr(RemoteSession, "plan", older)
    code, _, err = run("restart", "db", *state)
    assert code == 0, err
    monkeypatch.setattr("cockpit.cli.verbs.ask", lambda plan: "db")
    code, _, err = run("stop", "db", *state)
    assert code == 3 and "has changed since: look at it again" in err


def test_0_no_wait(live: Background, state: list[str], run: Run) -> None:
    code, out, _ = run("restart", "db/0", "--no-wait", *state)
    assert code == 0 and re.match(r"#\d+ restart db/0: (running|done)\n", out)
    wait_for(lambda: status(run, state)["actions"][-1]["state"] == "done")


def test_1_the_outcome_differs(live: Background, state: list[str], run: Run) -> None:
    live.agents["a-1"].fails["start"] = ("exec", "exec: ENOENT ./serve")
    try:
        code, out, err = run("restart", "db/0", *state)
    finally:
        live.agents["a-1"].fails.clear()
    assert code == 1
    assert "ENOENT ./serve" in out and "paused" in out
    id = status(run, state)["actions"][-1]["id"]
    code, out, err = run("deploy", "db", "2.0", *state)
    assert code == 3 and id in err  # whoever is in the way is named
    code, out, _ = run("abort", id, "--confirm", id.lstrip("#"), *state)
    assert code == 0 and "aborted" in out
    wait_for(lambda: quiet(live))
    assert run("converge", *state)[0] == 0
    assert not status(run, state)["drift"]


@pytest.mark.parametrize(
    ("words", "wrong", "near"),
    [
        ("deploy wbe 1.1.0", "wbe", "web"), ("restart shop.wbe", "shop.wbe", "shop.web"),
        ("restart wbe/0", "wbe/0", "web/0"), ("scale shpo.web 3", "shpo.web", "shop.web"),
        ("migrate web/7 b-1", "web/7", "web/"), ("migrate web/0 b-2", "b-2", "b-1"), ("drain a-2", "a-2", "a-1"),
        ("log --instance wbe/0", "wbe/0", "web/0"), ("plan deploy wbe 1.1.0", "wbe", "web"),
    ],
)  # fmt: skip
def test_2_an_unknown_name_suggests_the_near_one(
    words: str, wrong: str, near: str, state: list[str], run: Run
) -> None:
    code, out, err = run(*words.split(), *state)
    assert (code, out) == (2, ""), err
    assert wrong in err and near in err


@pytest.mark.parametrize("verb", ["pause", "resume", "abort"])
def test_2_an_unknown_action(verb: str, state: list[str], run: Run) -> None:
    code, _, err = run(verb, "#999", "--confirm", "999", *state)
    assert code == 2 and "no action #999" in err and "the latest are #" in err


def test_3_unconfirmed(state: list[str], run: Run) -> None:
    for words, name in ((["stop", "web"], "web"), (["drain", "b-1"], "b-1"), (["scale", "web", "1"], "web")):
        code, _, err = run(*words, *state)
        assert code == 3 and f"--confirm {name}" in err, words
        code, _, err = run(*words, "--confirm", "other", *state)
        assert code == 3 and "'other' is not the name" in err


def test_3_nothing_to_abort(state: list[str], run: Run) -> None:
    code, _, err = run("abort", "#1", "--confirm", "1", *state)
    assert code == 3 and "nothing to abort" in err


def test_4_no_answer(run: Run, tmp_path: Path) -> None:
    for words in (["status"], ["attach"], ["restart", "web"], ["export"], ["agent", "token"], ["plan", "converge"]):
        code, out, err = run(*words, "--state", tmp_path / "none")
        assert (code, out) == (4, ""), words
        assert "no controller answers" in err and str(tmp_path) in err


def test_4_a_silent_host(live: Background, state: list[str], run: Run) -> None:
    live.disconnect("b-1")
    try:
        code, _, err = run("log", "--instance", "web/0", *state)
    finally:
        live.connect("b-1")
    assert code == 4 and "no answer from b-1" in err
    wait_for(lambda: not status(run, state)["drift"])


# plans and files


NEEDS_MORE = ("apply", "pause", "resume", "abort", "push", "rollback", "upgrade")
"""Verbs whose plan needs a file, an action or an artifact."""


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in NEEDS_MORE])
def test_a_plan_of_every_verb_changes_nothing(verb: str, live: Background, state: list[str], run: Run) -> None:
    words = {"deploy": ["web", "2.0"], "scale": ["web", "3"], "migrate": ["web/0", "a-1"], "drain": ["b-1"],
             "signal": ["HUP", "web"]}
    before = live.look(lambda: (live.c.world.revision, intents(live)))
    code, out, err = run("plan", verb, *words.get(verb, ["web"]), *state)
    assert (code, err) == (0, "")
    assert out.startswith("PLAN  ")
    code, out, _ = run("plan", verb, *words.get(verb, ["web"]), "--json", *state)
    assert json.loads(out)["intent"]["verb"] == verb
    assert live.look(lambda: (live.c.world.revision, intents(live))) == before


BROKEN = TOPOLOGY.replace("regions: {sh: , bj: }", "regions: {sh: }").replace("depends: [db]", "depends: [dbs]")


def test_a_broken_file_lists_every_place(live: Background, state: list[str], run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(BROKEN)
    before = live.look(lambda: (live.c.world.revision, intents(live)))
    for words in (["check", file], ["apply", file, *state], ["plan", "apply", file, *state]):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        places = re.findall(rf"^{re.escape(str(file))}:(\d+):(\d+): (.+)$", err, re.MULTILINE)
        assert len(places) == 2
        lines = BROKEN.splitlines()
        assert [lines[int(n) - 1][int(column) - 1 :][:2] for n, column, _ in places] == ["bj", "db"]
        assert '(did you mean "db"?)' in err
    assert live.look(lambda: (live.c.world.revision, intents(live))) == before


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\xff", b"- 1\n"], ids=str)
def test_check_of_what_is_no_topology(run: Run, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "t.yaml"
    if content is not None:
        file.write_bytes(content)
    code, out, err = run("check", file)
    assert (code, out) == (2, "") and "t.yaml" in err


def test_check_of_a_sound_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(TOPOLOGY)
    code, out, _ = run("check", file)
    assert (code, out) == (0, f"{file} is sound: 2 hosts in 2 regions, 3 services, 3 instances\n")
    assert json.loads(run("check", file, "--json")[1])["name"] == "still"
    assert json.loads(run("schema")[1])["properties"]["tree"]


def test_apply_and_export_round_trip(run: Run, short_dir: Path) -> None:
    """What is exported is what was applied; onto a file it keeps comments, order and line ends."""
    with background(short_dir) as b:
        b.connect("a-1", "b-1")
        state = ["--state", str(b.state)]
        file = short_dir / "t.yaml"
        crlf = TOPOLOGY.replace("\n", "\r\n")
        file.write_bytes(crlf.encode())
        file.chmod(0o640)
        link = short_dir / "link.yaml"
        link.symlink_to(file)
        code, out, _ = run("export", "--onto", link, *state)
        assert (code, out) == (0, f"{link} already says what is expected\n")
        assert file.read_bytes() == crlf.encode()

        changed = short_dir / "changed.yaml"
        changed.write_text(TOPOLOGY.replace('version: "1"', 'version: "2"'))
        code, out, _ = run("apply", changed, *state)
        assert code == 0
        wait_for(lambda: quiet(b))
        assert run("scale", "web", "3", *state)[0] == 0
        code, out, _ = run("export", "--onto", link, *state)
        assert (code, out) == (0, f"{link} now says what is expected\n")
        after = crlf.replace('version: "1"', 'version: "2"').replace("instances: 2", "instances: 3")
        assert file.read_bytes().decode() == after
        assert link.is_symlink() and file.stat().st_mode & 0o777 == 0o640
        assert [p.name for p in short_dir.glob(".*")] == []

        code, out, _ = run("export", *state)
        fresh = short_dir / "fresh.yaml"
        fresh.write_text(out)
        for path in (file, fresh):
            code, out, _ = run("plan", "apply", path, *state)
            assert code == 0 and "Nothing to do." in out

        for content in (b"hosts: [\n", b"\xff\xfe", b"name: 7\nhostz: {}\n"):
            file.write_bytes(content)
            code, _, err = run("export", "--onto", file, *state)
            assert code == 2 and "t.yaml" in err
            assert file.read_bytes() == content
        assert run("export", "--onto", short_dir / "none.yaml", *state)[0] == 2
        assert run("export", "--onto", short_dir, *state)[0] == 2


# artifacts and tokens


@pytest.mark.parametrize("running", [True, False], ids=["with a controller", "without"])
def test_artifacts(running: bool, live: Background, run: Run, tmp_path: Path) -> None:
    state = ["--state", str(live.state if running else tmp_path / "deep" / "s")]
    if not running:
        code, out, _ = run("artifact", "list", *state)
        assert code == 0 and "store is empty" in out
        assert not (tmp_path / "deep").exists()
    source = tmp_path / "build"
    source.mkdir()
    (source / "web.py").write_text("print(1)\n")
    code, out, err = run("artifact", "add", source, "--name", "web", "--version", "1.2.0", "--json", *state)
    assert (code, err) == (0, "")
    sha256 = json.loads(out)["sha256"]
    code, out, _ = run("artifact", "add", source, "--name", "web", "--version", "1.2.0", *state)
    assert code == 0 and sha256[:16] in out  # the same again is fine
    code, out, _ = run("artifact", "list", *state)
    assert code == 0 and re.search(rf"^web/1\.2\.0 +any +release +1 +\d+ +\d+ +{sha256[:16]}$", out, re.MULTILINE)
    assert json.loads(run("artifact", "list", "--json", *state)[1])["web/1.2.0"]["sha256"] == sha256
    (source / "web.py").write_text("print(2)\n")
    for words, word in (
        ([source, "--name", "web", "--version", "1.2.0"], "exists with other content"),
        ([source, "--name", "../web", "--version", "1"], "../web"),
        ([source, "--name", "web", "--version", "a/b"], "a/b"),
        ([tmp_path / "none", "--name", "web", "--version", "2"], "no such file"),
    ):
        code, out, err = run("artifact", "add", *words, *state)
        assert (code, out) == (2, ""), words
        assert word in err
    root = Path(state[1])
    assert root.stat().st_mode & 0o777 == 0o710
    if running:
        assert live.look(lambda: live.c.world.artifacts["web/1.2.0"]) == sha256


def test_artifacts_after_the_controller_was_killed(run: Run, short_dir: Path) -> None:
    """Its sockets are still there, but nobody listens."""
    import socket

    for name in ("control.sock", "view.sock"):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(short_dir / name))
    (short_dir / "x").write_text("x")
    state = ["--state", str(short_dir)]
    assert run("artifact", "add", short_dir / "x", "--name", "x", "--version", "1", *state)[0] == 0
    assert "x/1" in run("artifact", "list", *state)[1]
    assert run("status", *state)[0] == 4


def test_a_join_token(live: Background, state: list[str], run: Run) -> None:
    from cockpit.link.pki import parse_token

    code, out, _ = run("agent", "token", "b-1", *state)
    words = out.split()
    assert code == 0 and words[:3] == ["cockpit", "agent", "--dir"]
    token = parse_token(words[words.index("--join") + 1])
    assert token.host == "b-1" and token.fp == live.look(lambda: live.c.authority.fingerprint)
    assert json.loads(run("agent", "token", "--json", *state)[1])["controller"].startswith("https://127.0.0.1:")
    code, _, err = run("agent")
    assert code == 2 and "--dir DIR" in err
