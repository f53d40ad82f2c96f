"""Where this program's own files are, and how its processes are started.

The same code runs from an installed package, from an unpacked zipapp and from the unpacked one-file agent. Every
place that starts a process of ours, or needs a file beside a module, asks here. docs/agent-bundle.md.
"""

from __future__ import annotations

import os
import sys
from typing import List

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The directory (or zip file) that the package `cockpit` is in."""
MARK = "bundle.json"
"""Is in ROOT of a bundle only: {"version", "digest", "python": [3, 9], "holds": {distribution: version}}."""


def bundled() -> bool:
    """Does this run from a bundle, rather than from an installed package?"""
    return os.path.isfile(os.path.join(ROOT, MARK))


def argv_of(module: str, *args: str) -> List[str]:
    """How a module of ours is started as a process: `argv_of("cockpit.agent", "run", "--dir", DIR)`."""
    if bundled():
        return argv_at(ROOT, module, *args)
    return [sys.executable, "-I", "-m", module, *args]


def argv_at(root: str, module: str, *args: str) -> List[str]:
    """As `argv_of`, for the unpacked bundle at `root`, by this interpreter.

    -S: of an interpreter that is the host's, nothing but the standard library.
    """
    return [sys.executable, "-I", "-S", root, "-m", module, *args]


def keeper_path() -> str:
    """The keeper's directory. It is run as one, so that little is loaded."""
    return path_of("keeper")


def keeper_argv(host_dir: str, boot_id: str = "") -> List[str]:
    """How the keeper of a host directory is started."""
    return script_argv("keeper", host_dir, *(["--boot-id", boot_id] if boot_id else []))


def script_argv(name: str, *args: str) -> List[str]:
    """How a program that stands beside this module is started: standard library only, no package."""
    return [sys.executable, "-I", "-S", path_of(name), *args]


def path_of(name: str) -> str:
    """A file or directory beside this module."""
    return os.path.join(ROOT, "cockpit", "agent", name)
