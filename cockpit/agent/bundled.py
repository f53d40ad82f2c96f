"""What a bundle does when it is started: unpacks itself once, and runs a module of ours from there.

    python3 cockpit-agent.pyz run|join|ctl ...     the agent's commands
    ... -m cockpit.MODULE ...                      one of our processes (cockpit.agent.own makes these)
    ... --keeper DIR ...                           the keeper of a host directory
    ... --where                                    JSON: {"version","digest","root","agent":[...],"keeper":[...]}

A zip file is not run from: a keeper outlives the file that started it. It is unpacked into a directory named by
the digest of what is in it: below $COCKPIT_UNPACK, else /var/lib/cockpit/bundle for root, else
$XDG_CACHE_HOME/cockpit/bundle (~/.cache/cockpit/bundle). What is there is compared with the zip, byte by byte,
at every start; a directory that differs is replaced. The one-file agent does the same before Python runs.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import sys
import zipfile
from typing import Dict, List, Optional

from cockpit.agent import own

CANNOT = 126
"""Exit code: it could not be unpacked."""
MODULE = re.compile(r"cockpit(\.[a-z_][a-z0-9_]*)+")
VARIABLE = "COCKPIT_UNPACK"


class Stuck(Exception):
    """Why it could not be unpacked, as a sentence for the operator."""


def main(argv: Optional[List[str]] = None) -> int:
    """The exit code; a zip file becomes the process that runs from the directory."""
    args = sys.argv[1:] if argv is None else argv
    if os.path.isfile(own.ROOT):
        try:
            root = unpack(own.ROOT, place())
        except Stuck as e:
            print(f"cockpit-agent: {e}", file=sys.stderr)
            return CANNOT
        return _again([sys.executable, "-I", "-S", root, *args])
    if args[:1] == ["-m"]:
        return _module(args[1:])
    if args[:1] == ["--keeper"]:
        return _again(own.script_argv("keeper", *args[1:]))
    if args == ["--where"]:
        print(json.dumps(where()))
        return 0
    from cockpit.agent.__main__ import main as agent

    return agent(args)


def _again(argv: List[str]) -> int:
    """Become another program; returns only when that fails."""
    sys.stdout.flush()
    try:
        os.execv(argv[0], argv)
    except OSError as e:
        print(f"cockpit-agent: {argv[0]!r} cannot be started: {e.strerror}", file=sys.stderr)
    return CANNOT


def where() -> Dict[str, object]:
    """Of this unpacked bundle: what it is, and how its programs are started (a directory or more is to follow)."""
    with open(os.path.join(own.ROOT, own.MARK), encoding="utf-8") as file:
        mark = json.load(file)
    return {
        "version": mark["version"], "digest": mark["digest"], "root": own.ROOT,
        "agent": own.argv_of("cockpit.agent"), "keeper": own.script_argv("keeper"),
    }  # fmt: skip


def _module(args: List[str]) -> int:
    import runpy

    if not args or not MODULE.fullmatch(args[0]):
        print("cockpit-agent: -m takes a module of ours: cockpit.agent, cockpit.swarm.peer", file=sys.stderr)
        return 2
    sys.argv = args
    runpy.run_module(args[0], run_name="__main__", alter_sys=True)
    return 0


def place() -> str:
    """The directory to unpack into, made with 0700 when it is missing. Raises Stuck."""
    home, cache = os.environ.get("HOME", ""), os.environ.get("XDG_CACHE_HOME", "")
    found = os.environ.get(VARIABLE, "")
    if not found and os.geteuid() == 0:
        found = "/var/lib/cockpit/bundle"
    elif not found:
        base = cache if cache.startswith("/") else f"{home}/.cache" if home.startswith("/") else ""
        if not base:
            raise Stuck(f"there is no HOME; name a directory to unpack into in {VARIABLE}")
        found = f"{base}/cockpit/bundle"
    if not found.startswith("/"):
        raise Stuck(f"{VARIABLE} must be an absolute path, not {found}")
    before = os.umask(0o077)
    try:
        os.makedirs(found, exist_ok=True)
    except OSError as e:
        raise Stuck(f"{found} cannot be made: {e.strerror}; another place can be named in {VARIABLE}") from None
    finally:
        os.umask(before)
    if not _private(os.stat(found)):
        raise Stuck(
            f"{found} belongs to somebody else, or others may write to it; name another one in {VARIABLE}"
        )
    return found


def unpack(zip_path: str, base: str) -> str:
    """The directory that holds exactly what the zip file does. Raises Stuck. Two at once are fine."""
    try:
        with zipfile.ZipFile(zip_path) as source:
            files = {name: source.read(name) for name in source.namelist()}  # a megabyte or two, CRCs checked
        digest = str(json.loads(files[own.MARK])["digest"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise Stuck(f"{zip_path} is damaged or not whole; bring it here again") from None
    if not re.fullmatch(r"[0-9a-f]{32}", digest) or any(".." in n or n.startswith("/") for n in files):
        raise Stuck(f"{zip_path} is damaged or not whole; bring it here again")
    root = os.path.join(base, digest)
    try:
        lock = os.open(os.path.join(base, f".{digest}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the second finds it done
            wrong = difference(files, root)
            if wrong:
                _replace(files, base, digest, wrong)
        finally:
            os.close(lock)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            size = sum(len(data) for data in files.values()) // (1 << 20) + 1
            raise Stuck(
                f"the disk is full: unpacking into {base} takes {size} MiB; free some, or name another "
                f"place in {VARIABLE}"
            ) from None
        text = f"unpacking into {base} failed: {e.strerror}; another place can be named in {VARIABLE}"
        raise Stuck(text) from None
    return root


def difference(files: Dict[str, bytes], root: str) -> str:
    """The first file that is missing or not as it should be; empty when there is none."""
    try:
        if not stat.S_ISDIR(os.lstat(root).st_mode) or not _private(os.lstat(root)):
            return "the directory itself"
    except OSError:
        return "missing"
    for name, data in files.items():
        path = os.path.join(root, name)
        try:
            s = os.lstat(path)
            if not stat.S_ISREG(s.st_mode) or not _private(s) or s.st_size != len(data):
                return name
            with open(path, "rb") as file:
                if file.read() != data:
                    return name
        except OSError:
            return name
    return ""


def _private(s: os.stat_result) -> bool:
    """Ours, and nobody else's to change."""
    return s.st_uid == os.geteuid() and not s.st_mode & 0o022


def _replace(files: Dict[str, bytes], base: str, digest: str, wrong: str) -> None:
    """Raises OSError. What was half made is gone then."""
    root, fresh, aside = (os.path.join(base, name) for name in (digest, f".{digest}.new", f".{digest}.old"))
    for left in (fresh, aside):
        shutil.rmtree(left, ignore_errors=True)  # of one that was killed
    try:
        for name, data in files.items():
            path = os.path.join(fresh, name)
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
        for path, _, _ in os.walk(fresh):
            os.chmod(path, 0o700)  # whatever the umask is
            _sync(path)
        if os.path.lexists(root):
            print(f"cockpit-agent: {root} was damaged ({wrong}) and is replaced", file=sys.stderr)
            os.rename(root, aside)
        os.rename(fresh, root)
        _sync(base)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
