"""Releases on this host: what is installed, and whether it still is what was installed.

DIR/releases/NAME/VERSION/ holds the files, DIR/releases/NAME/.VERSION.json the facts (see
cockpit/swarm/records.py, whose installer writes them). A release is installed when both are there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, Dict, List, Optional, Sequence, Tuple

from cockpit.agent.files import SAFE, read_json, write_json
from cockpit.swarm.records import identity

BLOCK = 256 * 1024
MAX_GUARD = 128
MODES = (0o755, 0o644)
"""Of the files of a release: no other bits are ever set by installing."""

Guard = List[List[Any]]


class InstallError(Exception):
    """`code`: bad (a name), exists (with other content), missing, altered."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Releases:
    """Everything installed under one host directory."""

    def __init__(self, host_dir: str) -> None:
        self.root = os.path.join(host_dir, "releases")
        self._verified: Dict[str, bool] = {}

    def path(self, name: str, version: str) -> str:
        """Raises InstallError for a name that could leave the directory."""
        for what, text in (("artifact name", name), ("version", version)):
            if not SAFE.fullmatch(text):
                raise InstallError("bad", f"{text!r} cannot be an {what}")
        return os.path.join(self.root, name, version)

    def manifest(self, name: str, version: str) -> Optional[Dict[str, Any]]:
        path = self.path(name, version)
        doc = read_json(os.path.join(self.root, name, f".{version}.json"))
        return doc if isinstance(doc, dict) and os.path.isdir(path) else None

    def listing(self) -> List[str]:
        """`name/version` of every installed release, sorted."""
        found = []
        for name in _dirs(self.root):
            for version in _dirs(os.path.join(self.root, name)):
                if os.path.isfile(os.path.join(self.root, name, f".{version}.json")):
                    found.append(f"{name}/{version}")
        return sorted(found)

    def installed(self, name: str, version: str, sha256: str) -> bool:
        """Raises InstallError `exists` when there is another content under this version."""
        manifest = self.manifest(name, version)
        if manifest is None:
            return False
        if manifest.get("sha256") != sha256:
            raise InstallError(
                "exists",
                f"{name}/{version} is on this host with other content ({str(manifest.get('sha256'))[:12]}, "
                f"not {sha256[:12]}); releases are never overwritten",
            )
        return True

    def needs_check(self, name: str, version: str) -> bool:
        return not self._verified.get(f"{name}/{version}")

    def check(self, name: str, version: str, sha256: str = "") -> Dict[str, Any]:
        """The manifest, after every file was compared with it (digests the first time).

        Raises InstallError `missing`, `exists` or `altered`.
        """
        manifest = self.manifest(name, version)
        if manifest is None:
            raise InstallError("missing", f"release {name}/{version} is not on this host")
        if sha256 and manifest.get("sha256") != sha256:
            raise InstallError("altered", f"release {name}/{version} on this host has other content")
        key = f"{name}/{version}"
        root = self.path(name, version)
        why, moved = compare(root, manifest, digests=not self._verified.get(key))
        if why:
            self._verified.pop(key, None)
            raise InstallError("altered", f"release {name}/{version}: {why}")
        if moved:
            write_json(os.path.join(self.root, name, f".{version}.json"), manifest)
        self._verified[key] = True
        return manifest


def compare(root: str, manifest: Dict[str, Any], *, digests: bool) -> Tuple[str, bool]:
    """(what differs from the manifest or an empty string, whether identities were brought up to date).

    A file with another inode, time or device but the same digest is the same file (a device gets
    another number at a reboot, a directory is restored from a backup).
    """
    moved = False
    for path, facts in manifest["files"].items():
        full = os.path.join(root, path)
        try:
            now = identity(full)
            same = now == facts[1:]
            if (digests or not same) and (os.path.islink(full) or digest(full) != facts[0]):
                return f"{path} has other content than was installed", moved
            mode = os.lstat(full).st_mode
            if not stat.S_ISREG(mode) or stat.S_IMODE(mode) not in MODES:
                return f"{path} has another mode than was installed ({stat.S_IMODE(mode):o})", moved
        except OSError as e:
            return f"{path}: {e.strerror}", moved
        if not same:
            facts[1:] = now
            moved = True
    for path, target in manifest.get("links", {}).items():
        try:
            if os.readlink(os.path.join(root, path)) != target:
                return f"{path} points elsewhere", moved
        except OSError as e:
            return f"{path}: {e.strerror}", moved
    return "", moved


def guard_of(root: str, manifest: Dict[str, Any], argv: Sequence[str] = (), cwd: str = "") -> Guard:
    """The keeper's list: [path, dev, inode, size, mtime_ns, ctime_ns] of the release's files.

    At most MAX_GUARD of them, so that a spec stays small: what argv names first, then executables.
    """
    named = {os.path.normpath(os.path.join(cwd or root, a)) for a in argv}
    found = [[os.path.join(root, path), *facts] for path, (_, *facts) in manifest["files"].items()]
    if len(found) > MAX_GUARD:
        found.sort(key=lambda e: (e[0] not in named, not os.access(e[0], os.X_OK), e[0]))
    return found[:MAX_GUARD]


def digest(path: str) -> str:
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while True:
            block = f.read(BLOCK)
            if not block:
                return h.hexdigest()
            h.update(block)


def _dirs(path: str) -> List[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name[0] != ".")
    except FileNotFoundError:
        return []
