"""Running them: real programs, in an environment of their own, ended with all they have started."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest

from cockpit.plan.steps import Refused
from cockpit.useractions.config import UserAction
from cockpit.useractions.run import Ended, Item, Job, Said, environment, run
from tests.helpers import alive, until
from tests.screens.canned import CannedSession

PYTHON = sys.executable


def observe(**more: Any) -> UserAction:
    return UserAction(**({"name": "a", "argv": ("x",), "risk": "observe"} | more))


def python(code: str, label: str = "one") -> Job:
    return Job(label=label, argv=(PYTHON, "-c", code))


async def everything(action: UserAction, jobs: list[Job], session: CannedSession | None = None) -> list[Item]:
    async with contextlib.aclosing(run(action, jobs, session or CannedSession())) as items:
        return [item async for item in items]


async def test_lines_and_ends() -> None:
    session = CannedSession()
    found = await everything(observe(), [
        python("import sys; print('hi'); print('x' * 200000); print('after'); sys.exit(3)"),
        python("import sys; print('bad', file=sys.stderr)", "two"),
        Job(label="none", argv=("/no/such/program",)),
    ], session)  # fmt: skip
    said = [i for i in found if isinstance(i, Said)]
    out = [s.text for s in said if s.stream == "out"]
    assert out[0] == "hi" and set(out[1]) == {"x"} and out[2] == "after"
    assert [s.text for s in said if s.stream == "err"] == ["bad"]
    ends = {i.label: (i.word, i.code, i.text) for i in found if isinstance(i, Ended)}
    assert ends["one"] == ("failed", 3, "exit 3")
    assert ends["none"][0] == "failed" and "No such file" in ends["none"][2]
    assert session.called == [], "what only looks is not journalled"


async def test_its_environment_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    action = observe(env={"LEVEL": "3"})
    env = environment(action)
    assert env["LEVEL"] == "3" and "AWS_SECRET_ACCESS_KEY" not in env
    found = await everything(action, [python("import os; print(sorted(os.environ))")])
    assert isinstance(found[0], Said) and "AWS" not in found[0].text and "COCKPIT_ACTION" in found[0].text


@pytest.mark.parametrize("home", ["/no/such/home", ""])
async def test_without_a_home_they_begin_at_the_root(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    found = await everything(observe(), [python("import os; print(os.getcwd())")])
    assert isinstance(found[0], Said) and found[0].text == "/"


async def test_late_ones_are_ended() -> None:
    found = await everything(observe(timeout=0.5), [python("import time; print('up', flush=True); time.sleep(600)")])
    assert isinstance(found[-1], Ended) and (found[-1].word, found[-1].text) == ("timed out", "ended after 0.5 s")


async def test_to_leave_ends_the_program_and_its_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(p.pid, flush=True)\ntime.sleep(600)"
    )
    items = run(observe(), [python(code)], CannedSession())
    first = await anext(items)
    assert isinstance(first, Said)
    child = int(first.text)
    assert alive(child)
    await items.aclose()
    await until(lambda: not alive(child), what="the child ended")


async def test_what_changes_is_journalled_before_and_after() -> None:
    session = CannedSession()
    session.answers["user_action"] = {"id": "user-1"}
    await everything(observe(risk="change"), [python("print(1)")], session)
    (_, begin), (_, end) = session.called
    assert begin["class"] == "change" and begin["runs"][0]["for"] == "one"
    assert end == {"id": "user-1", "end": {"one": "ok"}, "stopped": False}


async def test_without_the_journal_nothing_runs(tmp_path: Path) -> None:
    def refuse(args: dict[str, Any]) -> Any:
        raise Refused("read-only")

    session = CannedSession()
    session.answers["user_action"] = refuse
    mark = tmp_path / "ran"
    with pytest.raises(Refused):
        await everything(observe(risk="change"), [python(f"open({str(mark)!r}, 'w')")], session)
    assert not mark.exists()


async def test_on_hosts_through_their_agents() -> None:
    session = CannedSession()
    session.answers["exec"] = [
        {"targets": ["h1", "h2"]}, {"host": "h1", "lines": [["out", "up"]]}, {"host": "h1", "dropped": 2},
        {"host": "h1", "end": "ok", "code": 0, "seconds": 0.1, "text": ""},
    ]
    found = await everything(
        observe(where="hosts", timeout=9, user="u"), [Job(label="2 hosts", argv=("uptime",), hosts=("h1", "h2"))],
        session,
    )
    assert session.called == [("exec", {"argv": ["uptime"], "hosts": ["h1", "h2"], "timeout": 9, "user": "u"})]
    assert found == [
        Said("h1", "out", "up"), Said("h1", "note", "2 lines were left out: there were too many"),
        Ended("h1", "ok", 0, "", 0.1), Ended("h2", "no answer", None, "the stream ended"),
    ]
