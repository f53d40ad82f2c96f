"""Sign-off in plans: what lacks a demanded signature is neither put on a host nor started.

The controller says whose signatures are genuine (`Signed`); whether their keys count, and whether they are
enough, is decided here, by what will be expected once the plan is carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from cockpit.model.topology import Expected, Service, service_path
from cockpit.plan.steps import PREPARE, START, Refused, Step


class Signed(msgspec.Struct, frozen=True):
    """One genuine signature of an artifact: the key's holder made it, for this very content and version."""

    role: str
    key: str
    """`ed25519:BASE64`"""
    by: str = ""


Signatures = Mapping[str, tuple[Signed, ...]]
"""`name/version` -> its genuine signatures."""


Demands = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Artifact name -> role -> services that demand it."""


def demands(expected: Expected) -> Demands:
    """All services that use an artifact speak for each of its versions: a release on a host is there for
    every service."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for path, service in expected.services.items():
        if service.signatures:
            for name in dict.fromkeys(filter(None, (service.artifact, *(d.artifact for d in service.data.values())))):
                roles = found.setdefault(name, {})
                for role in service.signatures:
                    roles[role] = (*roles.get(role, ()), path)
    return found


def accepted(expected: Expected, id: str, signed: Signatures) -> dict[str, str]:
    """Role -> who signed `name/version` for it with a key that counts."""
    found: dict[str, str] = {}
    for one in signed.get(id, ()):
        if one.key in expected.signers.get(one.role, ()):
            found.setdefault(one.role, one.by)
    return found


def missing(expected: Expected, id: str, signed: Signatures, wanted: Demands | None = None) -> tuple[str, ...]:
    """Roles that are demanded of `name/version` and have not signed it."""
    roles = (demands(expected) if wanted is None else wanted).get(id.partition("/")[0], {})
    has = accepted(expected, id, signed)
    return tuple(r for r in roles if r not in has)


def require_signed(
    before: Expected, after: Expected, steps: Iterable[Step], signed: Signatures
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the plan says of signatures: (touches, warnings). Raises Refused, naming each missing role."""
    wanted = demands(after)
    if not wanted:
        return (), ()
    ids = sorted(id for id in {*_moved(after, steps), *_changed(before, after)} if id.partition("/")[0] in wanted)
    refusals = [text for id in ids if (text := _refusal(after, id, signed, wanted))]
    if refusals:
        more = f"; and {len(refusals) - 5} more" if len(refusals) > 5 else ""
        raise Refused("; ".join(refusals[:5]) + more)
    touches = []
    for id in ids:
        has = accepted(after, id, signed)
        who = (f"{r} ({has[r]})" if has[r] else r for r in wanted[id.partition("/")[0]])
        touches.append(f"{id} is signed by {', '.join(who)}")
    return tuple(touches), _now_lacking(before, after, ids, signed, wanted)


def _uses(service: Service) -> list[str]:
    """`name/version` of everything a run of the service is made of."""
    pairs = [(service.artifact, service.version)]
    pairs += [(d.artifact, d.version) for d in service.data.values()]
    return [f"{name}/{version}" for name, version in pairs if name and version]


def _moved(after: Expected, steps: Iterable[Step]) -> set[str]:
    """What the steps put on hosts, make active, or start."""
    found: set[str] = set()
    for step in steps:
        name = step.args.get("name") or step.args.get("artifact")
        if name and "version" in step.args:
            found.add(f"{name}/{step.args['version']}")
        if step.kind in (PREPARE, START) and (service := after.services.get(service_path(step.instance))):
            found.update(_uses(service))
    return found


def _changed(before: Expected, after: Expected) -> set[str]:
    """New versions of services that were there before, also where nothing of it runs now."""
    found: set[str] = set()
    for path, service in after.services.items():
        old = before.services.get(path)
        if old is not None and old is not service:
            found.update(set(_uses(service)) - set(_uses(old)))
    return found


def _refusal(after: Expected, id: str, signed: Signatures, wanted: Demands) -> str:
    """Empty when it is signed as demanded."""
    lacks = missing(after, id, signed, wanted)
    if not lacks:
        return ""
    roles = wanted[id.partition("/")[0]]
    services = sorted({path for role in lacks for path in roles[role]})
    strange = sorted({s.role for s in signed.get(id, ()) if s.role in lacks})
    also = f" (somebody signed as {', '.join(strange)}, by a key that is not under signers)" if strange else ""
    return (
        f"{id} is not signed by {' and '.join(lacks)}, as {', '.join(services[:3])} demands{also}: "
        f"cockpit artifact approve {id} --role {lacks[0]} --key FILE"
    )


def _now_lacking(
    before: Expected, after: Expected, ids: list[str], signed: Signatures, wanted: Demands
) -> tuple[str, ...]:
    """A demand that is new (or keys that are gone) stops nothing that runs, but its next start."""
    earlier = demands(before)
    found = []
    for path, service in after.services.items():
        old = before.services.get(path)
        if old is None or (old.signatures == service.signatures and before.signers == after.signers):
            continue
        for id in _uses(service):
            lacks = missing(after, id, signed, wanted)
            if lacks and id not in ids and lacks != missing(before, id, signed, earlier):
                roles = " and ".join(lacks)
                found.append(f"{path} uses {id}, which is not signed by {roles}: it will not start anew")
    return tuple(found)
