"""child.py of the shipped plug-in `copy`, as a process: who may what, and a directory where every file has a name."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cockpit

CHILD = Path(cockpit.__file__).parent / "agent" / "shipped" / "copy" / "child.py"
ROOT = os.geteuid() == 0
NAMED = """
import os, runpy, sys
real = os.open
def without(path, flags, *rest, **more):
    if flags & os.O_TMPFILE == os.O_TMPFILE:
        raise OSError(95, "Operation not supported")
    return real(path, flags, *rest, **more)
os.open = without
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""As on a file system where no file is without a name."""


def child(path: Path, data: bytes | None = None, *, cut: bool = False, named: bool = False, **more: Any) -> Any:
    """("done" | "error", what it said). `data`: is written; `cut`: it is not told that this is all."""
    said, status = os.pipe()
    control, told = os.pipe()
    request = {"put": data is not None, "path": str(path), "directory": "/", "limit": 100, "overwrite": True, **more}
    os.write(told, json.dumps(request).encode() + b"\n")
    if data is not None and not cut:
        commit = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        os.write(told, json.dumps(commit).encode() + b"\n")
    os.close(told)
    script = ["-c", NAMED, str(CHILD)] if named else [str(CHILD)]
    subprocess.run(
        [sys.executable, "-I", "-S", "-B", *script, str(status), str(control)], input=data or b"",
        pass_fds=(status, control), stdout=subprocess.DEVNULL, timeout=60, check=True,
    )  # fmt: skip
    os.close(status)
    os.close(control)
    with os.fdopen(said) as lines:
        return next(iter(json.loads(lines.readlines()[-1]).items()))


@pytest.mark.skipif(not ROOT, reason="it must be able to become the service's user")
def test_the_services_user_reads_and_writes(room: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    who = {"uid": nobody.pw_uid, "gid": nobody.pw_gid, "groups": []}
    (room / "mine").mkdir()
    os.chown(room / "mine", nobody.pw_uid, nobody.pw_gid)
    (room / "mine" / "roots").write_text("root's")
    (room / "secret").write_text("x")
    (room / "secret").chmod(0o600)
    assert child(room / "secret", **who)[1][0] == "denied"
    assert child(room / "new", b"x", **who)[1][0] == "denied"
    what, (code, text) = child(room / "mine" / "roots", b"x", **who)
    assert (what, code) == ("error", "denied") and "belongs to 0:0" in text
    assert (room / "mine" / "roots").read_text() == "root's"
    assert child(room / "mine" / "new", b"x", **who)[1]["size"] == 1
    assert (room / "mine" / "new").stat().st_uid == nobody.pw_uid
    assert len(list((room / "mine").iterdir())) == 2


@pytest.mark.parametrize("named", [True, False])
def test_a_name_only_for_all_of_it(room: Path, named: bool) -> None:
    target = room / "x"
    what, (code, _) = child(target, b"half", cut=True, named=named)
    assert (what, code, list(room.iterdir())) == ("error", "stopped", [])
    assert child(target, b"all", named=named, mode=0o4755, overwrite=False)[0] == "done"
    assert target.read_bytes() == b"all" and target.stat().st_mode & 0o7777 == 0o755
    assert child(target, b"other", named=named, overwrite=False)[1][0] == "exists"
    assert child(target, b"other", named=named)[1] == {
        "path": str(target), "size": 5, "sha256": hashlib.sha256(b"other").hexdigest(), "changed": False,
    }  # fmt: skip
    assert target.read_bytes() == b"other" and list(room.iterdir()) == [target]
    assert child(target, b"x" * 101, named=named)[1][0] == "limit"
    assert target.read_bytes() == b"other" and list(room.iterdir()) == [target]


def test_places_that_are_closed(room: Path) -> None:
    for name in ("own", "own/open", "own/open/shut"):
        (room / name).mkdir()
    (room / "way").symlink_to("own")
    closed = {str(room / "own"): "ours", str(room / "own/open"): "", str(room / "own/open/shut"): "no"}
    for path, may in (("own/x", False), ("way/x", False), ("own/open/x", True), ("own/open/shut/x", False)):
        what, said = child(room / path, b"x", closed=closed)
        assert (what == "done") is may, said
        if not may:
            (room / path).write_text("x")
            assert child(room / path, closed=closed)[1][0] == "denied"
