"""Three regions in namespaces: one direct, one behind two relays in a row, one that only SSH can enter.

    ctl ── out ── d-1 d-2
            ├─ relay-1 ── mid ── relay-2 ── deep ── b-1 b-2
            └─ jump ── inner ── relay-3 s-1 s-2

Nothing is forwarded between the networks: who is on one does not reach the next but through what stands on both.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cockpit.agent.keeper_client import KeeperClient
from tests.e2e.cluster import COCKPIT, Cluster, end_host, end_relay
from tests.helpers import PATIENCE, wait_for
from tests.netlab import Lab

PORT, LINK, ENTRY, ENTRY_ORIGIN = 7700, 7411, 7710, 7711
REGIONS = {"near": ("d-1", "d-2"), "deep": ("b-1", "b-2"), "inner": ("s-1", "s-2")}
HOSTS = tuple(h for hosts in REGIONS.values() for h in hosts)
RELAYS = ("relay-1", "relay-2", "relay-3")

TOPOLOGY = """
cockpit: 1
name: three
regions: {{near: {{}}, mid: {{}}, deep: {{}}, inner: {{}}}}
hosts:
{hosts}
relays:
  relay-1: {{region: mid, address: {relay_1}, port: 7410, link_port: 7411}}
  relay-2: {{region: deep, address: {relay_2}, port: 7410, link_port: 7411, upstream: relay-1}}
  relay-3:
    region: inner
    address: {relay_3}
    port: 7410
    link_port: 7411
    ssh: {{user: root, jump: ["root@{jump}"], listen: 7710, listen_origin: 7711}}
tree:
  app:
    children:
      web:
        artifact: web
        version: "1"
        command: [python3, web.py]
        ports: [http]
        check: {{http: /health, interval: 200ms, timeout: 2s}}
        instances: {{hosts: [{all}]}}
        update: {{order: start-first, healthy_for: 200ms, deadline: 60s, parallel: 2}}
        stop: {{drain: 5s, grace: 5s}}
"""

WEB = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/crash":
            os._exit(9)
        body = os.environ["COCKPIT_VERSION"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64
Server((os.environ["COCKPIT_ADDRESS"], int(os.environ["COCKPIT_PORT_HTTP"])), Handler).serve_forever()
"""

SSHD = """
Port 22
HostKey {dir}/host
PidFile {dir}/pid
AuthorizedKeysFile {dir}/authorized
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
"""


class Regions(Cluster):
    """The cluster, its networks, and every process in its namespace."""

    def __init__(self, root: Path) -> None:
        self.lab = Lab()
        self.far: dict[str, subprocess.Popen[bytes]] = {}
        """Agents, relays and sshds by name."""
        try:
            self._networks()
            super().__init__(root, self._topology())
            self.addresses = {n: p.address for n, p in self.lab.places.items()}
        except BaseException:
            self.lab.close()
            raise

    def _networks(self) -> None:
        lab = self.lab
        out, mid = lab.switch("out", "198.19.1"), lab.switch("mid", "198.19.2")
        deep, inner = lab.switch("deep", "198.19.3"), lab.switch("inn", "198.19.4")
        for name, switch in (
            ("ctl", out), ("d-1", out), ("d-2", out), ("jump", out), ("relay-1", mid), ("relay-2", deep),
            ("b-1", deep), ("b-2", deep), ("relay-3", inner), ("s-1", inner), ("s-2", inner),
        ):  # fmt: skip
            lab.host(name, switch)
        lab.plug("relay-1", "eth1", out)
        lab.plug("relay-2", "eth1", mid)
        lab.plug("jump", "eth1", inner)

    def _topology(self) -> str:
        at = {n.replace("-", "_"): p.address for n, p in self.lab.places.items()}
        hosts = "\n".join(
            f"  {h}: {{region: {region}, address: {self.lab.places[h].address}}}"
            for region, names in REGIONS.items() for h in names
        )  # fmt: skip
        return TOPOLOGY.format(hosts=hosts, all=", ".join(HOSTS), **at)

    # life

    def start(self, *, from_file: bool = True) -> None:
        serve = ["serve", *([str(self.file)] if from_file else []), "--state", str(self.state)]
        serve += ["--listen", self.addresses["ctl"], "--port", str(PORT)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.lab.argv("ctl", *COCKPIT, *serve), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env={**os.environ, "HOME": str(self.root / "home"), "SSH_AUTH_SOCK": ""},
            )
        wait_for(self.answers, 60, f"controller answers; its log:\n{self.log.read_text()}")

    def open_doors(self) -> None:
        """sshds on the way in, and the keys of the controller's user."""
        home = self.root / "home" / ".ssh"
        home.mkdir(parents=True, mode=0o700)
        keygen(home / "id_ed25519")
        known = []
        for name in ("jump", "relay-3"):
            directory = self.root / f"sshd-{name}"
            directory.mkdir()
            keygen(directory / "host")
            shutil.copy(home / "id_ed25519.pub", directory / "authorized")
            (directory / "config").write_text(SSHD.format(dir=directory))
            known.append(f"{self.addresses[name]} {(directory / 'host.pub').read_text()}")
            self.run_far(name, ["/usr/sbin/sshd", "-D", "-e", "-f", str(directory / "config")], key=f"sshd-{name}")
        (home / "known_hosts").write_text("".join(known))

    def join_all(self) -> None:
        """Relays from the outside in, then every agent, by the way that its region has."""
        out = f"https://{self.addresses['ctl']}:{PORT}"
        entry = f"https://127.0.0.1:{ENTRY}"
        ways = {"relay-1": out, "relay-2": f"https://{self.relay_at_mid()}:{LINK}", "relay-3": entry}
        self.wait(lambda: self.way_open("relay-3"), 30, "relay-3 is entered")
        for n, relay in enumerate(RELAYS, 1):
            self.join(relay, "relay", ways[relay])
            self.wait(lambda n=n: self.relays_up() == set(RELAYS[:n]), 40, f"{relay} is up")  # type: ignore[misc]
        ways |= dict.fromkeys(REGIONS["near"], out)
        for region, relay in (("deep", "relay-2"), ("inner", "relay-3")):
            ways |= dict.fromkeys(REGIONS[region], f"https://{self.addresses[relay]}:{LINK}")
        for host in HOSTS:
            self.join(host, "agent", ways[host])
        self.wait(lambda: self.present("up") == set(HOSTS), 60, "every host is up")

    def relay_at_mid(self) -> str:
        return self.addresses["relay-1"]

    def join(self, name: str, kind: str, controller: str) -> None:
        token = json.loads(self.cli("agent", "token", name, "--json"))["token"]
        words = [kind, "--dir", str(self.host(name)), "--join", token, "--controller", controller]
        self.run_far(name, [*COCKPIT, *words])

    def begin(self, name: str) -> None:
        """Start the agent or relay again, which has joined before."""
        kind = "relay" if name.startswith("relay") else "agent"
        self.run_far(name, [*COCKPIT, kind, "--dir", str(self.host(name))])

    def run_far(self, place: str, argv: Sequence[str], *, key: str = "") -> None:
        with (self.root / f"{key or place}.log").open("ab") as log:
            self.far[key or place] = subprocess.Popen(
                self.lab.argv(place, *argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True,
            )

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        for name in HOSTS:
            end_host(self.host(name))
        for name in RELAYS:
            end_relay(self.host(name))
        self.lab.close()  # ends what still runs inside
        for process in self.far.values():
            process.wait(PATIENCE)

    # looking

    def wait(self, condition: Callable[[], Any], timeout: float = PATIENCE, what: str = "") -> Any:
        """With the last words of everybody who is somewhere else."""
        try:
            return super().wait(condition, timeout, what)
        except AssertionError as e:
            logs = [f"--- {p.name}\n{p.read_text(errors='replace')[-800:]}" for p in sorted(self.root.glob("*.log"))]
            raise AssertionError("\n".join([str(e), *logs])) from None

    def present(self, presence: str) -> set[str]:
        return {h["name"] for h in self.status()["hosts"] if h["presence"] == presence}

    def way_open(self, name: str) -> bool:
        state = json.loads(self.cli("ssh", "--json", code=None))["states"].get(name, {})
        return bool(state.get("state") == "connected")

    def relays_up(self) -> set[str]:
        return {r["name"] for r in self.status()["relays"] if r["presence"] == "up"}

    def get(self, host: str, path: str = "/") -> str:
        """What the web of this host answers, asked on the host itself."""
        row = next(i for i in self.instances().values() if i["host"] == host)
        url = f"http://{self.addresses[host]}:{row['ports']['http']}{path}"
        script = "import sys,urllib.request;print(urllib.request.urlopen(sys.argv[1],timeout=3).read().decode())"
        argv = self.lab.argv(host, "python3", "-c", script, url)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def answers_on(self, host: str) -> bool:
        return self.get(host) != ""

    def pid_on(self, host: str) -> int:
        """Of its only process, as its keeper says: also while nobody else hears of it."""
        with KeeperClient(self.host(host)) as keeper:
            units = [u for u in keeper.units() if u["pids"]]
        assert len(units) == 1, units
        return int(next(iter(units[0]["pids"].values())))

    def start_cli(self, *words: str) -> subprocess.Popen[str]:
        """A command that is not waited for."""
        return subprocess.Popen(
            [*COCKPIT, *words], env={**os.environ, "COCKPIT_STATE": str(self.state)}, cwd=self.root,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def add_web(self, version: str) -> None:
        tree = self.root / f"web-{version}"
        tree.mkdir()
        (tree / "web.py").write_text(WEB)
        (tree / "ballast").write_bytes(os.urandom(200_000))
        self.cli("artifact", "add", str(tree), "--name", "web", "--version", version)


def keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextlib.contextmanager
def regions() -> Iterator[Regions]:
    """Everything has joined and is up; nothing runs yet."""
    root = Path(tempfile.mkdtemp(prefix="ck-"))
    made = Regions(root)
    try:
        made.open_doors()
        made.start()
        made.add_web("1")
        made.join_all()
        yield made
    finally:
        made.stop()
        shutil.rmtree(root, ignore_errors=True)
