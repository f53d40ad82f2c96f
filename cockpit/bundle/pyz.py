"""The zipapp: one file for hosts that have Python."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

from cockpit.bundle.collect import OLDEST, BundleError, Contents, Version, collect

FIRST = b"#!/usr/bin/env python3\n"
DATE = (1980, 1, 1, 0, 0, 0)
"""Of every file: the same sources give the same bytes."""


def make(out: Path, python: Version = OLDEST) -> Contents:
    """Write the zipapp of what is installed here, executable. Raises BundleError, OSError."""
    contents = collect(python)
    write(out, pack(contents.files), 0o755)
    return contents


def release(directory: Path, made: Path | None = None) -> None:
    """Write what `cockpit artifact add` takes for an upgrade of agents: the bundle and how it is started.

    `made` is a bundle that was made before, either kind; without it the zipapp is made. Raises BundleError, OSError.
    """
    data = made.read_bytes() if made is not None else pack(collect().files)
    static = data.startswith(b"\x7fELF")
    if not static and not (data.startswith(b"#!") and zipfile.is_zipfile(io.BytesIO(data))):
        raise BundleError(f"{made} is neither a cockpit-agent nor a cockpit-agent.pyz")
    name = "cockpit-agent" if static else "cockpit-agent.pyz"
    argv = ["{release}/" + name] if static else ["{python}", "{release}/" + name]
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise BundleError(f"{directory} is not empty")
    write(directory / name, data, 0o755)
    doc = {"argv": argv, "keeper": [*argv, "--keeper"]}
    write(directory / "agent.json", json.dumps(doc, indent=1).encode() + b"\n", 0o644)


def pack(files: dict[str, bytes]) -> bytes:
    """Not compressed: what a compressor makes depends on its version."""
    data = io.BytesIO()
    data.write(FIRST)
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, DATE)
            info.external_attr = 0o100644 << 16
            info.create_system = 3
            archive.writestr(info, files[name])
    return data.getvalue()


def write(out: Path, data: bytes, mode: int) -> None:
    """Atomically. Raises OSError."""
    fd, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, mode)
            os.fsync(fd)
        Path(name).replace(out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
