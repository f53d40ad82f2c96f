"""The op `about`: what the controller runs on. Versions, limits and numbers; no variables, no arguments."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import shutil
import sqlite3
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit import __version__
from cockpit.model.view import Who

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

PACKAGES = (
    "aiohttp", "asyncssh", "cryptography", "h2", "hpack", "httpx", "immutables", "jinja2", "msgspec", "networkx",
    "pyyaml", "rich", "textual", "websockets",
)  # fmt: skip
LIMITS = ("NOFILE", "NPROC", "AS", "CORE", "MEMLOCK", "STACK")
BEGAN = time.time()


def operations(c: Controller) -> dict[str, Callable[[Who, dict[str, Any]], Awaitable[Any]]]:
    async def about(who: Who, args: dict[str, Any]) -> Any:
        return await asyncio.to_thread(facts, c.state)

    return {"about": about}


def facts(state: Path) -> dict[str, Any]:
    """Plain data; sizes in bytes, times in Unix seconds. What cannot be found out is left out."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    out: dict[str, Any] = {
        "cockpit": __version__, "python": sys.version.split()[0], "implementation": platform.python_implementation(),
        "kernel": platform.release(), "machine": platform.machine(), "system": _distribution(),
        "sqlite": sqlite3.sqlite_version, "openssl": ssl.OPENSSL_VERSION, "processors": os.cpu_count(),
        "pid": os.getpid(), "uid": os.getuid(), "now": time.time(), "began": BEGAN,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2), "memory_peak": usage.ru_maxrss * 1024,
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "limits": {name.lower(): list(_limit(name)) for name in LIMITS},
    }  # fmt: skip
    try:
        out["open_files"] = sum(1 for _ in Path("/proc/self/fd").iterdir())
        out["load"] = [round(n, 2) for n in os.getloadavg()]
        disk = shutil.disk_usage(state)
        out["state_disk"] = {"total": disk.total, "free": disk.free}
        out["state_files"] = {
            p.name: p.stat().st_size for p in sorted(state.iterdir()) if p.is_file() and not p.is_symlink()
        }
    except OSError:
        pass
    return out


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _limit(name: str) -> tuple[int, int]:
    """Soft and hard; -1 is unlimited."""
    return resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
