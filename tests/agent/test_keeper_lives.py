"""A keeper and real processes: start, stop, restart, and why something did not run."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cockpit.agent.keeper_client import KeeperError
from cockpit.model.states import State
from tests.agent.keeper_host import ENV, KeeperHost, of, put_start, sh
from tests.helpers import PATIENCE, alive, wait_for

U = "a.b/0:1"
FOREVER = ("sleep", "100000")
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern").read_text().strip()
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def host(short_dir: Path) -> Iterator[KeeperHost]:
    with KeeperHost(short_dir) as host:
        yield host


def test_start_kill_restart_stop(host: KeeperHost) -> None:
    c = host.up()
    spec = host.spec(U, *FOREVER, meta={"mine": [1]})
    c.call("put", spec=spec)
    assert c.unit(U)["state"] == State.READY and c.unit(U)["pids"] == {}
    first = c.call("start", unit=U, by="li")
    assert alive(first["pid"]) and first["run"] == 1
    started = c.event(of("start"))
    assert (started["by"], started["pids"], started["run"]) == ("li", {"main": first["pid"]}, 1)
    assert c.call("start", unit=U, by="li")["pid"] == first["pid"]  # again is the same

    os.kill(first["pid"], signal.SIGKILL)
    exit = c.event(of("exit"))
    assert (exit["exit"]["signal"], exit["exit"]["code"], exit["exit"]["run"]) == (9, None, 1)
    assert exit["next_start"] is not None
    again = c.event(of("start"))
    assert again["by"] == "policy" and again["run"] == 2
    u = c.unit("a.b/0")  # the instance has one unit
    assert (u["restarts"], u["run"], u["state"], u["wanted"]) == (1, 2, State.RUNNING, True)
    assert u["pids"] == again["pids"] and u["spec"]["meta"] == {"mine": [1]} and u["exit"]["signal"] == 9

    with pytest.raises(KeeperError) as e:
        c.call("remove", unit=U)
    assert e.value.code == "busy"
    done = c.call("stop", unit=U, by="li")
    assert done["exit"]["reason"] == "stopped" and done["exit"]["signal"] == 15
    assert not alive(again["pids"]["main"])
    u = c.unit(U)
    assert (u["state"], u["wanted"], u["pids"], u["restarts"]) == (State.SHUTDOWN, False, {}, 1)
    c.call("remove", unit=U)
    assert c.units() == []


def test_every_exit_is_seen_when_signals_coalesce(host: KeeperHost) -> None:
    c = host.up()
    pids = {}
    for n in range(20):
        spec = host.spec(f"a.b/{n}:1", *FOREVER, restart={"mode": "never"})
        pids[put_start(c, spec)["pid"]] = spec["unit"]
    assert host.keeper is not None
    os.kill(host.keeper.pid, signal.SIGSTOP)  # so that they are all dead when it looks
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in pids))
    os.kill(host.keeper.pid, signal.SIGCONT)
    assert {c.event(of("exit"))["unit"] for _ in pids} == set(pids.values())
    assert all(u["state"] == State.FAILED and u["exit"]["signal"] == 9 for u in c.units())


def test_stop_reaches_what_left_the_session(host: KeeperHost) -> None:
    # a child, a child in a session of its own, and an orphan of a double fork
    c = host.up()
    script = "sleep 100001 & setsid sleep 100002 & (setsid sleep 100003 &) ; echo up; wait"
    put_start(c, host.spec(U, script))
    wait_for(lambda: len(host.marked()) == 4)
    c.call("stop", unit=U)
    assert host.marked() == []


def test_what_a_crash_leaves_ends_before_the_restart(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "echo $COCKPIT_RUN >> runs; setsid sleep 100001 & wait"))
    wait_for(lambda: len(host.marked()) == 2)
    first = c.unit(U)["pids"]["main"]
    left = set(host.marked()) - {first}
    os.kill(first, signal.SIGKILL)
    assert c.event(lambda e: e["event"] == "start" and e["run"] == 2)["unit"] == U
    assert not any(alive(pid) for pid in left)
    wait_for(lambda: (host.dir / "runs").read_text() == "1\n2\n")


def test_one_that_ignores_term_is_killed_after_its_grace(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "trap '' TERM; echo up; while :; do sleep 0.05; done"))
    wait_for(lambda: host.log(U, 1) == "up\n")
    done = c.call("stop", unit=U, grace=0.2)
    assert done["exit"]["signal"] == 9 and done["exit"]["reason"] == "stopped: killed after 0.2 s"
    assert host.marked() == [] and c.unit(U)["state"] == State.SHUTDOWN


def test_the_stop_signal_is_chosen_and_a_second_stop_shortens_the_grace(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "trap '' TERM; trap 'exit 3' USR1; echo up; while :; do sleep 0.02; done"))
    wait_for(lambda: host.log(U, 1) == "up\n")
    assert c.call("stop", unit=U, signal="USR1")["exit"]["code"] == 3
    c.call("start", unit=U)
    wait_for(lambda: host.log(U, 2) == "up\n")
    first = c.send("stop", unit=U, grace=600)
    with pytest.raises(KeeperError) as e:
        c.call("start", unit=U)
    assert e.value.code == "busy"
    c.call("stop", unit=U, grace=0)
    assert c.result(first)["exit"]["signal"] == 9


def test_a_group_lives_and_dies_together(host: KeeperHost) -> None:
    c = host.up()
    first = put_start(c, host.group(U, front="exec sleep 100001", back="exec sleep 100002"))
    assert set(first["pids"]) == {"front", "back"}
    os.kill(first["pids"]["back"], signal.SIGKILL)
    one, two = c.event(of("exit")), c.event(of("exit"))
    assert (one["exit"]["process"], one["exit"]["signal"]) == ("back", 9)
    assert (two["exit"]["process"], two["exit"]["reason"]) == ("front", "back ended")
    second = c.event(of("start"))
    assert set(second["pids"]) == {"front", "back"} and second["run"] == 2
    u = c.unit(U)
    assert u["restarts"] == 1 and u["exit"]["process"] == "back" and len(u["exits"]) == 2
    c.call("stop", unit=U)
    assert host.marked() == []


def test_a_group_with_one_that_cannot_start_does_not_start(host: KeeperHost) -> None:
    c = host.up()
    spec = host.group(U, good="exec sleep 100001")
    spec["processes"].append({"name": "bad", "argv": ["./missing"], "env": {}, "cwd": str(host.dir)})
    with pytest.raises(KeeperError) as e:
        put_start(c, spec)
    assert (e.value.code, e.value.text) == ("exec", "exec: ENOENT ./missing")
    assert host.marked() == [] and c.unit(U)["state"] == State.REJECTED


def test_why_it_never_ran(host: KeeperHost) -> None:
    c = host.up()
    (host.dir / "plain").write_text("x")
    (host.dir / "noshebang").write_text("echo x")
    (host.dir / "noshebang").chmod(0o755)
    cases = {
        "exec: ENOENT ./x": {"argv": ["./x"]},
        "exec: ENOENT no-such-program": {"argv": ["no-such-program"]},
        "exec: EACCES ./plain": {"argv": ["./plain"]},
        "exec: ENOEXEC ./noshebang": {"argv": ["./noshebang"]},
        "chdir: ENOENT /no/such/dir": {"argv": ["true"], "cwd": "/no/such/dir"},
    }
    for n, (text, process) in enumerate(cases.items()):
        spec = host.spec(f"a.b/{n}:1", "x")
        spec["processes"] = [{"env": ENV, "cwd": str(host.dir), **process}]
        with pytest.raises(KeeperError) as e:
            put_start(c, spec)
        assert (e.value.code, e.value.text) == ("exec", text)
        assert c.event(of("rejected"))["reason"] == text
        u = c.unit(spec["unit"])
        assert (u["state"], u["exit"]["reason"], u["exit"]["code"]) == (State.REJECTED, text, None)
    assert host.marked() == []


def test_an_altered_file_is_refused_also_on_a_restart(host: KeeperHost) -> None:
    c = host.up()
    program = host.dir / "program"
    program.write_text("#!/bin/sh\nexec sleep 100001\n")
    program.chmod(0o755)
    s = program.stat()
    guard = [[str(program), s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns]]
    first = put_start(c, host.spec(U, str(program), "arg", guard=guard))
    program.write_text("#!/bin/sh\nexec sleep 100002\n")
    os.utime(program, ns=(s.st_atime_ns, s.st_mtime_ns))  # same size, same mtime: the ctime tells
    os.kill(first["pid"], signal.SIGKILL)
    assert c.event(of("rejected"))["altered"] == str(program)
    u = c.unit(U)
    assert (u["state"], u["altered"], u["pids"]) == (State.REJECTED, str(program), {})
    with pytest.raises(KeeperError) as e:
        c.call("start", unit=U)
    assert (e.value.code, e.value.text) == ("altered", f"altered: {program}")


def test_back_off_then_hold_then_a_fresh_start(host: KeeperHost) -> None:
    c = host.up()
    rule = {"delay": 0.05, "max_delay": 0.1, "attempts": 3, "window": 100, "reset": 50}
    put_start(c, host.spec(U, "exit 7", restart=rule))
    starts = []
    while True:
        e = c.event(lambda e: True)
        if e["event"] == "hold":
            break
        if e["event"] == "exit":
            starts.append((e["next_start"] or e["exit"]["ended"]) - e["exit"]["ended"])
            assert e["exit"]["code"] == 7
    assert [round(s, 3) for s in starts] == [0, 0.05, 0.1, 0]
    assert e["reason"] == "3 restarts within 100 s"
    u = c.unit(U)
    assert (u["state"], u["restarts"], u["run"], u["wanted"]) == (State.FAILED, 3, 4, True)
    assert u["held"] and u["next_start"] is None and len(u["exits"]) == 4
    c.call("start", unit=U)
    assert c.event(of("exit"))["next_start"] is not None  # the count began anew


@pytest.mark.parametrize(
    ("mode", "script", "state"),
    [
        ("never", "exit 0", State.COMPLETE),
        ("never", "exit 1", State.FAILED),
        ("on-failure", "exit 0", State.COMPLETE),
    ],
)
def test_ends_that_are_not_followed_by_a_start(
    host: KeeperHost, mode: str, script: str, state: State
) -> None:
    c = host.up()
    put_start(c, host.spec(U, script, restart={"mode": mode}))
    assert c.event(of("exit"))["next_start"] is None
    assert c.unit(U)["state"] == state and c.unit(U)["run"] == 1


def test_stop_while_it_waits_for_its_next_start(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "exit 1", restart={"delay": 600, "max_delay": 600}))
    wait_for(lambda: c.unit(U)["tries"] == 2)
    assert c.unit(U)["next_start"] is not None
    c.call("stop", unit=U)
    u = c.unit(U)
    assert (u["wanted"], u["next_start"], u["state"]) == (False, None, State.FAILED)
    c.call("start", unit=U)
    assert c.unit(U)["run"] >= 3  # at once, not in ten minutes


def test_what_a_program_finds(host: KeeperHost) -> None:
    """Environment, descriptors, session, signals, directory, log file modes."""
    c = host.up()
    secret = host.dir / "secret"
    secret.write_text("pass\nword\n")
    script = (
        "import json,os,signal,sys;"
        "st=dict(l.split(':',1) for l in open('/proc/self/status').read().splitlines());"
        "print(json.dumps({'env':dict(os.environ),'fds':sorted(os.listdir('/proc/self/fd')),"
        "'in':os.readlink('/proc/self/fd/0'),'sid':os.getsid(0)==os.getpid(),'cwd':os.getcwd(),"
        "'ign':st['SigIgn'],'blk':st['SigBlk'],'umask':st['Umask'],"
        "'oom':open('/proc/self/oom_score_adj').read().strip()}),flush=True);"
        "print('err',file=sys.stderr,flush=True);signal.pause()"
    )
    spec = host.spec(U, sys.executable, "-I", "-S", "-c", script, secrets={"TOKEN": str(secret)})
    spec["processes"][0]["env"] = {"A": "b", "ü": "é", "COCKPIT_RUN_MARK": U}
    put_start(c, spec)
    wait_for(lambda: host.log(U, 1, "err") == "err\n")
    seen = json.loads(host.log(U, 1))
    # Python of an ASCII locale adds one of its own
    env = {k: v for k, v in seen["env"].items() if k != "LC_CTYPE"}
    assert re.fullmatch("[0-9a-f]{16}", env.pop("COCKPIT_KEEPER"))
    assert env == {
        "A": "b", "ü": "é", "TOKEN": "pass\nword", "COCKPIT_RUN_MARK": U, "COCKPIT_RUN": "1",
        "COCKPIT_PROCESS": "main",
    }
    assert seen["fds"] in (["0", "1", "2", "3"], ["0", "1", "2"])  # 3 is the listing's own
    assert (seen["in"], seen["sid"], seen["cwd"]) == ("/dev/null", True, str(host.dir))
    assert int(seen["blk"], 16) == 0 and seen["oom"] == "0" and seen["umask"].strip() == "0022"
    assert int(seen["ign"], 16) & (1 << 1 | 1 << 2) == 0  # INT is Python's own; HUP and QUIT are not
    log = host.dir / "logs" / "a.b_0_1"
    assert (log / "1.main.out").stat().st_mode & 0o777 == 0o600 and log.stat().st_mode & 0o777 == 0o700


def test_default_signals_in_a_shell(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "grep -E 'SigIgn|SigBlk' /proc/self/status; exec sleep 100001"))
    wait_for(lambda: "SigIgn" in host.log(U, 1))
    assert re.findall(r"\s0{16}$", host.log(U, 1), re.M) != [] and "1" not in host.log(U, 1)


def test_secrets_that_cannot_be_read(host: KeeperHost) -> None:
    c = host.up()
    big = host.dir / "big"
    big.write_text("hunter2" * 10_000)
    nul = host.dir / "nul"
    nul.write_bytes(b"hunter2\0")
    fifo = host.dir / "fifo"
    os.mkfifo(fifo)
    for n, (path, said) in enumerate([
        (str(host.dir / "none"), "secret: ENOENT"), (str(host.dir), "secret: EISDIR"), (str(big), "65536"),
        (str(nul), "NUL"),
    ]):
        with pytest.raises(KeeperError) as e:
            put_start(c, host.spec(f"a.b/{n}:1", "true", secrets={"TOKEN": path}))
        assert e.value.code == "exec" and said in e.value.text and path in e.value.text
        assert "hunter2" not in e.value.text
    put_start(c, host.spec("a.b/9:1", *FOREVER, secrets={"TOKEN": str(fifo)}))  # it does not wait for it
    assert b"hunter2" not in (host.dir / "keeper" / "journal").read_bytes()


def test_limits(host: KeeperHost) -> None:
    c = host.up()
    limits = {"nofile": 77, "core": 0, "cpu": 1000, "as": 1 << 31}
    put_start(c, host.spec(U, "ulimit -n; ulimit -c; ulimit -t; ulimit -v; exec sleep 100001", limits=limits))
    wait_for(lambda: host.log(U, 1).split() == ["77", "0", "1000", str((1 << 31) // 1024)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    put_start(c, host.spec("a.b/1:1", "ulimit -Sn; ulimit -Hn; exec sleep 100001"))
    wait_for(lambda: host.log("a.b/1:1", 1).split() == [str(soft), str(hard)])  # not the keeper's


@root
def test_another_user(host: KeeperHost) -> None:
    c = host.up()
    spec = host.spec(U, "id -u; id -g; id -G; exec sleep 100001", uid=12345, gid=23456, groups=[34567])
    spec["processes"][0]["cwd"] = "/"
    put_start(c, spec)
    wait_for(lambda: host.log(U, 1).split() == ["12345", "23456", "23456", "34567"])
    spec["unit"] = "a.b/1:1"
    spec["processes"][0]["cwd"] = str(host.dir)  # 0700 and not theirs
    with pytest.raises(KeeperError) as e:
        put_start(c, spec)
    assert e.value.text == f"chdir: EACCES {host.dir}"


@pytest.mark.skipif(CORE_PATTERN.startswith(("|", "/")), reason="cores go elsewhere here")
def test_a_core_is_kept(host: KeeperHost) -> None:
    c = host.up()
    spec = host.spec(U, "kill -SEGV $$", restart={"mode": "never"}, limits={"core": -1})
    put_start(c, spec)
    record = c.event(of("exit"))["exit"]
    assert record["signal"] == signal.SIGSEGV
    core = Path(record["core"])
    assert core == host.dir / "cores" / "a.b_0_1.1.core"
    assert core.stat().st_size > 0 and core.stat().st_mode & 0o777 == 0o600
    assert list(host.dir.glob("core*")) == [host.dir / "cores"]
    c.call("start", unit=U)
    assert c.event(lambda e: e["event"] == "exit" and e["run"] == 2)["exit"]["core"].endswith(".2.core")


def test_no_core_no_path(host: KeeperHost) -> None:
    c = host.up()
    (host.dir / "core").write_text("not ours")
    put_start(c, host.spec(U, "kill -SEGV $$", restart={"mode": "never"}, limits={"core": 0}))
    record = c.event(of("exit"))["exit"]
    assert record["signal"] == signal.SIGSEGV and record["core"] is None
    assert (host.dir / "core").exists()


def test_sd_notify(host: KeeperHost) -> None:
    c = host.up()
    script = (
        "import os,socket,signal;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);"
        "s.connect('\\0'+os.environ['NOTIFY_SOCKET'][1:]);"
        "s.send(b'STATUS=warming');signal.sigwait([signal.SIGUSR1]);"
        "s.send(b'READY=1\\nSTATUS=up\\nWATCHDOG=1');signal.pause()"
    )
    script = "import signal;signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGUSR1]);" + script
    pid = put_start(c, host.spec(U, sys.executable, "-I", "-S", "-c", script, notify=True))["pid"]
    assert c.event(of("notify"))["status"] == "warming"
    assert c.unit(U)["state"] == State.STARTING and not c.unit(U)["ready"]
    os.kill(pid, signal.SIGUSR1)
    e = c.event(of("notify"))
    assert (e["ready"], e["status"]) == (True, "up")
    u = c.unit(U)
    assert (u["state"], u["ready"], u["status"]) == (State.RUNNING, True, "up") and u["watchdog"] > 0
    host.crash()  # what it said once is not forgotten, and it is still heard
    c = host.up()
    u = c.unit(U)
    assert (u["state"], u["ready"], u["pids"]) == (State.RUNNING, True, {"main": pid})
    os.kill(pid, signal.SIGKILL)
    c.event(lambda e: e["event"] == "notify" and e["status"] == "warming" and e["run"] == 2)


def test_a_burst_of_output_goes_to_the_file_whole(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, "seq 20000; exit 0", restart={"mode": "never"}))
    c.event(of("exit"))
    assert host.log(U, 1).split() == [str(n) for n in range(1, 20001)]


def test_peak_memory_is_the_programs_not_the_keepers(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec(U, *FOREVER))
    small = c.call("stop", unit=U)["exit"]["peak_rss"]
    argv = [sys.executable, "-I", "-S", "-c", "x = b'x' * (64 << 20)"]
    put_start(c, host.spec("a.b/1:1", *argv, restart={"mode": "never"}))
    big = c.event(of("exit", "a.b/1:1"))["exit"]["peak_rss"]
    assert 0 < small < 6000 and 64 << 10 < big < 128 << 10


def test_a_program_that_is_stopped_by_a_signal_is_ended_as_well(host: KeeperHost) -> None:
    c = host.up()
    pid = put_start(c, host.spec(U, *FOREVER))["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert c.call("stop", unit=U, grace=60)["exit"]["signal"] == 15


def test_two_units_of_one_instance(host: KeeperHost) -> None:
    c = host.up()
    put_start(c, host.spec("a.b/0:1", *FOREVER))
    put_start(c, host.spec("a.b/0:2", *FOREVER))
    with pytest.raises(KeeperError) as e:
        c.call("stop", unit="a.b/0")
    assert e.value.code == "bad" and "a.b/0:1, a.b/0:2" in e.value.text
    c.call("stop", unit="a.b/0:1")
    assert [u["state"] for u in c.units()] == [State.SHUTDOWN, State.RUNNING]


def test_end_takes_everything_along(host: KeeperHost) -> None:
    c = host.up()
    for n in range(3):
        put_start(c, host.spec(f"a.b/{n}:1", "sleep 100001 & setsid sleep 100002 & wait"))
    agent = c.call("agent", argv=sh("exec sleep 100003"))["agent_pid"]
    put_start(c, host.spec("a.b/9:1", "exit 1", restart={"delay": 600, "max_delay": 600}))
    c.call("end")
    assert host.keeper is not None and host.keeper.wait(PATIENCE) == 0
    assert host.marked() == [] and not alive(agent)
    assert not (host.dir / "keeper.sock").exists()
    c = host.up()  # it was the host that was ended, not the wish for its services
    assert c.call("hello")["agent_pid"] is not None
    wait_for(lambda: len([u for u in c.units() if u["pids"]]) == 3)
    c.call("end")
    assert host.keeper.wait(PATIENCE) == 0
