"""What an operator chose for each view of a cluster, in one small file of their own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from cockpit.homes import screens_home
from screens.memory import file_name

FILE = "views.json"
LARGEST = 256 * 1024
"""Bytes of a file that is read."""


class Views:
    """`{"columns": {VIEW: [column id, ...]}}`. A file that cannot be read counts as empty."""

    def __init__(self, cluster: str) -> None:
        self._dir = screens_home() / file_name(cluster) if cluster else None

    def _read(self) -> dict[str, Any]:
        if self._dir is None:
            return {}
        try:
            with (self._dir / FILE).open("rb") as file:
                import json  # mostly there is no file

                data = json.loads(file.read(LARGEST))
        except (OSError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def columns(self, view: str) -> list[str] | None:
        """The columns that were chosen; None: none were."""
        kept = self._read().get("columns")
        ids = kept.get(view) if isinstance(kept, dict) else None
        if not isinstance(ids, list) or not ids or not all(isinstance(id, str) for id in ids):
            return None
        return ids

    def keep(self, view: str, ids: list[str] | None) -> str:
        """Remember these columns, or (None) forget them; why that failed, else nothing. Blocks."""
        if self._dir is None:
            return "The columns hold until you leave: the cluster has no name yet."
        import json

        data = self._read()
        kept = data.get("columns")
        kept = dict(kept) if isinstance(kept, dict) else {}
        kept.pop(view, None)
        if ids is not None:
            kept[view] = ids
        data["columns"] = kept
        try:
            self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd, name = tempfile.mkstemp(dir=self._dir, prefix=FILE)
            try:
                with os.fdopen(fd, "w") as file:
                    json.dump(data, file, indent=1)
                Path(name).replace(self._dir / FILE)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            return f"The columns hold until you leave; {self._dir / FILE} cannot be written: {error.strerror}"
        return ""
