"""The one-file agent where there is no Python, no libc and no shell but busybox. `make agent` runs this.

COCKPIT_AGENT names another file than dist/cockpit-agent.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from cockpit.bundle import collect
from tests.bundle.places import ROOT
from tests.e2e.cluster import Cluster, cluster, end_host
from tests.helpers import PATIENCE, alive, loopback

FILE = Path(os.environ.get("COCKPIT_AGENT", ROOT / "dist" / "cockpit-agent"))
BUSYBOX = shutil.which("busybox")
pytestmark = [
    pytest.mark.skipif(not FILE.exists(), reason="no dist/cockpit-agent: make agent"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can chroot"),
]
TOPOLOGY = """
cockpit: 1
name: bare
regions: {{east: {{}}}}
hosts:
  a1: {{region: east, address: {one}}}
tree:
  idle:
    command: [/bin/sleep, "400011"]
    version: "1"
    instances: {{hosts: [a1]}}
    update: {{healthy_for: 0s, deadline: 20s}}
    restart: {{delay: 0s}}
    stop: {{drain: 0s, grace: 1s}}
"""


def is_static(path: str) -> bool:
    """Has it no program header that names a loader (PT_INTERP)? 64-bit ELF, little-endian."""
    data = Path(path).read_bytes()
    (start,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    return all(struct.unpack_from("<I", data, start + n * size) != (3,) for n in range(count))


class Jail:
    """A directory with /proc, /dev/null, a static busybox and the one file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host = root / "h"
        self.file = root / "cockpit-agent"
        for name in ("bin", "proc", "dev", "tmp"):
            (root / name).mkdir(parents=True)
        if BUSYBOX is None or not is_static(BUSYBOX):
            pytest.skip("no static busybox: apt-get install busybox-static")
        shutil.copy(BUSYBOX, root / "bin" / "busybox")
        for name in ("sh", "sleep"):
            (root / "bin" / name).symlink_to("busybox")
        (root / "dev" / "null").touch()
        shutil.copy(FILE, self.file)

    def argv(self, *words: str) -> list[str]:
        script = 'mount -t proc proc "$1/proc"; mount --bind /dev/null "$1/dev/null"; exec chroot "$@"'
        return ["unshare", "--mount", "sh", "-ec", script, "sh", str(self.root), *words]

    def run(self, *words: str) -> str:
        """What a program in it writes."""
        done = subprocess.run(self.argv(*words), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.root / "agent.log").open("ab") as log:
            return subprocess.Popen(
                self.argv("/cockpit-agent", "run", "--dir", "/h", *words), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )


@pytest.fixture(scope="module", autouse=True)
def of_these_sources(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One that was made from other sources says nothing about these."""
    env = os.environ | {"COCKPIT_UNPACK": str(tmp_path_factory.mktemp("unpacked"))}
    done = subprocess.run([FILE, "--where"], env=env, capture_output=True, text=True, timeout=60, check=True)
    if json.loads(done.stdout)["digest"] != collect.collect().digest:
        pytest.skip(f"{FILE} was made from other sources: make agent")


@pytest.fixture(scope="module")
def jail(tmp_path_factory: pytest.TempPathFactory) -> Jail:
    return Jail(tmp_path_factory.mktemp("jail") / "j")


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    with cluster(TOPOLOGY.format(one=loopback())) as c:
        try:
            yield c
        finally:
            for path in c.root.glob("j/h"):
                end_host(path)


def test_there_is_no_python_and_no_libc(jail: Jail) -> None:
    files = [p.name for p in jail.root.rglob("*") if p.is_file() and not p.is_symlink()]
    assert sorted(files) == ["busybox", "cockpit-agent", "null"]
    where = json.loads(jail.run("/cockpit-agent", "--where"))
    assert where["root"].startswith("/var/lib/cockpit/bundle/") and where["agent"][0].endswith("/bin/python3")
    assert (jail.root / "var/lib/cockpit/bundle").stat().st_mode & 0o077 == 0


def test_without_proc_it_finds_itself_as_well(jail: Jail) -> None:
    done = subprocess.run(
        ["chroot", str(jail.root), "/bin/sh", "-c", "cd /bin; exec ../cockpit-agent --where"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and json.loads(done.stdout)["version"], done.stderr


def test_what_it_has_instead_of_ctypes_and_openssl(jail: Jail) -> None:
    where = json.loads(jail.run("/cockpit-agent", "--where"))
    python = where["agent"][0]
    code = """
        import json, os, sys, _cockpit
        _cockpit.prctl(36, 1)
        fd = os.open("/tmp/holes", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"x" * 8192)
        os.fsync(fd)
        before = os.fstat(fd).st_blocks
        _cockpit.fallocate(fd, 3, 0, 4096)
        errors = []
        for call in (lambda: _cockpit.prctl(-1, 0), lambda: _cockpit.fallocate(99, 3, 0, 4096)):
            try:
                call()
            except OSError as e:
                errors.append(e.errno)
        import asyncio, ssl, zlib, hashlib, socket, select, xmlrpc.client, pwd
        facts = [os.fstat(fd).st_blocks < before, os.pread(fd, 4097, 0) == bytes(4096) + b"x", errors]
        print(json.dumps([*facts, hasattr(os, "pidfd_open"), *_cockpit.make_key("a1")]))
    """
    holes, content, errors, pidfd, key, csr = json.loads(jail.run(python, "-I", "-S", "-c", textwrap.dedent(code)))
    assert (holes, content, errors, pidfd) == (True, True, [22, 9], True)
    assert key.startswith("-----BEGIN PRIVATE KEY-----")
    request = x509.load_pem_x509_csr(csr.encode())
    assert request.is_signature_valid and request.subject.rfc4514_string() == "CN=a1"


def test_an_agent_and_its_keeper_live_on_it(bare: Cluster) -> None:
    c, jail = bare, Jail(bare.root / "j")
    answer = json.loads(c.cli("agent", "token", "a1", "--json"))
    first = jail.start("--join", answer["token"], "--controller", answer["controller"])
    try:
        _lives(c, jail, first)
    finally:
        end_host(jail.host)
        first.wait(PATIENCE)
    assert "Traceback" not in (jail.root / "agent.log").read_text() + (jail.host / "keeper.out").read_text()


def _lives(c: Cluster, jail: Jail, first: subprocess.Popen[bytes]) -> None:
    def agent(before: int = 0) -> int:
        def found() -> int:
            row = c.presence("a1")
            return int(row["agent_pid"] or 0) if row["presence"] == "up" and row["agent_pid"] != before else 0

        try:
            return int(c.wait(found, 30, "the agent is there"))
        except AssertionError as e:
            raise AssertionError(f"{e}\n{(jail.root / 'agent.log').read_text()}") from None

    def service(before: int = 0) -> int:
        def found() -> int:
            row = c.instances()["idle/0"]
            return int(row["pid"]) if row["state"] == "RUNNING" and row["pid"] != before else 0

        return int(c.wait(found, 30, "the service runs"))

    one = agent()
    program = Path(os.readlink(f"/proc/{one}/exe"))
    assert program.is_relative_to(jail.root / "var/lib/cockpit/bundle")
    c.cli("converge", "idle")
    served = service()
    assert os.readlink(f"/proc/{served}/exe") == str(jail.root / "bin/busybox")
    # the agent goes: the keeper starts it anew
    os.kill(one, signal.SIGKILL)
    two = agent(one)
    assert service() == served and alive(served)
    # the file goes, and everything goes on
    jail.file.unlink()
    os.kill(two, signal.SIGKILL)
    agent(two)
    assert service() == served
    os.kill(served, signal.SIGKILL)
    anew = service(served)
    # the keeper goes as well: the agent starts it, and it takes the service over
    keeper = int(c.presence("a1")["keeper_pid"]) if "keeper_pid" in c.presence("a1") else _keeper(jail)
    os.kill(keeper, signal.SIGKILL)
    c.wait(lambda: _keeper(jail) not in (0, keeper), 30, "another keeper")
    assert service() == anew and alive(anew)
    c.cli("stop", "idle", "--confirm", "idle")
    assert not alive(anew)


def _keeper(jail: Jail) -> int:
    """The process that runs the keeper's directory; 0: none."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if os.readlink(entry / "root") == str(jail.root) and any(w.endswith(b"/agent/keeper") for w in words):
                    return int(entry.name)
            except OSError:
                continue
    return 0
