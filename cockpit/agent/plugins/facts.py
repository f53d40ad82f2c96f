"""What plug-ins that want `units` are told of the services of this host."""

from __future__ import annotations

import os
from typing import Any, Dict, Mapping

from cockpit.agent.logs import log_dir
from cockpit.agent.prepare import Place, PrepareError, instance_dir, template_values, working_dir
from cockpit.agent.template import TemplateError, fill

Templates = Mapping[str, Mapping[str, str]]
"""Service -> name of a log -> template of its path."""


def unit_facts(host_dir: str, record: Mapping[str, Any], templates: Templates) -> Dict[str, Any]:
    """{"instance","service","run","pids","log_dir","logs": {name: path}}; a path that makes no sense is left out and
    named in "wrong"."""
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
    }
