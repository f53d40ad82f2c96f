"""The keeper's `signal`: its own processes, exactly those, and nobody when none runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cockpit.agent.keeper_client import KeeperError
from tests.agent.keeper_host import KeeperHost, of, put_start
from tests.helpers import wait_for

U = "a.b/0:1"
TELLS = "trap 'echo {name}' HUP; echo up; while :; do sleep 0.01; done"


@pytest.fixture
def host(short_dir: Path) -> Iterator[KeeperHost]:
    with KeeperHost(short_dir) as host:
        yield host


def test_every_process_of_the_unit_and_none_of_their_children(host: KeeperHost) -> None:
    c = host.up()
    # a child that the signal would end
    mother = "sleep 100000 & echo $!; " + TELLS.format(name="one")
    pids = put_start(c, host.group(U, one=mother, two=TELLS.format(name="two")))["pids"]
    wait_for(lambda: "up" in host.log(U, 1, process="one") and "up" in host.log(U, 1, process="two"))
    child = int(host.log(U, 1, process="one").split()[0])
    answer = c.call("signal", unit=U, signal="HUP", by="controller")
    assert answer["pids"] == pids and answer["run"] == 1
    wait_for(lambda: "one" in host.log(U, 1, process="one") and "two" in host.log(U, 1, process="two"))
    os.kill(child, 0)
    assert c.unit(U)["pids"] == pids and c.unit(U)["wanted"] and not c.unit(U)["pinned"]


def test_one_process_of_a_group_by_its_name(host: KeeperHost) -> None:
    c = host.up()
    pids = put_start(c, host.group(U, one=TELLS.format(name="one"), two=TELLS.format(name="two")))["pids"]
    wait_for(lambda: "up" in host.log(U, 1, process="one") and "up" in host.log(U, 1, process="two"))
    answer = c.call("signal", unit=U, signal="HUP", process="two", run=1)
    assert answer["pids"] == {"two": pids["two"]} and answer["others"] == []
    wait_for(lambda: "two" in host.log(U, 1, process="two"))
    assert c.call("signal", unit=U, signal="HUP", process="one")["pids"] == {"one": pids["one"]}
    wait_for(lambda: "one" in host.log(U, 1, process="one"))
    assert host.log(U, 1, process="two").count("two") == 1


def test_all_reaches_children_and_those_with_a_session_of_their_own(host: KeeperHost) -> None:
    c = host.up()
    child = TELLS.format(name="child")
    far = TELLS.format(name="far")
    own = put_start(c, host.spec(U, f"({child}) & setsid sh -c \"{far}\" & " + TELLS.format(name="told")))
    wait_for(lambda: host.log(U, 1).count("up") == 3)
    other = put_start(c, host.spec("a.c/0:1", TELLS.format(name="stranger")))
    wait_for(lambda: "up" in host.log("a.c/0:1", 1))
    answer = c.call("signal", unit=U, signal="HUP", all=True, run=1)
    assert answer["pids"] == {"main": own["pid"]} and len(answer["others"]) >= 2
    assert not {own["pid"], other["pid"], os.getpid()} & set(answer["others"])
    wait_for(lambda: sorted(w for w in host.log(U, 1).split() if w != "up") == ["child", "far", "told"])
    assert "stranger" not in host.log("a.c/0:1", 1)


def test_another_run_than_the_one_that_was_meant_is_left_alone(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "sleep", "100000"))
    c.call("signal", unit=U, signal="KILL", run=1)
    assert c.event(lambda e: e["event"] == "start" and e["run"] == 2)
    with pytest.raises(KeeperError, match="its run is 2 now, not 1; nobody was told") as error:
        c.call("signal", unit=U, signal="KILL", run=1)
    assert error.value.code == "busy" and c.unit(U)["run"] == 2 and c.unit(U)["pids"]


def test_what_hangs_in_its_stop_can_be_killed(host: KeeperHost) -> None:
    c, other = host.up(), host.connect()
    put_start(c, host.spec(U, "trap '' TERM; echo up; while :; do sleep 0.05; done", stop={"grace": 3600}))
    wait_for(lambda: "up" in host.log(U, 1))
    c.send("stop", unit=U)
    wait_for(lambda: not other.unit(U)["wanted"])
    assert other.call("signal", unit=U, signal="HUP")["pids"] == {}, "data that is given to it comes too late"
    assert other.call("signal", unit=U, signal="KILL", run=1)["pids"]
    wait_for(lambda: not other.unit(U)["pids"])
    assert other.unit(U)["exit"]["signal"] == signal.SIGKILL


def test_nobody_is_told_when_nothing_runs(host: KeeperHost) -> None:
    c = host.up()
    c.call("put", spec=host.spec(U, "sleep", "100000"))
    assert c.call("signal", unit=U, signal="HUP")["pids"] == {}
    c.call("start", unit=U)
    c.call("stop", unit=U)
    assert c.call("signal", unit=U, signal="HUP")["pids"] == {}


def test_a_process_that_ends_of_it_is_restarted_by_policy(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "sleep", "100000"))
    c.call("signal", unit=U, signal="HUP")
    exit = c.event(of("exit"))["exit"]
    assert exit["signal"] == signal.SIGHUP and exit["reason"] == ""
    assert c.event(lambda e: e["event"] == "start" and e["run"] == 2)


def test_one_that_was_adopted_is_told_too(host: KeeperHost) -> None:
    c = host.up("boot")
    first = put_start(c, host.spec(U, TELLS.format(name="told")))
    wait_for(lambda: "up" in host.log(U, 1))
    host.crash()
    c = host.up("boot")
    assert c.call("signal", unit=U, signal="HUP")["pids"] == {"main": first["pid"]}
    wait_for(lambda: "told" in host.log(U, 1))


def test_bad_requests(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "sleep", "100000"))
    for args, code in (
        ({"unit": "a.b/1:1", "signal": "HUP"}, "missing"), ({"unit": U, "signal": "FROWN"}, "bad"),
        ({"unit": U}, "bad"), ({"unit": U, "signal": 0}, "bad"),
        ({"unit": U, "signal": "HUP", "process": "side"}, "bad"), ({"unit": U, "signal": "HUP", "run": "1"}, "busy"),
    ):  # fmt: skip
        with pytest.raises(KeeperError) as error:
            c.call("signal", **args)
        assert error.value.code == code
    assert c.unit(U)["run"] == 1


def test_somebody_on_the_host_is_written_down_and_pins_nothing(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, TELLS.format(name="told")))
    wait_for(lambda: "up" in host.log(U, 1))
    c.call("signal", unit=U, signal="HUP", by="ctl: li")
    said = c.event(of("ctl"))
    assert (said["op"], said["uid"], said["unit"]) == ("signal", os.getuid(), U)
    assert c.unit(U)["pinned"] == ""
