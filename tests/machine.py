"""A machine of its own: real systemd booted in a container, on a network of the lab, entered by SSH alone.

Its root file system is made once by debootstrap and kept; what is written goes into an overlay that lives as long as
the machine, over its reboots.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.helpers import DEAR, wait_for
from tests.netlab import Lab, possible

KEPT = Path("/var/cache/cockpit-tests")
PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "procps", "supervisor", "cron")
VERSION = "2"
"""Of the content below; another one is made anew."""
AUTHORIZED = Path("/", "root", ".ssh", "authorized_keys")
OVERLAID = 'mount -t overlay none -o "$1" "$2" && shift 2 && exec "$@"'
TOOLS = ("debootstrap", "systemd-nspawn", "ssh", "ssh-keygen")


def machines_possible() -> bool:
    return possible() and all(shutil.which(tool) for tool in TOOLS)


def root_tree() -> Path:
    """The root file system, made when it is not there. About a minute the first time."""
    KEPT.mkdir(parents=True, exist_ok=True)
    target = KEPT / f"root-{VERSION}"
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            new = KEPT / "new"
            shutil.rmtree(new, ignore_errors=True)
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", _suite(), str(new)],
                check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            for unit in ("supervisor.service", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer"):
                for link in (new / "etc/systemd/system").rglob(unit):
                    link.unlink()
            new.rename(target)
    return target


def _suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    return "stable"


class Machine:
    """Boots on a place of the lab. `key` is the private key whose owner may enter as root."""

    def __init__(self, lab: Lab, name: str, key: Path) -> None:
        self.lab, self.name, self.key = lab, name, key
        self.address = lab.places[name].address
        self.directory = Path(tempfile.mkdtemp(prefix=f"machine-{name}-"))
        self._log = (self.directory / "console").open("wb")
        shutil.copy(key.with_suffix(".pub"), self.directory / "authorized")
        for part in ("root", "up", "work"):
            (self.directory / part).mkdir()
        self.process = self._boot()

    def _boot(self) -> subprocess.Popen[bytes]:
        """In a mount namespace of its own, so that nothing stays mounted."""
        namespace = f"/run/netns/{self.lab.places[self.name].namespace}"
        own = self.directory
        layers = f"lowerdir={root_tree()},upperdir={own}/up,workdir={own}/work"
        return subprocess.Popen(
            [
                "unshare", "--mount", "--propagation", "private", "sh", "-c", OVERLAID, "sh", layers, f"{own}/root",
                "systemd-nspawn", "--quiet", "-D", f"{own}/root", "--register=no", "--keep-unit",
                f"--machine={self.name}", f"--network-namespace-path={namespace}",
                f"--bind-ro={own / 'authorized'}:{AUTHORIZED}", "--boot",
            ],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def go_down(self) -> None:
        """The first half of an orderly reboot; returns when nothing runs there any more."""
        self.run(["systemctl", "reboot"])
        self.process.wait(90)

    def come_up(self) -> None:
        """The second half; returns when somebody can enter."""
        self.process = self._boot()
        self.wait()

    def wait(self) -> None:
        """Until somebody can enter."""
        wait_for(lambda: self.alive() and self.run(["true"]).returncode == 0, 60, f"{self.name} boots", pause=DEAR)

    def alive(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {(self.directory / 'console').read_text()[-2000:]}")
        return True

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """By SSH, from within its own network. Words are quoted by nobody: give plain ones."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=2", "LogLevel=ERROR")
        given = [word for option in options for word in ("-o", option)]
        command = self.lab.argv(self.name, "ssh", "-i", str(self.key), *given, f"root@{self.address}", *argv)
        return subprocess.run(command, input=stdin, capture_output=True, check=False)

    def out(self, *argv: str) -> str:
        """Its output. Raises AssertionError unless it ended well."""
        done = self.run(argv)
        assert done.returncode == 0, (argv, done)
        return done.stdout.decode()

    def put(self, path: str, content: str, mode: str = "644") -> None:
        done = self.run(["install", "-D", "-m", mode, "/dev/stdin", path], stdin=content.encode())
        assert done.returncode == 0, done

    def host_key(self) -> str:
        """Its line for known_hosts."""
        return f"{self.address} {self.out('cat', '/etc/ssh/ssh_host_ed25519_key.pub')}"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()  # an orderly shutdown
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)
