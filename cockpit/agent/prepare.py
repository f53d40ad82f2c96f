"""UNITSPEC -> the keeper's SPEC: everything resolved, no template left."""

from __future__ import annotations

import grp
import os
import pwd
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from cockpit.agent import activate
from cockpit.agent.files import flat, make_dir
from cockpit.agent.template import TemplateError, data_values, fill, port_values

UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[0-9]+:[0-9]+")
MAX_UNIT = 200
LIMITS = {"open_files": "nofile", "processes": "nproc", "memory": "as", "core": "core", "cpu": "cpu"}
RESTART = ("mode", "delay", "max_delay", "attempts", "window", "reset")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PrepareError(Exception):
    """`code`: bad, port, missing, altered, exists. The unit is REJECTED on this host."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Place:
    """What this host adds to a UNITSPEC."""

    host_dir: str
    address: str
    ports: Mapping[str, int]
    release: str = ""
    """Directory of the installed release; empty without an artifact."""
    guard: Tuple[List[Any], ...] = ()


@dataclass(frozen=True)
class User:
    uid: int
    gid: int
    groups: Tuple[int, ...]
    home: str


def check_unitspec(spec: Any) -> Dict[str, Any]:
    """The same, when it can be one. Raises PrepareError `bad`."""
    if not isinstance(spec, dict):
        raise PrepareError("bad", "spec: an object is wanted")
    unit, instance = spec.get("unit"), spec.get("instance")
    if not isinstance(unit, str) or len(unit) > MAX_UNIT or not UNIT.fullmatch(unit):
        raise PrepareError("bad", f"spec.unit: `<service>/<slot>:<gen>` is wanted, not {unit!r:.80}")
    if unit.rpartition(":")[0] != instance:
        raise PrepareError("bad", f"spec.instance: {instance!r:.80} is not the instance of {unit}")
    processes = spec.get("processes")
    if not isinstance(processes, dict) or not processes:
        raise PrepareError("bad", "spec.processes: at least one is wanted")
    for name, argv in processes.items():
        if not isinstance(argv, list) or not argv or not all(isinstance(a, str) for a in argv):
            raise PrepareError("bad", f"spec.processes.{name}: a list of strings is wanted")
    ports = spec.get("ports") or {}
    if not isinstance(ports, dict) or not all(_port(p) for p in ports.values()):
        raise PrepareError("bad", "spec.ports: name -> number (0 is dynamic) is wanted")
    try:
        activate.check_data(spec.get("data") or {})
    except activate.ActivateError as e:
        raise PrepareError(e.code, str(e)) from None
    return spec


def _port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535


def keeper_spec(spec: Mapping[str, Any], place: Place, user: Optional[User]) -> Dict[str, Any]:
    """Raises PrepareError `bad` for a template or a directory that makes no sense."""
    own = instance_dir(place.host_dir, str(spec["instance"]))
    values = template_values(spec, place, own)
    cwd = working_dir(str(spec.get("directory") or ""), place.release or own)
    notify = bool((spec.get("check") or {}).get("notify"))
    env = environment(spec, place, user, values)
    try:
        processes = [
            {"name": name, "argv": [fill(a, values) for a in argv], "env": env, "cwd": cwd}
            for name, argv in spec["processes"].items()
        ]
        check = filled_check(spec.get("check"), values)
        probe = filled_check(spec.get("probe"), values)
    except TemplateError as e:
        raise PrepareError("bad", str(e)) from None
    limits, restart, stop = spec.get("limits") or {}, spec.get("restart") or {}, spec.get("stop") or {}
    return {
        "unit": spec["unit"],
        "processes": processes,
        "secrets": {k: _path_of(v) for k, v in (spec.get("secrets") or {}).items()},
        "uid": user.uid if user else None,
        "gid": user.gid if user else None,
        "groups": list(user.groups) if user else None,
        "limits": {LIMITS[k]: v for k, v in limits.items() if k in LIMITS and v is not None},
        "restart": {k: v for k, v in restart.items() if k in RESTART},
        "stop": {k: v for k, v in stop.items() if k in ("signal", "grace")},
        "guard": [list(entry) for entry in place.guard],
        "notify": notify,
        "log_dir": os.path.join(place.host_dir, "logs", flat(str(spec["unit"]))),
        "core_dir": os.path.join(place.host_dir, "cores"),
        "meta": {
            "spec": dict(spec), "ports": dict(place.ports), "address": place.address,
            "release": place.release, "check": check, "probe": probe,
        },
    }


def instance_dir(host_dir: str, instance: str) -> str:
    return os.path.join(host_dir, "instances", flat(instance))


def template_values(spec: Mapping[str, Any], place: Place, own: str) -> Dict[str, str]:
    """`directory` is the instance's own directory: it stays when the release changes."""
    values = {k: str(spec.get(k, "")) for k in ("host", "region", "instance", "slot", "service", "cluster")}
    values.update(
        address=place.address, version=str(spec.get("version", "")), release=place.release, directory=own
    )
    values.update(port_values(place.ports))
    values.update(data_values(data_paths(spec, place)))
    return values


def data_paths(spec: Mapping[str, Any], place: Place) -> Dict[str, str]:
    """Data name -> path of the link to its active version."""
    return activate.paths(place.host_dir, str(spec["instance"]), spec.get("data") or {})


def working_dir(directory: str, base: str) -> str:
    """An absolute directory as it is; a relative one below `base`. Raises PrepareError."""
    if os.path.isabs(directory):
        return os.path.normpath(directory)
    path = os.path.normpath(os.path.join(base, directory))
    if path != base and not path.startswith(base + "/"):
        raise PrepareError("bad", f"directory {directory!r} leaves {base}")
    return path


def environment(
    spec: Mapping[str, Any], place: Place, user: Optional[User], values: Mapping[str, str]
) -> Dict[str, str]:
    """What a process of this unit gets (the keeper adds secrets and NOTIFY_SOCKET)."""
    env = {
        "PATH": os.environ.get("PATH", DEFAULT_PATH),
        "HOME": user.home if user else os.environ.get("HOME", "/"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }
    try:
        env.update({k: fill(str(v), values) for k, v in (spec.get("env") or {}).items()})
    except TemplateError as e:
        raise PrepareError("bad", f"env: {e}") from None
    for name in ("cluster", "service", "instance", "host", "region", "version"):
        env[f"COCKPIT_{name.upper()}"] = str(spec.get(name, ""))
    env["COCKPIT_ADDRESS"] = place.address
    env["COCKPIT_RUN_MARK"] = str(spec["unit"])
    env["COCKPIT_AGENT_SOCKET"] = os.path.join(place.host_dir, "agent.sock")
    env["COCKPIT_NAMES_CACHE"] = os.path.join(place.host_dir, "names.json")
    for name, number in place.ports.items():
        env[f"COCKPIT_PORT_{re.sub('[^A-Z0-9]', '_', name.upper())}"] = str(number)
    for name, path in data_paths(spec, place).items():
        env[f"COCKPIT_DATA_{re.sub('[^A-Z0-9]', '_', name.upper())}"] = path
    return env


def filled_check(check: Any, values: Mapping[str, str]) -> Optional[Dict[str, Any]]:
    """A check or probe with the templates of its argv filled in. Raises TemplateError."""
    if not isinstance(check, dict):
        return None
    found = dict(check)
    if found.get("exec"):
        found["exec"] = [fill(str(a), values) for a in found["exec"]]
    return found


def find_user(name: str) -> Optional[User]:
    """None when nothing has to change. Raises PrepareError for an unknown user, or one out of reach."""
    if not name:
        return None
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise PrepareError("bad", f"there is no user {name!r} on this host") from None
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise PrepareError("bad", f"only an agent that runs as root can start processes as {name}")
    groups = {g.gr_gid for g in grp.getgrall() if entry.pw_name in g.gr_mem} | {entry.pw_gid}
    return User(entry.pw_uid, entry.pw_gid, tuple(sorted(groups)), entry.pw_dir)


def make_places(host_dir: str, instance: str, user: Optional[User]) -> None:
    """Directories that the processes of an instance need. Another user may pass, not look around."""
    own = instance_dir(host_dir, instance)
    make_dir(own)
    if user is None:
        return
    if os.stat(own).st_uid != user.uid:
        os.chown(own, user.uid, user.gid)
    for path in (host_dir, os.path.dirname(own), os.path.join(host_dir, "releases")):
        if os.path.isdir(path):
            _searchable(path)
    releases = os.path.join(host_dir, "releases")
    if os.path.isdir(releases):
        for name in os.listdir(releases):
            _searchable(os.path.join(releases, name))


def _searchable(path: str) -> None:
    mode = os.stat(path).st_mode & 0o7777
    if mode & 0o011 != 0o011:
        os.chmod(path, mode | 0o011)


def _path_of(secret: Any) -> str:
    return str(secret.get("file", "")) if isinstance(secret, dict) else str(secret)
