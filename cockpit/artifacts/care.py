"""Looking after a store: verify all of it, delete what nobody needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from cockpit.artifacts.packed import Damaged
from cockpit.artifacts.retention import DAYS, NEWEST, superfluous
from cockpit.artifacts.store import LEFTOVER, Record, Store, clear_work
from cockpit.ports import Object


class Finding(NamedTuple):
    """`why` is empty when the artifact (`name/version`) is sound."""

    id: str
    why: str


class Collected(NamedTuple):
    versions: tuple[str, ...]
    """`name/version` of the deleted ones (with a dry run: of those that would be)."""
    objects: int
    bytes: int


def verify(store: Store) -> Iterator[Finding]:
    """Read and check every object of every version. Raises OSError when the store does not answer."""
    for item in store.objects.list("index/"):
        id = item.key.removeprefix("index/").removesuffix(".json")
        try:
            name, _, version = id.partition("/")
            _verify(store, store.need(name, version))
        except FileNotFoundError as e:
            yield Finding(id, f"missing: {e}")
        except (Damaged, ValueError) as e:
            yield Finding(id, str(e))
        else:
            yield Finding(id, "")


def _verify(store: Store, record: Record) -> None:
    with store.pack(record["sha256"], record["layout"]) as pack:
        m = pack.manifest
        told = (record["name"], record["version"], record["platform"], record["kind"], record["size"])
        if told != (m.name, m.version, m.platform, m.kind, m.size):
            raise Damaged("the record and the manifest tell different things")
        for _ in pack.check():
            pass
    store.signatures(record["name"], record["version"])


def collect(
    store: Store, roots: Collection[str], *, now: float, newest: int = NEWEST, days: float = DAYS,
    dry_run: bool = False,
) -> Collected:
    """Delete versions that `retention.superfluous` names, and old objects that nothing names.

    Raises Damaged (then nothing was deleted), OSError.
    """
    with store.lock:
        objects = list(store.objects.list(""))  # before the records: what is added now is not among them
        records = store.listing()
        gone = superfluous(records.values(), roots, now=now, newest=newest, days=days)
        stays = {id: record for id, record in records.items() if id not in gone}
        needed = _needed(stays, objects, store)
        removed = {f"index/{id}.json" for id in gone}
        had = _needed(records, objects, store)
        doomed = [
            o for o in objects
            if o.key not in needed and (o.key in removed or o.key in had or now - o.modified > LEFTOVER)
        ]
        doomed.sort(key=lambda o: not o.key.startswith("index/"))  # a version goes before what it consists of
        if not dry_run:
            for item in doomed:
                store.objects.delete(item.key)
            clear_work(store.work, now)
            store.listing()
        return Collected(tuple(gone), len(doomed), sum(o.size for o in doomed))


def _needed(records: dict[str, Record], objects: list[Object], store: Store) -> set[str]:
    """Keys of everything that belongs to these records, patches between them included."""
    found = {f"index/{id}.json" for id in records}
    digests = {r["sha256"] for r in records.values()}
    made = [(r["sha256"], r["layout"]) for r in records.values()]
    for key in (o.key for o in objects):
        if key.startswith("signatures/") and "/".join(key.split("/")[1:3]) in records:
            found.add(key)
        elif key.startswith("patches/"):
            base, _, sha256 = key.removeprefix("patches/").removesuffix(".json").partition("-")
            if base in digests and sha256 in digests and (patch := store.patch(base, sha256)):
                found.add(key)
                made.append((str(patch.get("sha256")), str(patch.get("layout"))))
    for sha256, layout in made:
        pack = f"packs/{sha256}-{layout}"
        found |= {f"manifests/{sha256}", f"layouts/{layout}", pack, f"{pack}.table"}
    return found
