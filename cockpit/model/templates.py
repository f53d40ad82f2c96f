"""Variables that command lines and environments may use: `{port.http}`, `{data.words}`; `{{` is a brace."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cockpit.model.problems import Wrong, nearest

VARIABLES = (
    "port", "address", "host", "region", "instance", "slot", "service", "cluster", "version",
    "release", "directory",
)  # fmt: skip
_PART = re.compile(r"\{\{|\{(?P<name>[^{}\s]*)\}|\{")


def variables(text: str) -> list[str]:
    """Names used in a template, in order. Raises `Wrong` for a brace that begins none."""
    names = []
    for found in _PART.finditer(text):
        if found["name"] is not None:
            names.append(found["name"])
        elif found[0] == "{":
            raise Wrong(f'"{{" begins no variable in "{text[:60]}"; write {{{{ for a brace')
    return names


def check_template(text: str, ports: Iterable[str], data: Iterable[str] = ()) -> None:
    """Raises `Wrong` when a template cannot be filled for a service with these ports and data."""
    known, names = list(ports), list(data)
    for name in variables(text):
        if name == "port":
            if len(known) != 1:
                choice = " or ".join(f"{{port.{p}}}" for p in known[:4])
                raise Wrong(
                    f"{{port}} stands for the only port; this service has {len(known) or 'none'}"
                    + (f", write {choice}" if choice else "")
                )
        elif name.startswith("port."):
            if name[5:] not in known:
                raise Wrong(f"{{{name}}}: the service has no such port", nearest(name[5:], known))
        elif name == "data" or name.startswith("data."):
            if name[5:] not in names:
                choice = " or ".join(f"{{data.{d}}}" for d in names[:4])
                rest = f"; write {choice}" if name == "data" and choice else ""
                raise Wrong(f"{{{name}}}: the service has no such data{rest}", nearest(name[5:], names))
        elif name not in VARIABLES:
            raise Wrong(f"unknown variable {{{name}}}; write {{{{ for a brace", nearest(name, VARIABLES))
