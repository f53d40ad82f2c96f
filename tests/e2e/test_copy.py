"""Copies of files through a real controller, from the command line: with real agents, one of them behind a relay, and
with a host that has only sshd. One body of tests for all of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import pwd
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cockpit.cli.main import main
from cockpit.plan.steps import Bad, Refused
from cockpit.session.client import RemoteSession
from tests.backends.ssh.world import SFTP, SSHD, USER, Sshd, at_home
from tests.e2e.cluster import COCKPIT, Cluster, cluster, processes
from tests.e2e.test_shell_ways import behind
from tests.helpers import alive, loopback, sshd_below, until, wait_for

pytestmark = pytest.mark.skipif(not Path(SSHD).exists() or not SFTP, reason="sshd and sftp-server are needed")
ROOT = os.geteuid() == 0
WAYS = ["h-1", "s-1"]
"""Hosts with an agent, and without."""
TOPOLOGY = """cockpit: 1
name: box
regions: {{near: , out: , shut: {{shell: false}}}}
relays:
  relay-1: {{region: near, address: {0}, connection: local, link_port: 0}}
hosts:
  n-1: {{region: near, address: {1}, connection: local}}
  h-1: {{region: out, address: {2}, connection: local}}
  h-2: {{region: shut, address: {3}, connection: local}}
  g-1: {{region: out, address: {4}, connection: local}}
  s-1: {{region: out, address: {5}, connection: ssh, ssh: {{user: {user}, directory: "@ROOT@/s.hosts/s-1"}}}}
tree:
  app:
    command: [sleep, "100000"]
    version: "1"
    instances: {{hosts: [h-1, s-1]}}
  other:
    command: [sleep, "100000"]
    version: "1"
    user: {other}
    directory: /
    instances: {{hosts: [h-1, s-1]}}
guards:
  - {{name: typed, verbs: [copy], targets: [g-1], effect: confirm, reason: mind the ledger}}
"""
BIG = 32 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """What s-1 is entered by."""
    with at_home(tmp_path_factory.mktemp("home"), f"Subsystem sftp {SFTP}") as made:
        yield made


@pytest.fixture(scope="module")
def box(server: Sshd) -> Iterator[Cluster]:
    other = "nobody" if ROOT else USER
    text = TOPOLOGY.format(*(loopback() for _ in range(5)), server.address, user=USER, other=other)
    with cluster(text, start=False) as c:
        c.root.chmod(0o755)  # for the service's user
        c.start()
        c.wait(c.up, 60, "every host is there, s-1 was looked at")
        # the first start converges by itself, with s-1 or before it
        c.wait(lambda: c.run("converge").returncode == 0, 60, "all is as it should be, s-1 too")
        c.wait_calm()
        for each in (c.hosts, c.host("h-1"), c.host("h-1") / "instances"):  # where a service's user begins
            each.chmod(0o711)
        behind(c)
        try:
            yield c
        finally:
            for name in ("app/1", "other/1"):  # there is no keeper that would end them
                os.killpg(c.pids()[name], signal.SIGKILL)


class Said(NamedTuple):
    code: int
    out: str
    err: str


def here(c: Cluster, *words: str) -> Said:
    """The command in this process: a test asks many times."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*words, "--state", str(c.state)])
    return Said(code, out.getvalue(), err.getvalue())


def cp(c: Cluster, *words: str, code: int = 0) -> Said:
    said = here(c, "cp", *words)
    assert said.code == code, (words, said)
    return said


def notes(c: Cluster, kind: str) -> list[dict[str, Any]]:
    return [e["body"] for e in json.loads(here(c, "log", "--json").out) if e["kind"] == kind]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ended(box: Cluster, path: str, way: str) -> dict[str, Any]:
    """The end of a copy as it stands in the journal; empty: it is not there yet."""
    return next((n for n in notes(box, "copy-end") if (n["path"], n["way"]) == (path, way)), {})


@pytest.mark.parametrize("host", [*WAYS, "n-1"])
@pytest.mark.parametrize("size", [0, 300_001])
def test_there_and_back(box: Cluster, tmp_path: Path, host: str, size: int) -> None:
    source, there, back = tmp_path / "source.bin", tmp_path / "there", tmp_path / "back.bin"
    source.write_bytes(os.urandom(size))
    source.chmod(0o4741)
    there.mkdir()
    cp(box, str(source), f"{host}:{there}/")
    copied = there / "source.bin"
    assert copied.read_bytes() == source.read_bytes() and copied.stat().st_mode & 0o7777 == 0o741
    said = cp(box, f"{host}:{copied}", str(back))
    assert digest(source) in said.err and f"{host}:{copied} -> {back}" in said.err
    assert back.read_bytes() == source.read_bytes() and back.stat().st_mode & 0o7777 == 0o741
    assert list(there.iterdir()) == [copied] and sorted(tmp_path.iterdir()) == [back, source, there]
    end = box.wait(lambda: _ended(box, str(copied), "from"), 60)
    assert (end["host"], end["way"], end["size"], end["why"]) == (host, "from", size, "")
    assert end["sha256"] == digest(source)
    begun = next(n for n in notes(box, "copy") if n["path"] == str(copied) and n["way"] == "to")
    assert (begun["size"], begun["sha256"], begun["overwrite"]) == (size, digest(source), False) and begun["author"]
    assert f"to {host}:{copied}" in here(box, "log").out


@pytest.mark.parametrize(("host", "app"), [("h-1", "app/0"), ("s-1", "app/1")])
def test_of_an_instance_and_by_standard_input_and_output(box: Cluster, host: str, app: str) -> None:
    own = box.host(host) / "instances" / app.replace("/", "_")
    state = ["--state", str(box.state)]
    done = subprocess.run(
        [*COCKPIT, "cp", *state, "-", f"{app}:notes.txt"], input=b"\x00\xffnotes", capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert (own / "notes.txt").read_bytes() == b"\x00\xffnotes"
    assert (own / "notes.txt").stat().st_mode & 0o777 == 0o600
    done = subprocess.run(
        [*COCKPIT, "cp", "--quiet", *state, f"{app}:notes.txt", "-"], stdin=subprocess.DEVNULL, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"\x00\xffnotes", b"")
    done = subprocess.run(
        [*COCKPIT, "cp", *state, f"{host}:/proc/self/status", "-"], stdin=subprocess.DEVNULL, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert b"VmRSS" in done.stdout, "what says that it is empty is read to its end"
    assert notes(box, "copy")[-2]["instance"] == app


@pytest.mark.parametrize("host", WAYS)
def test_what_is_there_stays_unless_it_is_said(box: Cluster, tmp_path: Path, host: str) -> None:
    source, there, near = tmp_path / "new", tmp_path / "there", tmp_path / "near"
    source.write_text("new")
    for path in (there, near):
        path.write_text("old")
        path.chmod(0o640)
    if ROOT:
        nobody = pwd.getpwnam("nobody")
        os.chown(there, nobody.pw_uid, nobody.pw_gid)
    before = there.stat()
    for words in ((str(source), f"{host}:{there}"), (f"{host}:{source}", str(near))):
        said = cp(box, *words, code=3)
        assert "is there already" in said.err and "--overwrite replaces it" in said.err
    assert there.read_text() == near.read_text() == "old"
    # what was refused there is in the journal, too
    box.wait(lambda: any(n["why"] for n in notes(box, "copy-end") if n["path"] == str(there)), 60)
    cp(box, "--overwrite", str(source), f"{host}:{there}")
    cp(box, "--overwrite", f"{host}:{source}", str(near))
    after = there.stat()
    assert there.read_text() == near.read_text() == "new"
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert near.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["near", "new", "there"]


@pytest.mark.parametrize("host", WAYS)
def test_only_regular_files(box: Cluster, tmp_path: Path, host: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name, says in (
        ("link", "symbolic link"), ("dir", "a directory"), ("fifo", "a FIFO"), ("dangling", "a symbolic link"),
        ("none", "No such file"),
    ):
        far = f"{host}:{tmp_path / name}"
        ways: list[tuple[str, ...]] = [(far, str(tmp_path / "out")), (str(tmp_path / name), f"{host}:{tmp_path}/out")]
        ways += [("--overwrite", str(tmp_path / "file"), far)] if name != "none" else []
        for words in ways:
            said = here(box, "cp", *words)
            assert said.code in (2, 3) and says in said.err, (words, said)
    assert "a device" in cp(box, f"{host}:/dev/zero", str(tmp_path / "out"), code=3).err
    assert not (tmp_path / "out").exists() and (tmp_path / "file").read_text() == "x"
    assert not [p for p in tmp_path.iterdir() if "cockpit" in p.name]


@pytest.mark.parametrize(("words", "code", "says"), [
    (("a", "b"), 2, "both are here"),
    (("h-1:/a", "n-1:/b"), 2, "both are far away"),
    (("h-9:/a", "x"), 2, "did you mean"),
    (("h-1:a", "x"), 2, "a path on a host begins with /"),
    (("h-1:/etc/", "x"), 2, "cockpit push"),
    (("h-2:/etc/hostname", "x"), 3, "no shell, so no copy either, on h-2"),
    (("--limit", "10", "h-1:/etc/passwd", "x"), 3, "more than the limit of 10"),
    (("--limit", "10", "/etc/passwd", "h-1:/tmp/never"), 3, "more than the limit of 10"),
    (("--limit", "10", "s-1:/etc/passwd", "x"), 3, "more than the limit of 10"),
    (("--limit", "10", "s-1:/proc/self/status", "x"), 3, "more than the limit of 10"),
    (("--limit", "10", "/etc/passwd", "s-1:/tmp/never"), 3, "more than the limit of 10"),
    (("--limit", "x", "h-1:/etc/passwd", "y"), 2, "is not a size"),
])  # fmt: skip
def test_what_is_refused(box: Cluster, words: tuple[str, ...], code: int, says: str) -> None:
    assert says in cp(box, *words, code=code).err
    assert not Path("/tmp/never").exists() and not (box.root / "x").exists()


@pytest.mark.parametrize(("host", "app"), [("h-1", "app/0"), ("s-1", "app/1")])
def test_what_is_cockpits_is_not_for_copies(box: Cluster, tmp_path: Path, host: str, app: str) -> None:
    top = box.host(host)
    (top / "identity").mkdir(exist_ok=True)  # without an agent: of one that was there once
    (top / "identity" / "key.pem").touch()
    (tmp_path / "x").write_text("x")
    (tmp_path / "way").symlink_to(top)
    said = cp(box, f"{host}:{tmp_path}/way/identity/key.pem", str(tmp_path / "key"), code=3)
    assert "own and is not for copies" in said.err and not (tmp_path / "key").exists()
    said = cp(box, str(tmp_path / "x"), f"{host}:{top}/head.json", "--overwrite", code=3)
    assert "own and is not for copies" in said.err
    (top / "releases").mkdir(exist_ok=True)
    said = cp(box, str(tmp_path / "x"), f"{app}:{top}/releases/x", code=3)
    assert "a release is never changed" in said.err and f"instances/{app.replace('/', '_')}" in said.err


@pytest.mark.skipif(not ROOT, reason="it must be able to become the service's user")
@pytest.mark.parametrize("app", ["other/0", "other/1"])
def test_the_services_user_reads_and_writes(box: Cluster, tmp_path: Path, room: Path, app: str) -> None:
    nobody = pwd.getpwnam("nobody")
    (tmp_path / "x").write_text("x")
    (room / "mine").mkdir()
    os.chown(room / "mine", nobody.pw_uid, nobody.pw_gid)
    (room / "mine" / "roots").write_text("root's")
    (room / "secret").write_text("x")
    (room / "secret").chmod(0o600)
    for words in ((f"{app}:{room}/secret", str(tmp_path / "y")), (str(tmp_path / "x"), f"{app}:{room}/new")):
        assert "Permission denied" in cp(box, *words, code=3).err
    said = cp(box, "--overwrite", str(tmp_path / "x"), f"{app}:{room}/mine/roots", code=3)
    assert "belongs to 0:0" in said.err and (room / "mine" / "roots").read_text() == "root's"
    cp(box, str(tmp_path / "x"), f"{app}:{room}/mine/new")
    assert (room / "mine" / "new").stat().st_uid == nobody.pw_uid
    assert box.wait(lambda: _ended(box, f"{room}/mine/new", "to"), 60)["user"] == "nobody"
    assert len(list((room / "mine").iterdir())) == 2


def test_a_guard_wants_the_name(box: Cluster, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    words = (str(tmp_path / "x"), f"g-1:{tmp_path}/y")
    said = cp(box, *words, code=3)
    assert "mind the ledger" in said.err and "--confirm g-1" in said.err
    assert not (tmp_path / "y").exists()
    cp(box, *words, "--confirm", "g-1")
    assert (tmp_path / "y").read_text() == "x" and notes(box, "copy")[-1]["guard"] == "typed"


@pytest.mark.parametrize("host", WAYS)
async def test_read_only_and_other_sessions(box: Cluster, server: Sshd, tmp_path: Path, host: str) -> None:
    one, other = RemoteSession(box.state / "control.sock"), RemoteSession(box.state / "control.sock")
    looker = RemoteSession(box.state / "view.sock")
    for session in (one, other, looker):
        await session.connect()
    put = {"host": host, "path": f"{tmp_path}/half", "put": True}
    try:
        for op in ("copy_send", "copy_took", "copy_end"):
            with pytest.raises(Refused):
                await looker.call(op, {"copy": "x"})
        with pytest.raises(Refused):
            await anext(looker.stream("copy", {"host": host, "path": "/etc/hostname"}))
        items = one.stream("copy", put)
        id = (await anext(items))["copy"]
        assert (await anext(items))["begun"]["replaces"] is False
        data = {"copy": id, "data": base64.b64encode(b"half of it").decode()}
        await one.call("copy_send", data)
        with pytest.raises(Refused, match="another session"):
            await other.call("copy_send", data)
        with pytest.raises(Bad, match="over"):
            await one.call("copy_end", {"copy": "copy-of-nobody"})
        await one.call("copy_send", {"copy": id, "eof": True, "size": 10, "sha256": "0" * 64})
        with pytest.raises(Bad, match="not what was announced"):
            await anext(items)
        items = one.stream("copy", put)
        id = (await anext(items))["copy"]
        await anext(items)
        await one.call("copy_send", {**data, "copy": id})
        await one.close()  # the connection is gone: so is the copy
        await until(lambda: not children(box, host, server), what="whoever wrote has ended")
        assert list(tmp_path.iterdir()) == []
    finally:
        for session in (one, other, looker):
            await session.close()
    await asyncio.sleep(0)


def children(c: Cluster, host: str, server: Sshd) -> list[int]:
    """Processes that read or write a file on this host: its agent's, or its sshd's."""
    word, above = (b"sftp-server", server.pid) if host == "s-1" else (
        b"shipped/copy/child.py", c.presence(host)["agent_pid"])
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if word in (entry / "cmdline").read_bytes() and descends(int(entry.name), above):
                    found.append(int(entry.name))
    return found


def descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return False


def peak(pid: int) -> int:
    """Bytes that were resident at most since `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize("host", ["n-1", "s-1"])
def test_a_big_file_fits_into_a_window(box: Cluster, tmp_path: Path, host: str) -> None:
    source, there, back = tmp_path / "big", tmp_path / "there", tmp_path / "back"
    with source.open("wb") as file:
        for _ in range(BIG // 2**20):
            file.write(os.urandom(2**20))
    assert box.process is not None
    cp(box, "/etc/hostname", f"{host}:{tmp_path}/warm")  # what does it is there, code is loaded
    watched = {"controller": box.process.pid}
    watched["below"] = gateway(box) if host == "s-1" else box.presence(host)["agent_pid"]
    for pid in watched.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # peaks begin anew
    before = {name: peak(pid) for name, pid in watched.items()}
    cp(box, str(source), f"{host}:{there}")
    cp(box, f"{host}:{there}", str(back))
    grown = {name: peak(pid) - before[name] for name, pid in watched.items()}
    assert digest(source) == digest(there) == digest(back)
    assert all(more < 16 * 2**20 for more in grown.values()), grown
    assert box.presence(host)["presence"] == "up" and not box.crashes()
    for path in (source, there, back):
        path.unlink()


def gateway(c: Cluster) -> int:
    """The process that speaks SSH for this controller."""
    assert c.process is not None
    (pid,) = (p for p in processes(["backends.ssh"]) if descends(p, c.process.pid))
    return pid


@pytest.mark.skipif(not ROOT, reason="a small file system is mounted as root")
@pytest.mark.parametrize("host", WAYS)
@pytest.mark.parametrize("known", [True, False])
def test_a_full_disk(box: Cluster, tmp_path: Path, host: str, known: bool) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (tmp_path / "x").write_bytes(os.urandom(3 * 2**20))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=True)
    try:
        source = str(tmp_path / "x") if known else "-"
        with (tmp_path / "x").open("rb") as file:
            done = subprocess.run(
                [*COCKPIT, "cp", "--state", str(box.state), source, f"{host}:{small}/x"],
                stdin=file, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        assert done.returncode == 2 and ("do not fit" if known else "No space left") in done.stderr, done
        assert list(small.iterdir()) == [] and os.statvfs(small).f_bfree == os.statvfs(small).f_blocks
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("host", WAYS)
@pytest.mark.parametrize("put", [True, False])
def test_contact_that_is_lost_leaves_nothing(
    box: Cluster, server: Sshd, tmp_path: Path, host: str, put: bool
) -> None:
    """The agent dies, or the connection to sshd."""
    there = tmp_path / "there"
    there.mkdir()
    if not put:
        with (there / "sparse").open("wb") as file:
            file.truncate(2**30)
    way = ["-", f"{host}:{there}/new"] if put else [f"{host}:{there}/sparse", str(tmp_path / "new")]
    with subprocess.Popen(
        [*COCKPIT, "cp", "--state", str(box.state), *way], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        wait_for(lambda: children(box, host, server), what="it has begun")
        (child,) = children(box, host, server)
        pid = box.presence(host)["agent_pid"]
        for victim in [pid] if pid else sshd_below(server.pid):
            os.kill(victim, signal.SIGKILL)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 4 and host in said, said
    wait_for(lambda: not alive(child))
    box.wait(lambda: box.presence(host)["presence"] == "up", 60)
    assert not pid or box.presence(host)["agent_pid"] != pid
    names = [] if put else ["sparse"]
    box.wait(lambda: [p.name for p in there.iterdir()] == names, 60)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert host in notes(box, "copy-end")[-1]["why"]


@pytest.mark.parametrize("host", ["n-1", "s-1"])
def test_ctrl_c_leaves_nothing(box: Cluster, server: Sshd, tmp_path: Path, host: str) -> None:
    with subprocess.Popen(
        [*COCKPIT, "cp", "--state", str(box.state), "-", f"{host}:{tmp_path}/new"], stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_for(lambda: children(box, host, server), what="it has begun")
        (child,) = children(box, host, server)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
    wait_for(lambda: not alive(child))
    assert list(tmp_path.iterdir()) == []
    assert box.wait(lambda: notes(box, "copy-end")[-1]["path"] == f"{tmp_path}/new", 10)
    assert notes(box, "copy-end")[-1]["why"] == "stopped"
