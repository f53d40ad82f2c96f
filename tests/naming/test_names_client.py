"""The naming client against a real socket: asking, watching, picking, and an agent that goes away."""

from __future__ import annotations

import collections
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cockpit.naming.client as module
from cockpit.naming.client import Names, Unresolved
from tests.helpers import PATIENCE, wait_for
from tests.naming.fake_agent import FakeAgent, endpoint

ONE, TWO, THREE = (endpoint("127.0.0.1", 1000 + n, instance=f"puzzle.sudoku/{n}") for n in range(3))


@pytest.fixture
def agent(short_dir: Path) -> Iterator[FakeAgent]:
    agent = FakeAgent(short_dir / "agent.sock")
    yield agent
    if agent.path.exists():
        agent.stop()


@pytest.fixture
def names(agent: FakeAgent) -> Iterator[Names]:
    with Names(str(agent.path), "", timeout=5) as names:
        yield names


def cache(path: Path, services: dict[str, Any], version: int = 7) -> str:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"version": version, "services": services}))
    new.rename(path)
    return str(path)


def ports(names: Names, name: str = "sudoku") -> list[int]:
    return [e["port"] for e in names.resolve(name)]


# with an agent


def test_resolve_gives_what_the_agent_says(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE, TWO)
    assert names.resolve("puzzle.sudoku") == [ONE, TWO]
    assert names.resolve("sudoku") == [ONE, TWO]


def test_answers_are_copies(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE)
    names.resolve("sudoku")[0]["port"] = 5
    assert ports(names) == [1000]


def test_changes_arrive_by_themselves_and_later_calls_ask_nobody(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE)
    assert ports(names) == [1000]
    wait_for(lambda: len(agent.asked) == 2, what="watch and resolve are through")
    agent.set("puzzle.sudoku", TWO, THREE)
    wait_for(lambda: ports(names) == [1001, 1002])
    assert len(agent.asked) == 2
    agent.set("puzzle.sudoku")
    wait_for(lambda: ports(names) == [])


def test_an_unknown_name_says_so_and_is_found_once_it_exists(agent: FakeAgent, names: Names) -> None:
    with pytest.raises(Unresolved, match="no sudoku"):
        names.resolve("sudoku")
    agent.set("puzzle.sudoku", ONE)

    def found() -> bool:
        try:
            return ports(names) == [1000]
        except Unresolved:
            return False

    wait_for(found)
    agent.set("puzzle.sudoku", TWO)
    wait_for(lambda: ports(names) == [1001])
    watches = [a for a in agent.asked if a["op"] == "watch"]
    agent.set("puzzle.sudoku", ONE)
    wait_for(lambda: ports(names) == [1000])
    assert [a for a in agent.asked if a["op"] == "watch"] == watches


def test_a_watch_that_is_promised_for_an_unknown_name_is_enough(agent: FakeAgent, names: Names) -> None:
    agent.refuse_unknown = False
    seen: list[list[int]] = []
    names.watch("sudoku", lambda endpoints: seen.append([e["port"] for e in endpoints]))
    wait_for(lambda: agent.asked)
    agent.set("puzzle.sudoku", ONE)
    wait_for(lambda: seen == [[1000]])


def test_watch_calls_at_once_and_at_each_change(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE)
    names.resolve("sudoku")
    seen: list[list[int]] = []
    stop = names.watch("sudoku", lambda endpoints: seen.append([e["port"] for e in endpoints]))
    assert seen == [[1000]]
    agent.set("puzzle.sudoku", ONE, TWO)
    wait_for(lambda: seen == [[1000], [1000, 1001]])
    stop()
    agent.set("puzzle.sudoku", THREE)
    wait_for(lambda: ports(names) == [1002])
    assert len(seen) == 2


def test_a_callback_that_raises_is_logged_and_ends_nothing(
    agent: FakeAgent, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    names.watch("sudoku", lambda endpoints: [][1])
    for port in (1000, 1001):
        agent.set("puzzle.sudoku", endpoint("127.0.0.1", port))
        wait_for(functools.partial(lambda p: port_now(names) == p, port))
    assert "a watch callback failed" in caplog.text


def port_now(names: Names) -> int | None:
    try:
        return int(names.pick("sudoku")[1])
    except Unresolved:
        return None


def test_many_threads_share_one_connection(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE)
    agent.set("puzzle.web", TWO)
    found: list[int] = []

    def ask(name: str) -> None:
        for _ in range(50):
            found.append(names.pick(name)[1])

    threads = [threading.Thread(target=ask, args=(n,)) for n in ("sudoku", "web") * 4]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert collections.Counter(found) == {1000: 200, 1001: 200}
    assert agent.connected == 1 and len(agent.asked) == 4


# an agent that goes away


def test_the_last_known_stays_and_the_connection_comes_back(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE)
    assert ports(names) == [1000]
    agent.stop()
    assert ports(names) == [1000]
    agent.services["puzzle.sudoku"] = [TWO]
    agent.start()
    wait_for(lambda: ports(names) == [1001])
    agent.set("puzzle.sudoku", THREE)
    wait_for(lambda: ports(names) == [1002])


def test_an_agent_that_knows_nothing_yet_empties_nothing(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE)
    assert ports(names) == [1000]
    agent.stop()
    agent.version, agent.services["puzzle.sudoku"] = 0, []
    agent.asked.clear()
    agent.start()
    agent.services["puzzle.web"] = [TWO]
    assert wait_for(lambda: [a for a in agent.asked if a["op"] == "resolve"])
    assert names.resolve("web") == [TWO]  # answered after the ones for sudoku
    assert ports(names) == [1000]


NOISE = [b"nonsense\n", b"[1]\n", b'{"id":[1]}\n', b"x" * 70000 + b"\n", b"[" * 9999 + b"\n"]


def test_a_name_that_became_ambiguous_keeps_what_it_was(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE)
    assert ports(names) == [1000]
    [watch] = [a["id"] for a in agent.asked if a["op"] == "watch"]
    agent.services = {"a.sudoku": [TWO], "b.sudoku": [THREE], "puzzle.web": [TWO]}
    agent.asked.clear()
    agent.ambiguous.add("sudoku")
    agent.raw(json.dumps({"watch": watch, "version": 9, "services": {"sudoku": []}}).encode() + b"\n")
    wait_for(lambda: [a for a in agent.asked if a["op"] == "resolve"])
    assert names.resolve("web") == [TWO]  # answered after the one for sudoku
    assert ports(names) == [1000]


@pytest.mark.parametrize("noise", NOISE)
def test_noise_on_the_socket_ends_nothing(agent: FakeAgent, names: Names, noise: bytes) -> None:
    agent.set("puzzle.sudoku", ONE)
    assert ports(names) == [1000]
    agent.raw(noise)
    agent.services["puzzle.sudoku"] = [TWO]
    agent.set("puzzle.sudoku", TWO)
    wait_for(lambda: ports(names) == [1001])


def test_endpoints_that_make_no_sense_are_left_out(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE, {"address": "x"}, {"address": "127.0.0.1", "port": 0}, {"port": 5}, [])  # type: ignore[arg-type]
    assert ports(names) == [1000]


def test_a_silent_agent_is_not_waited_for_longer_than_the_timeout(short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(short_dir / "agent.sock"))
        silent.listen(1)
        at = cache(short_dir / "names.json", {"puzzle.sudoku": [TWO]})
        with Names(str(short_dir / "agent.sock"), at, timeout=0.2) as names:
            assert ports(names) == [1001]
            with pytest.raises(Unresolved, match="does not answer"):
                names.resolve("web")


# the disk cache


def test_without_an_agent_the_cache_answers(short_dir: Path) -> None:
    at = cache(short_dir / "names.json", {"puzzle.sudoku": [ONE], "puzzle.web": []})
    with Names(str(short_dir / "agent.sock"), at) as names:
        assert ports(names) == [1000] and names.resolve("puzzle.web") == []
        with pytest.raises(Unresolved, match=r"^redis: .*agent.sock, and it is not in the cache"):
            names.resolve("redis")
        seen: list[list[int]] = []
        names.watch("sudoku", lambda endpoints: seen.append([e["port"] for e in endpoints]))
        cache(short_dir / "names.json", {"puzzle.sudoku": [TWO]})
        wait_for(lambda: ports(names) == [1001] and seen and seen[-1] == [1001])


def test_the_agent_overrules_the_cache_and_an_old_cache_does_not_come_back(
    agent: FakeAgent, short_dir: Path
) -> None:
    at = cache(short_dir / "names.json", {"puzzle.sudoku": [ONE]})
    agent.set("puzzle.sudoku", TWO)
    with Names(str(agent.path), at) as names:
        assert ports(names) == [1001]
        agent.stop()
        wait_for(lambda: names._cache is not None)  # it was read, and not taken
        assert ports(names) == [1001]
        cache(short_dir / "names.json", {"puzzle.sudoku": [THREE]})
        wait_for(lambda: ports(names) == [1002])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"services": []}', "torn {", "[" * 5000])
def test_a_damaged_cache_is_like_none(short_dir: Path, content: str) -> None:
    (short_dir / "names.json").write_text(content)
    with Names("", str(short_dir / "names.json")) as names:
        with pytest.raises(Unresolved, match="not in the cache"):
            names.resolve("sudoku")


def test_suffixes_in_the_cache(short_dir: Path) -> None:
    services = {"a.sudoku": [ONE], "b.sudoku": [TWO], "a.web": [], "b.web": [THREE], "c.x": [], "d.x": []}
    with Names("", cache(short_dir / "names.json", services)) as names:
        with pytest.raises(Unresolved, match=r"ambiguous, one of a\.sudoku, b\.sudoku"):
            names.resolve("sudoku")
        assert ports(names, "a.sudoku") == [1000]
        assert ports(names, "web") == [1002], "the only one that has endpoints"
        assert names.resolve("x") == []
        with pytest.raises(Unresolved):
            names.resolve("udoku")


def test_paths_come_from_the_environment(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.set("puzzle.sudoku", ONE)
    monkeypatch.setenv("COCKPIT_AGENT_SOCKET", str(agent.path))
    monkeypatch.setenv("COCKPIT_NAMES_CACHE", "/nowhere")
    with Names() as names:
        assert names.cache_path == "/nowhere" and ports(names) == [1000]


def test_it_runs_alone_beside_a_program(agent: FakeAgent, short_dir: Path) -> None:
    """Copied under another name, no package around it, and the thread keeps no process alive."""
    agent.set("puzzle.sudoku", ONE)
    (short_dir / "names.py").write_text(Path(module.__file__).read_text())
    program = "import names; print(names.Names().pick('sudoku'))"
    env = {"PATH": os.environ["PATH"], "COCKPIT_AGENT_SOCKET": str(agent.path)}
    argv = [sys.executable, "-S", "-c", program]
    got = subprocess.run(argv, cwd=short_dir, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert (got.stdout, got.stderr) == ("('127.0.0.1', 1000)\n", "")


def test_close_ends_the_thread_and_answers_from_memory(agent: FakeAgent, names: Names) -> None:
    agent.set("puzzle.sudoku", ONE)
    assert ports(names) == [1000]
    names.close()
    assert "cockpit-names" not in [t.name for t in threading.enumerate()]
    assert ports(names) == [1000]
    wait_for(lambda: agent.connected == 0)


# picking


class Known(Names):
    """A client that knows a list of endpoints."""

    def __init__(self, *endpoints: dict[str, Any]) -> None:
        super().__init__("", "")
        self.endpoints = list(endpoints)

    def resolve(self, name: str) -> list[dict[str, Any]]:
        return self.endpoints


def test_pick_takes_ready_endpoints_with_weight_only() -> None:
    names = Known(
        ONE, endpoint("127.0.0.1", 2, "draining"), endpoint("127.0.0.1", 3, weight="0"),
        endpoint("127.0.0.1", 4, weight="-1"),
    )  # fmt: skip
    assert {names.pick("x") for _ in range(50)} == {("127.0.0.1", 1000)}
    assert names.order("x") == [("127.0.0.1", 1000)]
    with pytest.raises(Unresolved, match="x: no endpoint is ready"):
        Known(endpoint("127.0.0.1", 2, "draining")).pick("x")


def test_pick_by_port_name() -> None:
    admin = endpoint("127.0.0.1", 9) | {"name": "admin"}
    names = Known(ONE, admin)
    assert names.order("x", port="admin") == [("127.0.0.1", 9)]
    with pytest.raises(Unresolved, match="no endpoint of port other is ready"):
        names.pick("x", port="other")


@pytest.mark.parametrize("weight", ["heavy", "nan", "inf", ""])
def test_weights_that_are_no_numbers_count_as_one(weight: str) -> None:
    names = Known(endpoint("127.0.0.1", 1, weight=weight), endpoint("127.0.0.1", 2))
    picked = collections.Counter(names.pick("x", key=str(n))[1] for n in range(2000))
    assert 800 < picked[1] < 1200


def test_weights_share_the_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    monkeypatch.setattr(module, "random", random.Random(7))
    names = Known(endpoint("127.0.0.1", 1, weight="3"), endpoint("127.0.0.1", 2))
    for key in (False, True):
        picked = collections.Counter(names.pick("x", key=str(n) if key else None)[1] for n in range(4000))
        assert 2800 < picked[1] < 3200


keys = st.lists(st.text(max_size=8), min_size=1, max_size=30)


@given(keys, st.integers(2, 8), st.data())
def test_a_key_stays_when_others_leave(keys: list[str], count: int, data: st.DataObject) -> None:
    endpoints = [endpoint("127.0.0.1", 1 + n, weight=str(n % 3 + 1)) for n in range(count)]
    leaving = data.draw(st.integers(1, count))
    all_of_them, without = Known(*endpoints), Known(*(e for e in endpoints if e["port"] != leaving))
    for key in keys:
        before = all_of_them.pick("x", key)
        assert all_of_them.pick("x", key) == before == all_of_them.order("x", key)[0]
        after = without.order("x", key)
        assert after == [at for at in all_of_them.order("x", key) if at[1] != leaving]
