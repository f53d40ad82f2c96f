"""A small artifact made by hand: its manifest, its layout, and its encoded pieces."""

from __future__ import annotations

import hashlib
import json
import random
import zlib
from pathlib import Path
from typing import Any

from cockpit.swarm.layout import Pieces, layout, parse_layout, pieces, swarm_id
from cockpit.swarm.manifest import Chunks, Entry, Manifest, text

CHUNK = 16 * 1024


class Bundle:
    """One file of `size` bytes (random by `seed`, or zeros-heavy with `thin`), and links that make its manifest long:
    600 bytes each, packed."""

    def __init__(
        self, size: int, seed: int = 1, *, thin: bool = False, version: str = "1.0.0", links: int = 0
    ) -> None:
        self.version = version
        self.content = random.Random(seed).randbytes(size if not thin else size // 8).ljust(size, b"\0")
        chunks = Chunks()
        parts = [self.content[at : at + CHUNK] for at in range(0, size, CHUNK)]
        extents = [chunks.add(hashlib.sha256(p).digest(), len(p)) for p in parts]
        entry = Entry(
            "f", "data.bin", mode=0o644, size=size, sha256=hashlib.sha256(self.content).digest(), extents=extents
        )
        rng = random.Random(seed)
        targets = ["/".join(rng.randbytes(100).hex() for _ in range(5)) for _ in range(links)]
        far = [Entry("l", f"link{n:05}", target=target) for n, target in enumerate(targets)]
        self.manifest = b"".join(text(Manifest("web", version, "any", "release", [entry, *far], chunks)))
        self.packed_manifest = zlib.compress(self.manifest)
        self.sha256 = hashlib.sha256(self.manifest).hexdigest()
        made = layout(self.sha256, [0] * len(chunks))
        self.layout_data, self.layout = made.data, made.sha256
        self.swarm = swarm_id(self.sha256, self.layout)
        self.chunks = chunks
        self.pieces: Pieces = pieces(parse_layout(self.layout_data, self.sha256, len(chunks)), chunks)
        held = [b"".join(parts[extents.index(c)] for c in self.pieces.chunks_of(n)) for n in range(len(self.pieces))]
        self.encoded: list[tuple[int, bytes]] = []
        for piece in held:
            small = zlib.compress(piece, 1)
            self.encoded.append((1, small) if len(small) < len(piece) else (0, piece))

    def publish(self, directory: Path) -> dict[str, Any]:
        """Write it below `directory` and return the arguments of the origin's `publish`."""
        directory.mkdir(parents=True, exist_ok=True)
        table = [[encoding, len(data)] for encoding, data in self.encoded]
        files = {
            "manifest": self.manifest, "layout_file": self.layout_data,
            "pack": b"".join(data for _, data in self.encoded), "table": json.dumps(table).encode(),
        }
        for name, data in files.items():
            (directory / name).write_bytes(data)
        return {"sha256": self.sha256, "layout": self.layout, **{n: str(directory / n) for n in files}}
