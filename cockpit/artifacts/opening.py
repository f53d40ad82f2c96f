"""The store of a state directory: the directory in it, or what `STATE/store.toml` names.

    location = "s3://bucket/prefix?endpoint=https://s3.example.com"
"""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from cockpit.artifacts.store import Store
from cockpit.ports import ObjectStore

GROUP = "cockpit.objects"
DEFAULT = "directory"


class BadLocation(ValueError):
    """`store.toml` cannot be read, or names no store; the message says where and what is wrong."""


def open_store(state: Path) -> Store:
    """Raises BadLocation, OSError."""
    local = state / "artifacts"
    location = read_location(state / "store.toml")
    backend, _, place = location.partition("://") if "://" in location else (DEFAULT, "", location)
    found = {e.name: e for e in entry_points(group=GROUP)}
    if backend not in found:
        raise BadLocation(f"{state / 'store.toml'}: no backend {backend!r}; known are {', '.join(sorted(found))}")
    try:
        objects: ObjectStore = found[backend].load()(place if backend == DEFAULT else location, local)
    except ValueError as e:
        raise BadLocation(f"{state / 'store.toml'}: {e}") from None
    return Store(objects, local / ".work")


def read_location(path: Path) -> str:
    """Empty when there is no such file: the directory in the state. Raises BadLocation, OSError."""
    try:
        doc: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise BadLocation(f"{path}: {e}") from None
    if unknown := sorted(set(doc) - {"location"}):
        raise BadLocation(f"{path}: unknown key {unknown[0]!r}; `location` is known")
    location = doc.get("location")
    if not isinstance(location, str) or not location:
        raise BadLocation(f"{path}: `location` must be text, for example \"s3://bucket/prefix?endpoint=URL\"")
    return location
