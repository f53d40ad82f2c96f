"""Data beside a release: which version an instance sees, and how another one takes its place.

    DIR/instances/INSTANCE/data/NAME -> ../../../releases/ARTIFACT/VERSION

The link belongs to the instance, so that its path never changes; it is switched by an atomic rename.
What a unit was *given* is remembered by unit (its spec, then the agent's memory): a unit whose successor
was prepared beside it sees the new link, too, but was not given that version.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple

from cockpit.agent.files import SAFE, flat, make_dir

NOTHING = "nothing"

Given = Dict[str, Dict[str, str]]
"""Data name -> {"artifact", "version", "sha256"}."""


class ActivateError(Exception):
    """`code`: bad (arguments, or a unit that has no such data), altered (the place of the links)."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def check_data(value: Any, where: str = "spec.data") -> Given:
    """The same, when it can be the data of a spec. Raises ActivateError `bad`."""
    if not isinstance(value, dict):
        raise ActivateError("bad", f"{where}: an object is wanted")
    for name, entry in value.items():
        if not isinstance(name, str) or not SAFE.fullmatch(name):
            raise ActivateError("bad", f"{where}: {name!r:.80} cannot be the name of data")
        facts = entry if isinstance(entry, dict) else {}
        for key in ("artifact", "version"):
            if not SAFE.fullmatch(str(facts.get(key) or "")):
                raise ActivateError("bad", f"{where}.{name}.{key}: a name is wanted, not {facts.get(key)!r:.80}")
        if not isinstance(facts.get("sha256", ""), str):
            raise ActivateError("bad", f"{where}.{name}.sha256: a string is wanted")
    return value


def data_dir(host_dir: str, instance: str) -> str:
    return os.path.join(host_dir, "instances", flat(instance), "data")


def paths(host_dir: str, instance: str, names: Iterable[str]) -> Dict[str, str]:
    """Data name -> path of its link, which never changes."""
    root = data_dir(host_dir, instance)
    return {name: os.path.join(root, name) for name in names}


def switch(host_dir: str, instance: str, name: str, artifact: str, version: str) -> None:
    """The link points to this release from now on. Raises ActivateError `altered`, OSError.

    Works below an open directory that must be ours: the instance's own directory may belong to the
    user of its processes, who could put a link to elsewhere in its place.
    """
    target = os.path.join("..", "..", "..", "releases", artifact, version)
    root = _open_dir(host_dir, instance, make=True)
    assert root is not None
    try:
        if _target(root, name) == target:
            return
        new = f".{name}.new"
        try:
            os.unlink(new, dir_fd=root)  # left by a crash
        except FileNotFoundError:
            pass
        os.symlink(target, new, dir_fd=root)
        os.rename(new, name, src_dir_fd=root, dst_dir_fd=root)
        os.fsync(root)
    except IsADirectoryError:
        raise ActivateError("altered", f"{data_dir(host_dir, instance)}/{name} is a directory, not a link") from None
    finally:
        os.close(root)


def linked(host_dir: str, instance: str, name: str) -> Optional[Tuple[str, str]]:
    """(artifact, version) that the link points to; None when there is no link into the releases."""
    try:
        target = os.readlink(os.path.join(data_dir(host_dir, instance), name))
    except OSError:
        return None
    parts = target.split("/")
    if parts[:4] != ["..", "..", "..", "releases"] or len(parts) != 6:
        return None
    return parts[4], parts[5]


def given(record: Mapping[str, Any], since: Mapping[str, Any]) -> Given:
    """What a unit was given: by its spec, and by `activate` since then."""
    spec = (record.get("meta") or {}).get("spec") or {}
    data = spec.get("data")
    found: Given = dict(data) if isinstance(data, dict) else {}
    found.update({name: entry for name, entry in since.items() if name in found and isinstance(entry, dict)})
    return found


def versions(host_dir: str, instance: str, data: Given, newest: bool) -> Dict[str, str]:
    """Data name -> version, for a report.

    Of an instance's newest unit the link must agree; else the version reads `4 (5 is linked)`, which no
    version can be. Older units tell what they were given.
    """
    found = {}
    for name, entry in data.items():
        artifact, version = str(entry.get("artifact")), str(entry.get("version"))
        if newest:
            link = linked(host_dir, instance, name)
            if link != (artifact, version):
                other = NOTHING if link is None else link[1] if link[0] == artifact else "/".join(link)
                version = f"{version} ({other} is linked)"
        found[name] = version
    return found


def restore(host_dir: str, instance: str, left: Given) -> None:
    """After a unit was removed: links as the newest unit that is left was given them, and no others.

    Raises ActivateError `altered`, OSError.
    """
    for name, entry in left.items():
        switch(host_dir, instance, name, str(entry["artifact"]), str(entry["version"]))
    root = _open_dir(host_dir, instance, make=False)
    if root is None:
        return
    try:
        for name in os.listdir(root):
            if name not in left and stat.S_ISLNK(os.lstat(name, dir_fd=root).st_mode):
                os.unlink(name, dir_fd=root)
    finally:
        os.close(root)


def _open_dir(host_dir: str, instance: str, *, make: bool) -> Optional[int]:
    path = data_dir(host_dir, instance)
    if make and not os.path.lexists(path):
        make_dir(path, 0o755)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if make:
            raise
        return None
    except NotADirectoryError:
        fd = -1  # a link counts as one, too
    except OSError as e:
        if e.errno != errno.ELOOP:
            raise
        fd = -1
    if fd >= 0 and os.fstat(fd).st_uid == os.geteuid():
        return fd
    if fd >= 0:
        os.close(fd)
    raise ActivateError("altered", f"{path} is not the directory that the agent made there")


def _target(root: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=root)
    except OSError:
        return ""
