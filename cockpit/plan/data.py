"""Data artifacts in plans: which versions can be asked for, and how long a changed unit is watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import replace

from cockpit.model.actual import Unit
from cockpit.model.names import near
from cockpit.model.topology import Data, Expected, Service
from cockpit.model.units import tally
from cockpit.plan.steps import Bad

KIND = "data"


def artifact_id(data: Data) -> str:
    """`words/5`."""
    return f"{data.artifact}/{data.version}"


def data_ids(service: Service) -> dict[str, str]:
    """Data name -> `artifact/version` of everything that a new unit gets."""
    return {name: artifact_id(data) for name, data in service.data.items() if data.version}


def data_named(service: Service, path: str, name: str) -> Data:
    """Raises Bad, with the nearest name, when the service has no such data."""
    if name not in service.data:
        if not service.data:
            raise Bad(f"{path} has no data artifacts")
        raise Bad(f"{path} has no data {name!r}" + near(name, service.data))
    return service.data[name]


def with_version(service: Service, name: str, version: str) -> Service:
    return replace(service, data={**service.data, name: replace(service.data[name], version=version)})


def adopted(service: Service, path: str, units: Iterable[Unit]) -> Service:
    """With the versions of its data that these units have. Raises Bad when they differ among each other.

    What nobody was properly given (`4 (5 is linked)`, nothing) stays as it is expected.
    """
    every = list(units)
    for name in service.data:
        found = Counter(v for u in every if (v := u.data.get(name, "")) and " " not in v)
        if len(found) > 1:
            mix = tally(found)
            raise Bad(f"{path} has several versions of {name}, so none can be adopted: {mix}")
        for version in found:
            service = with_version(service, name, version)
    return service


def check_versions(
    before: Expected, after: Expected, artifacts: Collection[str], kinds: Mapping[str, str]
) -> None:
    """What is newly asked for must be in the store, as data. Raises Bad, naming the nearest there is.

    `artifacts` are the ids in the store, `kinds` the kind of those that are no releases.
    """
    for path, service in after.services.items():
        old = before.services.get(path)
        if not service.data or old is not None and old.data == service.data:
            continue
        have = data_ids(old) if old is not None else {}
        for name, id in data_ids(service).items():
            if have.get(name) == id:
                continue
            artifact, _, version = id.partition("/")
            if id not in artifacts:
                known = [a for a in artifacts if kinds.get(a) == KIND]
                own = [a for a in known if a.startswith(artifact + "/")]
                raise Bad(f"{path}: data {name} ({artifact}) has no version {version!r}" + near(id, own or known))
            if kinds.get(id) != KIND:
                raise Bad(f"{path}: {id} is a {kinds.get(id, 'release')}, not data")


def watch_time(service: Service) -> float:
    """Seconds for which a unit must stay healthy after a signal.

    Never less than its check needs to notice that it is not, unless that is more than half the deadline.
    """
    check, update = service.check, service.update
    if check is None or check.notify:
        return update.healthy_for
    notice = check.interval * check.fall + check.timeout
    return max(update.healthy_for, min(notice, update.deadline / 2))
