"""Names on this host: the last known endpoints, in memory and in DIR/names.json.

The cache file is `{"version", "services": {PATH: [endpoint...]}}`; programs may read it themselves.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional

from cockpit.agent.files import read_json, write_json

Services = Dict[str, List[Dict[str, Any]]]


class UnknownName(Exception):
    """`code`: none or many; the text names what is near."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Names:
    """Applies `names` frames. Works from the disk cache until the first frame comes."""

    def __init__(self, host_dir: str) -> None:
        self._path = os.path.join(host_dir, "names.json")
        self.version = 0
        self.services: Services = {}
        doc = read_json(self._path)
        if isinstance(doc, dict) and isinstance(doc.get("services"), dict):
            self.services = {str(k): v for k, v in doc["services"].items() if isinstance(v, list)}
            self.version = int(doc.get("version") or 0)

    def apply(self, frame: Mapping[str, Any]) -> List[str]:
        """Take a frame; the paths whose endpoints changed. A delta older than what we have is left out."""
        version = int(frame["version"])
        given = frame.get("services") or {}
        if frame.get("full"):
            fresh: Services = {str(k): v for k, v in given.items() if isinstance(v, list)}
        elif version < self.version:
            return []
        else:
            fresh = dict(self.services)
            for path, endpoints in given.items():
                if endpoints is None:
                    fresh.pop(path, None)
                elif isinstance(endpoints, list):
                    fresh[str(path)] = endpoints
        before, self.services = self.services, fresh
        moved = version != self.version
        self.version = version
        changed = [p for p in {*before, *fresh} if before.get(p) != fresh.get(p)]
        if changed or moved or not os.path.exists(self._path):
            try:
                write_json(self._path, {"version": version, "services": fresh}, 0o644, sync=False)
            except OSError:
                pass  # a full disk: programs that ask still get the truth
        return sorted(changed)

    def find(self, name: str) -> str:
        """Full path for a path or its shortest unique suffix. Raises UnknownName."""
        path = find_path(name, self.services)
        if path is not None:
            return path
        near = sorted(p for p in self.services if p.endswith(f".{name}"))
        if near:
            raise UnknownName("many", f"{name} may be any of {', '.join(near[:8])}")
        import difflib

        close = difflib.get_close_matches(name, self.services, 1, 0.5)
        raise UnknownName("none", f"no service {name}" + (f"; did you mean {close[0]}?" if close else ""))

    def endpoints(self, name: str) -> List[Dict[str, Any]]:
        """Of a name, however short; empty when it is not known (yet) or not unique."""
        path = find_path(name, self.services)
        return self.services[path] if path is not None else []


def find_path(name: str, services: Mapping[str, Any]) -> Optional[str]:
    """The path itself, or the only one that ends with `.name`."""
    if name in services:
        return name
    found = [path for path in services if path.endswith(f".{name}")]
    return found[0] if len(found) == 1 else None
