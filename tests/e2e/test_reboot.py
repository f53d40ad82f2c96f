"""A machine with two hosts, root's under systemd and that of a user: rebooted, and given a new authority."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import COCKPIT, Cluster
from tests.helpers import wait_for
from tests.machine import Machine, machines_possible
from tests.netlab import Lab

pytestmark = [
    pytest.mark.skipif(not machines_possible(), reason="containers are needed, as root"), pytest.mark.timeout(600),
]
TOPOLOGY = """
cockpit: 1
name: boots
regions: {{r: {{}}}}
hosts:
  sd: {{region: r, address: {at}, labels: {{as: root}}}}
  us: {{region: r, address: {at}, labels: {{as: ops}}, ports: 21000-21999}}
tree:
  app:
    children:
      web: {{command: [sleep, "100000"], version: "1", instances: {{hosts: [sd, us]}}}}
      off: {{command: [sleep, "100000"], version: "1", instances: {{hosts: [sd]}}}}
"""
PORT = 7700


class One(Cluster):
    """A controller in its namespace, and a machine where root has an agent under systemd and `ops` one of its own."""

    def __init__(self, root: Path) -> None:
        self.lab = Lab()
        self.home = root / "home"
        try:
            switch = self.lab.switch("s", "198.19.7")
            for name in ("ctl", "sd"):
                self.lab.host(name, switch)
            super().__init__(root, TOPOLOGY.format(at=self.lab.places["sd"].address))
            (self.home / ".ssh").mkdir(parents=True, mode=0o700)
            key = self.home / ".ssh" / "id_ed25519"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
            self.sd = Machine(self.lab, "sd", key)
        except BaseException:
            self.lab.close()
            raise

    def begin(self) -> None:
        self.sd.wait()
        tool = Path(shutil.which("openssl") or "/usr/bin/openssl").read_bytes()
        assert self.sd.run(["install", "-m", "755", "/dev/stdin", "/usr/bin/openssl"], stdin=tool).returncode == 0
        self.sd.put("/usr/lib/ssl/openssl.cnf", Path("/etc/ssl/openssl.cnf").read_text())
        self.sd.out("useradd", "-m", "-s", "/bin/sh", "ops")
        self.sd.out("install", "-d", "-o", "ops", "-m", "700", "/home/ops/.ssh")
        self.sd.out("install", "-o", "ops", "-m", "600", "~/.ssh/authorized_keys", "/home/ops/.ssh/")
        (self.home / ".ssh" / "known_hosts").write_text(self.sd.host_key())
        self.start()

    def start(self, *, from_file: bool = True) -> None:
        serve = ["serve", str(self.file), "--state", str(self.state)]
        serve += ["--listen", self.lab.places["ctl"].address, "--port", str(PORT)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.lab.argv("ctl", *COCKPIT, *serve), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env=self.environment,
            )  # fmt: skip
        wait_for(self.answers, 60, f"controller answers; its log:\n{self.log.read_text()}")

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.home), "SSH_AUTH_SOCK": "", "COCKPIT_STATE": str(self.state)}

    def bootstrap(self, *words: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            self.lab.argv("ctl", *COCKPIT, "bootstrap", *words, "--json"), env=self.environment, cwd=self.root,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout, done.stderr, self.log.read_text()[-2000:])
        outcomes: list[dict[str, Any]] = json.loads(done.stdout)
        return outcomes

    def agents(self) -> dict[str, int]:
        return {h["name"]: h["agent_pid"] for h in self.status()["hosts"]}

    def away(self) -> dict[str, tuple[str, str]]:
        """Host -> its presence and why, of those that are not up."""
        return {h["name"]: (h["presence"], h["reason"]) for h in self.status()["hosts"] if h["presence"] != "up"}

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(40)
        self.sd.close()
        self.lab.close()


@contextlib.contextmanager
def one() -> Iterator[One]:
    root = Path(tempfile.mkdtemp(prefix="ck-"))
    made = One(root)
    try:
        made.begin()
        yield made
    finally:
        made.close()
        shutil.rmtree(root, ignore_errors=True)


def tells(c: One, instance: str, words: str) -> bool:
    return words in c.cli("timeline", instance)


def test_agents_and_services_come_back_after_a_reboot() -> None:
    """Also those of somebody who is not root, on a machine where systemd's units are another host's."""
    with one() as c:
        (sd,) = c.bootstrap("sd", "--user", "root")
        (us,) = c.bootstrap("us", "--user", "ops", "--dir", "/home/ops/.cockpit")
        assert (sd["outcome"], us["outcome"]) == ("installed", "installed"), (sd, us)
        assert sd["done"] == ["upload", "join", "unit", "unit", "enable", "enable"]
        assert us["done"] == ["upload", "join", "start", "cron"]
        c.cli("converge")
        c.wait_calm(90)
        c.cli("stop", "app.off", "--confirm", "off")
        c.wait_calm()
        before, agents = c.pids(), c.agents()
        c.sd.go_down()
        c.wait(lambda: len(c.away()) == 2, 60, "both are away")
        assert c.away()["sd"] == ("down", "the machine was shut down")
        assert c.away()["us"][0] in ("suspect", "unknown", "down")
        assert "host sd" in c.cli("status") and "the machine was shut down" in c.cli("status")
        c.sd.come_up()
        c.wait(lambda: not c.away(), 90, "both are up again")
        c.wait_calm(90)
        assert set(c.pids()) == set(before) == {"app.web/0", "app.web/1"}  # what was stopped stays so
        assert not c.sd.out("cat", "/home/ops/.cockpit/boot.log").count("Traceback")
        assert agents != c.agents()
        for host in ("sd", "us"):
            assert f"{host} was booted: it has another boot id" in c.cli("timeline", host)
        for instance in before:
            c.wait(functools.partial(tells, c, instance, " ended: host rebooted"), 60, "its end is told")
            said = c.cli("timeline", instance)
            # whoever shuts a machine down may end the service first; then its keeper begins one more run
            last = re.search(r"run (\d) ended: host rebooted", said)
            assert last and f"run {int(last[1]) + 1} of 1 started" in said, said


def test_a_new_authority_takes_the_place_of_one_whose_key_leaked() -> None:
    """As docs/security.md says: a new state from what a host holds, and every host joins anew. No service notices."""
    with one() as c:
        c.bootstrap("sd", "--user", "root")
        c.bootstrap("us", "--user", "ops", "--dir", "/home/ops/.cockpit")
        c.cli("converge")
        c.wait_calm(90)
        before, old = c.pids(), c.cli("ca")
        assert c.process is not None
        c.process.terminate()
        c.process.wait(60)
        head = c.root / "head.json"
        head.write_text(c.sd.out("cat", "/var/lib/cockpit/head.json"))
        c.state = c.root / "new"
        c.cli("recover", "--state", str(c.state), "--head", str(head))
        c.start(from_file=False)
        assert c.cli("ca") != old
        assert len(c.away()) == 2  # nobody is let in by what the old one has signed
        (sd,) = c.bootstrap("sd", "--user", "root")
        (us,) = c.bootstrap("us", "--user", "ops", "--dir", "/home/ops/.cockpit")
        assert [o["done"] for o in (sd, us)] == [["join", "restart"]] * 2
        c.wait(lambda: not c.away(), 60, "both are up")
        c.wait_calm(90)
        assert c.pids() == before
