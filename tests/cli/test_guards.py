"""Guards, approvals and edits from the shell, on a running controller."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from cockpit.cli import common
from cockpit.controller.serving import here
from cockpit.plan.steps import Intent
from tests.cli.conftest import Run
from tests.controller.fakes import TOPOLOGY, Background
from tests.helpers import wait_for

GUARDED = TOPOLOGY + """\
guards:
  # the ledger
  - {name: never, verbs: [stop], targets: [db], effect: deny, break_glass: true, reason: it holds the money}
  - {name: two, verbs: [restart], effect: approve, reason: four eyes}
  - {name: typed, verbs: [scale], effect: confirm, reason: mind the licence}
"""


@pytest.fixture
def state(live: Background, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VISUAL", raising=False)
    wait_for(lambda: live.look(lambda: not live.c.runner.running))
    at = ["--state", str(live.state)]
    if not live.look(lambda: live.c.world.expected.guards):
        file = tmp_path / "guarded.yaml"
        file.write_text(GUARDED)
        code, out, err = run("apply", file, *at)
        assert code == 0, (out, err)
    return at


def editing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *commands: str) -> Path:
    """$EDITOR is a program that carries out the next of these sed expressions each time, and notes what it saw."""
    tool, seen = tmp_path / "editor", tmp_path / "seen"
    lines = "\n".join(f"{n}) {command} ;;" for n, command in enumerate(commands, 1))
    tool.write_text(f'#!/bin/sh\ncat "$1" >> {seen}\nn=$(($(cat {tmp_path}/n 2>/dev/null || echo 0) + 1))\n'
                    f'echo $n > {tmp_path}/n\ncase $n in\n{lines}\nesac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(tool))
    return seen


def test_a_denied_verb_and_the_glass(state: list[str], run: Run, live: Background) -> None:
    code, out, _ = run("plan", "stop", "db", *state)
    assert code == 0 and 'Guard: denied by guard "never" (guard 1 of 3): it holds the money' in out
    code, _, err = run("stop", "db", "--confirm", "db", *state)
    assert code == 3 and "it holds the money" in err and "--break-glass REASON" in err
    code, out, err = run("stop", "db", "--confirm", "db", "--break-glass", "disk burns", *state)
    assert code == 0 and "GLASS BROKEN" in out + err
    _, out, _ = run("log", *state)
    assert "disk burns  against guard never: it holds the money" in out
    assert run("start", "db", *state)[0] == 0


def test_a_guard_asks_for_the_name(state: list[str], run: Run) -> None:
    code, _, err = run("scale", "web", "3", *state)
    assert code == 3 and "mind the licence" in err and "--confirm web" in err
    assert run("scale", "web", "3", "--confirm", "web", *state)[0] == 0


def test_a_second_person(state: list[str], run: Run, live: Background) -> None:
    code, out, _ = run("restart", "db", *state)
    assert code == 1 and "cockpit approve a1" in out and "four eyes" in out
    code, out, _ = run("approvals", *state)
    assert code == 0 and "a1  waiting  restart db" in out and "four eyes" in out
    digest = json.loads(run("approvals", "--json", *state)[1])[0]["digest"]
    code, _, err = run("approve", "a1", *state)
    assert code == 3 and f"--digest {digest}" in err
    code, _, err = run("approve", "a1", "--digest", digest, *state)
    assert code == 3 and "second person" in err
    assert run("refuse", "a1", "--why", "later", *state)[1] == "a1 restart db: withdrawn: later\n"
    other = replace(here(), author="wu@there", uid=4242)
    live.do(live.c.session(other).submit(Intent(verb="restart", targets=("db",))))
    code, out, err = run("approve", "a2", "--digest", digest, *state)
    assert code == 0 and ": done" in out, (out, err)
    _, out, _ = run("log", *state)
    assert "a1 refused" in out and "(uid 4242)" in out and "approved by" in out


def test_an_edit_from_the_shell(
    state: list[str], run: Run, live: Background, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = editing(monkeypatch, tmp_path, 'sed -i "s/version:/verson:/" "$1"',
                   'sed -i "s/verson:/version:/; s/1.0.0/2.0.0/" "$1"')
    code, out, err = run("edit", "web", "--yes", "--confirm", "web", *state)
    assert code == 0, (out, err)
    assert live.look(lambda: live.c.world.expected.services["shop.web"].version) == "2.0.0"
    assert 'did you mean "version"?' in seen.read_text() and "PLAN  edit shop.web" in out
    assert not list((tmp_path / "home").rglob("*.yaml"))
    assert run("rollback", "web", *state)[0] == 0


def test_comments_are_there_and_what_was_not_carried_out_is_kept(
    state: list[str], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = editing(monkeypatch, tmp_path, 'sed -i "s/deny/dney/" "$1"', "true", "exit 7")
    code, _, err = run("edit", "never", "--yes", *state)
    assert code == 2 and "kept in" in err and "# the ledger" in seen.read_text()
    (kept,) = (tmp_path / "home").rglob("*.yaml")
    assert "dney" in kept.read_text() and stat.S_IMODE(kept.stat().st_mode) == 0o600
    code, _, err = run("edit", "never", "--yes", *state)
    assert code == 3 and "exit 7" in err


def test_an_edit_goes_onto_a_head_that_moved(
    state: list[str], run: Run, live: Background, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody deploys while the editor is open."""
    editing(monkeypatch, tmp_path, f'touch {tmp_path}/open; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; '
            'sed -i "s/weight: .3./weight: \\"9\\"/" "$1"', "true")

    async def meanwhile() -> None:
        while not (tmp_path / "open").exists():
            await asyncio.sleep(0.01)
        row = await live.c.session(here()).submit(
            Intent(verb="deploy", targets=("shop.db",), params={"version": "1.0.7"})
        )
        await live.c.runner.ended[row.id].wait()
        (tmp_path / "go").touch()

    done = asyncio.run_coroutine_threadsafe(meanwhile(), live._loop)
    code, out, err = run("edit", "web", "--yes", *state)
    done.result(10)
    assert code == 0 and "moved from revision" in err, (out, err)
    services = live.look(lambda: live.c.world.expected.services)
    assert (services["shop.web"].attributes, services["shop.db"].version) == ({"weight": "9"}, "1.0.7")


def test_an_edit_says_why_not(
    state: list[str], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, _, err = run("edit", "web", *state)
    assert code == 3 and "needs a terminal" in err
    editing(monkeypatch, tmp_path)
    code, _, err = run("edit", "wbe", "--yes", *state)
    assert code == 2 and "did you mean shop.web" in err
    code, out, _ = run("edit", "web", "--yes", *state)
    assert (code, out) == (0, "shop.web: nothing was changed\n")
    seen = editing(monkeypatch, tmp_path)
    before = seen.read_text()
    monkeypatch.setattr(common.os, "access", lambda path, mode: not str(path).endswith("control.sock"))
    code, _, err = run("edit", "web", "--yes", *state)
    assert code == 3 and "edit is refused: this is a view-only socket" in err
    assert seen.read_text() == before, "no editor was opened"


def test_weakening_guards_needs_a_second_person(state: list[str], run: Run, tmp_path: Path, live: Background) -> None:
    file = tmp_path / "bare.yaml"
    _, text, _ = run("export", *state)
    file.write_text(text.replace("effect: deny", "effect: allow").replace("break_glass: true", "break_glass: false"))
    code, out, _ = run("apply", file, *state)
    assert code == 1 and "this changes a guard that says deny" in out, out
    assert live.look(lambda: live.c.world.expected.guards[0].effect) == "deny"


def test_what_runs_at_once(state: list[str], run: Run, live: Background, tmp_path: Path) -> None:
    file = tmp_path / "direct.yaml"
    file.write_text(GUARDED + """\
  - {name: named, verbs: [exec], hosts: [host=a-1], effect: confirm, reason: mind the ledger}
  - {name: never, verbs: [exec, shell], regions: [bj], effect: deny, reason: too far}
  - {name: eyes, verbs: [plugin-remove], effect: approve, reason: two must agree}
""".replace("name: never", "name: far"))
    code, out, err = run("apply", file, "--confirm", "typed", *state)
    assert code == 0, (out, err)
    code, _, err = run("exec", "--on", "a-1", *state, "--", "df", "-h")
    assert code == 3 and "mind the ledger" in err and "--confirm a-1" in err
    code, _, err = run("exec", "--on", "a-1", "--confirm", "a-1", *state, "--", "df", "-h")
    assert code == 1 and "mind" not in err, "it was sent; this host tells no exit code"
    for words in (("exec", "--on", "b-1", *state, "--", "df"), ("shell", "b-1", *state)):
        code, _, err = run(*words)
        assert code == 3 and "too far" in err, words
    code, _, err = run("plugin", "remove", "backup", "a-1", *state)
    assert code == 3 and "two must agree" in err and "cockpit approve a" in err
    id = err.partition("cockpit approve ")[2].split(",")[0]
    digest = next(r["digest"] for r in json.loads(run("approvals", "--json", *state)[1]) if r["id"] == id)
    wu = replace(here(), author="wu@there", uid=4242)
    live.do(live.c.session(wu).call("approve", {"id": id, "digest": digest}))
    code, out, err = run("plugin", "remove", "backup", "a-1", *state)
    assert code == 0 and "removed from 1 of 1" in out, (out, err)
    live.do(live.c.ledger.keep())
    _, out, _ = run("log", *state)
    assert f"remove backup  on a-1  by {here().author}  approved by wu@there ({id})" in out
    assert "exec b-1 by" in out and "too far" in out, "attempts are written down"
    assert run("plugin", "remove", "backup", "a-1", *state)[0] == 3, "once"
