"""Patches between two versions of the store, kept as artifacts of kind `patch` so that they travel like any."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from cockpit.artifacts import patch
from cockpit.artifacts.make import describe
from cockpit.artifacts.store import Record, Store
from cockpit.artifacts.tree import scan


def make(store: Store, base: Record, record: Record) -> dict[str, Any]:
    """{sha256, layout, size, packed} of the patch from `base` to `record`, made now unless it is there.

    Takes seconds for megabytes of changed programs. Raises patch.PatchUnavailable, Damaged, OSError.
    """
    known = store.patch(base["sha256"], record["sha256"])
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix=".patch-", dir=store.work) as work:
        root = Path(work) / "root"
        root.mkdir()
        with store.pack(base["sha256"], base["layout"]) as old, store.pack(record["sha256"], record["layout"]) as new:
            patch.make(old.manifest, old.chunk, new.manifest, new.chunk, root / patch.FILE)
        version = f"{base['version']}..{record['version']}"[:100]
        manifest, _ = describe(root, scan(root), record["name"], version, record["platform"], "patch")
        kept = store.keep(root, manifest)
        doc = {
            "sha256": manifest.sha256, "layout": kept.layout, "size": manifest.size, "packed": kept.packed,
        }
        store.add_patch(base["sha256"], record["sha256"], doc)
    return doc
