"""What a look prints becomes facts; nonsense does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cockpit.bootstrap import scripts
from cockpit.bootstrap.found import Unclear, parse
from tests.helpers import running

WHOLE = """uid\t0
user\troot
arch\tx86_64
system\tLinux
libc\tglibc 2.36
init\tsystemd
systemd\t252
python\t/usr/bin/python3 3.11
halfpython\t/usr/bin/python3.9
openssl\tyes
lacks\t
dir\t/var/lib/cockpit
free\t1048576
owner\t0
identity\t{"name": "sh-4", "uuid": "u-1", "cluster": "puzzle"}
current\tabc
sum\tabcdef cockpit-agent
agent\t11
keeper\t12
unit\tcockpit-agent.service 00ff
enabled\tcockpit-agent.service
active\tcockpit-agent.service
end\tyes
"""


def test_a_whole_look() -> None:
    found = parse(WHOLE)
    assert (found.uid, found.arch, found.systemd, found.free) == (0, "x86_64", 252, 1 << 30)
    assert found.pythons == {"/usr/bin/python3": (3, 11)} and found.halves == ("/usr/bin/python3.9",)
    assert found.identity == {"name": "sh-4", "uuid": "u-1", "cluster": "puzzle"}
    assert (found.current, found.sum, found.program) == ("abc", "abcdef", "cockpit-agent")
    assert (found.agents, found.keepers) == ((11,), (12,))
    assert found.units == {"cockpit-agent.service": "00ff"}
    assert found.sentence() == "root, x86_64, glibc 2.36, systemd 252, Python 3.11, 1024 MiB free"


@pytest.mark.parametrize("text", ["", "uid\t0\n", "end\tyes\n", WHOLE.replace("uid\t0", "uid\troot")])
def test_what_is_not_whole_is_no_look(text: str) -> None:
    with pytest.raises(Unclear):
        parse(text)


@pytest.mark.parametrize("identity", ["{", "[]", '{"name": 1}', "null"])
def test_a_damaged_identity_is_none(identity: str) -> None:
    found = parse(WHOLE.replace('{"name": "sh-4", "uuid": "u-1", "cluster": "puzzle"}', identity))
    assert found.identity is None and found.broken_identity


@pytest.mark.parametrize("version", ["252.30-1~deb12u2", "252 (252.30)", "252"])
def test_versions_of_systemd_are_written_in_many_ways(version: str) -> None:
    assert parse(WHOLE.replace("systemd\t252", f"systemd\t{version.split(' ')[0]}")).systemd == 252


def look(directory: str, *candidates: str) -> str:
    done = subprocess.run(
        ["sh", "-c", scripts.LOOK, "sh", directory, "sh-4", *candidates], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_this_machine_is_understood(tmp_path: Path) -> None:
    found = parse(look(str(tmp_path / "not" / "there")))
    assert found.directory == str(tmp_path / "not" / "there")
    assert found.arch and found.system == "Linux" and found.free > 0 and not found.denied
    assert found.identity is None and not found.agents and found.owner is None


def test_the_directory_with_an_identity_is_taken(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    assert parse(look("", str(first), str(second))).directory == str(first)
    (second / "identity").mkdir(parents=True)
    (second / "identity" / "host.json").write_text('{"name": "x",\n "uuid": "u", "cluster": "c"}')
    found = parse(look("", str(first), str(second)))
    assert found.directory == str(second) and found.identity == {"name": "x", "uuid": "u", "cluster": "c"}
    assert parse(look(str(first), str(second))).directory == str(first)  # what was asked for wins


def test_an_agent_that_runs_elsewhere_is_found_by_its_name(tmp_path: Path) -> None:
    for name in ("sh-4", "sh-5"):
        (tmp_path / name / "identity").mkdir(parents=True)
        (tmp_path / name / "identity" / "host.json").write_text(f'{{"name": "{name}", "uuid": "u", "cluster": "c"}}')
    agents = [["sh", "-c", "read x", "cockpit", "run", "--dir", str(tmp_path / n), ""] for n in ("sh-5", "sh-4")]
    with (
        running(agents[0], stdin=subprocess.PIPE),
        running(agents[1], stdin=subprocess.PIPE) as mine,
    ):
        found = parse(look("", str(tmp_path / "usual")))
        assert found.directory == str(tmp_path / "sh-4") and found.agents == (mine.pid,)
    assert parse(look("", str(tmp_path / "usual"))).directory == str(tmp_path / "usual")


def test_an_upload_is_verified_there_and_repeated_for_nothing(tmp_path: Path) -> None:
    from cockpit.bootstrap.bundles import ONE, Bundle

    bundle = Bundle(b"\x7fELF" + bytes(5000) + b"COCKPIT1", ONE)

    def upload(data: bytes) -> subprocess.CompletedProcess[bytes]:
        argv = ["sh", "-c", scripts.UPLOAD, "sh", str(tmp_path / "d"), bundle.digest, bundle.sum, bundle.name]
        return subprocess.run(argv, input=data, capture_output=True, check=False)

    cut = upload(bundle.data[:-1])
    assert cut.returncode == 6 and b"it arrived with SHA-256" in cut.stderr
    assert list((tmp_path / "d" / "bin").iterdir()) == []
    assert upload(bundle.data).stdout == b"new\n"
    file = tmp_path / "d" / "bin" / bundle.digest / ONE
    assert file.read_bytes() == bundle.data and file.stat().st_mode & 0o777 == 0o700
    assert upload(bundle.data).stdout == b"there\n"
    file.write_bytes(b"damaged")
    assert upload(bundle.data).stdout == b"new\n" and file.read_bytes() == bundle.data
    for _ in range(2):
        subprocess.run(["sh", "-c", scripts.POINT, "sh", str(tmp_path / "d"), bundle.digest], check=True)
        assert (tmp_path / "d" / "bin" / "current").readlink() == Path(bundle.digest)
