"""Guards over what runs at once, on the screen: what will be run is told before the name is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.model.guard_rows import APPROVE, CONFIRM, DENY, Request, RequestRow, Verdict
from cockpit.plan.direct import direct_plan, name_of
from cockpit.plan.steps import Intent, Refused
from tests.screens.canned import NOW, CannedSession, snapshot
from tests.screens.drive import Driver, driven, until

TOML = """
[actions.disk]
argv = ["df", "-h", "/var"]
on = ["host"]
where = "hosts"
class = "observe"
"""
SAID = Verdict(effect=CONFIRM, rule="typed", place="guard 1 of 1", reason="mind the ledger")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cockpit").mkdir()
    (tmp_path / "cockpit" / "actions.toml").write_text(TOML)


class Session(CannedSession):
    refused = ""

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        if op == "exec":
            host = (args or {})["hosts"][0]
            self.called.append((op, args or {}))
            if self.refused:
                raise Refused(self.refused)
            yield {"targets": [host]}
            yield {"host": host, "end": "ok", "code": 0, "seconds": 0.1}
        else:
            async for item in super().stream(op, args):
                yield item


def guarded(verdict: Verdict | None) -> Session:
    """The verdict on every program, until its glass is broken."""
    session = Session()

    def direct(args: dict[str, Any]) -> Any:
        params = {"argv": args["argv"], "user": "", "timeout": 60.0}
        plan = direct_plan(Intent(verb="exec", targets=tuple(args["hosts"]), params=params), 1)
        said = verdict
        if said is not None and args.get("break_glass"):
            said = msgspec.structs.replace(said, effect="allow", broken=args["break_glass"])
        confirm = name_of(plan.intent) if said is not None and said.effect == CONFIRM else ""
        return msgspec.to_builtins(msgspec.structs.replace(plan, guard=said, confirm=confirm))

    session.answers["direct"] = direct
    return session


async def to_run(d: Driver) -> None:
    await d.press("h")
    await d.at("HostsScreen")
    await d.press("U")
    await d.at("MenuScreen")
    await d.press("enter")


def sent(session: CannedSession) -> list[dict[str, Any]]:
    return [args for op, args in session.called if op == "exec"]


async def test_without_a_guard_it_runs_at_once(own: None) -> None:
    session = guarded(None)
    async with driven((100, 30), session) as d:
        await to_run(d)
        await d.at("UserRunScreen")
        await until(lambda: len(sent(session)) == 1)
        assert "confirm" not in sent(session)[0]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
async def test_the_name_is_asked_for_below_what_will_be_run(own: None, size: tuple[int, int]) -> None:
    session = guarded(SAID)
    async with driven(size, session) as d:
        await to_run(d)
        await d.at("ConfirmScreen")
        await d.sees("runs df -h /var")
        await d.sees("asks for the typed name: mind the")
        host = str(next(a for op, a in session.called if op == "direct")["hosts"][0])
        await d.sees(f"type {host} to go on")
        assert not sent(session)
        await d.press("enter")
        await d.sees("Nothing was done")
        await d.type(host)
        await d.press("enter")
        await d.at("UserRunScreen")
        await until(lambda: len(sent(session)) == 1)
        (args,) = sent(session)
        assert args["confirm"] == host and len(args["digest"]) == 64


async def test_esc_runs_nothing(own: None) -> None:
    session = guarded(SAID)
    async with driven((100, 30), session) as d:
        await to_run(d)
        await d.at("ConfirmScreen")
        await d.press("escape")
        await d.at("UserRunScreen")
        await d.sees("nothing has run yet")
        assert not sent(session)


async def test_denied_says_why_and_the_glass_wants_a_reason(own: None) -> None:
    session = guarded(Verdict(effect=DENY, rule="never", place="guard 1 of 1", reason="not here", break_glass=True))
    async with driven((100, 30), session) as d:
        await to_run(d)
        await d.at("AskScreen")
        await d.sees("not here")
        await d.type("it burns")
        assert not sent(session)
        await d.press("enter")
        await until(lambda: len(sent(session)) == 1)
        assert sent(session)[0]["break_glass"] == "it burns"


async def test_a_second_person_is_said(own: None) -> None:
    session = guarded(Verdict(effect=APPROVE, rule="eyes", place="guard 1 of 1", reason="four eyes"))
    session.refused = "a1 exec df: Nothing was done yet: somebody with another uid says cockpit approve a1"
    async with driven((120, 30), session) as d:
        await to_run(d)
        await d.at("UserRunScreen")
        await d.sees("cockpit approve a1")


async def test_a_request_shows_what_will_be_run_and_on_what() -> None:
    params = {"argv": ["rm", "-r", "/x"], "user": "", "timeout": 9}
    intent = Intent(verb="exec", targets=("sh-1", "sh-2"), params=params)
    plan = direct_plan(intent, 42)
    row = RequestRow(
        id="a3", verb="exec", title=plan.title, author="wu@jump-1", uid=1002, digest=plan.digest, asked=NOW - 60,
        expires=NOW + 3600, targets=intent.targets, rule="two", reason="four eyes",
    )
    session = CannedSession(msgspec.structs.replace(snapshot(), requests={"a3": row}))
    session.answers["approval"] = msgspec.to_builtins(Request(row=row, intent=intent, plan=plan, same=True))
    session.answers["approve"] = msgspec.to_builtins(msgspec.structs.replace(row, state="approved", by="li@jump-1"))
    async with driven((100, 30), session) as d:
        await d.press(*":approvals", "enter")
        await d.at("ApprovalsScreen")
        await d.press("enter")
        await d.at("RequestScreen")
        await d.sees("runs rm -r /x, as the agent's user, for at most 9 s")
        await d.sees("on 2 hosts: sh-1, sh-2")
        await d.press("y")
        await d.sees("Copied")
        await d.press("x")
        await d.at("ApprovalsScreen")
        await d.sees("wu@jump-1 may run it once")
        assert ("approve", {"id": "a3", "digest": plan.digest}) in session.called
