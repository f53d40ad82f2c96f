"""Builds the sample's releases: the same programs, told apart by VERSION and features.json.

1.1.0 also says how hard a puzzle was. sudoku 1.2.0 wants a table that its release forgot, so it
never becomes healthy: the way most bad deploys look.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cockpit.artifacts.store import Store

HERE = Path(__file__).parent
NAMES = HERE.parent / "naming" / "client.py"
PROGRAMS: dict[str, dict[str, Path]] = {
    "web": {"web.py": HERE / "web.py", "serve.py": HERE / "serve.py", "names.py": NAMES},
    "sudoku": {name: HERE / name for name in ("sudoku.py", "solver.py", "serve.py")},
}
"""Artifact -> file in the release -> where it comes from."""
VERSIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("web", "1.0.0"): {},
    ("web", "1.1.0"): {"steps": True},
    ("sudoku", "1.0.0"): {},
    ("sudoku", "1.1.0"): {"steps": True},
    ("sudoku", "1.2.0"): {"steps": True, "patterns": "patterns.json"},
}
"""(artifact, version) -> features."""


def build(store: Store, work_dir: Path) -> list[dict[str, Any]]:
    """Put every release of the sample into the store; returns their records. Repeating it is fine.

    `work_dir` must exist and is left as it was. Raises what `store.add` raises.
    """
    records = []
    for name, version in VERSIONS:
        with tempfile.TemporaryDirectory(prefix="release-", dir=work_dir) as directory:
            records.append(store.add(write(Path(directory), name, version), name, version))
    return records


def write(directory: Path, name: str, version: str) -> Path:
    """The files of one release, as they are run: `python3 NAME.py`. Raises KeyError for others."""
    features = VERSIONS[name, version]
    for file, source in PROGRAMS[name].items():
        shutil.copyfile(source, directory / file)
    (directory / "VERSION").write_text(f"{version}\n")
    (directory / "features.json").write_text(json.dumps(features, sort_keys=True) + "\n")
    return directory
