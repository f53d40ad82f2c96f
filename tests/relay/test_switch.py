"""The relay's tables and its protocol without sockets."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from cockpit.link import trunk_frames as t
from cockpit.relay import spoken as say
from cockpit.relay.switch import Refused, Switch
from cockpit.relay.upward import BATCH, HOLD, LIMIT, Overflow
from tests.relay.hand import Line, agent, drain, enc, switch, unit, up, welcome


def test_an_agent_is_opened_welcomed_and_reports() -> None:
    made = switch()
    welcome(made)
    drain(made)
    found, line = agent(made)
    assert drain(made) == [{
        "t": "open", "sid": found.sid, "host": "h", "uuid": "u-h", "transport": "http2", "path": ["a"],
        "known": False, "hello": {"t": "hello", "host": "h", "uuid": "u-h", "role": "", "more": 1},
    }]  # fmt: skip
    assert line.got == [{"t": "welcome", "region": "sh"}]
    made.heard(found, enc(t="full", units=[unit("w/0:1")], more="x"), 0.0)
    assert drain(made) == [{"t": "up", "frames": [[found.sid, {"t": "full", "units": [unit("w/0:1")], "more": "x"}]]}]
    made.gone(found, "bye")
    assert drain(made) == [{"t": "shut", "sid": found.sid, "why": "bye"}]
    assert made.memory.welcome("h", "u-h") == b'{"t": "welcome", "region": "sh"}'


def test_changes_go_at_once_then_together_and_a_unit_once() -> None:
    made = switch()
    welcome(made)
    found, _ = agent(made)
    made.heard(found, enc(t="full", units=[]), 0.0)
    drain(made)
    made.heard(found, enc(t="unit", unit=unit("w/0:1", n=1)), 20.0)
    assert [f for _, f in up(drain(made, 20.0))] == [{"t": "unit", "unit": unit("w/0:1", n=1)}]
    for n in range(5):
        made.heard(found, enc(t="unit", unit=unit("w/0:1", n=n)), 20.0 + HOLD * (n + 1) / 10)
    made.heard(found, enc(t="names", version=4), 20.0 + HOLD * 0.6)
    assert drain(made, 20.0 + HOLD * 0.7) == [] and made.queue.due() == pytest.approx(20.0 + HOLD)
    frames = [f for _, f in up(drain(made, 20.0 + HOLD * 1.1))]
    assert frames == [{"t": "unit", "unit": unit("w/0:1", n=4)}, {"t": "names", "version": 4}]
    made.heard(found, enc(t="names", version=5), 20.5)
    made.heard(found, enc(t="log", stream="s", lines=[]), 20.5)
    made.heard(found, enc(t="result", task="t", ok=True), 20.5)  # nobody waits for a result
    told = drain(made, 20.5)
    assert [f["t"] for _, f in up(told)] == ["names", "result", "log"]
    assert [f.get("bulk", False) for f in told] == [False, True]


def test_names_of_the_disk_are_not_given_to_an_agent_that_has_newer_ones() -> None:
    made = switch()
    made.memory.set_names(5, {"p.web": Raw(b"[]")})
    welcome(made)
    for number, (version, told) in enumerate(((4, ["names"]), (5, ["names"]), (6, []))):
        found, line = agent(made, f"h-{number}")
        made.heard(found, enc(t="full", units=[], names=version), 1.0)
        assert [f["t"] for f in line.got if f["t"] == "names"] == told, version


def test_a_unit_that_is_gone_and_comes_again_ends_as_it_is() -> None:
    made = switch()
    welcome(made)
    found, _ = agent(made)
    made.heard(found, enc(t="full", units=[]), 0.0)
    drain(made)
    made.heard(found, enc(t="unit", unit=unit("w/0:1", n=1)), 1.0)
    made.heard(found, enc(t="gone", unit="w/0:1"), 1.0)
    made.heard(found, enc(t="unit", unit=unit("w/0:1", n=2)), 1.0)
    assert [f for _, f in up(drain(made))][-2:] == [
        {"t": "gone", "unit": "w/0:1"}, {"t": "unit", "unit": unit("w/0:1", n=2)},
    ]  # fmt: skip


def test_heads_streams_and_builds_are_remembered_as_they_pass() -> None:
    made = switch()
    welcome(made)
    found, line = agent(made)
    made.heard(found, enc(t="full", units=[], head={"revision": 1, "digest": "x"}), 0.0)
    for task, word, args in (
        ("h", "head", {"document": {}, "revision": 7, "digest": "d"}), ("l", "logs", {"stream": "s-1"}),
        ("m", "logs", {"stream": "s-2"}), ("n", "unlog", {"stream": "s-2"}), ("b", "build", {}), ("c", "build", {}),
        ("e", "exec", {"task": "e", "argv": ["x"]}), ("f", "exec", {"task": "f", "argv": ["x"]}),
        ("i", "shell", {"task": "i"}), ("j", "shell", {"task": "j"}), ("k", "copy", {"task": "k"}),
        ("o", "forward", {"task": "o"}), ("p", "forward", {"task": "p"}),
    ):  # fmt: skip
        made.from_above(enc(t="to", sid=found.sid, frame={"t": "cmd", "task": task, "word": word, "args": args}), 0.0)
    made.heard(found, enc(t="result", task="h", ok=True), 0.0)
    made.heard(found, enc(t="result", task="c", ok=True), 0.0)
    made.heard(found, enc(t="result", task="f", ok=True), 0.0)
    made.heard(found, enc(t="result", task="i", ok=True), 0.0)
    made.heard(found, enc(t="result", task="o", ok=True), 0.0)
    drain(made)
    line.got.clear()
    made.upstream_lost()
    assert [(c["word"], c["args"], c["uuid"]) for c in line.got] == [
        ("unlog", {"stream": "s-1"}, "u-h"), ("unbuild", {"build": "b"}, "u-h"), ("unexec", {"task": "e"}, "u-h"),
        ("shell-end", {"task": "j"}, "u-h"), ("copy-end", {"task": "k"}, "u-h"),
        ("forward-end", {"task": "p"}, "u-h"),
    ]  # fmt: skip
    made.heard(found, enc(t="result", task=line.got[0]["task"], ok=True), 0.0)
    welcome(made)
    full = up(drain(made))
    assert [f["t"] for _, f in full] == ["full"] and full[0][1]["head"] == {"revision": 7, "digest": "d"}


def test_a_candidate_is_a_second_connection_and_keeps_its_part_over_a_loss() -> None:
    made = switch()
    welcome(made)
    old, _ = agent(made)
    new, line = agent(made, role="candidate")
    assert made.memory.welcome("h", "u-h") is not None
    made.heard(new, enc(t="tested", ok=True), 0.0)
    made.from_above(enc(t="to", sid=old.sid, frame={"t": "retire", "pid": 9}), 0.0)
    made.from_above(enc(t="to", sid=new.sid, frame={"t": "serve"}), 0.0)
    assert line.got[-1] == {"t": "serve"}
    made.heard(new, enc(t="full", units=[]), 0.0)
    drain(made)
    made.upstream_lost()
    welcome(made)
    opened = {f["sid"]: f["hello"]["role"] for f in drain(made) if f["t"] == "open"}
    assert opened == {old.sid: "retiring", new.sid: ""}


def test_a_candidate_needs_a_controller() -> None:
    made = switch()
    line = Line()
    made.memory.admit("h", "u-h", b'{"t":"welcome"}')
    assert made.connect(line, "h", "u-h", enc(t="hello", host="h", uuid="u-h", role="candidate"), "", 0.0) is None
    assert line.why == "no controller now"


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([b"nonsense"], "bad frame"), ([enc(t="unit", unit={})], "bad frame"), ([enc(t="unit")], "bad frame"),
        ([enc(t="hello", host="h", uuid="u-h")], "a second hello"), ([b'{"t":5}'], "bad frame"),
        ([b"x" * (t.MAX_CARRIED + 1)], "too large"),
    ],
    ids=str,
)
def test_nonsense_ends_the_connection_of_who_says_it(frames: list[bytes], why: str) -> None:
    made = switch()
    welcome(made)
    found, line = agent(made)
    other, _ = agent(made, "h-2")
    made.heard(found, enc(t="full", units=[]), 0.0)
    for frame in frames:
        made.heard(found, frame, 0.0)
    assert why in line.why
    assert list(made.agents) == [other.sid]
    assert drain(made)[-1]["t"] == "shut"


def test_changes_before_everything_and_words_before_the_welcome() -> None:
    made = switch()
    welcome(made)
    found, line = agent(made, admitted=False)
    made.heard(found, enc(t="full", units=[]), 0.0)
    assert line.why == "it speaks before it is welcome"
    found, line = agent(made)
    made.heard(found, enc(t="unit", unit=unit("w/0:1")), 0.0)
    assert line.why == "changes came before the full set"


def test_the_silent_are_cut_and_revoked_ones_too() -> None:
    made = switch()
    welcome(made)
    quiet, line = agent(made)
    loud, other = agent(made, "h-2")
    made.tick(0.0)
    for now in (3.0, 6.0, 9.0, 12.0):
        made.tick(now)
        made.heard(loud, enc(t="pong"), now)
    made.tick(12.5)
    assert "said nothing for 12 s" in line.why and not other.why
    made.tick(60.0)  # the relay itself stood still
    assert not other.why
    made.from_above(enc(t="all", frame={"t": "revoked", "uuids": ["u-h-2"]}), 61.0)
    assert other.why == "its certificate was revoked"
    late = Line()
    assert made.connect(late, "h-2", "u-h-2", enc(t="hello", host="h-2", uuid="u-h-2"), "", 13.0) is None


def test_what_was_seen_goes_once_a_second_with_latencies() -> None:
    made = switch()
    welcome(made)
    found, line = agent(made)
    made.tick(1.0)
    assert line.got[-1] == {"t": "ping", "at": 1.0}
    made.heard(found, enc(t="pong", at=1.0), 1.25)
    made.heard(found, enc(t="releases", releases=[]), 1.5)
    drain(made)
    made.tick(2.0)
    assert drain(made) == [{"t": "seen", "hosts": {found.sid: 0.25}}]
    made.tick(3.0)
    assert drain(made) == []


def test_more_events_than_are_kept_are_left_to_the_agent() -> None:
    made = switch()
    welcome(made)
    found, line = agent(made)
    made.heard(found, enc(t="full", units=[]), 0.0)
    made.upstream_lost()
    for seq in range(say.MAX_EVENTS + 1):
        made.heard(found, enc(t="event", seq=seq), 0.0)
    assert not line.why
    welcome(made)
    assert line.why == "it has more to tell than its relay keeps" and made.agents == {}


def test_a_queue_over_its_limit_breaks_the_trunk() -> None:
    made = switch()
    welcome(made)
    found, _ = agent(made)
    made.heard(found, enc(t="full", units=[]), 0.0)
    big = enc(t="names", version=1, pad="x" * 2**20)
    for _ in range(LIMIT // 2**20 + 1):
        made.heard(found, big, 0.0)
    with pytest.raises(Overflow, match="65 MiB wait"):
        made.queue.take(1.0)
    made.upstream_lost()
    assert made.queue.take(1.0) is None


def test_batches_are_bounded_and_a_full_set_that_is_too_large_is_told_in_parts() -> None:
    made = switch()
    welcome(made)
    found, _ = agent(made)
    probe = {"probe": {"x": "y" * 40_000}}
    for part in range(3):
        units = [unit(f"w/{part * 50 + n}:1", **probe) for n in range(50)]
        for each in units if part else []:
            made.heard(found, enc(t="unit", unit=each), 0.0)
        if not part:
            made.heard(found, enc(t="full", units=units), 0.0)
    made.upstream_lost()
    welcome(made)
    texts = []
    while (text := made.queue.take(1e6)) is not None:
        texts.append(text)
    frames = up([json.loads(x) for x in texts])
    assert [f["t"] for _, f in frames] == ["full"] + ["unit"] * 150
    assert len(frames[0][1]["units"]) == 150 and not any(u["probe"] for u in frames[0][1]["units"])
    assert max(map(len, texts)) < BATCH + 50_000


def test_upstream_must_welcome_first_and_may_refuse() -> None:
    made = switch()
    with pytest.raises(ValueError, match="welcome"):
        made.from_above(enc(t="all", frame={}), 0.0)
    with pytest.raises(Refused, match="no relay"):
        made.from_above(enc(t="refused", text="no relay"), 0.0)
    assert not made.up


# relays below


def relay_below(made: Switch, name: str, allowed: dict[str, list[str]] | None = None) -> Line:
    made.below.allow({n: frozenset({n, *more}) for n, more in (allowed or {name: []}).items()})
    line = Line()
    made.below.connect(line, name, f"uuid-{name}", t.text(t.RelayHello(name, f"uuid-{name}")).encode(), "", 0.0)
    return line


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (t.State({"a": t.RelayState()}), "it speaks for a"),
        (t.State({"x": t.RelayState()}), "it speaks for x"),
        (t.RelayHello("b", "uuid-b"), "a second hello"),
        (t.Open("c:1", "h", "u", say.Raw(b"{}"), path=("c", "b")), "it opens c:1 by the path c > b"),
        (t.Open("b:1", "h", "u", say.Raw(b"{}"), path=("b", "a")), "the relays form a circle: b > a > a"),
        (t.Open("b:1", "h", "u", say.Raw(b"{}"), path=("b", "d")), "it opens b:1 by the path b > d"),
        (t.Open("b:1", "h", "u", say.Raw(b"{}")), "it opens b:1 by the path none"),
        (t.Open("x:1", "h", "u", say.Raw(b"{}"), path=("b",)), "it opens x:1 by the path b"),
        (t.Ask(1, "renew", {}, "a"), "it asks for a"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_a_relay_may_not_say(frame: t.TrunkFrame, why: str) -> None:
    made = switch()
    welcome(made)
    line = relay_below(made, "b")
    made.below.heard(made.below.relays["b"], t.text(frame), 0.0)
    assert why in line.why
    assert made.below.relays == {}


@pytest.mark.parametrize(
    ("name", "hello", "up", "why"),
    [
        ("b", t.RelayHello("b", "uuid-b"), False, "a has no controller now"),
        ("c", t.RelayHello("c", "uuid-c"), True, "c is not below a in the topology"),
        ("b", t.RelayHello("c", "uuid-b"), True, "hello does not match"),
        ("b", t.Pong(), True, "hello does not match"),
    ],
)
def test_who_may_not_connect(name: str, hello: t.TrunkFrame, up: bool, why: str) -> None:
    made = switch()
    made.below.allow({"b": frozenset({"b"})})
    if up:
        welcome(made)
    line = Line()
    assert made.below.connect(line, name, f"uuid-{name}", t.text(hello).encode(), "", 0.0) is None
    assert why in line.why
