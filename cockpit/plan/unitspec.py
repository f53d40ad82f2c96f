"""From expected to what one agent is told to prepare: UNITSPEC of docs/protocols.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cockpit.model.judge import Digests
from cockpit.model.topology import Expected, slot_of
from cockpit.model.topology import service_path as _path


def config_digest(expected: Expected, instance: str) -> str:
    """What `Unit.config` must be (see `Digests.of`, which is cheaper for many)."""
    return Digests(expected).of(instance)


def unit_id(instance: str, gen: int) -> str:
    return f"{instance}:{gen}"


def unit_spec(
    expected: Expected, instance: str, gen: int, artifact: Mapping[str, Any] | None = None,
    data: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The spec of unit `instance:gen`. `artifact` is what the store knows of it: {sha256, ...}; `data` is
    the same by data name, with a version when that is not the expected one.

    Defaults are spelled out and nulls left out, because the agent has no schema.
    Raises KeyError when the instance is not expected.
    """
    path = _path(instance)
    service = expected.services[path]
    host = expected.placement[instance]
    release = None
    if service.artifact is not None:
        release = {
            "name": service.artifact,
            "version": service.version,
            "sha256": str((artifact or {}).get("sha256", "")),
        }
    more: dict[str, Any] = {}
    if service.runtime is not None:
        more["runtime"] = _plain(service.runtime)
    if service.logs:
        more["logs"] = dict(service.logs)
    return {
        "unit": unit_id(instance, gen),
        "instance": instance,
        "gen": gen,
        "service": path,
        "slot": slot_of(instance),
        "cluster": expected.cluster_of(path),
        "region": expected.hosts[host].region,
        "host": host,
        "version": service.version,
        "artifact": release,
        "processes": {name: list(argv) for name, argv in service.processes.items()},
        "env": dict(service.env),
        "secrets": {name: secret.file for name, secret in service.secrets.items()},
        "directory": service.directory,
        "user": service.user,
        "limits": _plain(service.limits),
        "ports": dict(service.ports),
        "check": _plain(service.check),
        "probe": _plain(service.probe),
        "restart": _plain(service.restart),
        "stop": {"signal": service.stop.signal, "grace": service.stop.grace},
        "attributes": dict(service.attributes),
        "config": config_digest(expected, instance),
        "data": {
            name: {
                "artifact": wanted.artifact,
                "version": str(found.get("version", wanted.version)),
                "sha256": str(found.get("sha256", "")),
            }
            for name, wanted in service.data.items()
            if (found := (data or {}).get(name, {})) or wanted.version
        },
        **more,
    }


def _plain(value: Any) -> Any:
    """A struct as a JSON object with its defaults, without its nulls."""
    if isinstance(value, msgspec.Struct):
        return {
            name: _plain(item)
            for name in value.__struct_fields__
            if (item := getattr(value, name)) is not None
        }
    return list(value) if isinstance(value, tuple) else value
