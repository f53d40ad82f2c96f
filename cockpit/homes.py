"""Where a person's files are, by the XDG base directories. The one place that spells it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def config_home(environ: Mapping[str, str] | None = None) -> Path:
    """What a person wrote: keys, themes, actions of their own."""
    return _base("XDG_CONFIG_HOME", ".config", environ) / "cockpit"


def state_home(environ: Mapping[str, str] | None = None) -> Path:
    """The default home of controllers' state directories, one for each cluster. Nothing else is kept there:
    a restore wants an empty directory, and any name may be a cluster's."""
    return _base("XDG_STATE_HOME", ".local/state", environ) / "cockpit"


def screens_home(environ: Mapping[str, str] | None = None) -> Path:
    """What the screens remember for a person."""
    return _base("XDG_STATE_HOME", ".local/state", environ) / "cockpit-screens"


def _base(variable: str, default: str, environ: Mapping[str, str] | None) -> Path:
    env = os.environ if environ is None else environ
    if env.get(variable):
        return Path(env[variable])
    return Path(env.get("HOME") or Path.home()) / default
