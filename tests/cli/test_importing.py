"""`cockpit import`: real files, a real supervisord, a real sshd."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cockpit.model.load import load_file, load_text
from tests.helpers import running, wait_for
from tests.inventory.sshd import PROGRAM, Sshd, sshd

Run = Callable[..., tuple[int, str, str]]
LIKE = "[web]\nweb1 ansible_host=10.0.0.1 rack=a\nweb2 ansible_host=10.0.0.2 rack=a\n"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.ini"
    path.write_text(LIKE)
    return path


def test_a_new_file_that_is_not_written_over(run: Run, inventory: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.yaml"
    assert run("import", "ansible", inventory, "-o", out)[:2] == (0, f"{out}: 2 hosts, 0 services\n")
    assert list(load_file(out).expected.hosts) == ["web1", "web2"]
    assert run("import", "ansible", inventory)[1] == out.read_text()
    code, _, err = run("import", "ansible", inventory, "-o", out)
    assert code == 2 and f"--onto {out}" in err


def test_names_that_do_not_resolve_are_remarked(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "i"
    path.write_text("localhost\nno.such.host.invalid ansible_password=hunter2\n")
    code, out, _ = run("import", "ansible", path)
    assert code == 0 and list(load_text(out.encode()).expected.hosts) == ["localhost"]
    assert f"{path}:2: no.such.host.invalid is left out" in out and "hunter2" not in out


def test_onto_a_file_keeps_what_is_there(run: Run, inventory: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("""\
# mine
cockpit: 1
name: mine
regions: {sh: }
hosts:
  web1: {region: sh, address: 10.0.0.1}   # the first
  other: {region: sh, address: 10.0.0.2}
""")
    before = path.read_text()
    assert run("import", "ansible", inventory, "--onto", path, "--dry-run")[0] == 1
    assert path.read_text() == before
    inventory.write_text(LIKE + "web3 ansible_host=10.0.0.3\n")
    code, out, _ = run("import", "ansible", inventory, "--onto", path)
    assert code == 1  # something differs
    assert "added: host web3" in out and "same: host web2 (it is other in the file, by its address)" in out
    assert "different (kept as it is; --replace takes the imported one): host web1: differs in region, labels" in out
    text = path.read_text()
    assert text.startswith("# mine\n") and "web1: {region: sh, address: 10.0.0.1}   # the first" in text
    assert f"# from {inventory}:4" in text
    assert set(load_file(path).expected.hosts) == {"web1", "other", "web3"}
    code, out, _ = run("import", "ansible", inventory, "--onto", path, "--replace")
    assert code == 0 and load_file(path).expected.hosts["web1"].labels["rack"] == "a"
    code, out, _ = run("import", "ansible", inventory, "--onto", path)
    assert code == 0 and "nothing to write" in out


def test_onto_a_file_with_the_same_machine_behind_another_port(run: Run, tmp_path: Path) -> None:
    path, inventory = tmp_path / "t.yaml", tmp_path / "i"
    path.write_text("cockpit: 1\nname: x\nregions: {r: }\nhosts:\n  a: {region: r, address: 10.0.0.1}\n")
    inventory.write_text("b ansible_host=10.0.0.1 ansible_port=2201\nc ansible_host=10.0.0.1 ansible_port=2202\n")
    code, out, _ = run("import", "ansible", inventory, "--onto", path)
    assert code == 0, out
    ranges = {n: h.port_range for n, h in load_file(path).expected.hosts.items()}
    assert ranges == {"a": (20000, 20999), "b": (21000, 21999), "c": (22000, 22999)}


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["ansible", "@/none"], "No such file"), (["terraform", "@/hosts.ini"], "not the JSON"),
        (["ssh-config", "@/none"], "No such file"), (["ansible", "@/empty"], "no host was found"),
        (["ansible", "@/hosts.ini", "--onto", "@/hosts.ini"], "no topology"),
        (["ansible", "@/hosts.ini", "--replace"], "--onto"), (["supervisord", "@/none"], "No such file"),
        (["systemd", "--host", "a b"], "[USER@]HOST[:PORT]"), (["systemd"], "systemctl"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported(run: Run, inventory: Path, tmp_path: Path, words: list[str], word: str) -> None:
    if words == ["systemd"] and Path("/run/systemd/system").exists():
        pytest.skip("systemd runs here")
    (tmp_path / "empty").write_text("")
    code, out, err = run("import", *(w.replace("@", str(tmp_path)) for w in words))
    assert (code, out) == (2, "") and word in err and "Traceback" not in err


CONF = """\
[unix_http_server]
file=@/sock
username=u
password=hunter2
[supervisord]
nodaemon=true
logfile=@/log
pidfile=@/pid
childlogdir=@
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://@/sock
username=u
password=hunter2
[include]
files = conf.d/*.conf
"""
PROGRAMS = """\
[program:web]
command=/bin/sleep 1000%(process_num)02d ; a comment
process_name=%(program_name)s_%(process_num)02d
numprocs=2
directory=@
environment=MODE="a,b",DB_PASSWORD="s3cr3t",HOME_OF="%(ENV_PLACE)s"
stopsignal=INT
stopwaitsecs=7
autorestart=true
stdout_logfile=@/web_%(process_num)02d.log

[program:job]
command=/bin/sleep 3000 --token=abc123
autostart=false

[program:lost]
command=/bin/sleep %(ENV_NOT_THERE)s

[program:far]
command=sh -c ": {x};exec sleep 4000"
[group:all]
programs=far

[eventlistener:ear]
command=/bin/cat
events=TICK_60
autostart=false
"""


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("sup")
    (root / "conf.d").mkdir()
    (root / "supervisord.conf").write_text(CONF.replace("@", str(root)))
    good = PROGRAMS.replace("[program:lost]\ncommand=/bin/sleep %(ENV_NOT_THERE)s\n", "")
    (root / "conf.d" / "a.conf").write_text(good.replace("@", str(root)))
    program = shutil.which("supervisord")
    assert program, "the Debian package supervisor is needed"
    config = str(root / "supervisord.conf")

    def started() -> bool:
        done = subprocess.run(["supervisorctl", "-c", config, "status"], capture_output=True, text=True, check=False)
        return done.stdout.count("RUNNING") == 3

    with running([program, "-c", config], env={**os.environ, "PLACE": "pla ce"}, grace=15):
        wait_for(started, what="its programs run")
        (root / "conf.d" / "a.conf").write_text(PROGRAMS.replace("@", str(root)))  # changed since it was read
        yield root


def look(text: str, root: Path) -> None:
    loaded = load_text(text.encode()).expected
    web, job, far = (loaded.services[n] for n in ("web", "job", "all.far"))
    assert web.runtime is not None and web.runtime.supervisord == "web:web_0{slot}"
    assert web.processes["main"] == ("/bin/sleep", "10000{slot}") and web.instances.size == 2
    assert web.logs == {"output": f"{root}/web_0{{slot}}.log"} and web.directory == str(root)
    assert web.env == {"MODE": "a,b", "HOME_OF": "pla ce"}
    assert (web.stop.signal, web.stop.grace, web.restart.mode) == ("INT", 7.0, "always")
    assert job.instances.size == 0 and job.restart.mode == "on-failure"
    assert job.processes["main"] == ("/bin/sleep", "3000", "--token=LEFT-OUT")
    assert far.runtime is not None and far.runtime.supervisord == "all:far"
    assert far.processes["main"] == ("sh", "-c", ": {{x};exec sleep 4000")
    for secret in ("hunter2", "s3cr3t", "abc123", "not in its files"):
        assert secret not in text
    flat = " ".join(text.replace("#", " ").split())
    for word in ("DB_PASSWORD was left out (a secret)", "STOPPED when it was read", "[eventlistener:ear] is left out",
                 "[program:lost] is left out: %(ENV_NOT_THERE)s is not known here", "conf.d/a.conf:1"):  # fmt: skip
        assert word in flat, word


def test_what_a_supervisord_runs_here(run: Run, supervised: Path) -> None:
    code, out, err = run("import", "supervisord", supervised / "supervisord.conf")
    assert (code, err) == (0, "")
    look(out, supervised)
    assert load_text(out.encode()).expected.hosts.popitem()[1].connection == "local"


def test_what_it_runs_as_a_file_when_it_does_not_answer(run: Run, supervised: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.conf"
    path.write_text("[supervisorctl]\nserverurl=unix:///nowhere\n[program:x]\ncommand=/bin/true\n")
    code, out, _ = run("import", "supervisord", path)
    said = " ".join(out.replace("\n#", " ").split())  # comments are broken into lines
    assert code == 0 and "supervisorctl does not say what runs" in said
    assert load_text(out.encode()).expected.services["x"].instances.size == 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    assert PROGRAM, "the Debian package openssh-server is needed"
    with sshd(tmp_path_factory.mktemp("sshd")) as made:
        yield made


def test_what_it_runs_there_by_ssh(
    run: Run, supervised: Path, server: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(server.home))
    onto = tmp_path / "t.yaml"
    onto.write_text("cockpit: 1\nname: x\n")
    words = ["import", "supervisord", supervised / "supervisord.conf", "--host", server.target]
    code, out, err = run(*words)
    assert code == 0, err
    look(out, supervised)
    host = load_text(out.encode()).expected.hosts["127.0.0.1"]
    assert host.ssh is not None and (host.ssh.port, host.ssh.user) == (server.port, server.user)
    assert run(*words, "--onto", onto, "--under", "old.ones")[0] == 0
    assert "old.ones.web" in load_file(onto).expected.services
    code, out, _ = run(*words, "--onto", onto, "--under", "old.ones")
    assert code == 0 and "nothing to write" in out


def test_a_host_whose_key_is_not_known(
    run: Run, server: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".ssh").mkdir()
    shutil.copy(server.home / ".ssh" / "id_ed25519", tmp_path / ".ssh")
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, err = run("import", "systemd", "--host", server.target)
    assert (code, out) == (4, "") and "not in known_hosts" in err
