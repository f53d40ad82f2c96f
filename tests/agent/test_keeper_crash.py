"""What a keeper finds again: after kill -9, after a reboot, after its journal was lost."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cockpit.agent.keeper_client import KeeperClient, KeeperError
from cockpit.model.states import State
from tests.agent.keeper_host import KEEPER, KeeperHost, of, put_start, sh
from tests.helpers import PATIENCE, alive, wait_for

U = "a.b/0:1"
FOREVER = ("sleep", "100000")


@pytest.fixture
def host(short_dir: Path) -> Iterator[KeeperHost]:
    with KeeperHost(short_dir) as host:
        yield host


def journal(host: KeeperHost) -> Path:
    return host.dir / "keeper" / "journal"


def exit_known(record: dict[str, object]) -> bool:
    return record["code"] is not None or record["signal"] is not None


def test_kill_9_and_adoption(host: KeeperHost) -> None:
    c = host.up()
    pid = put_start(c, host.spec(U, "trap 'exit 42' USR1; while :; do sleep 0.02; done"))["pid"]
    host.crash()
    assert alive(pid)
    c = host.up()
    u = c.unit(U)
    assert (u["pids"], u["run"], u["restarts"], u["state"]) == ({"main": pid}, 1, 0, State.RUNNING)
    assert c.call("start", unit=U)["pid"] == pid
    os.kill(pid, signal.SIGUSR1)
    e = c.event(of("exit"))
    assert e["exit"]["signal"] is None and e["exit"]["code"] in (42, None)  # as far as the kernel tells
    again = c.event(of("start"))
    assert (again["run"], again["by"]) == (2, "policy") and c.unit(U)["restarts"] == 1
    assert [p for p in host.marked() if p == again["pids"]["main"]]


def test_the_exit_code_of_an_adopted_process_is_learned(host: KeeperHost) -> None:
    """Where the kernel can tell (PIDFD_GET_INFO, or a zombie that nobody reaped yet)."""
    c = host.up()
    pid = put_start(c, host.spec(U, "read x < fifo; exit 42", restart={"mode": "on-failure"}))["pid"]
    os.mkfifo(host.dir / "fifo")
    c.call("stop", unit=U)
    pid = c.call("start", unit=U)["pid"]
    host.crash()
    c = host.up()
    if not pidfd_tells_exits():
        pytest.skip("this kernel does not tell")
    (host.dir / "fifo").write_text("x\n")
    record = c.event(of("exit"))["exit"]
    assert (record["code"], record["signal"]) == (42, None) and not alive(pid)


def pidfd_tells_exits() -> bool:
    from cockpit.agent.keeper import proc

    child = subprocess.Popen(["sleep", "100000"])
    handle = proc.Handle.open(child.pid)
    assert handle is not None
    child.kill()
    child.wait()
    try:
        return handle.status() == signal.SIGKILL
    finally:
        handle.close()


def test_an_exit_while_no_keeper_was_there_is_unknown_never_invented(host: KeeperHost) -> None:
    c = host.up()
    pid = put_start(c, host.spec(U, *FOREVER))["pid"]
    put_start(c, host.spec("a.b/1:1", *FOREVER, restart={"mode": "never"}))
    other = c.unit("a.b/1:1")["pids"]["main"]
    host.crash()
    for p in (pid, other):
        os.kill(p, signal.SIGKILL)
    wait_for(lambda: not any(os.path.exists(f"/proc/{p}") for p in (pid, other)) or not alive(pid))
    c = host.up()
    u = wait_for(lambda: (r := c.unit(U))["pids"] and r)
    assert u["run"] == 2 and u["restarts"] == 1
    for record in (u["exit"], c.unit("a.b/1:1")["exit"]):
        assert record["code"] is None and record["signal"] in (None, signal.SIGKILL)
    assert c.unit("a.b/1:1")["state"] == State.FAILED
    assert len(host.marked()) == 1


def test_a_stop_of_adopted_processes_reaches_their_orphans(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "setsid sleep 100001 & (setsid sleep 100002 &) ; wait"))
    wait_for(lambda: len(host.marked()) == 3)
    host.crash()
    c = host.up()
    c.call("stop", unit=U)
    assert host.marked() == []


def test_orphans_of_a_service_that_died_with_its_keeper_end_before_the_restart(host: KeeperHost) -> None:
    c = host.up()
    pid = put_start(c, host.spec(U, "setsid sleep 100001 & wait"))["pid"]
    wait_for(lambda: len(host.marked()) == 2)
    (left,) = set(host.marked()) - {pid}
    host.crash()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid))
    c = host.up()
    wait_for(lambda: c.unit(U)["run"] == 2 and c.unit(U)["pids"])
    assert not alive(left)


def test_a_pid_that_is_somebody_elses_now_is_left_alone(host: KeeperHost) -> None:
    c = host.up()
    pid = put_start(c, host.spec(U, *FOREVER))["pid"]
    c.call("stop", unit=U)
    host.crash()
    stranger = subprocess.Popen(FOREVER)
    try:
        # the journal claims that the stranger's pid was ours, with another start time
        with journal(host).open("a") as f:
            boot = c_boot(host)
            line = {"note": "fork", "unit": U, "run": 2, "ids": {"main": [stranger.pid, 1]}, "boot": boot}
            f.write(json.dumps(line) + "\n")
            start = {"seq": 99, "at": 1.0, "event": "start", "unit": U, "run": 2, "pids": {}, "by": "x"}
            f.write(json.dumps(start) + "\n")
        c = host.up()
        u = c.unit(U)
        assert u["pids"] == {} and u["exit"]["run"] == 2 and not exit_known(u["exit"])
        c.call("end")
        assert stranger.poll() is None and pid != stranger.pid
    finally:
        stranger.kill()
        stranger.wait()


def c_boot(host: KeeperHost) -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_reboot_starts_every_wanted_unit_once(host: KeeperHost) -> None:
    c = host.up("boot-1")
    specs = {
        "a.b/0:1": host.spec("a.b/0:1", *FOREVER),
        "a.b/1:1": host.spec("a.b/1:1", *FOREVER),  # will be stopped
        "a.b/2:1": host.spec("a.b/2:1", "exit 0", restart={"mode": "on-failure"}),  # is complete
        "a.b/3:1": host.spec("a.b/3:1", "test -e ready || exit 1; exec sleep 100000", restart={"attempts": 0}),
    }
    for spec in specs.values():
        put_start(c, spec)
    c.call("put", spec=host.spec("a.b/4:1", *FOREVER))  # never started
    c.call("stop", unit="a.b/1:1")
    wait_for(lambda: c.unit("a.b/3:1")["held"] and c.unit("a.b/2:1")["state"] == State.COMPLETE)
    host.crash()
    for pid in host.marked():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not host.marked())
    (host.dir / "ready").touch()
    c = host.up("boot-2")
    assert c.call("hello")["boot_id"] == "boot-2"
    wait_for(lambda: {u["unit"] for u in c.units() if u["pids"]} == {"a.b/0:1", "a.b/3:1"})
    units = {u["unit"]: u for u in c.units()}
    first = units["a.b/0:1"]
    assert (first["run"], first["restarts"], first["exit"]["reason"]) == (2, 0, "host rebooted")
    assert not exit_known(first["exit"]) and first["spec"]["processes"] == specs["a.b/0:1"]["processes"]
    assert units["a.b/2:1"]["state"] == State.COMPLETE and units["a.b/4:1"]["state"] == State.READY
    assert units["a.b/1:1"]["state"] == State.SHUTDOWN
    assert len(host.marked()) == 2
    events = c.call("list")["events"]
    assert [e["by"] for e in events if e["event"] == "start" and e["run"] == 2] == ["boot", "boot"]
    host.crash()
    assert host.up("boot-2").unit("a.b/0:1")["run"] == 2  # the same boot: adopted


def test_a_lost_journal_does_not_lead_to_second_copies(host: KeeperHost) -> None:
    c = host.up()
    pid = put_start(c, host.spec(U, *FOREVER))["pid"]
    group = put_start(c, host.group("a.b/1:1", x="exec sleep 100001", y="exec sleep 100002"))
    torn = put_start(c, host.group("a.b/2:1", x="exec sleep 100001", y="exec sleep 100002"))
    host.crash()
    journal(host).unlink()
    os.kill(torn["pids"]["x"], signal.SIGKILL)  # half of a group is no group
    wait_for(lambda: not alive(torn["pids"]["x"]))
    c = host.up()
    assert c.unit(U)["pids"] == {"main": pid} and c.unit("a.b/1:1")["pids"] == group["pids"]
    wait_for(lambda: len(c.unit("a.b/2:1")["pids"]) == 2)
    assert not alive(torn["pids"]["y"]) and len(host.marked()) == 5


def test_a_fork_without_its_start_record_is_found(host: KeeperHost) -> None:
    """As if the keeper had died between the two."""
    c = host.up()
    pid = put_start(c, host.spec(U, *FOREVER))["pid"]
    host.crash()
    lines = journal(host).read_bytes().splitlines(keepends=True)
    journal(host).write_bytes(b"".join(line for line in lines if b'"event":"start"' not in line))
    c = host.up()
    u = c.unit(U)
    assert (u["pids"], u["run"], u["state"]) == ({"main": pid}, 1, State.RUNNING)
    assert [e["by"] for e in c.call("list")["events"] if e["event"] == "start"] == ["adopted"]
    assert host.marked() == [pid]


def test_a_child_whose_keeper_died_before_its_word_does_not_run(host: KeeperHost) -> None:
    from cockpit.agent.keeper import launch

    out = host.dir / "ran"
    image = launch.Image(["/bin/sh", "-c", f"echo x > {out}"], {}, "/")
    fd = os.open("/dev/null", os.O_WRONLY)
    child = launch.spawn(image, fd, fd, launch.Host())
    os.close(fd)
    try:
        child.close()  # what the kernel does for a keeper that dies
        wait_for(child.handle.ended)
    finally:
        child.handle.send(signal.SIGKILL)
        assert os.waitpid(child.handle.pid, 0)[1] == 0
        child.handle.close()
    assert not out.exists()


@pytest.mark.parametrize("seed", range(6))
def test_a_keeper_that_is_killed_at_any_moment_starts_nothing_twice(host: KeeperHost, seed: int) -> None:
    chance = random.Random(seed)
    c = host.up()
    names = [f"a.b/{n}:1" for n in range(6)]
    for name in names:
        c.call("put", spec=host.spec(name, *FOREVER))
    for _ in range(3):
        for name in names:
            c.send("start", unit=name)
        for pid in host.marked()[:2]:
            os.kill(pid, signal.SIGKILL)  # restarts are under way, too
        select.select([], [], [], chance.uniform(0, 0.02))  # the moment
        host.crash()
        c = host.up()
    for name in names:
        c.call("start", unit=name)
    units = wait_for(lambda: all(c.unit(n)["pids"] for n in names) and c.units())
    wait_for(lambda: len(host.marked()) == len(names))
    assert {u["pids"]["main"] for u in units} == set(host.marked())


def test_a_torn_last_line(host: KeeperHost) -> None:
    c = host.up()
    pid = put_start(c, host.spec(U, *FOREVER))["pid"]
    host.crash()
    with journal(host).open("ab") as f:
        f.write(b'{"seq":4,"at":1,"event":"exi')
    c = host.up()
    assert c.unit(U)["pids"] == {"main": pid}
    c.call("stop", unit=U)
    host.crash()
    c = host.up()
    assert c.unit(U)["state"] == State.SHUTDOWN and c.unit(U)["exit"]["signal"] == 15


def test_events_stay_until_acknowledged(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, *FOREVER))
    c.call("stop", unit=U)
    host.crash()
    c = host.up()
    reply = c.call("list")
    assert [e["event"] for e in reply["events"]] == ["start", "exit"]
    seqs = [e["seq"] for e in reply["events"]]
    assert seqs == sorted(set(seqs)) and reply["seq"] == seqs[-1]
    c.call("ack", seq=seqs[0])
    host.crash()
    c = host.up()
    assert [e["seq"] for e in c.call("list")["events"]] == seqs[1:]
    with pytest.raises(KeeperError):
        c.call("ack", seq=10_000)
    c.call("ack", seq=seqs[1])
    assert c.call("list")["events"] == []


def test_the_journal_is_trimmed_and_the_state_survives_it(host: KeeperHost) -> None:
    c = host.up()
    pid = put_start(c, host.spec("a.b/1:1", *FOREVER))["pid"]
    c.call("put", spec=host.spec(U, "true", restart={"mode": "never"}))
    size = 0
    for _ in range(20):
        for _ in range(60):  # events of a third of a kilobyte each
            c.call("pin", unit=U, by="ctl:" + "x" * 190)
        c.call("ack", seq=c.call("list")["seq"])
        size = max(size, journal(host).stat().st_size)
    assert journal(host).stat().st_size < size
    c.call("start", unit=U)
    c.event(of("exit"))
    host.crash()
    c = host.up()
    assert c.unit("a.b/1:1")["pids"] == {"main": pid} and c.unit(U)["state"] == State.COMPLETE
    assert c.unit(U)["pinned"] == "" and c.unit("a.b/1:1")["run"] == 1


def test_a_removed_unit_leaves_nothing_to_one_of_its_name(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "exit 3", restart={"mode": "never"}))
    c.event(of("exit"))
    c.call("remove", unit=U)
    c.call("put", spec=host.spec(U, *FOREVER))
    host.crash()
    u = host.up().unit(U)
    assert (u["run"], u["exits"], u["state"]) == (0, [], State.READY)


def test_term_leaves_the_services_running(host: KeeperHost) -> None:
    c = host.up()
    pid = put_start(c, host.spec(U, *FOREVER))["pid"]
    assert host.keeper is not None
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(host.keeper.pid, number)
    assert c.call("hello")["pid"] == host.keeper.pid
    host.keeper.terminate()
    assert host.keeper.wait(PATIENCE) == 0 and alive(pid)
    assert host.up().unit(U)["pids"] == {"main": pid}


def test_one_keeper_per_directory(host: KeeperHost) -> None:
    host.up()
    assert host.keeper is not None
    argv = [sys.executable, "-I", "-S", KEEPER, str(host.dir)]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE)
    assert second.returncode == 3 and f"pid {host.keeper.pid}" in second.stderr
    assert host.connect().call("hello")["pid"] == host.keeper.pid


def test_wrong_arguments() -> None:
    for args in ([], ["--help"], ["/proc/nowhere"]):
        done = subprocess.run([sys.executable, "-I", "-S", KEEPER, *args], capture_output=True, timeout=PATIENCE)
        assert done.returncode == 2 and done.stderr.startswith(b"keeper: ")


def test_modes_of_what_is_on_disk(host: KeeperHost) -> None:
    host.dir.chmod(0o755)
    c = host.up()
    put_start(c, host.spec(U, *FOREVER))
    assert stat.S_IMODE(host.dir.stat().st_mode) == 0o700
    for path in [host.dir / "keeper.sock", *(p for p in (host.dir / "keeper").rglob("*"))]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_directory_with_a_long_path(short_dir: Path) -> None:
    with KeeperHost(short_dir / ("d" * 120)) as host:
        assert host.up().call("hello")["ok"]


def test_the_agent_is_kept_alive_and_adopted(host: KeeperHost) -> None:
    c = host.up()
    argv = sh("echo $$ >> agents; exec sleep 100003")

    def agent(c: KeeperClient) -> int:
        pid = c.call("hello")["agent_pid"]
        return int(pid or 0)

    first = c.call("agent", argv=argv)["agent_pid"]
    try:
        assert alive(first) and agent(c) == first
        os.kill(first, signal.SIGKILL)
        second = wait_for(lambda: agent(c) not in (0, first) and agent(c))
        host.crash()
        c = host.up()
        assert agent(c) == second and alive(second)
        host.crash()
        os.kill(second, signal.SIGKILL)
        wait_for(lambda: not alive(second))
        c = host.up()
        third = wait_for(lambda: agent(c))
        assert third != second
        own = subprocess.Popen(["sleep", "100004"])  # a newer one that already runs
        try:
            assert c.call("agent", argv=argv, pid=own.pid)["agent_pid"] == own.pid
            own.kill()
            own.wait()
            fourth = wait_for(lambda: agent(c) not in (0, own.pid) and agent(c))
            wait_for(lambda: not alive(third))  # only one can serve: the one before was told to go
            assert agent(c) == fourth
        finally:
            own.kill()
        with pytest.raises(KeeperError) as e:
            c.call("agent", argv=argv, pid=own.pid)
        assert e.value.code == "missing"
        wait_for(lambda: str(fourth) in (host.dir / "agents").read_text().split())
    finally:
        c.call("end")
    assert not alive(fourth)


def test_an_agent_that_cannot_start_is_tried_again_slower(host: KeeperHost) -> None:
    c = host.up()
    c.call("agent", argv=sh("echo x >> tries; exit 1"))
    wait_for(lambda: (host.dir / "tries").exists() and len((host.dir / "tries").read_text().split()) >= 3)
    c.call("agent", argv=["/no/such/agent"])
    assert c.call("hello")["ok"]
