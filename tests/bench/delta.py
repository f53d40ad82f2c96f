"""Bytes that a host with the version before has to get for the next one, of real packages and of a made-up bundle.

    python -m tests.bench.delta [--wheels DIR]      the pairs; wheels come from the package index

What travels is counted as it does: pieces as they lie in the pack, the manifest as the difference to the one that
the host holds, and the layout; with a patch, its own manifest and layout besides. The whole is the uncompressed tar.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cockpit.artifacts import diff, patch, patches
from cockpit.artifacts.opening import open_store
from cockpit.artifacts.store import Record, Store
from cockpit.swarm.difference import difference
from cockpit.swarm.layout import pieces
from cockpit.swarm.manifest import Manifest, text
from tests.bench.table import Figure, measures

BLOCK = 512
PACKAGES, CHANGED = 12, 2
MODULES = 50
WORDS = 4000
FIRM = (
    "numpy==2.2.6", "pandas==2.2.3", "pillow==11.2.1", "lxml==5.4.0", "cryptography==44.0.3",
    "pydantic-core==2.33.2", "rich==14.0.0", "httpx==0.28.1",
)  # fmt: skip
CORE = ("aiohttp==3.11.18", "sqlalchemy==2.0.40")
PAIRS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "numpy": ((), ("numpy==2.2.5",), ("numpy==2.2.6",)),
    "textual": ((), ("textual==3.2.0",), ("textual==3.3.0",)),
    "grpcio": ((), ("grpcio==1.71.0",), ("grpcio==1.71.2",)),
    "svc": ((*FIRM, *CORE), ("requests==2.32.2", "textual==3.2.0"), ("requests==2.32.3", "textual==3.3.0")),
    "svc-compiled": (
        (*FIRM, "requests==2.32.3", "textual==3.3.0"), ("aiohttp==3.11.16", "sqlalchemy==2.0.39"), CORE,
    ),
}
"""Name -> (packages of both versions, those of the old one, those of the new one)."""
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64", "any")


class Bytes(NamedTuple):
    tar: int
    """Of the new version, uncompressed."""
    whole: int
    """Packed, for a host that has nothing."""
    pieces: int
    manifest: int
    layout: int
    patch: int
    """With its manifest and layout; 0 when none was made."""

    @property
    def chunks(self) -> int:
        return self.pieces + self.manifest + self.layout

    @property
    def patched(self) -> int:
        return self.patch + self.manifest + self.layout

    def share(self, count: int) -> float:
        return count / self.tar


def compared(store: Store, old: Record, new: Record, *, patched: bool = False) -> Bytes:
    """What leads from one version to the other."""
    before, after = store.manifest(old["sha256"]), store.manifest(new["sha256"])
    plan = store.layout(after, new["layout"])
    moved = diff.moves(after, pieces(plan, after.chunks), store.table(after, plan), before.chunks)
    carried = 0
    if patched:
        made = patches.make(store, old, new)
        carrier = store.manifest(made["sha256"])
        carried = made["packed"] + len(store.objects.get(f"manifests/{made['sha256']}", 1 << 30))
        carried += len(store.layout(carrier, made["layout"]).data)
    return Bytes(
        tar(after), new["packed"], moved.bytes, len(difference(text(before), text(after))), len(plan.data), carried
    )


def tar(manifest: Manifest) -> int:
    """Bytes of an uncompressed tar of it: a header each, and contents in blocks."""
    blocks = sum(1 + -(-entry.size // BLOCK) for entry in manifest.entries)
    return -(-(blocks + 2) * BLOCK // 10240) * 10240


def made_up(root: Path, version: int, seed: int = 1) -> None:
    """A bundle of 12 packages, each of one binary and many modules; a later version changes modules of two."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("etaoinshrdlu_", k=chance.randint(2, 10))) for _ in range(WORDS)]
    for package in range(PACKAGES):
        place = root / f"package{package}"
        place.mkdir(parents=True)
        (place / "native.so").write_bytes(chance.randbytes(1 << 20))
        for module in range(MODULES):
            lines = [" ".join(chance.choices(words, k=8)) for _ in range(200)]
            if version > 1 and package < CHANGED and module % 3 == 0:
                lines[module] = f"version = {version}"
            (place / f"module{module}.py").write_text("\n".join(lines))


@measures("delta", needs=("cockpit.artifacts.store",))
def bundle() -> Figure:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        store = open_store(root / "state")
        records = []
        for version in (1, 2):
            made_up(root / str(version), version)
            records.append(store.add(root / str(version), "bundle", str(version)))
        found = compared(store, *records, patched=patch.available())
    note = f"whole {found.share(found.whole):.3f}"
    if found.patch:
        note += f", with a patch {found.share(found.patched):.4f}"
    return Figure(found.share(found.chunks), note=note)


def unpack(wheels: Path, root: Path, packages: Sequence[str]) -> None:
    """Wheels into one directory each below `root`; fetched unless they are there."""
    for package in packages:
        name, _, version = package.partition("==")
        start = f"{name.replace('-', '_')}-{version}-"
        if not any(path.name.startswith(start) for path in wheels.glob("*.whl")):
            platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--only-binary", ":all:",
                 "--python-version", "3.11", *platforms, "--dest", str(wheels), package],
                check=True,
            )  # fmt: skip
        path = next(path for path in wheels.glob("*.whl") if path.name.startswith(start))
        with zipfile.ZipFile(path) as archive:
            archive.extractall(root / name)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.delta", description=__doc__.partition("\n")[0])
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help=f"of {', '.join(PAIRS)}")
    parser.add_argument("--wheels", type=Path, help="keep the wheels here")
    options = parser.parse_args()
    if unknown := set(options.pairs) - set(PAIRS):
        parser.error(f"no pair {unknown.pop()!r}; there are {', '.join(PAIRS)}")
    with tempfile.TemporaryDirectory() as directory:
        wheels = options.wheels or Path(directory) / "wheels"
        wheels.mkdir(exist_ok=True)
        for name in options.pairs or PAIRS:
            same, old, new = PAIRS[name]
            root = Path(directory) / name
            store = open_store(root / "state")
            records = []
            for version, packages in (("1", (*same, *old)), ("2", (*same, *new))):
                unpack(wheels, root / version, packages)
                records.append(store.add(root / version, name, version))
            start = time.monotonic()
            found = compared(store, *records, patched=patch.available())
            print(
                f"{name}: tar {found.tar / 1e6:.1f} MB, whole {found.share(found.whole):.4f}, "
                f"by chunks {found.share(found.chunks):.4f} (pieces {found.pieces}, manifest {found.manifest}, "
                f"layout {found.layout} bytes), by patch {found.share(found.patched):.4f} "
                f"(patch {found.patch} bytes, {time.monotonic() - start:.1f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
