"""Hosts with nothing but sshd and a service manager: shown, restarted, deployed to, then bootstrapped.

One runs a real systemd in a container and has no Python (when dist/cockpit-agent was made). The other has supervisord
and a view of processes of its own. Nothing restarts while an agent comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cockpit
from tests.e2e.cluster import COCKPIT, Cluster
from tests.helpers import PATIENCE, wait_for
from tests.machine import Machine, machines_possible
from tests.netlab import Lab

pytestmark = [
    pytest.mark.skipif(
        not machines_possible() or not shutil.which("supervisord") or not Path("/usr/sbin/sshd").exists(),
        reason="containers, sshd and supervisord are needed, as root",
    ),
    pytest.mark.timeout(600),
]
ONE_FILE = Path(cockpit.__file__).parent.parent / "dist" / "cockpit-agent"
PORT = 7700
FAR = "/var/lib/cockpit-ssh"
"""Where Cockpit acts by SSH on the machine with systemd."""
TOPOLOGY = """
cockpit: 1
name: two
regions: {{r: {{}}}}
hosts:
  sd: {{region: r, address: {sd}, connection: ssh, ssh: {{user: root}}}}
  sv: {{region: r, address: {sv}, connection: ssh, ssh: {{user: root, directory: {root}/sv}}}}
tree:
  app:
    children:
      web: {{artifact: web, version: "1", command: [/bin/sh, run], runtime: {{systemd: web.service}}, {on_sd}}}
      job: {{artifact: web, version: "1", command: [/bin/sh, run], {on_sd}}}
      site: {{artifact: web, version: "1", command: [/bin/sh, run], runtime: {{supervisord: site}}, {on_sv}}}
"""
ON = "instances: {{hosts: [{}]}}, update: {{healthy_for: 100ms, deadline: 30s}}"
UNIT = f"""
[Service]
ExecStart=/bin/sh {FAR}/instances/app.web_0/release/run
Restart=always
RestartSec=100ms
[Install]
WantedBy=multi-user.target
"""
SUPERVISORD = """
[unix_http_server]
file={dir}/s.sock
[supervisord]
logfile={dir}/s.log
pidfile={dir}/s.pid
childlogdir={dir}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{dir}/s.sock
[program:site]
command=/bin/sh {dir}/instances/app.site_0/release/run
startsecs=0
autostart=false
"""
SSHD = """
HostKey {dir}/host
PidFile none
AuthorizedKeysFile {dir}/authorized
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
"""
INSIDE = """
mount --make-rprivate /
# what goes wrong here is no harm to this machine
for d in etc var; do
  mkdir -p "$1/over/$d/up" "$1/over/$d/work"
  mount -t overlay none -o "lowerdir=/$d,upperdir=$1/over/$d/up,workdir=$1/over/$d/work" /$d
done
[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd
mkdir -p /run/sshd /etc/supervisor
cp "$1/supervisord.conf" /etc/supervisor/
supervisord -n -c /etc/supervisor/supervisord.conf &
exec /usr/sbin/sshd -D -e -f "$1/sshd/config"
"""


class Two(Cluster):
    """A controller in its namespace, the machine with systemd, and the one with supervisord."""

    def __init__(self, root: Path) -> None:
        self.lab = Lab()
        self.home = root / "home"
        try:
            switch = self.lab.switch("s", "198.19.6")
            for name in ("ctl", "sd", "sv"):
                self.lab.host(name, switch)
            at = {name: place.address for name, place in self.lab.places.items()}
            text = TOPOLOGY.format(root=root, on_sd=ON.format("sd"), on_sv=ON.format("sv"), **at)
            super().__init__(root, text)
            (self.home / ".ssh").mkdir(parents=True, mode=0o700)
            self.key = self.home / ".ssh" / "id_ed25519"
            _keygen(self.key)
            self.sd = Machine(self.lab, "sd", self.key)
            self.sv = self._supervised()
        except BaseException:
            self.lab.close()
            raise

    def _supervised(self) -> subprocess.Popen[bytes]:
        own = self.root / "sv"
        (own / "sshd").mkdir(parents=True)
        _keygen(own / "sshd" / "host")
        shutil.copy(self.key.with_suffix(".pub"), own / "sshd" / "authorized")
        (own / "sshd" / "config").write_text(SSHD.format(dir=own / "sshd"))
        (own / "supervisord.conf").write_text(SUPERVISORD.format(dir=own))
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", INSIDE, "sh"]
        with (self.root / "sv.log").open("wb") as log:
            return subprocess.Popen(
                self.lab.argv("sv", *argv, str(own)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )  # fmt: skip

    def begin(self) -> None:
        self.sd.wait()
        if ONE_FILE.exists():
            newest = max(p.stat().st_mtime for p in Path(cockpit.__file__).parent.rglob("*.py"))
            assert ONE_FILE.stat().st_mtime > newest, f"{ONE_FILE} is older than its source: make agent, or remove it"
            self.sd.out("sh", "-c", "'rm -rf /usr/bin/python3* /usr/lib/python3* /usr/bin/supervisor*'")
        else:  # a zipapp makes its key by openssl
            tool = Path(shutil.which("openssl") or "/usr/bin/openssl").read_bytes()
            assert self.sd.run(["install", "-m", "755", "/dev/stdin", "/usr/bin/openssl"], stdin=tool).returncode == 0
            self.sd.put("/usr/lib/ssl/openssl.cnf", Path("/etc/ssl/openssl.cnf").read_text())
        self.sd.put("/etc/systemd/system/web.service", UNIT)
        known = f"{self.lab.places['sv'].address} {(self.root / 'sv/sshd/host.pub').read_text()}"
        (self.home / ".ssh" / "known_hosts").write_text(self.sd.host_key() + known)
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.home), "SSH_AUTH_SOCK": "", "COCKPIT_STATE": str(self.state)}

    def start(self, *, from_file: bool = True) -> None:
        serve = ["serve", str(self.file), "--state", str(self.state)]
        serve += ["--listen", self.lab.places["ctl"].address, "--port", str(PORT)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.lab.argv("ctl", *COCKPIT, *serve), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env=self.environment,
            )  # fmt: skip
        wait_for(self.answers, 60, f"controller answers; its log:\n{self.log.read_text()}")

    def bootstrap(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        done = subprocess.run(
            self.lab.argv("ctl", *COCKPIT, "bootstrap", *words, "--json"), env=self.environment, cwd=self.root,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip
        assert done.returncode == code, (done.stdout, done.stderr, self.log.read_text()[-2000:])
        outcomes = json.loads(done.stdout)
        assert isinstance(outcomes, list)
        return outcomes

    def entered(self) -> bool:
        return self.up()

    def versions(self) -> dict[str, str]:
        return {id: str(i["version_actual"]) for id, i in self.instances().items()}

    def add(self, version: str) -> None:
        tree = self.root / f"web-{version}"
        tree.mkdir()
        (tree / "run").write_text(f"echo version {version}\nexec sleep 100000\n")
        self.cli("artifact", "add", str(tree), "--name", "web", "--version", version)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(40)
        self.sd.close()
        self.lab.close()
        self.sv.wait(PATIENCE)


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextlib.contextmanager
def two() -> Iterator[Two]:
    root = Path(tempfile.mkdtemp(prefix="ck-"))
    made = Two(root)
    try:
        made.begin()
        yield made
    finally:
        made.close()
        shutil.rmtree(root, ignore_errors=True)


def test_shown_restarted_deployed_to_and_bootstrapped() -> None:
    with two() as c:
        c.add("1")
        c.add("2")
        c.add("3")
        c.wait(c.entered, 60, "both are entered")
        c.cli("converge")
        c.wait_calm()
        before = c.pids()
        assert set(before) == {"app.web/0", "app.job/0", "app.site/0"}
        c.cli("restart", "app.web", "app.site")
        c.cli("deploy", "app.web", "2")
        c.cli("deploy", "app.site", "2")
        c.wait_calm()
        pids = c.pids()
        assert {id: p for id, p in pids.items() if p == before[id]} == {"app.job/0": before["app.job/0"]}
        assert c.versions() == {"app.web/0": "2", "app.job/0": "1", "app.site/0": "2"}

        # without being told so, a host without an agent is not touched
        refused = c.bootstrap("sd", code=1)
        assert refused[0]["outcome"] == "refused" and "--switch" in refused[0]["text"]
        done = c.bootstrap("sd", "sv", "--switch")
        assert [o["outcome"] for o in done] == ["installed", "installed"], done
        c.wait_calm()
        assert c.pids() == pids  # nothing restarted
        assert all(h["agent_pid"] and h.get("connection", "agent") == "agent" for h in c.status()["hosts"])
        assert c.versions() == {"app.web/0": "2", "app.job/0": "1", "app.site/0": "2"}

        # again changes nothing
        again = c.bootstrap("sd", "sv")
        assert [(o["outcome"], o["done"]) for o in again] == [("was there", []), ("was there", [])], again
        assert c.pids() == pids

        # whatever systemd does to agent and keeper, no service notices
        agent = c.presence("sd")["agent_pid"]
        c.sd.out("systemctl", "kill", "--signal=KILL", "cockpit-agent.service", "cockpit-keeper.service")
        c.wait(lambda: c.presence("sd")["agent_pid"] not in (None, agent), 30, "another agent is there")
        c.sd.out("systemctl", "restart", "cockpit-keeper.service")
        c.wait_calm()
        assert c.pids() == pids

        # where they run, they go on being managed
        for service in ("app.web", "app.job", "app.site"):
            c.cli("deploy", service, "3")
        c.wait_calm()
        assert c.versions() == dict.fromkeys(pids, "3")
        assert not set(c.pids().values()) & set(pids.values())
        assert c.sd.out("systemctl", "is-active", "web.service").strip() == "active"
        lines = c.cli("log", "--instance", "app.web/0", "-n", "20")
        assert "version 2" in lines and "version 3" in lines  # systemd's journal has them
        cgroup = c.sd.out("cat", f"/proc/{c.pids()['app.job/0']}/cgroup")
        assert "cockpit-keeper.service" in cgroup  # a service without a runtime is the keeper's now
        c.sd.out("systemctl", "restart", "cockpit-keeper.service", "cockpit-agent.service")
        kept = c.pids()
        c.wait_calm()
        assert c.pids() == kept

        # from systemd to the keeper: a change of the topology
        c.file.write_text(c.cli("export").replace("systemd: web.service", "REMOVED"))
        text = "\n".join(line for line in c.file.read_text().splitlines() if "REMOVED" not in line)
        c.file.write_text(text.replace("runtime:\n", "", 1) if "runtime:\n" in text else text)
        c.cli("apply", str(c.file))
        c.wait_calm()
        assert c.sd.run(["systemctl", "is-active", "web.service"]).stdout.strip() == b"inactive"
        assert "cockpit-keeper.service" in c.sd.out("cat", f"/proc/{c.pids()['app.web/0']}/cgroup")
