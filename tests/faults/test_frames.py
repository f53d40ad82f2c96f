"""Frames that come twice, late, in another order, or cut short: at every protocol machine, without sockets."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.agent.keeper import wire
from cockpit.agent.tasks import CommandError, Tasks
from cockpit.link import trunk_frames as t
from cockpit.link.messages import decode
from cockpit.naming.client import Names, Unresolved
from cockpit.relay.switch import Refused
from tests.relay.hand import agent, drain, enc, switch, unit, up, welcome

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
MANY = settings(max_examples=150)


def cut(data: bytes, at: float) -> bytes:
    return data[: int(len(data) * at)]


# the keeper's socket


@MANY
@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), min_size=1, max_size=8), st.floats(0, 1),
       st.integers(0, 2**32))  # fmt: skip
def test_the_keeper_reads_every_whole_line_and_no_half(docs: list[dict[str, Any]], at: float, seed: int) -> None:
    chance = random.Random(seed)
    lines = [wire.encode(d) for d in docs]
    lines += chance.choices(lines, k=2)  # some twice
    chance.shuffle(lines)
    data = b"".join(lines)
    sent = cut(data, at)
    cutter, got = wire.Lines(4096), []
    while sent:
        n = chance.randrange(1, 200)
        got += cutter.feed(sent[:n])
        sent = sent[n:]
    assert [line + b"\n" for line in got] == lines[: len(got)]
    assert [wire.decode(line) for line in got] == [json.loads(line) for line in got]


@MANY
@given(st.binary(max_size=300) | JSON.map(lambda v: json.dumps(v).encode()))
def test_whatever_the_keeper_is_told_is_a_request_or_refused(line: bytes) -> None:
    try:
        doc = wire.decode(line)
    except wire.Reject as e:
        assert e.code == "bad" and e.text
        return
    assert isinstance(doc, dict)
    reads = (lambda: wire.text(doc, "op"), lambda: wire.number(doc, "seq"), lambda: wire.strings(doc.get("x"), "x"))
    for ask in reads:
        try:
            ask()
        except wire.Reject as e:
            assert e.code == "bad"


# the hub's decoder


@MANY
@given(st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()), st.floats(0, 1))
def test_what_is_no_frame_raises_one_kind_of_error(data: bytes, at: float) -> None:
    whole = enc(t="unit", unit={"unit": "a/0:1", "instance": "a/0", "gen": 1})
    for read in (decode, t.decode_up, t.decode_down):
        for text in (data, cut(whole, at * 0.99), cut(data, at)):
            try:
                read(text)
            except msgspec.DecodeError:
                pass


# the agent's table of tasks

COMMANDS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["take", "take", "take", "end", "handover", "cut"]), st.booleans()),
    max_size=40,
)


@MANY
@given(COMMANDS)
def test_a_task_is_done_once_and_always_answered_the_same(moves: list[tuple[int, str, bool]]) -> None:
    asyncio.run(_tasks(moves))


async def _tasks(moves: list[tuple[int, str, bool]]) -> None:
    done: list[str] = []
    open_: dict[str, asyncio.Event] = {}
    sent: list[dict[str, Any]] = []

    async def work(args: Any, progress: Any) -> dict[str, Any]:
        done.append(args["what"])
        await open_.setdefault(args["what"], asyncio.Event()).wait()
        if args["fails"]:
            raise CommandError("bad", f"no {args['what']}")
        return {"n": len(done)}

    def made() -> Tasks:
        return Tasks("uuid", {"work": work}, sent.append)

    tasks, before = made(), []
    asked: dict[str, dict[str, Any]] = {}
    for n, move, fails in moves:
        id = f"t{n}"
        if move == "take":
            frame = asked.setdefault(id, {"task": id, "uuid": "uuid", "word": "work",
                                          "args": {"what": id, "fails": fails, "unit": f"u{n % 2}"}})  # fmt: skip
            tasks.take(dict(frame))
        elif move == "end" and id in asked:
            open_.setdefault(id, asyncio.Event()).set()
        elif move == "cut":
            tasks.take({"task": id[:0], "uuid": "uuid", "word": "work", "args": None})
            tasks.take({"uuid": "uuid"})
        elif move == "handover" and not tasks.elsewhere():  # the next agent of this host takes over
            old, tasks = tasks, made()
            tasks.adopt(**old.handed())
            old.answered = lambda answer, to=tasks: to.adopt([answer], {})  # type: ignore[misc]
            before.append(old)
        for _ in range(3):
            await asyncio.sleep(0)
    for id in asked:
        open_.setdefault(id, asyncio.Event()).set()
    for _ in range(60):
        await asyncio.sleep(0)
    for frame in asked.values():  # and once more, long after
        tasks.take(dict(frame))
    for _ in range(60):
        await asyncio.sleep(0)
    assert sorted(done) == sorted(asked), "each is done once"
    answers: dict[str, list[Any]] = {}
    for frame in sent:
        answers.setdefault(frame["task"], []).append(frame)
    assert set(answers) == set(asked)
    assert all(all(a == found[0] for a in found) for found in answers.values())
    for one in [tasks, *before]:
        await one.stop()


# programs' names


def endpoint(port: int) -> dict[str, Any]:
    return {"address": "127.0.0.1", "port": port, "name": "http", "state": "ready", "instance": f"a.web/{port}"}


@MANY
@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 2**32), JSON)
def test_a_program_knows_the_last_that_was_pushed(ports: list[int], seed: int, noise: Any) -> None:
    chance = random.Random(seed)
    with Names("", "") as names:  # it has a thread
        names._asked = {1: ("resolve", "web"), 2: ("watch", "web")}
        pushed = [{"watch": 2, "version": n, "services": {"a.web": [endpoint(p)]}} for n, p in enumerate(ports, 1)]
        for message in pushed:
            names._take(message)
            for other in (noise, {"id": 99, "ok": True}, {"watch": 77, "services": {}}, message,
                          {"watch": 2, "services": noise}):  # fmt: skip
                if chance.random() < 0.3:
                    try:
                        names._take(other)
                    except (ValueError, TypeError) as e:
                        assert type(e) is ValueError, f"{other}: {e!r}"
                    names._asked.setdefault(2, ("watch", "web"))
        names._take(pushed[-1])
        assert [e["port"] for e in names.resolve("web")] == [ports[-1]]
    with Names("", "") as unknown, pytest.raises(Unresolved, match="web"):
        unknown.resolve("web")


# a relay's switch, between agents and upstream

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["unit", "unit", "gone", "event", "event", "ack", "result", "again", "late", "lost", "back",
                         "full", "rubbish", "below"]),
        st.integers(0, 3),
    ),
    max_size=50,
)  # fmt: skip


@MANY
@given(STEPS, st.floats(0, 0.99))
def test_a_relay_tells_all_that_its_agents_told_and_nothing_else(steps: list[tuple[str, int]], at: float) -> None:
    """Its upstream is lost and comes back at will; afterwards the composed full set and the events are what the
    agent said last, whatever came twice or late from above."""
    made = switch()
    welcome(made)
    found, line = agent(made)
    made.heard(found, enc(t="full", units=[]), 0.0)
    units: dict[str, dict[str, Any]] = {}
    events: dict[int, dict[str, Any]] = {}
    results: list[str] = []
    above: list[bytes] = []
    commands: list[str] = []
    seq = now = 0
    for step, n in steps:
        now += 1
        name = f"w/{n}:1"
        if step == "unit":
            units[name] = unit(name, n=now)
            made.heard(found, enc(t="unit", unit=units[name]), now)
        elif step == "gone":
            units.pop(name, None)
            made.heard(found, enc(t="gone", unit=name), now)
        elif step == "event":
            seq += 1
            events[seq] = {"t": "event", "seq": seq, "event": {"event": "exit", "seq": seq}}
            made.heard(found, enc(**events[seq]), now)
        elif step == "again" and events:  # sent once more, as after a reconnect
            made.heard(found, enc(**events[max(events)]), now)
        elif step == "result":
            task = f"t{len(results)}"
            results.append(task)
            made.heard(found, enc(t="result", task=task, ok=True), now)
        elif step == "full":
            made.heard(found, enc(t="full", units=list(units.values())), now)
        elif step == "lost":
            made.upstream_lost()
        elif step == "back":
            welcome(made)
        elif step in ("ack", "below", "late") and made.up:
            if step == "ack" and events:
                last = min(events)
                above.append(enc(t="to", sid=found.sid, frame={"t": "ack", "seq": last}))
                del events[last]
            elif step == "below":
                command = {"t": "cmd", "task": f"c{now}", "word": "tail", "args": {}}
                above.append(enc(t="to", sid=found.sid, frame=command))
                commands.append(f"c{now}")
            elif above:  # what came before comes again
                again = above[n % len(above)]
                if b'"cmd"' in again:
                    commands.append(json.loads(again)["frame"]["task"])
                made.from_above(again, now)
                continue
            if above:
                made.from_above(above[-1], now)
                if step == "ack" and not events and b'"cmd"' in above[-1]:
                    commands.append(json.loads(above[-1])["frame"]["task"])
        elif step == "rubbish":
            whole = enc(t="to", sid=found.sid, frame={"t": "cmd", "task": "x", "word": "end", "args": {}})
            try:
                made.from_above(cut(whole, at), now)
            except (msgspec.DecodeError, Refused):
                pass
    assert not line.why
    made.upstream_lost()
    drain(made)
    welcome(made)
    told = [f for sid, f in up(drain(made)) if sid == found.sid]
    fulls = [f for f in told if f["t"] == "full"]
    assert len(fulls) == 1 and told[0] is fulls[0], "the full set first"
    assert {u["unit"]: u for u in fulls[0]["units"]} == units
    unacked = [f["seq"] for f in told if f["t"] == "event"]
    assert unacked == sorted(events), "every event that nobody acknowledged, in order, once"
    given_ = [f["task"] for f in line.got if f["t"] == "cmd" and not f["task"].startswith("r:")]
    assert [c for c in given_ if c.startswith("c")] == commands, "nothing invented, nothing swallowed"
    assert not any(f.get("task") == "x" for f in line.got)
