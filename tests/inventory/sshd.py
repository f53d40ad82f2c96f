"""A real sshd on loopback for this user, and a home with its key and known_hosts."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import answers, free_port, running, sshd_below, wait_for

PROGRAM = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""


class Sshd:
    def __init__(self, root: Path) -> None:
        self.root, self.port, self.user = root, free_port(), getpass.getuser()
        self.home = root / "home"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        return f"{self.user}@127.0.0.1:{self.port}"

    def write(self) -> None:
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        for name in (self.root / "host_key", self.home / ".ssh" / "id_ed25519"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(name)], check=True)
        shutil.copy(self.home / ".ssh" / "id_ed25519.pub", self.root / "authorized")
        key = " ".join((self.root / "host_key.pub").read_text().split()[:2])
        (self.home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}\n")
        (self.root / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.root}/host_key\nPidFile none\n"
            f"AuthorizedKeysFile {self.root}/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nLogLevel ERROR\n"
        )

    def children(self) -> list[int]:
        """Pids of the processes that serve connections."""
        assert self.process is not None
        return sshd_below(self.process.pid)


@contextlib.contextmanager
def sshd(root: Path) -> Iterator[Sshd]:
    made = Sshd(root)
    made.write()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with running([PROGRAM, "-D", "-e", "-f", str(root / "sshd_config")]) as process:
        made.process = process
        wait_for(lambda: answers("127.0.0.1", made.port), what="sshd answers")
        yield made
