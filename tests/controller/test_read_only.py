"""Read-only is decided in one place and denies by default: every verb through every face."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.act import guard
from cockpit.act.table import OBSERVE, VERBS, Verb
from cockpit.cli.main import main
from cockpit.controller.core import Controller
from cockpit.controller.serving import here
from cockpit.controller.session import EngineSession
from cockpit.model.topology import digest
from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Intent, Refused
from cockpit.session.client import RemoteSession
from cockpit.session.ops import CHANGING, OBSERVING
from tests.controller.fakes import TOPOLOGY, agent, engine, topology
from tests.helpers import PATIENCE

CHANGES = [v for v in VERBS.values() if v.risk != OBSERVE]
VIEWER = Who(author="eve@jump", role="viewer")
FROZEN = Who(author="li@jump", role="operator", read_only="this is a view-only socket")


def intent(verb: Verb, document: dict[str, Any]) -> Intent:
    """A request that an operator would get through, or be told something else than read-only."""
    targets = {
        "service": "shop.web", "instance": "shop.web/0", "any": "shop.web", "host": "b-1",
        "artifact": "web/1.0.0", "action": "#2", "topology": "", "revision": "1",
    }  # fmt: skip
    values = {"document": document, "int": 3, "bool": True, "host": "a-1", "hosts": ["a-1"]}
    params = {p.name: values.get(p.type, "1.1.0") for p in verb.params if p.required}
    params |= {"signal": "HUP"} if verb.name == "signal" else {}
    target = targets[verb.target]
    return Intent(verb=verb.name, targets=(target,) if target else (), params=params, author="root@here")


def argv(verb: Verb, file: Path) -> list[str]:
    """The same on the command line: the table's own example, confirmed."""
    words = verb.example.replace("'", "").split()[1:]
    if verb.name == "apply":
        words = ["apply", str(file)]
    return words if "--confirm" in words else [*words, "--confirm", "x"]


class Engine:
    """A controller with something to change, and a look at all that may not change."""

    def __init__(self, c: Controller, file: Path) -> None:
        self.c = c
        self.file = file
        self.document = {"name": "still", "hosts": {}}

    def facts(self) -> Any:
        c = self.c
        return (
            c.world.revision, c.world.digest, c.journal.count, c.journal.head, sorted(c.ledger.actions),
            {k: a.row.state for k, a in c.ledger.actions.items()}, sorted(c.artifacts.listing()),
            len(c.joining._tokens), c.ended.is_set(), sorted(c.runner.running), dict(c.world.gens),
        )


@pytest.fixture
async def still(short_dir: Path) -> AsyncIterator[Engine]:
    async with engine(short_dir) as c:
        agents = [await agent(c, short_dir, host) for host in ("a-1", "b-1")]
        session = c.session(here())
        row = await session.submit(Intent(verb="converge"))
        await asyncio.wait_for(c.runner.ended[row.id].wait(), PATIENCE)
        file = short_dir / "topology.yaml"
        file.write_text(TOPOLOGY.replace("1.0.0", "3.0.0"))
        made = Engine(c, file)
        made.document = msgspec.to_builtins(topology(file.read_text()))
        before = made.facts()
        assert before[0] == 1 and before[5] == {"#1": "done", "#2": "done"}
        yield made
        assert made.facts() == before
        for each in agents:
            await each.stop()


def test_every_verb_of_the_table_changes_something() -> None:
    """Looking has ops of its own; if a verb only looks one day, the faces below must be asked anew."""
    assert [v.name for v in CHANGES] == list(VERBS) and len(VERBS) >= 15


@pytest.mark.parametrize("who", [VIEWER, FROZEN, Who(author="", role=""), Who(author="x", role="admin")], ids=repr)
@pytest.mark.parametrize("verb", CHANGES, ids=lambda v: v.name)
def test_guard(verb: Verb, who: Who) -> None:
    assert verb.name in guard.may(who, verb)
    with pytest.raises(Refused, match=verb.name):
        guard.check(Intent(verb=verb.name), who, verb, None, confirm="x")


def test_guard_refuses_what_it_does_not_know() -> None:
    operator = Who(author="li", role="operator")
    with pytest.raises(Refused):
        guard.check(Intent(verb="rm"), operator, None)
    forged = Verb(name="rm", target="host", risk=OBSERVE, help="", example="")
    with pytest.raises(Refused):
        guard.check(Intent(verb="rm"), operator, forged)
    looks_harmless = msgspec.structs.replace(VERBS["stop"], risk=OBSERVE)
    with pytest.raises(Refused):
        guard.check(Intent(verb="stop"), VIEWER, looks_harmless)


@pytest.mark.parametrize("who", [VIEWER, FROZEN], ids=lambda w: w.role)
async def test_session_of_a_viewer(still: Engine, who: Who) -> None:
    session = still.c.session(who)
    for verb in CHANGES:
        with pytest.raises(Refused, match=f"{verb.name} is off"):
            await session.submit(intent(verb, still.document), confirm="x")
    await look_at_everything(session)


async def test_session_that_was_narrowed(still: Engine) -> None:
    """`run --embed --read-only` and `demo --read-only`."""
    session = still.c.session(here()).narrowed("you asked for --read-only")
    assert session.who.author == here().author
    for verb in CHANGES:
        with pytest.raises(Refused, match=f"{verb.name} is off: you asked"):
            await session.submit(intent(verb, still.document), confirm="x")


async def test_view_socket(still: Engine) -> None:
    session = RemoteSession(still.c.state / "view.sock")
    await session.connect()
    try:
        assert session.who.role == "viewer" and session.who.read_only
        for verb in CHANGES:
            with pytest.raises(Refused, match="submit is refused"):
                await session.submit(intent(verb, still.document), confirm="x")
        for op, args in OTHERS.items():
            with pytest.raises(Refused, match=f"{op} is refused"):
                await session.call(op, args)
        await look_at_everything(session)
    finally:
        await session.close()


async def test_control_socket_of_a_read_only_client(still: Engine) -> None:
    session = RemoteSession(still.c.state / "control.sock", read_only="you asked for --read-only")
    await session.connect()
    try:
        assert session.who.read_only
        for verb in CHANGES:
            with pytest.raises(Refused, match=f"{verb.name} is refused: you asked"):
                await session.submit(intent(verb, still.document), confirm="x")
        for op, args in OTHERS.items():
            with pytest.raises(Refused, match=f"{op} is refused: you asked"):
                await session.call(op, args)
    finally:
        await session.close()


OTHERS: dict[str, dict[str, Any]] = {
    "token": {"host": "a-1"}, "artifact_add": {"path": "/etc/hostname", "name": "x", "version": "1"}, "end": {},
    "artifact_collect": {"days": 0, "newest": 0}, "artifact_patch": {"artifact": "x/1"},
    "artifact_sign": {"artifact": "x/1", "signature": {}},
    "artifact_build": {"name": "x", "version": "1", "argv": ["true"]},
    "token_withdraw": {"id": "x"}, "revoke": {"name": "a-1"}, "ssh_answer": {"prompt": "x", "text": "x"},
    "exec": {"argv": ["true"]}, "plugin_push": {"artifact": "x/1"}, "plugin_remove": {"name": "x"},
    "approve": {"id": "a1", "digest": "x"}, "refuse": {"id": "a1"},
    "user_action": {"name": "x", "class": "change"},
    "alert_ack": {}, "alert_silence": {}, "alert_unsilence": {}, "alert_test": {},
    "shell": {"host": "a-1"}, "shell_type": {"shell": "x"}, "shell_took": {"shell": "x", "bytes": 1},
    "shell_resize": {"shell": "x", "rows": 1, "cols": 1}, "shell_end": {"shell": "x"},
    "copy": {"host": "a-1", "path": "/etc/hostname"}, "copy_send": {"copy": "x", "data": ""},
    "copy_took": {"copy": "x", "bytes": 1}, "copy_end": {"copy": "x"},
    "forward": {"instance": "shop.web/0"}, "forward_tell": {"forward": "x", "ev": []},
}


async def test_raw_lines_on_the_view_socket(still: Engine) -> None:
    """Whatever a client claims to be: what is no observing op is refused, known or not."""
    assert {"submit", *OTHERS} == CHANGING and not CHANGING & OBSERVING
    reader, writer = await asyncio.open_unix_connection(str(still.c.state / "view.sock"))
    ops: list[tuple[Any, dict[str, Any]]] = [(op, args) for op, args in OTHERS.items()]
    ops += [(op, {}) for op in ("", "reset", "Submit", "submit ", "__class__", "set_expected", "close", *VERBS)]
    for verb in CHANGES:
        signed = {**msgspec.to_builtins(intent(verb, still.document)), "cause": "#1"}
        ops.append(("submit", {"intent": signed, "confirm": "x", "role": "operator", "who": {"role": "operator"}}))
    for number, (op, args) in enumerate(ops):
        line = {"id": number, "op": op, "args": args, "who": {"role": "operator", "read_only": ""}, "read_only": ""}
        writer.write(json.dumps(line).encode() + b"\n")
    answers: dict[int, dict[str, Any]] = {}
    async with asyncio.timeout(PATIENCE):
        while len(answers) < len(ops):
            answer = json.loads(await reader.readline())
            answers[answer["id"]] = answer
    writer.close()
    for number, (op, _) in enumerate(ops):
        assert (answers[number]["ok"], answers[number]["code"]) == (False, "refused"), op
        assert "view-only socket" in answers[number]["text"]


async def look_at_everything(session: EngineSession | RemoteSession) -> None:
    """Looking goes on in a session that may not change anything, plans included."""
    assert (await session.snapshot()).head.revision == 1
    assert (await session.plan(Intent(verb="scale", targets=("shop.web",), params={"count": 3}))).changes
    assert (await session.action("#2")).row.verb == "converge"
    assert (await session.instance("shop.web/0")).row.state == "RUNNING"
    assert len(await session.revisions()) == 1
    assert await session.artifacts() == {}
    assert await session.artifact_rows() == ()
    with pytest.raises(Bad):
        await session.artifact("x/1")
    assert [line.text async for line in session.logs(["shop.web/0"], follow=False)] == ["first", "second"]


@pytest.mark.parametrize("only_view", [False, True], ids=["--read-only", "only view.sock"])
async def test_command_line(still: Engine, only_view: bool, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state", str(still.c.state)]
    if only_view:
        (still.c.state / "control.sock").rename(still.c.state / "elsewhere")
    for verb in CHANGES:
        words = [*argv(verb, still.file), *state] + ([] if only_view else ["--read-only"])
        assert await asyncio.to_thread(main, words) == 3, words
        assert f"{verb.name} is refused: " in capsys.readouterr().err
    replay = ["replay", str(still.c.state / "journal.jsonl"), "--live", *state]
    commands = [replay] if only_view else [[*replay, "--read-only"]]
    if only_view:
        commands.append(["artifact", "add", str(still.file), "--name", "x", "--version", "1", *state])
        commands.append(["agent", "token", "a-1", *state])
    for words in commands:
        assert await asyncio.to_thread(main, words) == 3, words
        assert "refused" in capsys.readouterr().err
    for words in (["status"], ["plan", "scale", "web", "3"], ["export"], ["artifact", "list"]):
        assert await asyncio.to_thread(main, [*words, *state]) == 0
    if only_view:
        (still.c.state / "elsewhere").rename(still.c.state / "control.sock")


async def test_read_only_holds_when_there_is_no_view_socket(still: Engine) -> None:
    """The promise is the client's own then."""
    (still.c.state / "view.sock").unlink()
    words = ["restart", "web/0", "--read-only", "--state", str(still.c.state)]
    assert await asyncio.to_thread(main, words) == 3


async def test_an_operator_gets_past_the_guard(short_dir: Path) -> None:
    """The refusals above are about the person, not about the requests."""
    async with engine(short_dir) as c:
        agents = [await agent(c, short_dir, host) for host in ("a-1", "b-1")]
        session = RemoteSession(c.state / "control.sock")
        document = msgspec.to_builtins(topology())
        for verb in CHANGES:
            try:
                await session.submit(intent(verb, document), confirm="b-1" if verb.target == "host" else "shop.web")
            except (Bad, Refused) as e:
                assert "read" not in str(e) and "is off" not in str(e)
        assert c.world.revision > 1 and c.journal.count > 2
        await session.close()
        for each in agents:
            await each.stop()


async def test_modes_of_files_and_sockets(still: Engine) -> None:
    state = still.c.state
    await still.c.joining.token("a-1", "")
    still.c.joining._tokens.clear()

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(state) == 0o710  # the group reaches the view socket and lists nothing
    assert mode(state / "control.sock") == 0o600
    assert mode(state / "view.sock") == 0o660
    for path in state.rglob("*"):
        if path.is_dir():
            assert mode(path) == 0o700, path
        elif not path.is_socket():
            assert mode(path) == 0o600, path
    names = {p.name for p in state.rglob("*")}
    assert names >= {"journal.jsonl", "state.db", "state.db-wal", "ca-key.pem", "ca.pem", "controller-key.pem"}


async def test_secrets_of_tokens_are_not_kept(still: Engine) -> None:
    text = await still.c.joining.token("a-1", "")
    still.c.joining._tokens.clear()
    from cockpit.link.pki import parse_token

    secret = parse_token(text).secret.encode()
    for path in still.c.state.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path
    assert digest(still.c.world.doc) == still.c.world.digest
