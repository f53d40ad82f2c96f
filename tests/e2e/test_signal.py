"""Signals through the real controller, agent and keeper to a program that writes down what it gets."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, cluster
from tests.helpers import alive, loopback

LISTENER = """
import os, signal, subprocess, sys
root = os.path.dirname(sys.argv[0])
name = sys.argv[1]
def note(word):
    with open(root + "/got", "a") as f:
        f.write(f"{name} {word}\\n")
def got(number, frame):
    note(signal.Signals(number).name)
for each in ("HUP", "USR1", "WINCH", "CONT"):
    signal.signal(getattr(signal, "SIG" + each), got)
if name == "main":
    with open(root + "/pid", "w") as f:
        f.write(str(os.getpid()))
    subprocess.Popen([sys.executable, "-S", sys.argv[0], "child"])
note("up")
while True:
    signal.pause()
"""
CHECK = """
read -r pid <@ROOT@/pid
read -r line <"/proc/$pid/stat" || exit 1
case "${line##*) }" in T*) echo frozen >&2; exit 1 ;; esac
"""
TOPOLOGY = """
cockpit: 1
name: told
regions: {{east: {{}}}}
hosts:
  h1: {{region: east, address: {one}, connection: local}}
guards:
  - {{name: till, verbs: [signal], targets: [till], effect: deny, reason: it takes money}}
tree:
  work:
    children:
      a:
        command: ["{python}", "-S", "@ROOT@/listener.py", main]
        version: "1"
        check: {{exec: [sh, "@ROOT@/check"], interval: 100ms, fall: 1}}
        update: {{healthy_for: 0s}}
        stop: {{drain: 0s, grace: 1s}}
      deaf:
        command: [sleep, "500005"]
        version: "1"
        restart: {{mode: never}}
        update: {{healthy_for: 0s}}
        stop: {{drain: 0s, grace: 1s}}
      till:
        command: [sleep, "500006"]
        version: "1"
        update: {{healthy_for: 0s}}
        stop: {{drain: 0s, grace: 1s}}
"""


@pytest.fixture(scope="module")
def told() -> Iterator[Cluster]:
    with cluster(TOPOLOGY.format(one=loopback(), python=sys.executable), start=False) as c:
        (c.root / "listener.py").write_text(LISTENER)
        (c.root / "check").write_text(CHECK.replace("@ROOT@", str(c.root)))
        c.start()
        c.wait_calm()
        c.wait(lambda: got(c) == ["main up", "child up"] or got(c) == ["child up", "main up"])
        (c.root / "got").write_text("")
        yield c


def got(c: Cluster) -> list[str]:
    file = c.root / "got"
    return file.read_text().splitlines() if file.exists() else []


def journal(c: Cluster, kind: str) -> list[dict[str, Any]]:
    return [e["body"] for e in json.loads(c.cli("log", "--json")) if e["kind"] == kind]


def test_the_main_process_gets_it_and_the_journal_has_who_and_what(told: Cluster) -> None:
    pid = told.pids()["work.a/0"]
    shown = told.cli("plan", "signal", "HUP", "a")
    assert f"send HUP to a/0 on h1: pid {pid}" in shown and "nothing undoes a signal" in shown and got(told) == []
    said = told.cli("signal", "sighup", "a/0")
    assert "signal HUP a/0: done" in said
    told.wait(lambda: got(told) == ["main SIGHUP"], what="the program was told, and nobody else")
    assert told.pids()["work.a/0"] == pid
    intent, outcome = journal(told, "intent")[-1], journal(told, "outcome")[-1]
    assert (intent["verb"], intent["targets"], intent["params"]) == ("signal", ["work.a/0"], {"signal": "HUP"})
    assert outcome["outcome"] == "done" and intent["author"]
    assert "cockpit signal HUP work.a/0" in told.cli("log", "--commands")
    (step,) = json.loads(told.cli("action", intent["action"], "--json"))["steps"]
    assert (step["state"], step["note"]) == ("done", f"pid {pid}")


def test_all_reaches_what_it_started(told: Cluster) -> None:
    (told.root / "got").write_text("")
    told.cli("signal", "usr1", "a", "--all")
    told.wait(lambda: sorted(got(told)) == ["child SIGUSR1", "main SIGUSR1"])


def test_a_frozen_one_is_unhealthy_until_it_goes_on(told: Cluster) -> None:
    shown = told.cli("plan", "signal", "STOP", "a/0")
    assert "freezes: its health fails within about" in shown and "signal CONT" in shown
    told.cli("signal", "STOP", "a/0", code=3)
    told.cli("signal", "STOP", "a/0", "--confirm", "a/0")
    told.wait(lambda: told.instances()["work.a/0"]["health"] == "failing")
    told.cli("signal", "CONT", "a/0")
    told.wait(lambda: told.instances()["work.a/0"]["health"] == "ok")


def test_kill_needs_the_name_ends_the_run_and_keeps_its_true_record(told: Cluster) -> None:
    before = told.instances()["work.a/0"]
    done = told.run("signal", "KILL", "a/0")
    assert done.returncode == 3 and "repeat with --confirm a/0" in done.stderr, done
    told.cli("signal", "KILL", "a/0", "--confirm", "b/0", code=3)
    assert told.instances()["work.a/0"]["pid"] == before["pid"]
    told.cli("signal", "KILL", "a/0", "--confirm", "a/0")
    assert not alive(before["pid"]), "done means that it is gone"
    told.wait(lambda: (i := told.instances()["work.a/0"])["restarts"] == 1 and i["health"] == "ok")
    life = told.cli("timeline", "a/0")
    assert "signal 9" in life and "signal KILL a/0" in life, life


def test_what_does_not_listen_ends_of_it_and_is_named(told: Cluster) -> None:
    told.cli("signal", "USR2", "deaf")
    pid_note = json.loads(told.cli("action", told.newest("signal"), "--json"))["steps"][0]["note"]
    assert "does not handle USR2" in pid_note
    told.wait(lambda: told.instances()["work.deaf/0"]["state"] == "FAILED")
    assert "signal 12" in told.instances()["work.deaf/0"]["reason"]
    assert "signal USR2 deaf" in told.cli("explain", "deaf/0", code=None), "the operator's signal is named as a cause"
    done = told.run("signal", "HUP", "deaf")
    assert done.returncode == 3 and "deaf/0 does not run: nothing is sent to it" in done.stderr, done
    done = told.run("signal", "HUP", "a", "deaf")
    assert done.returncode == 1 and "nothing is sent to it" in done.stderr, "not all that was asked for"


def test_a_guard_and_read_only_stand_before_it(told: Cluster) -> None:
    pid = told.pids()["work.till/0"]
    done = told.run("signal", "TERM", "till/0", "--confirm", "till/0")
    assert done.returncode == 3 and "it takes money" in done.stderr, done
    done = told.run("signal", "HUP", "a/0", "--read-only")
    assert done.returncode == 3 and "signal is refused" in done.stderr, done
    assert told.pids()["work.till/0"] == pid and alive(pid)


@pytest.mark.parametrize(("words", "said"), [
    (("HPU", "a/0"), "did you mean HUP?"), (("HUP", "h1"), "no target 'h1'"),
    (("HUP", "a/0", "--process", "side"), "no process 'side'"), (("HUP",), "TARGET"),
])  # fmt: skip
def test_wrong_input_is_told_the_nearest_right_thing(told: Cluster, words: tuple[str, ...], said: str) -> None:
    done = told.run("signal", *words)
    assert done.returncode == 2 and said in done.stderr, done


def test_it_is_rehearsed_on_the_copy(told: Cluster) -> None:
    said = told.cli("signal", "TERM", "a/0", "--rehearse")
    assert "It would be done" in said, said
