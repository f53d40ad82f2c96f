"""What a bundle holds, and what it refuses to hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cockpit.agent import own
from cockpit.bundle import collect
from cockpit.bundle.collect import BundleError
from tests.house import tree


@pytest.fixture(scope="module")
def contents() -> collect.Contents:
    return collect.collect()


def test_imports_with_their_lines_and_whether_they_may_be_missing() -> None:
    source = b"""
import os, a.b
from . import near
from ..up import thing
from .deep.er import x as y
if TYPE_CHECKING:
    import types_only
try:
    import fast
except ImportError:
    fast = None
def late():
    import lazy
class C:
    import inside
"""
    assert list(collect.imports(source, "p/q/m.py")) == [
        ("os", 2, False), ("a.b", 2, False), ("p.q.near", 3, False), ("p.up.thing", 4, False),
        ("p.q.deep.er.x", 5, False), ("fast", 9, True), ("lazy", 13, True), ("inside", 15, False),
    ]  # fmt: skip


def test_everything_that_runs_on_a_host_is_in_it(contents: collect.Contents) -> None:
    names = set(contents.files)
    assert {p.as_posix() for p in tree.python("cockpit/agent/", "cockpit/swarm/")} <= names
    assert {"__main__.py", "bundle.json", "websockets/asyncio/client.py", "licenses/websockets"} <= names
    assert contents.holds["websockets"]
    assert not [n for n in names if not re.fullmatch(r"(.+\.py|(.+/plugin|bundle)\.json|licenses/\w+)", n)], "?"
    shipped = {p.parent.name for p in tree.files() if p.match("cockpit/agent/shipped/*/plugin.json")}
    assert len(shipped) == 7 and {f"cockpit/agent/shipped/{name}/plugin.json" for name in shipped} <= names
    assert not [n for n in names if n.startswith(("cockpit/controller", "cockpit/model", "screens", "backends"))]


GUARDED = {
    ("websockets/asyncio/compatibility.py", "asyncio.timeout"),
    ("websockets/asyncio/compatibility.py", "asyncio.timeout_at"),
    ("websockets/asyncio/connection.py", "ExceptionGroup"),
    ("websockets/asyncio/connection.py", "aiter"),
    ("websockets/asyncio/connection.py", "anext"),
}
"""Newer names that are used where `sys.version_info` says so, or where they were defined before."""


def newer_than_39(directory: Path) -> set[tuple[str, str]]:
    """(file, member) that vermin finds."""
    done = subprocess.run(
        [Path(sys.executable).with_name("vermin"), "--no-tips", "--target=3.9-", "--violations", str(directory)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Minimum required versions" in done.stdout, done.stdout + done.stderr
    found, file = set(), ""
    for line in done.stdout.splitlines():
        if str(directory) in line and not line.startswith(" "):
            file = line[line.index(str(directory)) + len(str(directory)) + 1 :]
        elif line.startswith(" "):
            member = re.search(r"'(.+?)'", line)
            found.add((file, member[1] if member else line.strip()))
    return found


def test_all_of_it_runs_on_39(contents: collect.Contents, tmp_path: Path) -> None:
    """Vermin over every file of it, other people's too."""
    bundle, other = tmp_path / "bundle", tmp_path / "other"
    for name, data in contents.files.items():
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(data)
    assert newer_than_39(bundle) - GUARDED == set()
    other.mkdir()
    (other / "new.py").write_text("import tomllib\n")
    assert newer_than_39(other) == {("new.py", "tomllib")}  # it can fail


def test_a_module_that_hosts_do_not_have_is_refused_when_the_bundle_is_made() -> None:
    def needs(source: bytes) -> set[str]:
        return collect._outside({"cockpit/agent/x.py": source})

    assert needs(b"import os, websockets.http\nimport cockpit.link") == {"websockets"}
    assert needs(b"def f():\n    import h2.connection") == {"h2"}
    assert needs(b"def f():\n    import cryptography") == set()
    with pytest.raises(BundleError, match=r"cockpit/agent/x.py:2 imports aiohttp, which hosts do not have"):
        needs(b"import os\nimport aiohttp")


def test_a_library_that_is_too_new_is_refused(contents: collect.Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match=r"(websockets|h2) \S+ needs Python 3\.\d+, .* to run on 3\.6"):
        collect.collect((3, 6))


def test_the_same_sources_make_the_same_digest(contents: collect.Contents) -> None:
    again = collect.collect()
    assert again == contents
    assert list(again.files) == sorted(again.files)


def test_a_python_that_is_too_old_is_told_before_anything_is_imported(contents: collect.Contents) -> None:
    start = contents.files["__main__.py"].decode()
    code = f"import sys; sys.version_info = (3, 6, 8); exec({start!r})"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 126
    assert done.stderr == f"cockpit-agent: it needs Python 3.9 or newer; {sys.executable} is 3.6\n"
    compile(start.replace("sys.version_info", "x"), "__main__", "exec", dont_inherit=True)


def test_processes_of_an_installed_package() -> None:
    assert not own.bundled()
    assert own.argv_of("cockpit.agent", "run") == [sys.executable, "-I", "-m", "cockpit.agent", "run"]
    keeper = own.keeper_argv("/h", "b-1")
    assert keeper == [sys.executable, "-I", "-S", own.keeper_path(), "/h", "--boot-id", "b-1"]
    assert Path(own.keeper_path(), "__main__.py").is_file()
    assert Path(own.path_of("build_child.py")).is_file()


def test_nothing_else_on_the_hosts_side_knows_how_its_processes_are_started() -> None:
    """A process that is started by a name of its own would not be found in a bundle."""
    found = []
    for path in tree.python("cockpit/agent/", "cockpit/swarm/"):
        text = (tree.ROOT / path).read_text()
        if path.name != "own.py" and re.search(r'"-m",\s*"cockpit|sys\.executable, "-I", "-S", [A-Z]', text):
            found.append(str(path))
    assert found == []
