"""What plug-ins that want `units` are told of the services of this host."""

from __future__ import annotations

import os
from typing import Any, Dict, Mapping

from cockpit.agent.logs import log_dir
from cockpit.agent.prepare import (
    Place,
    PrepareError,
    environment,
    find_user,
    instance_dir,
    template_values,
    working_dir,
)
from cockpit.agent.tasks import CommandError
from cockpit.agent.template import TemplateError, fill

HINTS, MARK = "COCKPIT_", "COCKPIT_RUN_MARK"
"""Whoever carries the mark counts as a part of the run, and would be ended with it."""
Templates = Mapping[str, Mapping[str, str]]
"""Service -> name of a log -> template of its path."""


def unit_facts(host_dir: str, record: Mapping[str, Any], templates: Templates) -> Dict[str, Any]:
    """{"instance","service","run","pids","log_dir","logs": {name: path},"ports","address"}; a path that makes no
    sense is left out and named in "wrong"."""
    unit = str(record["unit"])
    meta = record.get("meta") or {}
    spec = meta.get("spec") or {}
    service = str(spec.get("service", ""))
    logs: Dict[str, str] = {}
    wrong: Dict[str, str] = {}
    declared = templates.get(service) or {}
    if declared and spec:
        place = Place(
            host_dir, str(meta.get("address") or ""), meta.get("ports") or {}, str(meta.get("release") or "")
        )
        own = instance_dir(host_dir, str(spec["instance"]))
        values = template_values(spec, place, own)
        try:
            base = working_dir(str(spec.get("directory") or ""), place.release or own)
            for name, text in declared.items():
                try:
                    logs[name] = os.path.normpath(os.path.join(base, fill(str(text), values)))
                except TemplateError as e:
                    wrong[name] = str(e)
        except PrepareError as e:
            wrong[""] = str(e)
    return {
        "instance": unit.rpartition(":")[0], "service": service, "run": int(record.get("run") or 0),
        "pids": {str(k): int(v) for k, v in (record.get("pids") or {}).items() if v},
        "log_dir": log_dir(host_dir, unit), "logs": logs, "wrong": wrong,
        "ports": {str(k): int(v) for k, v in (meta.get("ports") or {}).items() if v},
        "address": str(meta.get("address") or ""),
    }


def place_facts(host_dir: str, instance: str, records: Mapping[str, Mapping[str, Any]]) -> Dict[str, Any]:
    """{"unit","directory": its release, or its own where it has none,"uid","gid","groups" (null: the agent's),"home",
    "env": what is COCKPIT's}. Of the run that is on, else the last one. Raises CommandError."""
    mine = [r for unit, r in records.items() if unit.rpartition(":")[0] == instance]
    if not mine:
        raise CommandError("missing", f"nothing of {instance} is on this host")
    record = max(mine, key=lambda r: (any((r.get("pids") or {}).values()), int(str(r["unit"]).rpartition(":")[2])))
    meta = record.get("meta") or {}
    spec = meta.get("spec") or {}
    release = str(meta.get("release") or "")
    place = Place(host_dir, str(meta.get("address") or ""), meta.get("ports") or {}, release)
    own = instance_dir(host_dir, instance)
    try:
        user = find_user(str(spec.get("user") or ""))
        env = environment(spec, place, user, template_values(spec, place, own))
    except PrepareError as e:
        raise CommandError(e.code, str(e)) from None
    return {
        "unit": record["unit"], "directory": release or own, "uid": user.uid if user else None,
        "gid": user.gid if user else None, "groups": list(user.groups) if user else None,
        "home": user.home if user else "", "env": {k: v for k, v in env.items() if k.startswith(HINTS) and k != MARK},
    }
