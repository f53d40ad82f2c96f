"""Guards, requests and edits on the screens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.editing import piece
from cockpit.model.changes import describe
from cockpit.model.guard_rows import APPROVE, DENY, Request, RequestRow, Verdict
from cockpit.model.view import Change
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from screens import edit as editing
from tests.screens.canned import NOW, CannedSession, plan_for, snapshot
from tests.screens.drive import LARGE, Driver, driven, to, until

ROW = RequestRow(
    id="a3", verb="deploy", title="deploy sudoku 1.2.0", author="wu@jump-1", uid=1002, digest="d1", asked=NOW - 60,
    expires=NOW + 3600, targets=("puzzle.sudoku",), rule="two", reason="four eyes",
)
INTENT = Intent(verb="deploy", targets=("puzzle.sudoku",), params={"version": "1.2.0"})
DENIED = Verdict(effect=DENY, rule="night", place="guard 1 of 2", reason="nobody is there", break_glass=True)


def asked(*, same: bool = True, trouble: str = "") -> CannedSession:
    session = CannedSession(msgspec.structs.replace(snapshot(), requests={"a3": ROW}))
    plan = None if trouble else plan_for(INTENT)
    found = Request(row=ROW, intent=INTENT, plan=plan, same=same, trouble=trouble)
    session.answers["approval"] = msgspec.to_builtins(found)
    session.answers["approve"] = msgspec.to_builtins(
        msgspec.structs.replace(ROW, state="approved", by="li@jump-1", action="#118")
    )
    session.answers["refuse"] = msgspec.to_builtins(msgspec.structs.replace(ROW, state="refused", note="refused: no"))
    return session


def guarded(session: CannedSession, verdict: Verdict) -> None:
    """Every plan has this verdict, until its glass is broken."""
    plain = session.plan

    async def plan(intent: Intent) -> Plan:
        made = await plain(intent)
        reason = intent.params.get("break_glass", "")
        said = msgspec.structs.replace(verdict, effect="allow", broken=reason) if reason else verdict
        return msgspec.structs.replace(made, guard=said)

    session.plan = plan  # type: ignore[method-assign]


@pytest.mark.parametrize("size", [(80, 24), LARGE], ids=str)
async def test_a_request_is_approved_after_its_plan_was_seen(size: tuple[int, int]) -> None:
    async with driven(size, asked()) as d:
        await d.sees("needs a second person")
        await d.press(*":approvals", "enter")
        await d.at("ApprovalsScreen")
        await d.sees("a3")
        await d.sees("waiting")
        await d.press("enter")
        await d.at("RequestScreen")
        await d.sees("deploy sudoku 1.2.0")
        await d.sees("wu@jump-1 asks")
        assert ("approve", {"id": "a3", "digest": "d1"}) not in d.session.called
        await d.press("x")
        await until(lambda: ("approve", {"id": "a3", "digest": "d1"}) in d.session.called)
        await d.at("ActionScreen")


async def test_nobody_approves_their_own_request() -> None:
    session = asked()
    session._who = msgspec.structs.replace(session.who, uid=ROW.uid, author="somebody-else@here")
    async with driven(session=session) as d:
        await d.press(*":approvals", "enter")
        await d.at("ApprovalsScreen")
        await d.press("enter")
        await d.at("RequestScreen")
        await d.sees("deploy sudoku 1.2.0")
        await d.press("x")
        await d.sees("somebody else must approve it")
        assert not [op for op, _ in d.session.called if op == "approve"]


async def test_a_request_whose_plan_changed_cannot_be_approved() -> None:
    async with driven(session=asked(same=False)) as d:
        await d.press(*":approvals a3", "enter")
        await d.at("ApprovalsScreen")
        await d.press("enter")
        await d.sees("cannot be approved any more")
        await d.at("ApprovalsScreen")


async def test_a_request_is_refused_with_a_word() -> None:
    async with driven(session=asked()) as d:
        await d.press(*":approvals", "enter")
        await d.at("ApprovalsScreen")
        await d.press("d")
        await d.press(*"too late", "enter")
        await until(lambda: ("refuse", {"id": "a3", "reason": "too late"}) in d.session.called)
        await d.sees("refused: no")


async def test_the_one_who_asked_is_told() -> None:
    session = asked()
    async with driven(LARGE, session) as d:
        await d.press(*":approvals a3", "enter")
        await d.at("ApprovalsScreen")
        done = msgspec.structs.replace(ROW, state="approved", by="li@jump-1", action="#120")
        session.push(requests={"a3": done})
        await d.sees("approved by li@jump-1: it is #120")


async def test_read_only_approves_nothing() -> None:
    session = asked()
    session._who = msgspec.structs.replace(session.who, read_only="you asked for --read-only")
    async with driven(session=session) as d:
        await d.press(*":approvals", "enter")
        await d.at("ApprovalsScreen")
        await d.press("d")
        await d.sees("refuse is off")
        await d.press("enter")
        await d.at("RequestScreen")
        await d.press("x")
        await d.settled()
        assert not [op for op, _ in d.session.called if op in ("approve", "refuse")]


async def test_a_denied_plan_says_so_and_the_glass_asks_for_a_reason() -> None:
    session = CannedSession()
    guarded(session, DENIED)
    async with driven(LARGE, session) as d:
        await d.press(*":restart web/0", "enter")
        await d.at("PlanScreen")
        await d.sees('denied by guard "night" (guard 1 of 2): nobody is there')
        await d.press("x")
        await d.at("AskScreen")
        assert not session.submitted
        await d.press(*"site down", "enter")
        await d.sees("is broken (site down)")
        await d.press("x")
        await until(lambda: bool(session.submitted))
        assert session.submitted[0][0].params["break_glass"] == "site down"


async def test_without_glass_a_denied_plan_cannot_be_sent() -> None:
    session = CannedSession()
    guarded(session, msgspec.structs.replace(DENIED, break_glass=False))
    async with driven(session=session) as d:
        await d.press(*":restart web/0", "enter")
        await d.sees("denied by guard")
        await d.press("x")
        await d.settled()
        assert not session.submitted and d.name == "PlanScreen"


async def test_what_waits_for_a_second_person_leads_to_its_row() -> None:
    session = asked()
    guarded(session, msgspec.structs.replace(DENIED, effect=APPROVE))
    plain = session.submit

    async def submit(intent: Intent, **more: Any) -> Any:
        row = await plain(intent, **more)
        return msgspec.structs.replace(row, id="a3", state="asked", note="cockpit approve a3")

    session.submit = submit  # type: ignore[method-assign]
    async with driven(LARGE, session) as d:
        await d.press(*":restart web/0", "enter")
        await d.sees("asks for a second person")
        await d.press("x")
        await d.at("ApprovalsScreen")
        await d.sees("cockpit approve a3")


def test_guards_in_words() -> None:
    old = [{"name": "a", "effect": "deny", "reason": "r"}, {"name": "b", "effect": "approve", "reason": "r"}]
    new = [{"name": "b", "effect": "confirm", "reason": "r"}, {"name": "c", "reason": "few"}]
    words = describe([Change(path=("guards",), old=old, new=new)], str)
    assert words == ["guard a removed (deny)", "guard b changed: effect", "guard c added (allow: few)"]
    turned = describe([Change(path=("guards",), old=old, new=old[::-1])], str)
    assert turned == ["guards are asked in another order: b, a"]


# editing

SOURCE = """\
cockpit: 1
name: puzzle
regions: {sh: }
hosts:
  sh-1: {region: sh, address: 127.0.0.1}
tree:
  puzzle:
    children:
      # the front
      web:
        version: 1.0.0   # pinned
        command: [serve]
"""


class Editor:
    """In the place of a terminal: each call takes the next change."""

    def __init__(self, *changes: Any) -> None:
        self.changes = list(changes)
        self.shown: list[str] = []

    def __call__(self, screen: Any, draft: Any, argv: list[str], text: str) -> str:
        self.shown.append(text)
        change = self.changes.pop(0)
        if isinstance(change, Exception):
            raise change
        return str(change(text))


def keeping(text: str) -> str:
    return text


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CannedSession:
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = CannedSession()
    made.answers["source"] = {"text": SOURCE, "revision": 42, "by": "li@jump-1, #118"}
    return made


def opens(monkeypatch: pytest.MonkeyPatch, *changes: Any) -> Editor:
    editor = Editor(*changes)
    monkeypatch.setattr(editing, "show", editor)
    return editor


async def at_web(d: Driver) -> None:
    await to(d, "puzzle.web")


def kept(tmp_path: Path) -> list[str]:
    return [p.read_text() for p in sorted(tmp_path.rglob("*.yaml"))]


async def test_an_edit_is_linted_then_planned_then_sent(
    monkeypatch: pytest.MonkeyPatch, session: CannedSession, tmp_path: Path
) -> None:
    editor = opens(
        monkeypatch, lambda t: t.replace("version: 1.0.0", "verson: 1.1.0"), lambda t: t.replace("verson", "version")
    )
    async with driven(LARGE, session) as d:
        await at_web(d)
        await d.press("E")
        await d.at("EditPlanScreen")
        first, second = editor.shown
        assert "# the front\nweb:\n  version: 1.0.0   # pinned\n" in first
        assert 'unknown key "verson"' in second and '(did you mean "version"?)' in second
        (said,) = [line for line in second.splitlines() if "unknown key" in line]
        line = int(said.partition("line ")[2].partition(",")[0])
        assert "verson" in second.splitlines()[line - 1], "the line is counted as the editor counts it"
        await d.press("x")
        await until(lambda: bool(session.submitted))
        intent = session.submitted[0][0]
        assert intent.verb == "apply" and intent.params["base"] == 42
        assert intent.params["document"]["services"]["puzzle.web"]["version"] == "1.1.0"
        assert "# pinned" in intent.params["text"] and kept(tmp_path) == []


@pytest.mark.parametrize(("way", "first"), [
    (("puzzle",), "puzzle:\n  children:"),
    ((":node web/0",), "# the front\nweb:"),
    ((":instances web",), "# the front\nweb:"),
    ((":instances web zzz",), "# the front\nweb:"),
    ((":instances sh-1 zzz",), "sh-1: {region"),
    ((":host sh-1",), "sh-1: {region"),
    ((":host sh-1", "down", "down"), "sh-1: {region"),
    ((":explain web/0",), "# the front\nweb:"),
    ((":life web/0",), "# the front\nweb:"),
    ((":matrix", "home"), "sh: "),
])  # fmt: skip
async def test_an_edit_is_of_what_the_screen_is_about(
    monkeypatch: pytest.MonkeyPatch, session: CannedSession, way: tuple[str, ...], first: str
) -> None:
    editor = opens(monkeypatch, keeping)
    async with driven(LARGE, session) as d:
        if way[0].startswith(":"):
            await d.type(way[0])
            await d.press("enter", *way[1:])
        else:
            await to(d, way[0])
        if way[0] == ":matrix":
            screen: Any = d.app.screen
            screen.matrix.go(next(n for n, r in enumerate(screen.matrix.rows) if r.key == "\0sh"))
        await d.settled()
        await d.press("E")
        await until(lambda: editor.shown, "the editor")
        lines = [line for line in editor.shown[0].splitlines() if not line.startswith("#:")]
        assert first in "\n".join(lines), editor.shown[0]
        assert ("web:" in editor.shown[0]) == ("web:" in first or "puzzle:" in first)


async def test_an_edit_of_many_instances_of_one_service_is_of_the_service(
    monkeypatch: pytest.MonkeyPatch, session: CannedSession
) -> None:
    editor = opens(monkeypatch, keeping)
    async with driven(LARGE, session) as d:
        await d.type(":instances web")
        await d.press("enter")
        await d.sees("SERVICE web")
        await d.press("space", "space", "E")
        await until(lambda: editor.shown, "the editor")
        assert "# the front\nweb:" in editor.shown[0]


async def test_an_edit_left_alone_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, session: CannedSession, tmp_path: Path
) -> None:
    opens(monkeypatch, keeping, lambda t: "", lambda t: t.replace("web:", "web"), keeping, Refused("exit 1"))
    async with driven(LARGE, session) as d:
        await at_web(d)
        for words in ("nothing was changed", "nothing was changed", "What you typed is kept in", "exit 1"):
            await d.press("E")
            await d.sees(words)
        assert not session.planned and [("web\n" in t) for t in kept(tmp_path)] == [True]


async def test_an_edit_is_refused_before_the_editor_opens(
    monkeypatch: pytest.MonkeyPatch, session: CannedSession
) -> None:
    editor = opens(monkeypatch)
    session._who = msgspec.structs.replace(session.who, read_only="you asked for --read-only")
    async with driven(LARGE, session) as d:
        await at_web(d)
        await d.press("E")
        await d.sees("edit is off: you asked for --read-only")
        assert editor.shown == [] and session.called == []


async def test_without_a_terminal_it_says_why(session: CannedSession) -> None:
    """The driver of tests has none, like that of a browser."""
    async with driven(LARGE, session) as d:
        await at_web(d)
        await d.press("E")
        await d.sees("needs a terminal of its own")


async def test_an_edit_goes_onto_the_head_that_moved(
    monkeypatch: pytest.MonkeyPatch, session: CannedSession, tmp_path: Path
) -> None:
    editor = opens(monkeypatch, lambda t: t.replace("1.0.0", "1.1.0"), keeping)
    async with driven(LARGE, session) as d:
        await at_web(d)
        await d.press("E")
        await d.at("EditPlanScreen")
        moved = SOURCE.replace("[serve]", "[serve, --fast]")
        session.answers["source"] = {"text": moved, "revision": 43, "by": "wu@jump-1, #119"}
        session.fail = Refused("what is expected has moved from revision 42 to 43 by wu@jump-1 (#119)")
        await d.press("x")
        await d.sees("E edits again")
        session.fail = None
        await d.press("E")
        await until(lambda: len(session.planned) > 2)
        assert "Revision 43 came meanwhile" in editor.shown[-1] and "--fast" in editor.shown[-1]
        await d.press("x")
        await until(lambda: len(session.submitted) > 1)
        web = session.submitted[-1][0].params["document"]["services"]["puzzle.web"]
        assert (web["version"], web["processes"]["main"]) == ("1.1.0", ["serve", "--fast"])


async def test_an_edit_that_clashes_is_kept(
    monkeypatch: pytest.MonkeyPatch, session: CannedSession, tmp_path: Path
) -> None:
    opens(monkeypatch, lambda t: t.replace("1.0.0", "1.1.0"))
    async with driven(LARGE, session) as d:
        await at_web(d)
        await d.press("E")
        await d.at("EditPlanScreen")
        session.answers["source"] = {"text": SOURCE.replace("1.0.0", "2.0.0"), "revision": 43, "by": "wu@jump-1"}
        await d.press("E")
        await d.sees("changed the same")
        assert ["1.1.0" in t for t in kept(tmp_path)] == [True]
        await d.press("escape")
        await d.at("OverviewScreen")
        assert len(kept(tmp_path)) == 1


async def test_leaving_the_plan_keeps_the_text(
    monkeypatch: pytest.MonkeyPatch, session: CannedSession, tmp_path: Path
) -> None:
    opens(monkeypatch, lambda t: t.replace("1.0.0", "1.1.0"))
    async with driven(LARGE, session) as d:
        await at_web(d)
        await d.press("E")
        await d.at("EditPlanScreen")
        await d.press("escape")
        await d.sees("What you typed is kept in")
        assert ["1.1.0" in t for t in kept(tmp_path)] == [True] and not session.submitted


def test_every_kind_of_piece_is_known() -> None:
    assert piece.find(SOURCE, "sh-1", piece.HOST).text.startswith("sh-1: {")
    with pytest.raises(Bad, match="did you mean"):
        piece.find(SOURCE, "wbe")
