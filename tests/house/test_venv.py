"""tools/venv.sh: which Python it takes, what it says when something is missing, and that it rests.

The interpreters are small scripts that answer like one; a real installation is what made the
environment these tests run in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.house import tree

NEEDED = ("sh", "dirname", "cat", "sha256sum", "rm", "pwd", "mkdir")

INTERPRETER = """#!/bin/sh
# answers like a Python of one version, with or without the venv module
case "$*" in
    *version_info*) exit {old} ;;
    *"import venv, ensurepip"*) exit {bare} ;;
    *sys.version.split*) echo {version} $0 ;;
    -V) echo Python {version} ;;
    "-m venv --clear "*) mkdir -p "$4/bin"; {cat} "$0" >"$4/bin/python"; {chmod} 755 "$4/bin/python" ;;
    "-m pip "*) echo "$*" >>"$PIP_CALLS"; exit {pip} ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


class Machine:
    """A clone of what the script needs, on a machine with a few commands only."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin = root / "clone", root / "bin"
        (self.root / "tools").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("tools/venv.sh", "pyproject.toml", "requirements.lock"):
            shutil.copy(tree.ROOT / name, self.root / name)
        for name in NEEDED:
            if where := shutil.which(name):
                (self.bin / name).symlink_to(where)

    def python(self, name: str, version: str, *, venv: bool = True, pip: int = 0) -> None:
        old = tuple(map(int, version.split("."))) < (3, 11)
        text = INTERPRETER.format(
            old=int(old), bare=int(not venv), version=version, pip=pip,
            cat=shutil.which("cat"), chmod=shutil.which("chmod"),
        )  # fmt: skip
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, *args: str, status: int = 0) -> str:
        """What it said; the exit status must be `status`."""
        result = subprocess.run(
            ["tools/venv.sh", *args], cwd=self.root, capture_output=True, text=True, check=False,
            env={"PATH": str(self.bin), "PIP_CALLS": str(self.root / "calls")}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert result.returncode == status, result.stderr
        assert result.stdout == ""
        return result.stderr

    def calls(self) -> int:
        """How often pip was run so far."""
        path = self.root / "calls"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_the_venv_module_it_names_the_package(machine: Machine) -> None:
    machine.python("python3", "3.11.2", venv=False)
    machine.python("python3.11", "3.11.2", venv=False)
    assert machine.run(status=2) == "python3-venv is missing. As root: apt-get install python3-venv\n"
    assert not (machine.root / ".venv").exists()


def test_the_package_of_an_interpreter_beside_the_system_s_own(machine: Machine) -> None:
    machine.python("python3", "3.9.2")
    machine.python("python3.12", "3.12.1", venv=False)
    assert "apt-get install python3.12-venv\n" in machine.run(status=2)


def test_without_a_new_enough_python(machine: Machine) -> None:
    assert "Python 3.11 or newer is missing" in machine.run(status=2)
    machine.python("python3", "3.10.12")
    assert "Python 3.11 or newer is missing" in machine.run("dev", status=2)


def test_it_takes_the_first_that_can_make_environments(machine: Machine) -> None:
    machine.python("python3", "3.11.2")
    machine.python("python3.12", "3.12.1")
    machine.python("python3.13", "3.13.0", venv=False)
    assert "Python 3.12.1" in machine.run()


def test_it_installs_once(machine: Machine) -> None:
    machine.python("python3", "3.11.2")
    machine.run()
    assert machine.calls() == 1
    assert machine.run() == ""
    assert machine.calls() == 1


def test_what_the_checks_need_holds_what_running_needs(machine: Machine) -> None:
    machine.python("python3", "3.11.2")
    machine.run()
    machine.run("dev")
    assert machine.calls() == 2
    assert machine.run() == machine.run("dev") == ""
    assert ".[dev]" in (machine.root / "calls").read_text()


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
def test_it_installs_again_when_the_wanted_versions_change(machine: Machine, name: str) -> None:
    machine.python("python3", "3.11.2")
    machine.run()
    with (machine.root / name).open("a") as f:
        f.write("# changed\n")
    assert "making" not in machine.run()
    assert machine.calls() == 2


def test_another_python_or_another_place_makes_a_new_environment(machine: Machine) -> None:
    machine.python("python3", "3.11.2")
    machine.run()
    machine.python("python3", "3.11.3")
    assert "making .venv with Python 3.11.3" in machine.run()
    machine.root = machine.root.rename(machine.root.with_name("moved"))
    assert "making .venv" in machine.run()


def test_a_failed_installation_is_tried_again(machine: Machine) -> None:
    machine.python("python3", "3.11.2", pip=1)
    assert machine.run(status=2).endswith("The installation failed: see pip's words above.\n")
    machine.python("python3", "3.11.2")
    shutil.copy(machine.bin / "python3", machine.root / ".venv/bin/python")
    assert "installing" in machine.run()
    assert machine.run() == ""


def test_debian_packages_are_named_to_who_may_not_install(machine: Machine) -> None:
    shutil.copy(tree.ROOT / "tools/debian.sh", machine.root / "tools/debian.sh")
    os.remove(machine.bin / "cat")
    (machine.bin / "id").write_text("#!/bin/sh\necho 1000\n")
    (machine.bin / "id").chmod(0o755)

    def run(*pairs: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["tools/debian.sh", *pairs], cwd=machine.root, env={"PATH": str(machine.bin)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert run("sh", "rm=coreutils").returncode == 0
    result = run("sh", "redis-server", "ps=procps", "rm=coreutils")
    assert result.returncode == 2
    assert result.stderr == "Missing: redis-server procps. As root: apt-get install redis-server procps\n"
