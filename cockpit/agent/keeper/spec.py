"""What a unit may look like: checks a SPEC and fills in its defaults."""

from __future__ import annotations

import signal

from .wire import Reject, number, strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_NAME = 200
MAX_PROCESSES = 32
LIMITS = ("nofile", "nproc", "as", "core", "cpu")
RESTART: dict[str, Any] = {
    "mode": "always", "delay": 0.2, "max_delay": 30.0, "attempts": None, "window": 600.0, "reset": 10.0,
}
STOP: dict[str, Any] = {"signal": "TERM", "grace": 10.0}
FIELDS = (
    "unit", "processes", "secrets", "uid", "gid", "groups", "limits", "restart", "stop", "guard",
    "notify", "log_dir", "core_dir", "meta",
)


def check_spec(doc: object) -> dict[str, Any]:
    """The spec with its defaults filled in. Raises Reject(bad) that names the field."""
    if not isinstance(doc, dict):
        raise Reject("bad", "spec: an object is wanted")
    _known(doc, FIELDS, "spec")
    uid, gid = _id(doc, "uid"), _id(doc, "gid")
    groups = doc.get("groups")
    if groups is not None and not (isinstance(groups, list) and all(_is_id(g) for g in groups)):
        raise Reject("bad", "spec.groups: a list of group numbers or null is wanted")
    notify = doc.get("notify", False)
    if not isinstance(notify, bool):
        raise Reject("bad", "spec.notify: true or false is wanted")
    return {
        "unit": unit_id(doc.get("unit")),
        "processes": _processes(doc.get("processes")),
        "secrets": check_env(doc.get("secrets") or {}, "spec.secrets"),
        "uid": uid,
        "gid": gid,
        "groups": groups,
        "limits": _limits(doc.get("limits") or {}),
        "restart": _restart(doc.get("restart") or {}),
        "stop": _stop(doc.get("stop") or {}),
        "guard": _guard(doc.get("guard") or []),
        "notify": notify,
        "log_dir": _directory(doc.get("log_dir") or "", "spec.log_dir", empty=True),
        "core_dir": _directory(doc.get("core_dir") or "", "spec.core_dir", empty=True),
        "meta": doc.get("meta"),
    }


def unit_id(value: object) -> str:
    """`<instance>:<gen>`. Raises Reject."""
    text = f"unit: `<instance>:<gen>` of at most {MAX_NAME} bytes is wanted, not {value!r:.80}"
    wrong = Reject("bad", text)
    if not isinstance(value, str):
        raise wrong
    instance, colon, gen = value.rpartition(":")
    if not instance or not colon or not (gen.isascii() and gen.isdigit()):
        raise wrong
    if not value.isprintable() or " " in value or len(value.encode(errors="replace")) > MAX_NAME:
        raise wrong
    return value


def instance_of(unit: str) -> str:
    return unit.rpartition(":")[0]


def gen_of(unit: str) -> int:
    return int(unit.rpartition(":")[2])


def flat(unit: str) -> str:
    """The unit's name in log and core paths: `/` and `:` become `_`."""
    return unit.replace("/", "_").replace(":", "_")


def file_name(unit: str) -> str:
    """The unit's name as a file name that no other unit has."""
    return unit.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")


def signal_number(value: object, where: str = "signal") -> int:
    """`TERM`, `SIGTERM` or a number -> the number. Raises Reject."""
    found: object = None
    if isinstance(value, str) and value.isascii() and value.isupper():
        found = getattr(signal, value if value.startswith("SIG") else "SIG" + value, None)
        if value.startswith(("SIG_", "_")):
            found = None
    elif isinstance(value, int) and not isinstance(value, bool):
        found = value
    if not isinstance(found, int) or not 1 <= found <= 64:
        raise Reject("bad", f"{where}: a signal such as TERM or 15 is wanted, not {value!r:.40}")
    return int(found)


def _known(doc: dict[str, Any], fields: object, where: str) -> None:
    assert isinstance(fields, tuple)
    for key in doc:
        if key not in fields:
            raise Reject("bad", f"{where}.{key}: unknown; known are {', '.join(fields)}")


def _processes(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PROCESSES:
        raise Reject("bad", f"spec.processes: a list of 1 to {MAX_PROCESSES} is wanted")
    out: list[dict[str, Any]] = []
    for n, process in enumerate(value):
        where = f"spec.processes[{n}]"
        if not isinstance(process, dict):
            raise Reject("bad", f"{where}: an object is wanted")
        _known(process, ("name", "argv", "env", "cwd"), where)
        name = process.get("name", "main")
        plain = isinstance(name, str) and name.replace("-", "").replace("_", "").isalnum()
        if not plain or len(name) > 64 or any(p["name"] == name for p in out):
            raise Reject("bad", f"{where}.name: a name of its own (letters, digits, - and _) is wanted")
        argv = strings(process.get("argv"), f"{where}.argv")
        if not argv or not argv[0]:
            raise Reject("bad", f"{where}.argv: the program is missing")
        out.append({
            "name": name,
            "argv": argv,
            "env": check_env(process.get("env") or {}, f"{where}.env"),
            "cwd": _directory(process.get("cwd", "/"), f"{where}.cwd"),
        })
    return out


def check_env(value: object, where: str) -> dict[str, str]:
    """Variables for a program. Raises Reject."""
    if not isinstance(value, dict):
        raise Reject("bad", f"{where}: an object of strings is wanted")
    for key, text in value.items():
        if not key or "=" in key or "\0" in key or not isinstance(text, str) or "\0" in text:
            raise Reject("bad", f"{where}.{key:.80}: NAME: string is wanted")
    return value


def _directory(value: object, where: str, empty: bool = False) -> str:
    if value == "" and empty:
        return ""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise Reject("bad", f"{where}: an absolute path is wanted, not {value!r:.80}")
    return value


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 - 1


def _id(doc: dict[str, Any], key: str) -> int | None:
    value = doc.get(key)
    if value is not None and not _is_id(value):
        raise Reject("bad", f"spec.{key}: a number or null is wanted")
    return value


def _limits(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise Reject("bad", "spec.limits: an object is wanted")
    _known(value, LIMITS, "spec.limits")
    for key, limit in value.items():
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < -1):
            raise Reject("bad", f"spec.limits.{key}: a number (-1: unlimited) is wanted")
    return {key: limit for key, limit in value.items() if limit is not None}


def _restart(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Reject("bad", "spec.restart: an object is wanted")
    _known(value, tuple(RESTART), "spec.restart")
    out = {**RESTART, **value}
    if out["mode"] not in ("always", "on-failure", "never"):
        raise Reject("bad", f"spec.restart.mode: always, on-failure or never, not {out['mode']!r:.40}")
    for key in ("delay", "max_delay", "window", "reset"):
        number(out, key)
    if out["attempts"] is not None:
        number(out, "attempts")
    return out


def _stop(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Reject("bad", "spec.stop: an object is wanted")
    _known(value, tuple(STOP), "spec.stop")
    out = {**STOP, **value}
    signal_number(out["signal"], "spec.stop.signal")
    number(out, "grace")
    return out


def _guard(value: object) -> list[list[Any]]:
    if not isinstance(value, list):
        raise Reject("bad", "spec.guard: a list is wanted")
    for n, entry in enumerate(value):
        right = isinstance(entry, list) and len(entry) == 6 and isinstance(entry[0], str)
        if not right or not all(isinstance(v, int) for v in entry[1:]):
            raise Reject("bad", f"spec.guard[{n}]: [path, dev, inode, size, mtime_ns, ctime_ns] is wanted")
    return value
