"""What screens decide without a terminal: the board, the aim of a verb, commands, the summary, plain text, looks."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.act.table import VERBS
from cockpit.explain.causes import FEW
from cockpit.model.view import MARKS, AlertRow, Delta, DriftRow, NodeRow
from cockpit.plan.steps import Intent
from screens.aim import ACTION, ARTIFACT, HOST, INSTANCE, NODE, NOTHING, Aim, targets, why_not
from screens.board import Board
from screens.command import Do, Go, command_of, completions, help_for, parse
from screens.format import cells
from screens.look import Look
from screens.plain import overview_text
from screens.rows import action_mark, heard
from screens.summary import needs, running_items
from tests.screens.canned import NOW, rows, snapshot
from tests.screens.puzzle import relay_lost


def board(**tables: Any) -> Board:
    made = Board(lambda: NOW)
    made.load(msgspec.structs.replace(snapshot(), **tables))
    return made


# the board


def test_names_shape_and_users_follow_the_deltas() -> None:
    b = board()
    assert b.short("puzzle.sudoku/3") == "sudoku/3" and b.full("sudoku/3") == "puzzle.sudoku/3"
    assert b.children("") == ["puzzle"] and b.children("puzzle") == ["puzzle.batch", "puzzle.sudoku", "puzzle.web"]
    assert b.slots("puzzle.web") == ["puzzle.web/0", "puzzle.web/1"]
    assert b.users("puzzle.sudoku") == ["puzzle.batch", "puzzle.web"]
    b.apply(
        Delta(
            head=snapshot().head,
            nodes={
                "other": NodeRow(path="other", kind="group"),
                "other.web": NodeRow(path="other.web", kind="service"),
            },
        )
    )
    assert b.short("puzzle.web/0") == "puzzle.web/0", "no longer unique"
    assert b.full("web") == "web", "not guessed"
    b.apply(Delta(head=snapshot().head, instances={"puzzle.web/1": None}))
    assert b.slots("puzzle.web") == ["puzzle.web/0"]


def test_time_stands_still_while_nobody_answers() -> None:
    now = [1000.0]
    b = Board(lambda: now[0])
    b.load(snapshot())
    assert b.now == NOW
    now[0] = 1010
    assert b.now == NOW + 10
    b.lose("reset")
    now[0] = 1044
    b.lose("still")
    assert (b.now, b.lost, b.stale_for) == (NOW + 10, 1010, 44)
    b.apply(Delta(head=msgspec.structs.replace(snapshot().head, now=NOW + 50)))
    assert b.lost is None and b.now == NOW + 50


@given(st.lists(st.tuples(st.sampled_from(sorted(rows())), st.sampled_from([*MARKS, None])), max_size=20))
def test_counts_by_mark_stay_true_through_deltas(changes: list[tuple[str, str | None]]) -> None:
    b = board()
    for key, mark in changes:
        row = None if mark is None else msgspec.structs.replace(rows()[key], mark=mark)
        b.apply(Delta(head=snapshot().head, instances={key: row}))
    marks = [row.mark for row in b.instances.values() if row.mark != "ok"]
    assert b.counts() == {mark: marks.count(mark) for mark in set(marks)}


# verbs


@pytest.mark.parametrize(
    ("verb", "aim", "said"),
    [
        ("deploy", Aim(NODE, ("puzzle",)), "puzzle is a cluster"),
        ("deploy", Aim(NODE, ("puzzle.web",)), ""),
        ("deploy", Aim(INSTANCE, ("puzzle.web/0", "puzzle.web/1")), ""),
        ("deploy", Aim(INSTANCE, ("puzzle.web/0", "puzzle.batch/1")), "belong to 2"),
        ("deploy", Aim(HOST, ("sh-1",)), "this is a host"),
        ("deploy", NOTHING, "nothing under the cursor"),
        ("migrate", Aim(INSTANCE, ("puzzle.web/0", "puzzle.web/1")), "one instance at a time"),
        ("restart", Aim(INSTANCE, ("puzzle.web/0", "puzzle.web/1")), ""),
        ("restart", Aim(HOST, ("sh-1",)), "this is a host"),
        ("start", Aim(HOST, ("sh-1",)), "is in service already"),
        ("start", Aim(HOST, ("sh-9",)), ""),
        ("drain", Aim(HOST, ("sh-1", "sh-2")), "one host at a time"),
        ("pause", Aim(ACTION, ("#118",)), ""),
        ("resume", Aim(ACTION, ("#118",)), "is running"),
        ("abort", Aim(ACTION, ("#117",)), "has ended (done)"),
        ("rollback", Aim(ACTION, ("#117",)), ""),
        ("rollback", Aim(ACTION, ("#118",)), "has not ended (running)"),
        ("rollback", Aim(ACTION, ("#8",)), "changed nothing that is expected"),
        ("rollback", Aim(ACTION, ("#9",)), "has returned to what was before already, by #10"),
        ("converge", NOTHING, ""),
        ("push", NOTHING, ""),
    ],
)
def test_why_a_verb_does_not_work_here(verb: str, aim: Aim, said: str) -> None:
    row = snapshot().actions["#117"]
    more = {
        "#8": msgspec.structs.replace(row, id="#8", verb="restart", revision=None),
        "#9": msgspec.structs.replace(row, id="#9", state="returned"),
        "#10": msgspec.structs.replace(row, id="#10", verb="rollback", cause="#9"),
    }
    why = why_not(VERBS[verb], aim, board(actions={**snapshot().actions, **more}), "")
    assert (said in why) if said else why == ""


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda v: v.name)
def test_read_only_refuses_every_verb_on_every_row(verb: Any) -> None:
    for aim in (
        NOTHING,
        Aim(NODE, ("puzzle.web",)),
        Aim(INSTANCE, ("puzzle.web/0",)),
        Aim(HOST, ("sh-1",)),
        Aim(ACTION, ("#118",)),
    ):
        assert why_not(verb, aim, board(), "because") == f"{verb.name} is off: because"


def test_an_action_that_returns_is_left_to_its_return() -> None:
    first = snapshot().actions["#118"]
    row = msgspec.structs.replace(first, state="returning")
    b = board(actions={"#118": row, "#119": msgspec.structs.replace(first, id="#119", cause="#118")})
    for verb in ("pause", "resume", "abort"):
        why = why_not(VERBS[verb], Aim(ACTION, ("#118",)), b, "")
        assert why == f"{verb}: #118 has ended and is returning by #119"
    assert action_mark(row) == "changing"
    items = running_items(b, Look(), 60)
    assert any("returning" in text for item in items for text, _ in item.pieces)


def test_what_an_interrupted_action_left_behind_is_told_with_it() -> None:
    first = snapshot()
    row = msgspec.structs.replace(first.actions["#118"], state="interrupted", note="the controller ended")
    waits = [i for i, r in first.instances.items() if r.word == "waits"]
    behind = {i: msgspec.structs.replace(first.instances[i], mark="drift", word="wrong version") for i in waits}
    other = DriftRow(kind="wrong version", target="", expected="1.2.0", actual="1.1.0", action="")
    drift = {f"wrong version|{i}": msgspec.structs.replace(other, target=i) for i in waits}
    found = needs(board(actions={"#118": row}, instances=first.instances | behind, drift=drift))
    assert [n.aim.ids[0] for n in found] == ["#118", "puzzle.sudoku/3"]
    assert found[0].reason == "the controller ended; 3 instances differ until then"
    assert found[0].verbs == ("resume", "abort")


@pytest.mark.parametrize(
    ("presence", "seen", "words"),
    [("up", NOW - 300, "live"), ("draining", NOW - 300, "live"), ("maintenance", None, "live"),
     ("suspect", NOW - 9, "9s"), ("unknown", NOW - 300, "5m"), ("down", None, "")],
)
def test_a_present_host_is_live_however_old_its_last_change(presence: str, seen: float | None, words: str) -> None:
    b = board()
    row = msgspec.structs.replace(b.hosts["sh-1"], presence=presence, seen=seen)
    assert heard(row, b) == words
    b.lose("gone")
    assert heard(row, b) != "live"


def test_a_verb_for_services_takes_the_service_of_an_instance() -> None:
    assert targets(VERBS["deploy"], Aim(INSTANCE, ("puzzle.web/0", "puzzle.web/1")), board()) == ("puzzle.web",)
    assert targets(VERBS["restart"], Aim(INSTANCE, ("puzzle.web/0",)), board()) == ("puzzle.web/0",)


# commands


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("hosts", Go(("hosts",))),
        ("inst web", Go(("instances", "puzzle.web"))),
        (
            "deploy sudoku 1.1.0",
            Do("deploy", Aim(NODE, ("puzzle.sudoku",)), ("puzzle.sudoku",), {"version": "1.1.0"}),
        ),
        ("scale web 6", Do("scale", Aim(NODE, ("puzzle.web",)), ("puzzle.web",), {"count": 6})),
        (
            "restart web/0 web/1",
            Do("restart", Aim(INSTANCE, ("puzzle.web/0", "puzzle.web/1")), ("puzzle.web/0", "puzzle.web/1"), {}),
        ),
        ("migrate web/1 bj-2", Do("migrate", Aim(INSTANCE, ("puzzle.web/1",)), ("puzzle.web/1",), {"host": "bj-2"})),
        ("push sudoku/1.1.0", Do("push", Aim(ARTIFACT, ("sudoku/1.1.0",)), ("sudoku/1.1.0",), {})),
        (
            "push sudoku/1.1.0 --hosts sh-1,sh-2",
            Do("push", Aim(ARTIFACT, ("sudoku/1.1.0",)), ("sudoku/1.1.0",), {"hosts": ["sh-1", "sh-2"]}),
        ),
        ("pause 118 --after s3", Do("pause", Aim(ACTION, ("#118",)), ("#118",), {"after": "s3"})),
        ("pause 118", Do("pause", Aim(ACTION, ("#118",)), ("#118",), {})),
        ("rollback '#117'", Do("rollback", Aim(ACTION, ("#117",)), (), {"action": "#117"})),
        ("abort 118 --undo", Do("abort", Aim(ACTION, ("#118",)), ("#118",), {"undo": True})),
        (
            "upgrade sh-1 sh-2 1.2.0",
            Do("upgrade", Aim(HOST, ("sh-1", "sh-2")), ("sh-1", "sh-2"), {"version": "1.2.0"}),
        ),
        ("upgrade 1.2.0 --keeper", Do("upgrade", Aim(), (), {"version": "1.2.0", "keeper": True})),
        ("signal HUP web/0", Do("signal", Aim(INSTANCE, ("puzzle.web/0",)), ("puzzle.web/0",), {"signal": "HUP"})),
        ("signal sigterm web", Do("signal", Aim(NODE, ("puzzle.web",)), ("puzzle.web",), {"signal": "sigterm"})),
        (
            "signal USR1 web/0 web/1 --all",
            Do("signal", Aim(INSTANCE, ("puzzle.web/0", "puzzle.web/1")), ("puzzle.web/0", "puzzle.web/1"),
               {"signal": "USR1", "all": True}),
        ),
        ("signal web/0", Do("signal", Aim(INSTANCE, ("puzzle.web/0",)), ("puzzle.web/0",), {})),
        ("signal web", Do("signal", Aim(NODE, ("puzzle.web",)), ("puzzle.web",), {})),
        ("signal hup", Do("signal", NOTHING, (), {"signal": "hup"})),
        ("signal HPU web", Do("signal", Aim(NODE, ("puzzle.web",)), ("puzzle.web",), {"signal": "HPU"})),
        ("signal", Do("signal", NOTHING, (), {})),
        ("stop batch --confirm batch", Do("stop", Aim(NODE, ("puzzle.batch",)), ("puzzle.batch",), {})),
    ],
)
def test_parse(text: str, asked: Go | Do) -> None:
    assert parse(text, board(), NOTHING) == asked


@pytest.mark.parametrize(
    ("text", "said"),
    [("frobnicate", "no screen and no verb"), ("pods", "no verb 'pods'; `instances` lists"),
     ("svc", "`overview`"),
     ("diff 14:00 14:05", "`between 14:00 14:05`"), ("bundle", "cockpit bundle"),
     ("scale web x", "is a number"), ("push sudoku", "name/version"),
     ("restart web sh-1", "not a mix"), ("deploy web 1 2", "what is '2'"), ("restart 'x", "No closing quotation"),
     ("push s/1 sh-1", "--hosts a,b"), ("pause 118 s3", "what is 's3'"),
     ("apply f.yaml", "reads a file"),
        ("stop batch --force", "has no --force")],
)
def test_what_is_wrong_with_a_command_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(text, board(), NOTHING)


def test_every_completion_parses() -> None:
    b = board()
    for verb in VERBS.values():
        for line in completions(f"{verb.name} ", b):
            parse(line, b, NOTHING)
    assert completions("dep", b) == ["deploy"]
    assert completions("signal h", b) == ["signal HUP"] and "signal HUP web/1" in completions("signal HUP ", b)
    assert "migrate web/1 bj-3" in completions("migrate web/1 ", b)


def test_the_filter_of_an_address_is_completed() -> None:
    b = board()

    def words(text: str) -> list[str]:
        return [line.rpartition(" ")[2] for line in completions(text, b)]

    assert completions("instances web ver", b) == ["instances web version="]
    assert words("instances web version!=") == ["version!=0.9.4", "version!=1.1.0", "version!=1.2.0"]
    assert words("instances host=BJ-") == ["host=bj-1", "host=bj-2", "host=bj-3"]
    assert words("instances label.") == ["label.disk="]
    assert "web" in words("instances ") and "host=" in words("instances ") and "bj-1" in words("instances bj")
    assert words("instances web bj") == [], "one name only"
    assert words("instances web / !st") == ["!state=", "!started="]
    assert "drift" in words("instances dr") and words("instances mark=dri") == ["mark=drift"]
    assert words("hosts region=b") == ["region=bj"] and words("instances restarts>") == []
    assert words("instances nonsense=") == [] and words("node host=") == []
    assert words("overview kind=") == ["kind=cluster", "kind=service"]
    for line in (*completions("instances ", b), *completions("instances version=", b), *completions("hosts p", b)):
        assert isinstance(parse(line, b, NOTHING), Go)


def test_values_of_very_many_rows_are_not_all_looked_at() -> None:
    b = board()
    row = next(iter(b.instances.values()))
    b.instances = {f"x/{n}": msgspec.structs.replace(row, id=f"x/{n}", host=f"h-{n}") for n in range(20_000)}
    assert len(completions("instances host=", b)) == 100
    assert help_for("deploy sud").startswith(VERBS["deploy"].help)


@pytest.mark.parametrize(
    ("intent", "confirm", "line"),
    [
        (Intent(verb="deploy", targets=("sudoku",), params={"version": "1.1.0"}), "", "cockpit deploy sudoku 1.1.0"),
        (Intent(verb="migrate", targets=("web/1",), params={"host": "bj-2"}), "", "cockpit migrate web/1 bj-2"),
        (Intent(verb="scale", targets=("web",), params={"count": 0}), "web", "cockpit scale web 0 --confirm web"),
        (
            Intent(verb="pause", targets=("#118",), params={"after": "s3"}), "",
            "cockpit pause '#118' --after s3",
        ),
        (Intent(verb="stop", targets=("batch",)), "batch", "cockpit stop batch --confirm batch"),
        (
            Intent(verb="signal", targets=("web/0", "web/1"), params={"signal": "KILL", "all": True}), "web/0,web/1",
            "cockpit signal KILL web/0 web/1 --all --confirm web/0,web/1",
        ),
        (
            Intent(verb="abort", targets=("#118",), params={"undo": True}),
            "118",
            "cockpit abort '#118' --undo --confirm 118",
        ),
        (Intent(verb="rollback", params={"action": "#117"}), "", "cockpit rollback --action '#117'"),
        (Intent(verb="push", targets=("s/1",), params={"hosts": ["a", "b"]}), "", "cockpit push s/1 --hosts a,b"),
    ],
)
def test_an_intent_as_a_command(intent: Intent, confirm: str, line: str) -> None:
    assert command_of(intent, confirm) == line


# the summary


def test_much_of_the_same_is_one_line() -> None:
    sick = {
        key: msgspec.structs.replace(row, mark="drift", word="wrong version")
        for key, row in rows().items()
        if row.service == "puzzle.batch"
    }
    found = {
        f"wrong version|{k}": DriftRow(
            kind="wrong version", target=k, expected="2", actual="1", action="converge", since=NOW
        )
        for k in sick
    }
    assert len(sick) > FEW
    told = [n for n in needs(board(instances={**rows(), **sick}, drift=found)) if n.name.startswith("puzzle.batch")]
    assert [(n.name, n.word, n.door) for n in told] == [
        ("puzzle.batch", "6 wrong version", ("instances", "puzzle.batch"))
    ]


def test_what_an_action_is_changing_does_not_need_me() -> None:
    drift = {
        "wrong version|puzzle.sudoku/0": DriftRow(
            kind="wrong version", target="puzzle.sudoku/0", expected="2", actual="1", action=""
        )
    }
    assert [n.name for n in needs(board(drift=drift))] == ["puzzle.sudoku/3"], (
        "the sick one, told without a drift row too"
    )


def test_the_worst_comes_first() -> None:
    failed = msgspec.structs.replace(
        rows()["puzzle.web/0"], mark="failed", word="failed", reason="gave up", since=NOW - 900
    )
    assert [n.name for n in needs(board(instances={**rows(), failed.id: failed}))] == [
        "puzzle.web/0",
        "puzzle.sudoku/3",
    ]


def test_what_fires_and_looks_well_by_now_needs_me_until_somebody_has_it() -> None:
    web = msgspec.structs.replace(rows()["puzzle.web/0"], restarts=5, started=NOW - 12)
    loop = AlertRow(
        id="a1", when="crash-loop", group="puzzle.web", members=("puzzle.web/0",), text="signal 9", since=NOW - 40
    )
    back = msgspec.structs.replace(snapshot().actions["#118"], id="#9", state="returned", ended=NOW - 5)
    bad = AlertRow(id="a2", when="stopped", group="puzzle.sudoku", members=("#9",), text="x", since=NOW - 5)
    ill = msgspec.structs.replace(loop, id="a3", members=("puzzle.sudoku/3",))

    def told(*alerts: AlertRow) -> list[tuple[str, str, str]]:
        acts = {**snapshot().actions, "#9": back}
        made = board(instances={**rows(), web.id: web}, alerts={a.id: a for a in alerts}, actions=acts)
        return [(n.name, n.word, n.reason) for n in needs(made) if n.alert]

    assert told(loop) == [("puzzle.web/0", "crash loop", "signal 9; runs again for 12s, 5 restarts")]
    for state in ("acknowledged", "silenced", "ended"):
        assert told(msgspec.structs.replace(loop, state=state)) == []
    assert told(ill) == [], "what is unwell has its line already"
    assert told(loop, msgspec.structs.replace(loop, id="a4", when="crash")) == told(loop), "told once"
    assert told(bad) == [("#9 deploy sudoku 1.2.0", "returned", "")]


def test_a_host_without_an_answer_is_told_with_its_last_word() -> None:
    hosts = dict(snapshot().hosts)
    hosts["sh-1"] = msgspec.structs.replace(
        hosts["sh-1"], presence="unknown", mark="unknown", reason="cut off", seen=NOW - 45, since=NOW - 8
    )
    found = next(n for n in needs(board(hosts=hosts)) if n.name == "host sh-1")
    assert found.reason.startswith("cut off, last heard 45s ago")


# plain text


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("ascii", [False, True])
def test_plain_text_has_everything_and_keeps_its_width(width: int, ascii: bool) -> None:
    text = overview_text(snapshot(), width, ascii)
    assert all(cells(line) <= width for line in text.splitlines())
    for words in (
        "SERVICE TREE",
        "NEEDS YOU",
        "RUNNING",
        "LATELY",
        "sudoku/3  unhealthy",
        "#118 deploy sudoku 1.2.0",
        "gives up at",
    ):
        assert words in text
    assert text.isascii() == ascii and text.endswith("\n") and "\x1b" not in text
    for row in rows().values():
        assert row.id.removeprefix("puzzle.") in text


def test_plain_text_in_colour_says_the_same() -> None:
    plain, coloured = overview_text(snapshot()), overview_text(snapshot(), colour=True)
    assert "\x1b[33m" in coloured and re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_a_relay_speaks_for_the_hosts_behind_it_and_trouble_is_told() -> None:
    lost = relay_lost()
    found = {n.name: n for n in needs(board(relays=lost.relays, hosts=lost.hosts))}
    assert found["relay relay-bj"].reason == "relay-sh has lost it; 3 hosts behind it"
    assert found["relay relay-bj"].mark == "unknown" and found["relay relay-bj"].door == ("relays",)
    assert not {"host bj-1", "host bj-2", "relay relay-gz", "relay relay-sh"} & found.keys()
    down = msgspec.structs.replace(lost.hosts["bj-1"], presence="down", mark="failed", reason="was shut down")
    ill = msgspec.structs.replace(lost.hosts["sh-1"], trouble=("the certificate ends in 3 days", "x"))
    found = {n.name: n for n in needs(board(relays=lost.relays, hosts={**lost.hosts, "bj-1": down, "sh-1": ill}))}
    assert found["host bj-1"].word == "down", "what is known is not folded into what is not"
    assert found["relay relay-bj"].reason.endswith("2 hosts behind it")
    assert found["host sh-1"].reason == "the certificate ends in 3 days (1 more)"


def test_plain_text_needs_no_textual() -> None:
    code = "import sys, screens.plain; sys.exit(any(m.split('.')[0] in ('textual', 'networkx') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_app_loads_nothing_heavy_before_its_first_paint() -> None:
    heavy = "('networkx', 'asyncssh', 'aiohttp', 'jinja2', 'httpx', 'cryptography', 'textual.widgets._data_table')"
    code = f"import sys, screens.app; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("before", ["enable", "disable"])
def test_the_collector_is_as_it_was_once_the_screens_are_loaded(before: str) -> None:
    code = f"""
import gc, sys
gc.{before}()
was = gc.isenabled()
import screens.app
from screens import opening
same = gc.isenabled() == was
opening.rest()
rests = not gc.isenabled()
opening.work(keep=True)
sys.exit(not (same and rests and gc.isenabled() == was and bool(gc.get_freeze_count()) == was))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
